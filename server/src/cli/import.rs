//! `doorward directory import`.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::house::{prepare, print_passwords};
use super::{Configured, Done, Failure, no, output, read_file};
use crate::directory::{Comparison, What, read};

/// What stands in the file.
pub(super) const COLUMNS: &str = "\
The file has a header line and, in any order, these columns (`,` or `;` between them, UTF-8):
  unit      flat or office, created when new          flags     words for if=\"@unit.FLAG\", separated by spaces
  person    short id in plan and log                  name, role (default resident), numbers (+420…|+420…)
  device    SIP user name; belongs to the row's person, desk or door, else to its unit
  label     kind of device (mobile, panel)            profile   station profile, default generic
  password  only when it is not ours to choose        desk, door  names of the plan

  unit,person,name,numbers,device,label,desk,door,profile
  101,anna,Anna Novak,+420601234567,anna-1,mobile,,,
  101,,,,panel-101,panel,,,
  ,,,,desk-1,,desk,,
  ,,,,lobby,,,lobby,2n

Nothing is deleted by leaving it out. A device without a password gets a random one, shown or written once.
When any line is wrong, all errors are listed with line and column, and nothing is written (exit status 1).";

/// Arguments of `directory import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The CSV file.
    #[arg(value_name = "FILE.csv")]
    file: PathBuf,
    /// Only tell what would change.
    #[arg(long)]
    dry_run: bool,
    /// Write new passwords to this file (made with mode 0600, never overwritten) instead of printing them.
    #[arg(long, value_name = "OUT.csv")]
    accounts: Option<PathBuf>,
    /// The report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configured: Configured,
}

pub(super) async fn import(args: ImportArgs) -> Done {
    let text = read_file(&args.file)?;
    let (conf, store) = args.configured.open().await?;
    let outcome = match read(&text) {
        Ok(wanted) => prepare(&wanted, &conf, &store).await?,
        Err(errors) => Err(errors),
    };
    let comparison = match outcome {
        Ok(comparison) => comparison,
        Err(errors) => {
            if args.json {
                output::json(&json!({ "written": false, "errors": errors }));
            } else {
                for error in &errors {
                    output::error(&format!("{}: {error}", args.file.display()));
                }
                output::error(&format!("{} errors; nothing was written", errors.len()));
            }
            return Ok(no());
        }
    };
    let mut passwords = Vec::new();
    if !args.dry_run && !comparison.is_empty() {
        // The file first: a password must not be lost because its file cannot be made.
        let file = args.accounts.as_deref().map(create_accounts).transpose()?;
        store.apply(&comparison.change, Timestamp::now()).await?;
        match file {
            Some(file) => write_accounts(file, args.accounts.as_deref(), &comparison, &conf)?,
            None => passwords = comparison.passwords.iter().collect(),
        }
    }
    if args.json {
        let passwords: BTreeMap<_, _> = passwords
            .iter()
            .map(|(user, password)| (user, password.expose()))
            .collect();
        output::json(
            &json!({ "written": !args.dry_run, "report": comparison.report, "passwords": passwords }),
        );
    } else {
        report(&comparison, args.dry_run);
        print_passwords(&passwords, &conf);
        if let Some(path) = args
            .accounts
            .filter(|_| !args.dry_run && !comparison.passwords.is_empty())
        {
            output::line(&format!(
                "{} passwords written to {}",
                comparison.passwords.len(),
                path.display()
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn report(comparison: &Comparison, dry_run: bool) {
    let count = |what| {
        comparison
            .report
            .iter()
            .filter(|line| line.what == what)
            .count()
    };
    for line in comparison
        .report
        .iter()
        .filter(|line| line.what != What::Unchanged)
    {
        output::line(line.to_string().trim_end());
    }
    let (added, changed, unchanged) = (
        count(What::Added),
        count(What::Changed),
        count(What::Unchanged),
    );
    let end = if dry_run {
        "; dry run, nothing was written"
    } else {
        ""
    };
    output::line(&format!(
        "{added} added, {changed} changed, {unchanged} unchanged{end}"
    ));
}

fn create_accounts(path: &Path) -> Result<std::fs::File, Failure> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| {
            Failure(format!(
                "error: cannot make {}: {e}\n  = the file must not exist yet; nothing was written",
                path.display()
            ))
        })
}

fn write_accounts(
    mut file: std::fs::File,
    path: Option<&Path>,
    comparison: &Comparison,
    conf: &conf::Resolved,
) -> Result<(), Failure> {
    let domain = conf.site.domains.first().map_or("", String::as_str);
    let mut text = String::from("user,password,domain\n");
    for (user, password) in &comparison.passwords {
        text.push_str(&format!("{user},{},{domain}\n", password.expose()));
    }
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|e| {
        let path = path.map_or_else(String::new, |path| path.display().to_string());
        Failure(format!("error: cannot write {path}: {e}\n  = the accounts exist; give them passwords with `doorward account passwd`"))
    })
}
