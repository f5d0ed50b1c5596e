//! Registrations as devices make them, datagram by datagram: flows, q, GRUUs, restarts, moved doors, guessed passwords, and
//! twenty thousand devices at once.

mod guesses;
mod storm;
mod ways;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use intercom::audit::Record;
use intercom::{B2bua, Config, Input, Now, Output};
use media_bridge::{Lease, LeaseId};
use sip_proxy::digest::client::{self, Request, Secret};
use sip_proxy::location::{Binding, BindingChange};
use sip_proxy::{ConnectionId, Flow, HeaderName, Message, Method, Transport};

use crate::building::Building;
use crate::building::link::Weather;

const SERVER: &str = "10.0.0.1:5060";
const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The machine alone, with whatever speaks to it written by hand.
struct Yard {
    b2bua: B2bua,
    now: Instant,
    civil: jiff::Timestamp,
    serial: u32,
    sent: VecDeque<(Flow, Message)>,
    changes: Vec<BindingChange>,
    records: Vec<Record>,
    events: Vec<&'static str>,
    leases: u64,
    challenge: String,
}

impl Yard {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(edit: impl FnOnce(&mut Config)) -> Self {
        let building = Building::with(1, Weather::FINE, |config| {
            config.gruu_key = Some([3; 32]);
            edit(config);
        });
        Self::of(building.b2bua, building.now)
    }

    fn of(b2bua: B2bua, now: Instant) -> Self {
        let mut yard = Yard {
            b2bua,
            now,
            civil: "2026-11-20T10:00:00Z".parse().unwrap(),
            serial: 0,
            sent: VecDeque::new(),
            changes: Vec::new(),
            records: Vec::new(),
            events: Vec::new(),
            leases: 1 << 32,
            challenge: String::new(),
        };
        yard.feed(Input::Timeout);
        yard
    }

    fn feed(&mut self, input: Input) {
        let now = Now {
            mono: self.now,
            civil: self.civil,
        };
        let mut leases = Vec::new();
        for output in self.b2bua.handle(now, input) {
            match output {
                Output::Transmit { flow, bytes } => {
                    let message = Message::parse(bytes, &Default::default()).unwrap();
                    self.sent.push_back((flow, message));
                }
                Output::Bindings(changes) => self.changes.extend(changes),
                Output::Record(record) => self.records.push(record),
                Output::Event(event) => self.events.push(event.kind()),
                Output::WantLeases(want) => {
                    for _ in 0..want.count {
                        self.leases += 1;
                        let rtp = SocketAddr::from(([10, 0, 0, 1], 20_000));
                        leases.push(Lease {
                            id: LeaseId(self.leases),
                            worker: want.worker,
                            rtp,
                            advertise: rtp.ip(),
                        });
                    }
                }
                _ => {}
            }
        }
        for lease in leases {
            self.feed(Input::Leased(lease));
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.b2bua.next_timeout().filter(|at| *at <= end) {
            self.advance(at.max(self.now));
            self.feed(Input::Timeout);
        }
        self.advance(end);
    }

    fn advance(&mut self, to: Instant) {
        let passed = jiff::SignedDuration::try_from(to - self.now).unwrap();
        self.civil += passed;
        self.now = to;
    }

    fn send(&mut self, flow: Flow, text: String) {
        self.feed(Input::Received {
            flow,
            bytes: text.into(),
        });
    }

    /// What was sent since, and forgotten here.
    fn sent(&mut self) -> Vec<(Flow, Message)> {
        self.sent.drain(..).collect()
    }

    /// The requests of a method sent since, the latest transmission of each alone.
    fn requests(&mut self, method: &Method) -> Vec<(Flow, Message)> {
        let mut found: Vec<(Flow, Message)> = Vec::new();
        for (flow, message) in self.sent() {
            let same = |(_, one): &(Flow, Message)| one.call_id() == message.call_id();
            if message.is_request() && message.method() == method && !found.iter().any(same) {
                found.push((flow, message));
            }
        }
        found
    }

    /// A request of `user`, answered with `password` once it is challenged; the status it comes to, 0 for silence.
    fn ask(&mut self, flow: Flow, method: &str, user: &str, password: &str, lines: &str) -> u16 {
        let first = self.step(flow, method, user, lines, "");
        if first != 401 {
            return first;
        }
        let request = Request {
            method,
            uri: "sip:elm.example",
            cnonce: "c0ffee",
            nc: 1,
        };
        let secret = Secret::Password(password);
        let answer = client::answer(&self.challenge, user, secret, &request).unwrap();
        self.step(
            flow,
            method,
            user,
            lines,
            &format!("Authorization: {answer}\r\n"),
        )
    }

    fn step(&mut self, flow: Flow, method: &str, user: &str, lines: &str, answer: &str) -> u16 {
        self.serial += 1;
        let n = self.serial;
        let (via, remote) = (flow.transport.as_via(), flow.remote);
        let text = format!(
            "{method} sip:elm.example SIP/2.0\r\nVia: SIP/2.0/{via} {remote};branch=z9hG4bK{n}\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@elm.example>;tag=f\r\nTo: <sip:{user}@elm.example>\r\nCall-ID: reg-{user}-{remote}\r\n\
             CSeq: {n} {method}\r\n{lines}{answer}Content-Length: 0\r\n\r\n"
        );
        let before = self.sent.len();
        self.send(flow, text);
        let Some((to, message)) = self.sent.get(before) else {
            return 0;
        };
        assert_eq!(to.remote, flow.remote, "answered where it came from");
        let challenge = message.headers(&HeaderName::WwwAuthenticate).next();
        self.challenge = challenge.unwrap_or_default().to_owned();
        message.status().unwrap()
    }

    /// Registers a device of the building; `contact` is a whole Contact value.
    fn register(&mut self, flow: Flow, user: &str, contact: &str, lines: &str) {
        let lines = format!("Contact: {contact}\r\n{lines}");
        let status = self.ask(flow, "REGISTER", user, &format!("pw-{user}"), &lines);
        assert_eq!(status, 200, "{user} {contact}");
    }

    /// The lobby, known by its address, calls.
    fn ring(&mut self, uri: &str) {
        self.sent.clear();
        let text = invite(uri);
        self.send(udp("10.0.1.1:5060"), text);
    }

    /// Answers a request that was sent to a device.
    fn respond(&mut self, flow: Flow, request: &Message, status: &str, contact: &str, sdp: bool) {
        let copy = |name: HeaderName| {
            let values = request.headers(&name);
            let lines = values.map(|value| format!("{}: {value}\r\n", name.as_str()));
            lines.collect::<String>()
        };
        let mut to = request.header(&HeaderName::To).unwrap().to_owned();
        if !to.contains(";tag=") {
            to.push_str(&format!(";tag=t{}", flow.remote.port()));
        }
        let body = if sdp {
            let ip = flow.remote.ip();
            format!(
                "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8\r\n"
            )
        } else {
            String::new()
        };
        let text = format!(
            "SIP/2.0 {status}\r\n{}From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {} {}\r\n\
             Contact: <{contact}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            copy(HeaderName::Via),
            request.header(&HeaderName::From).unwrap(),
            request.call_id(),
            request.cseq(),
            request.method().as_str(),
            body.len(),
        );
        self.send(flow, text);
    }

    fn bindings_of(&self, aor: &str) -> Vec<Binding> {
        // What the changes came to: the store's view.
        let mut live: Vec<Binding> = Vec::new();
        for change in self.changes.iter().filter(|change| change.aor() == aor) {
            live.retain(|one| !one.is_same_place(change.binding()));
            if change.is_live() {
                live.push(Binding::clone(change.binding()));
            }
        }
        live
    }
}

fn invite(uri: &str) -> String {
    let sdp = "v=0\r\no=- 1 1 IN IP4 10.0.1.1\r\ns=-\r\nc=IN IP4 10.0.1.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8\r\n";
    format!(
        "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.1.1:5060;branch=z9hG4bKcall\r\nMax-Forwards: 70\r\n\
         From: <sip:lobby@elm.example>;tag=door\r\nTo: <{uri}>\r\nCall-ID: door-call\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:lobby@10.0.1.1>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
}

fn udp(remote: &str) -> Flow {
    Flow {
        transport: Transport::Udp,
        local: SERVER.parse().unwrap(),
        remote: remote.parse().unwrap(),
        connection: None,
    }
}

fn stream(transport: Transport, remote: &str, connection: u64) -> Flow {
    Flow {
        transport,
        connection: Some(ConnectionId(connection)),
        ..udp(remote)
    }
}

/// A building in which the lobby is known by its address, and `desk-1` may be dialled by name.
fn yard() -> Yard {
    let mut building = Building::with(1, Weather::FINE, |config| {
        config.gruu_key = Some([3; 32]);
        config.trusted.push(intercom::config::TrustedPeer {
            address: "10.0.1.1".parse().unwrap(),
            account: "lobby".to_owned(),
            contact: None,
        });
    });
    building.replan(&[(
        "doors=\"*\" dial=\"one\" { ring \"device:desk-1\" for=\"20s\"",
        "doors=\"*\" dial=\"desk-1\" { ring \"device:desk-1\" for=\"200s\"",
    )]);
    Yard::of(building.b2bua, building.now)
}
