//! How many calls are answered: by door, by hour, by what was dialled. Counted off the call path, when a call's record
//! is written.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use intercom::Cdr;
use jiff::tz::TimeZone;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Doors with a count of their own: a plan may have been reloaded often. Overflow rule: further ones share `other`.
const DOORS: usize = 256;

type Counts = Family<Vec<(&'static str, String)>, Counter>;

/// The counts.
#[derive(Debug)]
pub(crate) struct Answers {
    by_door: Counts,
    by_hour: Counts,
    by_destination: Counts,
    doors: Mutex<BTreeSet<String>>,
    zone: TimeZone,
}

impl Answers {
    /// Hours are those of `zone`.
    pub(super) fn new(registry: &mut Registry, zone: TimeZone) -> Self {
        let answers = Self {
            by_door: Family::default(),
            by_hour: Family::default(),
            by_destination: Family::default(),
            doors: Mutex::default(),
            zone,
        };
        for (name, help, counts) in [
            (
                "door_calls",
                "Calls of doors that ended, by outcome",
                &answers.by_door,
            ),
            (
                "calls_by_hour",
                "Calls that ended, by the hour they began in and outcome",
                &answers.by_hour,
            ),
            (
                "calls_by_destination",
                "Calls that ended, by what was dialled and outcome",
                &answers.by_destination,
            ),
        ] {
            registry.register(name, help, counts.clone());
        }
        answers
    }

    pub(crate) fn count(&self, cdr: &Cdr) {
        let outcome = if cdr.answered_after.is_some() {
            "answered"
        } else {
            cdr.end.as_str()
        };
        let add = |counts: &Counts, key: &'static str, value: String| {
            let labels = vec![(key, value), ("outcome", outcome.to_owned())];
            counts.get_or_create(&labels).inc();
        };
        if let Some(door) = &cdr.door {
            add(&self.by_door, "door", self.door(door));
        }
        let hour = self.zone.to_datetime(cdr.started).hour();
        add(&self.by_hour, "hour", format!("{hour:02}"));
        add(
            &self.by_destination,
            "destination",
            cdr.destination.as_str().to_owned(),
        );
    }

    fn door(&self, door: &str) -> String {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        if doors.contains(door) {
            return door.to_owned();
        }
        if doors.len() >= DOORS {
            return "other".to_owned();
        }
        doors.insert(door.to_owned());
        door.to_owned()
    }
}
