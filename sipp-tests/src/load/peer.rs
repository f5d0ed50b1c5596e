//! Kamailio beside us: the same registrations by the same generator in the same run, so that the ratio means something.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use super::estate::{Estate, Pace};
use super::{LoadArgs, cost};
use crate::scenario::home;

/// A server to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// Debian's kamailio, with `sipp-tests/load/kamailio.cfg`.
    Kamailio,
}

/// Its processes, ended with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // SIGTERM: its main process ends its children. Already gone is as good.
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        }
        let _ = self.0.wait();
    }
}

/// CPU of one registration at the peer, milliseconds.
pub fn registration(
    peer: Peer,
    args: &LoadArgs,
    server: SocketAddr,
    devices: SocketAddr,
) -> Result<f64> {
    let Peer::Kamailio = peer;
    let child = Command::new("kamailio")
        .arg("-f")
        .arg(home().join("load/kamailio.cfg"))
        .args(["-DD", "-E", "-m", "1024", "-M", "16"])
        .args(["-l", &format!("udp:{server}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting kamailio (Debian package `kamailio`)")?;
    let running = Running(child);
    let mut estate = Estate::new(
        server,
        devices,
        "secret.example",
        0..args.registrations,
        |_| "secret".to_owned(),
    )?;
    // It is up when it answers.
    if !estate.is_answered() {
        bail!("kamailio does not answer at {server}");
    }
    let processes = cost::tree(running.0.id());
    let spent = || {
        processes
            .iter()
            .map(|pid| cost::cpu(*pid))
            .sum::<std::time::Duration>()
    };
    let before = spent();
    let result = estate.run(Pace::rate(args.registrations, args.register_rate))?;
    if result.lost > 0 {
        bail!(
            "{} of {} registrations at kamailio failed",
            result.lost,
            result.devices
        );
    }
    Ok((spent() - before).as_secs_f64() * 1_000.0 / f64::from(args.registrations))
}
