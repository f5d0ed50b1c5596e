//! What a leg hears while the same codec is relayed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod rig;

use media_bridge::bridge::Prompt;
use media_bridge::{BridgeConfig, Codec, Command, Direction, Event, Tone};
use rig::{A, B, Phone, Rig, assert_continuous, config, home};

#[test]
fn the_payload_passes_untouched_under_the_legs_own_numbers_and_payload_type() {
    let mut rig = Rig::new();
    rig.open(config(A, Codec::Opus));
    let mut other = config(B, Codec::Opus);
    (other.send_payload, other.receive_payload) = (111, 111);
    rig.open(other);
    rig.command(Command::Join { a: A, b: B });
    let mut phone = Phone::new(A, Codec::Opus);
    phone.speak(&mut rig, &[0xf8, 1, 2, 3], 960);
    let heard = rig.heard_by(B);
    assert_eq!(heard.len(), 1, "in the same wake-up");
    assert_eq!(heard[0].payload(), [0xf8, 1, 2, 3]);
    assert_eq!(heard[0].to, home(B));
    let header = heard[0].header();
    assert_eq!(header.payload_type, 111);
    assert!(header.marker, "a talk spurt begins");
    assert_ne!(header.ssrc, phone.ssrc);
}

#[test]
fn both_directions_flow_and_are_counted() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    Phone::new(A, Codec::Pcmu).talk(&mut rig, 5);
    Phone::new(B, Codec::Pcmu).talk(&mut rig, 3);
    assert_eq!(rig.heard_by(B).len(), 5);
    assert_eq!(rig.heard_by(A).len(), 3);
    let stats = rig.stats(A);
    assert_eq!(
        (stats.packets_in, stats.packets_out, stats.octets_in),
        (5, 3, 800)
    );
    assert!(!stats.transcoded);
}

#[test]
fn a_leg_that_is_not_joined_gives_nothing() {
    let mut rig = Rig::new();
    rig.open(config(A, Codec::Pcmu));
    rig.open(config(B, Codec::Pcmu));
    Phone::new(A, Codec::Pcmu).talk(&mut rig, 3);
    assert!(rig.heard_by(B).is_empty());
    rig.command(Command::Join { a: A, b: B });
    rig.command(Command::Part { leg: B });
    Phone::new(A, Codec::Pcmu).talk(&mut rig, 3);
    assert!(rig.heard_by(B).is_empty());
}

#[test]
fn a_change_of_partner_is_not_heard_as_a_jump() {
    let mut rig = Rig::pair(Codec::Pcma, Codec::Pcma);
    let third = media_bridge::LegId(3);
    rig.open(config(third, Codec::Pcma));
    Phone::new(A, Codec::Pcma).talk(&mut rig, 4);
    rig.command(Command::Join { a: third, b: B });
    let mut other = Phone::new(third, Codec::Pcma);
    (other.sequence, other.timestamp) = (9, 3_000_000_000);
    other.talk(&mut rig, 4);
    let heard = rig.heard_by(B);
    assert_continuous(&heard, 160);
    assert!(heard[4].header().marker);
    assert_eq!(heard.len(), 8);
}

#[test]
fn from_ringback_to_live_the_stream_goes_on() {
    let mut rig = Rig::pair(Codec::Pcma, Codec::Pcma);
    rig.command(Command::Part { leg: A });
    let tone = Tone::Ringback {
        country: media_bridge::tone::Country::default(),
    };
    rig.command(Command::Play {
        leg: A,
        tone,
        repeat: true,
    });
    rig.pass(199);
    rig.command(Command::Join { a: A, b: B });
    rig.pass(1);
    Phone::new(B, Codec::Pcma).talk(&mut rig, 10);
    let heard = rig.heard_by(A);
    assert_eq!(heard.len(), 20);
    assert_continuous(&heard, 160);
}

#[test]
fn loss_stays_visible_and_copies_do_not_pass() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let mut phone = Phone::new(A, Codec::Pcmu);
    phone.talk(&mut rig, 2);
    let mut copy = phone.clone();
    phone.talk(&mut rig, 1);
    copy.talk(&mut rig, 1);
    (phone.sequence, phone.timestamp) = (phone.sequence + 2, phone.timestamp + 320);
    phone.talk(&mut rig, 1);
    let heard = rig.heard_by(B);
    assert_eq!(heard.len(), 4);
    let step = heard[3]
        .header()
        .sequence
        .wrapping_sub(heard[2].header().sequence);
    assert_eq!(step, 3);
    assert_eq!(rig.stats(A).lost, 2);
}

#[test]
fn hold_stops_both_ways_and_resuming_is_no_jump() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let (mut a, mut b) = (Phone::new(A, Codec::Pcmu), Phone::new(B, Codec::Pcmu));
    a.talk(&mut rig, 2);
    let mut held = config(B, Codec::Pcmu);
    held.direction = Direction::Inactive;
    rig.update(held);
    a.talk(&mut rig, 5);
    b.talk(&mut rig, 5);
    rig.update(config(B, Codec::Pcmu));
    a.talk(&mut rig, 2);
    let heard = rig.heard_by(B);
    assert_eq!(heard.len(), 4);
    assert_eq!(
        heard[2].header().sequence,
        heard[1].header().sequence.wrapping_add(1)
    );
    let silent = heard[2]
        .header()
        .timestamp
        .wrapping_sub(heard[1].header().timestamp);
    assert_eq!(silent, 11 * 160, "real time went on");
    assert!(rig.heard_by(A).is_empty());
}

#[test]
fn one_way_legs_give_or_get_only_what_they_agreed() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let mut door = config(A, Codec::Pcmu);
    door.direction = Direction::RecvOnly; // the door sends only
    rig.update(door);
    Phone::new(A, Codec::Pcmu).talk(&mut rig, 2);
    Phone::new(B, Codec::Pcmu).talk(&mut rig, 2);
    assert_eq!(rig.heard_by(B).len(), 2);
    assert!(rig.heard_by(A).is_empty());
}

#[test]
fn nothing_is_sent_to_an_unspecified_address() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let mut held = config(B, Codec::Pcmu);
    held.remote_rtp = rig::at("0.0.0.0:40000");
    rig.update(held);
    Phone::new(A, Codec::Pcmu).talk(&mut rig, 2);
    assert!(rig.heard_by(B).is_empty());
}

#[test]
fn an_unagreed_payload_type_is_dropped_and_counted() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let mut phone = Phone::new(A, Codec::Pcmu);
    phone.payload_type = 34;
    phone.talk(&mut rig, 2);
    assert!(rig.heard_by(B).is_empty());
    assert_eq!(rig.stats(A).dropped_invalid, 2);
    assert!(rig.events.is_empty(), "and locks nothing");
}

#[test]
fn a_prompt_plays_once_on_the_legs_clock_and_says_so() {
    let prompt = Prompt {
        rate: media_bridge::codec::Rate::Hz8000,
        pcm: vec![1_000; 8 * 90].into(),
    };
    let prompts = [("welcome".into(), prompt)].into_iter().collect();
    let mut rig = Rig::with(BridgeConfig {
        prompts: std::sync::Arc::new(prompts),
        ..Default::default()
    });
    for codec in [Codec::Pcmu, Codec::G722, Codec::Opus, Codec::L16] {
        rig.open(config(A, codec));
        rig.command(Command::Play {
            leg: A,
            tone: Tone::Prompt("welcome".into()),
            repeat: false,
        });
        let started = rig.now;
        rig.pass(200);
        let heard = rig.heard_by(A);
        assert_eq!(heard.len(), 5, "90 ms are five packets, {codec:?}");
        assert_continuous(&heard, codec.rtp_clock() / 50);
        let times: Vec<_> = heard
            .iter()
            .map(|sent| (sent.at - started).as_millis())
            .collect();
        assert_eq!(times, [0, 20, 40, 60, 80]);
        assert_eq!(
            std::mem::take(&mut rig.events),
            [Event::PlayDone { leg: A }]
        );
        rig.command(Command::Close { leg: A });
        rig.sent.clear();
        rig.events.clear();
    }
}

#[test]
fn an_unknown_prompt_is_done_at_once() {
    let mut rig = Rig::new();
    rig.open(config(A, Codec::Pcmu));
    rig.command(Command::Play {
        leg: A,
        tone: Tone::Prompt("nowhere".into()),
        repeat: true,
    });
    assert_eq!(rig.events, [Event::PlayDone { leg: A }]);
}

#[test]
fn while_a_tone_plays_the_partner_is_not_heard_until_it_is_stopped() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let mut phone = Phone::new(A, Codec::Pcmu);
    phone.talk(&mut rig, 2);
    rig.command(Command::Play {
        leg: B,
        tone: Tone::Beep,
        repeat: true,
    });
    phone.talk(&mut rig, 3);
    rig.command(Command::StopPlay { leg: B });
    phone.talk(&mut rig, 2);
    let heard = rig.heard_by(B);
    let spoken = heard
        .iter()
        .filter(|sent| sent.payload()[1..] == sent.payload()[..159])
        .count();
    assert!(
        spoken >= 4,
        "four packets of the partner at least are constant"
    );
    for pair in heard.windows(2) {
        assert_eq!(
            pair[1].header().sequence,
            pair[0].header().sequence.wrapping_add(1)
        );
        assert!(
            pair[1]
                .header()
                .timestamp
                .wrapping_sub(pair[0].header().timestamp)
                < 800
        );
    }
}

#[test]
fn a_full_bridge_refuses_a_leg_and_serves_the_others() {
    let mut rig = Rig::with(BridgeConfig {
        max_legs: 1,
        ..Default::default()
    });
    rig.open(config(A, Codec::Pcmu));
    rig.open(config(B, Codec::Pcmu));
    assert!(matches!(rig.events[..], [Event::Closed { leg, .. }] if leg == B));
    assert_eq!(rig.bridge.counters().refused_full, 1);
    rig.command(Command::Close { leg: A });
    rig.open(config(B, Codec::Pcmu));
    assert_eq!(rig.bridge.open_legs(), 1);
}

#[test]
fn a_packet_or_command_for_a_leg_that_is_gone_is_counted() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    rig.command(Command::Close { leg: B });
    Phone::new(B, Codec::Pcmu).talk(&mut rig, 1);
    rig.command(Command::StopPlay { leg: B });
    Phone::new(A, Codec::Pcmu).talk(&mut rig, 1);
    assert!(
        rig.heard_by(B)
            .iter()
            .all(|sent| media_bridge::rtp::is_rtcp(&sent.bytes))
    );
    let counters = rig.bridge.counters();
    assert_eq!(
        (counters.unknown_leg, counters.misdirected_commands),
        (1, 1)
    );
}
