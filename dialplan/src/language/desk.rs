//! `desk "desk" { device "desk-1"; device "desk-2"; strategy "parallel" }`

use kdl::KdlNode;

use super::node::{Fields, Name, Reader, code, name_span};
use crate::plan::Desk;

/// A desk as written, with the places of its device names.
#[derive(Debug)]
pub(crate) struct WrittenDesk {
    pub(crate) name: Name,
    pub(crate) desk: Desk,
    pub(crate) devices: Vec<Name>,
}

pub(crate) fn read(node: &KdlNode, reader: &mut Reader) -> Option<WrittenDesk> {
    let mut fields = Fields::new(node, reader);
    let name = fields.must_arg(reader, "the desk's name");
    let mut devices: Vec<Name> = Vec::new();
    let mut serial = false;
    let mut call_waiting = true;
    for child in fields.children(reader) {
        let mut inner = Fields::new(child, reader);
        match child.name().value() {
            "device" => devices.extend(inner.must_arg(reader, "a device's name")),
            "strategy" => {
                let written = inner.must_arg(reader, "\"parallel\" or \"serial\"");
                let choices = [("parallel", false), ("serial", true)];
                serial = written
                    .and_then(|word| reader.choice(&word, "strategy", &choices))
                    .unwrap_or(false);
            }
            "call-waiting" => {
                let written = inner.must_arg(reader, "\"on\" or \"off\"");
                let choices = [("on", true), ("off", false)];
                call_waiting = written
                    .and_then(|word| reader.choice(&word, "call-waiting", &choices))
                    .unwrap_or(true);
            }
            other => {
                reader.unknown_word(
                    name_span(child),
                    "part of a desk",
                    other,
                    ["device", "strategy", "call-waiting"],
                );
                continue;
            }
        }
        inner.finish(reader, false);
    }
    if devices.is_empty() {
        reader
            .error(code::MISSING, fields.span, "a desk needs a device")
            .label = "no device here".to_owned();
    }
    fields.finish(reader, true);
    let name = name?;
    let desk = Desk {
        name: name.value.clone(),
        devices: devices.iter().map(|device| device.value.clone()).collect(),
        serial,
        call_waiting,
        source: reader.at(name_span(node)),
    };
    Some(WrittenDesk {
        name,
        desk,
        devices,
    })
}
