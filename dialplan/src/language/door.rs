//! `door "lobby" station="2n" group="entry" fail="closed" ring-limit="55s" { output … }`

use std::collections::BTreeMap;
use std::time::Duration;

use kdl::KdlNode;

use super::node::{Fields, Name, Reader, code, name_span};
use crate::plan::{Door, DriverKind, Fail, OutputDef};

/// A door as written.
#[derive(Debug)]
pub(crate) struct WrittenDoor {
    pub(crate) name: Name,
    pub(crate) door: Door,
}

const DRIVERS: [(&str, DriverKind); 7] = [
    ("http", DriverKind::Http),
    ("dtmf", DriverKind::Dtmf),
    ("sip-info", DriverKind::SipInfo),
    ("sip-message", DriverKind::SipMessage),
    ("action-buzz", DriverKind::ActionBuzz),
    ("mqtt", DriverKind::Mqtt),
    ("webhook", DriverKind::Webhook),
];

/// Settings that are handed to the driver as written.
const OPTIONS: [&str; 15] = [
    "switch",
    "path",
    "code",
    "url",
    "method",
    "body",
    "user",
    "password",
    "expect",
    "timeout",
    "retries",
    "topic",
    "relay",
    "channel",
    "terminator",
];

/// How long a relay stays released unless the plan says so.
const PULSE: Duration = Duration::from_secs(5);

pub(crate) fn read(node: &KdlNode, reader: &mut Reader) -> Option<WrittenDoor> {
    let mut fields = Fields::new(node, reader);
    let name = fields.must_arg(reader, "the door's name");
    let station = fields.must_prop(reader, "station");
    let groups = fields
        .prop(reader, "group")
        .map(|list| list.list(&reader.text))
        .unwrap_or_default();
    let fail = fields.prop(reader, "fail");
    let fail = fail.and_then(|word| {
        reader.choice(
            &word,
            "fail state",
            &[("closed", Fail::Closed), ("open", Fail::Open)],
        )
    });
    let ring_limit = fields.duration(reader, "ring-limit");
    let mut outputs: Vec<OutputDef> = Vec::new();
    for child in fields.children(reader) {
        if child.name().value() != "output" {
            reader.unknown_word(
                name_span(child),
                "part of a door",
                child.name().value(),
                ["output"],
            );
            continue;
        }
        if let Some((name, output)) = read_output(child, reader) {
            if outputs.iter().any(|other| other.name == output.name) {
                let message = format!("output \"{}\" is defined twice", output.name);
                reader.error(code::TWICE, name.span, message).label =
                    "second definition".to_owned();
            } else {
                outputs.push(output);
            }
        }
    }
    fields.finish(reader, true);
    let name = name?;
    let door = Door {
        name: name.value.clone(),
        station: station.map(|station| station.value).unwrap_or_default(),
        groups: groups.into_iter().map(|group| group.value).collect(),
        fail,
        ring_limit,
        outputs,
        source: reader.at(name_span(node)),
    };
    Some(WrittenDoor { name, door })
}

fn read_output(node: &KdlNode, reader: &mut Reader) -> Option<(Name, OutputDef)> {
    let mut fields = Fields::new(node, reader);
    let name = fields.must_arg(reader, "the output's name");
    let driver = fields.must_prop(reader, "driver");
    let driver = driver.and_then(|word| reader.choice(&word, "driver", &DRIVERS));
    let mut options = BTreeMap::new();
    for option in OPTIONS {
        if let Some(value) = fields.prop(reader, option) {
            options.insert(option.to_owned(), value.value);
        }
    }
    let pulse = fields.duration(reader, "pulse").unwrap_or(PULSE);
    let toggle = fields.flag(reader, "toggle");
    let two_step = fields.flag(reader, "two-step");
    fields.finish(reader, false);
    // What is wrong is reported; the name stays known, so that one fault does not look like two.
    let (name, driver) = (name?, driver.unwrap_or(DriverKind::Http));
    let output = OutputDef {
        name: name.value.clone(),
        driver,
        options,
        pulse,
        toggle,
        two_step,
        source: reader.at(name_span(node)),
    };
    Some((name, output))
}
