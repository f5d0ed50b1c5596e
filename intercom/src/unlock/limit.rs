//! At most n unlocks a minute and door: more is an alarm, not an opening.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);

/// Times of the granted unlocks of the last minute, by door. Bounded by the number of doors in the plan × the limit.
#[derive(Debug)]
pub(super) struct RateLimit {
    per_minute: usize,
    doors: BTreeMap<String, VecDeque<Instant>>,
}

impl RateLimit {
    pub(super) fn new(per_minute: usize) -> Self {
        Self {
            per_minute,
            doors: BTreeMap::new(),
        }
    }

    /// Counts one unlock of `door`; `false` when the minute is full.
    pub(super) fn admit(&mut self, now: Instant, door: &str) -> bool {
        let times = self.doors.entry(door.to_owned()).or_default();
        while times
            .front()
            .is_some_and(|first| now.saturating_duration_since(*first) >= WINDOW)
        {
            times.pop_front();
        }
        let admitted = times.len() < self.per_minute;
        if admitted {
            times.push_back(now);
        }
        admitted
    }
}
