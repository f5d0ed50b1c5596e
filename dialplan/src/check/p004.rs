//! P004: an hour in which a door's call reaches nobody: no device and no message box.
//!
//! The calendars a route reads take only a few joint states; each is tried once, at the first moment
//! it comes up, with every device reachable and nobody answering.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::diagnostic::{Diagnostic, Level};
use crate::directory::Directory;
use crate::facts::{CallFacts, Caller, Facts};
use crate::language::dial::{Class, Pattern};
use crate::language::ring::Selector;
use crate::members::Context;
use crate::plan::Plan;
use crate::program::{CallerPattern, EndOp, Op, RingOp, Route, Subject, Test};
use crate::step::End;

/// Most joint states of calendars tried per route.
const STATES: usize = 64;
/// Most changes of calendars followed in search of them.
const CHANGES: usize = 2_000;

pub(crate) fn check(
    plan: &Plan,
    directory: &Directory,
    now: Timestamp,
    found: &mut Vec<Diagnostic>,
) {
    let mut search = Search {
        plan,
        directory,
        now,
        moments: BTreeMap::new(),
        reached: BTreeMap::new(),
    };
    for route in plan.routes.iter().filter(|route| route.is_door_route()) {
        found.extend(search.route(route));
    }
}

struct Search<'a> {
    plan: &'a Plan,
    directory: &'a Directory,
    now: Timestamp,
    moments: BTreeMap<BTreeSet<usize>, Vec<Timestamp>>,
    /// The units that a set of `@unit` selectors leaves unreached, per moment: routes share it.
    reached: BTreeMap<(Timestamp, Vec<Selector>), Vec<String>>,
}

/// What one path rings.
#[derive(Default)]
struct Path<'r> {
    rings: Vec<&'r RingOp>,
    fallback: bool,
}

impl Search<'_> {
    fn route(&mut self, route: &Route) -> Option<Diagnostic> {
        let mut calendars: BTreeSet<usize> =
            self.plan.quiet.iter().map(|quiet| quiet.during).collect();
        for op in &route.ops {
            if let Op::Branch { arms, .. } = op {
                calendars.extend(
                    arms.iter()
                        .filter_map(|arm| match arm.test.as_ref()?.subject {
                            Some(Subject::Calendar(index)) => Some(index),
                            _ => None,
                        }),
                );
            }
        }
        let door = self.door(route)?;
        for at in self.moments(&calendars) {
            let facts = Facts::at(at);
            for path in paths(route, &|test| self.holds(test, &facts, &door)) {
                if path.fallback {
                    continue;
                }
                if let Some(diagnostic) = self.nobody(route, &path, &facts, &door) {
                    return Some(diagnostic);
                }
            }
        }
        None
    }

    /// A door that calls by this route.
    fn door(&self, route: &Route) -> Option<String> {
        route.callers.iter().find_map(|caller| match caller {
            CallerPattern::Door(name) => Some(name.clone()),
            CallerPattern::DoorGroup(group) => self
                .plan
                .doors
                .iter()
                .find(|door| door.groups.contains(group))
                .map(|door| door.name.clone()),
            CallerPattern::AnyDoor => self.plan.doors.first().map(|door| door.name.clone()),
            _ => None,
        })
    }

    /// `None` where it depends on the unit: both ways are tried.
    fn holds(&self, test: &Test, facts: &Facts, door: &str) -> Option<bool> {
        let door = self.plan.door(door)?;
        let subject = match &test.subject {
            None => true,
            Some(Subject::Calendar(index)) => self.plan.is_open(*index, facts),
            Some(Subject::Mode(_) | Subject::Desk(_)) => false,
            Some(Subject::DoorGroup(group)) => door.groups.contains(group),
            Some(Subject::Door(name)) => *name == door.name,
        };
        match (&test.flag, subject) {
            (Some(_), true) => None,
            _ => Some(subject != test.negate),
        }
    }

    /// The first moment of each joint state of the calendars.
    fn moments(&mut self, calendars: &BTreeSet<usize>) -> Vec<Timestamp> {
        if let Some(known) = self.moments.get(calendars) {
            return known.clone();
        }
        let read: Vec<_> = calendars
            .iter()
            .filter_map(|index| self.plan.calendars.get(*index))
            .collect();
        let mut seen = BTreeSet::new();
        let mut moments = Vec::new();
        let mut next: Vec<Option<Timestamp>> = read
            .iter()
            .map(|calendar| calendar.next_change(self.now))
            .collect();
        let horizon = self.now.as_second() + crate::language::calendar::HORIZON_DAYS * 86_400;
        let mut at = self.now;
        for _ in 0..CHANGES {
            let state: Vec<bool> = read.iter().map(|calendar| calendar.is_open(at)).collect();
            if seen.insert(state) {
                moments.push(at);
            }
            let Some(change) = next.iter().flatten().min().copied() else {
                break;
            };
            if moments.len() >= STATES || change.as_second() > horizon {
                break;
            }
            at = change;
            for (calendar, next) in read.iter().zip(&mut next) {
                if *next == Some(at) {
                    *next = calendar.next_change(at);
                }
            }
        }
        self.moments.insert(calendars.clone(), moments.clone());
        moments
    }

    fn nobody(
        &mut self,
        route: &Route,
        path: &Path<'_>,
        facts: &Facts,
        door: &str,
    ) -> Option<Diagnostic> {
        let when = self.plan.civil(facts.at);
        let report = |level, message: String| {
            let diagnostic =
                Diagnostic::new("P004", level, &self.plan.text, route.source.span, message);
            diagnostic
                .label(format!("at {when}"))
                .hint("ring a desk or another unit, or end with a message box")
        };
        if !matches!(route.dial, Pattern::Class(Class::Unit)) {
            let dial = match &route.dial {
                Pattern::Literal(dial, _) => dial.clone(),
                _ => String::new(),
            };
            // Without a dialled unit only what the plan names can be judged.
            let open = !matches!(route.dial, Pattern::Literal(..))
                && path.rings.iter().any(|ring| dialled(ring).is_some());
            let reached = open || self.rings_anyone(route, path, facts, door, &dial);
            return (!reached).then(|| {
                report(
                    Level::Error,
                    format!("route \"{}\" reaches nobody", route.name),
                )
            });
        }
        let selectors: Option<Vec<Selector>> = {
            let mut all: Vec<Selector> = Vec::new();
            let only = path
                .rings
                .iter()
                .all(|ring| dialled(ring).map(|more| all.extend(more)).is_some());
            only.then_some(all)
        };
        if selectors.is_none() && self.rings_anyone(route, path, facts, door, "") {
            return None;
        }
        let key = (facts.at, selectors.clone().unwrap_or_default());
        let shareable = selectors.is_some();
        let unreached = match self.reached.get(&key).filter(|_| shareable) {
            Some(known) => known.clone(),
            None => {
                let units = self.directory.units().keys();
                let missed: Vec<String> = units
                    .filter(|unit| !self.rings_anyone(route, path, facts, door, unit))
                    .cloned()
                    .collect();
                if shareable {
                    self.reached.insert(key, missed.clone());
                }
                missed
            }
        };
        let total = self.directory.units().len();
        let named = unreached
            .iter()
            .take(3)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        match unreached.len() {
            0 => None,
            all if all == total => Some(report(
                Level::Error,
                format!("route \"{}\" reaches nobody in any unit", route.name),
            )),
            some => Some(report(
                Level::Warn,
                format!(
                    "route \"{}\" reaches nobody in {some} of {total} units ({named} …)",
                    route.name
                ),
            )),
        }
    }

    fn rings_anyone(
        &self,
        route: &Route,
        path: &Path<'_>,
        facts: &Facts,
        door: &str,
        dial: &str,
    ) -> bool {
        let call = CallFacts {
            caller: Caller::Door(door.to_owned()),
            dial: dial.to_owned(),
        };
        let context = Context {
            plan: self.plan,
            directory: self.directory,
            facts,
            call: &call,
            priority: route.priority,
        };
        path.rings
            .iter()
            .any(|ring| !context.ring(ring).members.is_empty())
    }
}

/// The `@…` selectors of a ring, if it has no others.
fn dialled(ring: &RingOp) -> Option<Vec<Selector>> {
    let first = ring
        .waves
        .iter()
        .flat_map(|wave| wave.selectors.iter().map(|(selector, ..)| selector));
    let added = ring
        .waves
        .iter()
        .flat_map(|wave| &wave.adds)
        .flat_map(|add| add.members.iter().map(|(selector, _)| selector));
    let all: Vec<Selector> = first.chain(added).cloned().collect();
    let own = |selector: &Selector| {
        matches!(
            selector,
            Selector::DialledUnit { .. }
                | Selector::DialledPhones
                | Selector::DialledDevice
                | Selector::DialledPerson
                | Selector::DialledDoor
        )
    };
    all.iter().all(own).then_some(all)
}

/// The paths taken when nobody answers; a test that cannot be decided is taken both ways.
fn paths<'r>(route: &'r Route, holds: &dyn Fn(&Test) -> Option<bool>) -> Vec<Path<'r>> {
    const MOST: usize = 32;
    let mut done = Vec::new();
    let mut todo = vec![(route.start, Path::default())];
    while let Some((at, mut path)) = todo.pop() {
        if done.len() + todo.len() >= MOST {
            break;
        }
        match route.ops.get(at) {
            Some(Op::Branch { arms, next }) => {
                let mut taken = false;
                for arm in arms {
                    let held = arm.test.as_ref().map_or(Some(true), holds);
                    if held != Some(false) {
                        let rings = path.rings.clone();
                        todo.push((
                            arm.to,
                            Path {
                                rings,
                                fallback: path.fallback,
                            },
                        ));
                    }
                    if held == Some(true) {
                        taken = true;
                        break;
                    }
                }
                if !taken {
                    todo.push((*next, path));
                }
            }
            Some(Op::Ring(ring)) => {
                path.rings.push(ring);
                todo.push((ring.next, path));
            }
            Some(Op::End { end, .. }) => {
                path.fallback = matches!(
                    end,
                    EndOp::UnitMessage | EndOp::Plain(End::Message { .. } | End::Transfer { .. })
                );
                done.push(path);
            }
            Some(Op::Proxy { .. }) => {
                path.fallback = true;
                done.push(path);
            }
            // Somebody called already: whose call it is has been rung by another route.
            Some(Op::Pickup { .. } | Op::Park { .. }) => {
                path.fallback = true;
                done.push(path);
            }
            Some(Op::Fall) | None => done.push(path),
        }
    }
    done
}
