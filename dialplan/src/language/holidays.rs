//! Holiday files: iCalendar events (RFC 5545), whole-day or timed, alone or yearly.

use calcard::common::PartialDateTime;
use calcard::icalendar::{
    ICalendarComponent, ICalendarComponentType, ICalendarEntry, ICalendarFrequency,
    ICalendarParameterName, ICalendarProperty, ICalendarRecurrenceRule, ICalendarValue,
};
use calcard::{Entry, Parser};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::node::code;
use crate::diagnostic::{Diagnostic, Level};
use crate::source::{SourceRef, SourceText};

/// Largest holiday file; a larger one is refused.
pub(crate) const BYTES: usize = 1 << 20;
/// Most events of a file; one more is refused.
const EVENTS: usize = 5_000;
/// Longest holiday.
const LONGEST_DAYS: i64 = 366;

/// A holiday file that was read.
#[derive(Debug, Default)]
pub(crate) struct Holidays {
    events: Vec<Event>,
}

/// One event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) summary: String,
    pub(crate) source: SourceRef,
    start: DateTime,
    /// `None`: whole days, in the zone of whoever asks.
    zone: Option<TimeZone>,
    length: SignedDuration,
    yearly: Option<Yearly>,
    except: Vec<Date>,
}

#[derive(Debug)]
struct Yearly {
    interval: i32,
    count: Option<i32>,
    until: Option<Date>,
}

impl Holidays {
    /// Reads a file; what cannot be honoured is an error, never left out in silence.
    pub(crate) fn read(text: &SourceText, site: &TimeZone, faults: &mut Vec<Diagnostic>) -> Self {
        let mut fault = |at: usize, code, message: String| {
            let line = text.line_range(at);
            faults.push(Diagnostic::new(
                code,
                Level::Error,
                text,
                (line.start, line.end),
                message,
            ));
        };
        if text.text.len() > BYTES {
            fault(
                0,
                code::LIMIT,
                format!("a holiday file of more than {BYTES} bytes"),
            );
            return Self::default();
        }
        let begins: Vec<usize> = begins(text);
        if begins.len() > EVENTS {
            fault(0, code::LIMIT, format!("more than {EVENTS} events"));
            return Self::default();
        }
        let mut components = Vec::new();
        let mut parser = Parser::new(&text.text);
        loop {
            match parser.entry() {
                Entry::ICalendar(calendar) => components.extend(calendar.components),
                Entry::Eof => break,
                Entry::InvalidLine(line) if line.trim().is_empty() => {}
                _ => {
                    fault(0, code::SYNTAX, "not an iCalendar file".to_owned());
                    return Self::default();
                }
            }
        }
        let events = components
            .iter()
            .filter(|c| c.component_type == ICalendarComponentType::VEvent);
        let mut holidays = Self::default();
        for (nth, component) in events.enumerate() {
            let offset = begins.get(nth).copied().unwrap_or(0);
            match event(component, text.at((offset, offset)), site) {
                Ok(event) => holidays.events.push(event),
                Err((code, message)) => fault(offset, code, message),
            }
        }
        holidays
    }

    /// The event that covers a moment; `date` is the site's.
    pub(crate) fn covering(&self, at: Timestamp, date: Date) -> Option<&Event> {
        self.events.iter().find(|event| event.covers(at, date))
    }

    /// Starts and ends of timed events of about that year.
    pub(crate) fn borders(&self, day: Date) -> impl Iterator<Item = Timestamp> {
        self.events
            .iter()
            .flat_map(move |event| {
                let zone = event.zone.clone();
                event.starts(day.year()).filter_map(move |start| {
                    let start = start.to_zoned(zone.clone()?).ok()?.timestamp();
                    Some([start, start.checked_add(event.length).ok()?])
                })
            })
            .flatten()
    }
}

impl Event {
    fn covers(&self, at: Timestamp, date: Date) -> bool {
        self.starts(date.year()).any(|start| match &self.zone {
            None => {
                start.date() <= date
                    && start
                        .date()
                        .checked_add(self.length)
                        .is_ok_and(|end| date < end)
            }
            Some(zone) => start.to_zoned(zone.clone()).is_ok_and(|start| {
                let start = start.timestamp();
                start <= at && start.checked_add(self.length).is_ok_and(|end| at < end)
            }),
        })
    }

    /// Starts that can matter in a year.
    fn starts(&self, year: i16) -> impl Iterator<Item = DateTime> {
        let first = self.start.date();
        let once = self.yearly.is_none().then_some(self.start);
        let years = year.saturating_sub(1)..=year.saturating_add(1);
        let yearly = years.filter_map(move |year| {
            let rule = self.yearly.as_ref()?;
            let nth = i32::from(year) - i32::from(first.year());
            let in_count = rule.count.is_none_or(|count| nth / rule.interval < count);
            let date = Date::new(year, first.month(), first.day()).ok()?;
            let in_time = rule.until.is_none_or(|until| date <= until);
            (nth >= 0 && nth % rule.interval == 0 && in_count && in_time)
                .then(|| date.to_datetime(self.start.time()))
        });
        once.into_iter()
            .chain(yearly)
            .filter(|start| !self.except.contains(&start.date()))
    }
}

/// Offsets of the lines that open an event: the parser keeps no line numbers.
fn begins(text: &SourceText) -> Vec<usize> {
    let mut at = 0;
    let mut found = Vec::new();
    for line in text.text.split_inclusive('\n') {
        if line.trim().eq_ignore_ascii_case("BEGIN:VEVENT") {
            found.push(at);
        }
        at += line.len();
    }
    found
}

type Fault = (&'static str, String);

fn event(
    component: &ICalendarComponent,
    source: SourceRef,
    site: &TimeZone,
) -> Result<Event, Fault> {
    let find =
        |name: &ICalendarProperty| component.entries.iter().find(|entry| entry.name == *name);
    let summary = find(&ICalendarProperty::Summary)
        .and_then(|entry| entry.values.first())
        .and_then(|value| match value {
            ICalendarValue::Text(text) => {
                Some(text.chars().filter(|c| !c.is_control()).take(80).collect())
            }
            _ => None,
        });
    let start = find(&ICalendarProperty::Dtstart)
        .ok_or((code::MISSING, "an event without DTSTART".to_owned()))?;
    let (first, timed) = moment(start, site)?;
    let length = length(component, first, timed.as_ref(), site)?;
    let mut yearly = None;
    let mut except = Vec::new();
    for entry in &component.entries {
        match (&entry.name, entry.values.first()) {
            (ICalendarProperty::Rrule, Some(ICalendarValue::RecurrenceRule(rule))) => {
                yearly = Some(recurrence(rule, first)?);
            }
            (ICalendarProperty::Rrule | ICalendarProperty::Rdate, _) => {
                return Err((
                    code::UNSUPPORTED,
                    "this recurrence is not supported by this version".to_owned(),
                ));
            }
            (ICalendarProperty::Exdate, _) => {
                except.extend(entry.values.iter().filter_map(partial).filter_map(date_of));
            }
            _ => {}
        }
    }
    Ok(Event {
        summary: summary.unwrap_or_else(|| "holiday".to_owned()),
        source,
        start: first,
        zone: timed,
        length,
        yearly,
        except,
    })
}

fn partial(value: &ICalendarValue) -> Option<&PartialDateTime> {
    match value {
        ICalendarValue::PartialDateTime(moment) => Some(moment),
        _ => None,
    }
}

fn date_of(moment: &PartialDateTime) -> Option<Date> {
    let (month, day) = (
        i8::try_from(moment.month?).ok()?,
        i8::try_from(moment.day?).ok()?,
    );
    Date::new(i16::try_from(moment.year?).ok()?, month, day).ok()
}

/// Civil start and, for a timed event, its zone: UTC, TZID, or the site's when floating.
fn moment(entry: &ICalendarEntry, site: &TimeZone) -> Result<(DateTime, Option<TimeZone>), Fault> {
    let wrong = || (code::VALUE, "a date that cannot be read".to_owned());
    let moment = entry.values.first().and_then(partial).ok_or_else(wrong)?;
    let date = date_of(moment).ok_or_else(wrong)?;
    let Some(hour) = moment.hour else {
        return Ok((date.at(0, 0, 0, 0), None));
    };
    let part = |value: u8| i8::try_from(value).map_err(|_| wrong());
    let (hour, minute, second) = (
        part(hour)?,
        part(moment.minute.unwrap_or(0))?,
        part(moment.second.unwrap_or(0))?,
    );
    let time = jiff::civil::Time::new(hour, minute, second.min(59), 0).map_err(|_| wrong())?;
    let named = entry
        .parameters(&ICalendarParameterName::Tzid)
        .find_map(|value| value.as_text());
    let zone = match named {
        Some(name) => TimeZone::get(name)
            .map_err(|_| (code::VALUE, format!("unknown time zone \"{name}\"")))?,
        None if moment.tz_hour.is_some() => TimeZone::UTC,
        None => site.clone(),
    };
    Ok((date.to_datetime(time), Some(zone)))
}

fn length(
    component: &ICalendarComponent,
    first: DateTime,
    zone: Option<&TimeZone>,
    site: &TimeZone,
) -> Result<SignedDuration, Fault> {
    let wrong = || {
        (
            code::VALUE,
            "an event that does not end after it begins".to_owned(),
        )
    };
    let day = SignedDuration::from_hours(24);
    let mut length = if zone.is_some() {
        SignedDuration::ZERO
    } else {
        day
    };
    for entry in &component.entries {
        match (&entry.name, entry.values.first()) {
            (ICalendarProperty::Dtend, _) => {
                let (end, end_zone) = moment(entry, site)?;
                length = match (zone, end_zone) {
                    (Some(zone), Some(end_zone)) => {
                        let start = first.to_zoned(zone.clone()).map_err(|_| wrong())?;
                        let end = end.to_zoned(end_zone).map_err(|_| wrong())?;
                        end.timestamp().duration_since(start.timestamp())
                    }
                    (None, None) => end.duration_since(first),
                    _ => return Err(wrong()),
                };
            }
            (ICalendarProperty::Duration, Some(ICalendarValue::Duration(span))) if !span.neg => {
                let days = i64::from(span.weeks) * 7 + i64::from(span.days);
                let seconds = i64::from(span.hours) * 3_600
                    + i64::from(span.minutes) * 60
                    + i64::from(span.seconds);
                length = SignedDuration::from_secs(days * 86_400 + seconds);
            }
            _ => {}
        }
    }
    let longest = SignedDuration::from_hours(24 * LONGEST_DAYS);
    if length <= SignedDuration::ZERO || length > longest {
        return Err(wrong());
    }
    Ok(length)
}

fn recurrence(rule: &ICalendarRecurrenceRule, first: DateTime) -> Result<Yearly, Fault> {
    let plain = rule.bysecond.is_empty()
        && rule.byminute.is_empty()
        && rule.byhour.is_empty()
        && rule.byday.is_empty()
        && rule.byyearday.is_empty()
        && rule.byweekno.is_empty()
        && rule.bysetpos.is_empty()
        && rule.bymonthday.iter().all(|day| *day == first.day())
        && rule
            .bymonth
            .iter()
            .all(|month| !month.is_leap() && i8::try_from(month.month()) == Ok(first.month()));
    if rule.freq != ICalendarFrequency::Yearly || !plain {
        let message = "only yearly recurrence on the same date is supported by this version";
        return Err((code::UNSUPPORTED, message.to_owned()));
    }
    Ok(Yearly {
        interval: i32::from(rule.interval.unwrap_or(1).max(1)),
        count: rule
            .count
            .map(|count| i32::try_from(count).unwrap_or(i32::MAX)),
        until: rule.until.as_ref().and_then(date_of),
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::civil::{Date, date};
    use jiff::tz::TimeZone;

    use super::Holidays;
    use crate::source::SourceText;

    fn read(events: &str) -> (Holidays, Vec<String>) {
        let ics = format!("BEGIN:VCALENDAR\r\n{events}END:VCALENDAR\r\n");
        let mut faults = Vec::new();
        let zone = TimeZone::get("Europe/Prague").unwrap();
        let holidays = Holidays::read(&SourceText::new("x.ics", &ics), &zone, &mut faults);
        (holidays, faults.iter().map(ToString::to_string).collect())
    }

    fn vevent(body: &str) -> String {
        format!(
            "BEGIN:VEVENT\r\n{}\r\nEND:VEVENT\r\n",
            body.replace('\n', "\r\n")
        )
    }

    fn covers(holidays: &Holidays, day: Date, time: &str) -> bool {
        let at: Timestamp = format!("{day}T{time}Z").parse().unwrap();
        holidays.covering(at, day).is_some()
    }

    #[test]
    fn whole_days_end_before_dtend() {
        let (holidays, faults) = read(&vevent(
            "DTSTART;VALUE=DATE:20261224\nDTEND;VALUE=DATE:20261227\nSUMMARY:Christmas",
        ));
        assert!(faults.is_empty(), "{faults:?}");
        assert!(covers(&holidays, date(2026, 12, 24), "00:00:00"));
        assert!(covers(&holidays, date(2026, 12, 26), "12:00:00"));
        assert!(!covers(&holidays, date(2026, 12, 27), "00:00:00"));
    }

    #[test]
    fn a_floating_event_is_in_the_sites_zone_and_a_named_zone_in_that() {
        let (holidays, faults) = read(
            &(vevent("DTSTART:20261231T120000\nDURATION:PT2H")
                + &vevent(
                    "DTSTART;TZID=America/New_York:20260704T090000\nDTEND;TZID=America/New_York:20260704T100000",
                )),
        );
        assert!(faults.is_empty(), "{faults:?}");
        assert!(
            covers(&holidays, date(2026, 12, 31), "11:00:00")
                && !covers(&holidays, date(2026, 12, 31), "13:00:00")
        );
        assert!(
            covers(&holidays, date(2026, 7, 4), "13:30:00")
                && !covers(&holidays, date(2026, 7, 4), "09:30:00")
        );
    }

    #[test]
    fn yearly_recurrence_honours_until_count_and_exdate() {
        let (holidays, faults) = read(&vevent(
            "DTSTART;VALUE=DATE:20200101\nRRULE:FREQ=YEARLY;UNTIL=20280101\nEXDATE;VALUE=DATE:20270101",
        ));
        assert!(faults.is_empty(), "{faults:?}");
        let on: Vec<i16> = (2019..2031)
            .filter(|year| covers(&holidays, date(*year, 1, 1), "12:00:00"))
            .collect();
        assert_eq!(on, [2020, 2021, 2022, 2023, 2024, 2025, 2026, 2028]);
    }

    #[test]
    fn what_cannot_be_honoured_is_an_error_with_its_line() {
        let (_, faults) = read(
            &(vevent("SUMMARY:nothing")
                + &vevent("DTSTART;VALUE=DATE:20260101\nRRULE:FREQ=WEEKLY")),
        );
        assert_eq!(faults.len(), 2);
        assert!(
            faults[0].starts_with("x.ics:2: error[L005]")
                && faults[1].starts_with("x.ics:5: error[L007]"),
            "{faults:?}"
        );
    }
}
