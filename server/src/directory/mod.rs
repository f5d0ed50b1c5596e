//! The directory from outside: CSV files and single entries, checked whole before anything is written.
//!
//! ```text
//!   people.csv --table--> Wanted --compare(Snapshot)--> Comparison: report, new passwords, store::Change
//!   account add … -----------^                              |
//!                                                  dry run: printed; else one transaction
//! ```
//! What is not named stays as it is: nothing is deleted by leaving it out. Nothing revoked comes back.

mod compare;
mod password;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use conf::Secret;
use dialplan::Owner;
use serde::Serialize;

pub use compare::{Comparison, ReportLine, What, compare, hashed, owner_text};
pub use password::generate;
pub use table::read;

/// Roles the plan's rules may name.
pub const ROLES: [&str; 6] = ["admin", "staff", "resident", "guest", "courier", "vendor"];
/// Shortest password taken from outside; ours have sixteen random characters.
pub const PASSWORD_MIN: usize = 8;

/// What somebody wants the directory to hold. An absent field means "as it is, or the default".
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Units by id.
    pub units: BTreeMap<String, WantedUnit>,
    /// People by id.
    pub people: BTreeMap<String, WantedPerson>,
    /// Devices by account name.
    pub devices: BTreeMap<String, WantedDevice>,
}

/// A unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedUnit {
    /// Line of the file, 0 when there is none.
    pub line: u64,
    /// Flags a plan may ask for.
    pub flags: Option<BTreeSet<String>>,
}

/// A person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedPerson {
    /// Line of the file, 0 when there is none.
    pub line: u64,
    /// Name shown to people.
    pub name: Option<dialplan::Redacted>,
    /// One of [`ROLES`].
    pub role: Option<String>,
    /// Unit id.
    pub unit: Option<String>,
    /// Numbers in E.164 form.
    pub numbers: Option<Vec<dialplan::Redacted>>,
}

/// A device and its SIP account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedDevice {
    /// Line of the file, 0 when there is none.
    pub line: u64,
    /// Whose it is.
    pub owner: Owner,
    /// Kind: `mobile`, `panel`.
    pub label: Option<String>,
    /// Station profile.
    pub profile: Option<String>,
    /// Password, when it is not ours to choose.
    pub password: Option<Secret>,
}

/// The names a directory may refer to. `None`: not known here, not checked.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Station profiles.
    pub profiles: Vec<String>,
    /// Doors of the plan.
    pub doors: Option<Vec<String>>,
    /// Desks of the plan.
    pub desks: Option<Vec<String>>,
}

/// One thing wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RowError {
    /// Line of the file, from 1; 0 when there is no file.
    pub line: u64,
    /// Column's name, empty when the whole row is meant.
    pub column: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl RowError {
    fn new(line: u64, column: &str, message: impl Into<String>) -> Self {
        Self {
            line,
            column: column.to_owned(),
            message: message.into(),
            hint: None,
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.column.is_empty() {
            write!(f, "{}: ", self.column)?;
        }
        f.write_str(&self.message)?;
        self.hint
            .as_ref()
            .map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// Checks everything that can be judged without the store.
#[must_use]
pub fn check(wanted: &Wanted, known: &Known) -> Vec<RowError> {
    let mut errors = Vec::new();
    for (id, unit) in &wanted.units {
        name(&mut errors, unit.line, "unit", id);
    }
    for (id, person) in &wanted.people {
        name(&mut errors, person.line, "person", id);
        if let Some(role) = person
            .role
            .as_ref()
            .filter(|role| !ROLES.contains(&role.as_str()))
        {
            errors.push(unknown(person.line, "role", role, ROLES));
        }
    }
    for (id, device) in &wanted.devices {
        name(&mut errors, device.line, "device", id);
        if let Some(profile) = device
            .profile
            .as_ref()
            .filter(|profile| !known.profiles.contains(profile))
        {
            errors.push(unknown(
                device.line,
                "profile",
                profile,
                known.profiles.iter().map(String::as_str),
            ));
        }
        if let Some(label) = &device.label {
            name(&mut errors, device.line, "label", label);
        }
        let (column, owner, names) = match &device.owner {
            Owner::Door(door) => ("door", door, &known.doors),
            Owner::Desk(desk) => ("desk", desk, &known.desks),
            Owner::Person(_) | Owner::Unit(_) => continue,
        };
        if let Some(names) = names.as_ref().filter(|names| !names.contains(owner)) {
            let error = unknown(device.line, column, owner, names.iter().map(String::as_str));
            errors.push(RowError {
                message: format!("{} in the plan", error.message),
                ..error
            });
        }
    }
    for device in wanted.devices.values() {
        if device
            .password
            .as_ref()
            .is_some_and(|p| p.expose().chars().count() < PASSWORD_MIN)
        {
            let message = format!("shorter than {PASSWORD_MIN} characters");
            errors.push(
                RowError::new(device.line, "password", message)
                    .hint("leave it empty to get a random one"),
            );
        }
    }
    errors.sort_by_key(|error| error.line);
    errors
}

/// Ids stand in SIP URIs, plans and logs: plain characters only.
fn name(errors: &mut Vec<RowError>, line: u64, column: &str, id: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if id.is_empty() || id.len() > 64 || !id.chars().all(plain) {
        let error = RowError::new(
            line,
            column,
            format!("`{}` is not a name", id.escape_default()),
        );
        errors.push(error.hint("up to 64 letters without accents, digits, `-` and `_`"));
    }
}

/// `word` is none of `known`.
fn unknown<'a>(
    line: u64,
    column: &str,
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> RowError {
    let known: Vec<&str> = known.into_iter().collect();
    let error = RowError::new(
        line,
        column,
        format!("there is no {column} `{}`", word.escape_default()),
    );
    match conf::nearest(word, &known) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None if known.is_empty() => error,
        None => error.hint(format!("known: {}", known.join(", "))),
    }
}
