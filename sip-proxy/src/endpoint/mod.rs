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

mod client;
mod completed;
mod counters;
mod interface;
mod large;
mod server;
mod slab;
mod success;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;

pub use counters::{Counters, MethodCounts, StatusCounts};
pub use interface::{ClientTx, EndpointConfig, ForwardRequest, Input, Output, Outputs, ServerTx};

use crate::message::{Message, OutgoingResponse, RawMessage, write_response};
use crate::transaction::Timer;
use crate::transaction::key::{KeyMap, Keys};
use crate::transaction::timer::Deadlines;
use crate::transport::{ConnectionId, Flow};
use client::Client;
use completed::Completed;
use server::Server;
use slab::{Slab, Slot};

/// Seconds of Retry-After when a table is full.
const RETRY_AFTER: &str = "5";

/// Whose deadline it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Client(Slot),
    Server(Slot),
}

/// The timers a transaction has running.
#[derive(Debug, Default)]
struct Running(SmallVec<[(Timer, Instant); 3]>);

impl Running {
    fn start(&mut self, timer: Timer, at: Instant) {
        match self.0.iter_mut().find(|(running, _)| *running == timer) {
            Some(entry) => entry.1 = at,
            None => self.0.push((timer, at)),
        }
    }

    fn stop(&mut self, timer: Timer) {
        self.0.retain(|(running, _)| *running != timer);
    }

    fn has(&self, timer: Timer, at: Instant) -> bool {
        self.0.contains(&(timer, at))
    }
}

/// The machine.
pub struct Endpoint {
    config: EndpointConfig,
    rng: Box<dyn rand::Rng + Send>,
    keys: Keys,
    counters: Counters,
    /// What is to be told, drained before the next input; as long as one input's consequences.
    queue: VecDeque<Output>,
    deadlines: Deadlines<Owner>,
    /// Bounded by `max_server_transactions`: over it the first of `completed` goes, and without one 503, statelessly.
    servers: Slab<Server>,
    completed: Completed,
    by_key: KeyMap<Slot>,
    by_merge: KeyMap<Slot>,
    by_acknowledgement: KeyMap<Slot>,
    /// Bounded by `max_client_transactions`: over it the request fails at once.
    clients: Slab<Client>,
    by_tx: HashMap<ClientTx, Slot, BuildHasherDefault<DefaultHasher>>,
    by_connection: BTreeSet<(ConnectionId, Slot)>,
    refusals: large::Refusals,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("servers", &self.servers.len())
            .field("clients", &self.clients.len())
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// An idle endpoint. Branches, tags and table secrets come from `rng`.
    #[must_use]
    pub fn new(mut config: EndpointConfig, mut rng: Box<dyn rand::Rng + Send>) -> Self {
        // A zero interval would have a retransmission timer fire for ever at one instant.
        config.timers.t1 = config.timers.t1.max(Duration::from_millis(1));
        config.timers.t2 = config.timers.t2.max(config.timers.t1);
        let keys = Keys::new([
            rng.next_u64(),
            rng.next_u64(),
            rng.next_u64(),
            rng.next_u64(),
        ]);
        Self {
            servers: Slab::new(config.max_server_transactions),
            completed: Completed::default(),
            clients: Slab::new(config.max_client_transactions),
            config,
            rng,
            keys,
            counters: Counters::default(),
            queue: VecDeque::new(),
            deadlines: Deadlines::default(),
            by_key: KeyMap::default(),
            by_merge: KeyMap::default(),
            by_acknowledgement: KeyMap::default(),
            by_tx: HashMap::default(),
            by_connection: BTreeSet::new(),
            refusals: large::Refusals::default(),
        }
    }

    /// Takes one input; the outputs are its consequences.
    pub fn handle(&mut self, now: Instant, input: Input) -> Outputs<'_> {
        match input {
            Input::Received { flow, bytes } => self.received(now, flow, bytes),
            Input::Refuse {
                flow,
                bytes,
                retry_after,
            } => self.refuse(now, flow, bytes, retry_after),
            Input::ConnectionClosed { connection } => self.connection_closed(now, connection),
            Input::TransportFailed { flow, bytes } => self.transport_failed(now, flow, bytes),
            Input::Request { tx, request, to } => self.request(now, tx, &request, to),
            Input::Ack {
                request,
                to,
                invite,
            } => self.acknowledge(&request, to, invite),
            Input::Cancel { tx, reason } => self.cancel(now, tx, reason),
            Input::Respond { tx, response } => self.respond(now, tx, response),
            Input::Forward { tx, request, to } => self.forward(now, tx, &request, to),
            Input::ForwardAck { request, to } => self.forward_ack(&request, to),
            Input::ForwardResponse { tx, response, add } => {
                self.forward_response(now, tx, &response, add);
            }
            Input::Timeout => self.timeout(now),
        }
        self.purge();
        Outputs {
            queue: &mut self.queue,
        }
    }

    /// When [`Input::Timeout`] is next due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Server transactions alive.
    #[must_use]
    pub fn server_transactions(&self) -> usize {
        self.servers.len()
    }

    /// Client transactions alive, a CANCEL's own included.
    #[must_use]
    pub fn client_transactions(&self) -> usize {
        self.clients.len()
    }

    fn received(&mut self, now: Instant, flow: Flow, bytes: Bytes) {
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            self.counters.keep_alives += 1;
            if flow.transport.is_stream() && bytes.len() >= 4 {
                self.queue.push_back(Output::Transmit {
                    flow,
                    bytes: Bytes::from_static(b"\r\n"),
                });
            }
            return;
        }
        match Message::parse(bytes, &self.config.limits) {
            Ok(message) if message.is_request() => self.received_request(now, message, flow),
            Ok(message) => self.received_response(now, message, flow),
            Err(invalid) => {
                *self
                    .counters
                    .parse_errors
                    .entry(invalid.reason)
                    .or_default() += 1;
                let Some(raw) = invalid.raw else { return };
                // Without any Via nobody knows where the answer belongs; an ACK has none, whatever is wrong.
                if let Some(value) = raw.values(&crate::message::HeaderName::Via).next()
                    && raw.is_request()
                    && raw.method_token() != Some("ACK")
                    && let Some(target) = crate::message::Via::parse(value).map_or_else(
                        |_| crate::message::Via::salvaged_target(value, flow.remote),
                        |via| Some(via.response_target(flow.remote)),
                    )
                {
                    let to = reply_flow(flow, target);
                    let response =
                        OutgoingResponse::new(invalid.status).with_reason(invalid.reason);
                    self.answer_statelessly(&raw, response, flow.remote, to);
                }
            }
        }
    }

    /// Answers without a transaction (8.2.7). A repeated request gets an equal answer.
    fn answer_statelessly(
        &mut self,
        request: &RawMessage,
        mut response: OutgoingResponse,
        source: SocketAddr,
        to: Flow,
    ) {
        if response.to_tag.is_none() {
            response.to_tag = Some(tag(self.keys.stateless_tag(request)));
        }
        let bytes = write_response(&response, request, source, name_of(&self.config));
        self.counters.responses_out.add(response.status);
        self.queue.push_back(Output::Transmit { flow: to, bytes });
    }

    fn timeout(&mut self, now: Instant) {
        while let Some((at, owner, timer)) = self.deadlines.pop_due(now) {
            match owner {
                Owner::Client(slot) => {
                    if let Some(client) = self.clients.get_mut(slot)
                        && client.running.has(timer, at)
                    {
                        client.running.stop(timer);
                        self.client_timer(now, slot, timer);
                    }
                }
                Owner::Server(slot) => {
                    if let Some(server) = self.servers.get_mut(slot)
                        && server.running.has(timer, at)
                    {
                        server.running.stop(timer);
                        self.server_timer(now, slot, timer);
                    }
                }
            }
        }
    }

    fn purge(&mut self) {
        let Self {
            deadlines,
            clients,
            servers,
            ..
        } = self;
        let live = clients.len() + servers.len();
        let stands = |at, owner, timer| match owner {
            Owner::Client(slot) => clients
                .get(slot)
                .is_some_and(|client| client.running.has(timer, at)),
            Owner::Server(slot) => servers
                .get(slot)
                .is_some_and(|server| server.running.has(timer, at)),
        };
        deadlines.purge(stands);
        deadlines.compact(live, stands);
    }

    fn connection_closed(&mut self, now: Instant, connection: ConnectionId) {
        let first = Slot {
            place: 0,
            generation: 0,
        };
        let affected: SmallVec<[Slot; 8]> = self
            .by_connection
            .range((connection, first)..)
            .take_while(|(id, _)| *id == connection)
            .map(|(_, slot)| *slot)
            .collect();
        for slot in affected {
            self.client_unreachable(now, slot);
        }
    }

    /// The bytes name the transaction as they would on the wire: a request its client, a response its server.
    fn transport_failed(&mut self, now: Instant, _flow: Flow, bytes: Bytes) {
        let Ok(message) = Message::parse(bytes, &self.config.limits) else {
            return;
        };
        if message.is_request() {
            if let Some(slot) = self.client_of(&message) {
                self.client_unreachable(now, slot);
            }
        } else {
            self.server_unreachable(now, &message);
        }
    }
}

/// A tag of ours: 64 random bits.
fn tag(random: u64) -> String {
    format!("{random:016x}")
}

/// The Server or User-Agent value, if one is configured.
fn name_of(config: &EndpointConfig) -> Option<&str> {
    Some(config.server_name.as_str()).filter(|name| !name.is_empty())
}

/// Where a response goes (18.2.2): back on the connection, or by UDP to where the Via says. `maddr` is not followed:
/// it would let a request aim our answers at anyone.
fn reply_flow(flow: Flow, target: SocketAddr) -> Flow {
    if flow.transport.is_stream() {
        flow
    } else {
        Flow {
            remote: target,
            ..flow
        }
    }
}
