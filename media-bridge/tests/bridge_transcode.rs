//! What a leg hears when its partner speaks another codec.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use media_bridge::codec::{self, Rate};
use media_bridge::{Codec, Command, OpusParams};
use rig::{
    A, B, Phone, Rig, Sent, TONE_AMPLITUDE, Tone1k, amplitude, assert_continuous, config, decode,
    rms,
};

/// One second of tone from A; what B was sent. `each` may drop or delay a packet.
fn carry(
    rig: &mut Rig,
    from: Codec,
    ptime: usize,
    mut lost: impl FnMut(usize) -> bool,
) -> Vec<Sent> {
    let mut tone = Tone1k::new(from);
    let mut phone = Phone::new(A, from);
    let units = u32::try_from(ptime).unwrap() * from.rtp_clock() / 1_000;
    for nth in 0..1_200 / ptime {
        let payload = tone.packet(ptime);
        if lost(nth) {
            let _ = phone.packet(phone.payload_type, &payload);
            phone.timestamp += units;
        } else {
            phone.speak(rig, &payload, units);
        }
        rig.pass(ptime as u64);
    }
    rig.heard_by(B)
}

#[track_caller]
fn assert_tone(codec: Codec, heard: &[Sent], what: &str) {
    let pcm = decode(codec, heard);
    let rate = codec.own_rate();
    let steady = &pcm[rate.hz() as usize / 2..rate.hz() as usize];
    let level = 20.0 * (amplitude(steady, rate, 1_000.0) / TONE_AMPLITUDE).log10();
    assert!(level.abs() < 1.0, "{what}: level off by {level:.2} dB");
    let whole = rms(steady) * std::f64::consts::SQRT_2;
    let purity = amplitude(steady, rate, 1_000.0) / whole;
    assert!(
        purity > 0.98,
        "{what}: only {purity:.3} of the energy is at 1 kHz"
    );
}

#[test]
fn every_pair_of_codecs_carries_a_tone_at_its_level_and_pitch() {
    for from in Codec::ALL {
        for to in Codec::ALL {
            let mut rig = Rig::pair(from, to);
            let heard = carry(&mut rig, from, 20, |_| false);
            assert_eq!(
                heard.len(),
                60,
                "one packet out for each in, {from:?} to {to:?}"
            );
            assert_continuous(&heard, to.rtp_clock() / 50);
            assert_tone(to, &heard, &format!("{from:?} to {to:?}"));
            assert_eq!(rig.stats(A).transcoded, from != to);
            assert_eq!(rig.stats(B).transcoded, from != to);
        }
    }
}

#[test]
fn packet_lengths_are_converted_both_ways() {
    for (from_ms, to_ms) in [
        (20, 10),
        (20, 30),
        (20, 40),
        (20, 60),
        (30, 20),
        (60, 20),
        (10, 20),
        (40, 60),
    ] {
        let mut rig = Rig::pair(Codec::Pcma, Codec::Pcmu);
        let mut other = config(B, Codec::Pcmu);
        other.ptime_ms = to_ms;
        rig.update(other);
        let heard = carry(&mut rig, Codec::Pcma, from_ms, |_| false);
        assert_eq!(
            heard.len(),
            1_200 / usize::from(to_ms),
            "{from_ms} to {to_ms} ms"
        );
        assert_continuous(&heard, u32::from(to_ms) * 8);
        assert_tone(Codec::Pcmu, &heard, &format!("{from_ms} to {to_ms} ms"));
    }
}

#[test]
fn opus_without_a_frame_of_30_ms_is_sent_20() {
    let mut rig = Rig::pair(Codec::Pcma, Codec::Opus);
    let mut other = config(B, Codec::Opus);
    other.ptime_ms = 30;
    rig.update(other);
    assert_continuous(&carry(&mut rig, Codec::Pcma, 30, |_| false), 960);
}

#[test]
fn lost_packets_are_made_up_and_the_rhythm_stays() {
    for from in [Codec::Opus, Codec::Pcmu, Codec::G722] {
        let to = if from == Codec::Pcmu {
            Codec::Pcma
        } else {
            Codec::Pcmu
        };
        let mut rig = Rig::pair(from, to);
        let heard = carry(&mut rig, from, 20, |nth| nth % 10 == 9 && nth < 59);
        assert_eq!(heard.len(), 60, "{from:?}: every gap is closed");
        assert_continuous(&heard, 160);
        let stats = rig.stats(A);
        assert_eq!(stats.concealed + stats.recovered, 5, "{from:?}");
        assert_eq!(stats.lost, 5);
    }
}

/// Voiced-like sound at the rate where libopus adds redundancy for sure.
fn speech_with_redundancy() -> impl FnMut() -> Vec<u8> {
    let (rate, params) = (Rate::Hz16000, OpusParams::default());
    let mut encoder = codec::encoder(Codec::Opus, rate, &params).unwrap();
    encoder.expect_loss(20);
    let mut at = 0;
    move || {
        let pcm: Vec<i16> = (at..at + 320)
            .map(|n| {
                let time = f64::from(n) / 16_000.0;
                let swell = (time * 20.0).sin().abs();
                let wave = |k: f64| (std::f64::consts::TAU * 140.0 * k * time).sin() / k;
                ((wave(1.0) + wave(2.0) + wave(5.0)) * swell * 6_000.0) as i16
            })
            .collect();
        at += 320;
        let mut out = vec![0; codec::MAX_PACKET_OCTETS];
        let octets = encoder.encode(&pcm, &mut out).unwrap();
        out.truncate(octets);
        out
    }
}

#[test]
fn opus_redundancy_rebuilds_a_lost_packet() {
    let mut rig = Rig::pair(Codec::Opus, Codec::Pcmu);
    let (mut phone, mut speech) = (Phone::new(A, Codec::Opus), speech_with_redundancy());
    for nth in 0..100 {
        let payload = speech();
        if nth % 10 == 9 {
            let _ = phone.packet(96, &payload);
            phone.timestamp += 960;
        } else {
            phone.speak(&mut rig, &payload, 960);
        }
        rig.pass(20);
    }
    let stats = rig.stats(A);
    assert_eq!(stats.recovered + stats.concealed, 9);
    // The sound swells, and libopus adds no redundancy to its quiet parts.
    assert!(stats.recovered >= 5, "{} of 9 rebuilt", stats.recovered);
}

#[test]
fn a_long_gap_is_made_up_for_a_tenth_of_a_second_only() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcma);
    let heard = carry(&mut rig, Codec::Pcmu, 20, |nth| (10..40).contains(&nth));
    assert_eq!(rig.stats(A).concealed, 5);
    assert_eq!(heard.len(), 60 - 30 + 5);
    let first = heard[0].header();
    let last = heard[heard.len() - 1].header();
    assert_eq!(
        last.timestamp.wrapping_sub(first.timestamp),
        59 * 160,
        "time itself is not lost"
    );
    assert!(
        heard
            .iter()
            .any(|sent| sent.header().marker && sent.header() != first)
    );
}

#[test]
fn late_and_copied_packets_are_not_played_twice() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcma);
    let mut phone = Phone::new(A, Codec::Pcmu);
    phone.talk(&mut rig, 5);
    let mut late = phone.clone();
    let skipped = phone.packet(0, &[7; 160]);
    phone.timestamp += 160;
    phone.talk(&mut rig, 1);
    rig.rtp(A, phone.from, &skipped);
    late.sequence -= 2;
    late.talk(&mut rig, 1);
    let heard = rig.heard_by(B);
    assert_eq!(heard.len(), 7, "five, one made up, one");
    assert_continuous(&heard, 160);
}

#[test]
fn silence_left_out_by_the_speaker_is_left_out_again() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcma);
    let mut phone = Phone::new(A, Codec::Pcmu);
    phone.talk(&mut rig, 3);
    rig.pass(1_000);
    phone.timestamp += 8_000;
    phone.marker = true;
    phone.talk(&mut rig, 3);
    let heard = rig.heard_by(B);
    assert_eq!(heard.len(), 6);
    let step = heard[3]
        .header()
        .timestamp
        .wrapping_sub(heard[2].header().timestamp);
    assert_eq!(step, 8_160);
    assert!(heard[3].header().marker);
}

#[test]
fn a_clear_channel_is_never_transcoded() {
    let mut rig = Rig::new();
    let mut lift = config(A, Codec::Pcmu);
    lift.clear = true;
    rig.open(lift);
    rig.open(config(B, Codec::Pcma));
    rig.command(Command::Join { a: A, b: B });
    Phone::new(A, Codec::Pcmu).talk(&mut rig, 3);
    Phone::new(B, Codec::Pcma).talk(&mut rig, 3);
    assert!(rig.heard_by(A).is_empty() && rig.heard_by(B).is_empty());
    assert_eq!(rig.bridge.counters().refused_pairs, 2);
}

#[test]
fn a_phone_changing_to_another_agreed_codec_is_followed() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcma);
    let mut both = config(A, Codec::Pcmu);
    both.alternates.push((8, Codec::Pcma));
    rig.update(both);
    let mut phone = Phone::new(A, Codec::Pcmu);
    phone.talk(&mut rig, 5);
    phone.payload_type = 8;
    phone.talk(&mut rig, 5);
    phone.payload_type = 0;
    phone.talk(&mut rig, 5);
    let heard = rig.heard_by(B);
    assert_eq!(heard.len(), 15);
    assert!(heard.iter().all(|sent| sent.header().payload_type == 8));
    assert_continuous(&heard, 160);
}

#[test]
fn a_codec_changed_by_re_invite_goes_on_with_the_same_ssrc_and_sequence() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let mut phone = Phone::new(A, Codec::Pcmu);
    phone.talk(&mut rig, 3);
    rig.update(config(B, Codec::Opus));
    phone.talk(&mut rig, 3);
    let heard = rig.heard_by(B);
    assert_eq!(heard.len(), 6);
    for pair in heard.windows(2) {
        let (before, after) = (pair[0].header(), pair[1].header());
        assert_eq!(after.ssrc, before.ssrc);
        assert_eq!(after.sequence, before.sequence.wrapping_add(1));
    }
    assert_eq!(heard[5].header().payload_type, 96);
}
