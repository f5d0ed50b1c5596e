//! [`Wanted`] against the store: what would be added, changed, left.

use std::collections::BTreeMap;
use std::fmt;

use conf::Secret;
use dialplan::{Device, Owner, Person, Unit};
use intercom::audit::{Entry, Kind};
use jiff::Timestamp;
use serde::Serialize;
use sip_proxy::digest::Ha1;

use super::{RowError, Wanted, WantedDevice, WantedPerson, generate};
use crate::store::{AccountRow, Change, Snapshot, Store};

/// What happens to one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It is new.
    Added,
    /// It is there and becomes different.
    Changed,
    /// It is there already.
    Unchanged,
}

/// One entry's line of the report. Names, numbers and passwords are told to have changed, not shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReportLine {
    /// What happens.
    pub what: What,
    /// `unit`, `person` or `device`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// In which way.
    pub details: Vec<String>,
}

impl fmt::Display for ReportLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Added => "added",
            What::Changed => "changed",
            What::Unchanged => "unchanged",
        };
        write!(
            f,
            "{what:<10} {:<7} {:<16} {}",
            self.kind,
            self.id,
            self.details.join(", ")
        )
    }
}

/// The outcome of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Every entry named, units first.
    pub report: Vec<ReportLine>,
    /// What to write; empty when nothing changes.
    pub change: Change,
    /// Passwords made now, by user name. They exist nowhere else.
    pub passwords: BTreeMap<String, Secret>,
}

impl Comparison {
    /// Nothing would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.report.iter().all(|line| line.what == What::Unchanged)
    }
}

/// Compares. `actor` (`cli:root`) stands in the audit records.
///
/// # Errors
/// What the store's present content forbids: unknown people, revoked entries.
pub fn compare(
    wanted: &Wanted,
    snapshot: &Snapshot,
    store: &Store,
    actor: &str,
    now: Timestamp,
) -> Result<Comparison, Vec<RowError>> {
    let mut comparing = Comparing {
        snapshot,
        store,
        comparison: Comparison::default(),
        errors: Vec::new(),
    };
    for (id, unit) in &wanted.units {
        comparing.unit(id, unit.flags.as_ref());
    }
    for (id, person) in &wanted.people {
        comparing.person(id, person, wanted);
    }
    for (id, device) in &wanted.devices {
        comparing.device(id, device, wanted);
    }
    let Comparing {
        mut comparison,
        errors,
        ..
    } = comparing;
    if !errors.is_empty() {
        return Err(errors);
    }
    for line in comparison
        .report
        .iter()
        .filter(|line| line.what != What::Unchanged)
    {
        comparison.change.audit.push(Entry {
            actor: Some(actor.to_owned()),
            method: Some("cli".to_owned()),
            detail: Some(
                line.to_string()
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
            ..Entry::new(now, store.site(), Kind::Credential)
        });
    }
    Ok(comparison)
}

struct Comparing<'a> {
    snapshot: &'a Snapshot,
    store: &'a Store,
    comparison: Comparison,
    errors: Vec<RowError>,
}

impl Comparing<'_> {
    fn report(&mut self, known: bool, kind: &'static str, id: &str, details: Vec<String>) -> What {
        let what = match (known, details.is_empty()) {
            (false, _) => What::Added,
            (true, false) => What::Changed,
            (true, true) => What::Unchanged,
        };
        self.comparison.report.push(ReportLine {
            what,
            kind,
            id: id.to_owned(),
            details,
        });
        what
    }

    fn unit(&mut self, id: &str, flags: Option<&std::collections::BTreeSet<String>>) {
        let old = self.snapshot.directory.unit(id);
        let flags = flags
            .or(old.map(|unit| &unit.flags))
            .cloned()
            .unwrap_or_default();
        let mut details = Vec::new();
        if old.map_or(!flags.is_empty(), |unit| unit.flags != flags) {
            details.push(format!(
                "flags: {}",
                flags
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(" ")
            ));
        }
        if self.report(old.is_some(), "unit", id, details) != What::Unchanged {
            self.comparison.change.units.push(Unit {
                id: id.to_owned(),
                flags,
            });
        }
    }

    fn person(&mut self, id: &str, wanted: &WantedPerson, all: &Wanted) {
        let old = self.snapshot.directory.person(id);
        if old.is_some_and(|person| person.revoked) {
            self.errors.push(revoked(wanted.line, "person", id));
            return;
        }
        let unit = wanted
            .unit
            .clone()
            .or_else(|| old.and_then(|person| person.unit.clone()));
        if let Some(unit) = &unit
            && !all.units.contains_key(unit)
            && self.snapshot.directory.unit(unit).is_none()
        {
            let units = self.snapshot.directory.units().keys().map(String::as_str);
            self.errors
                .push(super::unknown(wanted.line, "unit", unit, units));
        }
        let person = Person {
            id: id.to_owned(),
            name: wanted
                .name
                .clone()
                .or_else(|| old.map(|p| p.name.clone()))
                .unwrap_or_default(),
            role: wanted
                .role
                .clone()
                .or_else(|| old.map(|p| p.role.clone()))
                .unwrap_or_else(|| "resident".to_owned()),
            unit,
            numbers: wanted
                .numbers
                .clone()
                .or_else(|| old.map(|p| p.numbers.clone()))
                .unwrap_or_default(),
            revoked: false,
        };
        let of = |person: &Person| {
            let unit = person
                .unit
                .as_ref()
                .map_or("no unit".to_owned(), |unit| format!("unit {unit}"));
            [person.role.clone(), unit]
        };
        let mut details = match old {
            None => of(&person).to_vec(),
            Some(old) => moved(&of(old), &of(&person)),
        };
        if old.is_some_and(|old| old.name != person.name) {
            details.push("name".to_owned());
        }
        match old {
            None if person.numbers.len() == 1 => details.push("1 number".to_owned()),
            None if !person.numbers.is_empty() => {
                details.push(format!("{} numbers", person.numbers.len()));
            }
            Some(old) if old.numbers != person.numbers => details.push("numbers".to_owned()),
            _ => {}
        }
        if self.report(old.is_some(), "person", id, details) != What::Unchanged {
            self.comparison.change.people.push(person);
        }
    }

    fn device(&mut self, id: &str, wanted: &WantedDevice, all: &Wanted) {
        let old = self
            .snapshot
            .directory
            .device(id)
            .zip(self.snapshot.accounts.get(id));
        if old.is_some_and(|(device, _)| device.revoked) {
            self.errors.push(revoked(wanted.line, "device", id));
            return;
        }
        if let Err(error) = self.owner_exists(wanted, all) {
            self.errors.push(error);
            return;
        }
        let label = wanted
            .label
            .clone()
            .or_else(|| old.and_then(|(device, _)| device.label.clone()));
        let profile = wanted
            .profile
            .clone()
            .or_else(|| old.map(|(_, account)| account.profile.clone()));
        let profile = profile.unwrap_or_else(|| "generic".to_owned());
        let device = Device {
            id: id.to_owned(),
            owner: wanted.owner.clone(),
            label,
            revoked: false,
        };
        let Some(account) = self.account(id, profile, wanted, old.map(|(_, account)| account))
        else {
            return;
        };
        let of = |device: &Device, account: &AccountRow| {
            let label = device
                .label
                .as_ref()
                .map_or("no label".to_owned(), |label| format!("label {label}"));
            [
                owner_text(&device.owner),
                label,
                format!("profile {}", account.profile),
            ]
        };
        let mut details = match old {
            None => of(&device, &account).to_vec(),
            Some((old_device, old_account)) => {
                moved(&of(old_device, old_account), &of(&device, &account))
            }
        };
        if old.is_some_and(|(_, old)| old.ha1_sha256 != account.ha1_sha256) {
            details.push("password".to_owned());
        }
        if self.report(old.is_some(), "device", id, details) != What::Unchanged {
            self.comparison.change.devices.push((device, account));
        }
    }

    /// The account with its hashes; a device without a password gets a random one.
    fn account(
        &mut self,
        id: &str,
        profile: String,
        wanted: &WantedDevice,
        old: Option<&AccountRow>,
    ) -> Option<AccountRow> {
        let password = match (&wanted.password, old) {
            (Some(password), _) => password.clone(),
            (None, Some(old)) => {
                return Some(AccountRow {
                    profile,
                    ..old.clone()
                });
            }
            (None, None) => match generate() {
                Ok(password) => {
                    self.comparison
                        .passwords
                        .insert(id.to_owned(), password.clone());
                    password
                }
                Err(e) => {
                    self.errors.push(RowError::new(
                        wanted.line,
                        "password",
                        format!("the system gives no randomness: {e}"),
                    ));
                    return None;
                }
            },
        };
        Some(hashed(id, self.store.realm(), &password, profile))
    }

    fn owner_exists(&self, wanted: &WantedDevice, all: &Wanted) -> Result<(), RowError> {
        let directory = &self.snapshot.directory;
        match &wanted.owner {
            Owner::Person(id) if !all.people.contains_key(id) && directory.person(id).is_none() => {
                Err(super::unknown(
                    wanted.line,
                    "person",
                    id,
                    directory.people().keys().map(String::as_str),
                ))
            }
            Owner::Person(id) if directory.person(id).is_some_and(|person| person.revoked) => {
                Err(revoked(wanted.line, "person", id))
            }
            Owner::Unit(id) if !all.units.contains_key(id) && directory.unit(id).is_none() => {
                Err(super::unknown(
                    wanted.line,
                    "unit",
                    id,
                    directory.units().keys().map(String::as_str),
                ))
            }
            _ => Ok(()),
        }
    }
}

/// The account row of `password`. MD5 too: many desk phones and stations know nothing newer.
#[must_use]
pub fn hashed(user: &str, realm: &str, password: &Secret, profile: String) -> AccountRow {
    let ha1 = Ha1::of(user, realm, password.expose(), true);
    AccountRow {
        user: user.to_owned(),
        profile,
        ha1_sha256: ha1.sha256.unwrap_or_default(),
        ha1_md5: ha1.md5,
        revoked: false,
    }
}

/// `person anna`.
#[must_use]
pub fn owner_text(owner: &Owner) -> String {
    match owner {
        Owner::Person(id) => format!("person {id}"),
        Owner::Unit(id) => format!("unit {id}"),
        Owner::Desk(id) => format!("desk {id}"),
        Owner::Door(id) => format!("door {id}"),
    }
}

/// `old -> new` for each pair that differs.
fn moved(old: &[String], new: &[String]) -> Vec<String> {
    old.iter()
        .zip(new)
        .filter(|(old, new)| old != new)
        .map(|(old, new)| format!("{old} -> {new}"))
        .collect()
}

fn revoked(line: u64, kind: &'static str, id: &str) -> RowError {
    RowError::new(
        line,
        kind,
        format!("`{id}` is revoked and does not come back"),
    )
    .hint("choose another name, or leave the row out")
}
