//! Load: what a registration, a call, a relayed packet and a transcoded call cost the server's CPU and memory.
//!
//! Figures are CPU time of the server's process (user + system), so that a generator on the same cores does not count; relay
//! cost is also given as a ratio to a bare receive-and-send loop measured in the same run.

mod bare;
mod calls;
pub mod cost;
mod estate;
mod media;
mod peer;
pub mod phone;
mod registrations;

use anyhow::Result;
use clap::Args;

use crate::Binary;
use crate::building::{Addresses, Building};
use crate::relay::Relay;
use crate::scenario::Family;

/// Arguments of `load`.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    #[command(flatten)]
    binary: Binary,
    /// Registrations to make.
    #[arg(long, default_value_t = 3_000)]
    registrations: u32,
    /// Registrations a second.
    #[arg(long, default_value_t = 1_000)]
    register_rate: u32,
    /// Calls to make for CPU per call.
    #[arg(long, default_value_t = 2_000)]
    calls: u32,
    /// Calls a second.
    #[arg(long, default_value_t = 200)]
    call_rate: u32,
    /// Calls to make one after the other for added latency.
    #[arg(long, default_value_t = 300)]
    latency_calls: u32,
    /// Calls held at once for memory and relay.
    #[arg(long, default_value_t = 100)]
    media_calls: u16,
    /// Calls held at once for transcoding.
    #[arg(long, default_value_t = 30)]
    transcode_calls: u16,
    /// Seconds of media.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Devices that come back after a power cut.
    #[arg(long, default_value_t = 20_000)]
    storm: u32,
    /// Within so many seconds.
    #[arg(long, default_value_t = 10)]
    storm_seconds: u64,
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// A server to compare with in the same run, where it does the same work.
    #[arg(long, value_enum)]
    peer: Option<peer::Peer>,
    /// Rows as JSON lines instead of a table.
    #[arg(long)]
    json: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// CPU and memory of a registration.
    Registrations,
    /// An estate of devices that register at once.
    Storm,
    /// CPU and latency of a call.
    Calls,
    /// Relay and transcoding.
    Media,
}

/// One line of the table.
#[derive(Debug, serde::Serialize)]
pub struct Row {
    what: &'static str,
    ours: String,
    target: &'static str,
}

/// Runs every measurement and prints the table.
pub fn load(args: &LoadArgs) -> Result<bool> {
    let wanted = |part: Part| args.only.is_empty() || args.only.contains(&part);
    let mut rows = Vec::new();
    if args.only != [Part::Storm] {
        let addresses = Addresses::of(Family::V4, 195);
        let relay = Relay::start()?;
        let building =
            Building::start_loaded(&args.binary, addresses, &relay, "load", args.registrations)?;
        if wanted(Part::Registrations) {
            say("registrations");
            registrations::measure(args, &building, &mut rows)?;
        }
        if wanted(Part::Calls) {
            say("calls");
            calls::measure(args, &building, &mut rows)?;
        }
        if wanted(Part::Media) {
            say("relay and transcoding");
            media::measure(args, &building, &mut rows)?;
        }
    }
    if wanted(Part::Storm) {
        say("a storm of registrations");
        registrations::storm(args, &mut rows)?;
    }
    if args.json {
        for row in &rows {
            println!("{}", serde_json::to_string(row)?);
        }
        return Ok(true);
    }
    println!("\n{}\n", machine());
    println!("| what | ours | target |\n|---|---|---|");
    for row in &rows {
        println!("| {} | {} | {} |", row.what, row.ours, row.target);
    }
    Ok(true)
}

fn say(what: &str) {
    eprintln!("measuring {what} …");
}

/// Date and machine, for the head of the table.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("")
        .trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let date = std::process::Command::new("date")
        .arg("+%F")
        .output()
        .map(|out| out.stdout)
        .unwrap_or_default();
    let date = String::from_utf8_lossy(&date).trim().to_owned();
    let mut parts = kernel.trim().split('.');
    let (major, minor) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    format!("{date}, {cores} cores ({model}), Linux {major}.{minor}")
}

/// The value at `part` (0..1) of unsorted samples.
pub fn percentile(samples: &mut [u64], part: f64) -> u64 {
    samples.sort_unstable();
    let last = samples.len().saturating_sub(1);
    samples
        .get((last as f64 * part).round() as usize)
        .copied()
        .unwrap_or(0)
}
