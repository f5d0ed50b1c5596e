//! The client side: requests out, responses in, CANCEL and ACK.

use std::fmt::Write as _;
use std::time::Instant;

use bytes::Bytes;
use smallvec::SmallVec;

use super::interface::{ClientTx, ForwardRequest, Output};
use super::large::Datagram;
use super::slab::Slot;
use super::{Endpoint, Owner, Running, name_of};
use crate::message::{
    BRANCH_COOKIE, HeaderName, Message, Method, NameAddr, OutgoingRequest, Splice, write_request,
};
use crate::transaction::invite_client::{self, InviteClient};
use crate::transaction::non_invite_client::{self, NonInviteClient};
use crate::transaction::{Action, Actions, FailCause, Timer};
use crate::transport::{Flow, Transport};

/// Forks of one INVITE whose 2xx are remembered; the 2xx of more are dropped and counted.
const MAX_FORKS: usize = 16;

#[derive(Debug)]
enum Machine {
    Invite(InviteClient),
    NonInvite(NonInviteClient),
}

impl Machine {
    fn is_over(&self) -> bool {
        matches!(
            self,
            Self::Invite(InviteClient::Terminated) | Self::NonInvite(NonInviteClient::Terminated)
        )
    }
}

/// A CANCEL for an INVITE (9.1).
#[derive(Debug)]
enum Cancelling {
    No,
    /// Waits for a provisional.
    Held(Option<String>),
    /// Is out, with a transaction of its own.
    Sent(Slot),
}

/// What became of one fork's 2xx.
#[derive(Debug)]
struct Fork {
    tag: Box<str>,
    ack: Option<(Flow, Bytes)>,
}

/// One client transaction.
#[derive(Debug)]
pub(super) struct Client {
    tx: ClientTx,
    /// The random part of the branch.
    random: u64,
    machine: Machine,
    method: Method,
    flow: Flow,
    forwarded: bool,
    cancelling: Cancelling,
    /// This is the CANCEL of another transaction: nobody hears of it.
    is_cancel: bool,
    /// Went by TCP for its length; this is how it goes by UDP when that is refused.
    pub(super) datagram: Option<Box<Datagram>>,
    forks: SmallVec<[Fork; 1]>,
    pub(super) running: Running,
}

impl Client {
    /// Nothing came back yet.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(
            self.machine,
            Machine::Invite(InviteClient::Calling { .. })
                | Machine::NonInvite(NonInviteClient::Trying { .. })
        )
    }

    /// Made ready to begin again by another flow.
    pub(super) fn restart(&mut self, flow: Flow) {
        self.flow = flow;
        self.running = Running::default();
    }
}

/// One step's input, for either machine.
#[derive(Clone, Copy)]
enum Event<'a> {
    Provisional,
    Success,
    Failure(&'a dyn Fn() -> Bytes),
    Cancelled,
    Timer(Timer),
    TransportError,
}

impl Endpoint {
    pub(super) fn request(
        &mut self,
        now: Instant,
        tx: ClientTx,
        request: &OutgoingRequest,
        to: Flow,
    ) {
        let method = request.method.clone();
        self.begin(now, tx, method, to, false, None, |via, config| {
            write_request(request, via, name_of(config))
        });
    }

    pub(super) fn forward(
        &mut self,
        now: Instant,
        tx: ClientTx,
        request: &ForwardRequest,
        to: Flow,
    ) {
        let method = request.message.method().clone();
        self.begin(now, tx, method, to, true, request.loop_hash, |via, _| {
            splice(request, via)
        });
    }

    /// 16.11: an ACK for a 2xx passes without a transaction. Its branch still tells one hop from the next.
    pub(super) fn forward_ack(&mut self, request: &ForwardRequest, to: Flow) {
        let to = to.plain();
        let random = self.rng.next_u64();
        let via = self.via(to, format_args!("a.{random:016x}"));
        self.counters.requests_out.add(request.message.method());
        let bytes = splice(request, &via);
        self.queue.push_back(Output::Transmit { flow: to, bytes });
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the two ways a transaction begins differ in just these"
    )]
    fn begin(
        &mut self,
        now: Instant,
        tx: ClientTx,
        method: Method,
        to: Flow,
        forwarded: bool,
        loop_hash: Option<u64>,
        write: impl Fn(&str, &super::EndpointConfig) -> Bytes,
    ) {
        if matches!(method, Method::Ack | Method::Cancel) || self.by_tx.contains_key(&tx) {
            self.counters.misuse += 1;
            return;
        }
        let random = self.rng.next_u64();
        let invite = method == Method::Invite;
        let counted = method.clone();
        let Some(slot) = self.clients.insert(|_| Client {
            tx,
            random,
            machine: if invite {
                Machine::Invite(InviteClient::Terminated)
            } else {
                Machine::NonInvite(NonInviteClient::Terminated)
            },
            method,
            flow: to,
            forwarded,
            cancelling: Cancelling::No,
            is_cancel: false,
            datagram: None,
            forks: SmallVec::new(),
            running: Running::default(),
        }) else {
            self.counters.client_overflow += 1;
            self.queue.push_back(Output::Failed {
                tx,
                cause: FailCause::Transport,
            });
            return;
        };
        let (flow, bytes, datagram) = self.write_for(now, to, |endpoint, to| {
            let via = match loop_hash {
                Some(hash) => endpoint.via(
                    to,
                    format_args!("{:x}.{random:016x}.{hash:016x}", slot.place),
                ),
                None => endpoint.via(to, format_args!("{:x}.{random:016x}", slot.place)),
            };
            write(&via, &endpoint.config)
        });
        if let Some(client) = self.clients.get_mut(slot) {
            client.flow = flow;
            client.datagram = datagram;
        }
        self.counters.requests_out.add(&counted);
        self.by_tx.insert(tx, slot);
        self.start(now, slot, bytes);
    }

    pub(super) fn start(&mut self, now: Instant, slot: Slot, bytes: Bytes) {
        let Some(client) = self.clients.get_mut(slot) else {
            return;
        };
        if let Some(connection) = client.flow.connection {
            self.by_connection.insert((connection, slot));
        }
        let mut out = Actions::new(self.config.timers, client.flow.transport.is_stream());
        client.machine = match client.machine {
            Machine::Invite(_) => Machine::Invite(InviteClient::start(now, bytes, &mut out)),
            Machine::NonInvite(_) => {
                Machine::NonInvite(NonInviteClient::start(now, bytes, &mut out))
            }
        };
        self.carry_out(slot, out, None);
    }

    /// The topmost Via of a request of ours; `rport` (RFC 3581) on UDP, where the source port may be a NAT's.
    fn via(&self, to: Flow, branch: std::fmt::Arguments<'_>) -> String {
        let mut via = String::with_capacity(96);
        via.push_str("SIP/2.0/");
        via.push_str(to.transport.as_via());
        via.push(' ');
        // Writing to a String cannot fail.
        let _ = match self.config.advertise.get(&to.local) {
            Some(name) => write!(via, "{name}"),
            None => write!(via, "{}", to.local),
        };
        let _ = write!(via, ";branch={BRANCH_COOKIE}{branch}");
        if to.transport == Transport::Udp {
            via.push_str(";rport");
        }
        via
    }

    /// The transaction a message's topmost Via names, if the whole branch is ours (17.1.3).
    pub(super) fn client_of(&self, message: &Message) -> Option<Slot> {
        let via = message.top_via();
        let mut parts = via.branch()?.strip_prefix(BRANCH_COOKIE)?.split('.');
        let place = u32::from_str_radix(parts.next()?, 16).ok()?;
        let random = u64::from_str_radix(parts.next()?, 16).ok()?;
        let (slot, client) = self.clients.at(place)?;
        if client.random != random {
            return None;
        }
        if client.method == *message.method() {
            return Some(slot);
        }
        match client.cancelling {
            Cancelling::Sent(cancel) if *message.method() == Method::Cancel => Some(cancel),
            _ => None,
        }
    }

    pub(super) fn received_response(&mut self, now: Instant, message: Message, flow: Flow) {
        let status = message.status().unwrap_or_default();
        let Some(slot) = self.client_of(&message) else {
            self.counters.stray_responses += 1;
            return;
        };
        // 8.1.3.3: a second Via under ours is somebody else's, who would have been meant.
        if message.values(&HeaderName::Via).nth(1).is_some()
            && self
                .clients
                .get(slot)
                .is_some_and(|client| !client.forwarded)
        {
            self.counters.stray_responses += 1;
            return;
        }
        self.counters.responses_in.add(status);
        match status {
            100..200 => {
                self.step_client(now, slot, Event::Provisional, Some((message, flow)));
                self.release_cancel(now, slot);
            }
            200..300 => self.received_success(now, slot, message, flow),
            _ => {
                let request = self
                    .clients
                    .get(slot)
                    .and_then(|client| match &client.machine {
                        Machine::Invite(
                            InviteClient::Calling { request, .. }
                            | InviteClient::Proceeding { request },
                        ) => Some(request.clone()),
                        _ => None,
                    });
                let limits = self.config.limits.clone();
                let response = message.clone();
                let ack = || {
                    let sent = request
                        .clone()
                        .and_then(|bytes| Message::parse(bytes, &limits).ok());
                    let to = response.header(&HeaderName::To).unwrap_or_default();
                    sent.map(|sent| derived(&sent, &Method::Ack, to, None))
                        .unwrap_or_default()
                };
                self.step_client(now, slot, Event::Failure(&ack), Some((message, flow)));
            }
        }
    }

    /// A 2xx: each fork's first is delivered, a repeated one is acknowledged from memory (13.2.2.4).
    fn received_success(&mut self, now: Instant, slot: Slot, message: Message, flow: Flow) {
        let Some(client) = self.clients.get_mut(slot) else {
            return;
        };
        if let Machine::Invite(machine) = &client.machine {
            // 6026: a 2xx after a non-2xx final is no part of this transaction any more.
            if matches!(machine, InviteClient::Completed { .. }) {
                self.counters.stray_responses += 1;
                return;
            }
            let tag = message.to_tag().unwrap_or_default();
            if let Some(fork) = client.forks.iter().find(|fork| &*fork.tag == tag) {
                self.counters.retransmissions_in += 1;
                if let Some((flow, bytes)) = fork.ack.clone() {
                    self.counters.retransmissions_out += 1;
                    self.queue.push_back(Output::Transmit { flow, bytes });
                }
                if !client.forwarded {
                    return;
                }
            } else if client.forks.len() < MAX_FORKS {
                client.forks.push(Fork {
                    tag: tag.into(),
                    ack: None,
                });
            } else {
                self.counters.fork_overflow += 1;
                return;
            }
        }
        self.step_client(now, slot, Event::Success, Some((message, flow)));
    }

    pub(super) fn acknowledge(&mut self, request: &OutgoingRequest, to: Flow, invite: ClientTx) {
        let to = to.plain();
        let random = self.rng.next_u64();
        let via = self.via(to, format_args!("a.{random:016x}"));
        let bytes = write_request(request, &via, name_of(&self.config));
        let tag = NameAddr::parse(&request.to)
            .ok()
            .and_then(|to| to.tag())
            .unwrap_or_default();
        let fork = self
            .by_tx
            .get(&invite)
            .and_then(|slot| self.clients.get_mut(*slot))
            .and_then(|client| client.forks.iter_mut().find(|fork| &*fork.tag == tag));
        match fork {
            Some(fork) => fork.ack = Some((to, bytes.clone())),
            // After timer M, or in a dialog the transaction never saw: the ACK goes out, nothing is remembered.
            None => self.counters.misuse += 1,
        }
        self.counters.requests_out.add(&Method::Ack);
        self.queue.push_back(Output::Transmit { flow: to, bytes });
    }

    pub(super) fn cancel(&mut self, now: Instant, tx: ClientTx, reason: Option<String>) {
        let Some((slot, client)) = self
            .by_tx
            .get(&tx)
            .and_then(|slot| self.clients.get_mut(*slot).map(|client| (*slot, client)))
        else {
            self.counters.misuse += 1;
            return;
        };
        match (&client.machine, &client.cancelling) {
            (Machine::Invite(InviteClient::Calling { .. }), Cancelling::No) => {
                client.cancelling = Cancelling::Held(reason);
            }
            (Machine::Invite(InviteClient::Proceeding { .. }), Cancelling::No) => {
                client.cancelling = Cancelling::Held(reason);
                self.release_cancel(now, slot);
            }
            // A final came first, or it is cancelled already: the race is over, and that is no fault.
            (Machine::Invite(_), _) => {}
            (Machine::NonInvite(_), _) => self.counters.misuse += 1,
        }
    }

    /// Sends a held CANCEL once the INVITE is Proceeding.
    fn release_cancel(&mut self, now: Instant, slot: Slot) {
        let Some(client) = self.clients.get_mut(slot) else {
            return;
        };
        let Machine::Invite(InviteClient::Proceeding { request }) = &client.machine else {
            return;
        };
        let Cancelling::Held(reason) = &mut client.cancelling else {
            return;
        };
        let reason = reason.take();
        client.cancelling = Cancelling::No;
        let (tx, random, flow) = (client.tx, client.random, client.flow);
        let Ok(sent) = Message::parse(request.clone(), &self.config.limits) else {
            return;
        };
        let to = sent.header(&HeaderName::To).unwrap_or_default();
        let bytes = derived(&sent, &Method::Cancel, to, reason.as_deref());
        let cancel = self.clients.insert(|_| Client {
            tx,
            random,
            machine: Machine::NonInvite(NonInviteClient::Terminated),
            method: Method::Cancel,
            flow,
            forwarded: false,
            cancelling: Cancelling::No,
            is_cancel: true,
            datagram: None,
            forks: SmallVec::new(),
            running: Running::default(),
        });
        self.counters.requests_out.add(&Method::Cancel);
        match cancel {
            Some(cancel) => {
                if let Some(client) = self.clients.get_mut(slot) {
                    client.cancelling = Cancelling::Sent(cancel);
                }
                self.start(now, cancel, bytes);
            }
            // A full table must not keep a phone ringing: the CANCEL goes out once, unrepeated.
            None => {
                self.counters.client_overflow += 1;
                self.queue.push_back(Output::Transmit { flow, bytes });
            }
        }
        self.step_client(now, slot, Event::Cancelled, None);
    }

    pub(super) fn client_timer(&mut self, now: Instant, slot: Slot, timer: Timer) {
        self.step_client(now, slot, Event::Timer(timer), None);
    }

    pub(super) fn client_unreachable(&mut self, now: Instant, slot: Slot) {
        if let Some(client) = self.clients.get_mut(slot)
            && let Some(connection) = client.flow.connection.take()
        {
            self.by_connection.remove(&(connection, slot));
        }
        if self.fall_back(now, slot) {
            return;
        }
        self.step_client(now, slot, Event::TransportError, None);
    }

    fn step_client(
        &mut self,
        now: Instant,
        slot: Slot,
        event: Event<'_>,
        message: Option<(Message, Flow)>,
    ) {
        let Some(client) = self.clients.get_mut(slot) else {
            return;
        };
        let mut out = Actions::new(self.config.timers, client.flow.transport.is_stream());
        let over = Machine::NonInvite(NonInviteClient::Terminated);
        let before = std::mem::replace(&mut client.machine, over);
        client.machine = match before {
            Machine::Invite(machine) => {
                use invite_client::Input;
                let input = match event {
                    Event::Provisional => Input::Provisional,
                    Event::Success => Input::Success,
                    Event::Failure(ack) => Input::Failure(ack),
                    Event::Cancelled => Input::Cancelled,
                    Event::Timer(timer) => Input::Timer(timer),
                    Event::TransportError => Input::TransportError,
                };
                Machine::Invite(machine.handle(now, input, &mut out))
            }
            Machine::NonInvite(machine) => {
                use non_invite_client::Input;
                let input = match event {
                    Event::Provisional => Some(Input::Provisional),
                    Event::Success | Event::Failure(_) => Some(Input::Final),
                    Event::Timer(timer) => Some(Input::Timer(timer)),
                    Event::TransportError => Some(Input::TransportError),
                    Event::Cancelled => None,
                };
                Machine::NonInvite(match input {
                    Some(input) => machine.handle(now, input, &mut out),
                    None => machine,
                })
            }
        };
        self.carry_out(slot, out, message);
    }

    fn carry_out(&mut self, slot: Slot, mut out: Actions, message: Option<(Message, Flow)>) {
        let Some(client) = self.clients.get_mut(slot) else {
            return;
        };
        let mut received = message;
        let had_message = received.is_some();
        for action in out.drain() {
            match action {
                Action::Transmit(bytes) => self.queue.push_back(Output::Transmit {
                    flow: client.flow,
                    bytes,
                }),
                Action::Retransmit(bytes) => {
                    self.counters.retransmissions_out += 1;
                    self.queue.push_back(Output::Transmit {
                        flow: client.flow,
                        bytes,
                    });
                }
                Action::Start(timer, at) => {
                    client.running.start(timer, at);
                    self.deadlines.push(at, Owner::Client(slot), timer);
                }
                Action::Stop(timer) => client.running.stop(timer),
                Action::Deliver => {
                    if let Some((message, flow)) = received.take()
                        && !client.is_cancel
                    {
                        self.queue.push_back(Output::Response {
                            tx: client.tx,
                            message,
                            flow,
                        });
                    }
                }
                Action::Fail(cause) => {
                    if !client.is_cancel {
                        match cause {
                            FailCause::Timeout => self.counters.timeouts += 1,
                            FailCause::Transport => self.counters.transport_failures += 1,
                        }
                        self.queue.push_back(Output::Failed {
                            tx: client.tx,
                            cause,
                        });
                    }
                }
                Action::Trying => {}
            }
        }
        if had_message && received.is_some() {
            self.counters.retransmissions_in += 1;
        }
        if client.machine.is_over() {
            self.remove_client(slot);
        }
    }

    fn remove_client(&mut self, slot: Slot) {
        let Some(client) = self.clients.remove(slot) else {
            return;
        };
        if let Some(connection) = client.flow.connection {
            self.by_connection.remove(&(connection, slot));
        }
        if !client.is_cancel {
            self.by_tx.remove(&client.tx);
        }
        // Without its INVITE a CANCEL's answers cannot be placed; on a stream it needs no repeating either.
        if let Cancelling::Sent(cancel) = client.cancelling {
            self.remove_client(cancel);
        }
    }
}

/// A forwarded request with its edits done, our Via on top (16.6).
fn splice(request: &ForwardRequest, via: &str) -> Bytes {
    let mut splice = Splice::new(&request.message)
        .stamp_via(request.from.remote)
        .max_forwards(request.max_forwards);
    if let Some(uri) = &request.uri {
        splice = splice.uri(uri.as_str());
    }
    if let Some(breadth) = request.max_breadth {
        splice = splice.set(HeaderName::MaxBreadth, breadth.to_string());
    }
    if let Some(routes) = &request.routes {
        splice = splice.remove(&HeaderName::Route);
        for route in routes.iter().rev() {
            splice = splice.push_route(route.as_str());
        }
    } else {
        for _ in 0..request.pop_routes {
            splice = splice.pop_route();
        }
        for route in request.push_routes.iter().rev() {
            splice = splice.push_route(route.as_str());
        }
    }
    for route in request.record_routes.iter().rev() {
        splice = splice.push_record_route(route.as_str());
    }
    splice.push_via(via).finish()
}

/// The ACK for a non-2xx (17.1.1.3) or the CANCEL (9.1) that goes with a request of ours: its Request-URI, topmost
/// Via, Route, From, Call-ID and CSeq number.
fn derived(sent: &Message, method: &Method, to: &str, reason: Option<&str>) -> Bytes {
    let request = OutgoingRequest {
        method: method.clone(),
        uri: sent.uri().to_owned(),
        from: sent
            .header(&HeaderName::From)
            .unwrap_or_default()
            .to_owned(),
        to: to.to_owned(),
        call_id: sent.call_id().to_owned(),
        cseq: sent.cseq(),
        max_forwards: 70,
        route: sent
            .headers(&HeaderName::Route)
            .map(str::to_owned)
            .collect(),
        contact: None,
        headers: reason
            .map(|reason| (HeaderName::Reason, reason.to_owned()))
            .into_iter()
            .collect(),
        body: None,
    };
    let via = sent.values(&HeaderName::Via).next().unwrap_or_default();
    write_request(&request, via, None)
}
