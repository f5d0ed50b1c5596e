//! Black box: the built binary, SIPp scenarios, real clients, load.
//!
//! What it deliberately does not do: link any of our crates. It sees what a telecom engineer on the wire sees.
//!
//! ```text
//!   scenarios/NAME/scenario.toml --> SIPp actors (parts/*.xml) --SIP/RTP--> doorward serve --HTTP--> relay stand-in
//!                                    baresip phones            ---------->       |
//!                                                                                +--> doorward audit export|verify
//! ```
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "drives processes and sockets; nothing here is linked into the server"
)]
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "a binary; its interface is --help"
)]

mod actor;
mod baresip;
mod browser;
mod building;
mod flood;
mod kamailio;
mod kill;
mod linphone;
mod load;
mod relay;
mod run;
mod scanners;
mod scenario;
mod secure;
mod tone;
mod torture;
mod wait;
mod watchers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Functional, conformance and load scenarios against a Doorward server.
///
/// Exit status: 0 everything passed; 1 something failed; 2 the tests could not run.
#[derive(Debug, Parser)]
#[command(name = "sipp-tests", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the scenarios.
    List,
    /// Everything: the SIPp scenarios in every cell, baresip and browser phones, kill -9 during unlocks, torture, a short
    /// flood.
    All(Binary),
    /// The SIPp scenarios, against a server of their own or against --target.
    Run(RunArgs),
    /// One call between two baresip phones: Opus on one side, G.711 on the other, tone measured both ways, a digit opens.
    Phones(Binary),
    /// Two baresip phones over UDP, TCP and TLS, IPv4 and IPv6: register, call, answer, hang up.
    Baresip(Binary),
    /// Headless Chromium with JsSIP over WebSocket and SIP.js over secure WebSocket: register, call, be called.
    Browser(Binary),
    /// Kill the server during unlocks and look for every acknowledged one in its log.
    Kill {
        #[command(flatten)]
        binary: Binary,
        /// How often.
        #[arg(long, default_value_t = 20)]
        rounds: u32,
    },
    /// The torture messages of RFC 4475 and RFC 5118 over UDP and TCP, IPv4 and IPv6, answered as torture/answers.txt says.
    Torture(Binary),
    /// linphone-daemon as the desk: registers, answers the door and opens it, calls the door.
    Linphone(Binary),
    /// Debian's kamailio behind the server as trunk, and in front of it as edge proxy.
    Kamailio(Binary),
    /// sipvicious learns nothing, boofuzz's mutations leave the server alive.
    Scanners(Binary),
    /// baresip watches its message lamp and somebody's presence.
    Watchers(Binary),
    /// 20,000 hostile messages in ten seconds while doors call: calls succeed, are set up quickly, memory stays flat.
    Flood(flood::FloodArgs),
    /// Calls per CPU-second, latencies, memory, relay and transcoding cost.
    Load(load::LoadArgs),
}

/// Which server is built.
#[derive(Clone, Debug, Args)]
struct Binary {
    /// The server's binary; default: `doorward` beside this program.
    #[arg(long, value_name = "FILE")]
    doorward: Option<PathBuf>,
    /// Keep each server's directory (configuration, database, SIPp traces) here.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    binary: Binary,
    /// Only scenarios whose name contains one of these.
    names: Vec<String>,
    /// A running server instead of one of our own, HOST:PORT. Relay and log are not looked at then.
    #[arg(long, value_name = "HOST:PORT", requires = "accounts")]
    target: Option<std::net::SocketAddr>,
    /// Accounts of --target: a CSV file with the columns user and password, as `doorward directory import --accounts` writes it.
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
    /// SIP domain of --target; default: its address.
    #[arg(long)]
    domain: Option<String>,
    /// Transports.
    #[arg(long, value_delimiter = ',', default_value = "udp,tcp")]
    transport: Vec<scenario::Transport>,
    /// Address families.
    #[arg(long, value_delimiter = ',', default_value = "v4,v6")]
    family: Vec<scenario::Family>,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::List => run::list(),
        Command::All(binary) => everything(&binary),
        Command::Run(args) => run::run(&args),
        Command::Phones(binary) => baresip::call_between_two_phones(&binary),
        Command::Baresip(binary) => baresip::every_transport(&binary),
        Command::Browser(binary) => browser::browsers(&binary),
        Command::Kill { binary, rounds } => kill::rounds(&binary, rounds),
        Command::Torture(binary) => torture::all(&binary),
        Command::Linphone(binary) => linphone::calls(&binary),
        Command::Kamailio(binary) => kamailio::both_sides(&binary),
        Command::Scanners(binary) => scanners::all(&binary),
        Command::Watchers(binary) => watchers::told(&binary),
        Command::Flood(args) => flood::flood(&args),
        Command::Load(args) => load::load(&args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("sipp-tests: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn everything(binary: &Binary) -> anyhow::Result<bool> {
    let args = RunArgs {
        binary: binary.clone(),
        names: Vec::new(),
        target: None,
        accounts: None,
        domain: None,
        transport: scenario::Transport::ALL.to_vec(),
        family: scenario::Family::ALL.to_vec(),
    };
    let scenarios = run::run(&args)?;
    let phones = baresip::call_between_two_phones(binary)?;
    let transports = baresip::every_transport(binary)?;
    let browsers = browser::browsers(binary)?;
    let kills = kill::rounds(binary, 20)?;
    let torture = torture::all(binary)?;
    let linphone = linphone::calls(binary)?;
    let kamailio = kamailio::both_sides(binary)?;
    let scanners = scanners::all(binary)?;
    let watchers = watchers::told(binary)?;
    let flooded = flood::flood(&flood::FloodArgs::smoke(binary))?;
    let clients = phones && transports && browsers && linphone && watchers && kamailio;
    Ok(scenarios && clients && kills && torture && scanners && flooded)
}
