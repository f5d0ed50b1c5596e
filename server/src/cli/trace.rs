//! `doorward trace`: messages of the running server as they pass.

use std::process::ExitCode;

use clap::Args;
use jiff::tz::TimeZone;

use super::{Configured, Done, Failure, output, running};
use crate::trace::{Line, Rung};

/// Arguments of `trace`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  doorward trace\n  doorward trace --method REGISTER --source 192.0.2.20\n  \
    doorward trace --call 7f3a --messages\n\nCredentials, digits, keys, names and numbers are taken out before anything is shown."
)]
pub struct TraceArgs {
    /// Requests of this method and their responses.
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// One call: its id or the beginning of it, or a SIP Call-ID.
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    /// What the From header holds, or the device's name.
    #[arg(long, value_name = "TEXT")]
    from: Option<String>,
    /// The peer's address.
    #[arg(long, value_name = "IP")]
    source: Option<std::net::IpAddr>,
    /// Stop after so many messages.
    #[arg(long, short = 'n', value_name = "COUNT")]
    count: Option<u64>,
    /// Whole messages, redacted.
    #[arg(long, conflicts_with = "json")]
    messages: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configured: Configured,
}

pub(super) async fn run(args: TraceArgs) -> Done {
    let conf = args.configured.load()?;
    let source = args.source.map(|source| source.to_string());
    let parameters: Vec<(&str, &str)> = [
        ("method", args.method.as_deref()),
        ("call", args.call.as_deref()),
        ("from", args.from.as_deref()),
        ("source", source.as_deref()),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect();
    let Some(mut response) = running::get(&conf, "/trace", &parameters).await? else {
        let where_ = conf.http.map_or("http is not enabled".to_owned(), |http| {
            format!("nothing answers at {http}")
        });
        return Err(Failure(format!(
            "error: no server to ask: {where_}\n  = see [http] in {}",
            args.configured.config.display()
        )));
    };
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut pending: Vec<u8> = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Failure(format!("error: the server has gone: {error}")))?
    {
        pending.extend_from_slice(&chunk);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            if !event(&args, &String::from_utf8_lossy(&line)) {
                continue;
            }
            left -= 1;
            if left == 0 {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    output::error("error: the server has ended");
    Ok(super::no())
}

/// Shows one line of the event stream; `true` when it was a message.
fn event(args: &TraceArgs, line: &str) -> bool {
    let line = line.trim_end();
    if line == "event: listening" {
        output::error("listening; end with Ctrl-C");
    }
    let Some(line) = line
        .strip_prefix("data: ")
        .and_then(|data| serde_json::from_str::<Line>(data).ok())
    else {
        return false;
    };
    if args.json {
        output::line(&serde_json::to_string(&line).unwrap_or_default());
        return matches!(line, Line::Message { .. });
    }
    match line {
        Line::Lost(count) => {
            output::line(&format!(
                "… {count} messages lost: they came faster than they are read"
            ));
            false
        }
        Line::Message { call, rung } => {
            output::line(&summary(&rung, call.as_deref()));
            if args.messages {
                rung.text
                    .lines()
                    .for_each(|line| output::line(&format!("    {line}")));
                output::line("");
            }
            true
        }
    }
}

fn summary(rung: &Rung, call: Option<&str>) -> String {
    let at = rung
        .at
        .to_zoned(TimeZone::system())
        .strftime("%H:%M:%S%.3f")
        .to_string();
    let way = if rung.sent { "->" } else { "<-" };
    let remote = rung.remote.to_string();
    format!(
        "{at} {way} {:<4} {remote:<21} {:<20} {:<14} {}",
        rung.transport,
        rung.summary,
        rung.party,
        call.unwrap_or_default()
    )
    .trim_end()
    .to_owned()
}
