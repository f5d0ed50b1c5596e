//! The house the tests ring: three units, a desk, two doors.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "test support: each test file uses its own part"
)]

use std::sync::Arc;

use dialplan::{
    CallFacts, Caller, Device, Directory, Facts, Owner, Person, Plan, Redacted, Ring, Step, Target,
    Unit, load,
};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

pub fn files(name: &str) -> Option<String> {
    (name == "holidays/cz.ics").then(|| include_str!("../../../conf/holidays/cz.ics").to_owned())
}

pub fn at(civil: &str) -> Timestamp {
    let civil: DateTime = civil.replace(' ', "T").parse().unwrap();
    civil
        .to_zoned(TimeZone::get("Europe/Prague").unwrap())
        .unwrap()
        .timestamp()
}

/// Tuesday noon: the desk is staffed.
pub fn noon() -> Facts {
    Facts::at(at("2026-11-24 12:00:00"))
}

/// Tuesday evening: it is not, and quiet hours have not begun.
pub fn evening() -> Facts {
    Facts::at(at("2026-11-24 20:00:00"))
}

pub fn plan(text: &str) -> Arc<Plan> {
    let loaded = load(text, "plan.kdl", &files);
    Arc::new(
        loaded
            .plan
            .unwrap_or_else(|| panic!("{}", dialplan::render(&loaded.diagnostics, false))),
    )
}

/// A plan with the usual site, doors and desk in front.
pub fn house(rest: &str) -> Arc<Plan> {
    plan(&format!("{HOUSE}{rest}"))
}

pub const HOUSE: &str = r#"site "elm-court" tz="Europe/Prague" {
    holidays "cz" file="holidays/cz.ics"
    calendar "desk-hours" { weekly "Mon-Fri 07:00-19:00"; weekly "Sat 09:00-13:00"; not "cz" }
    calendar "quiet" { weekly "daily 22:00-07:00" }
}
door "lobby" station="2n" group="entry" fail="closed" ring-limit="120s" { output "main" driver="http" switch=1 pulse="5s" }
door "garage" station="akuvox" group="parking" fail="closed" { output "gate" driver="dtmf" code="4711#" }
desk "desk" { device "desk-1"; device "desk-2"; strategy "parallel" }
keys "default" { "9" open="main"; "8" open="gate" if-present=#true; "7" open="garage/gate" two-step=#true; "0" transfer="desk" }
"#;

fn person(id: &str, role: &str, unit: Option<&str>, revoked: bool) -> Person {
    Person {
        id: id.into(),
        name: Redacted::from(id),
        role: role.into(),
        unit: unit.map(str::to_owned),
        numbers: if id == "anna" {
            vec![Redacted::from("+420601234567")]
        } else {
            vec![]
        },
        revoked,
    }
}

fn device(id: &str, owner: Owner, label: Option<&str>, revoked: bool) -> Device {
    Device {
        id: id.into(),
        owner,
        label: label.map(str::to_owned),
        revoked,
    }
}

pub fn directory() -> Directory {
    let of = |person: &str| Owner::Person(person.into());
    let unit = |id: &str, flags: &[&str]| Unit {
        id: id.into(),
        flags: flags.iter().map(|f| (*f).to_owned()).collect(),
    };
    Directory::new(
        [
            unit("101", &["neighbour_ok"]),
            unit("102", &[]),
            unit("103", &[]),
        ],
        [
            person("anna", "resident", Some("101"), false),
            person("petr", "resident", Some("101"), false),
            person("olga", "resident", Some("102"), false),
            person("gone", "resident", Some("102"), true),
            person("carl", "courier", None, false),
        ],
        [
            device("desk-1", Owner::Desk("desk".into()), None, false),
            device("desk-2", Owner::Desk("desk".into()), None, false),
            device("panel-101", Owner::Unit("101".into()), None, false),
            device("panel-103", Owner::Unit("103".into()), None, false),
            device("anna-1", of("anna"), Some("mobile"), false),
            device("petr-1", of("petr"), Some("mobile"), false),
            device("olga-1", of("olga"), None, false),
            device("olga-lost", of("olga"), None, true),
            device("gone-1", of("gone"), None, false),
            device("carl-1", of("carl"), None, false),
            device("lobby-station", Owner::Door("lobby".into()), None, false),
        ],
    )
}

pub fn from_door(dial: &str) -> CallFacts {
    CallFacts {
        caller: Caller::Door("lobby".into()),
        dial: dial.into(),
    }
}

pub fn from_device(device: &str, dial: &str) -> CallFacts {
    CallFacts {
        caller: Caller::Device(device.into()),
        dial: dial.into(),
    }
}

pub fn ring(step: Step) -> Ring {
    match step {
        Step::Ring(ring) => ring,
        other => panic!("not a ring: {other:?}"),
    }
}

pub fn devices(ring: &Ring) -> Vec<&str> {
    fn id(target: &Target) -> &str {
        match target {
            Target::Device(id) | Target::Door(id) => id.as_str(),
            Target::Number { number, .. } => number.reveal(),
        }
    }
    ring.members
        .iter()
        .map(|member| id(&member.target))
        .collect()
}
