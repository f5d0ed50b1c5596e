//! `doorward account`: SIP accounts of phones, panels and door stations.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use conf::Secret;
use dialplan::Owner;
use jiff::Timestamp;
use serde_json::json;

use super::house::{ListArgs, entry, missing, print_passwords, revoke, single};
use super::{Configured, Done, Failure, output};
use crate::directory::{Wanted, WantedDevice, generate, hashed, owner_text};
use crate::store::Change;

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

pub(super) fn device_values(snapshot: &crate::store::Snapshot) -> Vec<serde_json::Value> {
    let profile = |id: &str| {
        snapshot
            .accounts
            .get(id)
            .map(|account| account.profile.clone())
    };
    let value = |d: &dialplan::Device| json!({ "id": d.id, "owner": owner_text(&d.owner), "label": d.label, "profile": profile(&d.id), "revoked": d.revoked });
    snapshot.directory.devices().values().map(value).collect()
}

pub(super) fn print_devices(snapshot: &crate::store::Snapshot) {
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
