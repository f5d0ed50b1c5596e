//! Cost of one 20 ms packet: decode, encode, and the whole way between two codecs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench fails by panicking"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use media_bridge::OpusParams;
use media_bridge::codec::{
    Codec, Encode, MAX_PACKET_OCTETS, MAX_PACKET_SAMPLES, Rate, decoder, encoder,
};

/// Voiced sound with a syllable rhythm, two seconds.
fn speech(rate: Rate) -> Vec<i16> {
    (0..rate.per_ms() * 2_000)
        .map(|n| {
            let t = n as f64 / f64::from(rate.hz());
            let envelope = 0.55 + 0.45 * (std::f64::consts::TAU * 4.0 * t).sin();
            let voice: f64 = (1..20)
                .map(|k| (std::f64::consts::TAU * 140.0 * f64::from(k) * t).sin() / f64::from(k))
                .sum();
            (voice * envelope * 5_000.0) as i16
        })
        .collect()
}

fn open_encoder(codec: Codec, rate: Rate) -> Box<dyn Encode> {
    encoder(codec, rate, &OpusParams::default()).expect("the pair's own rate")
}

fn packets(codec: Codec) -> Vec<Vec<u8>> {
    let rate = codec.own_rate();
    let (mut mouth, mut buffer) = (open_encoder(codec, rate), [0; MAX_PACKET_OCTETS]);
    let encode = |frame: &[i16]| {
        let n = mouth.encode(frame, &mut buffer).expect("a whole frame");
        buffer[..n].to_vec()
    };
    speech(rate)
        .chunks_exact(rate.per_ms() * 20)
        .map(encode)
        .collect()
}

fn rates(codec: Codec) -> &'static [Rate] {
    match codec {
        Codec::Opus => &[Rate::Hz8000, Rate::Hz16000, Rate::Hz48000],
        _ => &[Rate::Hz8000, Rate::Hz16000],
    }
}

fn single(c: &mut Criterion) {
    for codec in Codec::ALL {
        for rate in rates(codec).iter().copied() {
            let name = format!("{}@{}", codec.name(), rate.hz());
            let input = packets(codec);
            let mut ear = decoder(codec, rate).expect("a rate of the codec");
            let mut pcm = vec![0; MAX_PACKET_SAMPLES];
            let mut next = input.iter().cycle();
            c.bench_function(&format!("decode/{name}"), |b| {
                b.iter(|| next.next().map(|p| ear.decode(black_box(p), &mut pcm)));
            });
            let audio = speech(rate);
            let mut mouth = open_encoder(codec, rate);
            let mut payload = [0; MAX_PACKET_OCTETS];
            let mut next = audio.chunks_exact(rate.per_ms() * 20).cycle();
            c.bench_function(&format!("encode/{name}"), |b| {
                b.iter(|| {
                    next.next()
                        .map(|f| mouth.encode(black_box(f), &mut payload))
                });
            });
        }
    }
}

fn pairs(c: &mut Criterion) {
    for (from, to) in [
        (Codec::Opus, Codec::Pcmu),
        (Codec::Pcmu, Codec::Opus),
        (Codec::Opus, Codec::G722),
        (Codec::G722, Codec::Opus),
        (Codec::G722, Codec::Pcma),
        (Codec::Pcma, Codec::G722),
        (Codec::Pcma, Codec::Pcmu),
    ] {
        let rate = Rate::between(from, to);
        let input = packets(from);
        let mut ear = decoder(from, rate).expect("the pair's rate");
        let mut mouth = open_encoder(to, rate);
        let (mut pcm, mut payload) = (vec![0; MAX_PACKET_SAMPLES], [0; MAX_PACKET_OCTETS]);
        let mut next = input.iter().cycle();
        c.bench_function(&format!("transcode/{}->{}", from.name(), to.name()), |b| {
            b.iter(|| {
                let n = next
                    .next()
                    .map_or(0, |p| ear.decode(black_box(p), &mut pcm).unwrap_or(0));
                mouth.encode(&pcm[..n], &mut payload)
            });
        });
    }
}

fn concealment(c: &mut Criterion) {
    let input = packets(Codec::Pcma);
    let mut ear = decoder(Codec::Pcma, Rate::Hz8000).expect("its own rate");
    let mut pcm = vec![0; MAX_PACKET_SAMPLES];
    let mut next = input.iter().cycle();
    c.bench_function("conceal/PCMA, one packet lost and the next decoded", |b| {
        b.iter(|| {
            ear.conceal(&mut pcm[..160]);
            next.next().map(|p| ear.decode(p, &mut pcm))
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).warm_up_time(std::time::Duration::from_millis(300)).measurement_time(std::time::Duration::from_secs(1));
    targets = single, pairs, concealment
}
criterion_main!(benches);
