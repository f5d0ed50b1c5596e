//! Any messages, answers, digits and waits to the whole machine: no panic, no relay without a committed grant, and once
//! everything is over nothing is held.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dialplan::{Device, Directory, Owner, Person, Unit};
use intercom::config::TrustedPeer;
use intercom::unlock::Outcome;
use intercom::{Accounts, Account, B2bua, Config, Input, Now, Output};
use media_bridge::{Command, Digit, DigitSource, Event, Lease, LeaseId, LegId};
use rand::SeedableRng;
use sip_proxy::digest::Ha1;
use sip_proxy::digest::client::{self, Request, Secret};
use sip_proxy::{Flow, HeaderName, Limits, Message, Method, Transport};

const PLAN: &str = r#"site "s" tz="Europe/Prague" { calendar "always" { weekly "daily 00:00-24:00"; }
}
door "lobby" station="2n" group="entry" fail="closed" {
    output "main" driver="dtmf" code="1" pulse="2s"
}
desk "desk" { device "desk-1"; }
keys "default" { "9" open="main"; }
may-open "desk:desk" group="entry"
route "desk" doors="entry" dial="desk" { ring "desk" for="20s"
    end "log"
}
route "unit" doors="entry" dial="unit" { ring "@unit" for="20s"
    end "log"
}
"#;
const SERVER: ([u8; 4], u16) = ([192, 0, 2, 1], 5060);
/// Whose messages come from where; all three are known by their address.
const DEVICES: [&str; 3] = ["lobby", "desk-1", "anna"];

fn flow(who: usize) -> Flow {
    let last = u8::try_from(who % 4).unwrap_or(0) + 10;
    Flow {
        transport: Transport::Udp,
        local: SERVER.into(),
        remote: SocketAddr::from(([192, 0, 2, last], 5060)),
        connection: None,
    }
}

struct World {
    b2bua: B2bua,
    now: Now,
    /// What went out last, and to whom.
    sent: Vec<(SocketAddr, Bytes)>,
    /// The step of each device's last INVITE, which its CANCEL repeats.
    invited: [usize; 4],
    leases: u64,
    legs: Vec<LegId>,
    committed: BTreeSet<String>,
    /// Final answers to the requests made here, by branch and CSeq.
    finals: BTreeMap<String, u16>,
}

impl World {
    fn new() -> Self {
        let device = |id: &str, owner: Owner| Device {
            id: id.to_owned(),
            owner,
            label: None,
            revoked: false,
        };
        let directory = Directory::new(
            [Unit {
                id: "101".to_owned(),
                flags: BTreeSet::new(),
            }],
            [Person {
                id: "anna".to_owned(),
                name: "anna".into(),
                role: "resident".to_owned(),
                unit: Some("101".to_owned()),
                numbers: Vec::new(),
                revoked: false,
            }],
            [
                device("lobby", Owner::Door("lobby".to_owned())),
                device("desk-1", Owner::Desk("desk".to_owned())),
                device("anna", Owner::Person("anna".to_owned())),
            ],
        );
        let mut accounts = Accounts::new();
        for name in DEVICES {
            let account = Account {
                ha1: Ha1::of(name, "s", "p", false),
                device: name.to_owned(),
                profile: "phone".to_owned(),
            };
            accounts.insert(name, account);
        }
        let trusted = DEVICES.iter().enumerate().map(|(who, name)| TrustedPeer {
            address: flow(who).remote.ip(),
            account: (*name).to_owned(),
            contact: None,
        });
        let config = Config {
            domains: vec!["s.example".to_owned()],
            realm: "s".to_owned(),
            trusted: trusted.collect(),
            ..Config::default()
        };
        let loaded = dialplan::load(PLAN, "plan.kdl", &|_| None);
        let plan = loaded.plan.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        let rng = rand::rngs::StdRng::seed_from_u64(1);
        #[expect(clippy::disallowed_methods, reason = "an origin for the virtual clock")]
        let mono = Instant::now();
        let civil = jiff::Timestamp::UNIX_EPOCH;
        Self {
            b2bua: B2bua::new(config, plan.into(), directory.into(), Arc::new(accounts), Box::new(rng)),
            now: Now { mono, civil },
            sent: Vec::new(),
            invited: [0; 4],
            leases: 0,
            legs: Vec::new(),
            committed: BTreeSet::new(),
            finals: BTreeMap::new(),
        }
    }

    fn feed(&mut self, input: Input) {
        let mut next = vec![input];
        while let Some(input) = next.pop() {
            let outputs: Vec<Output> = self.b2bua.handle(self.now, input).collect();
            for output in outputs {
                self.take(output, &mut next);
            }
        }
    }

    fn take(&mut self, output: Output, next: &mut Vec<Input>) {
        match output {
            Output::Transmit { flow, bytes } => {
                assert!(!bytes.contains(&0) || bytes.len() > 200);
                self.judge(&bytes);
                self.sent.push((flow.remote, bytes));
                if self.sent.len() > 64 {
                    self.sent.remove(0);
                }
            }
            Output::WantLeases(want) => {
                for _ in 0..want.count {
                    self.leases += 1;
                    let port = 20_000 + u16::try_from(self.leases % 10_000).unwrap_or(0) * 2;
                    next.push(Input::Leased(Lease {
                        id: LeaseId(self.leases),
                        worker: want.worker,
                        rtp: (SERVER.0, port).into(),
                        advertise: SERVER.0.into(),
                    }));
                }
            }
            Output::Record(record) if record.durable => {
                self.committed.extend(record.entry.intent.clone());
                next.push(Input::Recorded { record: record.id });
            }
            Output::OpenRelay(drive) => {
                assert!(self.committed.contains(&drive.intent.to_string()), "a relay without a record");
                next.push(Input::RelayDone {
                    intent: drive.intent,
                    attempt: drive.attempt,
                    outcome: Outcome::Opened,
                });
            }
            Output::Media { command: Command::Open { leg, .. }, .. } => self.legs.push(leg),
            _ => {}
        }
    }

    /// One final answer to a request, repeated or not. A CANCEL is answered by what is left of its INVITE.
    fn judge(&mut self, bytes: &Bytes) {
        let Ok(message) = Message::parse(bytes.clone(), &Limits::default()) else {
            return;
        };
        let status = message.status().filter(|status| *status >= 200);
        let made = message
            .top_via()
            .branch()
            .filter(|branch| branch.starts_with("z9hG4bKq"));
        if let (Some(status), Some(branch)) = (status, made)
            && *message.method() != Method::Cancel
        {
            let key = format!("{branch} {} {}", message.cseq(), message.method().as_str());
            let first = *self.finals.entry(key).or_insert(status);
            assert_eq!(first, status, "two final answers");
        }
    }

    fn receive(&mut self, who: usize, bytes: Bytes) {
        let flow = flow(who);
        self.feed(Input::Received { flow, bytes });
    }

    /// A phone at its place: REGISTER, challenge, REGISTER.
    fn register(&mut self, who: usize) {
        let name = DEVICES[who % DEVICES.len()];
        let mut authorization = String::new();
        for cseq in 1..3 {
            let text = format!(
                "REGISTER sip:s.example SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKr{who}{cseq}\r\n\
                 From: <sip:{name}@s.example>;tag=r\r\nTo: <sip:{name}@s.example>\r\nCall-ID: r{who}\r\n\
                 CSeq: {cseq} REGISTER\r\nContact: <sip:{name}@{at}>\r\n{authorization}Content-Length: 0\r\n\r\n",
                at = flow(who).remote
            );
            self.receive(who, text.into());
            let Some((_, answer)) = self.sent.last().cloned() else { return };
            let Ok(answer) = Message::parse(answer, &Limits::default()) else { return };
            let challenge = answer.header(&HeaderName::WwwAuthenticate).unwrap_or_default();
            let request = Request { method: "REGISTER", uri: "sip:s.example", cnonce: "c", nc: 1 };
            if let Ok(value) = client::answer(challenge, name, Secret::Password("p"), &request) {
                authorization = format!("Authorization: {value}\r\n");
            }
        }
    }

    /// A request of ours, `which` before the last, is answered.
    fn answered(&mut self, who: usize, which: usize, status: u16, body: &[u8]) {
        let requests = self.sent.iter().rev().map(|(_, sent)| sent);
        let mut requests = requests.filter(|sent| !sent.starts_with(b"SIP/2.0") && !sent.starts_with(b"ACK"));
        let Some(sent) = requests.nth(which).cloned() else {
            return;
        };
        let Ok(sent) = Message::parse(sent, &Limits::default()) else {
            return;
        };
        let line = |name| sent.header(&name).unwrap_or_default().to_owned();
        let mut text = format!(
            "SIP/2.0 {status} X\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=t{who}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             Contact: <sip:x@{}>\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n",
            line(HeaderName::Via), line(HeaderName::From), line(HeaderName::To), sent.call_id(), line(HeaderName::CSeq),
            flow(who).remote, body.len(),
        )
        .into_bytes();
        text.extend_from_slice(body);
        self.receive(who, text.into());
    }

    fn drain(&mut self) {
        self.feed(Input::Shutdown);
        for _ in 0..20_000 {
            let Some(at) = self.b2bua.next_timeout() else { break };
            if self.b2bua.held_calls() == 0 && self.b2bua.intents() == 0 {
                break;
            }
            if at > self.now.mono {
                self.now.civil += at - self.now.mono;
                self.now.mono = at;
            }
            self.feed(Input::Timeout);
        }
        assert_eq!((self.b2bua.live_calls(), self.b2bua.held_calls(), self.b2bua.intents()), (0, 0, 0));
    }
}

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 101\r\n\
                   a=rtpmap:101 telephone-event/8000\r\n";

/// A sound request of `method` within or outside the dialog of what was sent last.
fn request(world: &World, who: usize, method: &str, n: usize, within: bool, lines: &str) -> String {
    let at = flow(who).remote;
    let name = DEVICES[who % DEVICES.len()];
    let target = ["desk", "101", "lobby", "desk-1"][n % 4];
    let sent = world.sent.iter().rfind(|(to, _)| within && *to == at);
    let sent = sent.and_then(|(_, sent)| Message::parse(sent.clone(), &Limits::default()).ok());
    let (from, to, call_id) = match &sent {
        None => (
            format!("<sip:{name}@s.example>;tag=f{n}"),
            format!("<sip:{target}@s.example>"),
            format!("c{n}"),
        ),
        Some(sent) => {
            let line = |name| sent.header(&name).unwrap_or_default().to_owned();
            let (from, to) = (line(HeaderName::From), line(HeaderName::To));
            let call_id = sent.call_id().to_owned();
            match (sent.is_request(), sent.to_tag()) {
                (true, None) => (format!("{to};tag=t{who}"), from, call_id),
                (true, Some(_)) => (to, from, call_id),
                (false, _) => (from, to, call_id),
            }
        }
    };
    // CANCEL and ACK go with the INVITE before them.
    let (branch, cseq) = match method {
        "CANCEL" | "ACK" => (world.invited[who % 4], world.invited[who % 4] + 1),
        _ => (n, n + 1),
    };
    let call_id = if method == "CANCEL" { format!("c{branch}") } else { call_id };
    format!(
        "{method} sip:{target}@s.example SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKq{branch}\r\nMax-Forwards: 70\r\n\
         From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:{name}@{at}>\r\n{lines}\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
        SDP.len()
    )
}

/// One input: steps that end in 0xff, which no UTF-8 has; the first octet says what, the second who.
pub fn run(data: &[u8]) {
    let mut world = World::new();
    world.feed(Input::Timeout);
    world.register(1);
    world.register(2);
    for (n, step) in data.split(|byte| *byte == 0xff).take(64).enumerate() {
        let (&kind, rest) = step.split_first().unwrap_or((&0, &[]));
        let (&first, rest) = rest.split_first().unwrap_or((&0, &[]));
        let who = usize::from(first);
        match kind {
            b't' => {
                let time = Duration::from_millis(u64::from(first) * 100);
                let end = world.now.mono + time;
                while let Some(at) = world.b2bua.next_timeout().filter(|at| *at <= end) {
                    world.now.mono = world.now.mono.max(at);
                    world.feed(Input::Timeout);
                }
                world.now.mono = end;
                world.now.civil += time;
            }
            b'a' => {
                let pick = usize::from(rest.first().copied().unwrap_or(0));
                let status = [100, 180, 183, 200, 302, 401, 407, 422, 480, 481, 486, 491, 500, 503, 603][(pick & 15) % 15];
                let body = if pick & 0x40 == 0 { SDP.as_bytes() } else { rest };
                world.answered(who, pick >> 4 & 3, status, body);
            }
            b'q' => {
                let pick = usize::from(rest.first().copied().unwrap_or(0));
                let methods = [
                    "INVITE", "BYE", "ACK", "CANCEL", "INFO", "UPDATE", "PRACK", "REFER", "SUBSCRIBE", "NOTIFY", "MESSAGE",
                    "PUBLISH", "OPTIONS",
                ];
                let lines = String::from_utf8_lossy(rest.get(1..).unwrap_or(&[])).into_owned();
                let lines = if lines.is_empty() { lines } else { lines + "\r\n" };
                let text = request(&world, who, methods[(pick & 15) % methods.len()], n, pick & 0x80 != 0, &lines);
                if text.starts_with("INVITE") {
                    world.invited[who % 4] = n;
                }
                world.receive(who, text.into());
            }
            b'd' => {
                let digit = Digit::new(char::from(rest.first().copied().unwrap_or(b'9')));
                if let (Some(leg), Some(digit)) = (world.legs.iter().rev().nth(who % 4).copied(), digit) {
                    world.feed(Input::Media(Event::Digit { leg, digit, duration_ms: 100, source: DigitSource::Rtp }));
                }
            }
            b'f' => {
                if let Some((_, bytes)) = world.sent.last().cloned() {
                    world.feed(Input::TransportFailed { flow: flow(who), bytes });
                }
            }
            b'e' => {
                if let Some((_, bytes)) = world.sent.iter().rev().nth(who % 4).cloned() {
                    world.receive(who, bytes);
                }
            }
            _ => world.receive(who, Bytes::copy_from_slice(rest)),
        }
    }
    world.drain();
}
