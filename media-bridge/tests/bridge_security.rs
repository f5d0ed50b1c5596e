//! Streams that are not the peer's: bleed, injection and theft.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod rig;

use media_bridge::{Codec, Component, Event, rtcp};
use rig::{A, B, Phone, Rig, at, config, home};

fn nine(phone: &mut Phone) -> Vec<u8> {
    phone.packet(101, &[9, 10, 0, 160])
}

#[test]
fn a_stranger_gets_no_audio_and_gives_none_before_or_after_the_first_packet() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let mut stranger = Phone::new(A, Codec::Pcmu);
    (stranger.from, stranger.ssrc) = (at("203.0.113.66:40000"), 0x666);
    stranger.talk(&mut rig, 3);
    Phone::new(B, Codec::Pcmu).talk(&mut rig, 1);
    Phone::new(A, Codec::Pcmu).talk(&mut rig, 1);
    stranger.talk(&mut rig, 3);
    Phone::new(B, Codec::Pcmu).talk(&mut rig, 1);
    assert_eq!(rig.heard_by(B).len(), 1);
    assert!(rig.heard_by(A).iter().all(|sent| sent.to == home(A)));
    assert_eq!(rig.stats(A).dropped_foreign, 6);
    assert_eq!(rig.stats(A).packets_in, 1);
}

#[test]
fn digits_injected_from_elsewhere_count_for_nothing() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let mut phone = Phone::new(A, Codec::Pcmu);
    phone.talk(&mut rig, 3);
    let forged = nine(&mut phone.clone());
    for from in ["203.0.113.66:40000", "192.0.2.1:40002", "192.0.2.2:40000"] {
        rig.rtp(A, at(from), &forged);
    }
    assert_eq!(rig.digits(), "");
    assert_eq!(rig.stats(A).dropped_foreign, 3);
    rig.rtp(A, phone.from, &forged);
    assert_eq!(
        rig.digits(),
        "9",
        "the same packet from the phone itself is a press"
    );
}

#[test]
fn another_ssrc_at_the_locked_address_is_not_obeyed_while_the_first_one_speaks() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let mut phone = Phone::new(A, Codec::Pcmu);
    let mut other = phone.clone();
    other.ssrc = 0x777;
    for _ in 0..10 {
        phone.talk(&mut rig, 1);
        let packet = nine(&mut other);
        rig.rtp(A, other.from, &packet);
        let packet = nine(&mut other);
        rig.rtp(A, other.from, &packet);
    }
    assert_eq!(rig.digits(), "");
    assert_eq!(rig.heard_by(B).len(), 10);
}

#[test]
fn after_silence_a_new_ssrc_is_heard_from_its_second_packet_on_without_a_jump() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let mut phone = Phone::new(A, Codec::Pcmu);
    phone.talk(&mut rig, 2);
    rig.pass(600);
    (phone.ssrc, phone.sequence, phone.timestamp) = (0x777, 5, 99);
    phone.talk(&mut rig, 3);
    let heard = rig.heard_by(B);
    assert_eq!(heard.len(), 4);
    let (before, after) = (heard[1].header(), heard[2].header());
    assert_eq!(after.ssrc, before.ssrc);
    assert_eq!(after.sequence, before.sequence.wrapping_add(1));
    assert!(after.marker);
}

#[test]
fn a_port_behind_nat_is_learnt_once() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let mut natted = config(A, Codec::Pcmu);
    natted.remote_rtp = at("10.0.0.5:40000");
    natted.signalling_from = Some("198.51.100.7".parse().unwrap());
    rig.update(natted.clone());
    let mut phone = Phone::new(A, Codec::Pcmu);
    phone.from = at("198.51.100.7:61234");
    phone.talk(&mut rig, 1);
    let mut thief = phone.clone();
    thief.from = at("198.51.100.7:61235");
    thief.talk(&mut rig, 2);
    assert_eq!(
        rig.events,
        [Event::Latched {
            leg: A,
            from: phone.from
        }]
    );
    rig.update(natted.clone()); // a re-INVITE that changes nothing keeps the lock
    thief.talk(&mut rig, 1);
    Phone::new(B, Codec::Pcmu).talk(&mut rig, 1);
    assert_eq!(rig.heard_by(A)[0].to, phone.from);
    natted.remote_rtp = at("10.0.0.6:40000");
    rig.update(natted); // a new remote opens it again
    thief.talk(&mut rig, 1);
    assert!(rig.events.contains(&Event::Latched {
        leg: A,
        from: thief.from
    }));
}

#[test]
fn reports_from_elsewhere_are_foreign_too() {
    let mut rig = Rig::pair(Codec::Pcmu, Codec::Pcmu);
    let mut packet = [0; rtcp::MAX_WRITTEN_BYTES];
    let length = rtcp::write(&mut packet, 1, None, None, b"x", true);
    rig.receive(
        A,
        Component::Rtcp,
        at("203.0.113.66:40001"),
        &packet[..length],
    );
    assert_eq!(rig.stats(A).dropped_foreign, 1);
    rig.receive(A, Component::Rtcp, at("192.0.2.1:40001"), &packet[..length]);
    assert_eq!(rig.stats(A).dropped_foreign, 1);
}
