//! The 2xx to an INVITE, repeated by the user agent server until its ACK comes (RFC 3261 section 13.3.1.4).
//!
//! It lies above the transaction, whose Accepted state only absorbs; it repeats on every transport, since a proxy on
//! the way may have changed it. Timers G and H are free in that state and measure it.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::transaction::{Timer, Timers};

/// Waiting for the ACK of a 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Success {
    /// Repeating.
    Waiting { response: Bytes, interval: Duration },
    /// The ACK came; more of it is absorbed.
    Acknowledged,
    /// No ACK in 64·T1; the transaction user was told.
    Missing,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Retransmit(Bytes, Instant),
    AckMissing,
    Deliver,
    Absorb,
}

impl Success {
    pub(super) fn start(response: Bytes, timers: &Timers) -> Self {
        Self::Waiting {
            response,
            interval: timers.t1,
        }
    }

    pub(super) fn timer(self, now: Instant, timer: Timer, timers: &Timers) -> (Self, Step) {
        match (self, timer) {
            (Self::Waiting { response, interval }, Timer::G) => {
                let interval = interval.saturating_mul(2).min(timers.t2);
                let step = Step::Retransmit(response.clone(), now + interval);
                (Self::Waiting { response, interval }, step)
            }
            (Self::Waiting { .. }, Timer::H) => (Self::Missing, Step::AckMissing),
            (state, _) => (state, Step::Absorb),
        }
    }

    /// A late ACK after [`Step::AckMissing`] is absorbed: the BYE is under way.
    pub(super) fn acknowledged(self) -> (Self, Step) {
        match self {
            Self::Waiting { .. } => (Self::Acknowledged, Step::Deliver),
            state => (state, Step::Absorb),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::tests::origin;

    fn waiting() -> Success {
        Success::start(Bytes::from_static(b"200"), &Timers::default())
    }

    #[test]
    fn waiting_timer_g_repeats_doubling_up_to_t2() {
        let now = origin();
        let mut state = waiting();
        let mut waits = Vec::new();
        for _ in 0..5 {
            let (next, step) = state.timer(now, Timer::G, &Timers::default());
            if let Step::Retransmit(_, at) = step {
                waits.push((at - now).as_millis());
            }
            state = next;
        }
        assert_eq!(waits, [1000, 2000, 4000, 4000, 4000]);
    }

    #[test]
    fn waiting_timer_h_reports_the_missing_ack_and_a_late_one_is_absorbed() {
        let (state, step) = waiting().timer(origin(), Timer::H, &Timers::default());
        assert_eq!(step, Step::AckMissing);
        assert_eq!(state.acknowledged(), (Success::Missing, Step::Absorb));
    }

    #[test]
    fn the_first_ack_is_delivered_and_the_second_absorbed() {
        let (state, step) = waiting().acknowledged();
        assert_eq!(step, Step::Deliver);
        assert_eq!(state.acknowledged(), (Success::Acknowledged, Step::Absorb));
    }
}
