//! `doorward call story|list`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Configured, Done, no, output};
use crate::store::CallRow;

/// Commands on past calls.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell a call step by step: messages, plan lines, digits, relay, with times.
    #[command(after_help = "Examples:\n  doorward call story --last\n  doorward call story 7f3a")]
    Story(StoryArgs),
    /// List calls, newest first.
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
    let (_, store) = args.configured.open_existing().await?;
    let id = match args.id {
        Some(id) => Some(id),
        None => store
            .calls(1)
            .await?
            .into_iter()
            .next()
            .map(|call| call.call),
    };
    let found = match &id {
        Some(id) => store.call(id).await?,
        None => None,
    };
    let Some((call, story)) = found else {
        let what = id.map_or("there are no calls yet".to_owned(), |id| {
            format!("there is no one call `{id}`")
        });
        output::error(&format!("error: {what}\n  = see `doorward call list`"));
        return Ok(no());
    };
    if args.json {
        output::json(&json!({ "call": value(&call), "story": story }));
    } else {
        output::line(&row(&call));
        story.iter().for_each(|line| output::line(line));
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ListArgs) -> Done {
    let (_, store) = args.configured.open_existing().await?;
    let calls = store.calls(args.count).await?;
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
