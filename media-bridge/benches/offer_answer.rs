//! Cost of one offer and its answer: what a call's set-up pays for SDP on each leg.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use media_bridge::{Lease, LeaseId, LegProfile, Negotiation};

fn negotiation() -> Negotiation {
    let lease = Lease {
        id: LeaseId(1),
        worker: 0,
        rtp: ([192, 0, 2, 1], 40_000).into(),
        advertise: [192, 0, 2, 1].into(),
    };
    Negotiation::new(LegProfile::default(), lease, 1)
}

fn offers(c: &mut Criterion) {
    let devices: [(&str, &[u8]); 3] = [
        (
            "door with video",
            include_bytes!("../tests/vectors/sdp/2n.sdp"),
        ),
        (
            "handset",
            include_bytes!("../tests/vectors/sdp/handset.sdp"),
        ),
        (
            "browser-like, 30 lines",
            include_bytes!("../tests/vectors/sdp/chromium-plain.sdp"),
        ),
    ];
    for (name, offer) in devices {
        c.bench_function(&format!("read and answer/{name}"), |b| {
            b.iter(|| {
                let mut n = negotiation();
                n.receive_offer(black_box(offer)).unwrap();
                n.answer(None).unwrap()
            });
        });
    }
    let mut callee = negotiation();
    callee.receive_offer(&negotiation().offer(None)).unwrap();
    let answer = callee.answer(None).unwrap();
    c.bench_function("offer and read the answer", |b| {
        b.iter(|| {
            let mut n = negotiation();
            n.offer(None);
            n.receive_answer(black_box(&answer)).unwrap();
            n
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = offers
}
criterion_main!(benches);
