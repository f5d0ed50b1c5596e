//! One granted wish on its way from the log to the relay.

use std::fmt;
use std::time::{Duration, Instant};

use dialplan::{DriverKind, OutputDef};

use super::request::{Drive, Outcome, Request};
use crate::audit::RecordId;
use crate::buzz::BuzzResult;

/// Names an intent in the log, the shell and the station's requests; drawn at random, so that a restart repeats none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IntentId(pub u64);

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Where a granted intent stands.
#[derive(Debug)]
pub(super) enum State {
    /// Its record is on the way to the disk; nothing has been driven.
    Recording { record: RecordId, deadline: Instant },
    /// Its record is on the disk; a driver has been asked.
    Driving { attempt: u8, deadline: Instant },
}

/// What a driver's word means for the intent.
pub(super) enum Verdict {
    /// It is over.
    Finished {
        result: BuzzResult,
        detail: Option<String>,
    },
    /// The next driver of the chain gets its turn.
    Next(Drive),
    /// Of an attempt that is over: nothing changes.
    Stale,
}

/// A granted intent.
pub(super) struct Intent {
    pub(super) id: IntentId,
    pub(super) request: Request,
    pub(super) rule: String,
    pub(super) output: OutputDef,
    pub(super) state: State,
    pub(super) since: Instant,
    /// The whole chain ends by then.
    pub(super) until: Instant,
    /// Others who asked for the same output meanwhile: one opening serves all. Bounded by [`WAITERS`].
    pub(super) waiters: Vec<Request>,
    pub(super) driver: Option<&'static str>,
}

impl fmt::Debug for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the output: its options hold codes.
        f.debug_struct("Intent")
            .field("id", &self.id)
            .field("request", &self.request)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Presses that may wait for one opening; more are refused.
pub(super) const WAITERS: usize = 16;

/// The drivers of an output, in the order they are tried.
fn chain(output: &OutputDef) -> &[DriverKind] {
    std::slice::from_ref(&output.driver)
}

impl Intent {
    /// When something must happen even if nobody says anything.
    pub(super) fn deadline(&self) -> Instant {
        match self.state {
            State::Recording { deadline, .. } | State::Driving { deadline, .. } => {
                deadline.min(self.until)
            }
        }
    }

    /// The first driver's turn, once the record is on the disk.
    pub(super) fn first(&mut self, now: Instant, timeout: Duration) -> Option<Drive> {
        self.turn(now, 0, timeout)
    }

    fn turn(&mut self, now: Instant, attempt: u8, timeout: Duration) -> Option<Drive> {
        let driver = *chain(&self.output).get(usize::from(attempt))?;
        let timeout = timeout.min(self.until.saturating_duration_since(now));
        self.state = State::Driving {
            attempt,
            deadline: now + timeout,
        };
        self.driver = Some(driver.as_str());
        Some(Drive {
            intent: self.id,
            attempt,
            door: self.request.door.clone(),
            output: self.output.name.clone(),
            driver,
            options: self.output.options.clone(),
            pulse: self.output.pulse,
            call: self.request.call.clone(),
            timeout,
        })
    }

    /// A driver's word on `attempt`.
    pub(super) fn outcome(
        &mut self,
        now: Instant,
        attempt: u8,
        outcome: Outcome,
        timeout: Duration,
    ) -> Verdict {
        match self.state {
            State::Driving {
                attempt: current, ..
            } if current == attempt => {}
            State::Driving { .. } | State::Recording { .. } => return Verdict::Stale,
        }
        let (result, detail) = match outcome {
            Outcome::Opened => {
                return Verdict::Finished {
                    result: BuzzResult::Opened,
                    detail: None,
                };
            }
            Outcome::Sent => {
                return Verdict::Finished {
                    result: BuzzResult::Sent,
                    detail: None,
                };
            }
            Outcome::Refused(why) => (BuzzResult::Refused, Some(why)),
            Outcome::Unreachable(why) => (BuzzResult::Unreachable, Some(why)),
            Outcome::TimedOut => (BuzzResult::TimedOut, None),
        };
        // A relay that toggles may have moved although nobody said so: a second driver would move it back.
        let may_go_on = !(self.output.toggle && result == BuzzResult::TimedOut) && now < self.until;
        match may_go_on
            .then(|| self.turn(now, attempt.saturating_add(1), timeout))
            .flatten()
        {
            Some(drive) => Verdict::Next(drive),
            None => Verdict::Finished { result, detail },
        }
    }
}
