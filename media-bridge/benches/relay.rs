//! What one packet costs: a relay hop and a transcoded frame, without the system calls around them.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "../tests/rig/mod.rs"]
mod rig;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use media_bridge::codec;
use media_bridge::rtp::Stamp;
use media_bridge::{Codec, Command, Component, Input, LegId, OpusParams, rtp};
use rig::{Rig, config, home};

/// Two seconds of voice-like sound, coded: a steady tone would flatter the Opus encoder threefold.
fn speech(codec: Codec) -> Vec<Vec<u8>> {
    let rate = codec.own_rate();
    let mut encoder = codec::encoder(codec, rate, &OpusParams::default()).unwrap();
    let samples = 20 * rate.per_ms();
    let mut noise = 1_u32;
    let mut sample = |n: usize| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let time = n as f64 / f64::from(rate.hz());
        let pitch = 120.0 + 30.0 * (time * 3.0).sin();
        let wave = |k: f64| (std::f64::consts::TAU * pitch * k * time).sin() / k;
        let breath = f64::from(noise >> 16) / 65_536.0 - 0.5;
        let swell = 0.2 + (time * 12.0).sin().abs();
        ((wave(1.0) + wave(3.0) + wave(7.0) + wave(15.0) + 0.3 * breath) * swell * 6_000.0) as i16
    };
    let packet = |at: usize| {
        let pcm: Vec<i16> = (at * samples..(at + 1) * samples)
            .map(&mut sample)
            .collect();
        let mut out = vec![0; codec::MAX_PACKET_OCTETS];
        let octets = encoder.encode(&pcm, &mut out).unwrap();
        out.truncate(octets);
        out
    };
    (0..100).map(packet).collect()
}

/// One packet; 100 calls take turns, so that caches see what they see in service.
fn hop(c: &mut Criterion, name: &str, from: Codec, to: Codec) {
    let mut rig = Rig::new();
    for call in 0..100 {
        let (a, b) = (LegId(2 * call + 1), LegId(2 * call + 2));
        rig.open(config(a, from));
        rig.open(config(b, to));
        rig.command(Command::Join { a, b });
    }
    let payloads = speech(from);
    let units = from.rtp_clock() / 50;
    let payload_type = from.static_payload().unwrap_or(96);
    let (mut sequence, mut timestamp, mut call) = (0_u16, 0_u32, 0_u64);
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
            let leg = LegId(2 * call + 1);
            let input = Input::Packet {
                leg,
                component: Component::Rtp,
                from: home(leg),
                bytes,
            };
            for output in rig.bridge.handle(rig.now, input) {
                black_box(&output);
            }
            call += 1;
            if call == 100 {
                call = 0;
                (sequence, timestamp) = (sequence.wrapping_add(1), timestamp.wrapping_add(units));
                rig.now += Duration::from_millis(20);
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
