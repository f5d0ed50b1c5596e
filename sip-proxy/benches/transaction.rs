//! Cost of a transaction from creation to its end, alone and among 10,000 others, and of a REGISTER.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a bench stops where its own words are wrong"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sip_proxy::{
    ClientTx, Endpoint, EndpointConfig, Flow, Input, Location, Message, Method, OutgoingRequest,
    OutgoingResponse, Output, Registrar, RegistrarConfig, Transport,
};

fn flow() -> Flow {
    Flow {
        transport: Transport::Udp,
        local: ([192, 0, 2, 1], 5060).into(),
        remote: ([192, 0, 2, 9], 5060).into(),
        connection: None,
    }
}

fn request(method: &str, n: u64, lines: &str) -> Bytes {
    Bytes::from(format!(
        "{method} sip:desk@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK{n};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"Lobby\" <sip:door@192.0.2.1>;tag=f{n}\r\nTo: <sip:desk@192.0.2.1>\r\n\
         Call-ID: call-{n}@192.0.2.9\r\nCSeq: 1 {method}\r\nContact: <sip:door@192.0.2.9:5060>\r\n\
         User-Agent: Door 1.0\r\nAllow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\n{lines}Content-Length: 0\r\n\r\n"
    ))
}

struct World {
    endpoint: Endpoint,
    now: Instant,
    n: u64,
}

impl World {
    /// An endpoint with `others` transactions that stay.
    #[expect(
        clippy::disallowed_methods,
        reason = "a bench needs one Instant to count from"
    )]
    fn new(others: u64) -> Self {
        let endpoint = Endpoint::new(
            EndpointConfig::default(),
            Box::new(StdRng::seed_from_u64(1)),
        );
        let mut world = Self {
            endpoint,
            now: Instant::now(),
            n: 0,
        };
        for _ in 0..others {
            world.n += 1;
            let bytes = request("INVITE", world.n, "");
            world.feed(Input::Received {
                flow: flow(),
                bytes,
            });
        }
        world
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        self.endpoint.handle(self.now, input).collect()
    }

    /// A request answered 200. Time goes on by 1 ms each, so that old ones end at the same rate.
    fn serve(&mut self, method: &str) {
        self.n += 1;
        self.now += Duration::from_millis(1);
        let outputs = self.feed(Input::Received {
            flow: flow(),
            bytes: request(method, self.n, ""),
        });
        for output in outputs {
            if let Output::Request { tx, .. } = output {
                black_box(self.feed(Input::Respond {
                    tx,
                    response: OutgoingResponse::new(200).with_to_tag("t"),
                }));
            }
        }
        if method == "INVITE" {
            let ack = String::from_utf8(request("ACK", self.n, "").to_vec()).unwrap();
            let ack = ack
                .replace("To: <sip:desk@192.0.2.1>", "To: <sip:desk@192.0.2.1>;tag=t")
                .replace("branch=z9hG4bK", "branch=z9hG4bKa");
            black_box(self.feed(Input::Received {
                flow: flow(),
                bytes: Bytes::from(ack),
            }));
        }
        if self
            .endpoint
            .next_timeout()
            .is_some_and(|at| at <= self.now)
        {
            black_box(self.feed(Input::Timeout));
        }
    }

    /// A request of ours, answered 200.
    fn ask(&mut self) {
        self.n += 1;
        self.now += Duration::from_millis(1);
        let request = OutgoingRequest {
            method: Method::Options,
            uri: "sip:door@192.0.2.9".into(),
            from: "<sip:us@192.0.2.1>;tag=u".into(),
            to: "<sip:door@192.0.2.9>".into(),
            call_id: format!("ours-{}", self.n),
            cseq: 1,
            max_forwards: 70,
            route: Vec::new(),
            contact: Some("<sip:us@192.0.2.1>".into()),
            headers: Vec::new(),
            body: None,
        };
        for output in self.feed(Input::Request {
            tx: ClientTx(self.n),
            request,
            to: flow(),
        }) {
            if let Output::Transmit { bytes, .. } = output {
                let sent = Message::parse(bytes, &sip_proxy::Limits::default()).expect("ours");
                let answer = sip_proxy::message::write_response(
                    &OutgoingResponse::new(200).with_to_tag("t"),
                    &sent,
                    flow().remote,
                    None,
                );
                black_box(self.feed(Input::Received {
                    flow: flow(),
                    bytes: answer,
                }));
            }
        }
        if self
            .endpoint
            .next_timeout()
            .is_some_and(|at| at <= self.now)
        {
            black_box(self.feed(Input::Timeout));
        }
    }
}

fn transactions(c: &mut Criterion) {
    for others in [10, 10_000] {
        let mut world = World::new(others);
        c.bench_function(&format!("server/options among {others}"), |b| {
            b.iter(|| world.serve("OPTIONS"));
        });
        let mut world = World::new(others);
        c.bench_function(&format!("server/invite among {others}"), |b| {
            b.iter(|| world.serve("INVITE"));
        });
        let mut world = World::new(others);
        c.bench_function(&format!("client/options among {others}"), |b| {
            b.iter(|| world.ask());
        });
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a bench needs one Instant to count from"
)]
fn registrations(c: &mut Criterion) {
    let now = Instant::now();
    for bound in [100_u64, 100_000] {
        let mut location = Location::new(200_000);
        let mut registrar = Registrar::new(RegistrarConfig::default());
        let mut cseq = 1;
        let register = |n: u64, cseq: u32| {
            let text = String::from_utf8(request("REGISTER", n, "Expires: 600\r\n").to_vec())
                .expect("text");
            let text = text.replace("CSeq: 1 ", &format!("CSeq: {cseq} "));
            Message::parse(Bytes::from(text), &sip_proxy::Limits::default()).expect("a REGISTER")
        };
        for n in 0..bound {
            registrar.register(
                &mut location,
                now,
                &register(n, 1),
                flow(),
                &format!("sip:{n}@example.com"),
            );
        }
        c.bench_function(&format!("registrar/refresh among {bound}"), |b| {
            b.iter_batched(
                || {
                    cseq += 1;
                    register(u64::from(cseq) % bound, cseq)
                },
                |message| {
                    let aor = format!("sip:{}@example.com", u64::from(message.cseq()) % bound);
                    black_box(registrar.register(&mut location, now, &message, flow(), &aor))
                },
                criterion::BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, transactions, registrations);
criterion_main!(benches);
