//! What one packet costs: a relay hop and a transcoded frame, without the system calls around them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../tests/rig/mod.rs"]
mod rig;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use media_bridge::rtp::Stamp;
use media_bridge::{Codec, Command, Component, Input, LegId, rtp};
use rig::{A, Rig, Tone1k, config, home};

/// One packet of a running call, 100 calls open.
fn hop(c: &mut Criterion, name: &str, from: Codec, to: Codec) {
    let mut rig = Rig::new();
    for call in 0..100 {
        let (a, b) = (LegId(2 * call + 1), LegId(2 * call + 2));
        rig.open(config(a, from));
        rig.open(config(b, to));
        rig.command(Command::Join { a, b });
    }
    let mut tone = Tone1k::new(from);
    let payloads: Vec<_> = (0..50).map(|_| tone.packet(20)).collect();
    let units = from.rtp_clock() / 50;
    let payload_type = from.static_payload().unwrap_or(96);
    let (mut sequence, mut timestamp) = (0_u16, 0_u32);
    let mut buffer = vec![0_u8; 2_048];
    c.bench_function(name, |bencher| {
        bencher.iter(|| {
            let payload = &payloads[usize::from(sequence) % payloads.len()];
            let stamp = Stamp {
                marker: false,
                payload_type,
                sequence,
                timestamp,
                ssrc: 7,
            };
            let bytes = &mut buffer[..12 + payload.len()];
            bytes[..12].copy_from_slice(&stamp.header());
            bytes[12..].copy_from_slice(payload);
            (sequence, timestamp) = (sequence.wrapping_add(1), timestamp.wrapping_add(units));
            rig.now += Duration::from_millis(20);
            let input = Input::Packet {
                leg: A,
                component: Component::Rtp,
                from: home(A),
                bytes,
            };
            for output in rig.bridge.handle(rig.now, input) {
                black_box(&output);
            }
        });
    });
}

fn benches(c: &mut Criterion) {
    hop(c, "relay PCMU, one hop", Codec::Pcmu, Codec::Pcmu);
    hop(c, "relay Opus, one hop", Codec::Opus, Codec::Opus);
    hop(c, "transcode PCMU to PCMA, 20 ms", Codec::Pcmu, Codec::Pcma);
    hop(
        c,
        "transcode PCMU to G.722, 20 ms",
        Codec::Pcmu,
        Codec::G722,
    );
    hop(c, "transcode PCMU to Opus, 20 ms", Codec::Pcmu, Codec::Opus);
    hop(c, "transcode Opus to PCMU, 20 ms", Codec::Opus, Codec::Pcmu);
    hop(
        c,
        "transcode Opus to G.722, 20 ms",
        Codec::Opus,
        Codec::G722,
    );
    let packet = [
        &Stamp {
            marker: false,
            payload_type: 0,
            sequence: 1,
            timestamp: 2,
            ssrc: 3,
        }
        .header()[..],
        &[0; 160],
    ]
    .concat();
    c.bench_function("parse an RTP header", |bencher| {
        bencher.iter(|| rtp::parse(black_box(&packet)));
    });
}

criterion_group!(relay, benches);
criterion_main!(relay);
