//! A loaded plan: immutable, indexed, shared by every call that began with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::diagnostic::Diagnostic;
use crate::directory::Directory;
use crate::evaluate::{NoRoute, Run};
use crate::facts::{CallFacts, Facts};
use crate::rights::{DenyReason, KeyAction, OpenQuery, Verdict};
use crate::source::SourceRef;
use crate::step::Step;

/// What a door does when the system is down or there is a fire: mandatory in the plan (P009).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fail {
    /// Stays locked.
    Closed,
    /// Released.
    Open,
}

/// A door and its station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    /// Its name in the plan.
    pub name: String,
    /// Station profile.
    pub station: String,
    /// Door groups.
    pub groups: Vec<String>,
    /// `None` only in a plan that does not pass its check.
    pub fail: Option<Fail>,
    /// The station's own call time limit.
    pub ring_limit: Option<Duration>,
    /// What it can open, in file order.
    pub outputs: Vec<OutputDef>,
    /// Where it stands.
    pub source: SourceRef,
}

/// By what an output is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DriverKind {
    /// An HTTP request to the station.
    Http,
    /// Digits into the door's call.
    Dtmf,
    /// INFO in the door's call.
    SipInfo,
    /// A MESSAGE to the station.
    SipMessage,
    /// `Action: buzz`.
    ActionBuzz,
    /// An MQTT message.
    Mqtt,
    /// A signed HTTP request to a third party.
    Webhook,
}

/// One relay of a door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputDef {
    /// Its name, unique at the door.
    pub name: String,
    /// What drives it.
    pub driver: DriverKind,
    /// The driver's own settings as written: `switch`, `code`, `url` …
    pub options: BTreeMap<String, String>,
    /// How long it stays released.
    pub pulse: Duration,
    /// A second command would undo the first: never retried, no next driver after a time-out.
    pub toggle: bool,
    /// Key, prompt, key.
    pub two_step: bool,
    /// Where it stands.
    pub source: SourceRef,
}

/// A desk: some devices that answer together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desk {
    /// Its name in the plan.
    pub name: String,
    /// Device ids in file order.
    pub devices: Vec<String>,
    /// One after the other instead of all at once.
    pub serial: bool,
    /// Where it stands.
    pub source: SourceRef,
}

/// A plan without errors of language.
#[derive(Debug)]
pub struct Plan {
    pub(crate) version: String,
    pub(crate) doors: Vec<Door>,
    pub(crate) desks: Vec<Desk>,
}

/// What [`load`] found.
#[derive(Debug)]
pub struct Loaded {
    /// The plan, unless there is an error among the diagnostics.
    pub plan: Option<Plan>,
    /// Errors and warnings in file order.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a plan. `files` gives the text of a holiday file by the name written in the plan.
#[must_use]
pub fn load(text: &str, file: &str, files: &dyn Fn(&str) -> Option<String>) -> Loaded {
    let _ = (text, file, files);
    Loaded {
        plan: None,
        diagnostics: Vec::new(),
    }
}

impl Plan {
    /// Hex prefix of a hash of the text: which plan a call ran on.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The doors in file order.
    pub fn doors(&self) -> impl Iterator<Item = &Door> {
        self.doors.iter()
    }

    /// One door.
    #[must_use]
    pub fn door(&self, name: &str) -> Option<&Door> {
        self.doors.iter().find(|door| door.name == name)
    }

    /// The desks in file order.
    pub fn desks(&self) -> impl Iterator<Item = &Desk> {
        self.desks.iter()
    }

    /// One desk.
    #[must_use]
    pub fn desk(&self, name: &str) -> Option<&Desk> {
        self.desks.iter().find(|desk| desk.name == name)
    }

    /// The desks a device sits at.
    pub fn desks_of_device(&self, device: &str) -> impl Iterator<Item = &str> {
        self.desks
            .iter()
            .filter(move |desk| desk.devices.iter().any(|id| id == device))
            .map(|desk| desk.name.as_str())
    }

    /// Checks the plan against the store's facts: findings P001 and following, in file order.
    #[must_use]
    pub fn check(&self, directory: &Directory, now: Timestamp) -> Vec<Diagnostic> {
        let _ = (directory, now);
        Vec::new()
    }

    /// Chooses the route of a call and takes its first step.
    ///
    /// # Errors
    /// [`NoRoute`] when no route matches caller and dialled string: 404.
    pub fn begin(
        self: &Arc<Self>,
        directory: &Directory,
        facts: &Facts,
        call: CallFacts,
    ) -> Result<(Run, Step), NoRoute> {
        let _ = (directory, facts, call);
        Err(NoRoute)
    }

    /// Judges an unlock.
    #[must_use]
    pub fn may_open(&self, directory: &Directory, facts: &Facts, query: &OpenQuery<'_>) -> Verdict {
        let _ = (directory, facts, query);
        Verdict::Deny {
            rule: None,
            reason: DenyReason::NoRight,
        }
    }

    /// What a key means on the leg of a party to a call with `door`; `None` when it is not bound.
    #[must_use]
    pub fn key(&self, map: &str, door: &str, digit: char) -> Option<KeyAction> {
        let _ = (map, door, digit);
        None
    }
}
