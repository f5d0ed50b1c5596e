//! What would happen, told line by line: the evaluator itself run on given outcomes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::directory::Directory;
use crate::evaluate::{NoRoute, Run, TraceLine};
use crate::facts::{CallFacts, Caller, Facts};
use crate::members::describe;
use crate::plan::{DriverKind, OutputDef, Plan};
use crate::rights::{Actor, KeyAction, LegState, Method, OpenQuery, Verdict};
use crate::step::{End, Member, MemberRule, Ring, RingOutcome, Step, Target};

/// How members react, by member, device or the word of the plan (`desk`, `@unit`). Whoever is not
/// listed does not answer.
pub type Given = BTreeMap<String, RingOutcome>;

/// Most steps told: a route that retries for hours is cut there.
const STEPS: usize = 100;

/// The answer: text by `Display`, JSON by serde.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The plan it was asked of.
    pub version: String,
    /// What happens, in order.
    pub lines: Vec<TraceLine>,
    /// What each key does for whoever answers.
    pub keys: Vec<String>,
    /// When this answer next changes.
    pub flips: Option<String>,
}

/// Reads `desk=busy, anna.mobile=push-failed`.
///
/// # Errors
/// The part that is not `NAME=OUTCOME`.
pub fn parse_given(written: &str) -> Result<Given, String> {
    let parts = written
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, word) = part.split_once('=').ok_or_else(|| part.to_owned())?;
            let outcome = RingOutcome::from_word(word.trim()).ok_or_else(|| part.to_owned())?;
            Ok((name.trim().to_owned(), outcome))
        })
        .collect()
}

/// Runs the call on the given outcomes and tells what happened.
///
/// # Errors
/// [`NoRoute`] when the plan has no answer to this call.
pub fn explain(
    plan: &Arc<Plan>,
    directory: &Directory,
    facts: &Facts,
    call: CallFacts,
    given: &Given,
) -> Result<Explanation, NoRoute> {
    let mut now = facts.clone();
    let (mut run, mut step) = plan.begin(directory, &now, call)?;
    let mut details: BTreeMap<usize, String> = BTreeMap::new();
    let mut rings: Vec<Ring> = Vec::new();
    for _ in 0..STEPS {
        match step {
            Step::Ring(ring) => {
                let react = |member: &Member| reaction(member, given);
                if let Some(line) = run.trace().len().checked_sub(1) {
                    details.insert(line, describe(&ring, &now, &react));
                }
                let (outcome, lasts) = play(&ring, given);
                now.at = now.at.checked_add(lasts).unwrap_or(now.at);
                rings.push(ring);
                step = run.next(directory, &now, outcome);
            }
            Step::End(End::Retry { every, .. }) => {
                now.at = now.at.checked_add(every).unwrap_or(now.at);
                step = run.retry(directory, &now);
            }
            // Told as it goes with a call at hand: whether there is one, nobody knows beforehand.
            Step::Pickup { .. } | Step::Park { .. } => step = run.go_on(directory, &now),
            Step::End(_) | Step::Proxy { .. } | Step::Done => break,
        }
    }
    let mut lines = run.trace().to_vec();
    for (at, detail) in details {
        if let Some(line) = lines.get_mut(at) {
            line.detail = detail;
        }
    }
    Ok(Explanation {
        version: plan.version().to_owned(),
        lines,
        keys: keys(plan, directory, facts, run.call(), &rings),
        flips: flips(plan, facts, &run),
    })
}

fn reaction(member: &Member, given: &Given) -> Option<RingOutcome> {
    let device = match &member.target {
        Target::Device(id) | Target::Door(id) => given.get(id),
        Target::Number { number, .. } => given.get(number.reveal()),
    };
    given
        .get(&member.name)
        .or(device)
        .or_else(|| given.get(&member.selector))
        .copied()
}

/// How a ring goes and how long it lasts when its members react as given.
fn play(ring: &Ring, given: &Given) -> (RingOutcome, Duration) {
    let mut lasts = Duration::ZERO;
    let mut outcome = RingOutcome::Blocked;
    let mut turn = Duration::ZERO;
    let mut members: Vec<&Member> = ring.members.iter().collect();
    members.sort_by_key(|member| member.after);
    for member in members {
        let begins = if ring.serial { turn } else { member.after };
        let reacts = reaction(member, given).unwrap_or(RingOutcome::NoAnswer);
        let until = match (reacts, member.for_) {
            (RingOutcome::NoAnswer, Some(for_)) => begins + for_,
            (RingOutcome::NoAnswer, None) => ring.for_,
            _ => begins,
        };
        turn = until;
        let ends = reacts == RingOutcome::Answered
            || member
                .on
                .iter()
                .any(|(of, rule)| *of == reacts && *rule == MemberRule::Next);
        if ends {
            return (reacts, begins.min(ring.for_));
        }
        lasts = lasts.max(until);
        outcome = outcome.min(reacts);
    }
    (outcome, lasts.min(ring.for_))
}

/// What each key of the rings' maps does, and who of those rung may use it.
fn keys(
    plan: &Plan,
    directory: &Directory,
    facts: &Facts,
    call: &CallFacts,
    rings: &[Ring],
) -> Vec<String> {
    let door = match &call.caller {
        Caller::Door(door) => door.as_str(),
        Caller::Device(_) if plan.door(&call.dial).is_some() => call.dial.as_str(),
        Caller::Device(_) | Caller::Trunk(_) => return Vec::new(),
    };
    let mut maps: Vec<&str> = rings.iter().map(|ring| ring.keys.as_str()).collect();
    maps.dedup();
    let mut told = Vec::new();
    for map in maps {
        for digit in plan.digits(map) {
            let line = match plan.key(map, door, digit) {
                Some(KeyAction::Open { door, output, .. }) => {
                    let def = plan
                        .door(&door)
                        .and_then(|door| door.outputs.iter().find(|def| def.name == output));
                    let how = def.map(driven).unwrap_or_default();
                    let who = allowed(plan, directory, facts, call, rings, (&door, &output));
                    format!("{digit} -> {door}/{output} by {how} ({who})")
                }
                Some(KeyAction::Transfer { target, .. }) => {
                    format!("{digit} -> transfer to {target}")
                }
                Some(KeyAction::Absent) | None => continue,
            };
            if !told.contains(&line) {
                told.push(line);
            }
        }
    }
    told
}

/// Who of the parties may open: those rung, and the caller when a device called the door.
fn allowed(
    plan: &Plan,
    directory: &Directory,
    facts: &Facts,
    call: &CallFacts,
    rings: &[Ring],
    (door, output): (&str, &str),
) -> String {
    let rung = rings
        .iter()
        .flat_map(|ring| &ring.members)
        .filter_map(|member| match &member.target {
            Target::Device(id) => Some(id),
            Target::Door(_) | Target::Number { .. } => None,
        });
    let caller = match &call.caller {
        Caller::Device(id) => Some(id),
        Caller::Door(_) | Caller::Trunk(_) => None,
    };
    let mut texts: Vec<String> = Vec::new();
    for device in caller.into_iter().chain(rung) {
        let actor = Actor::of_device(plan, directory, device);
        let query = OpenQuery {
            actor: &actor,
            door,
            output: Some(output),
            method: Method::Handset,
            leg: LegState::Answered,
        };
        if let Verdict::Allow { text, .. } = plan.may_open(directory, facts, &query)
            && !texts.contains(&text)
        {
            texts.push(text);
        }
    }
    if texts.is_empty() {
        "no device of this call may".to_owned()
    } else {
        format!("allowed: {}", texts.join("; "))
    }
}

fn driven(output: &OutputDef) -> String {
    let option = |name: &str| {
        output
            .options
            .get(name)
            .map(|value| format!(" {name} {value}"))
            .unwrap_or_default()
    };
    match output.driver {
        DriverKind::Http => format!("HTTP{}", option("switch")),
        DriverKind::Dtmf => "DTMF".to_owned(),
        DriverKind::SipInfo => "SIP INFO".to_owned(),
        DriverKind::SipMessage => "SIP MESSAGE".to_owned(),
        DriverKind::ActionBuzz => "Action: buzz".to_owned(),
        DriverKind::Mqtt => "MQTT".to_owned(),
        DriverKind::Webhook => "webhook".to_owned(),
    }
}

/// The next change of a calendar that was read.
fn flips(plan: &Plan, facts: &Facts, run: &Run) -> Option<String> {
    let changes = run.consulted().filter_map(|index| {
        let calendar = plan.calendars.get(index)?;
        let held = facts
            .overrides
            .get(&calendar.name)
            .filter(|held| held.until.is_none_or(|until| facts.at < until));
        let at = match held {
            Some(held) => held.until?,
            None => calendar.next_change(facts.at)?,
        };
        Some((at, calendar, calendar.is_open(at)))
    });
    let (at, calendar, opens) = changes.min_by_key(|(at, ..)| *at)?;
    let word = if opens { "opens" } else { "closes" };
    Some(format!(
        "this answer next changes {} ({} {word})",
        plan.civil(at),
        calendar.name
    ))
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .lines
            .iter()
            .map(|line| line.what.chars().count())
            .max()
            .unwrap_or(0)
            .max(22);
        let column = self
            .lines
            .iter()
            .map(|line| line.source.to_string().len())
            .max()
            .unwrap_or(0)
            .max(12);
        for line in &self.lines {
            let seconds = line.at_offset.as_secs_f64();
            let source = line.source.to_string();
            let told = format!(
                "{seconds:5.1} s  {:width$}  {source:column$}  {}",
                line.what, line.detail
            );
            writeln!(f, "{}", told.trim_end())?;
        }
        for key in &self.keys {
            writeln!(f, "  keys   {key}")?;
        }
        if let Some(flips) = &self.flips {
            writeln!(f, "  flips  {flips}")?;
        }
        Ok(())
    }
}
