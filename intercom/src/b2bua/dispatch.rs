//! What comes out of the transaction layer: to its call, to the registrar, or answered here.

use dialplan::{CallFacts, Priority};
use sip_proxy::uri::Scheme;
use sip_proxy::{Flow, HeaderName, Message, Method, OutgoingResponse, ServerTx};

use super::gruu::Dialled;
use super::proxying::Outset;
use super::{B2bua, Output, inspection};
use crate::Now;
use crate::buzz;
use crate::call::{ALLOW, Arrival, Call, CallInput, Cause, Party, parse_tag};
use crate::site::Site;
use crate::transactions::{Owner, owner};

impl B2bua {
    pub(super) fn transaction_output(&mut self, now: Now, output: sip_proxy::Output) {
        match output {
            sip_proxy::Output::Transmit { flow, bytes } => {
                if self.is_overdue(now, &bytes) {
                    return;
                }
                self.hear(now, true, &flow, &bytes);
                self.queue.push_back(Output::Transmit { flow, bytes });
            }
            sip_proxy::Output::Request { tx, message, flow } => {
                self.request(now, tx, message, flow);
            }
            sip_proxy::Output::Cancelled { tx, cancel } => {
                if let Some(number) = self.invites.get(&tx).copied() {
                    let cause = Cause::of(&cancel);
                    self.run(now, number, CallInput::Cancelled(cause));
                } else if self.proxying.holds(tx) {
                    self.proxy_cancelled(now, tx);
                } else {
                    // A buzz INVITE: it makes no call, and what it asked for may be under way already.
                    self.forget_buzz(tx);
                    self.answer(tx, OutgoingResponse::new(487));
                }
            }
            sip_proxy::Output::Ack { tx, message, flow } => self.ack(now, tx, message, &flow),
            sip_proxy::Output::AckMissing { tx } => self.ack_missing(now, tx),
            sip_proxy::Output::Response { tx, message, flow } => match owner(tx) {
                Some(Owner::Call(number)) => {
                    let number = self.moved.call_of(tx, number);
                    let message = session_part(message);
                    self.run(now, number, CallInput::Response { tx, message, flow });
                }
                Some(Owner::Station) => self.station_answered(now, tx, &message, &flow),
                Some(Owner::Notify) => self.notify_answered(now, tx, &message),
                Some(Owner::Qualify) => {
                    self.qualify_answered(now, tx, message.status().unwrap_or(0));
                }
                Some(Owner::Proxy) => self.proxy_response(now, tx, message, flow),
                None => {}
            },
            sip_proxy::Output::Failed { tx, cause } => match owner(tx) {
                Some(Owner::Call(number)) => {
                    let number = self.moved.call_of(tx, number);
                    self.run(now, number, CallInput::Failed { tx, cause });
                }
                Some(Owner::Station) => self.station_failed(now, tx),
                Some(Owner::Notify) => self.notify_failed(now, tx),
                Some(Owner::Qualify) => self.qualify_failed(now, tx),
                Some(Owner::Proxy) => self.proxy_failed(now, tx, cause),
                None => {}
            },
        }
    }

    /// ACK to a 2xx of ours. It must be of the dialog, and one that bears the answer, which says where the sound goes,
    /// must come from where the dialog's requests come from: nobody can be asked to log in for an ACK.
    fn ack(&mut self, now: Now, tx: Option<ServerTx>, message: Message, flow: &Flow) {
        if let Some(tx) = tx
            && self.end_buzz_dialog(tx)
        {
            return;
        }
        if self.proxying.knows(&message) {
            self.proxy_ack(now, &message, *flow);
            return;
        }
        let Some((number, index)) = message.to_tag().and_then(parse_tag) else {
            self.proxy_ack(now, &message, *flow);
            return;
        };
        let (number, index) = self.moved.place(number, index);
        let known = self.calls.get(&number).and_then(|call| call.peek(index));
        let genuine = known.is_some_and(|leg| {
            let answers = leg.unacked.is_some_and(|(_, wants_answer)| wants_answer);
            let ours = leg
                .dialog
                .as_ref()
                .is_some_and(|dialog| dialog.matches(&message));
            ours && (!answers || leg.flow.remote.ip() == flow.remote.ip())
        });
        if genuine {
            let message = session_part(message);
            return self.run(now, number, CallInput::Ack { index, message });
        }
        self.counters.unknown_dialog += 1;
        if let Some(tx) = tx {
            // The transaction waits for no other ACK now: without an answer that can be trusted the call ends.
            self.run(now, number, CallInput::AckMissing { tx });
        }
    }

    fn ack_missing(&mut self, now: Now, tx: ServerTx) {
        if self.end_buzz_dialog(tx) {
            return;
        }
        let waiting = self
            .calls
            .iter()
            .find(|(_, call)| call.awaits_ack(tx))
            .map(|(number, _)| *number);
        if let Some(number) = waiting {
            self.run(now, number, CallInput::AckMissing { tx });
        }
    }

    fn request(&mut self, now: Now, tx: ServerTx, message: Message, flow: Flow) {
        if self.proxying.knows(&message)
            && message.to_tag().is_some_and(|tag| !tag.is_empty())
            && self.proxy_within(now, tx, &message, flow)
        {
            return;
        }
        if let Some(refusal) = inspection::refusal(&self.capabilities, &message) {
            self.counters.not_served += 1;
            return self.answer(tx, refusal);
        }
        if message.to_tag().is_some_and(|tag| !tag.is_empty()) {
            return self.in_dialog(now, tx, message, flow);
        }
        match message.method() {
            Method::Register => self.register(now, tx, &message, flow),
            Method::Invite => self.invite(now, tx, message, flow),
            Method::Message => self.message(now, tx, &message, flow),
            // A transfer is of a call: nobody is made to call somebody out of the blue.
            Method::Refer => self.answer(tx, OutgoingResponse::new(403)),
            Method::Options => self.options(tx),
            Method::Subscribe => self.subscribe(now, tx, &message, flow),
            Method::Publish => self.publish(now, tx, &message, flow),
            Method::Bye | Method::Info | Method::Update | Method::Prack => {
                self.counters.unknown_dialog += 1;
                self.answer(tx, OutgoingResponse::new(481));
            }
            method => {
                self.counters.not_served += 1;
                // 8.2.1: 405 for a method that could be allowed elsewhere, 501 for one nobody here knows.
                let status = if method.is_known() { 405 } else { 501 };
                self.answer(
                    tx,
                    OutgoingResponse::new(status).with_header(HeaderName::Allow, ALLOW),
                );
            }
        }
    }

    /// A request in a dialog. Ours name their call in the To tag; anything else is no dialog we hold, and a To tag
    /// alone opens nothing.
    fn in_dialog(&mut self, now: Now, tx: ServerTx, message: Message, flow: Flow) {
        if *message.method() == Method::Subscribe && self.resubscribe(now, tx, &message, flow) {
            return;
        }
        let found = message
            .to_tag()
            .and_then(parse_tag)
            .and_then(|(number, index)| {
                let (number, index) = self.moved.place(number, index);
                let (flow, user) = self.calls.get(&number)?.addressed(index, &message)?;
                Some((number, index, flow, user.to_owned()))
            });
        let Some((number, index, known, user)) = found else {
            // Set up before a restart: the token alone tells.
            if self.proxy_within(now, tx, &message, flow) {
                return;
            }
            self.counters.unknown_dialog += 1;
            return self.answer(tx, OutgoingResponse::new(481));
        };
        let action = buzz::Buzz::parse(message.headers(&HeaderName::Other(buzz::ACTION.into())));
        // Tags are hard to guess but can be overheard: from another address the sender must log in.
        let moved = flow.remote.ip() != known.remote.ip();
        if moved || action.is_some() {
            // A trunk answers no challenge; another of its addresses speaks for it.
            let by_itself = action.is_some() || self.site.trunk(&user).is_none();
            let Some(party) = self.authenticate(now, tx, &message, &flow, by_itself) else {
                return;
            };
            if party.user != user {
                return self.answer(tx, OutgoingResponse::new(403));
            }
        }
        // A stream's address is proven by the connection; a datagram's is not, and changes nothing.
        if flow.transport.is_stream()
            && flow.connection != known.connection
            && let Some(call) = self.calls.get_mut(&number)
        {
            call.moved(index, flow);
        }
        match (action, message.method()) {
            (Some(action), Method::Info | Method::Message | Method::Invite) => {
                self.buzz_in_call(now, tx, number, index, action);
            }
            _ => {
                let message = session_part(message);
                self.run(now, number, CallInput::Request { index, tx, message });
            }
        }
    }

    /// An INVITE outside any dialog.
    fn invite(&mut self, now: Now, tx: ServerTx, message: Message, flow: Flow) {
        let action = buzz::Buzz::parse(message.headers(&HeaderName::Other(buzz::ACTION.into())));
        let Some(party) = self.authenticate(now, tx, &message, &flow, action.is_some()) else {
            return;
        };
        let Some(Dialled {
            user: dial,
            user_agent,
        }) = self.dialled(now, tx, &message, &flow)
        else {
            return;
        };
        if let Some(action) = action {
            return self.buzz_outside(now, tx, &message, &flow, &party, &dial, action);
        }
        if let Some(refusal) = self.limits(now, &party, &dial) {
            self.counters.refused += 1;
            return self.answer(tx, refusal);
        }
        let outset = Outset {
            tx,
            message: &message,
            flow,
            party: &party,
            dial: &dial,
            user_agent: user_agent.as_ref().map(|(_, key)| key.as_str()),
        };
        if self.proxy_invite(now, &outset) {
            return;
        }
        let number = self.next_call;
        self.next_call += 1;
        let device = party.device.clone();
        let message = session_part(message);
        let first = message.clone();
        match Call::new(
            &mut self.site,
            now,
            Arrival {
                number,
                tx,
                message,
                flow,
                party,
                dial,
            },
        ) {
            Ok(mut call) => {
                self.counters.calls += 1;
                self.live += 1;
                *self.per_device.entry(device).or_default() += 1;
                self.invites.insert(tx, number);
                let (id, device) = (&call.id, &call.caller.party.device);
                self.ladders
                    .begin(number, id, now.civil, first.call_id(), device);
                call.user_agent = user_agent;
                call.start(&mut self.site, now, &first);
                self.calls.insert(number, call);
                self.after_start(now, number);
            }
            Err(status) => self.answer(tx, OutgoingResponse::new(status)),
        }
    }

    /// A call refused at once has nothing to wait for; its effects still need it until they are carried out.
    fn after_start(&mut self, now: Now, number: u64) {
        self.perform(now);
        self.run(now, number, CallInput::Timeout);
    }

    /// Whom a request is for, when it is for this site.
    pub(super) fn dialled(
        &mut self,
        now: Now,
        tx: ServerTx,
        message: &Message,
        flow: &Flow,
    ) -> Option<Dialled> {
        let Ok(uri) = message.request_uri() else {
            self.answer(tx, OutgoingResponse::new(400));
            return None;
        };
        if uri.scheme() == Scheme::Other {
            self.answer(tx, OutgoingResponse::new(416));
            return None;
        }
        if uri.scheme() != Scheme::Tel && !self.is_ours(&uri, flow) {
            self.counters.foreign += 1;
            self.answer(tx, OutgoingResponse::new(403));
            return None;
        }
        self.addressee(now, tx, &uri)
    }

    /// Why a new call of this party is refused, if it is.
    fn limits(&self, now: Now, party: &Party, dial: &str) -> Option<OutgoingResponse> {
        let limits = &self.site.config.limits;
        // A trunk carries many people's calls; the limit on all calls is its limit.
        let mine = match self.site.trunk(&party.user) {
            Some(_) => 0,
            None => self.per_device.get(&party.device).copied().unwrap_or(0),
        };
        let full = |calls: usize, per_device: usize| {
            // Twice the calls may be held: those that ended but wait for a lost peer's transactions.
            if self.live >= calls || self.calls.len() >= calls.saturating_mul(2) {
                Some(503)
            } else {
                (mine >= per_device).then_some(486)
            }
        };
        let status = if self.draining {
            503
        } else {
            let status = full(limits.max_calls, limits.max_calls_per_device)?;
            let calls = limits.max_calls.saturating_add(limits.reserved_calls);
            let per_device = limits
                .max_calls_per_device
                .saturating_add(limits.reserved_per_device);
            // The plan is asked only when the limits would refuse.
            if full(calls, per_device).is_none() && self.takes_precedence(now, party, dial) {
                return None;
            }
            status
        };
        let response = OutgoingResponse::new(status);
        Some(if status == 503 {
            response.with_header(HeaderName::RetryAfter, "10")
        } else {
            response
        })
    }

    /// Whether the plan sends this call by a route that limits do not refuse.
    pub(super) fn takes_precedence(&self, now: Now, party: &Party, dial: &str) -> bool {
        let call = CallFacts {
            caller: Site::caller(party),
            dial: dial.to_owned(),
        };
        let begun = self
            .site
            .plan
            .begin(&self.site.directory, &self.site.facts(now), call);
        begun.is_ok_and(|(run, _)| run.priority() >= Priority::Lift)
    }

    /// MESSAGE outside any dialog: a buzz, or a station's own word.
    fn message(&mut self, now: Now, tx: ServerTx, message: &Message, flow: Flow) {
        let action = buzz::Buzz::parse(message.headers(&HeaderName::Other(buzz::ACTION.into())));
        let Some(party) = self.authenticate(now, tx, message, &flow, action.is_some()) else {
            return;
        };
        if action.is_none()
            && let Some(door) = party.door.clone()
        {
            return self.station_message(now, tx, message, &party, &door);
        }
        let Some(Dialled {
            user: dial,
            user_agent,
        }) = self.dialled(now, tx, message, &flow)
        else {
            return;
        };
        if let Some(action) = action {
            return self.buzz_outside(now, tx, message, &flow, &party, &dial, action);
        }
        let outset = Outset {
            tx,
            message,
            flow,
            party: &party,
            dial: &dial,
            user_agent: user_agent.as_ref().map(|(_, key)| key.as_str()),
        };
        self.proxy_message(now, &outset);
    }
}

/// A call reads SDP alone: what a multipart body has beside it (RFC 5621) is left aside.
fn session_part(message: Message) -> Message {
    message.reduced_to("application/sdp").unwrap_or(message)
}
