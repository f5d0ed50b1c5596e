//! Whether a peer is there: one contact's state by what it answers to OPTIONS, and a device's last 24 hours.
//!
//! ```text
//!              answered                 slow, twice
//!   unknown ─────────────► reachable ───────────────► lagging
//!      │                    ▲  │  ▲ ◄───────────────────┘ │
//!      │            answered│  │   fast, twice            │
//!      │             twice  │  │ missed, twice            │ missed, twice
//!      │  missed, twice     │  ▼                          │
//!      └──────────────────► unreachable ◄─────────────────┘
//! ```
//! Any response is an answer, a refusal too: whoever refuses is there.

use std::fmt;
use std::time::{Duration, Instant};

/// What is known of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reachability {
    /// Not asked yet.
    #[default]
    Unknown,
    /// It answers.
    Reachable,
    /// It answers late.
    Lagging,
    /// It does not answer.
    Unreachable,
}

impl Reachability {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Unknown,
        Self::Reachable,
        Self::Lagging,
        Self::Unreachable,
    ];

    /// A stable word for metrics and lists.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Reachable => "reachable",
            Self::Lagging => "lagging",
            Self::Unreachable => "unreachable",
        }
    }
}

impl fmt::Display for Reachability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Results of one kind in a row that change the state.
const IN_A_ROW: u8 = 2;

/// One contact.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    state: Reachability,
    /// Of the latest answer.
    rtt: Option<Duration>,
    missed: u8,
    heard: u8,
    slow: u8,
    fast: u8,
}

impl Reach {
    pub(crate) fn state(&self) -> Reachability {
        self.state
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// It answered. The new state, when it is another.
    pub(crate) fn answered(&mut self, rtt: Duration, lag: Duration) -> Option<Reachability> {
        self.rtt = Some(rtt);
        self.missed = 0;
        self.heard = self.heard.saturating_add(1);
        if rtt > lag {
            (self.slow, self.fast) = (self.slow.saturating_add(1), 0);
        } else {
            (self.slow, self.fast) = (0, self.fast.saturating_add(1));
        }
        let next = match self.state {
            Reachability::Unknown => Reachability::Reachable,
            Reachability::Reachable if self.slow >= IN_A_ROW => Reachability::Lagging,
            Reachability::Lagging if self.fast >= IN_A_ROW => Reachability::Reachable,
            Reachability::Unreachable if self.heard >= IN_A_ROW => Reachability::Reachable,
            same => same,
        };
        self.become_(next)
    }

    /// It did not answer in time.
    pub(crate) fn missed(&mut self) -> Option<Reachability> {
        (self.heard, self.slow, self.fast) = (0, 0, 0);
        self.missed = self.missed.saturating_add(1);
        if self.missed >= IN_A_ROW {
            self.become_(Reachability::Unreachable)
        } else {
            None
        }
    }

    /// It missed once and is not judged yet: worth asking again soon.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.missed == 1 && self.state != Reachability::Unreachable
    }

    fn become_(&mut self, next: Reachability) -> Option<Reachability> {
        (std::mem::replace(&mut self.state, next) != next).then(|| {
            (self.slow, self.fast) = (0, 0);
            next
        })
    }
}

/// Length of one slot of the ring.
const SLOT: Duration = Duration::from_secs(15 * 60);
/// Slots of the ring: 24 hours.
const SLOTS: usize = 96;

/// How long a device was there, by quarter of an hour, for the last 24 hours. The oldest slot is written over.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// Seconds reachable and seconds watched.
    slots: [(u16, u16); SLOTS],
    at: usize,
    began: Instant,
    last: Instant,
    up: bool,
}

impl History {
    pub(crate) fn new(now: Instant) -> Self {
        History {
            slots: [(0, 0); SLOTS],
            at: 0,
            began: now,
            last: now,
            up: false,
        }
    }

    /// From now on it is there, or not.
    pub(crate) fn set(&mut self, now: Instant, up: bool) {
        self.advance(now);
        self.up = up;
    }

    /// Counts the time since the last word.
    pub(crate) fn advance(&mut self, now: Instant) {
        // After a gap longer than the ring, only its length counts.
        let longest = SLOT * u32::try_from(SLOTS).unwrap_or(u32::MAX);
        if now.saturating_duration_since(self.last) > longest {
            *self = History {
                up: self.up,
                ..History::new(now - longest)
            };
        }
        while self.last < now {
            let ends = self.began + SLOT;
            let until = now.min(ends);
            let seconds = until.saturating_duration_since(self.last).as_secs();
            if seconds == 0 && until == now {
                return;
            }
            let seconds = u16::try_from(seconds).unwrap_or(u16::MAX);
            if let Some((up, all)) = self.slots.get_mut(self.at) {
                *all = all.saturating_add(seconds);
                *up = up.saturating_add(if self.up { seconds } else { 0 });
            }
            if until == ends {
                self.at = (self.at + 1) % SLOTS;
                if let Some(slot) = self.slots.get_mut(self.at) {
                    *slot = (0, 0);
                }
                self.began = ends;
                self.last = ends;
            } else {
                self.last += Duration::from_secs(u64::from(seconds));
            }
        }
    }

    /// Thousandths of the time watched in which it was there; `None` before anything was watched.
    pub(crate) fn permille(&self) -> Option<u16> {
        let (up, all) = self.slots.iter().fold((0_u32, 0_u32), |(up, all), slot| {
            (up + u32::from(slot.0), all + u32::from(slot.1))
        });
        (all > 0).then(|| u16::try_from(up * 1_000 / all).unwrap_or(1_000))
    }

    /// Of each hour, the oldest first, thousandths there; `None` where nothing was watched.
    pub(crate) fn hours(&self) -> Vec<Option<u16>> {
        let ordered = (1..=SLOTS).map(|step| (self.at + step) % SLOTS);
        let slots: Vec<(u16, u16)> = ordered
            .filter_map(|at| self.slots.get(at).copied())
            .collect();
        slots
            .chunks(4)
            .map(|hour| {
                let (up, all) = hour.iter().fold((0_u32, 0_u32), |(up, all), slot| {
                    (up + u32::from(slot.0), all + u32::from(slot.1))
                });
                (all > 0).then(|| u16::try_from(up * 1_000 / all).unwrap_or(1_000))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG: Duration = Duration::from_millis(500);
    const FAST: Duration = Duration::from_millis(20);
    const SLOW: Duration = Duration::from_millis(900);

    fn start() -> Instant {
        #[expect(
            clippy::disallowed_methods,
            reason = "one origin for the virtual clock"
        )]
        let origin = Instant::now();
        origin
    }

    #[test]
    fn unknown_to_reachable_by_one_answer() {
        let mut reach = Reach::default();
        assert_eq!(reach.answered(SLOW, LAG), Some(Reachability::Reachable));
        assert_eq!(reach.rtt(), Some(SLOW));
    }

    #[test]
    fn one_missed_answer_changes_nothing_two_do() {
        let mut reach = Reach::default();
        reach.answered(FAST, LAG);
        assert_eq!(reach.missed(), None);
        assert!(reach.is_doubtful());
        assert_eq!(reach.answered(FAST, LAG), None);
        assert_eq!(reach.missed(), None);
        assert_eq!(reach.missed(), Some(Reachability::Unreachable));
        assert_eq!(reach.missed(), None, "told once");
    }

    #[test]
    fn unreachable_to_reachable_by_two_answers() {
        let mut reach = Reach::default();
        reach.missed();
        reach.missed();
        assert_eq!(reach.answered(FAST, LAG), None);
        assert_eq!(reach.missed(), None);
        assert_eq!(reach.answered(FAST, LAG), None);
        assert_eq!(reach.answered(SLOW, LAG), Some(Reachability::Reachable));
    }

    #[test]
    fn lagging_comes_and_goes_by_two_in_a_row() {
        let mut reach = Reach::default();
        reach.answered(FAST, LAG);
        assert_eq!(reach.answered(SLOW, LAG), None);
        assert_eq!(reach.answered(FAST, LAG), None);
        assert_eq!(reach.answered(SLOW, LAG), None);
        assert_eq!(reach.answered(SLOW, LAG), Some(Reachability::Lagging));
        assert_eq!(reach.answered(FAST, LAG), None);
        assert_eq!(reach.answered(FAST, LAG), Some(Reachability::Reachable));
    }

    #[test]
    fn the_ring_holds_24_hours() {
        let now = start();
        let hour = Duration::from_secs(3_600);
        let mut history = History::new(now);
        assert_eq!(history.permille(), None);
        history.set(now, true);
        history.set(now + hour, false);
        history.advance(now + 4 * hour);
        assert_eq!(history.permille(), Some(250));
        let hours = history.hours();
        assert_eq!(hours.len(), 24);
        history.set(now + 4 * hour, true);
        history.advance(now + 100 * hour);
        assert_eq!(history.permille(), Some(1_000), "what is older is gone");
        history.set(now + 100 * hour, false);
        history.advance(now + 112 * hour);
        let part = history.permille().unwrap();
        assert!((490..=510).contains(&part), "{part}");
    }
}
