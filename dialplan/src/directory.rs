//! The store's facts as an immutable snapshot: units, people and their devices.
//!
//! The plan names them (`unit:101`, `person:anna.mobile`); it never holds them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Serialize, Serializer};

/// Personal data that must not reach a log: `Debug` and `Serialize` print `***`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Redacted(String);

impl Redacted {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the wire and for those with the right to see it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The first five characters and an ellipsis: enough to recognise a number, not to call it.
    #[must_use]
    pub fn masked(&self) -> String {
        self.0.chars().take(5).chain(['…']).collect()
    }
}

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Redacted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl From<&str> for Redacted {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

/// A flat, an office, a shop: what a visitor dials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The number at the door, for example `101`.
    pub id: String,
    /// Named facts a plan may ask for with `if="@unit.FLAG"`.
    pub flags: BTreeSet<String>,
}

/// Someone with a role in the house.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Short name in the plan, for example `anna`.
    pub id: String,
    /// The name shown to people.
    pub name: Redacted,
    /// `admin staff resident guest courier vendor`.
    pub role: String,
    /// Where the person lives or works.
    pub unit: Option<String>,
    /// Telephone numbers in E.164 form, in the order to be tried.
    pub numbers: Vec<Redacted>,
    /// A revoked person opens nothing and is never rung.
    pub revoked: bool,
}

/// A SIP account: its id is the user name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// SIP account user name, for example `desk-1`.
    pub id: String,
    /// Whose device it is.
    pub owner: Owner,
    /// What kind, for `@unit.mobile` and `person:anna.mobile`.
    pub label: Option<String>,
    /// A revoked device opens nothing, calls nobody and is never rung.
    pub revoked: bool,
}

/// Whose device a device is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A person of the directory.
    Person(String),
    /// A unit: a panel on its wall.
    Unit(String),
    /// A desk of the plan.
    Desk(String),
    /// A door of the plan: the station itself.
    Door(String),
}

/// The snapshot, indexed so that a ring step costs no scan.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    units: BTreeMap<String, Unit>,
    people: BTreeMap<String, Person>,
    devices: BTreeMap<String, Device>,
    people_of_unit: BTreeMap<String, Vec<String>>,
    devices_of: BTreeMap<Owner, Vec<String>>,
}

impl Directory {
    /// Builds the snapshot and its indexes. Of two entries with one id the later stays.
    pub fn new(
        units: impl IntoIterator<Item = Unit>,
        people: impl IntoIterator<Item = Person>,
        devices: impl IntoIterator<Item = Device>,
    ) -> Self {
        let mut directory = Self {
            units: units
                .into_iter()
                .map(|unit| (unit.id.clone(), unit))
                .collect(),
            people: people
                .into_iter()
                .map(|person| (person.id.clone(), person))
                .collect(),
            devices: devices
                .into_iter()
                .map(|device| (device.id.clone(), device))
                .collect(),
            ..Self::default()
        };
        for person in directory.people.values() {
            if let Some(unit) = &person.unit {
                let people = directory.people_of_unit.entry(unit.clone()).or_default();
                people.push(person.id.clone());
            }
        }
        for device in directory.devices.values() {
            let owned = directory
                .devices_of
                .entry(device.owner.clone())
                .or_default();
            owned.push(device.id.clone());
        }
        directory
    }

    /// All units by id.
    #[must_use]
    pub fn units(&self) -> &BTreeMap<String, Unit> {
        &self.units
    }

    /// All people by id.
    #[must_use]
    pub fn people(&self) -> &BTreeMap<String, Person> {
        &self.people
    }

    /// All devices by id.
    #[must_use]
    pub fn devices(&self) -> &BTreeMap<String, Device> {
        &self.devices
    }

    /// One unit.
    #[must_use]
    pub fn unit(&self, id: &str) -> Option<&Unit> {
        self.units.get(id)
    }

    /// One person.
    #[must_use]
    pub fn person(&self, id: &str) -> Option<&Person> {
        self.people.get(id)
    }

    /// One device.
    #[must_use]
    pub fn device(&self, id: &str) -> Option<&Device> {
        self.devices.get(id)
    }

    /// The unrevoked people of a unit, by id.
    pub fn people_of_unit(&self, unit: &str) -> impl Iterator<Item = &Person> {
        let ids = self.people_of_unit.get(unit).map_or(&[][..], Vec::as_slice);
        ids.iter()
            .filter_map(|id| self.people.get(id))
            .filter(|person| !person.revoked)
    }

    /// The unrevoked devices of an owner, by id.
    pub fn devices_of(&self, owner: &Owner) -> impl Iterator<Item = &Device> {
        let ids = self.devices_of.get(owner).map_or(&[][..], Vec::as_slice);
        ids.iter()
            .filter_map(|id| self.devices.get(id))
            .filter(|device| !device.revoked)
    }

    /// The unrevoked devices of an unrevoked person, by id.
    pub fn devices_of_person(&self, person: &str) -> impl Iterator<Item = &Device> {
        let alive = self
            .people
            .get(person)
            .is_some_and(|person| !person.revoked);
        let ids = self.devices_of.get(&Owner::Person(person.to_owned()));
        ids.filter(|_| alive)
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .filter_map(|id| self.devices.get(id))
            .filter(|device| !device.revoked)
    }

    /// The unrevoked devices of a unit: its own first, then those of its people.
    #[must_use]
    pub fn devices_of_unit(&self, unit: &str) -> Vec<&Device> {
        let mut devices: Vec<&Device> = self.devices_of(&Owner::Unit(unit.to_owned())).collect();
        for person in self.people_of_unit(unit) {
            devices.extend(self.devices_of_person(&person.id));
        }
        devices
    }

    /// Whether the device exists, is not revoked, and belongs to nobody who is.
    #[must_use]
    pub fn is_live_device(&self, id: &str) -> bool {
        self.devices.get(id).is_some_and(|device| {
            !device.revoked
                && match &device.owner {
                    Owner::Person(person) => self.people.get(person).is_some_and(|p| !p.revoked),
                    Owner::Unit(_) | Owner::Desk(_) | Owner::Door(_) => true,
                }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Device, Directory, Owner, Person, Redacted, Unit};

    fn person(id: &str, revoked: bool) -> Person {
        Person {
            id: id.into(),
            name: Redacted::from("Anna Nováková"),
            role: "resident".into(),
            unit: Some("101".into()),
            numbers: vec![Redacted::from("+420601234567")],
            revoked,
        }
    }

    fn device(id: &str, owner: Owner) -> Device {
        Device {
            id: id.into(),
            owner,
            label: None,
            revoked: false,
        }
    }

    #[test]
    fn a_unit_rings_its_panel_and_its_unrevoked_people() {
        let directory = Directory::new(
            [Unit {
                id: "101".into(),
                flags: Default::default(),
            }],
            [person("anna", false), person("petr", true)],
            [
                device("anna-1", Owner::Person("anna".into())),
                device("petr-1", Owner::Person("petr".into())),
                device("panel-101", Owner::Unit("101".into())),
            ],
        );
        let ids: Vec<_> = directory
            .devices_of_unit("101")
            .iter()
            .map(|d| d.id.as_str())
            .collect();
        assert_eq!(ids, ["panel-101", "anna-1"]);
        assert!(!directory.is_live_device("petr-1"));
    }

    #[test]
    fn personal_data_does_not_show_in_debug_output() {
        let shown = format!("{:?}", person("anna", false));
        assert!(
            !shown.contains("Nováková") && !shown.contains("60123"),
            "{shown}"
        );
        assert_eq!(Redacted::from("+420601234567").masked(), "+4206…");
    }
}
