//! The call story: one call's ladder of redacted message summaries, its walk through the plan and
//! the latencies of its digits, kept in a bounded ring and told as text.
//!
//! A line holds no number, display name or body: parties are named by device or door id, digits
//! other than those the key map names are shown as `*`.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

/// What a line tells of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// A message received from a party.
    In {
        /// Device or door.
        from: String,
        /// Such as `INVITE (SDP)` or `200 INVITE`.
        what: String,
    },
    /// A message sent to a party.
    Out {
        /// Device or door.
        to: String,
        /// As for [`Line::In`].
        what: String,
    },
    /// A step of the plan.
    Plan {
        /// Such as `ring "desk" 20 s`.
        what: String,
        /// `plan.kdl:12`.
        source: String,
    },
    /// A fact about the call: won, ended, joined.
    Call(String),
    /// Media: leg opened, joined, digit, silent.
    Media(String),
    /// Unlock: intent, verdict, record, relay.
    Unlock(String),
}

/// One line with its offset from the call's arrival.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Since the INVITE arrived.
    pub at: Duration,
    /// The line.
    pub line: Line,
}

/// A call's story. Bounded: when full, the oldest line after the first eight goes, and is counted.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// Call id of the server.
    pub call: String,
    #[serde(skip)]
    start: Option<Instant>,
    #[serde(skip)]
    bound: usize,
    entries: VecDeque<Entry>,
    /// Lines dropped for the bound.
    pub dropped: u32,
}

/// The set-up lines that are never dropped.
const HEAD: usize = 8;

impl Story {
    /// An empty story of the call `call` that arrived at `start`, holding `bound` lines.
    pub fn new(call: String, start: Instant, bound: usize) -> Self {
        Story {
            call,
            start: Some(start),
            bound: bound.max(HEAD + 1),
            entries: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Adds a line.
    pub fn push(&mut self, now: Instant, line: Line) {
        if self.entries.len() >= self.bound {
            self.entries.remove(HEAD);
            self.dropped = self.dropped.saturating_add(1);
        }
        let line = match line {
            Line::In { from, what } => Line::In {
                from,
                what: short(what),
            },
            Line::Out { to, what } => Line::Out {
                to,
                what: short(what),
            },
            Line::Plan { what, source } => Line::Plan {
                what: masked(short(what)),
                source,
            },
            Line::Call(what) => Line::Call(masked(short(what))),
            Line::Media(what) => Line::Media(short(what)),
            Line::Unlock(what) => Line::Unlock(masked(short(what))),
        };
        let at = self
            .start
            .map_or(Duration::ZERO, |start| now.saturating_duration_since(start));
        self.entries.push_back(Entry { at, line });
    }

    /// The lines, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}

/// Longest line, characters: a peer may name a method as long as a message.
const LINE: usize = 200;

fn short(text: String) -> String {
    match text.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// A run of so many digits is taken for a telephone number.
const NUMBER_DIGITS: usize = 7;
/// What is left of one: enough to recognise it, not to call it.
const NUMBER_SHOWN: usize = 4;

/// Whether what was dialled may be written down: a unit, door or desk. Longer runs of digits are somebody's number,
/// longer texts anything.
pub(crate) fn is_name(dial: &str) -> bool {
    dial.len() <= 32 && !dial.contains(char::is_control) && masked(dial.to_owned()) == dial
}

/// The text with telephone numbers cut short, for what the plan's author or a caller wrote.
pub(crate) fn masked(text: String) -> String {
    let longest = text
        .split(|c: char| !c.is_ascii_digit())
        .map(str::len)
        .max()
        .unwrap_or(0);
    if longest < NUMBER_DIGITS {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, tail) = rest.split_at(at);
        let end = tail
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (digits, after) = tail.split_at(end);
        out.push_str(before);
        if digits.len() < NUMBER_DIGITS {
            out.push_str(digits);
        } else {
            out.extend(digits.chars().take(NUMBER_SHOWN));
            out.push('…');
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.3} s  ", self.at.as_secs_f64())?;
        match &self.line {
            Line::In { from, what } => write!(f, "{from:>12} -> us            {what}"),
            Line::Out { to, what } => write!(f, "             us -> {to:<12} {what}"),
            Line::Plan { what, source } => write!(f, "        plan    {what}  [{source}]"),
            Line::Call(what) => write!(f, "        call    {what}"),
            Line::Media(what) => write!(f, "       media    {what}"),
            Line::Unlock(what) => write!(f, "      unlock    {what}"),
        }
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "call {}", self.call)?;
        for (index, entry) in self.entries.iter().enumerate() {
            if index == HEAD && self.dropped > 0 {
                writeln!(f, "          …  {} lines not kept", self.dropped)?;
            }
            writeln!(f, "{entry}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_cannot_make_a_line_as_long_as_it_likes() {
        #[expect(clippy::disallowed_methods, reason = "one origin for the test")]
        let start = Instant::now();
        let mut story = Story::new("c1".to_owned(), start, 12);
        story.push(
            start,
            Line::In {
                from: "lobby".to_owned(),
                what: "É".repeat(60_000),
            },
        );
        assert!(story.to_string().len() < 600);
    }

    #[test]
    fn numbers_are_cut_short_and_nothing_else() {
        for (text, shown) in [
            ("ring pstn:+420777123456 5 s", "ring pstn:+4207… 5 s"),
            ("777123456", "7771…"),
            (
                "ring \"desk\" 20 s, unit 101",
                "ring \"desk\" 20 s, unit 101",
            ),
            ("é 123456 ü", "é 123456 ü"),
            ("", ""),
        ] {
            assert_eq!(masked(text.to_owned()), shown);
        }
    }

    #[test]
    fn bound_holds_and_the_head_stays() {
        #[expect(clippy::disallowed_methods, reason = "one origin for the test")]
        let start = Instant::now();
        let mut story = Story::new("c1".to_owned(), start, 12);
        for n in 0..100 {
            story.push(
                start + Duration::from_millis(n),
                Line::Call(format!("line {n}")),
            );
        }
        assert_eq!(story.entries().count(), 12);
        assert_eq!(story.dropped, 88);
        assert_eq!(
            story.entries().next().unwrap().line,
            Line::Call("line 0".to_owned())
        );
        assert!(story.to_string().contains("88 lines not kept"));
    }
}
