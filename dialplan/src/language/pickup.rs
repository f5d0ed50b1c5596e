//! `pickup "group:entry"` takes over a call that rings; `park slots="701-709" for="60s"` lays one down, and takes it up
//! again.

use std::time::Duration;

use kdl::KdlNode;

use super::node::{Fields, Name, Reader, code, name_span};
use crate::source::SourceRef;
use crate::step::Slots;

/// A parked call comes back after this, unless `for=` says otherwise.
const PARKED: Duration = Duration::from_secs(60);
/// Slots of one step.
const MOST_SLOTS: u32 = 100;

/// A `pickup` as written: doors, groups and desks, each `kind:name`.
#[derive(Debug)]
pub(crate) struct WrittenPickup {
    pub(crate) of: Vec<Name>,
    pub(crate) source: SourceRef,
}

/// A `park` as written.
#[derive(Debug)]
pub(crate) struct WrittenPark {
    pub(crate) slots: Slots,
    pub(crate) for_: Duration,
    pub(crate) source: SourceRef,
}

pub(crate) fn read_pickup(node: &KdlNode, reader: &mut Reader) -> Option<WrittenPickup> {
    let mut fields = Fields::new(node, reader);
    let of = fields.must_arg(reader, "whose calls, such as \"group:entry\"");
    fields.finish(reader, false);
    Some(WrittenPickup {
        of: of?.list(&reader.text),
        source: reader.at(name_span(node)),
    })
}

pub(crate) fn read_park(node: &KdlNode, reader: &mut Reader) -> Option<WrittenPark> {
    let mut fields = Fields::new(node, reader);
    let slots = fields.must_prop(reader, "slots");
    let for_ = fields.duration(reader, "for").unwrap_or(PARKED);
    fields.finish(reader, false);
    Some(WrittenPark {
        slots: read_slots(&slots?, reader)?,
        for_,
        source: reader.at(name_span(node)),
    })
}

fn read_slots(written: &Name, reader: &mut Reader) -> Option<Slots> {
    let (first, last) = written
        .value
        .split_once('-')
        .unwrap_or((&written.value, &written.value));
    let number = |text: &str| {
        let digits =
            !text.is_empty() && text.len() <= 6 && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten()
    };
    let problem = match (number(first), number(last)) {
        (Some(from), Some(to)) if first.len() == last.len() && from <= to => {
            if to - from < MOST_SLOTS {
                return Some(Slots::new(from, to, first.len()));
            }
            "more than 100 slots"
        }
        _ => "no range of numbers of one length",
    };
    let diagnostic = reader.error(
        code::VALUE,
        written.span,
        format!("slots=\"{}\": {problem}", written.value),
    );
    diagnostic.label = "which numbers hold parked calls?".to_owned();
    diagnostic.hint = Some("write slots=\"701-709\"".to_owned());
    None
}
