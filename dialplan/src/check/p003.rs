//! P003: the longest wait exceeds the station's own call limit, so the door hangs up first.

use std::time::Duration;

use crate::diagnostic::{Diagnostic, Level};
use crate::plan::Plan;
use crate::program::{CallerPattern, Op, Route};

pub(crate) fn check(plan: &Plan, found: &mut Vec<Diagnostic>) {
    for route in plan.routes.iter().filter(|route| route.is_door_route()) {
        let calls = |door: &crate::Door| {
            route.callers.iter().any(|caller| match caller {
                CallerPattern::Door(name) => *name == door.name,
                CallerPattern::DoorGroup(group) => door.groups.contains(group),
                CallerPattern::AnyDoor => true,
                _ => false,
            })
        };
        let limits = plan
            .doors
            .iter()
            .filter(|door| calls(door))
            .filter_map(|door| Some((door.ring_limit?, door)));
        let Some((limit, door)) = limits.min_by_key(|(limit, _)| *limit) else {
            continue;
        };
        let longest = longest(route);
        if longest > limit {
            let message = format!(
                "the longest wait is {} s, but \"{}\" hangs up after {} s",
                longest.as_secs(),
                door.name,
                limit.as_secs()
            );
            let diagnostic =
                Diagnostic::new("P003", Level::Warn, &plan.text, route.source.span, message);
            found.push(
                diagnostic
                    .label("what comes after that never happens")
                    .hint(format!("ring-limit stands at {}", door.source)),
            );
        }
    }
}

/// The longest time all rings on one path take. Operations are numbered from the end of a body to
/// its beginning, so every successor has been reckoned before.
fn longest(route: &Route) -> Duration {
    let mut reckoned: Vec<Duration> = Vec::with_capacity(route.ops.len());
    for op in &route.ops {
        let of = |at: usize| reckoned.get(at).copied().unwrap_or_default();
        let time = match op {
            Op::Branch { arms, next } => arms
                .iter()
                .map(|arm| of(arm.to))
                .fold(of(*next), Duration::max),
            Op::Ring(ring) => {
                ring.for_
                    + ring
                        .on
                        .iter()
                        .map(|(_, to)| of(*to))
                        .fold(of(ring.next), Duration::max)
            }
            Op::Pickup { next, .. } | Op::Park { next, .. } => of(*next),
            Op::End { .. } | Op::Proxy { .. } | Op::Fall => Duration::ZERO,
        };
        reckoned.push(time);
    }
    reckoned.get(route.start).copied().unwrap_or_default()
}
