//! `ring "@unit" for="25s" preview="video" { add "@unit.mobile" after="10s"; on "declined" stay }`

use std::time::Duration;

use kdl::KdlNode;

use super::condition::read_flag;
use super::node::{Fields, Name, Reader, code, name_span};
use super::route::{WrittenStep, read_body};
use crate::source::SourceRef;
use crate::step::{MemberRule, Preview, RingOutcome};

/// How long a ring lasts unless the plan says so.
const FOR: Duration = Duration::from_secs(60);

/// Whom a ring names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Selector {
    /// `@unit`, `@unit.mobile`: the dialled unit's devices.
    DialledUnit {
        label: Option<String>,
    },
    /// `@unit.phones`: the dialled unit's telephone numbers.
    DialledPhones,
    /// `@door`, `@device`, `@person`: what was dialled.
    DialledDoor,
    DialledDevice,
    DialledPerson,
    Desk(String),
    Unit {
        id: String,
        label: Option<String>,
    },
    Person {
        id: String,
        label: Option<String>,
    },
    Device(String),
    Door(String),
    Number(String),
}

/// A ring as written.
#[derive(Debug)]
pub(crate) struct WrittenRing {
    pub(crate) members: Vec<(Selector, Name)>,
    pub(crate) for_: Duration,
    /// Starts this long after the ring before it began.
    pub(crate) after: Option<(Duration, SourceRef)>,
    pub(crate) preview: Preview,
    pub(crate) join_late: bool,
    pub(crate) keys: Option<Name>,
    pub(crate) auto_answer: bool,
    pub(crate) via: Vec<String>,
    pub(crate) confirm: Option<String>,
    pub(crate) flag: Option<Name>,
    pub(crate) adds: Vec<Add>,
    pub(crate) rules: Vec<(RingOutcome, MemberRule)>,
    pub(crate) on: Vec<(Vec<RingOutcome>, Vec<WrittenStep>)>,
    pub(crate) source: SourceRef,
}

/// `add "@unit.mobile" after="10s" for="20s"`: rung that much later.
#[derive(Debug, Clone)]
pub(crate) struct Add {
    pub(crate) members: Vec<(Selector, Name)>,
    pub(crate) after: Duration,
    pub(crate) for_: Option<Duration>,
}

const PREVIEW: [(&str, Preview); 3] = [
    ("none", Preview::None),
    ("video", Preview::Video),
    ("audio", Preview::Audio),
];

pub(crate) fn read(node: &KdlNode, reader: &mut Reader) -> Option<WrittenRing> {
    let mut fields = Fields::new(node, reader);
    let source = reader.at(name_span(node));
    let members = fields.must_arg(reader, "whom to ring");
    let for_ = fields.duration(reader, "for").unwrap_or(FOR);
    let after = fields
        .prop(reader, "after")
        .and_then(|name| Some((reader.duration(&name)?, reader.at(name.span))));
    let preview = fields.prop(reader, "preview");
    let preview = preview
        .and_then(|word| reader.choice(&word, "preview", &PREVIEW))
        .unwrap_or_default();
    let join_late = fields.flag(reader, "join-late");
    let keys = fields.prop(reader, "keys");
    let auto_answer = fields.flag(reader, "auto-answer");
    let via = fields
        .prop(reader, "via")
        .map(|list| list.list(&reader.text))
        .unwrap_or_default();
    let confirm = fields.prop(reader, "confirm").map(|digits| digits.value);
    let flag = read_flag(&mut fields, reader);
    fields.unsupported(reader, &["caller-id", "prompt", "record", "preempt"]);
    let (mut adds, mut rules, mut on) = (Vec::new(), Vec::new(), Vec::new());
    for child in fields.children(reader) {
        match child.name().value() {
            "add" => adds.extend(read_add(child, reader)),
            "on" => read_on(child, reader, &mut rules, &mut on),
            other => reader.unknown_word(name_span(child), "part of a ring", other, ["add", "on"]),
        }
    }
    fields.finish(reader, true);
    if for_.is_zero() {
        reader
            .error(code::VALUE, source.span, "a ring of no time rings nobody")
            .label = "for= is zero".to_owned();
    }
    let members = read_selectors(&members?, reader);
    let via = via.into_iter().map(|trunk| trunk.value).collect();
    Some(WrittenRing {
        members,
        for_,
        after,
        preview,
        join_late,
        keys,
        auto_answer,
        via,
        confirm,
        flag,
        adds,
        rules,
        on,
        source,
    })
}

fn read_add(node: &KdlNode, reader: &mut Reader) -> Option<Add> {
    let mut fields = Fields::new(node, reader);
    let members = fields.must_arg(reader, "whom to add");
    let after = fields
        .must_prop(reader, "after")
        .and_then(|name| reader.duration(&name));
    let for_ = fields.duration(reader, "for");
    fields.finish(reader, false);
    Some(Add {
        members: read_selectors(&members?, reader),
        after: after?,
        for_,
    })
}

type Blocks = Vec<(Vec<RingOutcome>, Vec<WrittenStep>)>;

fn read_on(
    node: &KdlNode,
    reader: &mut Reader,
    rules: &mut Vec<(RingOutcome, MemberRule)>,
    on: &mut Blocks,
) {
    let words: Vec<_> = RingOutcome::ALL
        .iter()
        .map(|outcome| (outcome.as_str(), *outcome))
        .collect();
    let mut fields = Fields::new(node, reader);
    let Some(list) = fields.must_arg(reader, "an outcome") else {
        return;
    };
    let names = list.list(&reader.text);
    let outcomes: Vec<_> = names
        .iter()
        .filter_map(|name| reader.choice(name, "outcome of a ring", &words))
        .collect();
    let rule = fields.arg(reader);
    match (rule, node.children()) {
        (Some(rule), None) => {
            let choices = [("stay", MemberRule::Stay), ("next", MemberRule::Next)];
            if let Some(rule) = reader.choice(&rule, "rule for a member", &choices) {
                rules.extend(outcomes.into_iter().map(|outcome| (outcome, rule)));
            }
        }
        (None, Some(_)) => {
            let body = read_body(&fields.children(reader), reader, true);
            on.push((outcomes, body));
        }
        _ => {
            let diagnostic = reader.error(
                code::MISSING,
                fields.span,
                "\"on\" takes stay, next or a block",
            );
            diagnostic.label = "one of them, and only one".to_owned();
        }
    }
    fields.finish(reader, true);
}

/// Reads a comma list of members.
pub(crate) fn read_selectors(list: &Name, reader: &mut Reader) -> Vec<(Selector, Name)> {
    let names = list.list(&reader.text);
    names
        .into_iter()
        .filter_map(|name| Some((read_selector(&name, reader)?, name)))
        .collect()
}

fn read_selector(name: &Name, reader: &mut Reader) -> Option<Selector> {
    let labelled = |rest: &str| match rest.split_once('.') {
        Some((id, label)) => (id.to_owned(), Some(label.to_owned())),
        None => (rest.to_owned(), None),
    };
    let written = name.value.as_str();
    let selector = match (written, written.split_once(':')) {
        ("", _) => {
            reader.error(code::VALUE, name.span, "an empty name").label = "whom?".to_owned();
            return None;
        }
        ("@unit", _) => Selector::DialledUnit { label: None },
        ("@unit.phones", _) => Selector::DialledPhones,
        ("@door", _) => Selector::DialledDoor,
        ("@device", _) => Selector::DialledDevice,
        ("@person", _) => Selector::DialledPerson,
        (_, Some(("unit", rest))) => {
            let (id, label) = labelled(rest);
            Selector::Unit { id, label }
        }
        (_, Some(("person", rest))) => {
            let (id, label) = labelled(rest);
            Selector::Person { id, label }
        }
        (_, Some(("device", rest))) => Selector::Device(rest.to_owned()),
        (_, Some(("door", rest))) => Selector::Door(rest.to_owned()),
        (_, Some(("desk", rest))) => Selector::Desk(rest.to_owned()),
        (_, Some(("pstn", rest))) => Selector::Number(rest.to_owned()),
        (_, Some((kind, _))) => {
            let known = ["unit", "person", "device", "door", "desk", "pstn"];
            reader.unknown_word(name.span, "kind of member", kind, known);
            return None;
        }
        (_, None) if written.starts_with('@') => match written.strip_prefix("@unit.") {
            Some(label) => Selector::DialledUnit {
                label: Some(label.to_owned()),
            },
            None => {
                let known = ["@unit", "@door", "@device", "@person"];
                reader.unknown_word(name.span, "member", written, known);
                return None;
            }
        },
        (_, None) => Selector::Desk(written.to_owned()),
    };
    Some(selector)
}
