//! A flood of requests that prove nothing, under a virtual clock: the tables and the memory stay flat, and who belongs
//! here is served as if nothing happened.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where its own words are wrong"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sip_proxy::digest::client::{self, Request, Secret};
use sip_proxy::digest::{AuthVerdict, Authenticator, AuthenticatorConfig, Ha1};
use sip_proxy::{
    Endpoint, EndpointConfig, Flow, HeaderName, Input, Limits, Location, Message, Method,
    OutgoingResponse, Output, Registrar, RegistrarConfig, ServerTx, Transport,
};

struct Counting;

/// Octets held from the allocator; this file's one test is alone in its process.
static HELD: AtomicUsize = AtomicUsize::new(0);

#[expect(
    unsafe_code,
    reason = "measuring memory needs a global allocator, and that trait is unsafe"
)]
// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REALM: &str = "house.example";
const LEGITIMATE: u32 = 20;

/// What a user agent sends; all that tells requests apart is drawn from `mark`.
fn request(method: &str, user: &str, mark: u64, cseq: u32, tag: &str, lines: &str) -> Bytes {
    let to = if tag.is_empty() {
        String::new()
    } else {
        format!(";tag={tag}")
    };
    Bytes::from(format!(
        "{method} sip:{REALM} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{mark:x};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:{user}@{REALM}>;tag={mark:x}\r\nTo: <sip:{user}@{REALM}>{to}\r\nCall-ID: {mark:x}\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:{user}@192.0.2.9>\r\n{lines}Content-Length: 0\r\n\r\n"
    ))
}

/// A user agent server as the house has it: digest before anything else, then registrar or a call answered at once.
struct Site {
    endpoint: Endpoint,
    authenticator: Authenticator,
    registrar: Registrar,
    location: Location,
    now: Instant,
    flow: Flow,
    strays: u32,
}

impl Site {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests need one Instant to count from"
    )]
    fn new() -> Self {
        let now = Instant::now();
        let rng = Box::new(StdRng::seed_from_u64(1));
        Self {
            endpoint: Endpoint::new(EndpointConfig::default(), rng),
            authenticator: Authenticator::new(REALM, [7; 32], now, AuthenticatorConfig::default()),
            registrar: Registrar::new(RegistrarConfig::default()),
            location: Location::new(1_000),
            now,
            flow: Flow {
                transport: Transport::Udp,
                local: ([192, 0, 2, 1], 5060).into(),
                remote: ([192, 0, 2, 9], 5060).into(),
                connection: None,
            },
            strays: 0,
        }
    }

    fn feed(&mut self, input: Input) -> (Option<(ServerTx, Message)>, Option<Message>) {
        let (mut request, mut sent) = (None, None);
        for output in self.endpoint.handle(self.now, input) {
            match output {
                Output::Request { tx, message, .. } => request = Some((tx, message)),
                Output::Transmit { bytes, .. } => {
                    sent = Some(Message::parse(bytes, &Limits::default()).unwrap());
                }
                Output::Ack { tx: None, .. } => self.strays += 1,
                _ => {}
            }
        }
        (request, sent)
    }

    /// One datagram; what is answered.
    fn receive(&mut self, bytes: Bytes) -> Option<Message> {
        let flow = self.flow;
        let (request, sent) = self.feed(Input::Received { flow, bytes });
        let Some((tx, message)) = request else {
            return sent;
        };
        let verdict = self
            .authenticator
            .check(self.now, &message, flow.remote, |user| {
                user.starts_with("door")
                    .then(|| Ha1::of(user, REALM, "secret", true))
            });
        let response = match verdict {
            AuthVerdict::Granted { user, .. } if *message.method() == Method::Register => {
                let aor = format!("sip:{user}@{REALM}");
                self.registrar
                    .register(&mut self.location, self.now, &message, flow, &aor)
                    .response
            }
            AuthVerdict::Granted { .. } => OutgoingResponse::new(200).with_to_tag("ours"),
            _ => {
                let mut response = OutgoingResponse::new(401);
                response.headers = self.authenticator.challenge(self.now, false, false);
                response
            }
        };
        self.feed(Input::Respond { tx, response }).1
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        while self
            .endpoint
            .next_timeout()
            .is_some_and(|at| at <= self.now)
        {
            self.feed(Input::Timeout);
        }
    }

    /// One request of the flood and, for an INVITE, the ACK to its challenge.
    fn hostile(&mut self, rng: &mut StdRng) {
        let mark: u64 = rng.random();
        let method = if mark.is_multiple_of(2) {
            "INVITE"
        } else {
            "REGISTER"
        };
        let user = format!("u{}", rng.random::<u32>());
        let challenge = self
            .receive(request(method, &user, mark, 1, "", ""))
            .expect("an answer");
        assert_eq!(challenge.status(), Some(401));
        if method == "INVITE" {
            let tag = challenge.to_tag().expect("a tag").to_owned();
            assert!(
                self.receive(request("ACK", &user, mark, 1, &tag, ""))
                    .is_none()
            );
        }
    }

    /// A door registers or calls, answering the challenge.
    fn legitimate(&mut self, n: u32, method: &str) {
        let (user, mark) = (format!("door{n}"), 0xd00d_0000 + u64::from(n) * 4);
        let challenge = self
            .receive(request(method, &user, mark, 1, "", ""))
            .expect("a challenge");
        let value = challenge
            .header(&HeaderName::WwwAuthenticate)
            .expect("a challenge");
        let asked = Request {
            method,
            uri: "sip:house.example",
            cnonce: "c",
            nc: 1,
        };
        let answer = client::answer(value, &user, Secret::Password("secret"), &asked).unwrap();
        let line = format!("Authorization: {answer}\r\n");
        let again = request(method, &user, mark + 1, 2, "", &line);
        let served = self.receive(again.clone()).expect("an answer");
        assert_eq!(served.status(), Some(200), "{method} of {user}");
        if method == "REGISTER" {
            let repeated = self.receive(again).expect("the same answer");
            assert_eq!(repeated.status(), Some(200), "not processed twice");
        }
    }
}

#[test]
fn a_flood_without_credentials_leaves_no_trace_and_disturbs_nobody() {
    const FLOOD: u32 = 20_000;
    let mut site = Site::new();
    let mut rng = StdRng::seed_from_u64(2);
    // Warm, so that tables have their first capacity.
    for _ in 0..1_000 {
        site.hostile(&mut rng);
    }
    let held = HELD.load(Ordering::Relaxed);
    let mut most = 0;
    for n in 0..FLOOD {
        site.pass(Duration::from_micros(500));
        site.hostile(&mut rng);
        if n % (FLOOD / LEGITIMATE) == 0 {
            let method = if n % 2_000 == 0 { "INVITE" } else { "REGISTER" };
            site.legitimate(n / (FLOOD / LEGITIMATE), method);
        }
        let live = site.endpoint.server_transactions();
        assert!(live <= LEGITIMATE as usize, "{live} transactions kept");
        most = most.max(HELD.load(Ordering::Relaxed).saturating_sub(held));
    }
    assert!(most < 512 * 1024, "{most} octets grew");
    let counters = site.endpoint.counters();
    assert_eq!(counters.server_overflow, 0);
    assert_eq!(counters.evicted, 0);
    assert!(counters.stateless_acks > 9_000, "the ACKs were known");
    assert_eq!(site.strays, 0, "and reached nobody");
    assert_eq!(site.location.len(), LEGITIMATE as usize / 2);
    site.pass(Duration::from_secs(40));
    assert_eq!(site.endpoint.server_transactions(), 0);
}
