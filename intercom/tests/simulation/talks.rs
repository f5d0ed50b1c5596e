//! The established call: hold, hang-up, time limits, a peer that is gone.

use std::time::Duration;

use intercom::{EndReason, Input};
use media_bridge::{Command, Direction, Event};
use sip_proxy::{Body, Method};

use crate::building::Building;
use crate::building::link::Weather;
use crate::building::ua::Policy;
use crate::calls::ladder;

const SECOND: Duration = Duration::from_secs(1);

/// A call between a caller and a desk phone that is up.
pub(crate) fn talking(building: &mut Building, caller: &str, dial: &str, callee: &str) {
    building.ua(callee).policy = Policy::Answer(SECOND);
    building.act(caller, |ua, now| ua.call(now, dial, true, &[]));
    let (caller, callee) = (caller.to_owned(), callee.to_owned());
    building.until("answered", 5 * SECOND, |b| {
        b.find(&caller).is_up() && b.find(&callee).is_up()
    });
    building.run(SECOND);
}

#[test]
fn hold_is_bridged_to_a_phone_and_resumed() {
    let mut building = Building::ready(20);
    talking(&mut building, "desk-2", "desk-1", "desk-1");
    building.act("desk-2", |ua, now| ua.reinvite(now, "sendonly"));
    building.run(2 * SECOND);
    assert!(building.find("desk-1").log.contains(&"held".to_owned()));
    building.act("desk-2", |ua, now| ua.reinvite(now, "sendrecv"));
    building.run(2 * SECOND);
    assert!(building.find("desk-1").log.contains(&"resumed".to_owned()));
    building.act("desk-2", |ua, now| ua.hang_up(now));
    building.check_quiet();
    insta::assert_snapshot!("hold_resume", ladder(&building));
}

#[test]
fn hold_ends_at_our_side_when_the_door_takes_no_reinvite() {
    let mut building = Building::ready(21);
    talking(&mut building, "lobby", "desk", "desk-1");
    let (_, desk) = building.joined();
    building.act("desk-1", |ua, now| ua.reinvite(now, "sendonly"));
    building.run(2 * SECOND);
    assert!(
        building.find("lobby").seen.is_empty(),
        "the door was told nothing"
    );
    let gated = building.commands.iter().any(|command| {
        matches!(command, Command::Update { leg, config } if *leg == desk && config.direction == Direction::RecvOnly)
    });
    assert!(gated, "the bridge gates the media");
    building.press(desk, '9');
    building.run(SECOND);
    assert!(building.drives.is_empty(), "a leg on hold opens nothing");
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_session_refresh_without_offer_is_answered() {
    let mut building = Building::ready(22);
    talking(&mut building, "lobby", "desk", "desk-1");
    building.act("desk-1", |ua, now| ua.within(now, Method::Update, |_| {}));
    building.run(SECOND);
    assert_eq!(
        building.find("desk-1").answers.last().unwrap(),
        &("UPDATE".to_owned(), 200)
    );
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn the_longest_call_ends_both_sides() {
    let mut building = Building::ready(23);
    talking(&mut building, "lobby", "desk", "desk-1");
    building.run(600 * SECOND);
    for device in ["lobby", "desk-1"] {
        assert!(
            building
                .find(device)
                .log
                .iter()
                .any(|line| line.starts_with("bye SIP;cause=480")),
            "{device}"
        );
    }
    building.check_quiet();
    assert_eq!(building.cdrs.last().unwrap().end, EndReason::Limit);
}

#[test]
fn silence_ends_the_call() {
    let mut building = Building::ready(24);
    talking(&mut building, "lobby", "desk", "desk-1");
    let (door, _) = building.joined();
    building.feed(Input::Media(Event::Silent {
        leg: door,
        for_: 30 * SECOND,
    }));
    building.check_quiet();
    assert_eq!(building.cdrs.last().unwrap().end, EndReason::MediaSilent);
}

#[test]
fn a_peer_that_no_longer_answers_a_reinvite_is_gone() {
    let mut building = Building::ready(25);
    talking(&mut building, "desk-2", "desk-1", "desk-1");
    for call in &mut building.ua("desk-1").calls {
        call.over = true;
    }
    building.act("desk-2", |ua, now| ua.reinvite(now, "sendonly"));
    building.check_quiet();
    assert_eq!(building.cdrs.last().unwrap().end, EndReason::PeerGone);
}

#[test]
fn a_refused_reinvite_changes_nothing() {
    let mut building = Building::ready(26);
    talking(&mut building, "lobby", "desk", "desk-1");
    building.act("desk-1", |ua, now| {
        ua.within(now, Method::Invite, |request| {
            request.body = Some(Body {
                content_type: "application/sdp".to_owned(),
                bytes: "v=0\r\nm=audio 1 RTP/AVP 18\r\n".into(),
            });
        });
    });
    building.run(SECOND);
    assert!(building.find("desk-1").answers.last().unwrap().1 >= 400);
    assert!(building.find("lobby").is_up());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_revoked_device_loses_its_call_at_once() {
    let mut building = Building::ready(27);
    talking(&mut building, "lobby", "desk", "desk-1");
    let mut accounts = intercom::Accounts::new();
    for device in crate::building::DEVICES
        .iter()
        .filter(|device| **device != "desk-1")
    {
        accounts.insert(device, building.accounts.get(device).unwrap().clone());
    }
    let (plan, directory) = (building.plan.clone(), crate::building::directory().into());
    building.feed(Input::Reload {
        plan,
        directory,
        accounts: accounts.into(),
    });
    building.run(SECOND);
    assert!(!building.find("desk-1").is_up() && !building.find("lobby").is_up());
    building.check_quiet();
    assert_eq!(building.cdrs.last().unwrap().end, EndReason::Revoked);
}

#[test]
fn shutdown_ends_ringing_and_talking_calls_cleanly() {
    let mut building = Building::ready(28);
    talking(&mut building, "lobby", "one", "desk-1");
    building.ua("desk-2").policy = Policy::Ring;
    building.act("garage", |ua, now| ua.call(now, "101", true, &[]));
    building.run(SECOND);
    building.feed(Input::Shutdown);
    building.check_quiet();
    assert_eq!(building.find("garage").finals, [503]);
    assert_eq!(building.cdrs.len(), 2);
}

#[test]
fn a_drained_house_takes_no_new_call() {
    let mut building = Building::new(29, Weather::FINE);
    building.feed(Input::Drain);
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.check_quiet();
    assert_eq!(building.find("lobby").finals, [503]);
}

#[test]
fn glare_is_tried_again_and_a_refused_hold_is_absorbed() {
    let mut building = Building::ready(30);
    talking(&mut building, "desk-2", "desk-1", "desk-1");
    building.ua("desk-1").refusals = vec![491];
    building.act("desk-2", |ua, now| ua.reinvite(now, "sendonly"));
    building.run(SECOND);
    assert!(!building.find("desk-1").log.contains(&"held".to_owned()));
    building.run(5 * SECOND);
    assert!(
        building.find("desk-1").log.contains(&"held".to_owned()),
        "told after the wait of RFC 3261 14.1"
    );
    building.ua("desk-1").refusals = vec![488];
    building.act("desk-2", |ua, now| ua.reinvite(now, "sendrecv"));
    building.run(10 * SECOND);
    assert!(building.find("desk-1").is_up() && building.find("desk-2").is_up());
    building.act("desk-2", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn an_answer_given_early_wins_with_or_without_its_repetition() {
    for (seed, left_out) in [(110, true), (111, false)] {
        let mut building = Building::ready(seed);
        building.ua("desk-1").early = Some(left_out);
        talking(&mut building, "lobby", "desk", "desk-1");
        let (_, desk) = building.joined();
        building.press(desk, '9');
        building.run(2 * SECOND);
        assert_eq!(building.drives.len(), 1);
        assert_eq!(building.find("lobby").provisionals, [180]);
        building.act("lobby", |ua, now| ua.hang_up(now));
        building.check_quiet();
    }
}

#[test]
fn a_ring_notice_rings_is_told_and_may_become_a_talk() {
    let mut building = Building::ready(112);
    building.ua("desk-1").policy = Policy::Answer(SECOND);
    building.act("lobby", |ua, now| ua.ring_notice(now, "desk"));
    building.run(3 * SECOND);
    assert_eq!(building.find("lobby").finals, [200], "not 488");
    assert!(building.find("desk-1").is_up());
    let told = building
        .notices
        .iter()
        .filter(|text| text.contains("ring notice"))
        .count();
    assert_eq!(told, 1);
    let story = building.b2bua.stories().next().unwrap().to_string();
    assert!(
        story.contains("lobby: ring notice, no audio offered"),
        "{story}"
    );
    let joins = |building: &Building| {
        building
            .commands
            .iter()
            .filter(|command| matches!(command, media_bridge::Command::Join { .. }))
            .count()
    };
    assert_eq!(joins(&building), 0);
    building.act("lobby", |ua, now| ua.reinvite(now, "sendrecv"));
    building.run(2 * SECOND);
    assert_eq!(joins(&building), 1);
    let (_, desk) = building.joined();
    building.press(desk, '9');
    building.run(2 * SECOND);
    assert_eq!(building.drives.len(), 1);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}
