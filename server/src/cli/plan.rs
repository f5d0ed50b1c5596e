//! `doorward plan check|explain`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};
use dialplan::{CallFacts, Caller, Diagnostic, Directory, Facts};
use jiff::Timestamp;

use super::{Configured, Done, Failure, moment, no, output};
use crate::files;
use crate::store::Store;

/// Commands on the plan.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read the plan and check it against the store: errors and warnings with line, caret and hint.
    ///
    /// Exit status 1 when there are errors.
    #[command(
        after_help = "Examples:\n  doorward plan check                  the configured plan, with the store's names\n  doorward plan check draft.kdl        a file by itself\n  doorward plan check --json | jq '.[] | .code'"
    )]
    Check(CheckArgs),
    /// Tell what would happen if somebody called: who rings, how long, what the keys do, and until when this holds.
    #[command(
        after_help = "Examples:\n  doorward plan explain --door lobby --dial 101\n  doorward plan explain --door lobby --dial 101 --at \"2026-12-24 18:59:50\" --given \"desk=busy, anna-1=declined\"\n  doorward plan explain --from desk-1 --dial lobby\n\nOutcomes for --given: answered declined busy no-answer push-failed unreachable blocked."
    )]
    Explain(ExplainArgs),
}

/// Arguments of `plan check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// A plan file instead of the configured one.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    configured: Configured,
    /// The findings as JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `plan explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The door that calls.
    #[arg(
        long,
        value_name = "DOOR",
        required_unless_present = "from",
        conflicts_with = "from"
    )]
    door: Option<String>,
    /// The device that calls.
    #[arg(long, value_name = "DEVICE")]
    from: Option<String>,
    /// What is dialled.
    #[arg(long, value_name = "NUMBER")]
    dial: String,
    /// When, in the site's time zone; default: now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// How members react: `desk=busy, anna-1=declined`. Who is not named does not answer.
    #[arg(long, value_name = "WHO=OUTCOME,…", default_value = "")]
    given: String,
    /// A plan file instead of the configured one.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    #[command(flatten)]
    configured: Configured,
    /// The answer as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: Command) -> Done {
    match command {
        Command::Check(args) => check(args).await,
        Command::Explain(args) => explain(args).await,
    }
}

async fn check(args: CheckArgs) -> Done {
    let (path, directory) = subject(args.file, &args.configured).await?;
    let mut found = match files::load_plan(&path) {
        Ok((plan, mut warnings)) => {
            warnings.extend(plan.check(&directory, Timestamp::now()));
            warnings
        }
        Err(files::Refused::Plan(found)) => found,
        Err(refused) => return Err(refused.into()),
    };
    found.sort_by_key(|diagnostic| diagnostic.span);
    let errors = found
        .iter()
        .filter(|diagnostic| diagnostic.is_error())
        .count();
    if args.json {
        output::json(&found);
    } else {
        report(&path, &found, errors);
    }
    Ok(if errors == 0 { ExitCode::SUCCESS } else { no() })
}

fn report(path: &std::path::Path, found: &[Diagnostic], errors: usize) {
    let drawn = dialplan::render(found, output::colour_out());
    if !drawn.trim().is_empty() {
        output::drawn(drawn.trim_end());
    }
    output::line(&format!(
        "{}: {errors} errors, {} warnings",
        path.display(),
        found.len() - errors
    ));
}

async fn explain(args: ExplainArgs) -> Done {
    let (path, directory) = subject(args.plan, &args.configured).await?;
    let (plan, _) = files::load_plan(&path)?;
    let plan = Arc::new(plan);
    let at = args
        .at
        .map_or(Ok(Timestamp::now()), |text| moment(&text, plan.time_zone()))?;
    let caller = match (args.door, args.from) {
        (Some(door), _) => {
            if plan.door(&door).is_none() {
                let doors: Vec<&str> = plan.doors().map(|door| door.name.as_str()).collect();
                return Err(Failure(unknown("door", &door, &doors)));
            }
            Caller::Door(door)
        }
        (None, Some(device)) => {
            if plan.trunks().any(|(trunk, _)| trunk == device) {
                Caller::Trunk(device)
            } else if directory.device(&device).is_none() {
                let devices: Vec<&str> = directory.devices().keys().map(String::as_str).collect();
                return Err(Failure(unknown("device", &device, &devices)));
            } else {
                Caller::Device(device)
            }
        }
        (None, None) => {
            return Err(Failure(
                "error: who calls? Give --door or --from".to_owned(),
            ));
        }
    };
    let given = dialplan::parse_given(&args.given).map_err(|part| {
        Failure(format!("error: `{part}` is not NAME=OUTCOME\n  = outcomes: answered declined busy no-answer push-failed unreachable blocked"))
    })?;
    let call = CallFacts {
        caller,
        dial: args.dial.clone(),
    };
    match dialplan::explain(&plan, &directory, &Facts::at(at), call, &given) {
        Ok(explanation) if args.json => output::json(&explanation),
        Ok(explanation) => output::line(explanation.to_string().trim_end()),
        Err(dialplan::NoRoute) => {
            output::error(&format!(
                "no route of {} takes this call to `{}`: the caller hears 404",
                path.display(),
                args.dial
            ));
            return Ok(no());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown(kind: &str, word: &str, known: &[&str]) -> String {
    let hint = match conf::nearest(word, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known: {}", known.join(", ")),
    };
    format!("error: there is no {kind} `{word}`\n  = {hint}")
}

/// The plan's file, and the store's facts as far as there are any. A file by itself needs no configuration.
async fn subject(
    file: Option<PathBuf>,
    configured: &Configured,
) -> Result<(PathBuf, Directory), Failure> {
    if !configured.config.exists()
        && let Some(file) = file
    {
        return Ok((file, Directory::default()));
    }
    let conf = configured.load()?;
    let directory = if conf.store.exists() {
        Store::open(&conf.store, &conf.site.name, &conf.site.realm)
            .await?
            .snapshot()
            .await?
            .directory
    } else {
        Directory::default()
    };
    Ok((file.unwrap_or(conf.plan), directory))
}
