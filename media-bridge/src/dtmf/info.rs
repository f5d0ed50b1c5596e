//! Digits in the bodies of INFO requests: three forms in the field, none of them a standard.
//!
//! - `application/dtmf-relay`: lines `Signal=5` and `Duration=160`
//! - `application/dtmf`: the bare digit (some stacks put the lines of the relay form here)
//! - `application/telephone-event`: an RFC 4733 payload, or `events=` or bare text as seen from handsets

use super::Digit;

/// Longest body looked at, octets; real ones have under 40.
const MAX_BODY: usize = 256;

/// Longest believed press, ms; longer is what a stuck key or a wrong unit makes.
const MAX_MS: u32 = 10_000;

/// Reads a digit and, where given, its length in ms from an INFO body. `None` for other content types and for
/// bodies without exactly one key.
#[must_use]
pub fn parse_info(content_type: &str, body: &[u8]) -> Option<(Digit, Option<u32>)> {
    let kind = content_type
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    if body.len() > MAX_BODY {
        return None;
    }
    match kind.as_str() {
        "application/dtmf-relay" => read_lines(body),
        "application/dtmf" => read_bare(body).or_else(|| read_lines(body)),
        "application/telephone-event" => read_event(body)
            .or_else(|| read_lines(body))
            .or_else(|| read_bare(body)),
        _ => None,
    }
}

fn read_bare(body: &[u8]) -> Option<(Digit, Option<u32>)> {
    let text = std::str::from_utf8(body).ok()?.trim();
    Some((key(text)?, None))
}

/// `Signal=` and `Duration=`, in any case and order, with or without spaces.
fn read_lines(body: &[u8]) -> Option<(Digit, Option<u32>)> {
    let text = std::str::from_utf8(body).ok()?;
    let (mut digit, mut duration) = (None, None);
    for line in text.split(['\r', '\n']) {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let (name, value) = (name.trim(), value.trim());
        if name.eq_ignore_ascii_case("signal") || name.eq_ignore_ascii_case("events") {
            if digit.is_some() {
                return None;
            }
            digit = Some(key(value)?);
        } else if name.eq_ignore_ascii_case("duration") {
            duration = value.parse::<u32>().ok().map(|ms| ms.min(MAX_MS));
        }
    }
    Some((digit?, duration))
}

/// The four octets of RFC 4733 §2.3; its clock is not told here, so 8 kHz is meant.
fn read_event(body: &[u8]) -> Option<(Digit, Option<u32>)> {
    match body {
        [event, _, high, low] => {
            let units = u32::from(u16::from_be_bytes([*high, *low]));
            Some((Digit::from_event(*event)?, Some(units / 8)))
        }
        _ => None,
    }
}

/// One key label, or the event code 10 to 15 some devices write for `*`, `#` and letters.
fn key(text: &str) -> Option<Digit> {
    let text = text.trim_matches('"');
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(label), None) => Digit::new(label),
        (Some('1'), Some('0'..='5')) if text.len() == 2 => Digit::from_event(text.parse().ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &str, body: &[u8]) -> Option<(char, Option<u32>)> {
        parse_info(content_type, body).map(|(d, ms)| (d.label(), ms))
    }

    #[test]
    fn relay_lines_in_every_dress() {
        for body in [
            "Signal=5\r\nDuration=160\r\n",
            "Signal= 5\nDuration= 160",
            "duration=160\r\nsignal=\"5\"\r\n",
            "\r\nSIGNAL = 5 \r\nDURATION=160\r\nFoo=1\r\n",
        ] {
            assert_eq!(
                read("application/dtmf-relay", body.as_bytes()),
                Some(('5', Some(160))),
                "{body:?}"
            );
        }
        assert_eq!(
            read("Application/DTMF-Relay; charset=utf-8", b"Signal=#\r\n"),
            Some(('#', None))
        );
        assert_eq!(
            read("application/dtmf-relay", b"Signal=11\r\nDuration=x"),
            Some(('#', None))
        );
        assert_eq!(
            read("application/dtmf-relay", b"Signal=1\r\nDuration=4000000000"),
            Some(('1', Some(MAX_MS)))
        );
    }

    #[test]
    fn bare_digit() {
        assert_eq!(read("application/dtmf", b"9"), Some(('9', None)));
        assert_eq!(read("application/dtmf", b" *\r\n"), Some(('*', None)));
        assert_eq!(
            read("application/dtmf", b"Signal=9\r\nDuration=100"),
            Some(('9', Some(100)))
        );
    }

    #[test]
    fn event_payload_and_text() {
        assert_eq!(
            read("application/telephone-event", &[10, 0x8a, 0x03, 0x20]),
            Some(('*', Some(100)))
        );
        assert_eq!(read("application/telephone-event", b"7"), Some(('7', None)));
        assert_eq!(
            read("application/telephone-event", b"Signal=7\r\nDuration=90"),
            Some(('7', Some(90)))
        );
    }

    #[test]
    fn what_is_not_one_key_is_nothing() {
        for body in [
            &b""[..],
            b"99",
            b"Signal=",
            b"Signal=16",
            b"Signal=1\r\nSignal=2",
            b"E",
            b"\xff\xfe",
            &[b'1'; 300],
        ] {
            for kind in [
                "application/dtmf",
                "application/dtmf-relay",
                "application/telephone-event",
            ] {
                assert_eq!(read(kind, body), None, "{kind} {body:?}");
            }
        }
        assert_eq!(read("text/plain", b"9"), None);
        assert_eq!(read("application/media_control+xml", b"9"), None);
    }
}
