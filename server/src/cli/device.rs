//! `doorward device list`: devices, and what a running server knows of each by asking it (OPTIONS).

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Configured, Done, Failure, output, running};
use crate::directory::owner_text;

/// Commands on devices as they are now.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List devices with their reachability: state, round trip, share of the last 24 hours.
    #[command(
        after_help = "Examples:\n  doorward device list\n  doorward device list --unreachable\n  doorward device list --json\n\n\
                      Who is asked, and how often, stands in [qualify] of doorward.toml and in the station's profile."
    )]
    List(ListArgs),
}

/// Arguments of `device list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Those that do not answer only. Exit status 1 when there are any.
    #[arg(long)]
    unreachable: bool,
    /// As JSON, with the last 24 hours by the hour.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configured: Configured,
}

pub(super) async fn run(command: Command) -> Done {
    let Command::List(args) = command;
    let (conf, store) = args.configured.open_existing().await?;
    let snapshot = store.snapshot().await?;
    let told: Vec<Value> = match running::get(&conf, "/devices", &[]).await? {
        Some(response) => {
            let wrong = |error: String| Failure(format!("error: the server's answer: {error}"));
            let text = response.text().await.map_err(|e| wrong(e.to_string()))?;
            serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?
        }
        None => {
            output::error("warning: no running server was found; what it knows is left out");
            Vec::new()
        }
    };
    let by_device: BTreeMap<&str, &Value> = told
        .iter()
        .filter_map(|reading| Some((reading.get("device")?.as_str()?, reading)))
        .collect();
    let rows: Vec<Value> = snapshot
        .directory
        .devices()
        .values()
        .filter(|device| !device.revoked)
        .map(|device| {
            let reading = by_device.get(device.id.as_str());
            let field = |name: &str| reading.and_then(|r| r.get(name)).cloned();
            json!({
                "id": device.id,
                "owner": owner_text(&device.owner),
                "label": device.label,
                "state": field("state").unwrap_or_else(|| "not-asked".into()),
                "rtt-ms": field("rtt-ms"),
                "day-percent": field("day-percent"),
                "hours-percent": field("hours-percent"),
            })
        })
        .filter(|row| !args.unreachable || row.get("state") == Some(&"unreachable".into()))
        .collect();
    if args.json {
        output::json(&rows);
    } else {
        rows.iter().for_each(print);
    }
    Ok(if args.unreachable && !rows.is_empty() {
        super::no()
    } else {
        ExitCode::SUCCESS
    })
}

fn print(row: &Value) {
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or("-");
    let number = |name: &str, unit: &str| {
        let value = row.get(name).and_then(Value::as_f64);
        value.map_or_else(|| "-".to_owned(), |value| format!("{value} {unit}"))
    };
    output::line(&format!(
        "device  {:<16} {:<20} {:<12} rtt {:<10} 24 h {}",
        text("id"),
        text("owner"),
        text("state"),
        number("rtt-ms", "ms"),
        number("day-percent", "%"),
    ));
}
