//! `doorward directory|unit|person`: who lives where.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use conf::Secret;
use dialplan::{Owner, Redacted};
use intercom::audit::{Entry, Kind};
use jiff::Timestamp;
use serde_json::json;

use super::account::{device_values, print_devices};
use super::import::{ImportArgs, import};
use super::{Configured, Done, Failure, no, output};
use crate::directory::{
    Comparison, Known, RowError, Wanted, WantedPerson, WantedUnit, check, compare,
};
use crate::files;
use crate::store::{Change, Store};

/// Commands on the whole directory.
#[derive(Debug, Subcommand)]
pub enum DirectoryCommand {
    /// Add and change units, people and devices from a CSV file.
    #[command(after_help = super::import::COLUMNS)]
    Import(ImportArgs),
    /// List units, people and devices.
    List(ListArgs),
}

/// Arguments of the lists.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// As JSON.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) configured: Configured,
}

/// Commands on units.
#[derive(Debug, Subcommand)]
pub enum UnitCommand {
    /// Add a unit, or set its flags.
    #[command(after_help = "Example: doorward unit add 101")]
    Add {
        /// Its number at the door.
        unit: String,
        /// A word the plan may ask for with if="@unit.FLAG"; repeatable.
        #[arg(long = "flag", value_name = "FLAG")]
        flags: Vec<String>,
        #[command(flatten)]
        configured: Configured,
    },
}

/// Commands on people.
#[derive(Debug, Subcommand)]
pub enum PersonCommand {
    /// Add a person, or change what is given.
    #[command(
        after_help = "Example: doorward person add anna --unit 101 --name \"Anna Novak\" --number +420601234567"
    )]
    Add {
        /// Short id in plan and log.
        person: String,
        /// Where the person lives or works.
        #[arg(long)]
        unit: Option<String>,
        /// The name shown to people.
        #[arg(long)]
        name: Option<String>,
        /// admin, staff, resident, guest, courier or vendor; default: resident.
        #[arg(long)]
        role: Option<String>,
        /// Telephone number with country code, in the order to be tried; repeatable.
        #[arg(long = "number", value_name = "+NUMBER")]
        numbers: Vec<String>,
        #[command(flatten)]
        configured: Configured,
    },
    /// Revoke a person and all her devices for good: they cannot register, ring or open any more.
    Revoke {
        /// The person.
        person: String,
        #[command(flatten)]
        configured: Configured,
    },
}

pub(super) async fn directory(command: DirectoryCommand) -> Done {
    match command {
        DirectoryCommand::Import(args) => import(args).await,
        DirectoryCommand::List(args) => list(args).await,
    }
}

pub(super) async fn unit(command: UnitCommand) -> Done {
    let UnitCommand::Add {
        unit,
        flags,
        configured,
    } = command;
    let flags = (!flags.is_empty()).then(|| flags.into_iter().collect::<BTreeSet<_>>());
    let wanted = Wanted {
        units: BTreeMap::from([(unit, WantedUnit { line: 0, flags })]),
        ..Wanted::default()
    };
    single(&configured, &wanted).await
}

pub(super) async fn person(command: PersonCommand) -> Done {
    match command {
        PersonCommand::Add {
            person,
            unit,
            name,
            role,
            numbers,
            configured,
        } => {
            let wanted = WantedPerson {
                line: 0,
                name: name.map(Redacted::new),
                role,
                unit,
                numbers: (!numbers.is_empty())
                    .then(|| parse_numbers(&numbers))
                    .transpose()?,
            };
            single(
                &configured,
                &Wanted {
                    people: BTreeMap::from([(person, wanted)]),
                    ..Wanted::default()
                },
            )
            .await
        }
        PersonCommand::Revoke { person, configured } => {
            revoke(&configured, "person", &person).await
        }
    }
}

/// One entry from the command line, by the same road as a file.
pub(super) async fn single(configured: &Configured, wanted: &Wanted) -> Done {
    let (conf, store) = configured.open().await?;
    match prepare(wanted, &conf, &store).await? {
        Ok(comparison) => {
            if !comparison.is_empty() {
                store.apply(&comparison.change, Timestamp::now()).await?;
            }
            for line in &comparison.report {
                output::line(line.to_string().trim_end());
            }
            print_passwords(&comparison.passwords.iter().collect::<Vec<_>>(), &conf);
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) => {
            errors
                .iter()
                .for_each(|error| output::error(&format!("error: {error}")));
            Ok(no())
        }
    }
}

pub(super) async fn prepare(
    wanted: &Wanted,
    conf: &conf::Resolved,
    store: &Store,
) -> Result<Result<Comparison, Vec<RowError>>, Failure> {
    let plan = files::load_plan(&conf.plan).ok().map(|(plan, _)| plan);
    if plan.is_none() {
        output::error(&format!(
            "note: the plan {} does not load: door and desk names are not checked",
            conf.plan.display()
        ));
    }
    let known = Known {
        profiles: conf.stations.keys().cloned().collect(),
        doors: plan
            .as_ref()
            .map(|plan| plan.doors().map(|door| door.name.clone()).collect()),
        desks: plan
            .as_ref()
            .map(|plan| plan.desks().map(|desk| desk.name.clone()).collect()),
    };
    let mut errors = check(wanted, &known);
    let snapshot = store.snapshot().await?;
    let comparison = compare(wanted, &snapshot, store, &actor(), Timestamp::now());
    Ok(match comparison {
        Ok(comparison) if errors.is_empty() => Ok(comparison),
        Ok(_) => Err(errors),
        Err(more) => {
            errors.extend(more);
            errors.sort_by_key(|error| error.line);
            Err(errors)
        }
    })
}

pub(super) fn print_passwords(passwords: &[(&String, &Secret)], conf: &conf::Resolved) {
    let domain = conf.site.domains.first().map_or("", String::as_str);
    for (user, password) in passwords {
        output::line(&format!(
            "account    sip:{user}@{domain}   user {user}   password {}   (shown once)",
            password.expose()
        ));
    }
}

fn parse_numbers(texts: &[String]) -> Result<Vec<Redacted>, Failure> {
    let plan = pstn::NumberPlan {
        country: String::new(),
        international: String::new(),
        trunk_prefix: String::new(),
    };
    let parse = |text: &String| {
        let number = pstn::Number::parse(text, &plan)
            .ok()
            .filter(|_| text.starts_with('+'));
        let number = number.ok_or_else(|| Failure(format!("error: `{text}` is not a telephone number\n  = write it with country code: +420601234567")))?;
        Ok(Redacted::new(number.reveal()))
    };
    texts.iter().map(parse).collect()
}

pub(super) async fn revoke(configured: &Configured, kind: &'static str, id: &str) -> Done {
    let (_, store) = configured.open_existing().await?;
    let snapshot = store.snapshot().await?;
    let mut change = Change::default();
    let mut devices: Vec<&dialplan::Device> = Vec::new();
    match kind {
        "person" => {
            let Some(person) = snapshot.directory.person(id) else {
                return Ok(missing(kind, id, snapshot.directory.people().keys()));
            };
            change.people.push(dialplan::Person {
                revoked: true,
                ..person.clone()
            });
            change
                .audit
                .push(entry(&store, format!("person {id}: revoked")));
            devices.extend(
                snapshot
                    .directory
                    .devices()
                    .values()
                    .filter(|d| d.owner == Owner::Person(id.to_owned())),
            );
        }
        _ => {
            let Some(device) = snapshot.directory.device(id) else {
                return Ok(missing(kind, id, snapshot.directory.devices().keys()));
            };
            devices.push(device);
        }
    }
    for device in devices {
        let Some(account) = snapshot.accounts.get(&device.id) else {
            continue;
        };
        change.devices.push((
            dialplan::Device {
                revoked: true,
                ..device.clone()
            },
            account.clone(),
        ));
        change
            .audit
            .push(entry(&store, format!("device {}: revoked", device.id)));
    }
    store.apply(&change, Timestamp::now()).await?;
    change
        .people
        .iter()
        .for_each(|person| output::line(&format!("revoked    person  {}", person.id)));
    change
        .devices
        .iter()
        .for_each(|(device, _)| output::line(&format!("revoked    device  {}", device.id)));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn missing<'a>(
    kind: &str,
    id: &str,
    known: impl Iterator<Item = &'a String>,
) -> ExitCode {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let hint = conf::nearest(id, &known).map_or_else(
        || "see `doorward directory list`".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    output::error(&format!("error: there is no {kind} `{id}`\n  = {hint}"));
    no()
}

pub(super) fn entry(store: &Store, detail: String) -> Entry {
    Entry {
        actor: Some(actor()),
        method: Some("cli".to_owned()),
        detail: Some(detail),
        ..Entry::new(Timestamp::now(), store.site(), Kind::Credential)
    }
}

/// Who stands in the log: the system user who runs the command.
fn actor() -> String {
    let uid = nix::unistd::getuid();
    let name = nix::unistd::User::from_uid(uid)
        .ok()
        .flatten()
        .map_or_else(|| uid.to_string(), |user| user.name);
    format!("cli:{name}")
}

async fn list(args: ListArgs) -> Done {
    let (_, store) = args.configured.open_existing().await?;
    let snapshot = store.snapshot().await?;
    let directory = &snapshot.directory;
    if args.json {
        let units: Vec<_> = directory
            .units()
            .values()
            .map(|u| json!({ "id": u.id, "flags": u.flags }))
            .collect();
        let person = |p: &dialplan::Person| {
            json!({ "id": p.id, "name": p.name.reveal(), "role": p.role, "unit": p.unit, "revoked": p.revoked,
                    "numbers": p.numbers.iter().map(Redacted::masked).collect::<Vec<_>>() })
        };
        let people: Vec<_> = directory.people().values().map(person).collect();
        output::json(
            &json!({ "units": units, "people": people, "devices": device_values(&snapshot) }),
        );
        return Ok(ExitCode::SUCCESS);
    }
    for unit in directory.units().values() {
        let flags: Vec<&str> = unit.flags.iter().map(String::as_str).collect();
        output::line(format!("unit    {:<16} {}", unit.id, flags.join(" ")).trim_end());
    }
    for person in directory.people().values() {
        let unit = person.unit.as_deref().unwrap_or("-");
        let numbers: Vec<String> = person.numbers.iter().map(Redacted::masked).collect();
        let revoked = if person.revoked { "REVOKED" } else { "" };
        let name = person.name.reveal();
        let text = format!(
            "person  {:<16} unit {unit:<8} {:<10} {name} {} {revoked}",
            person.id,
            person.role,
            numbers.join(" ")
        );
        output::line(text.trim_end());
    }
    print_devices(&snapshot);
    Ok(ExitCode::SUCCESS)
}
