//! What the B2BUA's outputs do to the world: sockets, workers, disk, drivers. Applied at once, in order.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use intercom::audit::{Decision, Entry, Kind, Record};
use intercom::unlock::{Drive, Outcome};
use intercom::{Input, Now, Output};
use media_bridge::LeaseId;
use nix::sys::epoll::Epoll;
use sip_proxy::locate::{Answer, Question};
use sip_proxy::{BindingChange, Flow, Transport};

use tokio::sync::mpsc::error::TrySendError;

use super::sources::Sources;
use super::traffic::Traffic;
use super::{BEHIND, Behind, COMMITS, Outlets, STALL};
use crate::media::Order;
use crate::transport::stream::Streams;
use crate::transport::tls::Expiry;
use crate::transport::udp::{Sent, UdpListener};

/// Everything but the B2BUA itself, so that its outputs can be applied while they borrow it.
pub(super) struct World {
    pub(super) epoll: Epoll,
    pub(super) udp: Vec<UdpListener>,
    pub(super) streams: Streams,
    pub(super) expiries: Vec<Expiry>,
    pub(super) outlets: Outlets,
    pub(super) sources: Sources,
    /// Inputs that outputs gave rise to (a send that failed). Bounded: fed before anything else is read.
    pub(super) follow_ups: VecDeque<Input>,
    /// Orders that found a worker's mailbox full, per worker and in order. See [`STALL`].
    orders: Vec<VecDeque<Order>>,
    /// Records the audit writer did not take yet, in order. Never dropped; see [`STALL`].
    records: VecDeque<Record>,
    /// Records handed to the writer and not yet answered; at most [`COMMITS`].
    pub(super) under_way: usize,
    /// Overflow rule: the oldest goes, and is counted.
    behind: VecDeque<Behind>,
    pub(super) counters: Counters,
    pub(super) unlocks: Unlocks,
    pub(super) traffic: Traffic,
    /// Events of the site by kind. Bounded: the kinds are few.
    pub(super) events: BTreeMap<&'static str, u64>,
}

/// Unlocks by what the log says of them. Bounded: the words are the log's own few.
#[derive(Clone, Debug, Default)]
pub(super) struct Unlocks {
    pub(super) decisions: BTreeMap<&'static str, u64>,
    pub(super) results: BTreeMap<String, u64>,
}

impl Unlocks {
    fn count(&mut self, entry: &Entry) {
        match (entry.kind, entry.decision, &entry.result) {
            (Kind::Unlock, Some(Decision::Granted), _) => {
                *self.decisions.entry("granted").or_default() += 1;
            }
            (Kind::Unlock, Some(Decision::Denied), _) => {
                *self.decisions.entry("denied").or_default() += 1;
            }
            (Kind::UnlockResult, _, Some(result)) => {
                *self.results.entry(result.clone()).or_default() += 1;
            }
            _ => {}
        }
    }
}

/// Counted here, published once a second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) udp_received: u64,
    pub(super) udp_sent: u64,
    pub(super) udp_dropped: u64,
    pub(super) stun_answered: u64,
    pub(super) send_failed: u64,
    pub(super) behind_dropped: u64,
    pub(super) drives_refused: u64,
    pub(super) records_failed: u64,
    pub(super) stalls: u64,
    pub(super) trace_dropped: u64,
}

impl World {
    pub(super) fn new(
        epoll: Epoll,
        udp: Vec<UdpListener>,
        streams: Streams,
        expiries: Vec<Expiry>,
        outlets: Outlets,
        sources: Sources,
    ) -> Self {
        let orders = outlets.workers.iter().map(|_| VecDeque::new()).collect();
        Self {
            epoll,
            udp,
            streams,
            expiries,
            outlets,
            sources,
            follow_ups: VecDeque::new(),
            orders,
            records: VecDeque::new(),
            under_way: 0,
            behind: VecDeque::new(),
            counters: Counters::default(),
            unlocks: Unlocks::default(),
            traffic: Traffic::new(),
            events: BTreeMap::new(),
        }
    }

    /// Does what an output says.
    pub(super) fn apply(&mut self, now: Now, output: Output) {
        match output {
            Output::Transmit { flow, bytes } => self.transmit(flow, bytes, now.mono),
            Output::Open {
                connection,
                transport,
                local,
                remote,
                name,
            } => {
                let flow = Flow {
                    transport,
                    local,
                    remote,
                    connection: Some(connection),
                };
                self.streams
                    .open(&self.epoll, flow, name.as_deref(), now.mono);
            }
            Output::Resolve(question) => self.resolve(question),
            Output::Media { worker, command } => self.order(worker, Order::Bridge(command)),
            Output::Record(record) => self.record(record),
            Output::OpenRelay(drive) => self.drive(drive),
            Output::Bindings(changes) => self.bindings(now, changes),
            Output::Cdr(cdr) => self.behind(Behind::Call(cdr)),
            Output::Story(story) => self.behind(Behind::Story(story)),
            Output::Ladder(ladder) => self.behind(Behind::Ladder(ladder)),
            Output::Heard(heard) => {
                if self.outlets.heard.try_send(heard).is_err() {
                    self.counters.trace_dropped += 1;
                }
            }
            Output::Notice(notice) => super::notice::tell(&notice),
            Output::Event(event) => {
                *self.events.entry(event.kind()).or_default() += 1;
                super::notice::happened(&event);
            }
            Output::WantLeases(want) => {
                self.order(
                    want.worker,
                    Order::Want {
                        ipv6: want.ipv6,
                        count: want.count,
                    },
                );
            }
            Output::ReturnLease(lease) => self.order(worker_of(lease), Order::Return(lease)),
        }
    }

    fn transmit(&mut self, flow: Flow, bytes: bytes::Bytes, now: Instant) {
        let reached = match flow.transport {
            Transport::Udp => match self
                .listener(&flow)
                .map(|listener| listener.send(flow.remote, &bytes))
            {
                Some(Sent::Yes) => {
                    self.counters.udp_sent += 1;
                    true
                }
                Some(Sent::Dropped) => {
                    self.counters.udp_dropped += 1;
                    true
                }
                Some(Sent::Failed) | None => false,
            },
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                self.streams.send(&self.epoll, flow, bytes.clone(), now)
            }
        };
        if reached {
            let known = self.sources.knows(flow.remote.ip());
            self.traffic.sent(flow.transport, known);
        } else {
            self.counters.send_failed += 1;
            self.follow_ups
                .push_back(Input::TransportFailed { flow, bytes });
        }
    }

    fn resolve(&mut self, question: Question) {
        let question = match self.outlets.questions.try_send(question) {
            Ok(()) => return,
            Err(TrySendError::Full(question) | TrySendError::Closed(question)) => question,
        };
        let answer = Answer::Failed;
        self.follow_ups
            .push_back(Input::Resolved { question, answer });
    }

    /// The socket the flow names, or the first that speaks the peer's address family.
    fn listener(&self, flow: &Flow) -> Option<&UdpListener> {
        self.udp
            .iter()
            .find(|listener| listener.serves(flow.local))
            .or_else(|| {
                self.udp
                    .iter()
                    .find(|listener| listener.local().is_ipv6() == flow.remote.is_ipv6())
            })
    }

    fn order(&mut self, worker: u16, order: Order) {
        let worker = usize::from(worker);
        let (Some(post), Some(kept)) = (
            self.outlets.workers.get(worker),
            self.orders.get_mut(worker),
        ) else {
            tracing::error!(worker, "an order for a media worker that does not exist");
            return;
        };
        if kept.is_empty() {
            if let Err(order) = post.try_post(order) {
                kept.push_back(order);
            }
        } else {
            kept.push_back(order);
        }
    }

    fn bindings(&mut self, now: Now, changes: Vec<BindingChange>) {
        for change in &changes {
            self.sources.follow(now.mono, change);
            if change.is_live()
                && let Some(connection) = change.binding().flow.connection
            {
                self.streams.registered(connection);
            }
        }
        self.behind(Behind::Bindings(now, changes));
    }

    fn record(&mut self, record: Record) {
        self.unlocks.count(&record.entry);
        if record.entry.kind == Kind::UnlockResult
            && let Some(latency) = record.entry.latency_ms
        {
            self.behind(Behind::Unlocked(Duration::from_millis(latency)));
        }
        self.records.push_back(record);
        self.flush_records();
    }

    fn flush_records(&mut self) {
        while self.under_way < COMMITS
            && let Some(record) = self.records.pop_front()
        {
            match self.outlets.audit.try_submit(record) {
                Ok(()) => self.under_way += 1,
                Err(record) => {
                    self.records.push_front(record);
                    return;
                }
            }
        }
    }

    fn drive(&mut self, drive: Drive) {
        if let Err(error) = self.outlets.drives.try_send(drive) {
            let drive = error.into_inner();
            self.counters.drives_refused += 1;
            self.follow_ups.push_back(Input::RelayDone {
                intent: drive.intent,
                attempt: drive.attempt,
                outcome: Outcome::Refused("too many relays are being driven".to_owned()),
            });
        }
    }

    fn behind(&mut self, item: Behind) {
        if self.behind.len() >= BEHIND {
            self.behind.pop_front();
            self.counters.behind_dropped += 1;
        }
        self.behind.push_back(item);
        self.flush_behind();
    }

    fn flush_behind(&mut self) {
        while let Ok(permit) = self.outlets.behind.try_reserve() {
            let Some(item) = self.behind.pop_front() else {
                return;
            };
            permit.send(item);
        }
    }

    /// Hands on what had to wait. Once per turn.
    pub(super) fn flush(&mut self) {
        for (post, kept) in self.outlets.workers.iter().zip(&mut self.orders) {
            while let Some(order) = kept.pop_front() {
                if let Err(order) = post.try_post(order) {
                    kept.push_front(order);
                    break;
                }
            }
        }
        self.flush_records();
        self.flush_behind();
    }

    /// Something waits that will be taken soon: look again shortly.
    pub(super) fn waits(&self) -> bool {
        !self.records.is_empty()
            || !self.behind.is_empty()
            || self.orders.iter().any(|kept| !kept.is_empty())
    }

    /// So much waits that no further SIP may be taken in.
    pub(super) fn stalled(&self) -> bool {
        self.records.len() >= STALL || self.orders.iter().any(|kept| kept.len() >= STALL)
    }
}

/// Leases carry their worker in the upper sixteen bits (see `media::leases`).
fn worker_of(lease: LeaseId) -> u16 {
    (lease.0 >> 48) as u16
}
