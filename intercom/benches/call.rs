//! What one relayed call costs the signalling thread: INVITE to BYE as B2BUA with offer/answer, CDR, story and plan,
//! and what an established call holds in memory (printed once).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use dialplan::{Device, Directory, Owner};
use intercom::config::{CallLimits, EventLimits, TrustedPeer};
use intercom::{Account, Accounts, B2bua, Config, Input, Now, Output};
use media_bridge::{Event, Lease, LeaseId, LegStats};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sip_proxy::digest::Ha1;
use sip_proxy::event::NotifierConfig;
use sip_proxy::{Flow, Transport};

struct Counting;
static HELD: AtomicIsize = AtomicIsize::new(0);

#[expect(
    unsafe_code,
    reason = "a counting allocator is the only way to see what a call holds"
)]
// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(
            isize::try_from(layout.size()).unwrap_or(0),
            Ordering::Relaxed,
        );
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(
            isize::try_from(layout.size()).unwrap_or(0),
            Ordering::Relaxed,
        );
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PLAN: &str = r#"
site "s" tz="Europe/Prague"
door "lobby" station="generic" group="entry" fail="closed" { output "main" driver="http" switch=1 pulse="5s" }
door "garage" station="generic" group="entry" fail="closed" { output "gate" driver="http" switch=2 pulse="5s" }
desk "desk" { device "desk-1" }
keys "default" { "9" open="main" }
may-open "desk:desk" group="entry"
route "desk" doors="*" dial="desk" { ring "desk" for="20s"; end "log" }
"#;

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 10.0.1.1\r\ns=-\r\nc=IN IP4 10.0.1.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8 101\r\n\
                   a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n";

struct House {
    b2bua: B2bua,
    start: Instant,
    at: Duration,
    spent: Duration,
    lease: u64,
    serial: u64,
    door: SocketAddr,
    desk: SocketAddr,
}

impl House {
    fn new() -> Self {
        let plan = Arc::new(
            dialplan::load(PLAN, "plan.kdl", &|_| None)
                .plan
                .expect("a plan"),
        );
        let device = |id: &str, owner| Device {
            id: id.to_owned(),
            owner,
            label: None,
            revoked: false,
        };
        let devices = [
            device("lobby", Owner::Door("lobby".to_owned())),
            device("garage", Owner::Door("garage".to_owned())),
            device("desk-1", Owner::Desk("desk".to_owned())),
        ];
        let mut accounts = Accounts::new();
        for user in ["lobby", "garage", "desk-1"] {
            let ha1 = Ha1::of(user, "s", "x", false);
            accounts.insert(
                user,
                Account {
                    ha1,
                    device: user.to_owned(),
                    profile: "generic".to_owned(),
                },
            );
        }
        let door: SocketAddr = "10.0.1.1:5060".parse().unwrap();
        let desk: SocketAddr = "10.0.1.2:5060".parse().unwrap();
        let peer = |account: &str, at: SocketAddr| TrustedPeer {
            address: at.ip(),
            account: account.to_owned(),
            contact: Some((format!("sip:{account}@{at}"), flow(at))),
        };
        let config = Config {
            domains: vec!["s.example".to_owned()],
            trusted: vec![peer("lobby", door), peer("desk-1", desk)],
            limits: CallLimits {
                max_calls: 100_000,
                max_calls_per_device: 100_000,
                ..CallLimits::default()
            },
            leases_kept: 256,
            events: EventLimits {
                notifier: NotifierConfig {
                    max_per_watcher: 10_000,
                    max_expires: 1_000_000,
                    ..NotifierConfig::default()
                },
                ..EventLimits::default()
            },
            ..Config::default()
        };
        let directory = Directory::new([], [], devices);
        let rng = Box::new(StdRng::seed_from_u64(1));
        let b2bua = B2bua::new(config, plan, directory.into(), accounts.into(), rng);
        let start = Instant::now();
        let mut house = House {
            b2bua,
            start,
            at: Duration::ZERO,
            spent: Duration::ZERO,
            lease: 1,
            serial: 0,
            door,
            desk,
        };
        house.feed(Input::Timeout);
        house
    }

    /// One input; what was sent to the door and the desk.
    fn feed(&mut self, input: Input) -> Vec<(SocketAddr, Bytes)> {
        let now = Now {
            mono: self.start + self.at,
            civil: jiff::Timestamp::UNIX_EPOCH,
        };
        let before = Instant::now();
        let outputs: Vec<Output> = self.b2bua.handle(now, input).collect();
        self.spent += before.elapsed();
        let mut sent = Vec::new();
        for output in outputs {
            match output {
                Output::Transmit { flow, bytes } => sent.push((flow.remote, bytes)),
                Output::WantLeases(want) => {
                    for _ in 0..want.count {
                        self.lease += 1;
                        let rtp = SocketAddr::from(([10, 0, 0, 1], 20_000));
                        let lease = Lease {
                            id: LeaseId(self.lease),
                            worker: want.worker,
                            rtp,
                            advertise: rtp.ip(),
                        };
                        self.feed(Input::Leased(lease));
                    }
                }
                Output::Media {
                    command: media_bridge::Command::Close { leg },
                    ..
                } => {
                    self.feed(Input::Media(Event::Closed {
                        leg,
                        stats: LegStats::default(),
                    }));
                }
                _ => {}
            }
        }
        sent
    }

    fn receive(&mut self, from: SocketAddr, text: String) -> Vec<(SocketAddr, Bytes)> {
        let sent = self.feed(Input::Received {
            flow: flow(from),
            bytes: text.into(),
        });
        self.take_notifies(&sent);
        sent
    }

    /// Sets a call up; gives what a BYE of the door needs.
    fn set_up(&mut self) -> (String, String, String) {
        self.serial += 1;
        let n = self.serial;
        let head = |method: &str, uri: &str, branch: &str, to: &str, cseq: u32| {
            format!(
                "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.1.1:5060;branch=z9hG4bK{n}{branch}\r\nMax-Forwards: 70\r\n\
                 From: <sip:lobby@s.example>;tag=d{n}\r\nTo: {to}\r\nCall-ID: call-{n}\r\nCSeq: {cseq} {method}\r\n\
                 Contact: <sip:lobby@10.0.1.1:5060>\r\n"
            )
        };
        let invite = head(
            "INVITE",
            "sip:desk@s.example",
            "a",
            "<sip:desk@s.example>",
            1,
        );
        let body = format!(
            "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{SDP}",
            SDP.len()
        );
        let sent = self.receive(self.door, invite + &body);
        let out = sent
            .iter()
            .find(|(to, bytes)| *to == self.desk && bytes.starts_with(b"INVITE"))
            .expect("forked");
        let text = String::from_utf8_lossy(&out.1).into_owned();
        let copied: String = text
            .lines()
            .filter(|line| {
                ["Via:", "From:", "Call-ID:", "CSeq:"]
                    .iter()
                    .any(|name| line.starts_with(name))
            })
            .map(|line| format!("{line}\r\n"))
            .collect();
        let to = format!(
            "To: <sip:desk-1@s.example>;tag=p{n}\r\nContact: <sip:desk-1@10.0.1.2:5060>\r\n"
        );
        self.receive(
            self.desk,
            format!("SIP/2.0 180 Ringing\r\n{copied}{to}Content-Length: 0\r\n\r\n"),
        );
        let sent = self.receive(self.desk, format!("SIP/2.0 200 OK\r\n{copied}{to}{body}"));
        let answer = sent
            .iter()
            .find(|(to, bytes)| *to == self.door && bytes.starts_with(b"SIP/2.0 200"))
            .expect("200");
        let text = String::from_utf8_lossy(&answer.1).into_owned();
        let to = text
            .lines()
            .find_map(|line| line.strip_prefix("To: "))
            .unwrap()
            .to_owned();
        let end = "Content-Length: 0\r\n\r\n";
        let ack = head("ACK", "sip:doorward@10.0.0.1:5060", "b", &to, 1) + end;
        self.receive(self.door, ack);
        let bye = head("BYE", "sip:doorward@10.0.0.1:5060", "c", &to, 2) + end;
        (bye, copied, to)
    }

    fn tear_down(&mut self, bye: String) {
        let sent = self.receive(self.door, bye);
        let out = sent
            .iter()
            .find(|(to, bytes)| *to == self.desk && bytes.starts_with(b"BYE"))
            .expect("bye");
        let text = String::from_utf8_lossy(&out.1).into_owned();
        let copied: String = text
            .lines()
            .filter(|line| {
                ["Via:", "From:", "To:", "Call-ID:", "CSeq:"]
                    .iter()
                    .any(|name| line.starts_with(name))
            })
            .map(|line| format!("{line}\r\n"))
            .collect();
        self.receive(
            self.desk,
            format!("SIP/2.0 200 OK\r\n{copied}Content-Length: 0\r\n\r\n"),
        );
    }

    /// The desk's phone watches a door; its lamp is told of at once.
    fn watch(&mut self, door: &str) {
        self.serial += 1;
        let n = self.serial;
        let sent = self.receive(
            self.desk,
            format!(
                "SUBSCRIBE sip:{door}@s.example SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.1.2:5060;branch=z9hG4bKs{n}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:desk-1@s.example>;tag=s{n}\r\nTo: <sip:{door}@s.example>\r\n\
                 Call-ID: sub-{n}\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:desk-1@10.0.1.2:5060>\r\nEvent: dialog\r\n\
                 Expires: 1000000\r\nContent-Length: 0\r\n\r\n"
            ),
        );
        assert!(
            sent.iter()
                .any(|(_, bytes)| bytes.starts_with(b"SIP/2.0 200"))
        );
    }

    /// The phone takes what it is told.
    fn take_notifies(&mut self, sent: &[(SocketAddr, Bytes)]) {
        for (_, bytes) in sent.iter().filter(|(_, b)| b.starts_with(b"NOTIFY")) {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let (head, _) = text.split_once("\r\n\r\n").unwrap();
            let copied: String = head
                .lines()
                .filter(|line| {
                    ["Via:", "From:", "To:", "Call-ID:", "CSeq:"]
                        .iter()
                        .any(|name| line.starts_with(name))
                })
                .map(|line| format!("{line}\r\n"))
                .collect();
            self.receive(
                self.desk,
                format!("SIP/2.0 200 OK\r\n{copied}Content-Length: 0\r\n\r\n"),
            );
        }
    }

    /// Lets time pass so that transactions end.
    fn pass(&mut self, time: Duration) {
        let until = self.at + time;
        while let Some(next) = self
            .b2bua
            .next_timeout()
            .map(|at| at - self.start)
            .filter(|at| *at <= until)
        {
            self.at = self.at.max(next);
            let sent = self.feed(Input::Timeout);
            self.take_notifies(&sent);
        }
        self.at = until;
    }
}

fn flow(remote: SocketAddr) -> Flow {
    Flow {
        transport: Transport::Udp,
        local: "10.0.0.1:5060".parse().unwrap(),
        remote,
        connection: None,
    }
}

fn bench(c: &mut Criterion) {
    let mut house = House::new();
    for _ in 0..100 {
        let (bye, ..) = house.set_up();
        house.tear_down(bye);
    }
    house.pass(Duration::from_secs(100));
    let before = HELD.load(Ordering::Relaxed);
    let byes: Vec<String> = (0..1_000).map(|_| house.set_up().0).collect();
    house.pass(Duration::from_secs(60));
    let texts: usize = byes.iter().map(String::capacity).sum();
    let held = HELD.load(Ordering::Relaxed) - before - isize::try_from(texts).unwrap();
    println!(
        "memory per established call, signalling: {} bytes",
        held / 1_000
    );
    for bye in byes {
        house.tear_down(bye);
    }
    house.pass(Duration::from_secs(100));
    println!("calls held after all ended: {}", house.b2bua.held_calls());

    c.bench_function("call set-up and teardown as B2BUA", |b| {
        b.iter_custom(|count| {
            house.spent = Duration::ZERO;
            for _ in 0..count {
                let (bye, ..) = house.set_up();
                house.tear_down(bye);
                // 200 calls a second: transactions of the last half minute stay in the tables.
                house.pass(Duration::from_millis(5));
            }
            house.spent
        });
    });
}

/// Busy lamps: a call costs what those cost who watch its own door, whoever watches the rest of the house.
fn lamps(c: &mut Criterion) {
    for (name, garage, lobby) in [
        ("call, nobody watches", 0, 0),
        ("call, 1,000 lamps of another door", 1_000, 0),
        ("call, 1,000 lamps of another door and 1 of this", 1_000, 1),
    ] {
        let mut house = House::new();
        for _ in 0..garage {
            house.watch("garage");
        }
        for _ in 0..lobby {
            house.watch("lobby");
        }
        house.pass(Duration::from_secs(100));
        let mut told = 0;
        c.bench_function(name, |b| {
            b.iter_custom(|count| {
                house.spent = Duration::ZERO;
                let before = house.b2bua.event_counters().notifier.notified;
                for _ in 0..count {
                    let (bye, ..) = house.set_up();
                    house.tear_down(bye);
                    // 50 calls a second.
                    house.pass(Duration::from_millis(20));
                }
                told += house.b2bua.event_counters().notifier.notified - before;
                house.spent
            });
        });
        println!("{name}: {told} NOTIFYs, {} lamps", garage + lobby);
    }
}

criterion_group!(benches, bench, lamps);
criterion_main!(benches);
