//! `doorward directory|unit|person|account`: who lives where, with which devices.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use conf::Secret;
use dialplan::{Owner, Redacted};
use intercom::audit::{Entry, Kind};
use jiff::Timestamp;
use serde_json::json;

use super::{Configured, Done, Failure, no, output, read_file};
use crate::directory::{
    Comparison, Known, RowError, Wanted, WantedDevice, WantedPerson, WantedUnit, What, check,
    compare, generate, hashed, owner_text, read,
};
use crate::files;
use crate::store::{Change, Store};

const COLUMNS: &str = "\
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

/// Commands on the whole directory.
#[derive(Debug, Subcommand)]
pub enum DirectoryCommand {
    /// Add and change units, people and devices from a CSV file.
    #[command(after_help = COLUMNS)]
    Import(ImportArgs),
    /// List units, people and devices.
    List(ListArgs),
}

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

/// Arguments of the lists.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configured: Configured,
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

/// Commands on SIP accounts.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Add a device with its SIP account and print its new password once.
    #[command(
        after_help = "Examples:\n  doorward account add anna-1 --person anna --label mobile\n  doorward account add panel-101 --unit 101 --label panel\n  doorward account add desk-1 --desk desk\n  doorward account add lobby --door lobby --profile 2n"
    )]
    Add(AddArgs),
    /// Give a device a new password and print it once. Its registrations stay until they expire.
    Passwd {
        /// The SIP user name.
        user: String,
        /// Read the password from standard input instead of making one.
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        configured: Configured,
    },
    /// Revoke a device for good.
    Revoke {
        /// The SIP user name.
        user: String,
        #[command(flatten)]
        configured: Configured,
    },
    /// List accounts.
    List(ListArgs),
}

/// Arguments of `account add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The SIP user name.
    user: String,
    #[command(flatten)]
    owner: OwnerArgs,
    /// Kind of device, for `@unit.mobile` in the plan.
    #[arg(long)]
    label: Option<String>,
    /// Station profile; default: generic.
    #[arg(long)]
    profile: Option<String>,
    /// Read the password from standard input instead of making one.
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    configured: Configured,
}

/// Whose device it is.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct OwnerArgs {
    /// A person of the directory.
    #[arg(long)]
    person: Option<String>,
    /// A unit of the directory.
    #[arg(long)]
    unit: Option<String>,
    /// A desk of the plan.
    #[arg(long)]
    desk: Option<String>,
    /// A door of the plan: the station itself.
    #[arg(long)]
    door: Option<String>,
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

pub(super) async fn account(command: AccountCommand) -> Done {
    match command {
        AccountCommand::Add(args) => {
            let OwnerArgs {
                person,
                unit,
                desk,
                door,
            } = args.owner;
            let owner = person
                .map(Owner::Person)
                .or(unit.map(Owner::Unit))
                .or(desk.map(Owner::Desk))
                .or(door.map(Owner::Door));
            let Some(owner) = owner else {
                return Err(Failure("error: whose device is it?".to_owned()));
            };
            let password = args.password_stdin.then(password_from_stdin).transpose()?;
            let wanted = WantedDevice {
                line: 0,
                owner,
                label: args.label,
                profile: args.profile,
                password,
            };
            single(
                &args.configured,
                &Wanted {
                    devices: BTreeMap::from([(args.user, wanted)]),
                    ..Wanted::default()
                },
            )
            .await
        }
        AccountCommand::Passwd {
            user,
            password_stdin,
            configured,
        } => passwd(&configured, &user, password_stdin).await,
        AccountCommand::Revoke { user, configured } => revoke(&configured, "device", &user).await,
        AccountCommand::List(args) => accounts(args).await,
    }
}

async fn import(args: ImportArgs) -> Done {
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

/// One entry from the command line, by the same road as a file.
async fn single(configured: &Configured, wanted: &Wanted) -> Done {
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

async fn prepare(
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

fn print_passwords(passwords: &[(&String, &Secret)], conf: &conf::Resolved) {
    let domain = conf.site.domains.first().map_or("", String::as_str);
    for (user, password) in passwords {
        output::line(&format!(
            "account    sip:{user}@{domain}   user {user}   password {}   (shown once)",
            password.expose()
        ));
    }
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

fn password_from_stdin() -> Result<Secret, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .read_line(&mut text)
        .map_err(|e| Failure(format!("error: cannot read the password: {e}")))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.chars().count() < crate::directory::PASSWORD_MIN {
        let least = crate::directory::PASSWORD_MIN;
        return Err(Failure(format!(
            "error: the password is shorter than {least} characters\n  = leave --password-stdin out to get a random one"
        )));
    }
    Ok(Secret::new(password))
}

async fn passwd(configured: &Configured, user: &str, from_stdin: bool) -> Done {
    let (conf, store) = configured.open_existing().await?;
    let snapshot = store.snapshot().await?;
    let Some((device, account)) = snapshot
        .directory
        .device(user)
        .zip(snapshot.accounts.get(user))
        .filter(|(d, _)| !d.revoked)
    else {
        return Ok(missing("device", user, snapshot.accounts.keys()));
    };
    let password = match from_stdin {
        true => password_from_stdin()?,
        false => generate()
            .map_err(|e| Failure(format!("error: the system gives no randomness: {e}")))?,
    };
    let account = hashed(user, store.realm(), &password, account.profile.clone());
    let change = Change {
        devices: vec![(device.clone(), account)],
        audit: vec![entry(&store, format!("device {user}: new password"))],
        ..Change::default()
    };
    store.apply(&change, Timestamp::now()).await?;
    output::line(&format!("changed    device  {user}"));
    if !from_stdin {
        print_passwords(&[(&user.to_owned(), &password)], &conf);
    }
    Ok(ExitCode::SUCCESS)
}

async fn revoke(configured: &Configured, kind: &'static str, id: &str) -> Done {
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

fn missing<'a>(kind: &str, id: &str, known: impl Iterator<Item = &'a String>) -> ExitCode {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let hint = conf::nearest(id, &known).map_or_else(
        || "see `doorward directory list`".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    output::error(&format!("error: there is no {kind} `{id}`\n  = {hint}"));
    no()
}

fn entry(store: &Store, detail: String) -> Entry {
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

async fn accounts(args: ListArgs) -> Done {
    let (_, store) = args.configured.open_existing().await?;
    let snapshot = store.snapshot().await?;
    if args.json {
        output::json(&device_values(&snapshot));
    } else {
        print_devices(&snapshot);
    }
    Ok(ExitCode::SUCCESS)
}

fn device_values(snapshot: &crate::store::Snapshot) -> Vec<serde_json::Value> {
    let profile = |id: &str| {
        snapshot
            .accounts
            .get(id)
            .map(|account| account.profile.clone())
    };
    let value = |d: &dialplan::Device| json!({ "id": d.id, "owner": owner_text(&d.owner), "label": d.label, "profile": profile(&d.id), "revoked": d.revoked });
    snapshot.directory.devices().values().map(value).collect()
}

fn print_devices(snapshot: &crate::store::Snapshot) {
    for device in snapshot.directory.devices().values() {
        let profile = snapshot
            .accounts
            .get(&device.id)
            .map_or("-", |account| account.profile.as_str());
        let label = device.label.as_deref().unwrap_or("-");
        let revoked = if device.revoked { "REVOKED" } else { "" };
        let owner = owner_text(&device.owner);
        output::line(
            format!(
                "device  {:<16} {owner:<20} label {label:<10} profile {profile:<10} {revoked}",
                device.id
            )
            .trim_end(),
        );
    }
}
