//! The timers of RFC 3261 table 4, RFC 6026 and RFC 4320, and the one queue all their deadlines wait in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// A timer by its letter in RFC 3261 table 4 (L and M: RFC 6026).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// INVITE request retransmission, unreliable transports only.
    A,
    /// INVITE transaction time-out.
    B,
    /// Proxy INVITE time-out (16.6 step 11).
    C,
    /// Wait for retransmitted non-2xx finals to an INVITE.
    D,
    /// Non-INVITE request retransmission. At a server: the moment the client's E reaches T2, when 4320 wants a 100.
    E,
    /// Non-INVITE transaction time-out.
    F,
    /// INVITE response retransmission (also the 2xx retransmission of 13.3.1.4).
    G,
    /// Wait for the ACK (also the 2xx wait of 13.3.1.4).
    H,
    /// Wait for retransmitted ACKs.
    I,
    /// Wait for retransmitted non-INVITE requests.
    J,
    /// Wait for retransmitted non-INVITE responses.
    K,
    /// Wait for retransmitted INVITEs after a 2xx.
    L,
    /// Wait for retransmitted or forked 2xx.
    M,
    /// The 200 ms of 17.2.1 after which the transaction itself answers 100; the RFC gives it no letter.
    Trying,
}

/// The durations every machine derives its deadlines from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Round-trip estimate, 500 ms.
    pub t1: Duration,
    /// Largest retransmission interval, 4 s.
    pub t2: Duration,
    /// How long the network may keep a message, 5 s.
    pub t4: Duration,
    /// Proxy INVITE time-out, more than 3 minutes.
    pub timer_c: Duration,
    /// How long a completed INVITE client waits on an unreliable transport, at least 32 s.
    pub timer_d: Duration,
    /// Delay before the endpoint itself answers an INVITE 100 (17.2.1: 200 ms); zero answers at once. A user that
    /// answers sooner spares the 100, and only an INVITE without one can be challenged without keeping its transaction.
    pub trying: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            timer_c: Duration::from_secs(185),
            timer_d: Duration::from_secs(32),
            trying: Duration::from_millis(200),
        }
    }
}

impl Timers {
    /// 64·T1: timers B, F, H, J, L and M.
    #[must_use]
    pub fn sixty_four_t1(&self) -> Duration {
        self.t1.saturating_mul(64)
    }

    /// When a non-INVITE client's timer E first reaches T2 (RFC 4320 section 4.1): T1 + 2·T1 + … while below T2.
    #[must_use]
    pub fn until_e_reaches_t2(&self) -> Duration {
        let mut interval = self.t1;
        let mut sum = Duration::ZERO;
        while interval < self.t2 && !interval.is_zero() {
            sum = sum.saturating_add(interval);
            interval = interval.saturating_mul(2);
        }
        sum
    }
}

/// A min-heap of deadlines with lazy deletion: stopping a timer leaves its entry behind, and the owner says of each
/// entry that reaches the top whether it still stands. Every entry is popped once, so the cost does not depend on how
/// many transactions exist beyond the heap's logarithm.
///
/// Bounded by its owner: a live transaction has at most three timers; the entries of the dead leave at their deadline,
/// or all at once when they come to outnumber what can stand ([`Self::compact`]).
#[derive(Debug)]
pub struct Deadlines<K> {
    heap: BinaryHeap<Reverse<(Instant, K, Timer)>>,
}

impl<K: Ord + Copy> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
        }
    }
}

impl<K: Ord + Copy> Deadlines<K> {
    /// Adds a deadline.
    pub fn push(&mut self, at: Instant, key: K, timer: Timer) {
        self.heap.push(Reverse((at, key, timer)));
    }

    /// The earliest deadline; exact after [`Self::purge`].
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Takes the earliest deadline that is due at `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, K, Timer)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Drops stale entries from the top, so that [`Self::next`] never wakes the shell for nothing.
    pub fn purge(&mut self, stands: impl Fn(Instant, K, Timer) -> bool) {
        while let Some(Reverse((at, key, timer))) = self.heap.peek() {
            if stands(*at, *key, *timer) {
                return;
            }
            self.heap.pop();
        }
    }

    /// Drops every stale entry once they outnumber what `live` transactions can have running. A rebuild halves the heap
    /// at least, so it costs a constant share per entry.
    pub fn compact(&mut self, live: usize, stands: impl Fn(Instant, K, Timer) -> bool) {
        const PER_TRANSACTION: usize = 3;
        const SLACK: usize = 1024;
        let limit = live
            .saturating_mul(2 * PER_TRANSACTION)
            .saturating_add(SLACK);
        if self.heap.len() > limit {
            self.heap
                .retain(|Reverse((at, key, timer))| stands(*at, *key, *timer));
        }
    }

    /// Entries held, stale ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether no entry is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::origin;
    use super::*;

    #[test]
    fn e_reaches_t2_after_three_and_a_half_seconds_by_default() {
        assert_eq!(
            Timers::default().until_e_reaches_t2(),
            Duration::from_millis(3500)
        );
    }

    #[test]
    fn e_reaches_t2_ends_for_a_zero_t1() {
        let timers = Timers {
            t1: Duration::ZERO,
            ..Timers::default()
        };
        assert_eq!(timers.until_e_reaches_t2(), Duration::ZERO);
    }

    #[test]
    fn deadlines_come_out_in_order_and_only_when_due() {
        let t0 = origin();
        let mut deadlines = Deadlines::default();
        deadlines.push(t0 + Duration::from_secs(2), 1u32, Timer::B);
        deadlines.push(t0 + Duration::from_secs(1), 2u32, Timer::A);
        assert_eq!(deadlines.next(), Some(t0 + Duration::from_secs(1)));
        assert!(deadlines.pop_due(t0).is_none());
        let late = t0 + Duration::from_secs(3);
        assert_eq!(deadlines.pop_due(late).map(|d| d.1), Some(2));
        assert_eq!(deadlines.pop_due(late).map(|d| d.1), Some(1));
        assert!(deadlines.pop_due(late).is_none());
    }

    #[test]
    fn stale_entries_are_dropped_once_they_outnumber_the_standing() {
        let t0 = origin();
        let mut deadlines = Deadlines::default();
        for n in 0..10_000_u32 {
            let at = t0 + Duration::from_secs(32) + Duration::from_millis(u64::from(n));
            deadlines.push(at, n, Timer::J);
            deadlines.compact(10, |_, key, _| key < 10);
            assert!(deadlines.len() <= 1_100, "{}", deadlines.len());
        }
        let mut left = Vec::new();
        while let Some((_, key, _)) = deadlines.pop_due(t0 + Duration::from_secs(60)) {
            left.push(key);
        }
        assert_eq!(left.get(..10), Some(&(0..10).collect::<Vec<_>>()[..]));
    }

    #[test]
    fn purge_removes_only_what_no_longer_stands() {
        let t0 = origin();
        let mut deadlines = Deadlines::default();
        deadlines.push(t0, 1u32, Timer::A);
        deadlines.push(t0 + Duration::from_secs(1), 2u32, Timer::B);
        deadlines.purge(|_, key, _| key == 2);
        assert_eq!(deadlines.len(), 1);
        assert_eq!(deadlines.next(), Some(t0 + Duration::from_secs(1)));
    }
}
