//! At most n a minute: unlocks of a door (more is an alarm, not an opening), refusals of an actor in the log (more are
//! one alarm, so that nobody who may log in fills the disk).

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);

/// Times of what was admitted in the last minute, by door or actor. Bounded by the doors of the plan, or the devices of
/// the directory, × the limit.
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
