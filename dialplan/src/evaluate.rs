//! The one evaluator: a leaf machine that walks one call through its route.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::directory::Directory;
use crate::facts::{CallFacts, Caller, Facts};
use crate::language::dial::{Class, Pattern};
use crate::matching::{caller_patterns, classes};
use crate::members::{Context, describe};
use crate::plan::Plan;
use crate::program::{Arm, CallerPattern, EndOp, Op, PickupOf, RingOp, Route, Subject, Test};
use crate::source::SourceRef;
use crate::step::{End, Priority, RingOutcome, Slots, Step, Target};

/// No route matches the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no route for this caller and dialled number")]
pub struct NoRoute;

/// Most lines a trace keeps: a route that retries for hours drops what comes after.
const TRACE_LINES: usize = 256;

/// One line of what the plan did, the same in `explain`, the call story and the CDR.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TraceLine {
    /// Civil time since the call began.
    pub at_offset: Duration,
    /// What was decided: `ring @unit 25 s`.
    pub what: String,
    /// The line of the plan.
    pub source: SourceRef,
    /// Why.
    pub detail: String,
}

/// One call's walk through its route.
#[derive(Debug)]
pub struct Run {
    plan: Arc<Plan>,
    call: CallFacts,
    route: usize,
    began: Timestamp,
    state: State,
    trace: Vec<TraceLine>,
    /// Calendars that were read, for `flips`.
    consulted: BTreeSet<usize>,
}

/// Where the walk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A ring step is under way; the best outcome of the members left out of it.
    Ringing {
        op: usize,
        dropped: Option<RingOutcome>,
    },
    /// A pickup or park is under way; where the route goes on after it.
    Handing { next: usize },
    /// `end "retry"` was reached.
    Paused { up_to: Duration },
    /// Nothing more follows.
    Over,
}

impl Run {
    pub(crate) fn begin(
        plan: Arc<Plan>,
        directory: &Directory,
        facts: &Facts,
        call: CallFacts,
    ) -> Result<(Self, Step), NoRoute> {
        let callers = caller_patterns(&plan, directory, &call.caller);
        let kinds = classes(&plan, directory, &call.dial);
        let route = plan.index.find(&call, &callers, &kinds).ok_or(NoRoute)?;
        let mut run = Self {
            plan,
            call,
            route,
            began: facts.at,
            state: State::Over,
            trace: Vec::new(),
            consulted: BTreeSet::new(),
        };
        let plan = Arc::clone(&run.plan);
        let Some(chosen) = plan.routes.get(route) else {
            return Err(NoRoute);
        };
        let detail = run.why(chosen, &callers, &kinds);
        run.note(
            facts,
            format!("route \"{}\"", chosen.name),
            chosen.source.clone(),
            detail,
        );
        let step = run.walk(chosen, chosen.start, directory, facts);
        Ok((run, step))
    }

    /// Tells how the last ring went and takes the next step. Members that were left out of the ring
    /// count too: the step's outcome is the first of [`RingOutcome::ALL`] that any member had.
    pub fn next(&mut self, directory: &Directory, facts: &Facts, outcome: RingOutcome) -> Step {
        let plan = Arc::clone(&self.plan);
        let (State::Ringing { op, dropped }, Some(route)) =
            (self.state, plan.routes.get(self.route))
        else {
            return self.over();
        };
        let Some(Op::Ring(ring)) = route.ops.get(op) else {
            return self.over();
        };
        let outcome = dropped.map_or(outcome, |dropped| dropped.min(outcome));
        match after(ring, outcome) {
            Some(next) => self.walk(route, next, directory, facts),
            None => {
                self.state = State::Over;
                Step::Done
            }
        }
    }

    /// Starts the route again after [`End::Retry`]; `End::Log` once its time is up.
    pub fn retry(&mut self, directory: &Directory, facts: &Facts) -> Step {
        let plan = Arc::clone(&self.plan);
        let (State::Paused { up_to }, Some(route)) = (self.state, plan.routes.get(self.route))
        else {
            return self.over();
        };
        if self.offset(facts) >= up_to {
            self.state = State::Over;
            self.note(
                facts,
                "end log".to_owned(),
                route.source.clone(),
                "the time for retries is up".to_owned(),
            );
            return Step::End(End::Log);
        }
        self.walk(route, route.start, directory, facts)
    }

    /// Takes the next step after a [`Step::Pickup`] or [`Step::Park`] that came to nothing.
    pub fn go_on(&mut self, directory: &Directory, facts: &Facts) -> Step {
        let plan = Arc::clone(&self.plan);
        let (State::Handing { next }, Some(route)) = (self.state, plan.routes.get(self.route))
        else {
            return self.over();
        };
        self.walk(route, next, directory, facts)
    }

    /// What was decided so far, and why; at most 256 lines.
    #[must_use]
    pub fn trace(&self) -> &[TraceLine] {
        &self.trace
    }

    /// The chosen route's name.
    #[must_use]
    pub fn route_name(&self) -> &str {
        self.plan
            .routes
            .get(self.route)
            .map_or("", |route| route.name.as_str())
    }

    /// Its priority.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.plan
            .routes
            .get(self.route)
            .map_or(Priority::Normal, |route| route.priority)
    }

    /// The plan this call runs on.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    pub(crate) fn call(&self) -> &CallFacts {
        &self.call
    }

    pub(crate) fn consulted(&self) -> impl Iterator<Item = usize> {
        self.consulted.iter().copied()
    }

    fn over(&mut self) -> Step {
        self.state = State::Over;
        Step::End(End::Hangup)
    }

    fn offset(&self, facts: &Facts) -> Duration {
        // A civil clock that was set back counts as no time passed.
        Duration::try_from(facts.at.duration_since(self.began)).unwrap_or_default()
    }

    fn note(&mut self, facts: &Facts, what: String, source: SourceRef, detail: String) {
        if self.trace.len() < TRACE_LINES {
            let at_offset = self.offset(facts);
            self.trace.push(TraceLine {
                at_offset,
                what,
                source,
                detail,
            });
        }
    }

    /// Goes on at `at` until something is to be done. Operations only point forward in the body, so
    /// the walk ends.
    fn walk(&mut self, route: &Route, mut at: usize, directory: &Directory, facts: &Facts) -> Step {
        let plan = Arc::clone(&self.plan);
        for _ in 0..=route.ops.len() {
            match route.ops.get(at) {
                Some(Op::Branch { arms, next }) => at = self.branch(arms, *next, directory, facts),
                Some(Op::Ring(op)) => {
                    let call = self.call.clone();
                    let context = Context {
                        plan: &plan,
                        directory,
                        facts,
                        call: &call,
                        priority: route.priority,
                    };
                    let ring = context.ring(op);
                    self.consulted
                        .extend(plan.quiet.iter().map(|quiet| quiet.during));
                    self.note_ring(op, &describe(&ring, facts, &|_| None), facts);
                    let dropped = ring.dropped.iter().map(|(_, outcome)| *outcome).min();
                    if !ring.members.is_empty() {
                        self.state = State::Ringing { op: at, dropped };
                        return Step::Ring(ring);
                    }
                    // Nobody left: the step ends at once.
                    match after(op, dropped.unwrap_or(RingOutcome::Unreachable)) {
                        Some(next) => at = next,
                        None => return self.over(),
                    }
                }
                Some(Op::End { end, source }) => return self.end(end, source, facts),
                Some(Op::Proxy { source }) => return self.proxy(source, directory, facts),
                Some(Op::Pickup { of, next, source }) => {
                    self.state = State::Handing { next: *next };
                    return self.pickup(of, source, facts);
                }
                Some(Op::Park {
                    slots,
                    for_,
                    next,
                    source,
                }) => {
                    self.state = State::Handing { next: *next };
                    return self.park(*slots, *for_, source, facts);
                }
                Some(Op::Fall) | None => return self.over(),
            }
        }
        self.over()
    }

    fn branch(&mut self, arms: &[Arm], next: usize, directory: &Directory, facts: &Facts) -> usize {
        for arm in arms {
            let holds = arm
                .test
                .as_ref()
                .is_none_or(|test| self.holds(test, &arm.source, directory, facts));
            if holds {
                return arm.to;
            }
        }
        next
    }

    fn holds(
        &mut self,
        test: &Test,
        source: &SourceRef,
        directory: &Directory,
        facts: &Facts,
    ) -> bool {
        let plan = Arc::clone(&self.plan);
        let mut holds = true;
        if let Some(subject) = &test.subject {
            let (is, what, source, detail) = match subject {
                Subject::Calendar(index) => {
                    let Some(calendar) = plan.calendars.get(*index) else {
                        return false;
                    };
                    self.consulted.insert(*index);
                    let state = plan.state(calendar, facts);
                    let word = if state.open { "OPEN" } else { "CLOSED" };
                    (
                        state.open,
                        format!("{}: {word}", calendar.name),
                        calendar.source.clone(),
                        state.detail,
                    )
                }
                Subject::Mode(mode) => {
                    let on = facts.modes.contains(mode);
                    (
                        on,
                        format!("mode {mode}: {}", if on { "ON" } else { "OFF" }),
                        source.clone(),
                        String::new(),
                    )
                }
                Subject::DoorGroup(_) | Subject::Door(_) | Subject::Desk(_) => {
                    let is = self.caller_is(subject);
                    let (kind, name) = match subject {
                        Subject::DoorGroup(name) => ("group", name),
                        Subject::Desk(name) => ("desk", name),
                        Subject::Door(name) | Subject::Mode(name) => ("door", name),
                        Subject::Calendar(_) => return false,
                    };
                    let word = if is { "YES" } else { "NO" };
                    (
                        is,
                        format!("{kind}:{name}: {word}"),
                        source.clone(),
                        "the caller".to_owned(),
                    )
                }
            };
            self.note(facts, what, source, detail);
            holds = is;
        }
        if let Some(flag) = &test.flag {
            let unit = directory.unit(&self.call.dial);
            let has = unit.is_some_and(|unit| unit.flags.contains(flag));
            let word = if has { "YES" } else { "NO" };
            let detail = unit.map_or("no unit was dialled".to_owned(), |unit| {
                format!("unit {}", unit.id)
            });
            self.note(
                facts,
                format!("@unit.{flag}: {word}"),
                source.clone(),
                detail,
            );
            holds = holds && has;
        }
        holds != test.negate
    }

    fn caller_is(&self, subject: &Subject) -> bool {
        match (subject, &self.call.caller) {
            (Subject::DoorGroup(group), Caller::Door(door)) => self
                .plan
                .door(door)
                .is_some_and(|door| door.groups.contains(group)),
            (Subject::Door(name), Caller::Door(door)) => name == door,
            (Subject::Desk(desk), Caller::Device(device)) => {
                self.plan.desks_of_device(device).any(|name| name == desk)
            }
            _ => false,
        }
    }

    fn note_ring(&mut self, op: &RingOp, detail: &str, facts: &Facts) {
        let shown: Vec<&str> = op.waves.iter().map(|wave| wave.shown.as_str()).collect();
        let what = format!("ring {} {} s", shown.join(" + "), op.for_.as_secs());
        self.note(facts, what, op.source.clone(), detail.to_owned());
    }

    fn end(&mut self, end: &EndOp, source: &SourceRef, facts: &Facts) -> Step {
        let end = match end {
            EndOp::UnitMessage => End::Message {
                mailbox: self.call.dial.clone(),
            },
            EndOp::Plain(end) => end.clone(),
        };
        self.state = match end {
            End::Retry { up_to, .. } => State::Paused { up_to },
            _ => State::Over,
        };
        self.note(facts, end.to_string(), source.clone(), String::new());
        Step::End(end)
    }

    fn pickup(&mut self, of: &[PickupOf], source: &SourceRef, facts: &Facts) -> Step {
        let plan = &self.plan;
        let at = |door: &&crate::Door| {
            of.iter().any(|of| match of {
                PickupOf::Place(place) => plan.place_holds(place, &door.name),
                PickupOf::Desk(_) => false,
            })
        };
        let doors: Vec<String> = plan
            .doors()
            .filter(at)
            .map(|door| door.name.clone())
            .collect();
        let desks = of.iter().filter_map(|of| match of {
            PickupOf::Desk(desk) => plan.desk(desk),
            PickupOf::Place(_) => None,
        });
        let devices: Vec<String> = desks.flat_map(|desk| desk.devices.clone()).collect();
        let whose: Vec<&str> = doors.iter().chain(&devices).map(String::as_str).collect();
        let detail = format!("a call that rings: {}", whose.join(", "));
        self.note(facts, "pickup".to_owned(), source.clone(), detail);
        Step::Pickup {
            doors,
            devices,
            source: source.clone(),
        }
    }

    fn park(&mut self, slots: Slots, for_: Duration, source: &SourceRef, facts: &Facts) -> Step {
        let slot = slots
            .contains(&self.call.dial)
            .then(|| self.call.dial.clone());
        let detail = match &slot {
            Some(slot) => format!("slot {slot}"),
            None => format!("a free slot of {slots}"),
        };
        let what = format!("park {} s", for_.as_secs());
        self.note(facts, what, source.clone(), detail);
        Step::Park {
            slots,
            slot,
            for_,
            source: source.clone(),
        }
    }

    fn proxy(&mut self, source: &SourceRef, directory: &Directory, facts: &Facts) -> Step {
        self.state = State::Over;
        let dial = self.call.dial.clone();
        let device = directory.is_live_device(&dial) && facts.reachable.contains(&dial);
        self.note(
            facts,
            format!("proxy to {dial}"),
            source.clone(),
            String::new(),
        );
        // Nothing is ever proxied to a door: only the server speaks to its station.
        let is_door = matches!(
            directory.device(&dial).map(|d| &d.owner),
            Some(crate::Owner::Door(_))
        );
        if device && !is_door {
            Step::Proxy {
                target: Target::Device(dial),
            }
        } else {
            Step::End(End::Hangup)
        }
    }

    /// Why this route: how the caller and the dialled string match.
    fn why(&self, route: &Route, callers: &[CallerPattern], kinds: &[Class]) -> String {
        let name = match &self.call.caller {
            Caller::Door(name) | Caller::Device(name) | Caller::Trunk(name) => name,
        };
        let pattern = route
            .callers
            .iter()
            .filter(|pattern| callers.contains(pattern))
            .min_by_key(|pattern| pattern.rank());
        let caller = match pattern {
            Some(CallerPattern::DoorGroup(group)) => format!("{name} is in group {group}"),
            Some(CallerPattern::Desk(desk)) => format!("{name} sits at desk {desk}"),
            Some(CallerPattern::Unit(unit)) => format!("{name} belongs to unit {unit}"),
            Some(CallerPattern::Role(role)) => format!("{name} belongs to a {role}"),
            Some(CallerPattern::Person(person)) => format!("{name} belongs to {person}"),
            Some(CallerPattern::AnyDoor) => format!("{name} is a door"),
            Some(CallerPattern::AnyDevice) => format!("{name} is a device"),
            Some(CallerPattern::Trunk(trunk)) => format!("{trunk} is a trunk"),
            Some(CallerPattern::Door(_) | CallerPattern::Device(_)) | None => {
                format!("{name} is named")
            }
        };
        let dial = &self.call.dial;
        let dialled = match &route.dial {
            Pattern::Literal(..) => format!("{dial} is dialled"),
            Pattern::Range(range) => format!("{dial} is in {range}"),
            Pattern::Prefix(prefix) => format!("{dial} begins with {prefix}"),
            Pattern::Class(class) => format!("{dial} = {} {dial}", class.as_str()),
            Pattern::Any => match kinds.first() {
                Some(class) => format!("{dial} = {} {dial}", class.as_str()),
                None => format!("{dial} is anything"),
            },
        };
        format!("{caller}; {dialled}")
    }
}

/// Where the walk goes on after a ring: an `on` block, else below; after `answered` nowhere.
fn after(ring: &RingOp, outcome: RingOutcome) -> Option<usize> {
    let block = ring
        .on
        .iter()
        .find(|(outcomes, _)| outcomes.contains(&outcome));
    match block {
        Some((_, to)) => Some(*to),
        None if outcome == RingOutcome::Answered => None,
        None => Some(ring.next),
    }
}
