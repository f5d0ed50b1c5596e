//! The server side: requests in, responses out, CANCEL, ACK, merged requests.

use std::time::Instant;

use bytes::Bytes;

use super::interface::{Output, ServerTx};
use super::slab::Slot;
use super::success::{Step, Success};
use super::{Endpoint, Owner, RETRY_AFTER, Running, name_of, reply_flow, tag};
use crate::message::{HeaderName, Message, Method, OutgoingResponse, Splice, write_response};
use crate::transaction::invite_server::{self, InviteServer};
use crate::transaction::key::Key;
use crate::transaction::non_invite_server::{self, NonInviteServer};
use crate::transaction::{Action, Actions, Timer};
use crate::transport::Flow;

#[derive(Debug)]
enum Machine {
    Invite(InviteServer),
    NonInvite(NonInviteServer),
}

impl Machine {
    fn is_over(&self) -> bool {
        matches!(
            self,
            Self::Invite(InviteServer::Terminated) | Self::NonInvite(NonInviteServer::Terminated)
        )
    }

    /// Whether the transaction user still owes a final response.
    fn is_open(&self) -> bool {
        matches!(
            self,
            Self::Invite(InviteServer::Proceeding { .. })
                | Self::NonInvite(NonInviteServer::Trying | NonInviteServer::Proceeding { .. })
        )
    }
}

/// One server transaction.
#[derive(Debug)]
pub(super) struct Server {
    key: Key,
    merge: Option<Key>,
    acknowledgement: Option<Key>,
    machine: Machine,
    /// Kept until the final response is written.
    request: Option<Message>,
    source: Flow,
    reply: Flow,
    /// Our To tag where the transaction user gives none.
    random: u64,
    /// The To tag last written, when the transaction user gave it.
    tag: Option<Box<str>>,
    cancelled: bool,
    /// Whether the same request may come up a second time, should this be forgotten before timer J
    /// ([`super::EndpointConfig::max_completed`] says why).
    repeatable: bool,
    success: Option<Success>,
    pub(super) running: Running,
}

impl Server {
    fn local_tag(&self) -> String {
        self.tag
            .as_deref()
            .map_or_else(|| tag(self.random), str::to_owned)
    }

    /// Whether this answer leaves no transaction behind (8.2.7). A 481 says that we hold nothing the request speaks of.
    /// Any other refusal of an INVITE within a dialog is kept: the To tag is the dialog's there, and the ACK could not be
    /// told from one to a 2xx.
    fn may_be_forgotten(&self, request: &Message, response: &OutgoingResponse) -> bool {
        let status = response.status;
        let asked = response.stateless || matches!(status, 401 | 407 | 481);
        asked
            && match &self.machine {
                Machine::Invite(InviteServer::Proceeding { last: None }) => {
                    status >= 300 && (status == 481 || request.to_tag().is_none())
                }
                Machine::Invite(_) => false,
                Machine::NonInvite(_) => status >= 200,
            }
    }
}

/// One step's input, for either machine.
enum Event {
    Repeated,
    Provisional(Bytes),
    Success(Bytes),
    Failure(Bytes),
    GivenUp,
    Ack,
    Timer(Timer),
    TransportError,
}

impl Endpoint {
    pub(super) fn received_request(&mut self, now: Instant, message: Message, flow: Flow) {
        match message.method() {
            Method::Ack => self.received_ack(now, message, flow),
            Method::Cancel => self.received_cancel(message, flow),
            method => {
                let invite = *method == Method::Invite;
                let key = self.keys.server(&message, false);
                if let Some(slot) = self.by_key.get(&key).copied() {
                    self.counters.retransmissions_in += 1;
                    self.step_server(now, slot, Event::Repeated, None);
                } else {
                    self.begin_server(now, key, invite, message, flow);
                }
            }
        }
    }

    /// What is too much is refused before it costs anything (8.2.7). A repetition of a request that is served is no new
    /// one, and a client that hears 503 for it would give up a call that rings.
    pub(super) fn refuse(&mut self, now: Instant, flow: Flow, bytes: Bytes, retry_after: u32) {
        let message = match Message::parse(bytes.clone(), &self.config.limits) {
            Ok(message) if message.is_request() => message,
            Ok(_) | Err(_) => return self.received(now, flow, bytes),
        };
        let known = matches!(message.method(), Method::Ack | Method::Cancel)
            || self.by_key.contains_key(&self.keys.server(&message, false));
        if known {
            return self.received_request(now, message, flow);
        }
        self.counters.refused += 1;
        let reply = reply_flow(flow, message.top_via().response_target(flow.remote));
        let response =
            OutgoingResponse::new(503).with_header(HeaderName::RetryAfter, retry_after.to_string());
        self.answer_statelessly(&message, response, flow.remote, reply);
    }

    fn begin_server(&mut self, now: Instant, key: Key, invite: bool, message: Message, flow: Flow) {
        let reply = reply_flow(flow, message.top_via().response_target(flow.remote));
        let merge = message
            .to_tag()
            .is_none()
            .then(|| self.keys.merged(&message));
        if self.config.reject_merged
            && merge.is_some_and(|merge| self.by_merge.contains_key(&merge))
        {
            self.counters.merged += 1;
            return self.answer_statelessly(
                &message,
                OutgoingResponse::new(482),
                flow.remote,
                reply,
            );
        }
        if self.servers.is_full() && !self.make_room() {
            self.counters.server_overflow += 1;
            let response =
                OutgoingResponse::new(503).with_header(HeaderName::RetryAfter, RETRY_AFTER);
            return self.answer_statelessly(&message, response, flow.remote, reply);
        }
        self.counters.requests_in.add(message.method());
        let mut out = Actions::new(self.config.timers, flow.transport.is_stream());
        let machine = if invite {
            Machine::Invite(InviteServer::start(now, &mut out))
        } else {
            Machine::NonInvite(NonInviteServer::start(now, &mut out))
        };
        let random = self.rng.next_u64();
        let repeatable = matches!(message.method(), Method::Register | Method::Options)
            || message.to_tag().is_some();
        let request = Some(message.clone());
        let Some(slot) = self.servers.insert(|_| Server {
            key,
            merge,
            acknowledgement: None,
            machine,
            request,
            source: flow,
            reply,
            random,
            tag: None,
            cancelled: false,
            repeatable,
            success: None,
            running: Running::default(),
        }) else {
            return;
        };
        self.by_key.insert(key, slot);
        if let Some(merge) = merge {
            self.by_merge.insert(merge, slot);
        }
        self.carry_out_server(now, slot, out, Some((message, flow)));
    }

    fn received_ack(&mut self, now: Instant, message: Message, flow: Flow) {
        let key = self.keys.server(&message, true);
        if let Some(slot) = self.by_key.get(&key).copied() {
            let accepted = self.servers.get(slot).is_some_and(|server| {
                matches!(server.machine, Machine::Invite(InviteServer::Accepted))
            });
            if !accepted {
                return self.step_server(now, slot, Event::Ack, None);
            }
            // Some devices put their INVITE's branch on the ACK to a 2xx as well: it still reaches the user, if it is of
            // the dialog. Another one must not end the wait for the right one.
            let ours = self.keys.acknowledged(&message, message.to_tag());
            let wanted = self
                .servers
                .get(slot)
                .and_then(|server| server.acknowledgement);
            if wanted.is_none_or(|wanted| wanted == ours) {
                return self.acknowledged(slot, message, flow);
            }
            self.counters.stray_acks += 1;
            return;
        }
        let key = self.keys.acknowledged(&message, message.to_tag());
        if let Some(slot) = self.by_acknowledgement.get(&key).copied() {
            return self.acknowledged(slot, message, flow);
        }
        if message.to_tag() == Some(tag(self.keys.stateless_tag(&message)).as_str()) {
            self.counters.stateless_acks += 1;
            return;
        }
        self.counters.stray_acks += 1;
        self.queue.push_back(Output::Ack {
            tx: None,
            message,
            flow,
        });
    }

    /// An ACK for a 2xx (13.3.1.4).
    fn acknowledged(&mut self, slot: Slot, message: Message, flow: Flow) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        let Some(success) = server.success.take() else {
            // The 2xx came through a proxy core: its ACK passes on.
            self.queue.push_back(Output::Ack {
                tx: None,
                message,
                flow,
            });
            return;
        };
        let (success, step) = success.acknowledged();
        server.success = Some(success);
        if step == Step::Deliver {
            server.running.stop(Timer::G);
            server.running.stop(Timer::H);
            self.counters.requests_in.add(&Method::Ack);
            self.queue.push_back(Output::Ack {
                tx: Some(ServerTx(slot.number())),
                message,
                flow,
            });
        } else {
            self.counters.retransmissions_in += 1;
        }
    }

    /// 9.2. Answered without a transaction: a repeated CANCEL gets the same answer and tells the user nothing new.
    fn received_cancel(&mut self, message: Message, flow: Flow) {
        self.counters.requests_in.add(&Method::Cancel);
        let reply = reply_flow(flow, message.top_via().response_target(flow.remote));
        let key = self.keys.server(&message, true);
        let found = self
            .by_key
            .get(&key)
            .copied()
            .and_then(|slot| self.servers.get_mut(slot).map(|server| (slot, server)));
        let Some((slot, server)) = found else {
            self.counters.stray_cancels += 1;
            return self.answer_statelessly(
                &message,
                OutgoingResponse::new(481),
                flow.remote,
                reply,
            );
        };
        let response = OutgoingResponse::new(200).with_to_tag(server.local_tag());
        let pending = matches!(
            server.machine,
            Machine::Invite(InviteServer::Proceeding { .. })
        ) && !server.cancelled;
        server.cancelled = true;
        self.answer_statelessly(&message, response, flow.remote, reply);
        if pending {
            self.queue.push_back(Output::Cancelled {
                tx: ServerTx(slot.number()),
                cancel: message,
            });
        }
    }

    pub(super) fn respond(&mut self, now: Instant, tx: ServerTx, mut response: OutgoingResponse) {
        let slot = Slot::from_number(tx.0);
        let Some(server) = self
            .servers
            .get_mut(slot)
            .filter(|server| server.machine.is_open())
        else {
            self.counters.misuse += 1;
            return;
        };
        let Some(request) = server.request.clone() else {
            return;
        };
        let status = response.status;
        let stateless = server.may_be_forgotten(&request, &response);
        if stateless {
            response.to_tag = Some(tag(self.keys.stateless_tag(&request)));
        }
        match (&response.to_tag, status) {
            (Some(given), _) => server.tag = Some(given.as_str().into()),
            (None, 100) => {}
            (None, _) => response.to_tag = Some(server.local_tag()),
        }
        let source = server.source.remote;
        let reply = server.reply;
        let invite = matches!(server.machine, Machine::Invite(_));
        if !invite && (status == 408 || (status < 200 && status != 100)) {
            return self.withhold(now, slot, status);
        }
        // 4320 section 4.1: by UDP the 100 is the transaction's own, once timer E says so.
        if !invite && status == 100 && !server.source.transport.is_stream() {
            return;
        }
        let bytes = write_response(&response, &request, source, name_of(&self.config));
        if invite && (200..300).contains(&status) {
            self.await_ack(
                now,
                slot,
                &request,
                response.to_tag.as_deref(),
                bytes.clone(),
            );
        }
        if stateless {
            self.counters.responses_out.add(status);
            let flow = reply;
            self.queue.push_back(Output::Transmit { flow, bytes });
            return self.remove_server(slot);
        }
        self.send(now, slot, status, bytes);
    }

    /// RFC 4320: no 408 and no provisional but 100 ever answers a non-INVITE.
    fn withhold(&mut self, now: Instant, slot: Slot, status: u16) {
        if status >= 200 {
            self.step_server(now, slot, Event::GivenUp, None);
        }
    }

    /// Repeats a 2xx until its ACK (13.3.1.4).
    fn await_ack(
        &mut self,
        now: Instant,
        slot: Slot,
        request: &Message,
        local_tag: Option<&str>,
        bytes: Bytes,
    ) {
        let timers = self.config.timers;
        let key = self
            .keys
            .acknowledged(request, request.to_tag().or(local_tag));
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        server.success = Some(Success::start(bytes, &timers));
        server.acknowledgement = Some(key);
        self.by_acknowledgement.insert(key, slot);
        for (timer, after) in [(Timer::G, timers.t1), (Timer::H, timers.sixty_four_t1())] {
            server.running.start(timer, now + after);
            self.deadlines.push(now + after, Owner::Server(slot), timer);
        }
    }

    pub(super) fn forward_response(
        &mut self,
        now: Instant,
        tx: ServerTx,
        response: &Message,
        add: Vec<(HeaderName, String)>,
    ) {
        let slot = Slot::from_number(tx.0);
        let status = response.status().unwrap_or_default();
        let Some(server) = self.servers.get(slot) else {
            self.counters.misuse += 1;
            return;
        };
        let invite = matches!(server.machine, Machine::Invite(_));
        let repeated_success = (200..300).contains(&status)
            && matches!(server.machine, Machine::Invite(InviteServer::Accepted));
        if !server.machine.is_open() && !repeated_success {
            self.counters.misuse += 1;
            return;
        }
        if !invite && (status == 408 || status < 200) {
            return self.withhold(now, slot, status);
        }
        let mut splice = Splice::new(response).pop_via();
        for (name, value) in add {
            splice = splice.add(name, value);
        }
        let bytes = splice.finish();
        self.send(now, slot, status, bytes);
    }

    fn send(&mut self, now: Instant, slot: Slot, status: u16, bytes: Bytes) {
        self.counters.responses_out.add(status);
        // What stays for 32 s stays in its own size, not in the writer's buffer.
        let bytes = if status >= 200 {
            Bytes::copy_from_slice(&bytes)
        } else {
            bytes
        };
        let event = match status {
            ..200 => Event::Provisional(bytes),
            200..300 => Event::Success(bytes),
            _ => Event::Failure(bytes),
        };
        if status >= 200
            && let Some(server) = self.servers.get_mut(slot)
        {
            server.request = None;
        }
        self.step_server(now, slot, event, None);
        if status >= 200 {
            self.note_completed(slot, status);
        }
    }

    /// Notes a completed non-INVITE transaction as one that may go; over the bound the oldest does.
    fn note_completed(&mut self, slot: Slot, status: u16) {
        let may_go = self.servers.get(slot).is_some_and(|server| {
            let completed = matches!(
                server.machine,
                Machine::NonInvite(NonInviteServer::Completed { .. })
            );
            completed && (server.repeatable || status >= 300)
        });
        if !may_go {
            return;
        }
        let Self {
            completed, servers, ..
        } = self;
        let oldest = completed.push(slot, self.config.max_completed, |slot| {
            servers.get(slot).is_some()
        });
        if let Some(oldest) = oldest {
            self.counters.evicted += 1;
            self.remove_server(oldest);
        }
    }

    /// A new request is worth more than the repetition of an answered one.
    fn make_room(&mut self) -> bool {
        let Self {
            completed, servers, ..
        } = self;
        let Some(oldest) = completed.pop(|slot| servers.get(slot).is_some()) else {
            return false;
        };
        self.counters.evicted += 1;
        self.remove_server(oldest);
        true
    }

    pub(super) fn server_timer(&mut self, now: Instant, slot: Slot, timer: Timer) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        let accepted = matches!(server.machine, Machine::Invite(InviteServer::Accepted));
        let Some(success) = server
            .success
            .take()
            .filter(|_| accepted && matches!(timer, Timer::G | Timer::H))
        else {
            return self.step_server(now, slot, Event::Timer(timer), None);
        };
        let (success, step) = success.timer(now, timer, &self.config.timers);
        server.success = Some(success);
        match step {
            Step::Retransmit(bytes, at) => {
                server.running.start(Timer::G, at);
                self.deadlines.push(at, Owner::Server(slot), Timer::G);
                self.counters.retransmissions_out += 1;
                self.queue.push_back(Output::Transmit {
                    flow: server.reply,
                    bytes,
                });
            }
            Step::AckMissing => {
                server.running.stop(Timer::G);
                self.queue.push_back(Output::AckMissing {
                    tx: ServerTx(slot.number()),
                });
            }
            Step::Deliver | Step::Absorb => {}
        }
    }

    /// A response of ours could not be sent: it has the Via of the request, and so its key.
    pub(super) fn server_unreachable(&mut self, now: Instant, response: &Message) {
        let key = self.keys.server(response, false);
        if let Some(slot) = self.by_key.get(&key).copied() {
            self.step_server(now, slot, Event::TransportError, None);
        }
    }

    fn step_server(
        &mut self,
        now: Instant,
        slot: Slot,
        event: Event,
        message: Option<(Message, Flow)>,
    ) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        let mut out = Actions::new(self.config.timers, server.source.transport.is_stream());
        let over = Machine::NonInvite(NonInviteServer::Terminated);
        server.machine = match std::mem::replace(&mut server.machine, over) {
            Machine::Invite(machine) => {
                use invite_server::Input;
                let input = match event {
                    Event::Repeated => Some(Input::Invite),
                    Event::Provisional(bytes) => Some(Input::Provisional(bytes)),
                    Event::Success(bytes) => Some(Input::Success(bytes)),
                    Event::Failure(bytes) => Some(Input::Failure(bytes)),
                    Event::Ack => Some(Input::Ack),
                    Event::Timer(timer) => Some(Input::Timer(timer)),
                    Event::TransportError => Some(Input::TransportError),
                    Event::GivenUp => None,
                };
                Machine::Invite(match input {
                    Some(input) => machine.handle(now, input, &mut out),
                    None => machine,
                })
            }
            Machine::NonInvite(machine) => {
                use non_invite_server::Input;
                let input = match event {
                    Event::Repeated => Some(Input::Request),
                    Event::Provisional(bytes) => Some(Input::Provisional(bytes)),
                    Event::Success(bytes) | Event::Failure(bytes) => Some(Input::Final(bytes)),
                    Event::GivenUp => Some(Input::GivenUp),
                    Event::Timer(timer) => Some(Input::Timer(timer)),
                    Event::TransportError => Some(Input::TransportError),
                    Event::Ack => None,
                };
                Machine::NonInvite(match input {
                    Some(input) => machine.handle(now, input, &mut out),
                    None => machine,
                })
            }
        };
        self.carry_out_server(now, slot, out, message);
    }

    fn carry_out_server(
        &mut self,
        now: Instant,
        slot: Slot,
        mut out: Actions,
        mut received: Option<(Message, Flow)>,
    ) {
        let Some(server) = self.servers.get_mut(slot) else {
            return;
        };
        let mut trying = false;
        for action in out.drain() {
            match action {
                Action::Transmit(bytes) => self.queue.push_back(Output::Transmit {
                    flow: server.reply,
                    bytes,
                }),
                Action::Retransmit(bytes) => {
                    self.counters.retransmissions_out += 1;
                    self.queue.push_back(Output::Transmit {
                        flow: server.reply,
                        bytes,
                    });
                }
                Action::Start(timer, at) => {
                    server.running.start(timer, at);
                    self.deadlines.push(at, Owner::Server(slot), timer);
                }
                Action::Stop(timer) => server.running.stop(timer),
                Action::Deliver => {
                    if let Some((message, flow)) = received.take() {
                        self.queue.push_back(Output::Request {
                            tx: ServerTx(slot.number()),
                            message,
                            flow,
                        });
                    }
                }
                // A user agent server hears of a lost final response by AckMissing or not at all.
                Action::Fail(crate::transaction::FailCause::Timeout) => self.counters.timeouts += 1,
                Action::Fail(crate::transaction::FailCause::Transport) => {
                    self.counters.transport_failures += 1;
                }
                Action::Trying => trying = true,
            }
        }
        if server.machine.is_over() {
            return self.remove_server(slot);
        }
        if trying && let Some(request) = server.request.clone() {
            let bytes = write_response(
                &OutgoingResponse::new(100),
                &request,
                server.source.remote,
                None,
            );
            self.send(now, slot, 100, bytes);
        }
    }

    fn remove_server(&mut self, slot: Slot) {
        let Some(server) = self.servers.remove(slot) else {
            return;
        };
        self.by_key.remove(&server.key);
        if let Some(merge) = server.merge
            && self.by_merge.get(&merge) == Some(&slot)
        {
            self.by_merge.remove(&merge);
        }
        if let Some(key) = server.acknowledgement
            && self.by_acknowledgement.get(&key) == Some(&slot)
        {
            self.by_acknowledgement.remove(&key);
        }
    }
}
