//! A registration as a device does it: REGISTER, 401, REGISTER with credentials, 200. The server's share alone is timed;
//! kernel and shell are not in it. Allocations are counted once at the start.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a bench stops where its own words are wrong"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sip_proxy::digest::client::{self, Request, Secret};
use sip_proxy::digest::{Algorithm, AuthVerdict, Authenticator, AuthenticatorConfig, Ha1};
use sip_proxy::{
    Endpoint, EndpointConfig, Flow, HeaderName, Input, Limits, Location, Message, OutgoingResponse,
    Output, Registrar, RegistrarConfig, ServerTx, Transport,
};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[expect(
    unsafe_code,
    reason = "counting allocations needs a global allocator, and that trait is unsafe"
)]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REALM: &str = "house.example";

fn register(n: u64, cseq: u32, authorization: &str) -> Bytes {
    Bytes::from(format!(
        "REGISTER sip:house.example SIP/2.0\r\n\
         Via: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK{n}.{cseq};rport\r\nMax-Forwards: 70\r\n\
         From: \"Desk\" <sip:{n}@house.example>;tag=f{n}\r\nTo: <sip:{n}@house.example>\r\n\
         Call-ID: registration-{n}@192.0.2.9\r\nCSeq: {cseq} REGISTER\r\n\
         Contact: <sip:{n}@192.0.2.9:5060>\r\nExpires: 600\r\nUser-Agent: Desk 1.0\r\n\
         Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO\r\n{authorization}Content-Length: 0\r\n\r\n"
    ))
}

struct Site {
    endpoint: Endpoint,
    authenticator: Authenticator,
    registrar: Registrar,
    location: Location,
    accounts: HashMap<String, Ha1>,
    algorithm: Algorithm,
    now: Instant,
    flow: Flow,
    cseq: u32,
    spent: Duration,
    allocations: usize,
}

impl Site {
    #[expect(
        clippy::disallowed_methods,
        reason = "a bench needs one Instant to count from"
    )]
    fn new(devices: u64, algorithm: Algorithm) -> Self {
        let now = Instant::now();
        let accounts = (0..devices)
            .map(|n| {
                let user = n.to_string();
                let ha1 = Ha1::of(&user, REALM, "secret", true);
                (user, ha1)
            })
            .collect();
        Self {
            endpoint: Endpoint::new(
                EndpointConfig::default(),
                Box::new(StdRng::seed_from_u64(1)),
            ),
            authenticator: Authenticator::new(REALM, [7; 32], now, AuthenticatorConfig::default()),
            registrar: Registrar::new(RegistrarConfig::default()),
            location: Location::new(200_000),
            accounts,
            algorithm,
            now,
            flow: Flow {
                transport: Transport::Udp,
                local: ([192, 0, 2, 1], 5060).into(),
                remote: ([192, 0, 2, 9], 5060).into(),
                connection: None,
            },
            cseq: 0,
            spent: Duration::ZERO,
            allocations: 0,
        }
    }

    fn decide(&mut self, message: &Message, n: u64) -> OutgoingResponse {
        let accounts = &self.accounts;
        let verdict = self
            .authenticator
            .check(self.now, message, self.flow.remote, |user| {
                accounts.get(user).cloned()
            });
        if let AuthVerdict::Granted { user, .. } = verdict {
            let aor = format!("sip:{user}@house.example");
            let registered =
                self.registrar
                    .register(&mut self.location, self.now, message, self.flow, &aor);
            black_box(&registered.changes);
            return registered.response;
        }
        assert_eq!(verdict, AuthVerdict::Missing, "{n}");
        let mut response = OutgoingResponse::new(401);
        response.headers = self.authenticator.challenge(self.now, false, false);
        response
    }

    /// One request answered; the time counts.
    #[expect(clippy::disallowed_methods, reason = "a bench measures time")]
    fn serve(&mut self, bytes: Bytes, n: u64) -> Bytes {
        let flow = self.flow;
        let allocations = ALLOCATIONS.load(Ordering::Relaxed);
        let start = Instant::now();
        let mut request: Option<(ServerTx, Message)> = None;
        for output in self
            .endpoint
            .handle(self.now, Input::Received { flow, bytes })
        {
            if let Output::Request { tx, message, .. } = output {
                request = Some((tx, message));
            }
        }
        let (tx, message) = request.expect("a request");
        let response = self.decide(&message, n);
        let mut sent = Bytes::new();
        for output in self
            .endpoint
            .handle(self.now, Input::Respond { tx, response })
        {
            if let Output::Transmit { bytes, .. } = output {
                sent = bytes;
            }
        }
        if self
            .endpoint
            .next_timeout()
            .is_some_and(|at| at <= self.now)
        {
            for output in self.endpoint.handle(self.now, Input::Timeout) {
                black_box(output);
            }
        }
        drop(message);
        self.spent += start.elapsed();
        self.allocations += ALLOCATIONS.load(Ordering::Relaxed) - allocations;
        sent
    }

    /// The four messages. A millisecond of the virtual clock goes by.
    fn registration(&mut self) {
        self.now += Duration::from_millis(1);
        self.cseq += 2;
        let n = u64::from(self.cseq / 2) % self.accounts.len() as u64;
        let challenge = self.serve(register(n, self.cseq, ""), n);
        let challenge = Message::parse(challenge, &Limits::default()).expect("a 401");
        let value = challenge
            .headers(&HeaderName::WwwAuthenticate)
            .find(|value| value.contains(self.algorithm.as_str()))
            .expect("the algorithm");
        let request = Request {
            method: "REGISTER",
            uri: "sip:house.example",
            cnonce: "0a4f113b",
            nc: 1,
        };
        let answer = client::answer(value, &n.to_string(), Secret::Password("secret"), &request)
            .expect("an answer");
        let ok = self.serve(
            register(n, self.cseq + 1, &format!("Authorization: {answer}\r\n")),
            n,
        );
        assert!(ok.starts_with(b"SIP/2.0 200"));
    }
}

fn registrations(c: &mut Criterion) {
    for (algorithm, devices) in [
        (Algorithm::Sha256, 100),
        (Algorithm::Sha256, 10_000),
        (Algorithm::Md5, 100),
    ] {
        let mut site = Site::new(devices, algorithm);
        for _ in 0..2 * devices {
            site.registration();
        }
        site.allocations = 0;
        site.registration();
        let name = format!("registration/{} among {devices}", algorithm.as_str());
        println!("{name}: {} allocations", site.allocations);
        c.bench_function(&name, |b| {
            b.iter_custom(|times| {
                site.spent = Duration::ZERO;
                for _ in 0..times {
                    site.registration();
                }
                site.spent
            });
        });
    }
}

criterion_group!(benches, registrations);
criterion_main!(benches);
