//! `calendar "desk-hours" { weekly "Mon-Fri 07:00-19:00"; not "cz" }`
//!
//! Civil time in the site's zone: a window is open while the wall clock shows a time inside it, so
//! an hour that DST removes opens nothing and one it repeats opens twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span as Days, Timestamp, ToSpan};
use kdl::KdlNode;

use super::holidays::Holidays;
use super::node::{Fields, Name, Reader, code, name_span};
use crate::source::SourceRef;

/// How far ahead a change is looked for.
pub(crate) const HORIZON_DAYS: i64 = 400;
const DAY_MINUTES: u16 = 24 * 60;
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A calendar as written.
#[derive(Debug)]
pub(crate) struct WrittenCalendar {
    pub(crate) name: Name,
    pub(crate) windows: Vec<Window>,
    pub(crate) not: Vec<Name>,
    pub(crate) source: SourceRef,
}

/// A weekly window. `end` at or before `start` lies on the next day; it is exclusive.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    days: [bool; 7],
    start: u16,
    end: u16,
}

/// A calendar with its holidays and zone.
#[derive(Debug)]
pub(crate) struct Calendar {
    pub(crate) name: String,
    pub(crate) windows: Vec<Window>,
    pub(crate) holidays: Vec<Arc<Holidays>>,
    pub(crate) zone: TimeZone,
    pub(crate) source: SourceRef,
}

/// The state of a calendar at one moment, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) open: bool,
    pub(crate) detail: String,
}

pub(crate) fn read(node: &KdlNode, reader: &mut Reader) -> Option<WrittenCalendar> {
    let mut fields = Fields::new(node, reader);
    let name = fields.must_arg(reader, "the calendar's name");
    let (mut windows, mut not) = (Vec::new(), Vec::new());
    for child in fields.children(reader) {
        let mut inner = Fields::new(child, reader);
        match child.name().value() {
            "weekly" => {
                if let Some(written) = inner.must_arg(reader, "days and hours") {
                    windows.extend(read_window(&written, reader));
                }
            }
            "not" => not.extend(inner.must_arg(reader, "the name of holidays")),
            other => {
                reader.unknown_word(
                    name_span(child),
                    "part of a calendar",
                    other,
                    ["weekly", "not"],
                );
                continue;
            }
        }
        inner.finish(reader, false);
    }
    fields.finish(reader, true);
    Some(WrittenCalendar {
        name: name?,
        windows,
        not,
        source: reader.at(name_span(node)),
    })
}

fn read_window(written: &Name, reader: &mut Reader) -> Option<Window> {
    let window = Window::parse(&written.value);
    if window.is_none() {
        let diagnostic = reader.error(
            code::VALUE,
            written.span,
            format!("\"{}\" is not a weekly window", written.value),
        );
        diagnostic.label = "days, a space, HH:MM-HH:MM".to_owned();
        diagnostic.hint = Some(
            "for example \"Mon-Fri 07:00-19:00\", \"Sat,Sun 09:00-13:00\" or \"daily 22:00-07:00\""
                .to_owned(),
        );
    }
    window
}

impl Window {
    fn parse(written: &str) -> Option<Self> {
        let (days, hours) = written.trim().split_once(' ')?;
        let (start, end) = hours.trim().split_once('-')?;
        let (start, end) = (minute(start)?, minute(end)?);
        (start < DAY_MINUTES).then_some(())?;
        let mut set = [false; 7];
        for part in days.split(',') {
            let (first, last) = match part {
                "daily" => (0, 6),
                _ => match part.split_once('-') {
                    Some((first, last)) => (weekday(first)?, weekday(last)?),
                    None => (weekday(part)?, weekday(part)?),
                },
            };
            let mut day = first;
            loop {
                *set.get_mut(day)? = true;
                if day == last {
                    break;
                }
                day = (day + 1) % 7;
            }
        }
        Some(Self {
            days: set,
            start,
            end,
        })
    }

    /// Minute of the day at which the window that holds this wall time ends.
    fn covers(&self, local: DateTime) -> bool {
        let today = usize::try_from(local.date().weekday().to_monday_zero_offset()).unwrap_or(0);
        let now =
            u16::try_from(i32::from(local.hour()) * 60 + i32::from(local.minute())).unwrap_or(0);
        let on = |day: usize| self.days.get(day % 7).copied().unwrap_or(false);
        if self.start < self.end {
            on(today) && self.start <= now && now < self.end
        } else {
            (on(today) && self.start <= now) || (on(today + 6) && now < self.end)
        }
    }
}

fn weekday(word: &str) -> Option<usize> {
    WEEKDAYS.iter().position(|day| *day == word)
}

fn minute(written: &str) -> Option<u16> {
    let (hours, minutes) = written.split_once(':')?;
    let two = |part: &str| {
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok())
    };
    let (hours, minutes): (u16, u16) = (two(hours)??, two(minutes)??);
    (minutes < 60 && (hours < 24 || (hours == 24 && minutes == 0))).then_some(hours * 60 + minutes)
}

fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

impl Calendar {
    /// Whether it is open; cheap, for the call path.
    pub(crate) fn is_open(&self, at: Timestamp) -> bool {
        let local = self.zone.to_datetime(at);
        self.windows.iter().any(|window| window.covers(local)) && self.holiday(at, local).is_none()
    }

    fn holiday(&self, at: Timestamp, local: DateTime) -> Option<&super::holidays::Event> {
        self.holidays
            .iter()
            .find_map(|holidays| holidays.covering(at, local.date()))
    }

    /// Whether it is open, and why.
    pub(crate) fn state(&self, at: Timestamp) -> State {
        let local = self.zone.to_datetime(at);
        let window = self.windows.iter().find(|window| window.covers(local));
        let holiday = self.holiday(at, local);
        let detail = match (holiday, window) {
            (Some(day), Some(window)) => format!(
                "holiday \"{}\" ({}); the weekly window would be open until {}",
                day.summary,
                day.source,
                clock(window.end)
            ),
            (Some(day), None) => format!(
                "holiday \"{}\" ({}), and outside the weekly windows",
                day.summary, day.source
            ),
            (None, Some(window)) => format!("weekly window until {}", clock(window.end)),
            (None, None) => "outside the weekly windows".to_owned(),
        };
        State {
            open: window.is_some() && holiday.is_none(),
            detail,
        }
    }

    /// The first moment after `after` at which the state differs from that at `after`, within
    /// [`HORIZON_DAYS`].
    pub(crate) fn next_change(&self, after: Timestamp) -> Option<Timestamp> {
        let before = self.is_open(after);
        let first = self.zone.to_datetime(after).date();
        for offset in -1..=HORIZON_DAYS {
            let Ok(day) = first.checked_add(Days::new().days(offset)) else {
                break;
            };
            let moments = self.moments(day);
            if let Some(change) = moments
                .into_iter()
                .find(|at| *at > after && self.is_open(*at) != before)
            {
                return Some(change);
            }
        }
        None
    }

    /// The moments of a day at which the state can change.
    fn moments(&self, day: Date) -> BTreeSet<Timestamp> {
        let mut moments = BTreeSet::new();
        let mut add = |at: DateTime| match self.zone.to_ambiguous_timestamp(at).offset() {
            AmbiguousOffset::Unambiguous { offset } => moments.extend(offset.to_timestamp(at).ok()),
            AmbiguousOffset::Gap { before, after } | AmbiguousOffset::Fold { before, after } => {
                moments.extend(before.to_timestamp(at).ok());
                moments.extend(after.to_timestamp(at).ok());
            }
        };
        add(day.at(0, 0, 0, 0));
        for minute in self
            .windows
            .iter()
            .flat_map(|window| [window.start, window.end])
        {
            if let Some(time) = time(minute) {
                add(day.to_datetime(time));
            }
        }
        let start = day
            .at(0, 0, 0, 0)
            .to_zoned(self.zone.clone())
            .ok()
            .map(|at| at.timestamp());
        let end = start.and_then(|at| at.checked_add(26.hours()).ok());
        if let (Some(start), Some(end)) = (start, end) {
            let jumps = self.zone.following(start).map(|jump| jump.timestamp());
            moments.extend(jumps.take_while(|at| *at <= end));
            for holidays in &self.holidays {
                moments.extend(
                    holidays
                        .borders(day)
                        .filter(|at| start <= *at && *at <= end),
                );
            }
        }
        moments
    }
}

fn time(minute: u16) -> Option<Time> {
    let minute = minute % DAY_MINUTES;
    Time::new(
        i8::try_from(minute / 60).ok()?,
        i8::try_from(minute % 60).ok()?,
        0,
        0,
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    use super::{Calendar, Window};
    use crate::language::holidays::Holidays;
    use crate::source::{SourceRef, SourceText};

    fn calendar(windows: &[&str], ics: &str) -> Calendar {
        let zone = TimeZone::get("Europe/Prague").unwrap();
        let source = SourceRef {
            file: "plan.kdl".into(),
            line: 3,
            span: (0, 0),
        };
        let mut faults = Vec::new();
        let holidays = Holidays::read(&SourceText::new("cz.ics", ics), &zone, &mut faults);
        assert!(faults.is_empty(), "{faults:?}");
        let windows = windows.iter().map(|w| Window::parse(w).unwrap()).collect();
        Calendar {
            name: "c".into(),
            windows,
            holidays: vec![Arc::new(holidays)],
            zone,
            source,
        }
    }

    fn at(civil: &str) -> Timestamp {
        let civil: jiff::civil::DateTime = civil.parse().unwrap();
        civil
            .to_zoned(TimeZone::get("Europe/Prague").unwrap())
            .unwrap()
            .timestamp()
    }

    #[test]
    fn the_end_of_a_window_is_exclusive() {
        let hours = calendar(&["Mon-Fri 07:00-19:00"], "");
        assert!(!hours.is_open(at("2026-11-20T06:59:59")));
        assert!(hours.is_open(at("2026-11-20T07:00:00")));
        assert!(hours.is_open(at("2026-11-20T18:59:59")));
        assert!(!hours.is_open(at("2026-11-20T19:00:00")));
        assert!(!hours.is_open(at("2026-11-21T12:00:00")), "Saturday");
    }

    #[test]
    fn a_window_may_cross_midnight_and_day_ranges_may_wrap() {
        let quiet = calendar(&["Fri 22:00-07:00"], "");
        assert!(
            quiet.is_open(at("2026-11-20T23:00:00")) && quiet.is_open(at("2026-11-21T06:59:00"))
        );
        assert!(
            !quiet.is_open(at("2026-11-20T06:00:00")) && !quiet.is_open(at("2026-11-21T07:00:00"))
        );
        let weekend = calendar(&["Sat-Mon 00:00-24:00"], "");
        assert!(
            weekend.is_open(at("2026-11-23T23:59:59"))
                && !weekend.is_open(at("2026-11-24T00:00:00"))
        );
        for wrong in [
            "",
            "Mon",
            "Mon 7:00-19:00",
            "Mon 07:00-25:00",
            "Xyz 07:00-08:00",
            "Mon 24:00-01:00",
            "Mon 07:60-08:00",
        ] {
            assert!(Window::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_removed_hour_opens_nothing_and_the_repeated_hour_opens_twice() {
        let night = calendar(&["daily 02:15-02:45"], "");
        // Spring 2026-03-29 02:00 -> 03:00: the window does not exist that day.
        assert_eq!(
            night.next_change(at("2026-03-28T12:00:00")),
            Some(at("2026-03-30T02:15:00"))
        );
        // Autumn 2026-10-25 03:00 -> 02:00: 02:15 comes at 00:15 and at 01:15 UTC.
        let first: Timestamp = "2026-10-25T00:15:00Z".parse().unwrap();
        let changes: Vec<_> = std::iter::successors(Some(first), |from| night.next_change(*from))
            .take(4)
            .collect();
        let shown: Vec<_> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "2026-10-25T00:15:00Z",
                "2026-10-25T00:45:00Z",
                "2026-10-25T01:15:00Z",
                "2026-10-25T01:45:00Z"
            ]
        );
        let spanning = calendar(&["daily 01:00-02:30"], "");
        let jump: Timestamp = "2026-03-29T01:00:00Z".parse().unwrap();
        assert_eq!(
            spanning.next_change(at("2026-03-29T01:30:00")),
            Some(jump),
            "closes when the clock jumps past its end"
        );
    }

    #[test]
    fn a_holiday_closes_the_calendar_and_names_its_line() {
        let ics = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nDTSTART;VALUE=DATE:20201224\r\nRRULE:FREQ=YEARLY\r\nSUMMARY:Christmas Eve\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
        let hours = calendar(&["Mon-Fri 07:00-19:00"], ics);
        let state = hours.state(at("2026-12-24T18:59:50"));
        assert!(!state.open);
        assert_eq!(
            state.detail,
            "holiday \"Christmas Eve\" (cz.ics:3); the weekly window would be open until 19:00"
        );
        assert_eq!(
            hours.next_change(at("2026-12-24T18:59:50")),
            Some(at("2026-12-25T07:00:00"))
        );
    }
}
