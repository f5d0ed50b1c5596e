//! How the running server is put together: threads, mailboxes between them, start, reload and end.

pub(crate) mod behind;
pub(crate) mod descriptors;
pub(crate) mod drives;
pub(crate) mod house;
mod journal;
mod ladders;
pub(crate) mod mailbox;
mod recover;
pub(crate) mod serve;
mod translate;

pub use serve::serve;

use std::time::Instant;

use nix::sys::epoll::EpollTimeout;

/// The system's randomness, behind a fast generator seeded from it; one per owner, never shared.
pub(crate) fn system_rng() -> Box<dyn rand::Rng + Send> {
    use rand::SeedableRng;
    use rand::rand_core::UnwrapErr;
    let mut seed = <rand::rngs::StdRng as SeedableRng>::Seed::default();
    rand::Rng::fill_bytes(&mut UnwrapErr(rand::rngs::SysRng), &mut seed);
    Box::new(rand::rngs::StdRng::from_seed(seed))
}

/// The kernel's millisecond time-out that does not wake before `due` (rounded up: waking early would only spin).
pub(crate) fn epoll_timeout(now: Instant, due: Option<Instant>) -> EpollTimeout {
    match due {
        None => EpollTimeout::NONE,
        Some(due) => {
            let micros = due.saturating_duration_since(now).as_micros();
            let millis = micros.div_ceil(1000).min(60_000);
            EpollTimeout::from(millis as u16)
        }
    }
}

/// The runtime of everything off the call path: drivers, store, metrics, signals.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("shell")
        .enable_all()
        .build()
}

/// What must be done before anything else in a process that serves: one crypto provider, one log on stderr.
/// `DOORWARD_LOG` sets the level, `default` without it. The log is whole after [`journal::Closing::close`].
pub(crate) fn prepare(default: &str) -> std::io::Result<journal::Closing> {
    // Fails only when it was done before, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let filter = tracing_subscriber::EnvFilter::try_from_env("DOORWARD_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let (journal, closing) = journal::Journal::start(std::io::stderr())?;
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(journal)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init();
    Ok(closing)
}
