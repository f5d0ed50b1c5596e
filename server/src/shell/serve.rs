//! `doorward serve`: the house, its signals, and the lines it prints when it is ready.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::house::House;
use crate::files::Loaded;

/// How often the store is asked whether the command line changed the directory.
const FOLLOW: Duration = Duration::from_millis(500);

/// Serves until SIGTERM or SIGINT. SIGHUP reads configuration, plan and directory again.
///
/// # Errors
/// Whatever keeps the server from starting; then nothing was started.
pub fn serve(loaded: Loaded, config: PathBuf) -> anyhow::Result<()> {
    let log = super::prepare("info")?;
    let served = super::runtime()?.block_on(async move {
        let mut signals = Signals::new()?;
        let house = House::open(loaded, None).await?;
        announce(&house)?;
        run(house, &mut signals, Some(&config)).await;
        Ok(())
    });
    log.close();
    served
}

/// The signals a server listens to.
pub(crate) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next request to end.
    pub(crate) async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// One line for each listener, then `ready`: what scripts and tests wait for.
pub(crate) fn announce(house: &House) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for bound in &house.bound {
        writeln!(
            out,
            "listening {} {}",
            bound.transport.as_str(),
            bound.address
        )?;
    }
    if let Some(http) = house.http {
        writeln!(out, "listening http {http}")?;
    }
    writeln!(out, "ready")?;
    out.flush()
}

/// Serves until told to end; a second signal while draining ends the calls at once.
pub(crate) async fn run(mut house: House, signals: &mut Signals, config: Option<&Path>) {
    let mut follow = tokio::time::interval(FOLLOW);
    follow.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        let hangup = async {
            signals.hangup.recv().await;
        };
        let end = async {
            tokio::select! {
                _ = signals.terminate.recv() => {}
                _ = signals.interrupt.recv() => {}
            }
        };
        tokio::select! {
            () = hangup => {
                if let Some(config) = config {
                    house.reload(config).await;
                }
            }
            _ = follow.tick() => house.follow().await,
            () = end => break,
        }
    }
    house.close(signals).await;
}
