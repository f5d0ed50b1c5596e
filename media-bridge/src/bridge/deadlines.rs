//! When which leg wants to be woken: a heap of promises, outdated ones skipped when they come up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// The wake-ups of all legs. A leg's true deadline is its own business; an entry here is only a reason to look.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, u32)>>,
}

impl Deadlines {
    /// Promises to look at the leg in slot `index` at `at`.
    pub(super) fn add(&mut self, at: Instant, index: u32) {
        self.heap.push(Reverse((at, index)));
    }

    /// The next promise, kept or outdated.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// A slot whose promise is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<(Instant, u32)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Outdated entries outnumber the legs: time to drop those `keep` does not know. Bounds the heap at four
    /// entries a leg, amortised over as many additions.
    pub(super) fn prune(&mut self, legs: usize, keep: impl Fn(Instant, u32) -> bool) {
        if self.heap.len() > 4 * legs + 64 {
            self.heap.retain(|Reverse((at, index))| keep(*at, *index));
        }
    }
}
