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
