//! Every codec, every inner rate, every pair.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use media_bridge::OpusParams;
use media_bridge::codec::{
    Codec, CodecError, MAX_PACKET_OCTETS, MAX_PACKET_SAMPLES, Rate, decoder, encoder,
};

const TONE_HZ: f64 = 1_000.0;

fn tone(rate: Rate, from: usize, count: usize) -> Vec<i16> {
    (from..from + count)
        .map(|n| {
            ((std::f64::consts::TAU * TONE_HZ * n as f64 / f64::from(rate.hz())).sin() * 8_000.0)
                as i16
        })
        .collect()
}

/// Amplitude of a frequency.
fn strength(pcm: &[i16], hz: f64, rate: Rate) -> f64 {
    let (mut c, mut s) = (0.0, 0.0);
    for (i, v) in pcm.iter().enumerate() {
        let angle = std::f64::consts::TAU * hz * i as f64 / f64::from(rate.hz());
        c += f64::from(*v) * angle.cos();
        s += f64::from(*v) * angle.sin();
    }
    c.hypot(s) * 2.0 / pcm.len() as f64
}

fn params() -> OpusParams {
    OpusParams::default()
}

/// Encodes a tone with `codec`, one payload per 20 ms.
fn payloads(codec: Codec, packets: usize) -> Vec<Vec<u8>> {
    let rate = codec.own_rate();
    let frame = rate.per_ms() * 20;
    let mut encoder = encoder(codec, rate, &params()).unwrap();
    let mut buffer = [0; MAX_PACKET_OCTETS];
    (0..packets)
        .map(|i| {
            let length = encoder
                .encode(&tone(rate, i * frame, frame), &mut buffer)
                .unwrap();
            buffer[..length].to_vec()
        })
        .collect()
}

#[test]
fn every_pair_carries_a_tone_at_its_level() {
    for from in Codec::ALL {
        let packets = payloads(from, 50);
        for to in Codec::ALL {
            let rate = Rate::between(from, to);
            let mut ear = decoder(from, rate).unwrap();
            let mut mouth = encoder(to, rate, &params()).unwrap();
            let mut far = decoder(to, to.own_rate()).unwrap();
            let (mut pcm, mut payload) = (vec![0; MAX_PACKET_SAMPLES], [0; MAX_PACKET_OCTETS]);
            let mut heard = Vec::new();
            for packet in &packets {
                assert_eq!(ear.samples(packet), rate.per_ms() * 20, "{from:?}");
                let n = ear.decode(packet, &mut pcm).unwrap();
                let n = mouth.encode(&pcm[..n], &mut payload).unwrap();
                let mut out = vec![0; MAX_PACKET_SAMPLES];
                let n = far.decode(&payload[..n], &mut out).unwrap();
                heard.extend_from_slice(&out[..n]);
            }
            assert_eq!(heard.len(), to.own_rate().per_ms() * 1_000);
            let level = strength(&heard[heard.len() / 2..], TONE_HZ, to.own_rate()) / 8_000.0;
            assert!(
                (0.9..1.1).contains(&level),
                "{from:?} -> {to:?}: {level:.3}"
            );
        }
    }
}

#[test]
fn g711_and_opus_meet_at_8_khz_and_wide_codecs_at_16() {
    assert_eq!(Rate::between(Codec::Opus, Codec::Pcmu), Rate::Hz8000);
    assert_eq!(Rate::between(Codec::Pcma, Codec::G722), Rate::Hz8000);
    assert_eq!(Rate::between(Codec::Opus, Codec::G722), Rate::Hz16000);
    assert_eq!(Rate::between(Codec::L16, Codec::G722), Rate::Hz16000);
    assert_eq!(Codec::G722.rtp_clock(), 8_000, "RFC 3551 4.5.2");
}

#[test]
fn any_octets_are_decoded_without_panic() {
    let mut seed = 1_u32;
    let mut random = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    for codec in Codec::ALL {
        for rate in [Rate::Hz8000, Rate::Hz16000, Rate::Hz48000] {
            let Ok(mut decoder) = decoder(codec, rate) else {
                continue;
            };
            let mut out = vec![0; MAX_PACKET_SAMPLES];
            for length in (0..1_500).step_by(7) {
                let payload: Vec<u8> = (0..length).map(|_| random()).collect();
                let promised = decoder.samples(&payload);
                match decoder.decode(&payload, &mut out) {
                    Ok(n) => assert_eq!(n, promised, "{codec:?}"),
                    Err(e) => assert!(
                        matches!(e, CodecError::Malformed | CodecError::Short),
                        "{codec:?}"
                    ),
                }
                decoder.conceal(&mut out[..rate.per_ms() * 20]);
                decoder.recover(&payload, &mut out[..rate.per_ms() * 20]);
            }
        }
    }
}

#[test]
fn short_buffers_are_told() {
    for codec in Codec::ALL {
        let packet = payloads(codec, 1).remove(0);
        let mut ear = decoder(codec, codec.own_rate()).unwrap();
        assert_eq!(
            ear.decode(&packet, &mut [0; 16]),
            Err(CodecError::Short),
            "{codec:?}"
        );
        let frame = tone(codec.own_rate(), 0, codec.own_rate().per_ms() * 20);
        let mut mouth = encoder(codec, codec.own_rate(), &params()).unwrap();
        assert!(mouth.encode(&frame, &mut [0; 1]).is_err(), "{codec:?}");
    }
}

#[test]
fn every_packet_length_is_encoded() {
    for codec in Codec::ALL {
        for ms in [10, 20, 30, 40, 60] {
            let mut mouth = encoder(codec, Rate::Hz16000, &params()).unwrap();
            let result = mouth.encode(&vec![0; 16 * usize::from(ms)], &mut [0; MAX_PACKET_OCTETS]);
            assert_eq!(result.is_ok(), codec.can_ptime(ms), "{codec:?} {ms} ms");
        }
    }
}

/// Noise with a changing envelope, which FEC has something to do with; deterministic.
fn speech_like(count: usize) -> Vec<i16> {
    (0..count)
        .map(|n| {
            let t = n as f64 / 8_000.0;
            let envelope = 0.55 + 0.45 * (std::f64::consts::TAU * 4.0 * t).sin();
            let voice: f64 = (1..8)
                .map(|k| (std::f64::consts::TAU * 140.0 * f64::from(k) * t).sin() / f64::from(k))
                .sum();
            (voice * envelope * 5_000.0) as i16
        })
        .collect()
}

#[test]
fn opus_fec_rebuilds_a_lost_packet_better_than_concealment() {
    let input = speech_like(8_000 * 3);
    let mut mouth = encoder(Codec::Opus, Rate::Hz8000, &params()).unwrap();
    let mut buffer = [0; MAX_PACKET_OCTETS];
    let packets: Vec<Vec<u8>> = input
        .chunks(160)
        .map(|frame| {
            let n = mouth.encode(frame, &mut buffer).unwrap();
            buffer[..n].to_vec()
        })
        .collect();
    let mut clean = Vec::new();
    let mut ear = decoder(Codec::Opus, Rate::Hz8000).unwrap();
    for packet in &packets {
        let mut pcm = [0; 160];
        ear.decode(packet, &mut pcm).unwrap();
        clean.push(pcm);
    }
    let noise_of = |fec: bool| {
        let mut ear = decoder(Codec::Opus, Rate::Hz8000).unwrap();
        let (mut signal, mut noise, mut rebuilt) = (0.0, 0.0, 0);
        for (i, packet) in packets.iter().enumerate() {
            let mut pcm = [0; 160];
            if i % 10 == 9 {
                match packets.get(i + 1) {
                    Some(next) if fec => rebuilt += usize::from(ear.recover(next, &mut pcm)),
                    _ => ear.conceal(&mut pcm),
                }
                for (a, b) in pcm.iter().zip(&clean[i]) {
                    signal += f64::from(*b).powi(2);
                    noise += (f64::from(*a) - f64::from(*b)).powi(2);
                }
            } else {
                ear.decode(packet, &mut pcm).unwrap();
            }
        }
        assert!(!fec || rebuilt >= 8, "{rebuilt} of 14 had redundancy");
        10.0 * (signal / noise).log10()
    };
    let (with, without) = (noise_of(true), noise_of(false));
    assert!(
        with > without + 3.0 && with > 8.0,
        "SNR of lost frames: FEC {with:.1} dB, concealed {without:.1} dB"
    );
}

#[test]
fn a_peer_without_fec_is_sent_none() {
    let rebuilt = |fec| {
        let mut mouth =
            encoder(Codec::Opus, Rate::Hz8000, &OpusParams { fec, ..params() }).unwrap();
        let mut ear = decoder(Codec::Opus, Rate::Hz8000).unwrap();
        let mut buffer = [0; MAX_PACKET_OCTETS];
        let recover = |frame: &[i16]| {
            let n = mouth.encode(frame, &mut buffer).unwrap();
            ear.recover(&buffer[..n], &mut [0; 160])
        };
        speech_like(16_000)
            .chunks(160)
            .map(recover)
            .filter(|r| *r)
            .count()
    };
    // Only frames with a voice in them are worth repeating to libopus.
    assert!(rebuilt(true) > 50, "{}", rebuilt(true));
    assert_eq!(rebuilt(false), 0);
}

#[test]
fn opus_dtx_falls_silent_when_asked_to() {
    let octets = |dtx| {
        let mut mouth =
            encoder(Codec::Opus, Rate::Hz8000, &OpusParams { dtx, ..params() }).unwrap();
        let mut buffer = [0; MAX_PACKET_OCTETS];
        (0..100)
            .map(|_| mouth.encode(&[0; 160], &mut buffer).unwrap())
            .sum::<usize>()
    };
    assert!(octets(true) < octets(false));
}

#[test]
fn a_lost_g711_packet_is_made_up_and_an_opus_one_too() {
    for codec in Codec::ALL {
        let rate = codec.own_rate();
        let mut ear = decoder(codec, rate).unwrap();
        let mut pcm = vec![0; MAX_PACKET_SAMPLES];
        for packet in payloads(codec, 20) {
            ear.decode(&packet, &mut pcm).unwrap();
        }
        let mut made = vec![0; rate.per_ms() * 10];
        ear.conceal(&mut made);
        assert!(
            strength(&made, TONE_HZ, rate) > 5_000.0,
            "{codec:?}: {}",
            strength(&made, TONE_HZ, rate)
        );
    }
}
