//! `route "unit" doors="entry" dial="unit" { … }`: who calls, what was dialled, what happens.

use kdl::KdlNode;

use super::condition::{self, WrittenCondition};
use super::node::{Fields, Name, Reader, code, name_span};
use super::pickup::{self, WrittenPark, WrittenPickup};
use super::ring::{self, WrittenRing};
use crate::source::SourceRef;
use crate::step::{End, Priority};

/// A route as written.
#[derive(Debug)]
pub(crate) struct WrittenRoute {
    pub(crate) name: Name,
    /// Doors and groups that call; `*` is every door.
    pub(crate) doors: Vec<Name>,
    /// Other callers.
    pub(crate) from: Vec<Name>,
    pub(crate) dial: Name,
    pub(crate) priority: Priority,
    pub(crate) body: Vec<WrittenStep>,
    pub(crate) source: SourceRef,
}

/// A step as written.
#[derive(Debug)]
pub(crate) enum WrittenStep {
    /// A `when`, `unless` or `otherwise` block; `None` is `otherwise`.
    Block {
        condition: Option<WrittenCondition>,
        body: Vec<WrittenStep>,
        source: SourceRef,
    },
    Ring(Box<WrittenRing>),
    End {
        end: WrittenEnd,
        source: SourceRef,
    },
    Proxy {
        source: SourceRef,
    },
    Pickup(WrittenPickup),
    Park(WrittenPark),
}

/// An end as written.
#[derive(Debug)]
pub(crate) enum WrittenEnd {
    /// The box is `@unit` or a unit's id.
    Message {
        mailbox: Name,
    },
    Transfer {
        to: Name,
    },
    Plain(End),
}

const PRIORITIES: [(&str, Priority); 4] = [
    ("emergency", Priority::Emergency),
    ("lift", Priority::Lift),
    ("high", Priority::High),
    ("normal", Priority::Normal),
];

const STEPS: [&str; 18] = [
    "when",
    "unless",
    "otherwise",
    "ring",
    "end",
    "proxy",
    "collect",
    "menu",
    "identify",
    "open",
    "play",
    "page",
    "pickup",
    "park",
    "override",
    "wait-for",
    "ask",
    "media",
];

pub(crate) fn read(node: &KdlNode, reader: &mut Reader) -> Option<WrittenRoute> {
    let mut fields = Fields::new(node, reader);
    let name = fields.must_arg(reader, "the route's name");
    let doors = fields
        .prop(reader, "doors")
        .map(|list| list.list(&reader.text))
        .unwrap_or_default();
    let from = fields
        .prop(reader, "from")
        .map(|list| list.list(&reader.text))
        .unwrap_or_default();
    if doors.is_empty() && from.is_empty() {
        let diagnostic = reader.error(code::MISSING, fields.span, "a route needs doors= or from=");
        diagnostic.label = "who calls?".to_owned();
    }
    // `to=` is `dial=` in the words of who is called from outside.
    let dial = match fields.prop(reader, "to") {
        Some(to) => Some(to),
        None => fields.must_prop(reader, "dial"),
    };
    let priority = fields.prop(reader, "priority");
    let priority = priority
        .and_then(|word| reader.choice(&word, "priority", &PRIORITIES))
        .unwrap_or_default();
    let body = read_body(&fields.children(reader), reader, false);
    fields.finish(reader, true);
    let source = reader.at(name_span(node));
    Some(WrittenRoute {
        name: name?,
        doors,
        from,
        dial: dial?,
        priority,
        body,
        source,
    })
}

/// Reads a body. `entitled`: a valid code, an identified caller or an answered leg comes before it.
pub(crate) fn read_body(
    nodes: &[&KdlNode],
    reader: &mut Reader,
    entitled: bool,
) -> Vec<WrittenStep> {
    let mut steps: Vec<WrittenStep> = Vec::new();
    let mut entitled = entitled;
    for node in nodes {
        match node.name().value() {
            word @ ("when" | "unless" | "otherwise") => {
                steps.extend(read_block(node, word, reader, entitled, steps.last()));
            }
            "ring" => {
                entitled = true;
                steps
                    .extend(ring::read(node, reader).map(|ring| WrittenStep::Ring(Box::new(ring))));
            }
            "end" => steps.extend(read_end(node, reader)),
            "proxy" => {
                let fields = Fields::new(node, reader);
                fields.finish(reader, false);
                steps.push(WrittenStep::Proxy {
                    source: reader.at(name_span(node)),
                });
            }
            word @ ("collect" | "identify") => {
                entitled = true;
                reader.unsupported(name_span(node), &format!("the step \"{word}\""));
            }
            "open" => {
                if !entitled {
                    crate::check::p006::open_without_right(reader, name_span(node));
                }
                reader.unsupported(name_span(node), "the step \"open\"");
            }
            "pickup" => steps.extend(pickup::read_pickup(node, reader).map(WrittenStep::Pickup)),
            "park" => steps.extend(pickup::read_park(node, reader).map(WrittenStep::Park)),
            word if STEPS.contains(&word) => {
                reader.unsupported(name_span(node), &format!("the step \"{word}\""));
            }
            other => reader.unknown_word(name_span(node), "step", other, STEPS),
        }
    }
    steps
}

fn read_block(
    node: &KdlNode,
    word: &str,
    reader: &mut Reader,
    entitled: bool,
    before: Option<&WrittenStep>,
) -> Option<WrittenStep> {
    let mut fields = Fields::new(node, reader);
    let otherwise = word == "otherwise";
    let condition = if otherwise {
        None
    } else {
        condition::read(&mut fields, word == "unless", reader)
    };
    if otherwise
        && !matches!(
            before,
            Some(WrittenStep::Block {
                condition: Some(_),
                ..
            })
        )
    {
        let diagnostic = reader.error(
            code::MISSING,
            fields.span,
            "\"otherwise\" follows a \"when\" or \"unless\" block",
        );
        diagnostic.label = "nothing to be the other of".to_owned();
    }
    let body = read_body(&fields.children(reader), reader, entitled);
    fields.finish(reader, true);
    (otherwise || condition.is_some()).then(|| WrittenStep::Block {
        condition,
        body,
        source: reader.at(name_span(node)),
    })
}

fn read_end(node: &KdlNode, reader: &mut Reader) -> Option<WrittenStep> {
    let mut fields = Fields::new(node, reader);
    let kind = fields.must_arg(reader, "how it ends");
    let source = reader.at(name_span(node));
    let end = kind.and_then(|kind| match kind.value.as_str() {
        "message" => Some(WrittenEnd::Message {
            mailbox: fields.must_prop(reader, "box")?,
        }),
        "transfer" => Some(WrittenEnd::Transfer {
            to: fields.must_prop(reader, "to")?,
        }),
        "log" => Some(WrittenEnd::Plain(End::Log)),
        "hangup" => Some(WrittenEnd::Plain(End::Hangup)),
        "busy" => Some(WrittenEnd::Plain(End::Busy)),
        "retry" => {
            let every = fields.must_prop(reader, "every");
            let up_to = fields.must_prop(reader, "up-to");
            let (every, up_to) = (reader.duration(&every?)?, reader.duration(&up_to?)?);
            if every.is_zero() {
                reader
                    .error(code::VALUE, kind.span, "a retry without a pause")
                    .label = "every= is zero".to_owned();
            }
            Some(WrittenEnd::Plain(End::Retry { every, up_to }))
        }
        other => {
            let known = ["message", "log", "hangup", "busy", "retry", "transfer"];
            reader.unknown_word(kind.span, "end", other, known);
            None
        }
    });
    fields.finish(reader, false);
    Some(WrittenStep::End { end: end?, source })
}
