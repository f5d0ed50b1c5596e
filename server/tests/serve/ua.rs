//! A SIP phone for tests: an endpoint of `sip-proxy` on a blocking socket.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sip_proxy::digest::client::{self, Secret};
use sip_proxy::message::HeaderName;
use sip_proxy::{
    Body, ClientTx, ConnectionId, Dialog, Endpoint, EndpointConfig, Flow, Input, Message, Method,
    OutgoingRequest, OutgoingResponse, Output, ServerTx, Transport,
};

use super::wire::Wire;

/// No step takes longer.
const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const DOMAIN: &str = "doorward.local";

/// A phone; its password is its name with `-secret`.
pub(crate) struct Ua {
    user: String,
    flow: Flow,
    wire: Wire,
    contact: Option<String>,
    /// Held so that nobody else has the port of the SDP.
    rtp: UdpSocket,
    endpoint: Endpoint,
    outputs: VecDeque<Output>,
    /// Requests nobody has waited for yet.
    requests: VecDeque<(ServerTx, Message, Flow)>,
    next_tx: u64,
    random: StdRng,
}

pub(crate) fn password(user: &str) -> String {
    format!("{user}-secret")
}

impl Ua {
    pub(crate) fn new(user: &str, server: &str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let local = socket.local_addr().unwrap();
        Self::over(user, Wire::Udp(socket), local, server)
    }

    /// A phone on a connection there is.
    pub(crate) fn over(user: &str, wire: Wire, local: SocketAddr, server: &str) -> Self {
        let transport = wire.transport();
        let flow = Flow {
            transport,
            local,
            remote: server.parse().unwrap(),
            connection: transport.is_stream().then_some(ConnectionId(1)),
        };
        let seed = u64::from(flow.local.port());
        let config = EndpointConfig::default();
        Self {
            user: user.to_owned(),
            flow,
            wire,
            contact: None,
            rtp: UdpSocket::bind("127.0.0.1:0").unwrap(),
            endpoint: Endpoint::new(config, Box::new(StdRng::seed_from_u64(seed))),
            outputs: VecDeque::new(),
            requests: VecDeque::new(),
            next_tx: 1,
            random: StdRng::seed_from_u64(seed + 1),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.flow.local
    }

    /// The same phone with a Contact of its own choice.
    pub(crate) fn with_contact(mut self, contact: String) -> Self {
        self.contact = Some(contact);
        self
    }

    fn contact(&self) -> String {
        if let Some(contact) = &self.contact {
            return contact.clone();
        }
        match self.flow.transport {
            Transport::Udp => format!("<sip:{}@{}>", self.user, self.flow.local),
            // A browser has no address of its own (RFC 7118 section 5.1).
            Transport::Ws | Transport::Wss => {
                format!("<sip:{}@df7jal23ls0d.invalid;transport=ws>", self.user)
            }
            other => format!(
                "<sip:{}@{};transport={}>",
                self.user,
                self.flow.local,
                other.as_param()
            ),
        }
    }

    fn sdp(&self) -> Body {
        let port = self.rtp.local_addr().unwrap().port();
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
        );
        Body {
            content_type: "application/sdp".to_owned(),
            bytes: text.into(),
        }
    }

    fn feed(&mut self, input: Input) {
        self.outputs
            .extend(self.endpoint.handle(Instant::now(), input));
        // What is to be sent goes at once; the rest waits for whoever asks.
        let mut rest = VecDeque::new();
        for output in self.outputs.drain(..) {
            match output {
                Output::Transmit { flow, bytes } => {
                    self.wire.send(&bytes, flow.remote);
                }
                other => rest.push_back(other),
            }
        }
        self.outputs = rest;
    }

    fn event(&mut self, deadline: Instant) -> Option<Output> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            let now = Instant::now();
            if now >= deadline {
                return None;
            }
            let due = self
                .endpoint
                .next_timeout()
                .unwrap_or(deadline)
                .min(deadline);
            let wait = due
                .saturating_duration_since(now)
                .max(Duration::from_millis(1));
            match self.wire.receive(self.flow, wait) {
                Some((flow, bytes)) => self.feed(Input::Received { flow, bytes }),
                None => self.feed(Input::Timeout),
            }
        }
    }

    fn token(&mut self) -> String {
        format!("{:016x}", self.random.next_u64())
    }

    pub(crate) fn request(&mut self, method: Method, uri: &str) -> OutgoingRequest {
        let (tag, call_id) = (self.token(), self.token());
        OutgoingRequest {
            method,
            uri: uri.to_owned(),
            from: format!("<sip:{}@{DOMAIN}>;tag={tag}", self.user),
            to: format!("<{uri}>"),
            call_id,
            cseq: 1,
            max_forwards: 70,
            route: Vec::new(),
            contact: Some(self.contact()),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Sends without waiting.
    fn start(&mut self, request: &OutgoingRequest) -> ClientTx {
        let tx = ClientTx(self.next_tx);
        self.next_tx += 1;
        let to = self.flow;
        self.feed(Input::Request {
            tx,
            request: request.clone(),
            to,
        });
        tx
    }

    /// The final response to `wanted`; what others ask meanwhile waits.
    fn answer_to(&mut self, wanted: ClientTx) -> Message {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.event(deadline).expect("no response in time") {
                Output::Response { tx, message, .. }
                    if tx == wanted && message.status().unwrap() >= 200 =>
                {
                    return message;
                }
                Output::Failed { tx, cause } if tx == wanted => panic!("no response: {cause:?}"),
                Output::Request { tx, message, flow } => {
                    self.requests.push_back((tx, message, flow));
                }
                _ => {}
            }
        }
    }

    fn authorise(&mut self, request: &mut OutgoingRequest, challenge: &Message) {
        let (asked, given) = match challenge.status() {
            Some(401) => (HeaderName::WwwAuthenticate, HeaderName::Authorization),
            _ => (
                HeaderName::ProxyAuthenticate,
                HeaderName::ProxyAuthorization,
            ),
        };
        let (cnonce, password) = (self.token(), password(&self.user));
        let what = client::Request {
            method: request.method.as_str(),
            uri: &request.uri,
            cnonce: &cnonce,
            nc: 1,
        };
        let challenge = challenge.header(&asked).unwrap();
        let answer = client::answer(challenge, &self.user, Secret::Password(&password), &what);
        request.cseq += 1;
        request.headers.push((given, answer.unwrap()));
    }

    /// Sends, answers one challenge, gives the final status.
    pub(crate) fn ask(&mut self, mut request: OutgoingRequest) -> u16 {
        let tx = self.start(&request);
        let response = self.answer_to(tx);
        if !matches!(response.status(), Some(401 | 407)) {
            return response.status().unwrap();
        }
        self.authorise(&mut request, &response);
        let tx = self.start(&request);
        self.answer_to(tx).status().unwrap()
    }

    pub(crate) fn register(&mut self) -> u16 {
        let request = self.registration();
        self.ask(request)
    }

    /// The answer to a REGISTER without credentials.
    pub(crate) fn register_without_password(&mut self) -> u16 {
        let request = self.registration();
        let tx = self.start(&request);
        self.answer_to(tx).status().unwrap()
    }

    fn registration(&mut self) -> OutgoingRequest {
        let mut request = self.request(Method::Register, &format!("sip:{DOMAIN}"));
        request.to = format!("<sip:{}@{DOMAIN}>", self.user);
        request
            .headers
            .push((HeaderName::Expires, "600".to_owned()));
        request
    }

    /// Begins a call: the challenge is answered, the rest waits for [`Ua::answered`].
    pub(crate) fn call(&mut self, user: &str) -> Calling {
        let mut request = self.request(Method::Invite, &format!("sip:{user}@{DOMAIN}"));
        request.body = Some(self.sdp());
        let tx = self.start(&request);
        let challenge = self.answer_to(tx);
        assert!(matches!(challenge.status(), Some(401 | 407)));
        self.authorise(&mut request, &challenge);
        let tx = self.start(&request);
        Calling { tx, request }
    }

    /// The call's final status, and its dialog when it was taken.
    pub(crate) fn answered(&mut self, call: &Calling) -> (u16, Option<Dialog>) {
        let response = self.answer_to(call.tx);
        let status = response.status().unwrap();
        if status != 200 {
            return (status, None);
        }
        let dialog = Dialog::from_response(&call.request, &response, self.flow).unwrap();
        let (request, to) = (dialog.ack(call.request.cseq), self.flow);
        self.feed(Input::Ack {
            request,
            to,
            invite: call.tx,
        });
        (status, Some(dialog))
    }

    /// Waits for the next request of this method, `None` when there is none by then.
    pub(crate) fn wait_for(&mut self, method: &Method, within: Duration) -> Option<Asked> {
        let deadline = Instant::now() + within;
        loop {
            let next = self.requests.pop_front().or_else(|| {
                loop {
                    if let Output::Request { tx, message, flow } = self.event(deadline)? {
                        break Some((tx, message, flow));
                    }
                }
            });
            let (tx, message, flow) = next?;
            if message.method() == method {
                return Some(Asked { tx, message, flow });
            }
            self.respond(tx, OutgoingResponse::new(200));
        }
    }

    pub(crate) fn respond(&mut self, tx: ServerTx, response: OutgoingResponse) {
        self.feed(Input::Respond { tx, response });
    }

    /// Takes a call.
    pub(crate) fn take(&mut self, within: Duration) -> Option<Dialog> {
        let invite = self.wait_for(&Method::Invite, within)?;
        let tag = self.token();
        let dialog = Dialog::from_request(&invite.message, &tag, invite.flow).unwrap();
        let body = self.sdp();
        let answer = OutgoingResponse::new(200)
            .with_to_tag(tag)
            .with_contact(self.contact())
            .with_body(body.content_type, body.bytes);
        self.respond(invite.tx, answer);
        let deadline = Instant::now() + PATIENCE;
        while let Some(output) = self.event(deadline) {
            match output {
                Output::Ack { tx, .. } if tx == Some(invite.tx) => return Some(dialog),
                Output::Request { tx, message, flow } => {
                    self.requests.push_back((tx, message, flow));
                }
                _ => {}
            }
        }
        None
    }

    /// Hangs up; the status of the BYE.
    pub(crate) fn hang_up(&mut self, dialog: &mut Dialog) -> u16 {
        let bye = dialog.request(Method::Bye);
        self.ask(bye)
    }

    /// The other side hangs up.
    pub(crate) fn hung_up(&mut self, within: Duration) -> bool {
        let Some(bye) = self.wait_for(&Method::Bye, within) else {
            return false;
        };
        self.respond(bye.tx, OutgoingResponse::new(200));
        true
    }

    /// Asks the door to open, outside a call; the status.
    pub(crate) fn buzz(&mut self, door: &str) -> u16 {
        let request = self.request(Method::Message, &format!("sip:{door}@{DOMAIN}"));
        self.ask(with_buzz(request))
    }

    /// Asks the door it talks to to open; the status.
    pub(crate) fn buzz_in(&mut self, dialog: &mut Dialog) -> u16 {
        let request = with_buzz(dialog.request(Method::Info));
        // The challenged request is a second one of the dialog.
        let _ = dialog.request(Method::Info);
        self.ask(request)
    }
}

fn with_buzz(mut request: OutgoingRequest) -> OutgoingRequest {
    let action = HeaderName::from_token("Action");
    request.headers.push((action, "buzz".to_owned()));
    request
}

/// A call on its way.
pub(crate) struct Calling {
    tx: ClientTx,
    request: OutgoingRequest,
}

/// A request that came.
pub(crate) struct Asked {
    pub(crate) tx: ServerTx,
    pub(crate) message: Message,
    pub(crate) flow: Flow,
}
