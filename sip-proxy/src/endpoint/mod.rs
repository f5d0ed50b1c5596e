//! Endpoint: the transaction layer as one machine (RFC 3261 sections 8.2.2, 9, 17, 18 and 13.3.1.4).
//!
//! ```text
//!            Received                             Request / Respond / Ack / Cancel / Forward
//!               |                                                  |
//!               v                                                  v
//!   parse -> match: branch, CANCEL, ACK, merged      client: branch, Via -> invite_client | non_invite_client
//!               |                                    server: response    -> invite_server | non_invite_server
//!               v                                                  |
//!      Request / Response / Ack / Cancelled                     Transmit
//! ```
//!
//! Deliberately absent: what a request means (the transaction user's), dialogs, DNS, sockets, and any choice of
//! transport.

mod counters;
mod interface;
mod slab;

use std::collections::VecDeque;
use std::time::Instant;

pub use counters::{Counters, MethodCounts, StatusCounts};
pub use interface::{ClientTx, EndpointConfig, ForwardRequest, Input, Output, Outputs, ServerTx};

/// The machine.
pub struct Endpoint {
    queue: VecDeque<Output>,
    counters: Counters,
}

impl Endpoint {
    /// An idle endpoint. Branches and tags come from `rng`.
    #[must_use]
    pub fn new(_config: EndpointConfig, _rng: Box<dyn rand::Rng + Send>) -> Self {
        Self { queue: VecDeque::new(), counters: Counters::default() }
    }

    /// Takes one input; the outputs are its consequences.
    pub fn handle(&mut self, _now: Instant, _input: Input) -> Outputs<'_> {
        Outputs { queue: &mut self.queue }
    }

    /// When [`Input::Timeout`] is next due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}
