//! Written routes become operations; every name of the plan they use is resolved (P001).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::diagnostic::nearest;
use crate::language::condition::WrittenCondition;
use crate::language::dial::Pattern;
use crate::language::node::{Name, Reader, code};
use crate::language::pickup::WrittenPickup;
use crate::language::ring::{Selector, WrittenRing};
use crate::language::route::{WrittenEnd, WrittenRoute, WrittenStep};
use crate::program::{Arm, CallerPattern, EndOp, Op, PickupOf, RingOp, Route, Subject, Test, Wave};
use crate::step::End;

/// Everything the plan itself names.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) doors: BTreeMap<String, Vec<String>>,
    pub(crate) groups: BTreeMap<String, ()>,
    /// Desks, and whether each rings its devices in turn.
    pub(crate) desks: BTreeMap<String, bool>,
    pub(crate) calendars: BTreeMap<String, usize>,
    pub(crate) holidays: BTreeMap<String, usize>,
    pub(crate) modes: BTreeMap<String, ()>,
    pub(crate) key_maps: BTreeMap<String, ()>,
}

impl Names {
    /// Reports an unknown name with the nearest one.
    pub(crate) fn unknown<'a>(
        reader: &mut Reader,
        name: &Name,
        what: &str,
        word: &str,
        known: impl IntoIterator<Item = &'a String>,
    ) {
        let hint = nearest(word, known.into_iter().map(String::as_str));
        let diagnostic = reader.error("P001", name.span, format!("unknown {what} \"{word}\""));
        diagnostic.label = format!("no such {what} in this plan");
        diagnostic.hint = hint;
    }

    pub(crate) fn is_place(&self, name: &str) -> bool {
        name == "*" || self.doors.contains_key(name) || self.groups.contains_key(name)
    }

    pub(crate) fn check_place(&self, name: &Name, reader: &mut Reader) -> bool {
        let known = self.is_place(&name.value);
        if !known {
            let places = self.doors.keys().chain(self.groups.keys());
            Self::unknown(reader, name, "door or group", &name.value, places);
        }
        known
    }

    pub(crate) fn calendar(&self, name: &Name, reader: &mut Reader) -> Option<usize> {
        let found = self.calendars.get(&name.value).copied();
        if found.is_none() {
            Self::unknown(reader, name, "calendar", &name.value, self.calendars.keys());
        }
        found
    }

    pub(crate) fn check_desk(&self, name: &Name, word: &str, reader: &mut Reader) -> bool {
        let known = self.desks.contains_key(word);
        if !known {
            Self::unknown(reader, name, "desk", word, self.desks.keys());
        }
        known
    }

    pub(crate) fn check_door(&self, name: &Name, word: &str, reader: &mut Reader) -> bool {
        let known = self.doors.contains_key(word);
        if !known {
            Self::unknown(reader, name, "door", word, self.doors.keys());
        }
        known
    }
}

/// Compiles one route.
pub(crate) fn route(written: WrittenRoute, names: &Names, reader: &mut Reader) -> Route {
    let mut callers = Vec::new();
    for name in &written.doors {
        if names.check_place(name, reader) {
            callers.push(match name.value.as_str() {
                "*" => CallerPattern::AnyDoor,
                door if names.doors.contains_key(door) => CallerPattern::Door(door.to_owned()),
                group => CallerPattern::DoorGroup(group.to_owned()),
            });
        }
    }
    for name in &written.from {
        callers.extend(caller(name, names, reader));
    }
    let mut program = Program {
        ops: vec![Op::Fall],
        names,
        reader,
    };
    let start = program.body(written.body, 0);
    Route {
        name: written.name.value,
        priority: written.priority,
        callers,
        dial: Pattern::parse(&written.dial.value),
        dial_span: written.dial.span,
        ops: program.ops,
        start,
        source: written.source,
    }
}

fn caller(name: &Name, names: &Names, reader: &mut Reader) -> Option<CallerPattern> {
    if name.value == "*" {
        return Some(CallerPattern::AnyDevice);
    }
    let Some((kind, id)) = name.value.split_once(':') else {
        // A bare name is a trunk's; whether there is such a trunk is known where the configuration is.
        return Some(CallerPattern::Trunk(name.value.clone()));
    };
    let owned = id.to_owned();
    match kind {
        "device" if id == "*" => Some(CallerPattern::AnyDevice),
        "device" => Some(CallerPattern::Device(owned)),
        "trunk" => Some(CallerPattern::Trunk(owned)),
        "person" => Some(CallerPattern::Person(owned)),
        "unit" => Some(CallerPattern::Unit(owned)),
        "role" => Some(CallerPattern::Role(owned)),
        "desk" => names
            .check_desk(name, id, reader)
            .then_some(CallerPattern::Desk(owned)),
        "door" => names
            .check_door(name, id, reader)
            .then_some(CallerPattern::Door(owned)),
        other => {
            let known = ["device", "person", "unit", "role", "desk", "door", "trunk"];
            reader.unknown_word(name.span, "kind of caller", other, known);
            None
        }
    }
}

struct Program<'a> {
    ops: Vec<Op>,
    names: &'a Names,
    reader: &'a mut Reader,
}

impl Program<'_> {
    fn push(&mut self, op: Op) -> usize {
        self.ops.push(op);
        self.ops.len() - 1
    }

    /// Compiles a body from its end to its beginning; what runs off its end goes on at `next`.
    fn body(&mut self, steps: Vec<WrittenStep>, next: usize) -> usize {
        let mut next = next;
        let mut arms: Vec<(Option<WrittenCondition>, Vec<WrittenStep>, crate::SourceRef)> =
            Vec::new();
        let mut rings: Vec<WrittenRing> = Vec::new();
        for step in steps.into_iter().rev() {
            // Neighbouring blocks are one branch; an `otherwise` or a plain step closes the group.
            let closes = !matches!(
                &step,
                WrittenStep::Block {
                    condition: Some(_),
                    ..
                }
            );
            if closes && !arms.is_empty() {
                next = self.branch(std::mem::take(&mut arms), next);
            }
            let joins = !rings.is_empty();
            match step {
                WrittenStep::Ring(ring) => {
                    let more = ring.after.is_some();
                    rings.push(*ring);
                    if !more {
                        rings.reverse();
                        next = self.ring(std::mem::take(&mut rings), next);
                    }
                    continue;
                }
                WrittenStep::Block {
                    condition,
                    body,
                    source,
                } => arms.push((condition, body, source)),
                WrittenStep::End { end, source } => {
                    let end = self.end(end);
                    next = self.push(Op::End { end, source });
                }
                WrittenStep::Proxy { source } => next = self.push(Op::Proxy { source }),
                WrittenStep::Pickup(pickup) => next = self.pickup(pickup, next),
                WrittenStep::Park(park) => {
                    next = self.push(Op::Park {
                        slots: park.slots,
                        for_: park.for_,
                        next,
                        source: park.source,
                    });
                }
            }
            if joins {
                self.orphans(&mut rings);
            }
        }
        self.orphans(&mut rings);
        if arms.is_empty() {
            next
        } else {
            self.branch(arms, next)
        }
    }

    fn pickup(&mut self, written: WrittenPickup, next: usize) -> usize {
        let of = written.of.iter().filter_map(|name| self.pickup_of(name));
        let of = of.collect();
        self.push(Op::Pickup {
            of,
            next,
            source: written.source,
        })
    }

    fn pickup_of(&mut self, name: &Name) -> Option<PickupOf> {
        let owned = |id: &str| id.to_owned();
        match name.value.split_once(':') {
            _ if name.value == "*" => Some(PickupOf::Place(owned("*"))),
            Some(("door", id)) => self
                .names
                .check_door(name, id, self.reader)
                .then(|| PickupOf::Place(owned(id))),
            Some(("desk", id)) => self
                .names
                .check_desk(name, id, self.reader)
                .then(|| PickupOf::Desk(owned(id))),
            Some(("group", id)) if self.names.groups.contains_key(id) => {
                Some(PickupOf::Place(owned(id)))
            }
            Some(("group", id)) => {
                Names::unknown(self.reader, name, "group", id, self.names.groups.keys());
                None
            }
            _ => {
                let kind = name.value.split(':').next().unwrap_or_default();
                let known = ["group", "door", "desk"];
                self.reader
                    .unknown_word(name.span, "kind of pickup", kind, known);
                None
            }
        }
    }

    fn orphans(&mut self, rings: &mut Vec<WrittenRing>) {
        for ring in rings.drain(..) {
            if let Some((_, at)) = ring.after {
                let diagnostic = self.reader.error(
                    code::VALUE,
                    at.span,
                    "after= needs a ring directly before it",
                );
                diagnostic.label = "after what?".to_owned();
            }
        }
    }

    fn branch(
        &mut self,
        mut written: Vec<(Option<WrittenCondition>, Vec<WrittenStep>, crate::SourceRef)>,
        next: usize,
    ) -> usize {
        written.reverse();
        let mut arms = Vec::new();
        for (condition, body, source) in written {
            let to = self.body(body, next);
            let test = match condition {
                None => None,
                Some(condition) => match self.test(condition) {
                    Some(test) => Some(test),
                    None => continue,
                },
            };
            arms.push(Arm { test, to, source });
        }
        self.push(Op::Branch { arms, next })
    }

    fn test(&mut self, written: WrittenCondition) -> Option<Test> {
        let subject = match &written.subject {
            None => None,
            Some(name) => Some(self.subject(name)?),
        };
        Some(Test {
            negate: written.negate,
            subject,
            flag: written.flag.map(|flag| flag.value),
        })
    }

    fn subject(&mut self, name: &Name) -> Option<Subject> {
        let owned = |id: &str| id.to_owned();
        match name.value.split_once(':') {
            Some(("door", id)) => self
                .names
                .check_door(name, id, self.reader)
                .then(|| Subject::Door(owned(id))),
            Some(("desk", id)) => self
                .names
                .check_desk(name, id, self.reader)
                .then(|| Subject::Desk(owned(id))),
            Some(("group", id)) if self.names.groups.contains_key(id) => {
                Some(Subject::DoorGroup(owned(id)))
            }
            Some(("group", id)) => {
                Names::unknown(self.reader, name, "group", id, self.names.groups.keys());
                None
            }
            _ => {
                if let Some(calendar) = self.names.calendars.get(&name.value) {
                    return Some(Subject::Calendar(*calendar));
                }
                if self.names.modes.contains_key(&name.value) {
                    return Some(Subject::Mode(name.value.clone()));
                }
                let known = self.names.calendars.keys().chain(self.names.modes.keys());
                Names::unknown(self.reader, name, "calendar or mode", &name.value, known);
                None
            }
        }
    }

    fn ring(&mut self, rings: Vec<WrittenRing>, next: usize) -> usize {
        let mut waves: Vec<Wave> = Vec::new();
        let mut begins = Duration::ZERO;
        let mut lasts = Duration::ZERO;
        let mut flag = None;
        let mut first: Option<RingOp> = None;
        let alone = rings.len() == 1;
        for mut ring in rings {
            begins += ring
                .after
                .as_ref()
                .map_or(Duration::ZERO, |(after, _)| *after);
            lasts = lasts.max(begins + ring.for_);
            self.members(&ring);
            let serial = self.serial(&ring, alone);
            waves.push(Wave {
                shown: ring
                    .members
                    .iter()
                    .map(|(_, name)| name.value.as_str())
                    .collect::<Vec<_>>()
                    .join(","),
                for_: (!alone).then_some(ring.for_),
                after: begins,
                selectors: ring
                    .members
                    .iter()
                    .map(|(selector, name)| (selector.clone(), name.value.clone(), name.span))
                    .collect(),
                adds: std::mem::take(&mut ring.adds),
                via: std::mem::take(&mut ring.via),
                confirm: ring.confirm.take(),
            });
            if first.is_some() {
                self.joined(&ring);
                continue;
            }
            if !alone && (!ring.on.is_empty() || ring.flag.is_some()) {
                self.reader.unsupported(
                    ring.source.span,
                    "a ring with an on { … } block or if= that another joins by after=",
                );
            }
            flag = ring.flag.take();
            let keys = self.keys(&ring);
            let on = std::mem::take(&mut ring.on);
            let on = on
                .into_iter()
                .map(|(outcomes, body)| (outcomes, self.body(body, next)))
                .collect();
            first = Some(RingOp {
                waves: Vec::new(),
                for_: lasts,
                serial,
                preview: ring.preview,
                join_late: ring.join_late,
                keys,
                auto_answer: ring.auto_answer,
                rules: ring.rules,
                on,
                next,
                source: ring.source,
            });
        }
        let Some(mut op) = first else {
            return next;
        };
        op.waves = waves;
        op.for_ = lasts;
        let source = op.source.clone();
        let at = self.push(Op::Ring(Box::new(op)));
        match flag {
            None => at,
            Some(flag) => {
                let test = Test {
                    negate: false,
                    subject: None,
                    flag: Some(flag.value),
                };
                self.push(Op::Branch {
                    arms: vec![Arm {
                        test: Some(test),
                        to: at,
                        source,
                    }],
                    next,
                })
            }
        }
    }

    /// A ring that joins another shares its screen, keys and rules.
    fn joined(&mut self, ring: &WrittenRing) {
        let own = ring.keys.is_some()
            || ring.auto_answer
            || ring.join_late
            || ring.flag.is_some()
            || !ring.rules.is_empty()
            || !ring.on.is_empty()
            || ring.preview != crate::Preview::None;
        if own {
            self.reader.unsupported(
                ring.source.span,
                "preview, keys, auto-answer, join-late, if= or \"on\" of a ring with after=",
            );
        }
    }

    fn keys(&mut self, ring: &WrittenRing) -> String {
        let Some(keys) = &ring.keys else {
            return "default".to_owned();
        };
        if !self.names.key_maps.contains_key(&keys.value) {
            Names::unknown(
                self.reader,
                keys,
                "key map",
                &keys.value,
                self.names.key_maps.keys(),
            );
        }
        keys.value.clone()
    }

    fn serial(&mut self, ring: &WrittenRing, alone: bool) -> bool {
        let serial = ring.members.iter().any(|(selector, _)| match selector {
            Selector::Desk(desk) => self.names.desks.get(desk).copied().unwrap_or(false),
            _ => false,
        });
        if serial && (!alone || ring.members.len() > 1 || !ring.adds.is_empty()) {
            self.reader.unsupported(
                ring.source.span,
                "a desk with strategy \"serial\" beside other members",
            );
        }
        serial
    }

    fn members(&mut self, ring: &WrittenRing) {
        let added = ring.adds.iter().flat_map(|add| &add.members);
        for (selector, name) in ring.members.iter().chain(added) {
            match selector {
                Selector::Desk(desk) => {
                    self.names.check_desk(name, desk, self.reader);
                }
                Selector::Door(door) => {
                    self.names.check_door(name, door, self.reader);
                }
                _ => {}
            }
        }
    }

    fn end(&mut self, written: WrittenEnd) -> EndOp {
        match written {
            WrittenEnd::Plain(end) => EndOp::Plain(end),
            WrittenEnd::Message { mailbox } if mailbox.value == "@unit" => EndOp::UnitMessage,
            WrittenEnd::Message { mailbox } => EndOp::Plain(End::Message {
                mailbox: mailbox.value,
            }),
            WrittenEnd::Transfer { to } => {
                self.target(&to);
                EndOp::Plain(End::Transfer { to: to.value })
            }
        }
    }

    fn target(&mut self, to: &Name) {
        transfer_target(to, self.names, self.reader);
    }
}

/// A transfer goes to a desk, or to a typed name.
pub(crate) fn transfer_target(to: &Name, names: &Names, reader: &mut Reader) {
    match to.value.split_once(':') {
        None => {
            names.check_desk(to, &to.value, reader);
        }
        Some(("desk", id)) => {
            names.check_desk(to, id, reader);
        }
        Some(("door", id)) => {
            names.check_door(to, id, reader);
        }
        Some(("unit" | "person" | "device", _)) => {}
        Some((kind, _)) => reader.unknown_word(
            to.span,
            "kind of target",
            kind,
            ["desk", "door", "unit", "person", "device"],
        ),
    }
}
