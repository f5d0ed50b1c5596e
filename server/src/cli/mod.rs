//! The commands.
//!
//! Exit status: 0 done; 1 the answer is no (a check found errors, the chain is broken, nothing was found);
//! 2 could not be done (usage, unreadable file, configuration or database refused).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// SIP intercom server: a visitor presses a button, the right phones ring, somebody opens the door, the log proves it.
#[derive(Debug, Parser)]
#[command(name = "doorward", version, propagate_version = true)]
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
}

/// Commands that need the configuration.
#[derive(Clone, Debug, Args)]
pub struct Configured {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", default_value = "conf/doorward.toml", env = "DOORWARD_CONFIG")]
    pub config: PathBuf,
}

/// Arguments of `demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Stop after the call instead of going on as a server.
    #[arg(long)]
    pub once: bool,
    /// Keep the demo's database and passwords here; default: a new temporary directory.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// SIP port; default: 5060, or a free one when that is taken.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// The call story as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(_) | Command::Demo(_) => ExitCode::from(2),
    }
}
