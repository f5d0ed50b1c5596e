//! Whom a ring step rings: selectors become devices, numbers and doors; the unreachable and those in
//! quiet hours are left out.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::directory::{Device, Directory, Owner, Person};
use crate::facts::{CallFacts, Caller, Facts, Reach};
use crate::language::rights::Who;
use crate::language::ring::Selector;
use crate::plan::{Plan, Quiet};
use crate::program::{RingOp, Wave};
use crate::rights::Actor;
use crate::step::{Member, Priority, Ring, RingOutcome, Target};

/// What the members of a call's rings depend on.
pub(crate) struct Context<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) directory: &'a Directory,
    pub(crate) facts: &'a Facts,
    pub(crate) call: &'a CallFacts,
    pub(crate) priority: Priority,
}

impl Context<'_> {
    /// The step with its members; `members` may be empty.
    pub(crate) fn ring(&self, op: &RingOp) -> Ring {
        let mut gathered = Gathered::default();
        for wave in &op.waves {
            self.wave(op, wave, &mut gathered);
        }
        let mut ring = Ring {
            members: gathered.members,
            serial: op.serial,
            for_: op.for_,
            join_late: op.join_late,
            preview: op.preview,
            keys: op.keys.clone(),
            auto_answer: op.auto_answer,
            source: op.source.clone(),
            dropped: gathered.dropped,
        };
        if ring.serial {
            let count = u32::try_from(ring.members.len()).unwrap_or(u32::MAX).max(1);
            for member in &mut ring.members {
                member.for_ = Some(op.for_ / count);
            }
        }
        ring
    }

    fn wave(&self, op: &RingOp, wave: &Wave, gathered: &mut Gathered) {
        // `add` takes its members out of the first set, so it is looked at first.
        let from = gathered.members.len();
        for add in &wave.adds {
            for (selector, name) in &add.members {
                let timing = (wave.after + add.after, add.for_);
                self.select(selector, &name.value, wave, op, timing, gathered);
            }
        }
        let added = gathered.members.split_off(from);
        for (selector, name, _) in &wave.selectors {
            self.select(selector, name, wave, op, (wave.after, wave.for_), gathered);
        }
        gathered.members.extend(added);
    }

    fn select(
        &self,
        selector: &Selector,
        word: &str,
        wave: &Wave,
        op: &RingOp,
        timing: (Duration, Option<Duration>),
        gathered: &mut Gathered,
    ) {
        let mut add =
            |name: String, target: Target, owner: Option<&Person>, confirm: Option<String>| {
                let member = Member {
                    name,
                    selector: word.to_owned(),
                    target,
                    after: timing.0,
                    for_: timing.1,
                    confirm,
                    on: op.rules.clone(),
                };
                self.admit(member, owner, gathered);
            };
        for device in self.devices(selector) {
            let owner = self.owner(device);
            add(
                shown_name(device),
                Target::Device(device.id.clone()),
                owner,
                None,
            );
        }
        match selector {
            Selector::DialledDoor if self.plan.door(&self.call.dial).is_some() => {
                add(
                    self.call.dial.clone(),
                    Target::Door(self.call.dial.clone()),
                    None,
                    None,
                );
            }
            Selector::Door(door) => add(door.clone(), Target::Door(door.clone()), None, None),
            Selector::Number(number) => {
                let number = crate::Redacted::new(number.as_str());
                let target = Target::Number {
                    number: number.clone(),
                    via: wave.via.clone(),
                };
                add(
                    number.reveal().to_owned(),
                    target,
                    None,
                    wave.confirm.clone(),
                );
            }
            Selector::DialledPhones => {
                for person in self.directory.people_of_unit(&self.call.dial) {
                    for number in &person.numbers {
                        let target = Target::Number {
                            number: number.clone(),
                            via: wave.via.clone(),
                        };
                        add(number.masked(), target, Some(person), wave.confirm.clone());
                    }
                }
            }
            _ => {}
        }
    }

    /// The unrevoked devices a selector names.
    fn devices(&self, selector: &Selector) -> Vec<&Device> {
        let dial = self.call.dial.as_str();
        match selector {
            Selector::DialledUnit { label } => {
                labelled(self.directory.devices_of_unit(dial), label.as_ref())
            }
            Selector::Unit { id, label } => {
                labelled(self.directory.devices_of_unit(id), label.as_ref())
            }
            Selector::Person { id, label } => labelled(
                self.directory.devices_of_person(id).collect(),
                label.as_ref(),
            ),
            Selector::DialledPerson => self.directory.devices_of_person(dial).collect(),
            Selector::DialledDevice => self.live(dial).into_iter().collect(),
            Selector::Device(id) => self.live(id).into_iter().collect(),
            Selector::Desk(desk) => {
                let named = self.plan.desk(desk).map_or(&[][..], |desk| &desk.devices);
                named.iter().filter_map(|id| self.live(id)).collect()
            }
            Selector::DialledPhones
            | Selector::DialledDoor
            | Selector::Door(_)
            | Selector::Number(_) => Vec::new(),
        }
    }

    fn live(&self, id: &str) -> Option<&Device> {
        self.directory
            .device(id)
            .filter(|_| self.directory.is_live_device(id))
    }

    fn owner(&self, device: &Device) -> Option<&Person> {
        match &device.owner {
            Owner::Person(person) => self.directory.person(person),
            Owner::Unit(_) | Owner::Desk(_) | Owner::Door(_) => None,
        }
    }

    /// Takes a member in, or notes why not. Nobody is rung twice, and no device rings itself.
    fn admit(&self, member: Member, owner: Option<&Person>, gathered: &mut Gathered) {
        let key = match &member.target {
            Target::Device(id) => format!("d{id}"),
            Target::Door(id) => format!("o{id}"),
            Target::Number { number, .. } => format!("n{}", number.reveal()),
        };
        let itself = match (&self.call.caller, &member.target) {
            (Caller::Device(caller), Target::Device(id)) => caller == id,
            (Caller::Door(caller), Target::Door(id)) => caller == id,
            _ => false,
        };
        if itself || !gathered.seen.insert(key) {
            return;
        }
        let unreachable =
            matches!(&member.target, Target::Device(id) if !self.facts.reachable.contains(id));
        if self.is_quiet(&member.target, owner) {
            gathered.dropped.push((member.name, RingOutcome::Blocked));
        } else if unreachable {
            gathered
                .dropped
                .push((member.name, RingOutcome::Unreachable));
        } else {
            gathered.members.push(member);
        }
    }

    fn is_quiet(&self, target: &Target, owner: Option<&Person>) -> bool {
        if self.plan.quiet.is_empty() {
            return false;
        }
        let actor = match target {
            Target::Device(id) => Actor::of_device(self.plan, self.directory, id),
            Target::Number { .. } => owner
                .map(|person| Actor::of_person(self.directory, &person.id))
                .unwrap_or_default(),
            Target::Door(_) => return false,
        };
        self.plan
            .quiet
            .iter()
            .any(|quiet| self.applies(quiet, &actor))
    }

    fn applies(&self, quiet: &Quiet, actor: &Actor) -> bool {
        let concerned = |who: &Who| crate::policy::is(who, actor);
        let excepted = self.priority >= quiet.except_priority
            || match &self.call.caller {
                Caller::Door(door) => quiet
                    .except_doors
                    .iter()
                    .any(|place| self.plan.place_holds(place, door)),
                Caller::Device(device) => {
                    let mut desks = self.plan.desks_of_device(device);
                    desks.any(|desk| quiet.except_desks.iter().any(|except| except == desk))
                }
                Caller::Trunk(_) => false,
            };
        !excepted
            && quiet.who.iter().any(|(who, _)| concerned(who))
            && self.plan.is_open(quiet.during, self.facts)
    }
}

#[derive(Default)]
struct Gathered {
    members: Vec<Member>,
    dropped: Vec<(String, RingOutcome)>,
    seen: BTreeSet<String>,
}

/// Those with that label; without one all of them.
fn labelled<'d>(mut devices: Vec<&'d Device>, label: Option<&String>) -> Vec<&'d Device> {
    devices.retain(|device| label.is_none() || device.label.as_ref() == label);
    devices
}

/// `anna.mobile` for a labelled device of a person, else the device's id.
fn shown_name(device: &Device) -> String {
    match (&device.owner, &device.label) {
        (Owner::Person(person), Some(label)) => format!("{person}.{label}"),
        _ => device.id.clone(),
    }
}

/// The members in words: `3 devices: panel-101 (registered), petr.mobile (push)`.
pub(crate) fn describe(
    ring: &Ring,
    facts: &Facts,
    given: &dyn Fn(&Member) -> Option<RingOutcome>,
) -> String {
    let mut parts: Vec<String> = ring
        .members
        .iter()
        .map(|member| describe_member(member, facts, given(member)))
        .collect();
    parts.extend(
        ring.dropped
            .iter()
            .map(|(name, outcome)| format!("{name} ({outcome} -> dropped)")),
    );
    let count = parts.len();
    if ring
        .members
        .iter()
        .all(|member| matches!(member.target, Target::Number { .. }))
        && ring.dropped.is_empty()
    {
        return parts.join(", ");
    }
    let noun = match (count, ring.members.first().map(|member| &member.target)) {
        (1, Some(Target::Door(_))) => "door",
        (1, _) => "device",
        (_, Some(Target::Door(_))) => "members",
        _ => "devices",
    };
    format!("{count} {noun}: {}", parts.join(", "))
}

fn describe_member(member: &Member, facts: &Facts, given: Option<RingOutcome>) -> String {
    let mut text = member.name.clone();
    let state = match (&member.target, given) {
        (_, Some(RingOutcome::PushFailed)) => Some("push failed -> dropped".to_owned()),
        (_, Some(outcome)) => Some(outcome.to_string()),
        (Target::Device(id), None) => facts.reachable.reach(id).map(|reach| match reach {
            Reach::Registered => "registered".to_owned(),
            Reach::Push => "push".to_owned(),
        }),
        _ => None,
    };
    if let Target::Number { number, via } = &member.target {
        text = number.masked();
        if !via.is_empty() {
            text = format!("{text} by {}", via.join(", then "));
        }
        if let Some(digits) = &member.confirm {
            text = format!("{text}; press {digits} to take the call");
        }
    }
    if !member.after.is_zero() {
        text = format!("{text} after {} s", member.after.as_secs());
    }
    match state {
        Some(state) => format!("{text} ({state})"),
        None => text,
    }
}
