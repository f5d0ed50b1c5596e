//! One SIPp run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::scenario::{Transport, home};
use crate::wait;

/// Who calls where.
#[derive(Clone, Debug)]
pub struct Peer {
    /// SIP account.
    pub account: String,
    /// Its password.
    pub password: String,
    /// SIP domain.
    pub domain: String,
    /// The server.
    pub server: SocketAddr,
    /// Our own SIP address.
    pub local: SocketAddr,
    /// UDP or TCP.
    pub transport: Transport,
    /// Where SIPp leaves its traces.
    pub dir: PathBuf,
}

/// How long one SIPp run may take.
const RUN: Duration = Duration::from_secs(30);

/// A running SIPp.
#[derive(Debug)]
pub struct Run {
    child: Child,
    part: String,
    trace: PathBuf,
}

impl Peer {
    /// Starts the part that dials `dial`, or waits for one call.
    pub fn start(&self, part: &str, dial: Option<&str>) -> Result<Run> {
        self.launch(part, dial, self.local)
    }

    /// Registers the account with the address where it will wait for calls.
    pub fn register(&self) -> Result<()> {
        // Over UDP the server calls where the REGISTER came from; over TCP the connection is gone with this SIPp, and
        // the port must be free for the next.
        let from = match self.transport {
            Transport::Udp => self.local,
            Transport::Tcp => SocketAddr::new(self.local.ip(), self.local.port() + 10),
        };
        let mut run = self.launch("register", Some(&self.account), from)?;
        if let Err(error) = run.finish(RUN) {
            bail!("{} could not register: {error}", self.account);
        }
        Ok(())
    }

    fn launch(&self, part: &str, dial: Option<&str>, from: SocketAddr) -> Result<Run> {
        let file = home().join("parts").join(format!("{part}.xml"));
        let bracketed = |ip: std::net::IpAddr| match ip {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let trace = self.dir.join(format!("{}-{part}", self.account));
        let mut command = Command::new("sipp");
        command
            .arg(format!(
                "{}:{}",
                bracketed(self.server.ip()),
                self.server.port()
            ))
            .arg("-sf")
            .arg(&file)
            .args(["-i", &bracketed(from.ip()), "-p", &from.port().to_string()])
            .args(["-mp", &(self.local.port() + 2).to_string()])
            .args([
                "-t",
                if self.transport == Transport::Udp {
                    "u1"
                } else {
                    "t1"
                },
            ])
            .args(["-au", &self.account, "-ap", &self.password])
            .args([
                "-key",
                "user",
                &self.account,
                "-key",
                "domain",
                &self.domain,
            ])
            .args([
                "-key",
                "dial",
                dial.unwrap_or_default(),
                "-key",
                "contact_port",
                &self.local.port().to_string(),
            ])
            .args(["-m", "1", "-nostdin", "-timeout", "25s", "-timeout_error"])
            .args([
                "-trace_err",
                "-error_file",
                &format!("{}.err", trace.display()),
            ])
            .args([
                "-trace_msg",
                "-message_file",
                &format!("{}.msg", trace.display()),
            ])
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command
            .spawn()
            .context("starting sipp (Debian package sip-tester)")?;
        let mut run = Run {
            child,
            part: part.to_owned(),
            trace,
        };
        if dial.is_none() {
            let up = || {
                wait::is_bound(from, self.transport) || matches!(run.child.try_wait(), Ok(Some(_)))
            };
            wait::until("sipp to listen", RUN, up)?;
        }
        Ok(run)
    }
}

impl Run {
    /// Waits until its trace holds a text.
    pub fn until_received(&self, text: &str) -> Result<()> {
        let trace = self.trace.with_extension("msg");
        let there = || std::fs::read_to_string(&trace).is_ok_and(|seen| seen.contains(text));
        wait::until(text, RUN, there)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it failed, with what SIPp said about it.
    pub fn finish(&mut self, limit: Duration) -> Result<()> {
        wait::until(&self.part, limit, || {
            matches!(self.child.try_wait(), Ok(Some(_)))
        })?;
        let status = self.child.wait()?;
        if status.success() {
            return Ok(());
        }
        let error = read_end(&self.trace.with_extension("err"), 12);
        let messages = read_end(&self.trace.with_extension("msg"), 40);
        bail!(
            "sipp part {} ended with {status}\n{error}\n{messages}",
            self.part
        );
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a trace.
fn read_end(file: &Path, lines: usize) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
