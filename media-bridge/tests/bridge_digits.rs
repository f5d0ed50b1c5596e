//! Digits in and out, over every clock and every quirk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod rig;

use media_bridge::dtmf::rfc4733::EventPayload;
use media_bridge::{Codec, Command, Direction, Event, Pacing, TelephoneEvent};
use rig::{A, B, Phone, Rig, Sent, assert_continuous, config};

/// What a phone does wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Quirk {
    None,
    NoMarker,
    EndsOnly,
    EndsLost,
    HalfLost,
    Long,
    Unagreed,
    OwnPayloadType,
    MovingTimestamp,
}

const QUIRKS: [Quirk; 9] = [
    Quirk::None,
    Quirk::NoMarker,
    Quirk::EndsOnly,
    Quirk::EndsLost,
    Quirk::HalfLost,
    Quirk::Long,
    Quirk::Unagreed,
    Quirk::OwnPayloadType,
    Quirk::MovingTimestamp,
];

/// Presses a key the way RFC 4733 wants it or the quirk has it; audio time goes on.
fn press(rig: &mut Rig, phone: &mut Phone, event: u8, clock: u32, quirk: Quirk) {
    let step = u16::try_from(clock / 50).unwrap();
    let steps: u16 = if quirk == Quirk::Long { 60 } else { 5 };
    let payload_type = match quirk {
        Quirk::Unagreed => 120,
        Quirk::OwnPayloadType => 102,
        _ => 101,
    };
    let start = phone.timestamp;
    for nth in 1..=steps + 2 {
        let end = nth >= steps;
        let payload = EventPayload {
            event,
            end,
            volume: 10,
            duration: step * nth.min(steps),
        };
        phone.marker = nth == 1 && quirk != Quirk::NoMarker;
        if quirk == Quirk::MovingTimestamp {
            (phone.marker, phone.timestamp) = (false, start + u32::from(step) * u32::from(nth - 1));
        }
        let packet = phone.packet(payload_type, &payload.octets());
        let lost = match quirk {
            Quirk::EndsOnly => !end,
            Quirk::EndsLost => end,
            Quirk::HalfLost => nth % 2 == 1,
            _ => false,
        };
        if !lost {
            rig.rtp(phone.leg, phone.from, &packet);
        }
        if nth <= steps {
            rig.pass(20);
        }
    }
    phone.timestamp = start + u32::from(step) * u32::from(steps);
}

fn audio(rig: &mut Rig, phone: &mut Phone, codec: Codec, packets: usize) {
    for _ in 0..packets {
        let payload = match codec {
            Codec::Opus => vec![0xf8, 0xff, 0xfe],
            Codec::L16 => vec![1; 640],
            _ => vec![0x55; 160],
        };
        phone.speak(rig, &payload, codec.rtp_clock() / 50);
        rig.pass(20);
    }
}

#[test]
fn one_press_is_one_digit_in_every_clock_and_quirk() {
    for codec in [Codec::Pcmu, Codec::L16, Codec::Opus, Codec::G722] {
        for quirk in QUIRKS {
            let mut rig = Rig::pair(codec, Codec::Pcma);
            let mut leg = config(A, codec);
            let clock = codec.rtp_clock();
            leg.telephone_event = Some(TelephoneEvent {
                payload: 102,
                receive: 101,
                clock,
            });
            rig.update(leg);
            let mut phone = Phone::new(A, codec);
            audio(&mut rig, &mut phone, codec, 3);
            for event in [1, 1, 10, 1] {
                press(&mut rig, &mut phone, event, clock, quirk);
                audio(&mut rig, &mut phone, codec, 5);
            }
            assert_eq!(rig.digits(), "11*1", "{codec:?} {quirk:?}");
            let warned = matches!(quirk, Quirk::Unagreed | Quirk::OwnPayloadType);
            assert_eq!(rig.stats(A).unagreed_events, if warned { 4 } else { 0 });
        }
    }
}

#[test]
fn a_digit_is_reported_in_the_wake_up_of_its_first_packet() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let mut phone = Phone::new(A, Codec::Pcmu);
    let first = phone.packet(101, &[9, 10, 0, 160]);
    rig.rtp(A, phone.from, &first);
    assert!(
        matches!(
            rig.events[..],
            [
                Event::Latched { .. },
                Event::Digit {
                    leg: A,
                    duration_ms: 20,
                    ..
                }
            ]
        ),
        "{:?}",
        rig.events
    );
}

#[test]
fn a_phone_that_presses_before_it_speaks_is_heard() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    press(
        &mut rig,
        &mut Phone::new(A, Codec::Pcmu),
        9,
        8_000,
        Quirk::None,
    );
    assert_eq!(rig.digits(), "9");
}

#[test]
fn a_leg_on_hold_or_feeding_no_keys_presses_nothing() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let mut held = config(A, Codec::Pcmu);
    held.direction = Direction::SendOnly;
    rig.update(held.clone());
    let mut phone = Phone::new(A, Codec::Pcmu);
    press(&mut rig, &mut phone, 9, 8_000, Quirk::None);
    assert_eq!(rig.digits(), "");
    held.direction = Direction::SendRecv;
    rig.command(Command::Open {
        leg: A,
        config: held,
        feeds_keys: false,
    });
    press(&mut rig, &mut phone, 9, 8_000, Quirk::None);
    assert_eq!(rig.digits(), "");
}

/// No event reaches the partner, and its stream has no hole but for packets that were `lost` on the way here.
#[track_caller]
fn assert_unaware(heard: &[Sent], codec: Codec, lost: u16, what: &str) {
    let payload_type = codec.static_payload().unwrap_or(96);
    assert!(
        heard
            .iter()
            .all(|sent| sent.header().payload_type == payload_type),
        "{what}"
    );
    for pair in heard.windows(2) {
        let (before, after) = (pair[0].header(), pair[1].header());
        let step = after.timestamp.wrapping_sub(before.timestamp);
        let ahead = after.sequence.wrapping_sub(before.sequence);
        assert!(
            (1..=1 + lost).contains(&ahead),
            "{what}: {ahead} numbers on"
        );
        assert!(
            step > 0 && step <= codec.rtp_clock() / 5,
            "{what}: a step of {step}"
        );
    }
}

#[test]
fn the_partner_hears_silence_instead_and_no_jump() {
    for (from, to) in [
        (Codec::Pcmu, Codec::Pcmu),
        (Codec::Opus, Codec::Opus),
        (Codec::G722, Codec::G722),
        (Codec::L16, Codec::L16),
        (Codec::Pcmu, Codec::Pcma),
        (Codec::Opus, Codec::Pcmu),
        (Codec::Pcmu, Codec::Opus),
    ] {
        for quirk in QUIRKS {
            let what = format!("{from:?} to {to:?}, {quirk:?}");
            let mut rig = Rig::pair(from, to);
            let mut leg = config(A, from);
            let clock = from.rtp_clock();
            leg.telephone_event = Some(TelephoneEvent {
                payload: 102,
                receive: 101,
                clock,
            });
            rig.update(leg);
            let mut phone = Phone::new(A, from);
            audio(&mut rig, &mut phone, from, 5);
            press(&mut rig, &mut phone, 5, clock, quirk);
            audio(&mut rig, &mut phone, from, 5);
            let heard = rig.heard_by(B);
            let lost = match quirk {
                Quirk::EndsLost => 3, // right before live audio: seen as loss, which it is
                Quirk::HalfLost => 1,
                _ => 0,
            };
            assert_unaware(&heard, to, lost, &what);
            if quirk == Quirk::None {
                assert_continuous(&heard, to.rtp_clock() / 50);
                assert_eq!(heard.len(), 15, "{what}");
            }
        }
    }
}

#[test]
fn a_tone_sent_beside_its_event_is_silenced() {
    for to in [Codec::Pcmu, Codec::Pcma] {
        let mut rig = Rig::pair(Codec::Pcmu, to);
        let mut phone = Phone::new(A, Codec::Pcmu);
        phone.speak(&mut rig, &[0x10; 160], 160);
        let held = phone.packet(101, &[5, 10, 0, 0]);
        rig.rtp(A, phone.from, &held);
        phone.speak(&mut rig, &[0x10; 160], 160);
        let heard = rig.heard_by(B);
        let quiet = if to == Codec::Pcmu { 0xff } else { 0xd5 };
        assert!(
            heard[1].payload().iter().all(|octet| *octet == quiet),
            "{to:?}"
        );
        assert!(heard[0].payload().iter().any(|octet| *octet != quiet));
    }
}

fn pressed(sent: &[Sent]) -> Vec<(u8, u16, bool)> {
    sent.iter()
        .filter(|sent| sent.header().payload_type == 101)
        .map(|sent| {
            let payload = EventPayload::parse(sent.payload()).unwrap();
            (payload.event, payload.duration, sent.header().marker)
        })
        .collect()
}

#[test]
fn digits_sent_have_the_legs_clock_marker_three_ends_and_its_own_numbers() {
    for codec in [Codec::Pcmu, Codec::Opus, Codec::L16] {
        let mut rig = Rig::pair(codec, codec);
        let mut partner = Phone::new(A, codec);
        audio(&mut rig, &mut partner, codec, 3);
        let pacing = Pacing {
            tone_ms: 60,
            gap_ms: 80,
        };
        rig.command(Command::SendDigits {
            leg: B,
            order: 1,
            digits: "9x#".into(),
            pacing,
        });
        audio(&mut rig, &mut partner, codec, 20);
        let heard = rig.heard_by(B);
        let unit = u16::try_from(codec.rtp_clock() / 50).unwrap();
        let one = |event| {
            [1, 2, 3, 3, 3]
                .into_iter()
                .enumerate()
                .map(move |(nth, d)| (event, d * unit, nth == 0))
        };
        let wanted: Vec<_> = one(9).chain(one(11)).collect();
        assert_eq!(pressed(&heard), wanted, "{codec:?}");
        assert_eq!(
            rig.events
                .iter()
                .filter(|e| **e == Event::DigitsSent { leg: B, order: 1 })
                .count(),
            1
        );
        for pair in heard.windows(2) {
            assert_eq!(
                pair[1].header().sequence,
                pair[0].header().sequence.wrapping_add(1)
            );
            assert_eq!(pair[1].header().ssrc, pair[0].header().ssrc);
        }
        let stamps: Vec<u32> = heard
            .iter()
            .filter(|sent| sent.header().payload_type == 101)
            .map(|sent| sent.header().timestamp)
            .collect();
        assert!(stamps[..5].iter().all(|stamp| *stamp == stamps[0]));
        assert_eq!(
            stamps[5].wrapping_sub(stamps[0]),
            codec.rtp_clock() / 1_000 * 140
        );
        let after = &heard[heard.len() - 1];
        assert_ne!(after.header().payload_type, 101, "live audio is back");
    }
}

#[test]
fn what_one_bridge_sends_another_hears_in_every_clock_pair() {
    for from in [Codec::Pcmu, Codec::L16, Codec::Opus] {
        for clock in [8_000, 16_000, 48_000] {
            let mut sender = Rig::new();
            let mut leg = config(B, from);
            leg.telephone_event = Some(TelephoneEvent {
                payload: 101,
                receive: 101,
                clock,
            });
            sender.open(leg);
            let digits = "0123456789*#ABCD5577";
            let pacing = Pacing {
                tone_ms: 40,
                gap_ms: 40,
            };
            sender.command(Command::SendDigits {
                leg: B,
                order: 1,
                digits: digits.into(),
                pacing,
            });
            sender.pass(4_000);
            let mut receiver = Rig::new();
            let mut leg = config(A, from);
            leg.telephone_event = Some(TelephoneEvent {
                payload: 101,
                receive: 101,
                clock,
            });
            receiver.open(leg);
            for sent in sender.heard_by(B) {
                receiver.rtp(A, rig::home(A), &sent.bytes);
            }
            assert_eq!(receiver.digits(), digits, "{from:?} at {clock}");
        }
    }
}

#[test]
fn digits_for_a_leg_on_hold_wait_until_it_is_taken_back() {
    let mut rig = Rig::new();
    let mut held = config(A, Codec::Pcmu);
    held.direction = Direction::RecvOnly;
    rig.open(held);
    rig.command(Command::SendDigits {
        leg: A,
        order: 1,
        digits: "7".into(),
        pacing: Pacing::default(),
    });
    rig.pass(2_000);
    assert!(rig.events.is_empty() && pressed(&rig.heard_by(A)).is_empty());
    rig.update(config(A, Codec::Pcmu));
    rig.pass(600);
    assert_eq!(pressed(&rig.heard_by(A)).len(), 7);
    assert_eq!(rig.events, [Event::DigitsSent { leg: A, order: 1 }]);
}

#[test]
fn without_telephone_events_digits_go_out_as_tones() {
    let mut rig = Rig::new();
    let mut leg = config(A, Codec::Pcmu);
    leg.telephone_event = None;
    rig.open(leg);
    let pacing = Pacing {
        tone_ms: 100,
        gap_ms: 100,
    };
    rig.command(Command::SendDigits {
        leg: A,
        order: 1,
        digits: "1".into(),
        pacing,
    });
    rig.pass(300);
    let heard = rig.heard_by(A);
    let pcm = rig::decode(Codec::Pcmu, &heard);
    let rate = Codec::Pcmu.own_rate();
    for hz in [697.0, 1_209.0] {
        assert!(rig::amplitude(&pcm[..800], rate, hz) > 4_000.0, "{hz} Hz");
    }
    assert!(rig::rms(&pcm[810..1_590]) < 50.0, "then the gap");
    assert_eq!(rig.events, [Event::DigitsSent { leg: A, order: 1 }]);
}

#[test]
fn digits_ordered_while_others_are_on_their_way_follow_them() {
    for event in [true, false] {
        let mut rig = Rig::new();
        let mut leg = config(A, Codec::Pcmu);
        leg.telephone_event = leg.telephone_event.filter(|_| event);
        rig.open(leg);
        for digits in ["12", "3"] {
            let pacing = Pacing {
                tone_ms: 100,
                gap_ms: 100,
            };
            rig.command(Command::SendDigits {
                leg: A,
                order: 1,
                digits: digits.into(),
                pacing,
            });
            rig.pass(50);
        }
        rig.command(Command::Play {
            leg: A,
            tone: media_bridge::Tone::Beep,
            repeat: false,
        });
        rig.pass(2_000);
        let heard = rig.heard_by(A);
        if event {
            let keys: Vec<_> = pressed(&heard)
                .iter()
                .filter(|p| p.2)
                .map(|p| p.0)
                .collect();
            assert_eq!(keys, [1, 2, 3]);
        } else {
            assert!(heard.len() >= 30, "three times 200 ms of tones");
        }
        let ended = |wanted: &Event| rig.events.iter().filter(|event| *event == wanted).count();
        assert_eq!(ended(&Event::DigitsSent { leg: A, order: 1 }), 1);
        assert_eq!(ended(&Event::PlayDone { leg: A }), 1);
    }
}

#[test]
fn an_order_taken_back_is_never_sent_and_nothing_is_told_of_it() {
    for (event, held) in [(true, true), (true, false), (false, false)] {
        let mut rig = Rig::new();
        let mut leg = config(A, Codec::Pcmu);
        leg.telephone_event = leg.telephone_event.filter(|_| event);
        if held {
            leg.direction = Direction::RecvOnly;
        }
        rig.open(leg.clone());
        rig.command(Command::SendDigits {
            leg: A,
            order: 7,
            digits: "4711#".into(),
            pacing: Pacing::default(),
        });
        rig.pass(150);
        // Another order's name changes nothing.
        rig.command(Command::StopDigits { leg: A, order: 6 });
        rig.pass(50);
        let before = rig.heard_by(A).len();
        assert_eq!(before == 0, held);
        rig.command(Command::StopDigits { leg: A, order: 7 });
        leg.direction = Direction::SendRecv;
        rig.update(leg);
        rig.pass(3_000);
        assert!(rig.heard_by(A).is_empty(), "nothing more");
        assert!(rig.events.is_empty(), "{:?}", rig.events);
    }
}
