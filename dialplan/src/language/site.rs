//! `site "elm-court" tz="Europe/Prague" { holidays …; calendar … }`

use jiff::tz::TimeZone;
use kdl::KdlNode;

use super::calendar::{self, WrittenCalendar};
use super::node::{Fields, Name, Reader, code, name_span};
use crate::source::Span;

/// A site as written.
#[derive(Debug)]
pub(crate) struct WrittenSite {
    pub(crate) name: Name,
    pub(crate) zone: TimeZone,
    pub(crate) holidays: Vec<WrittenHolidays>,
    pub(crate) calendars: Vec<WrittenCalendar>,
}

/// `holidays "cz" file="holidays/cz.ics"`
#[derive(Debug)]
pub(crate) struct WrittenHolidays {
    pub(crate) name: Name,
    pub(crate) file: Name,
}

pub(crate) fn read(node: &KdlNode, reader: &mut Reader) -> Option<WrittenSite> {
    let mut fields = Fields::new(node, reader);
    let name = fields.must_arg(reader, "the site's name");
    let zone = fields
        .must_prop(reader, "tz")
        .and_then(|tz| zone(&tz.value, tz.span, reader));
    let mut holidays = Vec::new();
    let mut calendars = Vec::new();
    for child in fields.children(reader) {
        match child.name().value() {
            "holidays" => holidays.extend(read_holidays(child, reader)),
            "calendar" => calendars.extend(calendar::read(child, reader)),
            other => reader.unknown_word(
                name_span(child),
                "part of a site",
                other,
                ["holidays", "calendar"],
            ),
        }
    }
    fields.finish(reader, true);
    Some(WrittenSite {
        name: name?,
        zone: zone.unwrap_or(TimeZone::UTC),
        holidays,
        calendars,
    })
}

fn zone(name: &str, span: Span, reader: &mut Reader) -> Option<TimeZone> {
    match TimeZone::get(name) {
        Ok(zone) => Some(zone),
        Err(_) => {
            let diagnostic =
                reader.error(code::VALUE, span, format!("unknown time zone \"{name}\""));
            diagnostic.label = "not in the time zone database".to_owned();
            diagnostic.hint = Some("an IANA name such as \"Europe/Prague\"".to_owned());
            None
        }
    }
}

fn read_holidays(node: &KdlNode, reader: &mut Reader) -> Option<WrittenHolidays> {
    let mut fields = Fields::new(node, reader);
    let name = fields.must_arg(reader, "a name");
    let file = fields.must_prop(reader, "file");
    fields.finish(reader, false);
    Some(WrittenHolidays {
        name: name?,
        file: file?,
    })
}
