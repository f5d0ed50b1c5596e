//! A loaded plan: immutable, indexed, shared by every call that began with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::diagnostic::Diagnostic;
use crate::directory::Directory;
use crate::evaluate::{NoRoute, Run};
use crate::facts::{CallFacts, Facts};
use crate::language::calendar::{Calendar, State};
use crate::language::keys::{Action, KeyMap};
use crate::language::node::{Allow, Name};
use crate::language::rights::{Effect, Who};
use crate::matching::RouteIndex;
use crate::program::{CallerPattern, Op, Route};
use crate::rights::{KeyAction, LegState, Method, OpenQuery, Verdict};
use crate::source::{SourceRef, SourceText};
use crate::step::{Priority, Step};

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

impl DriverKind {
    /// The word written in the plan and in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Dtmf => "dtmf",
            Self::SipInfo => "sip-info",
            Self::SipMessage => "sip-message",
            Self::ActionBuzz => "action-buzz",
            Self::Mqtt => "mqtt",
            Self::Webhook => "webhook",
        }
    }
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
    /// A phone of the desk that is in a call is rung all the same.
    pub call_waiting: bool,
    /// Where it stands.
    pub source: SourceRef,
}

/// A rule with its names resolved.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) effect: Effect,
    pub(crate) who: Vec<(Who, Name)>,
    pub(crate) places: Vec<String>,
    pub(crate) methods: Vec<Method>,
    pub(crate) require: LegState,
    pub(crate) during: Option<usize>,
    pub(crate) source: SourceRef,
}

/// Quiet hours with their names resolved.
#[derive(Debug)]
pub(crate) struct Quiet {
    pub(crate) who: Vec<(Who, Name)>,
    pub(crate) during: usize,
    pub(crate) except_desks: Vec<String>,
    pub(crate) except_doors: Vec<String>,
    /// Calls of at least this priority ring through.
    pub(crate) except_priority: Priority,
}

/// A plan without errors of language: immutable, shared by every call that began with it.
#[derive(Debug)]
pub struct Plan {
    pub(crate) version: String,
    pub(crate) site: String,
    pub(crate) zone: TimeZone,
    pub(crate) text: SourceText,
    pub(crate) calendars: Vec<Calendar>,
    pub(crate) doors: Vec<Door>,
    pub(crate) door_index: BTreeMap<String, usize>,
    pub(crate) desks: Vec<Desk>,
    pub(crate) desk_devices: Vec<Name>,
    pub(crate) keys: BTreeMap<String, KeyMap>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) quiet: Vec<Quiet>,
    /// Doors and groups whose codes a mode blocks.
    pub(crate) modes: BTreeMap<String, Vec<String>>,
    pub(crate) routes: Vec<Route>,
    pub(crate) index: RouteIndex,
    pub(crate) allows: Vec<Allow>,
}

impl Plan {
    /// Hex prefix of the SHA-256 of the text and its holiday files: which plan a call ran on.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The site's name.
    #[must_use]
    pub fn site(&self) -> &str {
        &self.site
    }

    /// The site's time zone.
    #[must_use]
    pub fn time_zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The doors in file order.
    pub fn doors(&self) -> impl Iterator<Item = &Door> {
        self.doors.iter()
    }

    /// One door.
    #[must_use]
    pub fn door(&self, name: &str) -> Option<&Door> {
        self.doors.get(*self.door_index.get(name)?)
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

    /// The names of the routes in file order.
    pub fn routes(&self) -> impl Iterator<Item = &str> {
        self.routes.iter().map(|route| route.name.as_str())
    }

    /// The trunks that routes name, by `via=` or `from=`, with the place of each.
    pub fn trunks(&self) -> impl Iterator<Item = (&str, &SourceRef)> {
        self.routes.iter().flat_map(|route| {
            let from = route.callers.iter().filter_map(|caller| match caller {
                CallerPattern::Trunk(name) => Some((name.as_str(), &route.source)),
                _ => None,
            });
            let via = route.ops.iter().flat_map(|op| match op {
                Op::Ring(ring) => ring
                    .waves
                    .iter()
                    .flat_map(|wave| &wave.via)
                    .map(|name| (name.as_str(), &ring.source))
                    .collect(),
                _ => Vec::new(),
            });
            from.chain(via)
        })
    }

    /// Whether a calendar is open, a manual override included; `None` when there is none of that name.
    #[must_use]
    pub fn calendar_is_open(&self, name: &str, facts: &Facts) -> Option<bool> {
        let index = self
            .calendars
            .iter()
            .position(|calendar| calendar.name == name)?;
        Some(self.is_open(index, facts))
    }

    pub(crate) fn is_open(&self, calendar: usize, facts: &Facts) -> bool {
        let Some(calendar) = self.calendars.get(calendar) else {
            return false;
        };
        let held = held(facts, &calendar.name);
        held.map_or_else(|| calendar.is_open(facts.at), |held| held.open)
    }

    /// The state of a calendar in words.
    pub(crate) fn state(&self, calendar: &Calendar, facts: &Facts) -> State {
        match held(facts, &calendar.name) {
            None => calendar.state(facts.at),
            Some(held) => {
                let detail = held.until.map_or_else(
                    || "manual override until lifted".to_owned(),
                    |until| format!("manual override until {}", self.civil(until)),
                );
                State {
                    open: held.open,
                    detail,
                }
            }
        }
    }

    /// A moment in the site's civil time, to the minute.
    pub(crate) fn civil(&self, at: Timestamp) -> String {
        self.zone
            .to_datetime(at)
            .strftime("%Y-%m-%d %H:%M")
            .to_string()
    }

    /// Whether a place of a rule (a door, a group, `*`) holds a door.
    pub(crate) fn place_holds(&self, place: &str, door: &str) -> bool {
        place == "*"
            || place == door
            || self
                .door(door)
                .is_some_and(|door| door.groups.iter().any(|group| group == place))
    }

    /// Checks the plan against the store's facts: findings P001 and following, in file order.
    ///
    /// `now` is where the search for an hour without anybody (P004) begins.
    #[must_use]
    pub fn check(&self, directory: &Directory, now: Timestamp) -> Vec<Diagnostic> {
        crate::check::run(self, directory, now)
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
        Run::begin(Arc::clone(self), directory, facts, call)
    }

    /// Judges an unlock.
    #[must_use]
    pub fn may_open(&self, directory: &Directory, facts: &Facts, query: &OpenQuery<'_>) -> Verdict {
        crate::policy::judge(self, directory, facts, query)
    }

    /// Whether the actor may call the door or see its picture without being rung by it.
    #[must_use]
    pub fn may_view(
        &self,
        directory: &Directory,
        facts: &Facts,
        actor: &crate::Actor,
        door: &str,
    ) -> bool {
        crate::policy::may_view(self, directory, facts, actor, door)
    }

    /// What a key means on the leg of a party to a call with `door`; `None` when it is not bound.
    #[must_use]
    pub fn key(&self, map: &str, door: &str, digit: char) -> Option<KeyAction> {
        let key = self
            .keys
            .get(map)?
            .keys
            .iter()
            .find(|key| key.digit == digit)?;
        Some(match &key.action {
            Action::Transfer(target) => KeyAction::Transfer {
                target: target.value.clone(),
                source: key.source.clone(),
            },
            Action::Open {
                door: named,
                output,
                two_step,
                ..
            } => {
                let door = named.as_ref().map_or(door, |name| name.value.as_str());
                let found = self
                    .door(door)
                    .and_then(|door| door.outputs.iter().find(|def| def.name == output.value));
                found.map_or(KeyAction::Absent, |def| KeyAction::Open {
                    door: door.to_owned(),
                    output: def.name.clone(),
                    two_step: *two_step || def.two_step,
                    source: key.source.clone(),
                })
            }
        })
    }

    /// The key map of that name, digit by digit, in file order.
    pub(crate) fn digits(&self, map: &str) -> Vec<char> {
        let keys = self
            .keys
            .get(map)
            .map(|map| map.keys.iter().map(|key| key.digit).collect());
        keys.unwrap_or_default()
    }
}

fn held<'a>(facts: &'a Facts, calendar: &str) -> Option<&'a crate::Override> {
    let held = facts.overrides.get(calendar);
    held.filter(|held| held.until.is_none_or(|until| facts.at < until))
}
