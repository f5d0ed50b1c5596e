//! Judging an unlock: denied unless a rule allows, a deny rule wins, the revoked never.

use crate::directory::Directory;
use crate::facts::Facts;
use crate::language::rights::{Effect, Who};
use crate::plan::{Plan, Rule};
use crate::rights::{Actor, DenyReason, LegState, Method, OpenQuery, Verdict};

pub(crate) fn judge(
    plan: &Plan,
    directory: &Directory,
    facts: &Facts,
    query: &OpenQuery<'_>,
) -> Verdict {
    let deny = |rule: Option<&Rule>, reason| Verdict::Deny {
        rule: rule.map(|rule| rule.source.clone()),
        reason,
    };
    if !query.actor.is_live(directory) {
        return deny(None, DenyReason::Revoked);
    }
    let Some(door) = plan.door(query.door) else {
        return deny(None, DenyReason::NoRight);
    };
    let matching = |effect: Effect| {
        plan.rules.iter().filter(move |rule| {
            rule.effect == effect
                && rule.methods.contains(&query.method)
                && concerns(plan, rule, query.actor, query.door)
        })
    };
    let in_time = |rule: &Rule| {
        rule.during
            .is_none_or(|calendar| plan.is_open(calendar, facts))
    };
    if let Some(rule) = matching(Effect::Deny).find(|rule| in_time(rule)) {
        return deny(Some(rule), DenyReason::DenyRule);
    }
    if query.method == Method::Code && codes_blocked(plan, facts, query.door) {
        return deny(None, DenyReason::ModeBlocks);
    }
    // The rule that asks least decides; of equals the first in the file.
    let Some(rule) = matching(Effect::Open)
        .filter(|rule| in_time(rule))
        .min_by_key(|rule| rule.require)
    else {
        let nearest = matching(Effect::Open).next();
        return deny(
            nearest,
            if nearest.is_some() {
                DenyReason::OutsideHours
            } else {
                DenyReason::NoRight
            },
        );
    };
    let output = match query.output {
        None => door.outputs.first(),
        Some(name) => door.outputs.iter().find(|output| output.name == name),
    };
    let Some(output) = output else {
        return deny(Some(rule), DenyReason::NoSuchOutput);
    };
    if query.method.needs_call() && query.leg < rule.require {
        return deny(Some(rule), DenyReason::NotInCall);
    }
    Verdict::Allow {
        rule: rule.source.clone(),
        text: in_words(rule, query),
        output: output.name.clone(),
    }
}

pub(crate) fn may_view(
    plan: &Plan,
    directory: &Directory,
    facts: &Facts,
    actor: &Actor,
    door: &str,
) -> bool {
    let in_time = |rule: &Rule| {
        rule.during
            .is_none_or(|calendar| plan.is_open(calendar, facts))
    };
    actor.is_live(directory)
        && plan.door(door).is_some()
        && plan.rules.iter().any(|rule| {
            rule.effect == Effect::View && concerns(plan, rule, actor, door) && in_time(rule)
        })
}

fn codes_blocked(plan: &Plan, facts: &Facts, door: &str) -> bool {
    let on = facts.modes.iter().filter_map(|mode| plan.modes.get(mode));
    on.flatten().any(|place| plan.place_holds(place, door))
}

fn concerns(plan: &Plan, rule: &Rule, actor: &Actor, door: &str) -> bool {
    rule.who.iter().any(|(who, _)| is(who, actor))
        && rule
            .places
            .iter()
            .any(|place| plan.place_holds(place, door))
}

/// Whether a rule's subject is this actor.
pub(crate) fn is(who: &Who, actor: &Actor) -> bool {
    match who {
        Who::Role(role) => actor.roles.contains(role),
        Who::Person(person) => actor.person.as_ref() == Some(person),
        Who::Unit(unit) => actor.unit.as_ref() == Some(unit),
        Who::Device(device) => actor.device.as_ref() == Some(device),
        Who::Desk(desk) => actor.desks.contains(desk),
    }
}

/// The rule in words for audit and explain: `resident, answered`.
fn in_words(rule: &Rule, query: &OpenQuery<'_>) -> String {
    let who = rule
        .who
        .iter()
        .find(|(who, _)| is(who, query.actor))
        .map_or("", |(_, name)| name.value.as_str());
    let who = who.strip_prefix("role:").unwrap_or(who);
    match rule.require {
        LegState::Answered if query.method.needs_call() => format!("{who}, answered"),
        LegState::Rung if query.method.needs_call() => format!("{who}, rung"),
        _ => format!("{who}, {}", query.method),
    }
}
