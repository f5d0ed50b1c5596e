//! Two endpoints joined by a lossy, duplicating, reordering link under a virtual clock: whatever the link does, every
//! transaction ends, with exactly one final verdict each. A failing seed is printed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where its own words are wrong"
)]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sip_proxy::{
    ClientTx, Dialog, Endpoint, EndpointConfig, Flow, Input, Message, Method, OutgoingRequest,
    OutgoingResponse, Output, ServerTx, Transport,
};

#[expect(
    clippy::disallowed_methods,
    reason = "tests need one Instant to count from"
)]
fn origin() -> Instant {
    Instant::now()
}

/// What the link does to a datagram.
#[derive(Debug, Clone, Copy)]
struct Link {
    loss: f64,
    duplication: f64,
    delay_ms: u64,
    transport: Transport,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Datagram { to: usize, bytes: Bytes },
    Start(u64),
    Cancel(u64),
    Answer { tx: ServerTx, status: u16 },
}

/// What the user agent server saw of one INVITE.
#[derive(Default)]
struct Served {
    final_status: Option<u16>,
    acks: u32,
    missing: u32,
}

struct World {
    link: Link,
    rng: StdRng,
    now: Instant,
    order: u64,
    events: BinaryHeap<Reverse<(Instant, u64, What)>>,
    sides: [Endpoint; 2],
    sent: BTreeMap<ClientTx, OutgoingRequest>,
    finals: BTreeMap<ClientTx, Vec<u16>>,
    served: BTreeMap<ServerTx, Served>,
    seen: BTreeMap<String, u32>,
}

fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1 + side as u8], 5060))
}

impl World {
    fn new(seed: u64, link: Link) -> Self {
        let endpoint = |n| {
            Endpoint::new(
                EndpointConfig::default(),
                Box::new(StdRng::seed_from_u64(seed * 2 + n)),
            )
        };
        Self {
            link,
            rng: StdRng::seed_from_u64(seed),
            now: origin(),
            order: 0,
            events: BinaryHeap::new(),
            sides: [endpoint(0), endpoint(1)],
            sent: BTreeMap::new(),
            finals: BTreeMap::new(),
            served: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    fn flow(&self, from: usize) -> Flow {
        Flow {
            transport: self.link.transport,
            local: address(from),
            remote: address(1 - from),
            connection: None,
        }
    }

    fn at(&mut self, after: Duration, what: What) {
        self.order += 1;
        self.events
            .push(Reverse((self.now + after, self.order, what)));
    }

    fn transmit(&mut self, from: usize, bytes: &Bytes) {
        let copies = if self.link.transport.is_stream() {
            1
        } else if self.rng.random_bool(self.link.loss) {
            0
        } else if self.rng.random_bool(self.link.duplication) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let delay = if self.link.transport.is_stream() {
                self.link.delay_ms
            } else {
                self.rng.random_range(1..=self.link.delay_ms)
            };
            self.at(
                Duration::from_millis(delay),
                What::Datagram {
                    to: 1 - from,
                    bytes: bytes.clone(),
                },
            );
        }
    }

    fn feed(&mut self, side: usize, input: Input) {
        let outputs: Vec<Output> = self.sides[side].handle(self.now, input).collect();
        for output in outputs {
            self.take(side, output);
        }
    }

    fn take(&mut self, side: usize, output: Output) {
        match output {
            Output::Transmit { bytes, .. } => self.transmit(side, &bytes),
            Output::Request { tx, message, .. } => {
                let name = format!(
                    "{} {} {}",
                    message.call_id(),
                    message.cseq(),
                    message.method().as_str()
                );
                *self.seen.entry(name).or_default() += 1;
                self.serve(side, tx, &message);
            }
            Output::Cancelled { tx, .. } => self.answer(side, tx, 487),
            Output::Ack { tx, .. } => {
                if let Some(tx) = tx {
                    self.served.entry(tx).or_default().acks += 1;
                }
            }
            Output::AckMissing { tx } => self.served.entry(tx).or_default().missing += 1,
            Output::Response { tx, message, flow } => {
                let status = message.status().unwrap_or_default();
                if status >= 200 {
                    self.finals.entry(tx).or_default().push(status);
                }
                let sent = self.sent[&tx].clone();
                if sent.method == Method::Invite && (200..300).contains(&status) {
                    let dialog =
                        Dialog::from_response(&sent, &message, flow).expect("a 2xx makes a dialog");
                    self.feed(
                        side,
                        Input::Ack {
                            request: dialog.ack(sent.cseq),
                            to: self.flow(side),
                            invite: tx,
                        },
                    );
                }
            }
            Output::Failed { tx, cause } => self.finals.entry(tx).or_default().push(cause.status()),
        }
    }

    fn serve(&mut self, side: usize, tx: ServerTx, message: &Message) {
        if *message.method() != Method::Invite {
            self.feed(
                side,
                Input::Respond {
                    tx,
                    response: OutgoingResponse::new(200),
                },
            );
            return;
        }
        self.served.insert(tx, Served::default());
        if self.rng.random_bool(0.7) {
            let ringing = OutgoingResponse::new(180).with_to_tag(format!("t{}", tx.0));
            self.feed(
                side,
                Input::Respond {
                    tx,
                    response: ringing,
                },
            );
        }
        let status = if self.rng.random_bool(0.6) { 200 } else { 486 };
        let after = Duration::from_millis(self.rng.random_range(0..20_000));
        self.at(after, What::Answer { tx, status });
    }

    fn answer(&mut self, side: usize, tx: ServerTx, status: u16) {
        let served = self.served.entry(tx).or_default();
        if served.final_status.is_some() {
            return;
        }
        served.final_status = Some(status);
        let response = OutgoingResponse::new(status)
            .with_to_tag(format!("t{}", tx.0))
            .with_contact("<sip:desk@192.0.2.2>");
        self.feed(side, Input::Respond { tx, response });
    }

    fn start(&mut self, n: u64) {
        let method = match self.rng.random_range(0..3) {
            0 => Method::Options,
            1 => Method::Info,
            _ => Method::Invite,
        };
        let request = OutgoingRequest {
            method: method.clone(),
            uri: "sip:desk@192.0.2.2".into(),
            from: "<sip:door@192.0.2.1>;tag=a".into(),
            to: "<sip:desk@192.0.2.2>".into(),
            call_id: format!("call-{n}"),
            cseq: 1,
            max_forwards: 70,
            route: Vec::new(),
            contact: Some("<sip:door@192.0.2.1>".into()),
            headers: Vec::new(),
            body: None,
        };
        self.sent.insert(ClientTx(n), request.clone());
        if method == Method::Invite && self.rng.random_bool(0.3) {
            let after = Duration::from_millis(self.rng.random_range(0..10_000));
            self.at(after, What::Cancel(n));
        }
        self.feed(
            0,
            Input::Request {
                tx: ClientTx(n),
                request,
                to: self.flow(0),
            },
        );
    }

    /// Runs until nothing is left to happen.
    fn run(&mut self) {
        for _ in 0..1_000_000 {
            let event = self.events.peek().map(|Reverse((at, ..))| *at);
            let timeout = self.sides.iter().filter_map(Endpoint::next_timeout).min();
            let Some(next) = event.into_iter().chain(timeout).min() else {
                return;
            };
            self.now = self.now.max(next);
            for side in 0..2 {
                if self.sides[side]
                    .next_timeout()
                    .is_some_and(|at| at <= self.now)
                {
                    self.feed(side, Input::Timeout);
                }
            }
            while self
                .events
                .peek()
                .is_some_and(|Reverse((at, ..))| *at <= self.now)
            {
                let Some(Reverse((_, _, what))) = self.events.pop() else {
                    break;
                };
                match what {
                    What::Datagram { to, bytes } => self.feed(
                        to,
                        Input::Received {
                            flow: self.flow(to),
                            bytes,
                        },
                    ),
                    What::Start(n) => self.start(n),
                    What::Cancel(n) => self.feed(
                        0,
                        Input::Cancel {
                            tx: ClientTx(n),
                            reason: None,
                        },
                    ),
                    What::Answer { tx, status } => self.answer(1, tx, status),
                }
            }
        }
        panic!("the world does not come to rest");
    }

    fn check(&self, count: u64) {
        assert_eq!(
            self.finals.len() as u64,
            count,
            "every transaction has a verdict"
        );
        for (tx, finals) in &self.finals {
            assert_eq!(finals.len(), 1, "{tx:?} has one verdict: {finals:?}");
        }
        for (name, times) in &self.seen {
            assert_eq!(*times, 1, "{name} reached the user once");
        }
        for (tx, served) in &self.served {
            let accepted = u32::from(served.final_status == Some(200));
            assert_eq!(
                served.acks + served.missing,
                accepted,
                "{tx:?} was acknowledged or missed, once"
            );
        }
        for side in &self.sides {
            assert_eq!(
                (side.server_transactions(), side.client_transactions()),
                (0, 0),
                "nothing is left"
            );
            assert_eq!(side.next_timeout(), None, "no timer is left");
        }
    }
}

fn simulate(seed: u64, link: Link, count: u64) -> World {
    let mut world = World::new(seed, link);
    for n in 0..count {
        let after = Duration::from_millis(world.rng.random_range(0..2_000));
        world.at(after, What::Start(n));
    }
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        world.run();
        world.check(count);
    }));
    if let Err(panic) = outcome {
        eprintln!("failing seed: {seed} over {link:?}");
        std::panic::resume_unwind(panic);
    }
    world
}

fn verdicts(world: &World) -> Vec<(ClientTx, Vec<u16>)> {
    world
        .finals
        .iter()
        .map(|(tx, finals)| (*tx, finals.clone()))
        .collect()
}

#[test]
fn every_transaction_ends_once_whatever_the_link_loses() {
    for seed in 0..200 {
        let loss = [0.0, 0.05, 0.2, 0.5][seed as usize % 4];
        let link = Link {
            loss,
            duplication: 0.2,
            delay_ms: 300,
            transport: Transport::Udp,
        };
        simulate(seed, link, 20);
    }
}

#[test]
fn a_stream_needs_no_retransmission_but_that_of_2xx() {
    for seed in 0..50 {
        let link = Link {
            loss: 0.0,
            duplication: 0.0,
            delay_ms: 20,
            transport: Transport::Tcp,
        };
        let world = simulate(seed, link, 20);
        for side in &world.sides {
            assert_eq!(side.counters().retransmissions_out, 0);
        }
    }
}

#[test]
fn a_dead_link_times_every_transaction_out() {
    let link = Link {
        loss: 1.0,
        duplication: 0.0,
        delay_ms: 20,
        transport: Transport::Udp,
    };
    let world = simulate(7, link, 10);
    assert!(world.finals.values().all(|finals| finals == &[408]));
    assert_eq!(world.sides[0].counters().timeouts, 10);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let link = Link {
        loss: 0.3,
        duplication: 0.3,
        delay_ms: 300,
        transport: Transport::Udp,
    };
    let (one, two) = (simulate(42, link, 30), simulate(42, link, 30));
    assert_eq!(verdicts(&one), verdicts(&two));
    assert_eq!(one.sides[0].counters(), two.sides[0].counters());
}

/// Noise: messages with pieces exchanged, cut or repeated, and a transaction user that does anything in any order.
#[test]
fn no_sequence_of_inputs_panics_and_the_tables_stay_bounded() {
    const SEEDS: [&str; 6] = [
        "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1;rport\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContact: <sip:a@c>\r\nContent-Length: 0\r\n\r\n",
        "CANCEL sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 CANCEL\r\n\r\n",
        "ACK sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK2\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=x\r\nCall-ID: 1\r\nCSeq: 1 ACK\r\n\r\n",
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK0.0\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n",
        "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP c:99;branch=old\r\nFrom: <sip:a@b>\r\nTo: <sip:a@b>\r\nCall-ID: 2\r\nCSeq: 2 OPTIONS\r\n\r\n",
        "REGISTER sip:b SIP/3.0\r\nVia: SIP/2.0/UDP c\r\nFrom: <sip:a@b>\r\nTo: <sip:a@b>\r\nCall-ID: 3\r\nCSeq: 9 REGISTER\r\n\r\n",
    ];
    for seed in 0..150 {
        let mut rng = StdRng::seed_from_u64(seed);
        let config = EndpointConfig {
            max_server_transactions: 8,
            max_client_transactions: 8,
            ..Default::default()
        };
        let mut endpoint = Endpoint::new(config, Box::new(StdRng::seed_from_u64(seed)));
        let mut now = origin();
        let mut open: Vec<ServerTx> = Vec::new();
        let mut heard: Vec<Bytes> = SEEDS
            .iter()
            .map(|text| Bytes::from_static(text.as_bytes()))
            .collect();
        for step in 0..400_u64 {
            now += Duration::from_millis(rng.random_range(0..2_000));
            let transport = if rng.random_bool(0.5) {
                Transport::Udp
            } else {
                Transport::Tcp
            };
            let flow = Flow {
                transport,
                local: address(0),
                remote: address(1),
                connection: None,
            };
            let input = noise(&mut rng, &heard, &open, step, flow);
            let outputs: Vec<Output> = endpoint.handle(now, input).collect();
            for output in outputs {
                match output {
                    Output::Request { tx, .. } => open.push(tx),
                    // What was sent comes back: its own requests, and answers to them made of its own responses.
                    Output::Transmit { bytes, .. } if heard.len() < 200 => heard.push(bytes),
                    _ => {}
                }
            }
            assert!(
                endpoint.server_transactions() <= 8 && endpoint.client_transactions() <= 8,
                "seed {seed}"
            );
        }
    }
}

fn noise(rng: &mut StdRng, heard: &[Bytes], open: &[ServerTx], step: u64, flow: Flow) -> Input {
    let tx = open
        .get(rng.random_range(0..open.len().max(1)))
        .copied()
        .unwrap_or(ServerTx(rng.random()));
    let client = ClientTx(rng.random_range(0..=step));
    let request = OutgoingRequest {
        method: [Method::Invite, Method::Bye, Method::Ack, Method::Cancel][rng.random_range(0..4)]
            .clone(),
        uri: "sip:a@b".into(),
        from: "<sip:a@b>;tag=1".into(),
        to: "broken".into(),
        call_id: "1".into(),
        cseq: 1,
        max_forwards: 70,
        route: Vec::new(),
        contact: None,
        headers: Vec::new(),
        body: None,
    };
    match rng.random_range(0..10) {
        0 => Input::Timeout,
        1 => Input::Respond {
            tx,
            response: OutgoingResponse::new(
                [100, 180, 200, 302, 408, 487, 699, 7][rng.random_range(0..8)],
            ),
        },
        2 => Input::Request {
            tx: client,
            request,
            to: flow,
        },
        3 => Input::Ack {
            request,
            to: flow,
            invite: client,
        },
        4 => Input::Cancel {
            tx: client,
            reason: Some("x\r\ny: z".into()),
        },
        5 => Input::TransportFailed {
            flow,
            bytes: heard[rng.random_range(0..heard.len())].clone(),
        },
        _ => {
            let mut bytes = heard[rng.random_range(0..heard.len())].to_vec();
            for _ in 0..rng.random_range(0..4_u32) {
                let at = rng.random_range(0..bytes.len().max(1));
                match rng.random_range(0..3) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at.min(bytes.len()), rng.random()),
                    _ => {
                        if let Some(byte) = bytes.get_mut(at) {
                            *byte = rng.random();
                        }
                    }
                }
            }
            Input::Received {
                flow,
                bytes: Bytes::from(bytes),
            }
        }
    }
}
