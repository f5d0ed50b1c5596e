//! One subscription as its notifier sees it (RFC 6665 section 4.2).
//!
//! ```text
//!              +---------+  granted   +--------+
//!   new ─────► | pending | ─────────► | active | ◄─ refreshed
//!              +---------+            +--------+
//!                   │ expired, refused, unsubscribed, │
//!                   │ NOTIFY failed, server stops     │
//!                   ▼                                 ▼
//!              +---------------------------------------+
//!              |              terminated               |
//!              +---------------------------------------+
//! ```
//!
//! At most one NOTIFY is under way; what changes meanwhile is told by the next one, which tells the state as it is then.
//! So a busy building costs a slow phone one message at a time, and nothing piles up here.

use std::time::{Duration, Instant};

use crate::endpoint::ClientTx;

/// What the subscriber is told of its subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nobody has decided yet whether it may see the resource.
    Pending,
    /// It is told of every change.
    Active,
    /// Over.
    Terminated(End),
}

/// Why a subscription is over (RFC 6665 section 4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The subscriber should subscribe anew at once: this server stops or moves.
    Deactivated,
    /// It has no right any more.
    Rejected,
    /// It was not refreshed, or was given up by its subscriber.
    Timeout,
    /// The resource is gone.
    NoResource,
    /// No NOTIFY reaches the subscriber; it is told nothing.
    Unreachable,
}

impl State {
    /// The Subscription-State value; `left` is what remains of the subscription.
    #[must_use]
    pub fn header(self, left: Duration) -> String {
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        match self {
            Self::Pending => format!("pending;expires={seconds}"),
            Self::Active => format!("active;expires={seconds}"),
            Self::Terminated(end) => {
                let reason = match end {
                    End::Deactivated => "deactivated",
                    End::Rejected => "rejected",
                    End::Timeout | End::Unreachable => "timeout",
                    End::NoResource => "noresource",
                };
                format!("terminated;reason={reason}")
            }
        }
    }
}

/// How often a subscriber may be told: on average once an interval, `burst` times at once after a quiet time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Average time between two NOTIFYs.
    pub interval: Duration,
    /// NOTIFYs that may follow each other at once.
    pub burst: u32,
}

impl Default for Pace {
    /// RFC 4235 section 4.10: not more than one a second. A call that rings and is answered is told without delay.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            burst: 4,
        }
    }
}

/// What a subscription is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// SUBSCRIBE was answered 2xx; zero ends the subscription.
    Subscribed {
        /// Granted time.
        expires: Duration,
    },
    /// A pending one may see the resource.
    Granted,
    /// The resource changed.
    Changed,
    /// The owner ends it.
    Ended(End),
    /// The NOTIFY of this transaction was sent.
    Sent(ClientTx),
    /// Its final response.
    Answered {
        /// The transaction.
        tx: ClientTx,
        /// The status.
        status: u16,
        /// Its Retry-After.
        retry_after: Option<Duration>,
    },
    /// Its transaction failed without one.
    Failed(ClientTx),
    /// [`Subscription::next_timeout`] is due.
    Timeout,
}

/// What a subscription wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Send a NOTIFY with the state as it is now.
    Notify,
    /// Send the last NOTIFY and forget it.
    Last(End),
    /// Forget it: nobody can be told.
    Gone(End),
}

/// Who waits for the NOTIFY under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flight {
    Idle,
    /// Asked for by [`Act::Notify`], not sent yet.
    Due,
    Sent(ClientTx),
}

/// The longest Retry-After followed; a subscriber that asks for more is told of its next change then.
const RETRY_MOST: Duration = Duration::from_secs(600);

/// The machine. It holds no message: the owner has the dialog.
#[derive(Debug, Clone)]
pub struct Subscription {
    state: State,
    expires: Instant,
    flight: Flight,
    /// Something was not told yet.
    news: bool,
    /// No NOTIFY before that (Retry-After).
    not_before: Option<Instant>,
    /// Theoretical time of the next NOTIFY by the pace (GCRA).
    paced: Instant,
    pace: Pace,
}

impl Subscription {
    /// A new one that nobody has been told of; [`Input::Subscribed`] starts it.
    #[must_use]
    pub fn new(now: Instant, state: State, pace: Pace) -> Self {
        Self {
            state,
            expires: now,
            flight: Flight::Idle,
            news: false,
            not_before: None,
            paced: now,
            pace,
        }
    }

    /// What it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The Subscription-State value now.
    #[must_use]
    pub fn header(&self, now: Instant) -> String {
        self.state
            .header(self.expires.saturating_duration_since(now))
    }

    /// The NOTIFY under way.
    #[must_use]
    pub fn under_way(&self) -> Option<ClientTx> {
        match self.flight {
            Flight::Sent(tx) => Some(tx),
            Flight::Idle | Flight::Due => None,
        }
    }

    /// When [`Input::Timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        if matches!(self.state, State::Terminated(_)) {
            return None;
        }
        let told = (self.news && self.flight == Flight::Idle).then(|| self.earliest());
        Some(told.map_or(self.expires, |told| told.min(self.expires)))
    }

    /// One input, at most one wish.
    pub fn handle(&mut self, now: Instant, input: Input) -> Option<Act> {
        if matches!(self.state, State::Terminated(_)) {
            return None;
        }
        match input {
            Input::Subscribed { expires } if expires.is_zero() => self.end(End::Timeout),
            Input::Subscribed { expires } => {
                self.expires = now + expires;
                // Section 4.2.1.2: a SUBSCRIBE is followed by a NOTIFY at once, whatever the pace.
                self.not_before = None;
                self.paced = self.paced.min(now);
                self.tell(now)
            }
            Input::Granted => {
                self.state = State::Active;
                self.tell(now)
            }
            Input::Changed => self.tell(now),
            Input::Ended(end) => self.end(end),
            Input::Sent(tx) => {
                self.flight = Flight::Sent(tx);
                None
            }
            Input::Answered {
                tx,
                status,
                retry_after,
            } => self.answered(now, tx, status, retry_after),
            Input::Failed(tx) if self.flight == Flight::Sent(tx) => self.gone(),
            Input::Failed(_) => None,
            Input::Timeout if self.expires <= now => self.end(End::Timeout),
            Input::Timeout => self.due(now),
        }
    }

    fn answered(
        &mut self,
        now: Instant,
        tx: ClientTx,
        status: u16,
        retry_after: Option<Duration>,
    ) -> Option<Act> {
        if status < 200 || self.flight != Flight::Sent(tx) {
            return None;
        }
        self.flight = Flight::Idle;
        match (status, retry_after) {
            (200..=299, _) => self.due(now),
            // Section 4.2.2: an error that says when to come back is not the end, 481 always is.
            (status, Some(after)) if status != 481 => {
                self.not_before = Some(now + after.min(RETRY_MOST));
                self.news = true;
                None
            }
            _ => self.gone(),
        }
    }

    fn tell(&mut self, now: Instant) -> Option<Act> {
        self.news = true;
        self.due(now)
    }

    /// The earliest time the pace and Retry-After allow.
    fn earliest(&self) -> Instant {
        let credit = self.pace.interval * self.pace.burst.saturating_sub(1);
        // Before the epoch of the clock nothing was sent either.
        let paced = self.paced.checked_sub(credit).unwrap_or(self.paced);
        self.not_before.map_or(paced, |not| not.max(paced))
    }

    fn due(&mut self, now: Instant) -> Option<Act> {
        if !self.news || self.flight != Flight::Idle || self.earliest() > now {
            return None;
        }
        self.news = false;
        self.not_before = None;
        self.flight = Flight::Due;
        self.paced = self.paced.max(now) + self.pace.interval;
        Some(Act::Notify)
    }

    fn end(&mut self, end: End) -> Option<Act> {
        self.state = State::Terminated(end);
        Some(Act::Last(end))
    }

    fn gone(&mut self) -> Option<Act> {
        self.state = State::Terminated(End::Unreachable);
        Some(Act::Gone(End::Unreachable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::tests::origin;

    const MINUTE: Duration = Duration::from_secs(60);
    const MS: Duration = Duration::from_millis(1);
    const TX: ClientTx = ClientTx(1);

    fn active() -> (Subscription, Instant) {
        let now = origin();
        let mut sub = Subscription::new(now, State::Active, Pace::default());
        assert_eq!(
            sub.handle(now, Input::Subscribed { expires: MINUTE }),
            Some(Act::Notify)
        );
        assert_eq!(sub.handle(now, Input::Sent(TX)), None);
        (sub, now)
    }

    fn answered(status: u16) -> Input {
        Input::Answered {
            tx: TX,
            status,
            retry_after: None,
        }
    }

    fn idle() -> (Subscription, Instant) {
        let (mut sub, now) = active();
        assert_eq!(sub.handle(now, answered(200)), None);
        (sub, now)
    }

    #[test]
    fn new_to_active_is_told_at_once() {
        let (sub, now) = active();
        assert_eq!(sub.header(now + MS), "active;expires=60");
        assert_eq!(sub.under_way(), Some(TX));
    }

    #[test]
    fn pending_to_active_is_told() {
        let now = origin();
        let mut sub = Subscription::new(now, State::Pending, Pace::default());
        sub.handle(now, Input::Subscribed { expires: MINUTE });
        assert_eq!(sub.header(now), "pending;expires=60");
        sub.handle(now, Input::Sent(TX));
        sub.handle(now, answered(200));
        assert_eq!(sub.handle(now, Input::Granted), Some(Act::Notify));
        assert_eq!(sub.state(), State::Active);
    }

    #[test]
    fn changes_while_a_notify_is_under_way_make_one_more() {
        let (mut sub, now) = active();
        for _ in 0..100 {
            assert_eq!(sub.handle(now, Input::Changed), None);
        }
        assert_eq!(sub.handle(now, answered(200)), Some(Act::Notify));
        sub.handle(now, Input::Sent(ClientTx(2)));
        assert_eq!(sub.handle(now, answered(200)), None, "an old answer");
        let second = Input::Answered {
            tx: ClientTx(2),
            status: 200,
            retry_after: None,
        };
        assert_eq!(sub.handle(now, second), None, "nothing is left to tell");
    }

    #[test]
    fn a_flood_of_changes_is_paced_and_the_last_state_is_told() {
        let (mut sub, now) = idle();
        let mut told = 0;
        for _ in 0..50 {
            if sub.handle(now, Input::Changed) == Some(Act::Notify) {
                told += 1;
                sub.handle(now, Input::Sent(TX));
                sub.handle(now, answered(200));
            }
        }
        assert_eq!(
            told, 3,
            "the first one of the burst was the subscription's own"
        );
        let at = sub.next_timeout().unwrap();
        assert_eq!(at, now + Duration::from_secs(1));
        assert_eq!(sub.handle(at - MS, Input::Timeout), None);
        assert_eq!(sub.handle(at, Input::Timeout), Some(Act::Notify));
    }

    #[test]
    fn active_to_terminated_when_not_refreshed() {
        let (mut sub, now) = idle();
        assert_eq!(sub.next_timeout(), Some(now + MINUTE));
        assert_eq!(
            sub.handle(now + MINUTE, Input::Timeout),
            Some(Act::Last(End::Timeout))
        );
        assert_eq!(sub.header(now + MINUTE), "terminated;reason=timeout");
        assert_eq!(sub.next_timeout(), None);
    }

    #[test]
    fn a_refresh_lengthens_it_and_is_told() {
        let (mut sub, now) = idle();
        let at = now + MINUTE - MS;
        assert_eq!(
            sub.handle(at, Input::Subscribed { expires: MINUTE }),
            Some(Act::Notify)
        );
        sub.handle(at, Input::Sent(TX));
        sub.handle(at, answered(200));
        assert_eq!(sub.next_timeout(), Some(at + MINUTE));
    }

    #[test]
    fn expires_zero_is_the_last_notify_even_while_one_is_under_way() {
        let (mut sub, now) = active();
        let zero = Input::Subscribed {
            expires: Duration::ZERO,
        };
        assert_eq!(sub.handle(now, zero), Some(Act::Last(End::Timeout)));
        assert_eq!(sub.handle(now, Input::Changed), None);
    }

    #[test]
    fn a_481_or_a_timeout_ends_it_silently() {
        for input in [
            answered(481),
            answered(500),
            answered(404),
            Input::Failed(TX),
        ] {
            let (mut sub, now) = active();
            assert_eq!(
                sub.handle(now, input),
                Some(Act::Gone(End::Unreachable)),
                "{input:?}"
            );
        }
    }

    #[test]
    fn retry_after_is_followed_except_with_481() {
        let refused = |status| Input::Answered {
            tx: TX,
            status,
            retry_after: Some(Duration::from_secs(10)),
        };
        let (mut sub, now) = active();
        assert_eq!(sub.handle(now, refused(503)), None);
        assert_eq!(sub.next_timeout(), Some(now + Duration::from_secs(10)));
        assert_eq!(
            sub.handle(now + Duration::from_secs(10), Input::Timeout),
            Some(Act::Notify)
        );
        let (mut sub, now) = active();
        assert!(matches!(sub.handle(now, refused(481)), Some(Act::Gone(_))));
    }

    #[test]
    fn the_owner_ends_it_with_its_reason() {
        for (end, reason) in [
            (End::Deactivated, "deactivated"),
            (End::Rejected, "rejected"),
            (End::NoResource, "noresource"),
        ] {
            let (mut sub, now) = active();
            assert_eq!(sub.handle(now, Input::Ended(end)), Some(Act::Last(end)));
            assert_eq!(sub.header(now), format!("terminated;reason={reason}"));
        }
    }
}
