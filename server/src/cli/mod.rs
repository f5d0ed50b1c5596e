//! The commands.
//!
//! Exit status: 0 done; 1 the answer is no (a check found errors, the chain is broken, nothing was found);
//! 2 could not be done (usage, unreadable file, configuration or database refused).

mod account;
mod audit;
mod call;
mod config;
mod device;
mod house;
mod import;
mod ladder;
mod output;
mod plan;
mod running;
mod trace;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;

use crate::files;
use crate::store::{Store, StoreError};

const AFTER: &str = "\
Exit status: 0 done; 1 the answer is no (a check found errors, the log is broken, nothing was found);
2 could not be done (usage, unreadable file, refused configuration or database).

A first door and phone:
  doorward config check                              does everything resolve?
  doorward unit add 101                              a flat
  doorward person add anna --unit 101                somebody who lives there
  doorward account add anna-1 --person anna          her phone: prints its password once
  doorward account add lobby --door lobby --profile 2n
  doorward plan explain --door lobby --dial 101      who would ring?
  doorward serve";

/// SIP intercom server: a visitor presses a button, the right phones ring, somebody opens the door, the log proves it.
#[derive(Debug, Parser)]
#[command(name = "doorward", version, propagate_version = true, after_help = AFTER)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server.
    Serve(Configured),
    /// One real call over loopback with a built-in visitor and desk phone, then a server to register phones at.
    Demo(DemoArgs),
    /// Check the configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// Check the plan, and ask it.
    #[command(subcommand)]
    Plan(plan::Command),
    /// Import and list units, people and devices.
    #[command(subcommand)]
    Directory(house::DirectoryCommand),
    /// Add a unit.
    #[command(subcommand)]
    Unit(house::UnitCommand),
    /// Add or revoke a person.
    #[command(subcommand)]
    Person(house::PersonCommand),
    /// SIP accounts: phones, panels, door stations.
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Devices as they are now: who answers, and who did in the last 24 hours.
    #[command(subcommand)]
    Device(device::Command),
    /// Verify and export the tamper-evident log.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Past calls.
    #[command(subcommand)]
    Call(call::Command),
    /// SIP messages of the running server as they pass, redacted.
    Trace(trace::TraceArgs),
}

/// Commands that need the configuration.
#[derive(Clone, Debug, Args)]
pub struct Configured {
    /// The configuration file.
    #[arg(
        long,
        short,
        value_name = "FILE",
        default_value = "conf/doorward.toml",
        env = "DOORWARD_CONFIG"
    )]
    pub config: PathBuf,
}

impl Configured {
    fn load(&self) -> Result<conf::Resolved, Failure> {
        Ok(files::load_conf(&self.config)?)
    }

    /// The configuration with its database, which is made when absent.
    async fn open(&self) -> Result<(conf::Resolved, Store), Failure> {
        let conf = self.load()?;
        let store = Store::open(&conf.store, &conf.site.name, &conf.site.realm).await?;
        Ok((conf, store))
    }

    /// The same for commands that only read: no database is made.
    async fn open_existing(&self) -> Result<(conf::Resolved, Store), Failure> {
        let conf = self.load()?;
        if !conf.store.exists() {
            let path = conf.store.display();
            return Err(Failure(format!(
                "error: there is no database {path} yet\n  = run `doorward serve` or `doorward directory import` first"
            )));
        }
        let store = Store::open(&conf.store, &conf.site.name, &conf.site.realm).await?;
        Ok((conf, store))
    }
}

/// Arguments of `demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Where the server listens for SIP, UDP and TCP; when the port is taken a free one is used.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:5060")]
    pub listen: std::net::SocketAddr,
    /// Stop after the call instead of going on as a server; exit status 1 when the call failed.
    #[arg(long)]
    pub exit_after_call: bool,
    /// Keep the demo's database and files here; default: a new temporary directory.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Why a command could not be done: printed to standard error, exit status 2.
#[derive(Debug)]
struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<files::Refused> for Failure {
    fn from(refused: files::Refused) -> Self {
        match refused {
            files::Refused::Plan(found) => Self(dialplan::render(&found, output::colour_err())),
            other => Self(other.to_string()),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        files::Refused::from(error).into()
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self(format!("error: {error:#}"))
    }
}

/// 0 or 1.
type Done = Result<ExitCode, Failure>;

/// Exit status 1: the answer is no.
fn no() -> ExitCode {
    ExitCode::from(1)
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    run(Cli::parse()).unwrap_or_else(|failure| {
        output::error(&failure.to_string());
        ExitCode::from(2)
    })
}

fn run(cli: Cli) -> Done {
    match cli.command {
        Command::Serve(args) => {
            let loaded = files::load(&args.config)?;
            output::error(&dialplan::render(&loaded.warnings, output::colour_err()));
            crate::shell::serve(loaded, args.config)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Demo(args) => Ok(if crate::demo::run(args)? {
            ExitCode::SUCCESS
        } else {
            no()
        }),
        Command::Config(command) => config::run(&command),
        Command::Plan(command) => block_on(plan::run(command)),
        Command::Directory(command) => block_on(house::directory(command)),
        Command::Unit(command) => block_on(house::unit(command)),
        Command::Person(command) => block_on(house::person(command)),
        Command::Account(command) => block_on(account::account(command)),
        Command::Device(command) => block_on(device::run(command)),
        Command::Audit(command) => block_on(audit::run(command)),
        Command::Call(command) => block_on(call::run(command)),
        Command::Trace(args) => block_on(trace::run(args)),
    }
}

fn block_on(command: impl Future<Output = Done>) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure(format!("error: cannot start: {e}")))?;
    runtime.block_on(command)
}

/// A time as people write it: a timestamp with offset, or a date with or without time of day, then in `zone`.
fn moment(text: &str, zone: &jiff::tz::TimeZone) -> Result<Timestamp, Failure> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let civil = text
        .parse::<jiff::civil::DateTime>()
        .ok()
        .and_then(|at| zone.to_ambiguous_timestamp(at).compatible().ok());
    civil.ok_or_else(|| {
        Failure(format!("error: `{text}` is not a time\n  = write 2026-12-24, \"2026-12-24 18:59:50\" or 2026-12-24T18:59:50+01:00"))
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| Failure(format!("error: cannot read {}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_read_with_and_without_offset() {
        let zone = jiff::tz::TimeZone::get("Europe/Prague").unwrap();
        let at = |text| moment(text, &zone).unwrap().to_string();
        assert_eq!(at("2026-12-24 18:59:50"), "2026-12-24T17:59:50Z");
        assert_eq!(at("2026-12-24T18:59:50+00:00"), "2026-12-24T18:59:50Z");
        assert_eq!(at("2026-12-24"), "2026-12-23T23:00:00Z");
        assert!(moment("tomorrow", &zone).is_err());
    }
}
