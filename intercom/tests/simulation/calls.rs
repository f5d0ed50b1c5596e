//! Ringing: who wins, who is told what, what the door hears.

use std::time::Duration;

use intercom::EndReason;

use crate::building::Building;
use crate::building::ua::Policy;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// The last call's story without its id.
pub(crate) fn ladder(building: &Building) -> String {
    let story = building.stories.last().expect("a story").to_string();
    story
        .split_once('\n')
        .map(|(_, rest)| rest.to_owned())
        .unwrap()
}

#[test]
fn door_to_desk_is_answered_and_nine_opens() {
    let mut building = Building::ready(1);
    building.ua("desk-1").policy = Policy::Answer(2 * SECOND);
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
    building.run(SECOND);
    let (door, desk) = building.joined();
    assert!(
        building.feeds(desk) && !building.feeds(door),
        "only the person's leg feeds keys"
    );
    let pressed = building.at();
    building.press(desk, '9');
    building.until("driven", SECOND, |b| b.drives.len() == 1);
    assert!(
        building.at() - pressed <= 20 * MS,
        "the server's own share of an unlock"
    );
    building.run(3 * SECOND);
    building.act("desk-1", |ua, now| ua.hang_up(now));
    building.check_quiet();
    let cdr = building.cdrs.last().unwrap();
    assert_eq!(
        (cdr.end, cdr.status, cdr.unlocks),
        (EndReason::CalleeHungUp, 200, 1)
    );
    assert_eq!(cdr.winner.as_deref(), Some("desk-1"));
    assert_eq!(
        cdr.legs
            .iter()
            .map(|leg| leg.codec.as_deref())
            .collect::<Vec<_>>(),
        [Some("PCMA"), Some("PCMA")]
    );
    assert_eq!(building.find("lobby").finals, [200]);
    let logged = building
        .records
        .iter()
        .find(|record| record.entry.kind == intercom::audit::Kind::Call)
        .unwrap();
    assert_eq!(logged.entry.result.as_deref(), Some("callee-hung-up"));
    assert!(
        building
            .find("lobby")
            .log
            .last()
            .unwrap()
            .starts_with("bye Q.850;cause=16")
    );
    assert!(
        building
            .find("desk-2")
            .log
            .contains(&"cancelled SIP;cause=200;text=\"Call completed elsewhere\"".to_owned())
    );
    insta::assert_snapshot!("door_to_desk", ladder(&building));
}

#[test]
fn everybody_busy_ends_the_call_without_ringing_on() {
    let mut building = Building::ready(2);
    for desk in ["desk-1", "desk-2"] {
        building.ua(desk).policy = Policy::Refuse(50 * MS, 486);
    }
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.until("refused", 2 * SECOND, |b| {
        !b.find("lobby").finals.is_empty()
    });
    building.check_quiet();
    assert_eq!(building.find("lobby").finals, [480]);
    insta::assert_snapshot!("busy", ladder(&building));
}

#[test]
fn one_declining_member_never_ends_the_call() {
    let mut building = Building::ready(3);
    building.ua("desk-1").policy = Policy::Refuse(SECOND, 603);
    building.ua("desk-2").policy = Policy::Answer(4 * SECOND);
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.until("answered", 6 * SECOND, |b| b.find("lobby").is_up());
    building.run(SECOND);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    assert_eq!(
        building.cdrs.last().unwrap().winner.as_deref(),
        Some("desk-2")
    );
    insta::assert_snapshot!("decline_other_answers", ladder(&building));
}

#[test]
fn nobody_answers_the_step_ends_and_the_plan_goes_on() {
    let mut building = Building::ready(4);
    building.act("lobby", |ua, now| ua.call(now, "101", true, &[]));
    building.until("refused", 40 * SECOND, |b| {
        !b.find("lobby").finals.is_empty()
    });
    building.check_quiet();
    assert_eq!(building.find("lobby").finals, [480]);
    assert_eq!(
        building
            .find("lobby")
            .provisionals
            .iter()
            .filter(|status| **status == 180)
            .count(),
        1
    );
    assert_eq!(
        building.find("desk-1").seen.len(),
        1,
        "the second step rang the desk"
    );
    let cdr = building.cdrs.last().unwrap();
    assert_eq!(cdr.end, EndReason::NotAnswered);
    assert!(cdr.ended_after >= 30 * SECOND && cdr.ended_after < 31 * SECOND);
    insta::assert_snapshot!("no_answer", ladder(&building));
}

#[test]
fn the_door_gives_up_while_it_rings() {
    let mut building = Building::ready(5);
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.run(2 * SECOND);
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
    assert_eq!(building.find("lobby").finals, [487]);
    for desk in ["desk-1", "desk-2"] {
        assert!(
            building
                .find(desk)
                .log
                .iter()
                .any(|line| line.starts_with("cancelled ")),
            "{desk}"
        );
    }
    insta::assert_snapshot!("cancel", ladder(&building));
}

#[test]
fn two_answer_at_once_one_wins_the_other_is_hung_up_with_reason() {
    let mut building = Building::ready(6);
    for desk in ["desk-1", "desk-2"] {
        building.ua(desk).policy = Policy::Answer(2 * SECOND);
    }
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
    building.run(SECOND);
    let up = ["desk-1", "desk-2"]
        .iter()
        .filter(|desk| building.find(desk).is_up())
        .count();
    assert_eq!(up, 1);
    let elsewhere = "bye SIP;cause=200;text=\"Call completed elsewhere\"";
    let told = ["desk-1", "desk-2"]
        .iter()
        .filter(|desk| building.find(desk).log.iter().any(|line| line == elsewhere));
    assert_eq!(told.count(), 1);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    insta::assert_snapshot!("two_answers", ladder(&building));
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let mut building = Building::ready(7);
    building.ua("desk-1").policy = Policy::Answer(SECOND);
    building.act("lobby", |ua, now| ua.call(now, "desk", false, &[]));
    building.until("joined", 5 * SECOND, |b| b.open_legs.len() == 2);
    building.run(SECOND);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    assert_eq!(
        building.cdrs.last().unwrap().legs[0].codec.as_deref(),
        Some("PCMA")
    );
    insta::assert_snapshot!("late_offer", ladder(&building));
}

#[test]
fn a_wave_member_rings_later() {
    let mut building = Building::ready(8);
    building.act("lobby", |ua, now| ua.call(now, "wave", true, &[]));
    building.run(3 * SECOND);
    assert_eq!(building.find("desk-1").seen.len(), 1);
    assert!(building.find("desk-2").seen.is_empty());
    building.run(3 * SECOND);
    assert_eq!(building.find("desk-2").seen.len(), 1);
    building.until("refused", 20 * SECOND, |b| {
        !b.find("lobby").finals.is_empty()
    });
    assert_eq!(building.find("lobby").finals, [486], "end busy");
    building.check_quiet();
}

#[test]
fn a_device_that_registers_while_its_unit_rings_joins_late_and_once() {
    let mut building = Building::new(9, crate::building::link::Weather::FINE);
    for device in ["lobby", "anna-app"] {
        building.act(device, |ua, now| ua.register(now));
    }
    building.run(100 * MS);
    building.act("lobby", |ua, now| ua.call(now, "101", true, &[]));
    building.run(5 * SECOND);
    building.ua("petr-phone").policy = Policy::Answer(SECOND);
    building.act("petr-phone", |ua, now| ua.register(now));
    building.run(500 * MS);
    building.act("petr-phone", |ua, now| ua.register(now));
    building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
    assert_eq!(
        building
            .find("petr-phone")
            .seen
            .iter()
            .filter(|m| m.method().as_str() == "INVITE")
            .count(),
        1
    );
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    assert_eq!(
        building.cdrs.last().unwrap().winner.as_deref(),
        Some("petr-phone")
    );
}

#[test]
fn a_dead_phone_does_not_keep_the_others_from_answering() {
    let mut building = Building::ready(10);
    building.ua("desk-1").policy = Policy::Dead;
    building.ua("desk-2").policy = Policy::Answer(10 * SECOND);
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.until("answered", 12 * SECOND, |b| b.find("lobby").is_up());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn nobody_registered_is_unreachable_at_once() {
    let mut building = Building::new(11, crate::building::link::Weather::FINE);
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.until("refused", SECOND, |b| !b.find("lobby").finals.is_empty());
    assert_eq!(building.find("lobby").finals, [480]);
    building.check_quiet();
}

#[test]
fn a_number_the_plan_does_not_know_is_refused() {
    let mut building = Building::ready(12);
    building.act("lobby", |ua, now| ua.call(now, "nowhere", true, &[]));
    building.check_quiet();
    assert_eq!(building.find("lobby").finals, [404]);
    assert_eq!(building.cdrs.last().unwrap().end, EndReason::NoRoute);
}

#[test]
fn an_offer_without_a_common_codec_is_refused_before_anybody_rings() {
    let mut building = Building::ready(13);
    building.ua("lobby").codec = 18;
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.check_quiet();
    assert_eq!(building.find("lobby").finals, [488]);
    assert!(building.find("desk-1").seen.is_empty());
}

#[test]
fn unanswered_the_caller_hears_a_provisional_every_minute() {
    let mut building = Building::with(14, crate::building::link::Weather::FINE, |_| {});
    building.register_all();
    building.ua("desk-1").policy = Policy::Ring;
    building.act("lobby", |ua, now| ua.call(now, "long", true, &[]));
    building.run(130 * SECOND);
    assert_eq!(
        building
            .find("lobby")
            .provisionals
            .iter()
            .filter(|status| **status == 180)
            .count(),
        3
    );
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
}
