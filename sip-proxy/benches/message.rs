//! Parse and write of a typical INVITE: time by criterion, allocations counted once at the start.

#![allow(missing_docs, clippy::expect_used, reason = "a bench may panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use sip_proxy::message::{HeaderName, Limits, Message, OutgoingResponse, write_response};
use sip_proxy::{Splice, Uri};

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

const INVITE: &str = "INVITE sip:101@house.example SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.20:5060;rport;branch=z9hG4bK17414d8f21\r\n\
Max-Forwards: 70\r\n\
From: \"Front door\" <sip:door-front@house.example>;tag=8a7fb2c1\r\n\
To: <sip:101@house.example>\r\n\
Call-ID: 7d1c1b2a-55f0-4e0b-9d5c-6a0e5f3e1b77@192.0.2.20\r\n\
CSeq: 20 INVITE\r\n\
Contact: <sip:door-front@192.0.2.20:5060;transport=udp>\r\n\
Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, UPDATE\r\n\
Supported: timer, replaces\r\n\
User-Agent: Door Station 4.2\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 155\r\n\
\r\n\
v=0\r\no=- 3906 3906 IN IP4 192.0.2.20\r\ns=-\r\nc=IN IP4 192.0.2.20\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendrecv\r\n";

fn allocations(what: &str, mut work: impl FnMut()) {
    work();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    work();
    println!(
        "{what}: {} allocations",
        ALLOCATIONS.load(Ordering::Relaxed) - before
    );
}

fn message(c: &mut Criterion) {
    let bytes = Bytes::from_static(INVITE.as_bytes());
    let limits = Limits::default();
    let parsed = Message::parse(bytes.clone(), &limits).expect("a valid INVITE");
    let source = "192.0.2.20:5060".parse().expect("an address");
    let ok = OutgoingResponse::new(200)
        .with_to_tag("abc")
        .with_contact("<sip:192.0.2.1>")
        .with_header(HeaderName::Allow, "INVITE, ACK, BYE, CANCEL")
        .with_body("application/sdp", Bytes::from_static(b"v=0\r\n"));
    let splice = || {
        Splice::new(&parsed)
            .stamp_via(source)
            .push_via("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1")
            .max_forwards(69)
            .finish()
    };

    allocations("parse INVITE", || {
        drop(black_box(Message::parse(bytes.clone(), &limits)));
    });
    allocations("write 200", || {
        drop(black_box(write_response(
            &ok,
            &parsed,
            source,
            Some("Doorward"),
        )));
    });
    allocations("splice INVITE", || drop(black_box(splice())));

    c.bench_function("parse INVITE", |b| {
        b.iter(|| Message::parse(black_box(bytes.clone()), &limits));
    });
    c.bench_function("read Call-ID, CSeq, tags, top Via", |b| {
        b.iter(|| {
            let m = black_box(&parsed);
            (
                m.call_id().len(),
                m.cseq(),
                m.from_tag().map(str::len),
                m.to_tag().is_some(),
                m.top_via().branch().map(str::len),
            )
        });
    });
    c.bench_function("read Request-URI", |b| {
        b.iter(|| Uri::parse(black_box(&parsed).uri()));
    });
    c.bench_function("write 200 to INVITE", |b| {
        b.iter(|| write_response(black_box(&ok), &parsed, source, Some("Doorward")));
    });
    c.bench_function("splice INVITE", |b| b.iter(splice));
}

criterion_group!(benches, message);
criterion_main!(benches);
