//! Which route a call takes: an index by dialled string and caller, so that a thousand routes cost a
//! few look-ups.
//!
//! Of all that match: the most specific `dial` (literal, range, longer prefix, class, `*`), then the
//! most specific caller (name, group, all), then file order.

use std::collections::BTreeMap;

use crate::directory::{Directory, Owner};
use crate::facts::{CallFacts, Caller};
use crate::language::dial::{Class, Pattern, in_range};
use crate::plan::Plan;
use crate::program::{CallerPattern, Route};

/// First route in file order for each caller pattern.
type ByCaller = BTreeMap<CallerPattern, usize>;

/// The index.
#[derive(Debug, Default)]
pub(crate) struct RouteIndex {
    literal: BTreeMap<String, BTreeMap<Option<Class>, ByCaller>>,
    /// By length.
    ranges: BTreeMap<usize, BTreeMap<String, ByCaller>>,
    prefixes: BTreeMap<String, ByCaller>,
    longest_prefix: usize,
    classes: BTreeMap<Class, ByCaller>,
    any: ByCaller,
}

impl RouteIndex {
    pub(crate) fn new(routes: &[Route]) -> Self {
        let mut index = Self::default();
        for (at, route) in routes.iter().enumerate() {
            let by_caller = match &route.dial {
                Pattern::Literal(text, class) => index
                    .literal
                    .entry(text.clone())
                    .or_default()
                    .entry(*class)
                    .or_default(),
                Pattern::Range(range) => index
                    .ranges
                    .entry(range.len())
                    .or_default()
                    .entry(range.clone())
                    .or_default(),
                Pattern::Prefix(prefix) => {
                    index.longest_prefix = index.longest_prefix.max(prefix.len());
                    index.prefixes.entry(prefix.clone()).or_default()
                }
                Pattern::Class(class) => index.classes.entry(*class).or_default(),
                Pattern::Any => &mut index.any,
            };
            for caller in &route.callers {
                by_caller.entry(caller.clone()).or_insert(at);
            }
        }
        index
    }

    /// The route of a call.
    pub(crate) fn find(
        &self,
        call: &CallFacts,
        callers: &[CallerPattern],
        classes: &[Class],
    ) -> Option<usize> {
        let dial = call.dial.as_str();
        let literal = self.literal.get(dial).and_then(|by_class| {
            let kinds = std::iter::once(None).chain(classes.iter().copied().map(Some));
            best(kinds.filter_map(|kind| by_class.get(&kind)), callers)
        });
        literal
            .or_else(|| {
                let ranges = self.ranges.get(&dial.len())?;
                best(
                    ranges
                        .iter()
                        .filter(|(range, _)| in_range(range, dial))
                        .map(|(_, by)| by),
                    callers,
                )
            })
            .or_else(|| {
                let longest = self.longest_prefix.min(dial.len().saturating_sub(1));
                let lengths = (1..=longest).rev();
                lengths
                    .filter_map(|length| self.prefixes.get(dial.get(..length)?))
                    .find_map(|by| best([by].into_iter(), callers))
            })
            .or_else(|| {
                best(
                    classes.iter().filter_map(|class| self.classes.get(class)),
                    callers,
                )
            })
            .or_else(|| best([&self.any].into_iter(), callers))
    }
}

/// The most specific caller, then the first in the file.
fn best<'a>(
    tables: impl Iterator<Item = &'a ByCaller>,
    callers: &[CallerPattern],
) -> Option<usize> {
    let mut found: Option<(u8, usize)> = None;
    for table in tables {
        for caller in callers {
            if let Some(route) = table.get(caller) {
                let candidate = (caller.rank(), *route);
                found = Some(found.map_or(candidate, |best| best.min(candidate)));
            }
        }
    }
    found.map(|(_, route)| route)
}

/// Every pattern a caller fits.
pub(crate) fn caller_patterns(
    plan: &Plan,
    directory: &Directory,
    caller: &Caller,
) -> Vec<CallerPattern> {
    match caller {
        Caller::Door(name) => {
            // A name that is no door of the plan matches nothing, not even `*`.
            let Some(door) = plan.door(name) else {
                return Vec::new();
            };
            let groups = door.groups.iter().cloned().map(CallerPattern::DoorGroup);
            [CallerPattern::Door(name.clone())]
                .into_iter()
                .chain(groups)
                .chain([CallerPattern::AnyDoor])
                .collect()
        }
        Caller::Device(id) => device_patterns(plan, directory, id),
        // Of no class: a route for everybody inside is none for who comes from outside.
        Caller::Trunk(name) => vec![CallerPattern::Trunk(name.clone())],
    }
}

fn device_patterns(plan: &Plan, directory: &Directory, id: &str) -> Vec<CallerPattern> {
    if !directory.is_live_device(id) {
        return Vec::new();
    }
    let mut patterns = vec![CallerPattern::Device(id.to_owned())];
    patterns.extend(
        plan.desks_of_device(id)
            .map(|desk| CallerPattern::Desk(desk.to_owned())),
    );
    match directory.device(id).map(|device| &device.owner) {
        Some(Owner::Person(person)) => {
            patterns.push(CallerPattern::Person(person.clone()));
            if let Some(person) = directory.person(person) {
                patterns.extend(person.unit.clone().map(CallerPattern::Unit));
                patterns.push(CallerPattern::Role(person.role.clone()));
            }
        }
        Some(Owner::Unit(unit)) => patterns.push(CallerPattern::Unit(unit.clone())),
        Some(Owner::Desk(desk)) => patterns.push(CallerPattern::Desk(desk.clone())),
        // A door's station calls as the door, never as a device.
        Some(Owner::Door(_)) => return Vec::new(),
        None => {}
    }
    patterns.push(CallerPattern::AnyDevice);
    patterns
}

/// The classes a dialled string is of.
pub(crate) fn classes(plan: &Plan, directory: &Directory, dial: &str) -> Vec<Class> {
    let is = |class: &Class| match class {
        Class::Unit => directory.unit(dial).is_some(),
        Class::Device => directory.device(dial).is_some(),
        Class::Door => plan.door(dial).is_some(),
        Class::Person => directory.person(dial).is_some(),
    };
    Class::ALL.into_iter().filter(is).collect()
}
