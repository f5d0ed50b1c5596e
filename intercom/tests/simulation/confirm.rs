//! `confirm="1"`: answered privately, won only by the digit.

use std::sync::Arc;
use std::time::Duration;

use intercom::EndReason;
use media_bridge::{Command, LegId, Tone};
use pstn::Trunk;

use crate::building::Building;
use crate::building::link::Weather;
use crate::building::ua::Policy;
use crate::calls::ladder;

const SECOND: Duration = Duration::from_secs(1);

/// A house with a carrier, and routes that ring a number that has to confirm, alone and beside the desk.
fn house(seed: u64) -> Building {
    let trunk = Trunk::new("trunk-a", "sip:10.0.9.1").unwrap();
    let mut building = Building::with(seed, Weather::FINE, |config| {
        config.trunks = [(trunk.name.clone(), Arc::new(trunk))].into();
    });
    building.register_all();
    let carrier = building.outsider("carrier", "10.0.9.1:5060");
    carrier.policy = Policy::Answer(SECOND);
    let routes = r#"route "both" doors="*" dial="both" { ring "device:desk-1" for="60s"; ring "pstn:+420601234567" via="trunk-a" for="60s" after="0s" confirm="1"; end "log" }
route "phone" doors="*" dial="phone" { ring "pstn:+420601234567" via="trunk-a" for="60s" confirm="1"; end "log" }
route "one""#;
    building.replan(&[("route \"one\"", routes)]);
    building
}

fn dial(building: &mut Building, what: &str) {
    building.act("lobby", |ua, now| ua.call(now, what, true, &[]));
    building.until("answered privately", 3 * SECOND, |b| {
        !b.open_legs.is_empty() && b.find("carrier").is_up()
    });
    building.run(SECOND / 2);
}

/// The leg that is asked to confirm: the only one open.
fn private(building: &Building) -> LegId {
    *building.open_legs.keys().next().unwrap()
}

fn signals(building: &Building) -> usize {
    let beep = |command: &&Command| {
        matches!(
            command,
            Command::Play {
                tone: Tone::Beep,
                ..
            }
        )
    };
    building.commands.iter().filter(beep).count()
}

fn joined(building: &Building) -> bool {
    let join = |command: &Command| matches!(command, Command::Join { .. });
    building.commands.iter().any(join)
}

#[test]
fn the_digit_wins_and_the_others_are_told() {
    let mut building = house(740);
    dial(&mut building, "both");
    assert!(
        building.find("lobby").finals.is_empty(),
        "the door hears nothing of it"
    );
    assert_eq!(building.find("desk-1").open_calls(), 1, "the desk rings on");
    assert!(signals(&building) >= 1 && !joined(&building));
    let leg = private(&building);
    assert!(building.feeds(leg));
    building.press(leg, '1');
    building.until("won", SECOND, |b| b.find("lobby").is_up());
    building.run(SECOND);
    assert!(joined(&building));
    let desk = building.find("desk-1").log.last().unwrap();
    assert_eq!(
        desk,
        "cancelled SIP;cause=200;text=\"Call completed elsewhere\""
    );
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    let cdr = building.cdrs.last().unwrap();
    assert_eq!(cdr.winner.as_deref(), Some("trunk:trunk-a"));
    insta::assert_snapshot!("confirm", ladder(&building));
}

#[test]
fn a_voicemail_never_wins_and_the_desk_still_can() {
    let mut building = house(741);
    building.ua("desk-1").policy = Policy::Answer(30 * SECOND);
    dial(&mut building, "both");
    building.run(22 * SECOND);
    let carrier = building.find("carrier").log.last().unwrap();
    assert_eq!(carrier, "bye SIP;cause=480;text=\"Not confirmed\"");
    assert!(building.find("lobby").finals.is_empty());
    building.until("the desk answers", 10 * SECOND, |b| b.find("lobby").is_up());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    assert_eq!(
        building.cdrs.last().unwrap().winner.as_deref(),
        Some("desk-1")
    );
}

#[test]
fn no_other_digit_and_no_digit_of_another_leg_confirms() {
    let mut building = house(742);
    dial(&mut building, "both");
    let leg = private(&building);
    building.press(leg, '2');
    building.press(leg, '9');
    building.press(LegId(leg.0 + 1), '1');
    building.press(LegId(leg.0 & !0xfff), '1');
    building.run(SECOND);
    assert!(building.find("lobby").finals.is_empty());
    assert!(
        building.drives.is_empty(),
        "a key opens nothing before it confirms"
    );
    building.act("lobby", |ua, now| ua.cancel(now));
    building.run(SECOND);
    let carrier = building.find("carrier").log.last().unwrap();
    assert_eq!(carrier, "bye SIP;cause=487;text=\"Call given up\"");
    building.check_quiet();
}

#[test]
fn who_answers_openly_meanwhile_wins() {
    let mut building = house(743);
    building.ua("desk-1").policy = Policy::Answer(5 * SECOND);
    dial(&mut building, "both");
    building.until("the desk answers", 6 * SECOND, |b| b.find("lobby").is_up());
    building.run(SECOND);
    let carrier = building.find("carrier").log.last().unwrap();
    assert_eq!(
        carrier,
        "bye SIP;cause=200;text=\"Call completed elsewhere\""
    );
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn hanging_up_instead_declines() {
    let mut building = house(744);
    dial(&mut building, "phone");
    building.act("carrier", |ua, now| ua.hang_up(now));
    building.until("over", 2 * SECOND, |b| !b.find("lobby").finals.is_empty());
    building.check_quiet();
    let cdr = building.cdrs.last().unwrap();
    assert_eq!(
        (cdr.end, cdr.winner.clone()),
        (EndReason::NotAnswered, None)
    );
}

#[test]
fn a_digit_by_info_confirms_too() {
    let mut building = house(745);
    dial(&mut building, "phone");
    building.act("carrier", |ua, now| ua.info_digit(now, '1'));
    building.until("won", SECOND, |b| b.find("lobby").is_up());
    building.act("carrier", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_private_answer_may_renew_its_media_before_it_confirms() {
    let mut building = house(746);
    dial(&mut building, "phone");
    building.act("carrier", |ua, now| ua.reinvite(now, "sendrecv"));
    building.run(SECOND);
    let renewed = ("INVITE".to_owned(), 200);
    assert!(building.find("carrier").answers.contains(&renewed));
    let leg = private(&building);
    building.press(leg, '1');
    building.until("won", SECOND, |b| b.find("lobby").is_up());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn the_early_media_of_a_trunk_is_never_played_to_the_door() {
    let mut building = house(747);
    building.ua("carrier").policy = Policy::Ring;
    building.ua("carrier").early = Some(false);
    building.act("lobby", |ua, now| ua.call(now, "phone", true, &[]));
    building.run(5 * SECOND);
    assert_eq!(building.find("lobby").provisionals, [180]);
    assert!(building.find("lobby").rel.heard[0].body().is_empty());
    assert!(building.open_legs.is_empty() && !joined(&building));
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
}
