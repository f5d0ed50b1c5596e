//! Whatever comes, in whatever order: no panic, bounded answers, only the locked source obeyed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod rig;

use media_bridge::{Codec, Command, Component, Direction, Event, LegId, Pacing, Tone};
use proptest::prelude::*;
use rig::{Rig, config, home};

#[derive(Debug, Clone)]
enum Step {
    Open(u64, usize, u8, u16),
    Update(u64, usize, u8, u16),
    Join(u64, u64),
    Part(u64),
    Play(u64, bool, bool),
    StopPlay(u64),
    Digits(u64, String),
    Close(u64),
    Bytes(u64, bool, bool, Vec<u8>),
    Rtp(u64, u8, u16, u32, bool, Vec<u8>),
    Pass(u64),
}

fn leg() -> std::ops::Range<u64> {
    1..5
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
    let ptime = || proptest::sample::select(vec![10_u16, 20, 30, 40, 60, 0, 65_535]);
    prop_oneof![
        2 => (leg(), 0..5_usize, 0..4_u8, ptime()).prop_map(|(l, c, d, p)| Step::Open(l, c, d, p)),
        1 => (leg(), 0..5_usize, 0..4_u8, ptime()).prop_map(|(l, c, d, p)| Step::Update(l, c, d, p)),
        2 => (leg(), leg()).prop_map(|(a, b)| Step::Join(a, b)),
        1 => leg().prop_map(Step::Part),
        1 => (leg(), any::<bool>(), any::<bool>()).prop_map(|(l, p, r)| Step::Play(l, p, r)),
        1 => leg().prop_map(Step::StopPlay),
        1 => (leg(), "[0-9#*A-Zé]{0,80}").prop_map(|(l, d)| Step::Digits(l, d)),
        1 => leg().prop_map(Step::Close),
        3 => (leg(), any::<bool>(), any::<bool>(), bytes()).prop_map(|(l, c, h, b)| Step::Bytes(l, c, h, b)),
        12 => (leg(), proptest::sample::select(vec![0_u8, 8, 9, 13, 96, 101, 120]), any::<u16>(), any::<u32>(), any::<bool>(), bytes())
            .prop_map(|(l, p, s, t, v, b)| Step::Rtp(l, p, s, t, v, b)),
        4 => (0..400_u64).prop_map(Step::Pass),
    ]
}

fn made(leg: u64, codec: usize, direction: u8, ptime: u16) -> media_bridge::LegConfig {
    let mut config = config(LegId(leg), Codec::ALL[codec]);
    config.direction = [
        Direction::SendRecv,
        Direction::SendOnly,
        Direction::RecvOnly,
        Direction::Inactive,
    ][usize::from(direction)];
    config.ptime_ms = ptime;
    config
}

fn apply(rig: &mut Rig, step: Step) {
    match step {
        Step::Open(l, c, d, p) => rig.open(made(l, c, d, p)),
        Step::Update(l, c, d, p) => rig.update(made(l, c, d, p)),
        Step::Join(a, b) => rig.command(Command::Join {
            a: LegId(a),
            b: LegId(b),
        }),
        Step::Part(l) => rig.command(Command::Part { leg: LegId(l) }),
        Step::Play(l, prompt, repeat) => {
            let tone = if prompt {
                Tone::Prompt("none".into())
            } else {
                Tone::Beep
            };
            rig.command(Command::Play {
                leg: LegId(l),
                tone,
                repeat,
            });
        }
        Step::StopPlay(l) => rig.command(Command::StopPlay { leg: LegId(l) }),
        Step::Digits(l, digits) => {
            let pacing = Pacing {
                tone_ms: 0,
                gap_ms: 65_535,
            };
            rig.command(Command::SendDigits {
                leg: LegId(l),
                order: 1,
                digits: digits.into(),
                pacing,
            });
        }
        Step::Close(l) => rig.command(Command::Close { leg: LegId(l) }),
        Step::Bytes(l, rtcp, at_home, bytes) => {
            let component = if rtcp {
                Component::Rtcp
            } else {
                Component::Rtp
            };
            let mut from = if at_home {
                home(LegId(l))
            } else {
                rig::at("203.0.113.9:9")
            };
            if rtcp {
                from.set_port(from.port() + 1);
            }
            rig.receive(LegId(l), component, from, &bytes);
        }
        Step::Rtp(l, payload_type, sequence, timestamp, valid, payload) => {
            let ssrc = if valid { 1 } else { 2 };
            let (sequence, timestamp) = if valid {
                (sequence % 64, timestamp % 10_000)
            } else {
                (sequence, timestamp)
            };
            let stamp = media_bridge::rtp::Stamp {
                marker: false,
                payload_type,
                sequence,
                timestamp,
                ssrc,
            };
            let payload = if payload_type >= 101 {
                payload.get(..4).unwrap_or_default()
            } else {
                &payload
            };
            let bytes = [&stamp.header()[..], payload].concat();
            rig.rtp(LegId(l), home(LegId(l)), &bytes);
        }
        Step::Pass(ms) => rig.pass(ms),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_inputs_never_panic_and_each_answer_is_small_and_addressed_to_an_open_leg(
        steps in proptest::collection::vec(step(), 1..120)
    ) {
        let mut rig = Rig::new();
        for step in steps {
            let passing = matches!(step, Step::Pass(_));
            apply(&mut rig, step);
            prop_assert!(passing || rig.sent.len() <= 16, "{} packets for one input", rig.sent.len());
            for sent in rig.sent.drain(..) {
                prop_assert!(sent.bytes.len() <= 12 + 1_920 + 300);
                prop_assert!(sent.to == home(sent.leg) || sent.component == Component::Rtcp);
            }
        }
        for leg in leg() {
            rig.command(Command::Close { leg: LegId(leg) });
        }
        prop_assert_eq!(rig.bridge.open_legs(), 0);
        rig.pass(60_000);
        prop_assert_eq!(rig.bridge.next_timeout(), None, "no wake-up is left behind");
    }

    #[test]
    fn strangers_never_cause_anything(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..50)
    ) {
        let mut rig = Rig::pair(Codec::Pcmu, Codec::Opus);
        rig.sent.clear();
        for mut bytes in packets {
            if let Some(first) = bytes.first_mut() {
                *first = 0x80;
            }
            rig.rtp(rig::A, rig::at("203.0.113.9:40000"), &bytes);
        }
        prop_assert!(rig.sent.is_empty() && rig.events.is_empty());
    }

    #[test]
    fn under_loss_copies_and_reordering_each_press_is_at_most_one_digit_and_almost_always_one(
        seed in any::<u64>(), lossy in 0..5_u64
    ) {
        let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
        let mut state = seed | 1;
        let mut draw = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut sender = Rig::new();
        sender.open(config(rig::B, Codec::Pcmu));
        let digits = "5555555555";
        sender.command(Command::SendDigits { leg: rig::B, order: 1, digits: digits.into(), pacing: Pacing::default() });
        sender.pass(3_000);
        let mut packets = sender.heard_by(rig::B);
        for nth in 1..packets.len() {
            if draw(10) == 0 {
                packets.swap(nth - 1, nth);
            }
        }
        for sent in packets {
            if draw(100) < lossy {
                continue;
            }
            for _ in 0..1 + u64::from(draw(10) == 0) {
                rig.rtp(rig::A, home(rig::A), &sent.bytes);
            }
        }
        let pressed = rig.events.iter().filter(|event| matches!(event, Event::Digit { .. })).count();
        prop_assert!(pressed <= digits.len());
        prop_assert!(pressed >= digits.len() - 1, "five to seven packets carry each press");
    }
}
