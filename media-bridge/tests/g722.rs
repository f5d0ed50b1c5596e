//! G.722 against an independent codec (`tests/vectors/g722/README.md`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use media_bridge::codec::{Decode, Encode, Rate, g722};

const INPUT: &[u8] = include_bytes!("vectors/g722/input.s16le");
const ENCODED: &[u8] = include_bytes!("vectors/g722/encoded.g722");
const DECODED: &[u8] = include_bytes!("vectors/g722/decoded.s16le");
const RANDOM: &[u8] = include_bytes!("vectors/g722/random.g722");
const RANDOM_DECODED: &[u8] = include_bytes!("vectors/g722/random.s16le");

fn samples(bytes: &[u8]) -> Vec<i16> {
    bytes
        .chunks_exact(2)
        .map(|b| i16::from_le_bytes([b[0], b[1]]))
        .collect()
}

fn decode(stream: &[u8]) -> Vec<i16> {
    let mut decoder = g722::Decoder::new(Rate::Hz16000).unwrap();
    let mut out = vec![0; stream.len() * 2];
    for (payload, pcm) in stream.chunks(160).zip(out.chunks_mut(320)) {
        decoder.decode(payload, pcm).unwrap();
    }
    out
}

fn first_difference(ours: &[i16], theirs: &[i16]) -> Option<(usize, i16, i16)> {
    assert_eq!(ours.len(), theirs.len());
    let at = ours.iter().zip(theirs).position(|(a, b)| a != b)?;
    Some((at, ours[at], theirs[at]))
}

#[test]
fn decoding_is_bit_exact() {
    assert_eq!(first_difference(&decode(ENCODED), &samples(DECODED)), None);
}

#[test]
fn decoding_is_bit_exact_for_any_octets() {
    assert_eq!(
        first_difference(&decode(RANDOM), &samples(RANDOM_DECODED)),
        None
    );
}

#[test]
fn encoding_is_bit_exact() {
    let mut encoder = g722::Encoder::new(Rate::Hz16000).unwrap();
    let mut out = vec![0; ENCODED.len()];
    for (pcm, payload) in samples(INPUT).chunks(320).zip(out.chunks_mut(160)) {
        encoder.encode(pcm, payload).unwrap();
    }
    let same = out.iter().zip(ENCODED).filter(|(a, b)| a == b).count();
    assert_eq!(
        same,
        ENCODED.len(),
        "first at {:?}",
        out.iter().zip(ENCODED).position(|(a, b)| a != b)
    );
}

#[test]
fn the_way_there_and_back_keeps_the_signal() {
    // The two QMF banks delay by 22 samples.
    let (input, output) = (samples(INPUT), decode(ENCODED));
    let (mut signal, mut noise) = (0.0, 0.0);
    for (a, b) in input.iter().zip(&output[22..]).take(9_000) {
        signal += f64::from(*a).powi(2);
        noise += (f64::from(*a) - f64::from(*b)).powi(2);
    }
    let snr = 10.0 * (signal / noise).log10();
    assert!(snr > 15.0, "SNR {snr:.1} dB");
}
