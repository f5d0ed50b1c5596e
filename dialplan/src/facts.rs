//! What the evaluator is told about the call and the world at this moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

/// Who calls, and what was dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFacts {
    /// The authenticated caller; never taken from `From`.
    pub caller: Caller,
    /// The user part that was dialled.
    pub dial: String,
}

/// The caller as authentication established it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A door station, by the door's name in the plan.
    Door(String),
    /// Any other SIP account, by device id.
    Device(String),
    /// A trunk, by its name in the configuration. It reaches what a route says for `from=` that name, and nothing else.
    Trunk(String),
}

/// How a device can be reached now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// It has a live binding.
    Registered,
    /// It has none, but can be woken.
    Push,
}

/// Which devices can be reached. Shared, so that a call copies no table.
#[derive(Debug, Clone, Default)]
pub enum Reachable {
    /// Not known (a plan asked offline): every device counts as reachable.
    #[default]
    Everything,
    /// Only these.
    Only(Arc<BTreeMap<String, Reach>>),
}

impl Reachable {
    /// Whether the device can be rung.
    #[must_use]
    pub fn contains(&self, device: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(devices) => devices.contains_key(device),
        }
    }

    /// How the device can be reached, where that is known.
    #[must_use]
    pub fn reach(&self, device: &str) -> Option<Reach> {
        match self {
            Self::Everything => None,
            Self::Only(devices) => devices.get(device).copied(),
        }
    }
}

impl<S: Into<String>> FromIterator<S> for Reachable {
    /// Registered devices.
    fn from_iter<I: IntoIterator<Item = S>>(devices: I) -> Self {
        let devices = devices.into_iter().map(|id| (id.into(), Reach::Registered));
        Self::Only(Arc::new(devices.collect()))
    }
}

/// A calendar opened or closed by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The state it is held in.
    pub open: bool,
    /// When the calendar rules again; `None` until somebody lifts it.
    pub until: Option<Timestamp>,
}

/// The state of the world at one moment.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Civil time: calendars are read against it in the site's zone.
    pub at: Timestamp,
    /// Which devices can be rung.
    pub reachable: Reachable,
    /// Calendars held by hand, by name.
    pub overrides: BTreeMap<String, Override>,
    /// Modes that are on, by name.
    pub modes: BTreeSet<String>,
}

impl Facts {
    /// Every device reachable, nothing overridden, no mode on.
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        Self {
            at,
            reachable: Reachable::Everything,
            overrides: BTreeMap::new(),
            modes: BTreeSet::new(),
        }
    }

    /// The same with only these devices reachable.
    #[must_use]
    pub fn with_reachable(mut self, reachable: Reachable) -> Self {
        self.reachable = reachable;
        self
    }
}
