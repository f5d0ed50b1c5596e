//! A phone or door station: a small user agent on a transaction layer of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::early::Rel;
use super::watches::Watches;
use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sip_proxy::digest::client::{self, Request as DigestRequest, Secret};
use sip_proxy::digest::{AuthVerdict, Authenticator, AuthenticatorConfig, Ha1};
use sip_proxy::{
    Body, ClientTx, Dialog, Endpoint, EndpointConfig, Flow, HeaderName, Input, Message, Method,
    OutgoingRequest, OutgoingResponse, Output, ServerTx, Transport,
};

/// What a phone does with a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Policy {
    /// Rings for so long, then answers.
    Answer(Duration),
    /// Rings for so long, then refuses.
    Refuse(Duration, u16),
    /// Rings on.
    Ring,
    /// Does not even ring.
    Dead,
}

#[derive(Debug)]
enum Act {
    Answer(ServerTx),
    Refuse(ServerTx, u16),
}

/// A call as the device sees it.
#[derive(Debug)]
pub(crate) struct UaCall {
    pub(crate) incoming: Option<ServerTx>,
    pub(crate) outgoing: Option<ClientTx>,
    pub(crate) dialog: Option<Dialog>,
    pub(crate) tag: String,
    pub(crate) up: bool,
    pub(crate) over: bool,
    pub(crate) cseq: u32,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) request: OutgoingRequest,
    tries: u32,
    late: bool,
}

pub(crate) struct Ua {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) addr: SocketAddr,
    pub(crate) transport: Transport,
    server: SocketAddr,
    endpoint: Endpoint,
    next_tx: u64,
    serial: u64,
    pub(crate) sent: Vec<Bytes>,
    pub(super) pending: BTreeMap<ClientTx, Pending>,
    pub(crate) calls: Vec<UaCall>,
    pub(crate) policy: Policy,
    acts: Vec<(Instant, Act)>,
    /// What happened, in words.
    pub(crate) log: Vec<String>,
    /// Final responses to INVITEs that start a call, challenges left out.
    pub(crate) finals: Vec<u16>,
    /// Gone without a word: hears nothing, says nothing.
    pub(crate) dead: bool,
    /// Requests it does not react to.
    pub(crate) ignores: Option<Method>,
    /// Contact of its refusals.
    pub(crate) elsewhere: Option<String>,
    pub(crate) provisionals: Vec<u16>,
    /// A Replaces header for the latest early dialog of a call of ours.
    pub(crate) early_dialog: Option<String>,
    /// Final responses to other requests: method, status.
    pub(crate) answers: Vec<(String, u16)>,
    pub(crate) responses: Vec<Message>,
    pub(crate) seen: Vec<Message>,
    pub(crate) codec: u8,
    pub(crate) acks: u32,
    /// Statuses with which the next re-INVITEs are refused.
    pub(crate) refusals: Vec<u16>,
    /// Sends its SDP in a 183 while it rings; `Some(true)`: and not again in the 200.
    pub(crate) early: Option<bool>,
    /// A station that asks who wants it opened.
    pub(crate) gate: Option<Gate>,
    /// Reliable provisional responses and early dialogs.
    pub(crate) rel: Rel,
    /// Header lines of every 2xx to an INVITE or UPDATE.
    pub(crate) with_success: Vec<(HeaderName, String)>,
    /// Header lines of every refusal of an INVITE.
    pub(crate) with_refusal: Vec<(HeaderName, String)>,
    /// What its Contact says instead of its address.
    pub(crate) calls_itself: Option<String>,
    /// Takes no notice of anything.
    pub(crate) deaf: bool,
    pub(crate) watches: Watches,
}

/// What a station asks of who sends it an `Action`.
pub(crate) struct Gate {
    pub(crate) keeper: Authenticator,
    pub(crate) password: String,
    /// Challenges sent.
    pub(crate) asked: u32,
    /// Says of every answer that its nonce was too old.
    pub(crate) forgetful: bool,
    /// Asks of every request, not only of one with an `Action`.
    pub(crate) of_all: bool,
}

impl Gate {
    pub(crate) fn new(realm: &str, password: &str, now: Instant) -> Self {
        let settings = AuthenticatorConfig::default();
        Gate {
            keeper: Authenticator::new(realm.to_owned(), [9; 32], now, settings),
            password: password.to_owned(),
            asked: 0,
            forgetful: false,
            of_all: false,
        }
    }

    /// The challenge, unless the request proves itself.
    fn refuses(&mut self, now: Instant, message: &Message) -> Option<OutgoingResponse> {
        if !self.of_all {
            message.header(&HeaderName::Other("Action".into()))?;
        }
        let realm = self.keeper.realm().to_owned();
        let ha1 = Ha1::of("opener", &realm, &self.password, true);
        let source = "10.0.0.1:5060".parse().unwrap();
        let verdict = self.keeper.check(now, message, source, |user| {
            (user == "opener").then(|| ha1.clone())
        });
        if matches!(verdict, AuthVerdict::Granted { .. }) && !self.forgetful {
            return None;
        }
        self.asked += 1;
        let mut response = OutgoingResponse::new(401);
        response.headers = self.keeper.challenge(now, self.forgetful, false);
        Some(response)
    }
}

impl Ua {
    pub(crate) fn new(user: &str, addr: SocketAddr, server: SocketAddr, seed: u64) -> Self {
        let config = EndpointConfig {
            server_name: String::new(),
            ..EndpointConfig::default()
        };
        Ua {
            user: user.to_owned(),
            password: format!("pw-{user}"),
            addr,
            transport: Transport::Udp,
            server,
            endpoint: Endpoint::new(config, Box::new(StdRng::seed_from_u64(seed))),
            next_tx: 1,
            serial: seed << 16,
            sent: Vec::new(),
            pending: BTreeMap::new(),
            calls: Vec::new(),
            policy: Policy::Ring,
            acts: Vec::new(),
            log: Vec::new(),
            finals: Vec::new(),
            dead: false,
            ignores: None,
            elsewhere: None,
            provisionals: Vec::new(),
            early_dialog: None,
            answers: Vec::new(),
            responses: Vec::new(),
            seen: Vec::new(),
            codec: 8,
            acks: 0,
            refusals: Vec::new(),
            early: None,
            gate: None,
            rel: Rel::default(),
            with_success: Vec::new(),
            with_refusal: Vec::new(),
            calls_itself: None,
            deaf: false,
            watches: Watches::default(),
        }
    }

    pub(crate) fn contact(&self) -> String {
        let by = if self.transport == Transport::Tcp {
            ";transport=tcp"
        } else {
            ""
        };
        match &self.calls_itself {
            Some(host) => format!("<sip:{}@{host}{by}>", self.user),
            None => format!("<sip:{}@{}{by}>", self.user, self.addr),
        }
    }

    pub(crate) fn flow(&self) -> Flow {
        Flow {
            transport: self.transport,
            local: self.addr,
            remote: self.server,
            connection: None,
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if self.dead {
            return None;
        }
        let acts = self.acts.iter().map(|(at, _)| *at).min();
        [acts, self.endpoint.next_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    pub(crate) fn timeout(&mut self, now: Instant) {
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.acts)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.acts = later;
        for (_, act) in due {
            match act {
                Act::Answer(tx) => self.answer(now, tx),
                Act::Refuse(tx, status) => self.refuse(now, tx, status),
            }
        }
        self.feed(now, Input::Timeout);
    }

    pub(crate) fn receive(&mut self, now: Instant, bytes: Bytes) {
        if self.dead {
            return;
        }
        if self.deaf {
            return;
        }
        let flow = self.flow();
        self.feed(now, Input::Received { flow, bytes });
    }

    fn feed(&mut self, now: Instant, input: Input) {
        let outputs: Vec<Output> = self.endpoint.handle(now, input).collect();
        for output in outputs {
            self.output(now, output);
        }
    }

    fn output(&mut self, now: Instant, output: Output) {
        match output {
            Output::Transmit { bytes, .. } => self.sent.push(bytes),
            Output::Request { tx, message, .. } => self.request(now, tx, &message),
            Output::Cancelled { tx, cancel } => {
                let reason = cancel.header(&HeaderName::Reason).unwrap_or("").to_owned();
                self.log.push(format!("cancelled {reason}"));
                if let Some(call) = self.calls.iter_mut().find(|call| call.incoming == Some(tx)) {
                    call.over = true;
                }
                self.respond(now, tx, OutgoingResponse::new(487));
            }
            Output::Ack { .. } => self.acks += 1,
            Output::AckMissing { .. } => self.log.push("no ack".to_owned()),
            Output::Response { tx, message, .. } => self.response(now, tx, &message),
            Output::Failed { tx, .. } => {
                if let Some(pending) = self.pending.remove(&tx) {
                    self.log
                        .push(format!("{} failed", pending.request.method.as_str()));
                    self.answers
                        .push((pending.request.method.as_str().to_owned(), 408));
                    if let Some(call) = self.calls.iter_mut().find(|call| call.outgoing == Some(tx))
                    {
                        call.over = true;
                        self.finals.push(408);
                    }
                }
            }
        }
    }

    pub(crate) fn respond(&mut self, now: Instant, tx: ServerTx, mut response: OutgoingResponse) {
        if (200..300).contains(&response.status) && response.contact.is_some() {
            response.headers.extend(self.with_success.iter().cloned());
        }
        if response.status >= 300 {
            response.headers.extend(self.with_refusal.iter().cloned());
        }
        self.feed(now, Input::Respond { tx, response });
    }

    fn request(&mut self, now: Instant, tx: ServerTx, message: &Message) {
        if self.ignores.as_ref() == Some(message.method()) {
            return;
        }
        self.seen.push(message.clone());
        if *message.method() == Method::Notify && !refers(message) {
            return self.notified(now, tx, message);
        }
        if *message.method() == Method::Options && self.watches.deaf {
            return;
        }
        let refusal = self
            .gate
            .as_mut()
            .and_then(|gate| gate.refuses(now, message));
        if let Some(response) = refusal {
            return self.respond(now, tx, response);
        }
        if message.to_tag().is_some() {
            return self.in_dialog(now, tx, message);
        }
        match message.method() {
            Method::Invite => {
                self.serial += 1;
                let tag = format!("t{}", self.serial);
                let dialog = Dialog::from_request(message, &tag, self.flow()).unwrap();
                self.calls.push(UaCall {
                    incoming: Some(tx),
                    outgoing: None,
                    dialog: Some(dialog),
                    tag: tag.clone(),
                    up: false,
                    over: false,
                    cseq: 1,
                });
                self.log.push("invite".to_owned());
                let mut ring = OutgoingResponse::new(180).with_to_tag(tag);
                if self.early.is_some() {
                    ring.status = 183;
                    ring.contact = Some(self.contact());
                    ring.body = Some(body(self.addr, self.codec, "sendrecv"));
                }
                match self.policy {
                    Policy::Dead => return,
                    Policy::Answer(after) => self.acts.push((now + after, Act::Answer(tx))),
                    Policy::Refuse(after, status) => {
                        self.acts.push((now + after, Act::Refuse(tx, status)));
                    }
                    Policy::Ring => {}
                }
                self.rel.number(&mut ring);
                self.respond(now, tx, ring);
            }
            _ => self.respond(now, tx, OutgoingResponse::new(200)),
        }
    }

    fn in_dialog(&mut self, now: Instant, tx: ServerTx, message: &Message) {
        let flow_addr = self.addr;
        let contact = self.contact();
        let codec = self.codec;
        let Some(call) = self.calls.iter_mut().find(|call| {
            call.dialog
                .as_ref()
                .is_some_and(|dialog| dialog.matches(message))
                && !call.over
        }) else {
            return self.respond(now, tx, OutgoingResponse::new(481));
        };
        match message.method() {
            Method::Bye => {
                call.over = true;
                let reason = message.header(&HeaderName::Reason).unwrap_or("").to_owned();
                self.log.push(format!("bye {reason}"));
                self.respond(now, tx, OutgoingResponse::new(200));
            }
            Method::Invite | Method::Update if !self.refusals.is_empty() => {
                let status = self.refusals.remove(0);
                self.respond(now, tx, OutgoingResponse::new(status));
            }
            Method::Invite => {
                let body = String::from_utf8_lossy(message.body()).into_owned();
                let (mine, word) = if body.contains("a=sendonly") {
                    ("recvonly", "held")
                } else {
                    ("sendrecv", "resumed")
                };
                self.log.push(word.to_owned());
                let response = OutgoingResponse::new(200)
                    .with_contact(contact)
                    .with_body("application/sdp", sdp(flow_addr, codec, mine));
                self.respond(now, tx, response);
            }
            Method::Update => {
                self.respond(now, tx, OutgoingResponse::new(200).with_contact(contact));
            }
            _ => self.respond(now, tx, OutgoingResponse::new(200)),
        }
    }

    pub(crate) fn answer(&mut self, now: Instant, tx: ServerTx) {
        let Some(call) = self
            .calls
            .iter_mut()
            .find(|call| call.incoming == Some(tx) && !call.over && !call.up)
        else {
            return;
        };
        call.up = true;
        let tag = call.tag.clone();
        self.log.push("answer".to_owned());
        let mut response = OutgoingResponse::new(200)
            .with_to_tag(tag)
            .with_contact(self.contact());
        if self.early != Some(true) {
            response =
                response.with_body("application/sdp", sdp(self.addr, self.codec, "sendrecv"));
        }
        self.respond(now, tx, response);
    }

    fn refuse(&mut self, now: Instant, tx: ServerTx, status: u16) {
        let Some(call) = self
            .calls
            .iter_mut()
            .find(|call| call.incoming == Some(tx) && !call.over)
        else {
            return;
        };
        call.over = true;
        let tag = call.tag.clone();
        self.log.push(format!("refuse {status}"));
        let mut response = OutgoingResponse::new(status).with_to_tag(tag);
        response.contact.clone_from(&self.elsewhere);
        self.respond(now, tx, response);
    }

    fn response(&mut self, now: Instant, tx: ClientTx, message: &Message) {
        let status = message.status().unwrap();
        let Some(pending) = self.pending.get(&tx) else {
            return;
        };
        let invite = pending.request.method == Method::Invite;
        let starts = invite
            && self
                .calls
                .iter()
                .any(|call| call.outgoing == Some(tx) && call.dialog.is_none());
        if status < 200 {
            if starts && status > 100 {
                self.provisionals.push(status);
                self.early_dialog = message.to_tag().map(|tag| {
                    let from = message.from_tag().unwrap();
                    format!("{};to-tag={tag};from-tag={from}", message.call_id())
                });
                self.provisional(now, tx, message);
            }
            return;
        }
        let pending = self.pending.remove(&tx).unwrap();
        if status == 401 && pending.tries == 0 {
            return self.again(now, tx, pending, message);
        }
        self.responses.push(message.clone());
        if !starts {
            self.answers
                .push((pending.request.method.as_str().to_owned(), status));
        }
        if !invite {
            return;
        }
        let flow = self.flow();
        let (addr, codec) = (self.addr, self.codec);
        if starts {
            self.finals.push(status);
            self.log.push(format!("final {status}"));
        }
        let call = self.calls.iter_mut().find(|call| {
            call.outgoing == Some(tx)
                || call
                    .dialog
                    .as_ref()
                    .is_some_and(|dialog| dialog.matches(message))
        });
        let Some(call) = call else { return };
        if status >= 300 {
            if starts {
                call.over = true;
            }
            return;
        }
        if starts {
            let mut dialog = Dialog::from_response(&pending.request, message, flow).unwrap();
            if let Some(early) = self.rel.dialogs.get(&tx) {
                dialog.local_cseq = early.local_cseq;
            }
            call.dialog = Some(dialog);
            call.up = true;
        }
        let mut ack = call.dialog.as_ref().unwrap().ack(message.cseq());
        if pending.late && !self.rel.answered {
            ack.body = Some(body(addr, codec, "sendrecv"));
        }
        self.feed(
            now,
            Input::Ack {
                request: ack,
                to: flow,
                invite: tx,
            },
        );
    }

    /// Answers a challenge.
    fn again(&mut self, now: Instant, old: ClientTx, pending: Pending, message: &Message) {
        let challenge = message
            .headers(&HeaderName::WwwAuthenticate)
            .next()
            .unwrap()
            .to_owned();
        let mut request = pending.request;
        let digest = DigestRequest {
            method: request.method.as_str(),
            uri: &request.uri,
            cnonce: "c0ffee",
            nc: 1,
        };
        let value = client::answer(
            &challenge,
            &self.user,
            Secret::Password(&self.password),
            &digest,
        )
        .unwrap();
        request
            .headers
            .retain(|(name, _)| *name != HeaderName::Authorization);
        request.headers.push((HeaderName::Authorization, value));
        request.cseq += 1;
        let tx = self.send(now, request, 1, pending.late);
        if let Some(call) = self
            .calls
            .iter_mut()
            .find(|call| call.outgoing == Some(old))
        {
            call.outgoing = Some(tx);
            call.cseq += 1;
        }
        if let Some(dialog) = self
            .calls
            .iter_mut()
            .filter_map(|call| call.dialog.as_mut())
            .find(|d| d.matches(message))
        {
            dialog.local_cseq += 1;
        }
    }

    pub(super) fn send(
        &mut self,
        now: Instant,
        request: OutgoingRequest,
        tries: u32,
        late: bool,
    ) -> ClientTx {
        let tx = ClientTx(self.next_tx);
        self.next_tx += 1;
        let to = self.flow();
        self.pending.insert(
            tx,
            Pending {
                request: request.clone(),
                tries,
                late,
            },
        );
        self.feed(now, Input::Request { tx, request, to });
        tx
    }

    pub(super) fn fresh(&mut self, method: Method, user: &str) -> OutgoingRequest {
        self.serial += 1;
        OutgoingRequest {
            method,
            uri: format!("sip:{user}@elm.example"),
            from: format!("<sip:{}@elm.example>;tag=f{}", self.user, self.serial),
            to: format!("<sip:{user}@elm.example>"),
            call_id: format!("{}-{}", self.user, self.serial),
            cseq: 1,
            max_forwards: 70,
            route: Vec::new(),
            contact: Some(self.contact()),
            headers: Vec::new(),
            body: None,
        }
    }

    pub(crate) fn register(&mut self, now: Instant) {
        let user = self.user.clone();
        let mut request = self.fresh(Method::Register, &user);
        request.uri = "sip:elm.example".to_owned();
        request
            .headers
            .push((HeaderName::Expires, "3600".to_owned()));
        self.send(now, request, 0, false);
    }

    pub(crate) fn call(&mut self, now: Instant, user: &str, offer: bool, extra: &[(&str, &str)]) {
        let mut request = self.fresh(Method::Invite, user);
        for (name, value) in extra {
            request
                .headers
                .push((HeaderName::from_token(name), (*value).to_owned()));
        }
        if offer {
            request.body = Some(body(self.addr, self.codec, "sendrecv"));
        }
        let tx = self.send(now, request, 0, !offer);
        self.calls.push(UaCall {
            incoming: None,
            outgoing: Some(tx),
            dialog: None,
            tag: String::new(),
            up: false,
            over: false,
            cseq: 1,
        });
    }

    /// A call whose only m-line is dead from the start.
    pub(crate) fn ring_notice(&mut self, now: Instant, user: &str) {
        self.call(now, user, true, &[]);
        let tx = self.calls.last().and_then(|call| call.outgoing).unwrap();
        // The first copy is on its way already; only the one with credentials is looked at.
        let pending = self.pending.get_mut(&tx).unwrap();
        let text = String::from_utf8(sdp(self.addr, self.codec, "sendrecv").to_vec()).unwrap();
        pending.request.body.as_mut().unwrap().bytes =
            text.replace("m=audio 40000", "m=audio 0").into();
    }

    /// A request outside dialogs, such as MESSAGE.
    pub(crate) fn plain(
        &mut self,
        now: Instant,
        method: Method,
        user: &str,
        extra: &[(&str, &str)],
    ) {
        let mut request = self.fresh(method, user);
        for (name, value) in extra {
            request
                .headers
                .push((HeaderName::from_token(name), (*value).to_owned()));
        }
        self.send(now, request, 0, false);
    }

    /// Any request, as it is.
    pub(crate) fn raw(&mut self, now: Instant, edit: impl FnOnce(&mut OutgoingRequest)) {
        let mut request = self.fresh(Method::Options, "nobody");
        edit(&mut request);
        self.send(now, request, 0, false);
    }

    pub(crate) fn cancel(&mut self, now: Instant) {
        if let Some(tx) = self
            .calls
            .iter()
            .rev()
            .find(|call| call.dialog.is_none())
            .and_then(|call| call.outgoing)
        {
            self.feed(now, Input::Cancel { tx, reason: None });
        }
    }

    /// A request in the latest call that is up.
    pub(crate) fn within(
        &mut self,
        now: Instant,
        method: Method,
        edit: impl FnOnce(&mut OutgoingRequest),
    ) {
        let contact = self.contact();
        let Some(dialog) = self
            .calls
            .iter_mut()
            .rev()
            .find(|call| call.up && !call.over)
            .and_then(|call| call.dialog.as_mut())
        else {
            return;
        };
        let mut request = dialog.request(method);
        request.contact = Some(contact);
        edit(&mut request);
        self.send(now, request, 0, false);
    }

    /// A request in the call of that number, counted from the first.
    pub(crate) fn within_nth(
        &mut self,
        now: Instant,
        nth: usize,
        method: Method,
        edit: impl FnOnce(&mut OutgoingRequest),
    ) {
        let contact = self.contact();
        let Some(dialog) = self
            .calls
            .get_mut(nth)
            .and_then(|call| call.dialog.as_mut())
        else {
            return;
        };
        let mut request = dialog.request(method);
        request.contact = Some(contact);
        edit(&mut request);
        self.send(now, request, 0, false);
    }

    /// A Replaces header that names the call of that number, as this device sees it.
    pub(crate) fn replaces(&self, nth: usize) -> String {
        let call = &self.calls[nth];
        let dialog = call.dialog.as_ref().unwrap();
        format!(
            "{};to-tag={};from-tag={}",
            dialog.call_id, dialog.remote_tag, dialog.local_tag
        )
    }

    pub(crate) fn hang_up(&mut self, now: Instant) {
        self.within(now, Method::Bye, |_| {});
        for call in &mut self.calls {
            if call.up {
                call.over = true;
            }
        }
        self.log.push("hang up".to_owned());
    }

    pub(crate) fn info_digit(&mut self, now: Instant, digit: char) {
        self.info_held(now, digit, 160);
    }

    /// A digit by INFO that says how long its key was down, milliseconds.
    pub(crate) fn info_held(&mut self, now: Instant, digit: char, held: u32) {
        self.within(now, Method::Info, |request| {
            let text = format!("Signal={digit}\r\nDuration={held}\r\n");
            request.body = Some(Body {
                content_type: "application/dtmf-relay".to_owned(),
                bytes: text.into(),
            });
        });
    }

    pub(crate) fn reinvite(&mut self, now: Instant, direction: &str) {
        let offer = body(self.addr, self.codec, direction);
        self.within(now, Method::Invite, |request| request.body = Some(offer));
    }

    /// Calls that are neither over nor refused.
    pub(crate) fn open_calls(&self) -> usize {
        self.calls.iter().filter(|call| !call.over).count()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.calls.iter().any(|call| call.up && !call.over)
    }
}

pub(crate) fn sdp(addr: SocketAddr, codec: u8, direction: &str) -> Bytes {
    let ip = addr.ip();
    let family = if ip.is_ipv6() { "IP6" } else { "IP4" };
    let name = match codec {
        0 => "PCMU",
        8 => "PCMA",
        _ => "G729",
    };
    format!(
        "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio 40000 RTP/AVP {codec} 101\r\n\
         a=rtpmap:{codec} {name}/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na={direction}\r\n"
    )
    .into()
}

pub(crate) fn body(addr: SocketAddr, codec: u8, direction: &str) -> Body {
    Body {
        content_type: "application/sdp".to_owned(),
        bytes: sdp(addr, codec, direction),
    }
}

/// A NOTIFY of a transfer, which belongs to its call.
fn refers(message: &Message) -> bool {
    message
        .header(&HeaderName::Event)
        .is_some_and(|event| event.trim().starts_with("refer"))
}
