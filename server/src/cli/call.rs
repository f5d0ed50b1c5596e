//! `doorward call story|list`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Configured, Done, Failure, ladder, moment, no, output, running};
use crate::store::{CallFilter, CallRow};
use crate::trace::Kept;

/// Commands on past calls.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell a call step by step: messages, plan lines, digits, relay, with times.
    #[command(
        after_help = "Examples:\n  doorward call story --last\n  doorward call story 7f3a --messages\n  \
                      doorward call story 7f3a --pcap call.pcap"
    )]
    Story(StoryArgs),
    /// List calls, newest first.
    #[command(
        after_help = "Examples:\n  doorward call list --door lobby --since \"2026-12-24 18:00\"\n  \
                      doorward call list --failed --json"
    )]
    List(ListArgs),
}

/// Arguments of `call story`.
#[derive(Debug, Args)]
pub struct StoryArgs {
    /// The call's id or its beginning.
    #[arg(
        value_name = "ID",
        required_unless_present = "last",
        conflicts_with = "last"
    )]
    id: Option<String>,
    /// The latest call.
    #[arg(long)]
    last: bool,
    /// Every SIP message too, redacted.
    #[arg(long, conflicts_with = "json")]
    messages: bool,
    /// Write the messages, redacted, as a capture that Wireshark opens.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configured: Configured,
}

/// Arguments of `call list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// How many.
    #[arg(short = 'n', long, default_value_t = 20)]
    count: u32,
    /// Calls of this door.
    #[arg(long, value_name = "DOOR")]
    door: Option<String>,
    /// Calls that began at this time or later, such as "2026-12-24 18:00".
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Calls that nobody answered.
    #[arg(long)]
    failed: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configured: Configured,
}

pub(super) async fn run(command: Command) -> Done {
    match command {
        Command::Story(args) => story(args).await,
        Command::List(args) => list(args).await,
    }
}

async fn story(args: StoryArgs) -> Done {
    let (conf, store) = args.configured.open_existing().await?;
    let id = match args.id {
        Some(id) => Some(id),
        None => store
            .calls(&CallFilter::default(), 1)
            .await?
            .into_iter()
            .next()
            .map(|call| call.call),
    };
    let found = match &id {
        Some(id) => store.call(id).await?,
        None => None,
    };
    let call_id = found.as_ref().map(|(call, _)| &call.call).or(id.as_ref());
    // On disk when it was kept, else in the running server's memory, as for a call in progress.
    let mut kept = match call_id {
        Some(call) => store.ladder(call).await?,
        None => None,
    };
    let mut live = None;
    if let (None, Some(call)) = (&kept, call_id) {
        let told = told(&conf, call).await;
        (kept, live) = told.map_or((None, None), |told| (Some(told.ladder), told.story));
    }
    if found.is_none() && live.is_none() {
        let what = id.map_or("there are no calls yet".to_owned(), |id| {
            format!("there is no one call `{id}`")
        });
        output::error(&format!("error: {what}\n  = see `doorward call list`"));
        return Ok(no());
    }
    if let Some(path) = &args.pcap {
        let Some(kept) = &kept else {
            output::error(&format!("error: {NOT_KEPT}"));
            return Ok(no());
        };
        write_private(path, &ladder::capture(kept))?;
    }
    let (call, lines) = match found {
        Some((call, story)) => (Some(call), story),
        None => (
            None,
            live.unwrap_or_default()
                .lines()
                .map(str::to_owned)
                .collect(),
        ),
    };
    if args.json {
        let messages = kept.map(|kept| kept.rungs);
        output::json(
            &json!({ "call": call.as_ref().map(value), "story": lines, "messages": messages }),
        );
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&call.as_ref().map_or("in progress".to_owned(), row));
    lines.iter().for_each(|line| output::line(line));
    output::line("");
    match &kept {
        Some(kept) if args.messages => ladder::messages(kept)
            .iter()
            .for_each(|line| output::line(line)),
        Some(kept) => ladder::drawn(kept)
            .iter()
            .for_each(|line| output::line(line)),
        None => output::line(NOT_KEPT),
    }
    Ok(ExitCode::SUCCESS)
}

const NOT_KEPT: &str = "its messages are no longer in the running server's memory and were not kept\n  \
    = [trace] keep = \"all\" keeps those of every call";

/// What the running server says of a call.
#[derive(serde::Deserialize)]
struct Told {
    story: Option<String>,
    ladder: Kept,
}

/// A server that does not run, or not the one of this configuration, knows nothing: the story is told without it.
async fn told(conf: &conf::Resolved, call: &str) -> Option<Told> {
    let safe = call
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !safe {
        return None;
    }
    let path = format!("/calls/{call}/ladder");
    match running::get(conf, &path, &[]).await {
        Ok(response) => serde_json::from_str(&response?.text().await.ok()?).ok(),
        Err(failure) => {
            output::error(&failure.to_string());
            None
        }
    }
}

/// Whom somebody called is for the owner's eyes.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let written = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes));
    written.map_err(|error| Failure(format!("error: cannot write {}: {error}", path.display())))
}

async fn list(args: ListArgs) -> Done {
    let (_, store) = args.configured.open_existing().await?;
    let zone = jiff::tz::TimeZone::system();
    let since = args.since.map(|text| moment(&text, &zone)).transpose()?;
    let filter = CallFilter {
        door: args.door,
        since,
        failed: args.failed,
    };
    let calls = store.calls(&filter, args.count).await?;
    if args.json {
        output::json(&calls.iter().map(value).collect::<Vec<_>>());
    } else {
        calls.iter().for_each(|call| output::line(&row(call)));
    }
    Ok(ExitCode::SUCCESS)
}

/// The call with its CDR as JSON, not as text within it.
fn value(call: &CallRow) -> serde_json::Value {
    let record: serde_json::Value = serde_json::from_str(&call.record).unwrap_or_default();
    json!({ "call": call.call, "started": call.started, "ended": call.ended, "caller": call.caller, "dialled": call.dialled,
            "outcome": call.outcome, "record": record })
}

fn row(call: &CallRow) -> String {
    let started = call
        .started
        .to_zoned(jiff::tz::TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string();
    let seconds = call.ended.duration_since(call.started).as_secs_f64();
    format!(
        "{started}  {:<24} {:<20} -> {:<12} {:<12} {seconds:.1} s",
        call.call, call.caller, call.dialled, call.outcome
    )
}
