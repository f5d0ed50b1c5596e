//! A caller, the proxy and two callees over links that lose, repeat and reorder, under a virtual clock: every transaction
//! ends, and the caller hears exactly one verdict of each request. A failing seed is printed.
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
use sip_proxy::endpoint::Input;
use sip_proxy::proxy::{self, Next, Proxy, ProxyConfig, Target};
use sip_proxy::{
    ClientTx, Dialog, Endpoint, EndpointConfig, Flow, Message, Method, OutgoingRequest,
    OutgoingResponse, Output, ServerTx, Transport,
};

const CALLER: usize = 0;
const PROXY: usize = 1;
const CALLEES: [usize; 2] = [2, 3];

#[expect(
    clippy::disallowed_methods,
    reason = "tests need one Instant to count from"
)]
fn origin() -> Instant {
    Instant::now()
}

fn address(who: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, u8::try_from(who).unwrap()], 5060))
}

fn flow(from: usize, to: SocketAddr) -> Flow {
    Flow {
        transport: Transport::Udp,
        local: address(from),
        remote: to,
        connection: None,
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Datagram {
        from: usize,
        to: SocketAddr,
        bytes: Bytes,
    },
    Start(u64),
    Cancel(u64),
    Answer {
        who: usize,
        tx: ServerTx,
        status: u16,
    },
}

/// What a callee made of an INVITE.
#[derive(Default)]
struct Served {
    status: Option<u16>,
    acks: u32,
    missing: u32,
}

struct World {
    loss: f64,
    rng: StdRng,
    now: Instant,
    order: u64,
    events: BinaryHeap<Reverse<(Instant, u64, What)>>,
    ends: Vec<Endpoint>,
    proxy: Proxy,
    sent: BTreeMap<ClientTx, OutgoingRequest>,
    /// Finals the caller heard, with the tag each came with.
    verdicts: BTreeMap<ClientTx, Vec<(u16, String)>>,
    served: BTreeMap<(usize, ServerTx), Served>,
}

impl World {
    fn new(seed: u64, loss: f64) -> Self {
        let end = |n: u64| {
            let config = EndpointConfig {
                // Both callees may be asked at one address by one caller, but the proxy itself is no user agent.
                reject_merged: n != PROXY as u64,
                ..Default::default()
            };
            Endpoint::new(config, Box::new(StdRng::seed_from_u64(seed * 4 + n)))
        };
        let config = ProxyConfig {
            own: vec![(address(PROXY).ip().to_string(), 5060)],
            ..Default::default()
        };
        Self {
            loss,
            rng: StdRng::seed_from_u64(seed),
            now: origin(),
            order: 0,
            events: BinaryHeap::new(),
            ends: (0..4).map(end).collect(),
            proxy: Proxy::new(config, [9; 32]),
            sent: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            served: BTreeMap::new(),
        }
    }

    fn at(&mut self, after_ms: u64, what: What) {
        self.order += 1;
        let at = self.now + Duration::from_millis(after_ms);
        self.events.push(Reverse((at, self.order, what)));
    }

    fn transmit(&mut self, from: usize, to: SocketAddr, bytes: &Bytes) {
        let copies = match (
            self.rng.random_bool(self.loss),
            self.rng.random_bool(self.loss / 2.0),
        ) {
            (true, _) => 0,
            (false, true) => 2,
            (false, false) => 1,
        };
        for _ in 0..copies {
            let delay = self.rng.random_range(1..=100);
            let bytes = bytes.clone();
            self.at(delay, What::Datagram { from, to, bytes });
        }
    }

    fn feed(&mut self, who: usize, input: Input) {
        let outputs: Vec<Output> = self.ends[who].handle(self.now, input).collect();
        for output in outputs {
            match output {
                Output::Transmit { flow, bytes } => self.transmit(who, flow.remote, &bytes),
                output if who == PROXY => self.route(output),
                output if who == CALLER => self.hear(output),
                output => self.serve(who, output),
            }
        }
    }

    /// What the shell does with a proxy.
    fn route(&mut self, output: Output) {
        let input = match output {
            Output::Request { tx, message, flow } => match self.proxy.prepare(&message) {
                Err(refusal) => {
                    let response = *refusal;
                    return self.feed(PROXY, Input::Respond { tx, response });
                }
                Ok(prepared) => {
                    let targets = self.targets(&message);
                    proxy::Input::Request {
                        tx,
                        message,
                        flow,
                        prepared,
                        targets,
                    }
                }
            },
            Output::Ack { message, flow, .. } => {
                let Ok(prepared) = self.proxy.prepare(&message) else {
                    return;
                };
                let Next::Hop(uri) = &prepared.next else {
                    return;
                };
                let uri = sip_proxy::Uri::parse(uri).unwrap();
                let to = format!("{}:5060", uri.host_str()).parse().unwrap();
                let target = Target {
                    uri: None,
                    path: Vec::new(),
                    flow: self::flow(PROXY, to),
                };
                proxy::Input::Ack {
                    message,
                    flow,
                    prepared,
                    target,
                }
            }
            Output::Cancelled { tx, .. } => proxy::Input::Cancelled { tx },
            Output::Response { tx, message, .. } => proxy::Input::Response { tx, message },
            Output::Failed { tx, cause } => proxy::Input::Failed { tx, cause },
            _ => return,
        };
        self.drive(input);
    }

    /// One callee, or both where the user part says so.
    fn targets(&self, message: &Message) -> Vec<Target> {
        let both = message.uri().starts_with("sip:both@");
        CALLEES
            .into_iter()
            .take(if both { 2 } else { 1 })
            .map(|who| Target {
                uri: Some(format!("sip:user@{}", address(who).ip())),
                path: Vec::new(),
                flow: flow(PROXY, address(who)),
            })
            .collect()
    }

    fn drive(&mut self, input: proxy::Input) {
        let inputs: Vec<Input> = self.proxy.handle(self.now, input).collect();
        for input in inputs {
            self.feed(PROXY, input);
        }
    }

    fn hear(&mut self, output: Output) {
        let (tx, status, tag) = match &output {
            Output::Response { tx, message, .. } => (
                *tx,
                message.status().unwrap_or_default(),
                message.to_tag().unwrap_or_default().to_owned(),
            ),
            Output::Failed { tx, cause } => (*tx, cause.status(), String::new()),
            _ => return,
        };
        if status < 200 {
            return;
        }
        self.verdicts.entry(tx).or_default().push((status, tag));
        let sent = self.sent[&tx].clone();
        if let Output::Response { message, flow, .. } = output
            && sent.method == Method::Invite
            && status < 300
        {
            let dialog = Dialog::from_response(&sent, &message, flow).expect("a dialog");
            assert_eq!(dialog.route_set.len(), 1, "the proxy stays in the path");
            let request = dialog.ack(sent.cseq);
            let to = self::flow(CALLER, address(PROXY));
            let invite = tx;
            self.feed(
                CALLER,
                Input::Ack {
                    request,
                    to,
                    invite,
                },
            );
        }
    }

    fn serve(&mut self, who: usize, output: Output) {
        match output {
            Output::Request { tx, message, .. } if *message.method() == Method::Invite => {
                self.served.insert((who, tx), Served::default());
                if self.rng.random_bool(0.7) {
                    self.respond(who, tx, 180);
                }
                let status = if self.rng.random_bool(0.6) { 200 } else { 486 };
                let after = self.rng.random_range(0..10_000);
                self.at(after, What::Answer { who, tx, status });
            }
            Output::Request { tx, .. } => self.respond(who, tx, 200),
            Output::Cancelled { tx, .. } => self.answer(who, tx, 487),
            Output::Ack { tx: Some(tx), .. } => {
                self.served.entry((who, tx)).or_default().acks += 1;
            }
            Output::AckMissing { tx } => self.served.entry((who, tx)).or_default().missing += 1,
            _ => {}
        }
    }

    fn answer(&mut self, who: usize, tx: ServerTx, status: u16) {
        let served = self.served.entry((who, tx)).or_default();
        if served.status.is_none() {
            served.status = Some(status);
            self.respond(who, tx, status);
        }
    }

    fn respond(&mut self, who: usize, tx: ServerTx, status: u16) {
        let response = OutgoingResponse::new(status)
            .with_to_tag(format!("{who}-{}", tx.0))
            .with_contact(format!("<sip:user@{}>", address(who).ip()));
        self.feed(who, Input::Respond { tx, response });
    }

    fn start(&mut self, n: u64) {
        let method = [Method::Invite, Method::Invite, Method::Options]
            [self.rng.random_range(0..3_usize)]
        .clone();
        let user = if n.is_multiple_of(2) { "both" } else { "one" };
        let request = OutgoingRequest {
            method: method.clone(),
            uri: format!("sip:{user}@192.0.2.1"),
            from: "<sip:caller@192.0.2.1>;tag=c".into(),
            to: format!("<sip:{user}@192.0.2.1>"),
            call_id: format!("call-{n}"),
            cseq: 1,
            max_forwards: 70,
            route: Vec::new(),
            contact: Some("<sip:caller@192.0.2.0>".into()),
            headers: Vec::new(),
            body: None,
        };
        self.sent.insert(ClientTx(n), request.clone());
        if method == Method::Invite && self.rng.random_bool(0.3) {
            let after = self.rng.random_range(0..8_000);
            self.at(after, What::Cancel(n));
        }
        let (tx, to) = (ClientTx(n), flow(CALLER, address(PROXY)));
        self.feed(CALLER, Input::Request { tx, request, to });
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Datagram { from, to, bytes } => {
                let Some(who) = (0..4).find(|who| address(*who) == to) else {
                    panic!("sent to nobody: {to}");
                };
                let flow = flow(who, address(from));
                self.feed(who, Input::Received { flow, bytes });
            }
            What::Start(n) => self.start(n),
            What::Cancel(n) => {
                let (tx, reason) = (ClientTx(n), None);
                self.feed(CALLER, Input::Cancel { tx, reason });
            }
            What::Answer { who, tx, status } => self.answer(who, tx, status),
        }
    }

    /// Runs until nothing is left to happen.
    fn run(&mut self) {
        for _ in 0..200_000 {
            let event = self.events.peek().map(|Reverse((at, ..))| *at);
            let timers = self.ends.iter().filter_map(Endpoint::next_timeout);
            let Some(next) = timers.chain(event).chain(self.proxy.next_timeout()).min() else {
                return;
            };
            self.now = self.now.max(next);
            for who in 0..4 {
                if self.ends[who]
                    .next_timeout()
                    .is_some_and(|at| at <= self.now)
                {
                    self.feed(who, Input::Timeout);
                }
            }
            if self.proxy.next_timeout().is_some_and(|at| at <= self.now) {
                self.drive(proxy::Input::Timeout);
            }
            if event.is_some_and(|at| at <= self.now)
                && let Some(Reverse((_, _, what))) = self.events.pop()
            {
                self.happen(what);
            }
        }
        panic!("the world does not come to rest");
    }

    fn check(&self, count: u64) {
        assert_eq!(self.verdicts.len() as u64, count, "every request has one");
        for (tx, verdicts) in &self.verdicts {
            let accepted = verdicts.iter().filter(|(status, _)| *status < 300).count();
            if accepted == 0 {
                assert_eq!(verdicts.len(), 1, "{tx:?}: {verdicts:?}");
                continue;
            }
            // Both callees may have picked up: each is a call of its own, told by its tag.
            let mut tags: Vec<&String> = verdicts.iter().map(|(_, tag)| tag).collect();
            tags.sort();
            tags.dedup();
            assert_eq!(tags.len(), accepted, "{tx:?}: {verdicts:?}");
            assert_eq!(verdicts.len(), accepted, "{tx:?}: {verdicts:?}");
            assert!(accepted <= 2 && (accepted == 1 || tx.0.is_multiple_of(2)));
        }
        for (who, served) in &self.served {
            let accepted = u32::from(served.status == Some(200));
            assert_eq!(served.acks + served.missing, accepted, "{who:?}");
        }
        for end in &self.ends {
            let left = (end.server_transactions(), end.client_transactions());
            assert_eq!((left, end.next_timeout()), ((0, 0), None));
        }
        assert_eq!(
            (self.proxy.contexts(), self.proxy.next_timeout()),
            (0, None)
        );
    }
}

fn simulate(seed: u64, loss: f64) -> World {
    const COUNT: u64 = 12;
    let mut world = World::new(seed, loss);
    for n in 0..COUNT {
        let after = world.rng.random_range(0..2_000);
        world.at(after, What::Start(n));
    }
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        world.run();
        world.check(COUNT);
    }));
    if let Err(panic) = outcome {
        eprintln!("failing seed: {seed} at loss {loss}");
        std::panic::resume_unwind(panic);
    }
    world
}

#[test]
fn every_transaction_through_the_proxy_ends_with_one_verdict() {
    for seed in 0..100 {
        simulate(seed, [0.0, 0.05, 0.1, 0.3, 0.5][seed as usize % 5]);
    }
}

#[test]
fn without_loss_whoever_answers_is_heard() {
    for seed in 0..20 {
        let world = simulate(seed, 0.0);
        let mut all = world.verdicts.values().flatten();
        assert!(all.all(|(status, _)| *status != 408));
        let invited = |tx: &ClientTx| world.sent[tx].method == Method::Invite;
        let calls = world.verdicts.iter().filter(|(tx, _)| invited(tx));
        let heard = calls
            .flat_map(|(_, verdicts)| verdicts)
            .filter(|(status, _)| *status == 200);
        let answered = world
            .served
            .values()
            .filter(|served| served.status == Some(200));
        assert_eq!(heard.count(), answered.count());
    }
}

#[test]
fn on_a_dead_link_the_caller_times_out() {
    let world = simulate(3, 1.0);
    assert!(
        world
            .verdicts
            .values()
            .flatten()
            .all(|(status, _)| *status == 408)
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(simulate(11, 0.3).verdicts, simulate(11, 0.3).verdicts);
}
