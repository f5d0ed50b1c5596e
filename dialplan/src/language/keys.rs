//! `keys "default" { "9" open="main"; "8" open="gate" if-present=#true; "0" transfer="desk" }`

use kdl::KdlNode;

use super::node::{Fields, Name, Reader, code, name_span};
use crate::source::SourceRef;

/// A key map.
#[derive(Debug)]
pub(crate) struct KeyMap {
    pub(crate) name: Name,
    pub(crate) keys: Vec<Key>,
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) digit: char,
    pub(crate) action: Action,
    pub(crate) source: SourceRef,
}

/// What a key does.
#[derive(Debug)]
pub(crate) enum Action {
    /// `open="main"` or `open="lobby/main"`.
    Open {
        door: Option<Name>,
        output: Name,
        if_present: bool,
        two_step: bool,
    },
    /// `transfer="desk"`.
    Transfer(Name),
}

pub(crate) fn read(node: &KdlNode, reader: &mut Reader) -> Option<KeyMap> {
    let mut fields = Fields::new(node, reader);
    let name = fields.must_arg(reader, "the key map's name");
    let mut keys: Vec<Key> = Vec::new();
    for child in fields.children(reader) {
        let Some(key) = read_key(child, reader) else {
            continue;
        };
        if keys.iter().any(|other| other.digit == key.digit) {
            let message = format!("key \"{}\" is bound twice", key.digit);
            reader.error(code::TWICE, key.source.span, message).label = "second binding".to_owned();
        } else {
            keys.push(key);
        }
    }
    fields.finish(reader, true);
    Some(KeyMap { name: name?, keys })
}

fn read_key(node: &KdlNode, reader: &mut Reader) -> Option<Key> {
    let span = name_span(node);
    let mut fields = Fields::new(node, reader);
    let mut letters = node.name().value().chars();
    let digit = letters
        .next()
        .filter(|c| c.is_ascii_digit() || matches!(c, '*' | '#' | 'A'..='D'));
    if digit.is_none() || letters.next().is_some() {
        reader
            .error(code::VALUE, span, "a key is one of 0-9 * # A-D")
            .label = "not a key".to_owned();
    }
    let open = fields.prop(reader, "open");
    let transfer = fields.prop(reader, "transfer");
    let if_present = fields.flag(reader, "if-present");
    let two_step = fields.flag(reader, "two-step");
    fields.finish(reader, false);
    let action = match (open, transfer) {
        (Some(open), None) => {
            let (door, output) = match open.value.split_once('/') {
                Some((door, output)) => (
                    Some(Name {
                        value: door.to_owned(),
                        span: open.span,
                    }),
                    Name {
                        value: output.to_owned(),
                        span: open.span,
                    },
                ),
                None => (None, open),
            };
            Action::Open {
                door,
                output,
                if_present,
                two_step,
            }
        }
        (None, Some(target)) => Action::Transfer(target),
        _ => {
            let diagnostic = reader.error(code::MISSING, span, "a key does one thing");
            diagnostic.label = "open= or transfer= belongs here, and only one".to_owned();
            return None;
        }
    };
    Some(Key {
        digit: digit?,
        action,
        source: reader.at(span),
    })
}
