//! The four transaction machines of RFC 3261 section 17 as amended by RFC 6026 and RFC 4320.
//!
//! One file per figure. Each machine is an enum of states holding only their own data; it sees events and writes
//! [`Action`]s, and knows neither sockets nor other transactions. [`crate::endpoint::Endpoint`] drives them.
//!
//! ```text
//!  invite_client       Calling -> Proceeding -> Completed | Accepted -> Terminated      figure 5, 6026
//!  non_invite_client   Trying  -> Proceeding -> Completed ------------> Terminated      figure 6
//!  invite_server       Proceeding -> Completed -> Confirmed | Accepted -> Terminated    figure 7, 6026
//!  non_invite_server   Trying  -> Proceeding -> Completed ------------> Terminated      figure 8, 4320
//! ```

pub mod invite_client;
pub mod invite_server;
pub mod key;
pub mod non_invite_client;
pub mod non_invite_server;
pub mod timer;

use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;

pub use timer::{Timer, Timers};

/// Why a client transaction ended without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailCause {
    /// Timer B or F: to the transaction user this is a 408 (8.1.3.1).
    Timeout,
    /// The transport could not deliver: to the transaction user this is a 503 (8.1.3.1).
    Transport,
}

impl FailCause {
    /// The status the failure stands for (RFC 3261 section 8.1.3.1).
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Timeout => 408,
            Self::Transport => 503,
        }
    }
}

/// What a machine asks of the endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send for the first time.
    Transmit(Bytes),
    /// Send again what was sent before.
    Retransmit(Bytes),
    /// Arm a timer, replacing its earlier deadline.
    Start(Timer, Instant),
    /// Disarm a timer.
    Stop(Timer),
    /// Pass the message just received to the transaction user.
    Deliver,
    /// Tell the transaction user that the transaction failed.
    Fail(FailCause),
    /// Answer 100 in the transaction's name.
    Trying,
}

/// The actions of one step, with the constants the step may read. Holds at most four without allocating.
#[derive(Debug)]
pub struct Actions {
    list: SmallVec<[Action; 4]>,
    /// T1, T2, T4 and the rest.
    pub timers: Timers,
    /// Whether the transport delivers reliably, which zeroes timers A, D, E, G, I, J and K.
    pub reliable: bool,
}

impl Actions {
    /// An empty step.
    #[must_use]
    pub fn new(timers: Timers, reliable: bool) -> Self {
        Self {
            list: SmallVec::new(),
            timers,
            reliable,
        }
    }

    fn push(&mut self, action: Action) {
        self.list.push(action);
    }

    fn start(&mut self, now: Instant, timer: Timer, after: std::time::Duration) {
        self.push(Action::Start(timer, now + after));
    }

    /// Takes the actions in the order they were written.
    pub fn drain(&mut self) -> impl Iterator<Item = Action> + '_ {
        self.list.drain(..)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One origin for all virtual clocks.
    #[expect(
        clippy::disallowed_methods,
        reason = "tests need one Instant to count from"
    )]
    pub(crate) fn origin() -> Instant {
        Instant::now()
    }

    /// The actions of one step as a list.
    pub(crate) fn step<S>(
        reliable: bool,
        state: S,
        handle: impl FnOnce(S, &mut Actions) -> S,
    ) -> (S, Vec<Action>) {
        let mut out = Actions::new(Timers::default(), reliable);
        let state = handle(state, &mut out);
        let actions = out.drain().collect();
        (state, actions)
    }
}
