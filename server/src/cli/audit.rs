//! `doorward audit verify|export`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use dialplan::Owner;
use intercom::audit::{ChainHash, Checkpoint, Entry, Fault, Link};
use serde_json::json;

use super::{Configured, Done, Failure, moment, no, output};
use crate::store::{AuditFilter, Store};

/// Records read at once.
const PAGE: usize = 1_000;

/// Commands on the log.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check the whole chain and name the first record that was changed, is missing or out of order.
    ///
    /// A cut tail shows only against a checkpoint kept elsewhere: note the one printed here. Exit status 1 when the chain is broken.
    #[command(
        after_help = "Examples:\n  doorward audit verify\n  doorward audit verify --checkpoint 1200:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    )]
    Verify(VerifyArgs),
    /// Print records with their proof: each with its hash and the one before it, the head at the end.
    ///
    /// hash = SHA-256(previous hash || entry), over the 32 bytes of the previous hash and the entry's text as printed.
    #[command(
        after_help = "Examples:\n  doorward audit export --since 2026-11-01 --door lobby --csv > lobby.csv\n  doorward audit export --person anna --jsonl | jq .entry"
    )]
    Export(ExportArgs),
}

/// Arguments of `audit verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A record's place and hash known from before; finds a cut tail.
    #[arg(long, value_name = "SEQ:HASH", value_parser = checkpoint)]
    checkpoint: Option<Checkpoint>,
    /// The result as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configured: Configured,
}

/// Arguments of `audit export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A table, one row for each record.
    #[arg(long, conflicts_with = "jsonl")]
    csv: bool,
    /// One JSON object for each record and line (the default).
    #[arg(long)]
    jsonl: bool,
    /// From this time on: 2026-12-24, "2026-12-24 18:00:00" or with offset; without one in this machine's zone.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only this door.
    #[arg(long, value_name = "DOOR")]
    door: Option<String>,
    /// Only what this person or one of her devices did.
    #[arg(long, value_name = "PERSON")]
    person: Option<String>,
    /// Only this way of opening.
    #[arg(long, value_name = "METHOD", value_parser = ["app", "handset", "pstn", "dial-in", "code", "api"])]
    method: Option<String>,
    #[command(flatten)]
    configured: Configured,
}

pub(super) async fn run(command: Command) -> Done {
    match command {
        Command::Verify(args) => verify(args).await,
        Command::Export(args) => export(args).await,
    }
}

fn checkpoint(text: &str) -> Result<Checkpoint, String> {
    let (seq, hash) = text
        .split_once(':')
        .ok_or("write SEQ:HASH as `audit verify` prints it")?;
    Ok(Checkpoint {
        seq: seq.parse().map_err(|_| "the place is a number")?,
        hash: hash.parse().map_err(str::to_owned)?,
    })
}

async fn verify(args: VerifyArgs) -> Done {
    let (_, store) = args.configured.open_existing().await?;
    match store.verify(args.checkpoint).await? {
        Ok(summary) => {
            if args.json {
                output::json(
                    &json!({ "ok": true, "records": summary.records, "head": summary.head.to_string() }),
                );
            } else {
                output::line(&format!(
                    "ok: {} records, none changed, missing or out of order",
                    summary.records
                ));
                output::line(&format!("checkpoint {}:{}", summary.records, summary.head));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(fault) => {
            if args.json {
                output::json(
                    &json!({ "ok": false, "fault": fault_name(&fault), "seq": fault_seq(&fault), "message": fault.to_string() }),
                );
            } else {
                output::error(&format!("error: the log is broken: {fault}"));
            }
            Ok(no())
        }
    }
}

fn fault_name(fault: &Fault) -> &'static str {
    match fault {
        Fault::Changed { .. } => "changed",
        Fault::Missing { .. } => "missing",
        Fault::Reordered { .. } => "reordered",
        Fault::Foreign { .. } => "foreign",
        Fault::Cut { .. } => "cut",
    }
}

fn fault_seq(fault: &Fault) -> u64 {
    match fault {
        Fault::Changed { seq }
        | Fault::Missing { seq }
        | Fault::Reordered { seq, .. }
        | Fault::Foreign { seq, .. }
        | Fault::Cut { seq } => *seq,
    }
}

async fn filter(args: &ExportArgs, store: &Store) -> Result<AuditFilter, Failure> {
    let zone = jiff::tz::TimeZone::system();
    let at = |text: &Option<String>| text.as_deref().map(|text| moment(text, &zone)).transpose();
    let actors = match &args.person {
        None => None,
        Some(person) => {
            let owner = Owner::Person(person.clone());
            let snapshot = store.snapshot().await?;
            let devices = snapshot
                .directory
                .devices()
                .values()
                .filter(|device| device.owner == owner);
            Some(
                devices
                    .map(|device| format!("device:{}", device.id))
                    .chain([format!("person:{person}")])
                    .collect(),
            )
        }
    };
    Ok(AuditFilter {
        since: at(&args.since)?,
        until: at(&args.until)?,
        door: args.door.clone(),
        actors,
        method: args.method.clone(),
    })
}

async fn export(args: ExportArgs) -> Done {
    let (_, store) = args.configured.open_existing().await?;
    let places = store.matching(&filter(&args, &store).await?).await?;
    let mut fault: Option<Fault> = None;
    let mut exported = 0_u64;
    if args.csv {
        output::line(&csv_row(&HEADER.map(str::to_owned)));
    }
    for page in places.chunks(PAGE) {
        for proven in store.proven(page).await? {
            fault = fault.or_else(|| proven.check().err());
            let previous = proven.previous.unwrap_or(ChainHash([0; 32]));
            // A record that cannot be read back is shown as it stands.
            let entry = Entry::from_canonical(&proven.link.canonical).ok();
            exported += 1;
            output::line(&if args.csv {
                table_row(&proven.link, entry.as_ref(), previous)
            } else {
                json_line(&proven.link, previous)
            });
        }
    }
    if let Some(fault) = fault {
        output::error(&format!("error: the log is broken: {fault}"));
        return Ok(no());
    }
    let (records, head) = store.head().await?.map_or_else(
        || (0, ChainHash::genesis(store.site())),
        |head| (head.seq, head.hash),
    );
    if !args.csv {
        output::line(&json!({ "site": store.site(), "records": records, "exported": exported, "head": head.to_string() }).to_string());
    }
    output::error(&format!(
        "{exported} of {records} records, each checked against the one before it; `audit verify` checks the whole chain; checkpoint {records}:{head}"
    ));
    Ok(ExitCode::SUCCESS)
}

/// The entry's text stands in the line byte for byte, so that the hash can be computed from it.
fn json_line(link: &Link, previous: ChainHash) -> String {
    let hash = link.hash;
    if serde_json::from_str::<serde_json::Value>(&link.canonical).is_ok() {
        return format!(
            "{{\"prev\":\"{previous}\",\"hash\":\"{hash}\",\"entry\":{}}}",
            link.canonical
        );
    }
    json!({ "prev": previous.to_string(), "hash": hash.to_string(), "seq": link.seq, "unreadable": link.canonical }).to_string()
}

const HEADER: [&str; 19] = [
    "seq",
    "at",
    "kind",
    "door",
    "output",
    "actor",
    "method",
    "leg",
    "call",
    "intent",
    "decision",
    "rule",
    "driver",
    "result",
    "latency_ms",
    "detail",
    "prev",
    "hash",
    "entry",
];

fn table_row(link: &Link, entry: Option<&Entry>, previous: ChainHash) -> String {
    let value = entry
        .and_then(|entry| serde_json::to_value(entry).ok())
        .unwrap_or_default();
    let mut row = HEADER.map(|column| match value.get(column) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    });
    let [seq, .., prev, hash, text] = &mut row;
    *seq = link.seq.to_string();
    *prev = previous.to_string();
    *hash = link.hash.to_string();
    text.clone_from(&link.canonical);
    csv_row(&row)
}

/// A spreadsheet would run a cell that begins like a formula; such text gets an apostrophe in front.
fn csv_row(cells: &[String]) -> String {
    let cell = |text: &String| {
        let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            "'"
        } else {
            ""
        };
        match guard.is_empty() && !text.contains(['"', ',', '\n', '\r']) {
            true => text.clone(),
            false => format!("\"{guard}{}\"", text.replace('"', "\"\"")),
        }
    };
    cells.iter().map(cell).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_never_a_formula_and_never_breaks_its_row() {
        let row = csv_row(&["=1+1".into(), "a,\"b\"\n".into(), "plain".into()]);
        assert_eq!(row, "\"'=1+1\",\"a,\"\"b\"\"\n\",plain");
    }

    #[test]
    fn a_checkpoint_is_what_verify_prints() {
        let text = format!("12:{}", "ab".repeat(32));
        assert_eq!(checkpoint(&text).unwrap().seq, 12);
        assert!(checkpoint("12").is_err() && checkpoint("12:ab").is_err());
    }
}
