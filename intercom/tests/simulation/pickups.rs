//! Calls taken by another device: attended transfer and INVITE with Replaces (RFC 3891, 5589), and the plan's `pickup`.

use std::time::Duration;

use intercom::EndReason;
use media_bridge::Command;
use sip_proxy::{HeaderName, Method};

use crate::building::Building;
use crate::building::link::Weather;
use crate::building::ua::Policy;
use crate::calls::ladder;
use crate::talks::talking;

const SECOND: Duration = Duration::from_secs(1);
const INSIDE: &str = "route \"inside\" from=\"device:*\" dial=\"device\" { ring \"@device\" for=\"60s\"; end \"hangup\" }";

/// The plan with a route to pick up.
fn grab(building: &mut Building) {
    let with = format!(
        "{INSIDE}\nroute \"grab\" from=\"desk:desk\" dial=\"*8\" {{ pickup \"group:entry\"; end \"hangup\" }}"
    );
    building.replan(&[(INSIDE, &with)]);
}

/// REFER in the call of that number, with Replaces naming another.
fn attended(building: &mut Building, device: &str, nth: usize, other: usize) {
    building.act(device, |ua, now| {
        let replaces = ua
            .replaces(other)
            .replace('@', "%40")
            .replace(';', "%3B")
            .replace('=', "%3D");
        let to = format!("<sip:anna-app@elm.example?Replaces={replaces}>");
        ua.within_nth(now, nth, Method::Refer, |request| {
            request.headers.push((HeaderName::ReferTo, to));
        });
    });
}

/// A second call of a device that talks already.
fn consult(building: &mut Building, device: &str, dial: &str) {
    building.ua(dial).policy = Policy::Answer(SECOND);
    building.act(device, |ua, now| ua.reinvite(now, "sendonly"));
    building.run(SECOND / 2);
    building.act(device, |ua, now| ua.call(now, dial, true, &[]));
    let dial = dial.to_owned();
    building.until("consulted", 5 * SECOND, |b| b.find(&dial).is_up());
    building.run(SECOND);
}

fn end(building: &Building, call: usize) -> EndReason {
    building.cdrs[call].end
}

#[test]
fn attended_transfer_joins_the_two_far_ends() {
    let mut building = Building::ready(430);
    talking(&mut building, "lobby", "one", "desk-1");
    consult(&mut building, "desk-1", "anna-app");
    attended(&mut building, "desk-1", 0, 1);
    building.run(2 * SECOND);
    assert!(building.find("lobby").is_up() && building.find("anna-app").is_up());
    assert!(!building.find("desk-1").is_up(), "both its calls are over");
    let (_, anna) = building.joined();
    building.press(anna, '9');
    building.run(2 * SECOND);
    assert_eq!(
        building.drives.len(),
        1,
        "the right is that of who talks to the door now"
    );
    building.act("anna-app", |ua, now| ua.hang_up(now));
    building.check_quiet();
    assert_eq!(building.cdrs.len(), 2);
    assert_eq!(end(&building, 0), EndReason::Transferred);
    let cdr = &building.cdrs[1];
    assert_eq!(
        (cdr.caller.as_str(), cdr.winner.as_deref()),
        ("lobby", Some("anna-app"))
    );
    insta::assert_snapshot!("attended_transfer", ladder(&building));
}

#[test]
fn attended_transfer_by_the_consultation_call() {
    let mut building = Building::ready(431);
    talking(&mut building, "lobby", "one", "desk-1");
    consult(&mut building, "desk-1", "anna-app");
    attended(&mut building, "desk-1", 1, 0);
    building.run(2 * SECOND);
    assert!(building.find("lobby").is_up() && building.find("anna-app").is_up());
    assert!(!building.find("desk-1").is_up());
    building.act("anna-app", |ua, now| ua.info_digit(now, '9'));
    building.run(2 * SECOND);
    assert_eq!(building.drives.len(), 1);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    assert_eq!(building.cdrs.len(), 2);
}

#[test]
fn legs_on_different_workers_are_brought_together() {
    for (seed, refer_in, other) in [(432, 0, 1), (433, 1, 0)] {
        let mut building = Building::with(seed, Weather::FINE, |config| config.media_workers = 2);
        building.register_all();
        talking(&mut building, "lobby", "one", "desk-1");
        consult(&mut building, "desk-1", "anna-app");
        attended(&mut building, "desk-1", refer_in, other);
        building.run(2 * SECOND);
        let told = building
            .find("anna-app")
            .log
            .iter()
            .filter(|line| *line == "resumed")
            .count();
        assert!(told >= 1, "the phone is told where its media is now");
        assert!(
            building
                .find("lobby")
                .seen
                .iter()
                .all(|message| *message.method() != Method::Invite)
        );
        assert!(building.find("lobby").is_up() && building.find("anna-app").is_up());
        building.act("anna-app", |ua, now| ua.hang_up(now));
        building.check_quiet();
    }
}

#[test]
fn a_target_that_still_rings_is_rung_again_for_the_visitor() {
    let mut building = Building::ready(434);
    talking(&mut building, "lobby", "one", "desk-1");
    building.ua("anna-app").policy = Policy::Answer(4 * SECOND);
    building.act("desk-1", |ua, now| ua.call(now, "anna-app", true, &[]));
    building.run(SECOND);
    let ours = building
        .find("anna-app")
        .seen
        .iter()
        .find(|message| *message.method() == Method::Invite);
    assert!(ours.is_some());
    // The phone knows its early dialog by our 180.
    let early = building.find("desk-1").early_dialog.clone().unwrap();
    building.act("desk-1", |ua, now| {
        let to = format!(
            "<sip:anna-app@elm.example?Replaces={}>",
            early.replace(';', "%3B").replace('=', "%3D")
        );
        ua.within_nth(now, 0, Method::Refer, |request| {
            request.headers.push((HeaderName::ReferTo, to));
        });
    });
    building.until("passed on", 10 * SECOND, |b| b.find("anna-app").is_up());
    building.run(SECOND);
    assert!(building.find("lobby").is_up());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn nobody_transfers_into_a_dialog_of_somebody_else() {
    let mut building = Building::ready(435);
    talking(&mut building, "lobby", "one", "desk-1");
    talking(&mut building, "petr-phone", "anna-app", "anna-app");
    let theirs = building.find("petr-phone").replaces(0);
    for (replaces, status) in [
        (theirs, 403),
        (
            "nowhere;to-tag=1.0.0000000000000000;from-tag=x".to_owned(),
            481,
        ),
        ("nonsense".to_owned(), 400),
    ] {
        building.act("desk-1", |ua, now| {
            let escaped = replaces
                .replace('@', "%40")
                .replace(';', "%3B")
                .replace('=', "%3D");
            let to = format!("<sip:anna-app@elm.example?Replaces={escaped}>");
            ua.within_nth(now, 0, Method::Refer, |request| {
                request.headers.push((HeaderName::ReferTo, to));
            });
        });
        building.run(SECOND);
        assert_eq!(
            building.find("desk-1").answers.last().unwrap(),
            &("REFER".to_owned(), status)
        );
    }
    assert!(building.find("anna-app").is_up() && building.find("lobby").is_up());
    for device in ["lobby", "petr-phone"] {
        building.act(device, |ua, now| ua.hang_up(now));
    }
    building.check_quiet();
}

#[test]
fn a_ringing_door_call_is_picked_up_from_another_desk_phone() {
    let mut building = Building::ready(436);
    grab(&mut building);
    building.ua("desk-1").policy = Policy::Ring;
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.run(2 * SECOND);
    building.act("desk-2", |ua, now| ua.call(now, "*8", true, &[]));
    building.run(2 * SECOND);
    assert!(building.find("lobby").is_up() && building.find("desk-2").is_up());
    assert_eq!(building.find("desk-2").finals, [200]);
    let loser = building.find("desk-1");
    assert!(
        loser
            .log
            .iter()
            .any(|line| line.contains("Call completed elsewhere")),
        "{:?}",
        loser.log
    );
    let (_, desk) = building.joined();
    building.press(desk, '9');
    building.run(2 * SECOND);
    assert_eq!(building.drives.len(), 1);
    building.act("desk-2", |ua, now| ua.hang_up(now));
    building.check_quiet();
    assert_eq!(building.cdrs.len(), 2);
    assert_eq!(end(&building, 0), EndReason::Transferred);
    assert_eq!(building.cdrs[1].winner.as_deref(), Some("desk-2"));
    insta::assert_snapshot!("pickup", ladder(&building));
}

#[test]
fn a_pickup_without_an_offer_gets_ours() {
    let mut building = Building::with(437, Weather::FINE, |config| config.media_workers = 3);
    building.register_all();
    grab(&mut building);
    building.ua("desk-1").policy = Policy::Ring;
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.run(SECOND);
    building.act("desk-2", |ua, now| ua.call(now, "*8", false, &[]));
    building.run(2 * SECOND);
    let (_, desk) = building.joined();
    building.press(desk, '9');
    building.run(2 * SECOND);
    assert_eq!(building.drives.len(), 1);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn where_nothing_rings_the_plan_goes_on() {
    let mut building = Building::ready(438);
    grab(&mut building);
    building.act("desk-2", |ua, now| ua.call(now, "*8", true, &[]));
    building.run(SECOND);
    assert_eq!(building.find("desk-2").finals, [480]);
    // A garage that rings is not of the group.
    building.ua("desk-1").policy = Policy::Ring;
    building.act("garage", |ua, now| ua.call(now, "one", true, &[]));
    building.run(SECOND);
    building.act("desk-2", |ua, now| ua.call(now, "*8", true, &[]));
    building.run(SECOND);
    assert_eq!(building.find("desk-2").finals, [480, 480]);
    // Nor may a device that no route lets.
    building.act("anna-app", |ua, now| ua.call(now, "*8", true, &[]));
    building.run(SECOND);
    assert_eq!(building.find("anna-app").finals, [404]);
    building.check_quiet();
}

#[test]
fn the_call_that_rings_longest_is_picked_up_first_and_each_by_one() {
    let mut building = Building::ready(439);
    let with = format!(
        "{INSIDE}\nroute \"grab\" from=\"desk:desk\" dial=\"*8\" {{ pickup \"*\"; end \"hangup\" }}"
    );
    building.replan(&[(INSIDE, &with)]);
    for device in ["panel-101", "anna-app", "petr-phone", "guest-phone"] {
        building.ua(device).policy = Policy::Ring;
    }
    building.act("garage", |ua, now| ua.call(now, "101", true, &[]));
    building.run(SECOND);
    building.act("lobby", |ua, now| ua.call(now, "101", true, &[]));
    building.run(SECOND);
    building.act("desk-1", |ua, now| ua.call(now, "*8", true, &[]));
    building.act("desk-2", |ua, now| ua.call(now, "*8", true, &[]));
    building.run(2 * SECOND);
    assert!(building.find("garage").is_up() && building.find("lobby").is_up());
    for device in ["desk-1", "desk-2"] {
        assert!(building.find(device).is_up());
        building.act(device, |ua, now| ua.hang_up(now));
    }
    building.check_quiet();
}

#[test]
fn an_early_dialog_is_replaced_by_who_may_as_a_blf_key_does() {
    for (seed, device, status) in [(440, "desk-2", 200), (441, "guest-phone", 403)] {
        let mut building = Building::ready(seed);
        building.ua("desk-1").policy = Policy::Ring;
        building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
        building.run(SECOND);
        let rung = building.find("desk-1").replaces(0);
        let value = format!("{rung};early-only");
        building.act(device, |ua, now| {
            ua.call(now, "desk-1", true, &[("Replaces", &value)]);
        });
        building.run(SECOND);
        assert_eq!(building.find(device).finals, [status]);
        if status == 200 {
            assert!(building.find("lobby").is_up());
            let log = &building.find("desk-1").log;
            assert!(
                log.iter()
                    .any(|line| line.contains("Call completed elsewhere"))
            );
        } else {
            assert_eq!(building.cdrs[0].end, EndReason::Refused);
        }
        building.act("lobby", |ua, now| {
            if status == 200 {
                ua.hang_up(now);
            } else {
                ua.cancel(now);
            }
        });
        building.check_quiet();
    }
}

#[test]
fn the_rules_of_rfc_3891_for_a_dialog_that_is_not_there_to_replace() {
    let mut building = Building::ready(442);
    talking(&mut building, "lobby", "one", "desk-1");
    let desk = building.find("desk-1").replaces(0);
    let door = building.find("lobby").replaces(0);
    let wrong = desk.replace(";from-tag=", ";from-tag=x");
    for (replaces, status) in [
        (format!("{desk};early-only"), 486),
        (door, 403),
        (wrong, 481),
        ("x;to-tag=a;from-tag=b".to_owned(), 481),
        ("x;to-tag=a".to_owned(), 400),
    ] {
        building.act("desk-2", |ua, now| {
            ua.call(now, "desk-1", true, &[("Replaces", &replaces)]);
        });
        building.run(SECOND);
        assert_eq!(
            building.find("desk-2").finals.last(),
            Some(&status),
            "{replaces}"
        );
    }
    // The caller's own early dialog is not ours to replace.
    building.ua("anna-app").policy = Policy::Ring;
    building.act("petr-phone", |ua, now| ua.call(now, "anna-app", true, &[]));
    building.run(SECOND);
    let early = building.find("petr-phone").early_dialog.clone().unwrap();
    building.act("guest-phone", |ua, now| {
        ua.call(now, "anna-app", true, &[("Replaces", &early)]);
    });
    building.run(SECOND);
    assert_eq!(building.find("guest-phone").finals.last(), Some(&481));
    building.act("petr-phone", |ua, now| ua.cancel(now));
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_confirmed_dialog_is_taken_over_by_another_phone_of_the_desk() {
    let mut building = Building::ready(443);
    talking(&mut building, "lobby", "one", "desk-1");
    let replaces = building.find("desk-1").replaces(0);
    building.act("desk-2", |ua, now| {
        ua.call(now, "desk-1", true, &[("Replaces", &replaces)]);
    });
    building.run(2 * SECOND);
    assert!(building.find("desk-2").is_up() && building.find("lobby").is_up());
    assert!(!building.find("desk-1").is_up());
    // The dialog is over: 603 (RFC 3891 section 3).
    building.act("anna-app", |ua, now| {
        ua.call(now, "desk-1", true, &[("Replaces", &replaces)]);
    });
    building.run(SECOND);
    assert_eq!(building.find("anna-app").finals, [603]);
    building.act("desk-2", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_call_that_was_picked_up_is_transferred_on() {
    let mut building = Building::ready(444);
    grab(&mut building);
    building.ua("desk-1").policy = Policy::Ring;
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.run(SECOND);
    building.act("desk-2", |ua, now| ua.call(now, "*8", true, &[]));
    building.run(2 * SECOND);
    // Twice in another call: the leg is found by its first name still.
    consult(&mut building, "desk-2", "anna-app");
    attended(&mut building, "desk-2", 0, 1);
    building.run(2 * SECOND);
    assert!(building.find("lobby").is_up() && building.find("anna-app").is_up());
    building.ua("petr-phone").policy = Policy::Answer(SECOND);
    crate::transfers::refer(
        &mut building,
        "anna-app",
        "<sip:petr-phone@elm.example>",
        &[],
    );
    building.until("passed on", 10 * SECOND, |b| b.find("petr-phone").is_up());
    building.run(SECOND);
    assert!(building.find("lobby").is_up() && !building.find("anna-app").is_up());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    assert_eq!(building.cdrs.len(), 3);
}

#[test]
fn a_call_is_not_joined_to_another_while_its_door_is_being_opened() {
    let mut building = Building::ready(455);
    talking(&mut building, "garage", "one", "desk-1");
    let (_, desk) = building.joined();
    talking(&mut building, "desk-1", "anna-app", "anna-app");
    building.press(desk, '8');
    building.run(SECOND / 10);
    for (status, refer_in, other) in [(491, 1, 0), (491, 0, 1), (202, 1, 0)] {
        attended(&mut building, "desk-1", refer_in, other);
        building.run(SECOND / 10);
        let answer = building.find("desk-1").answers.last().unwrap();
        assert_eq!(answer, &("REFER".to_owned(), status));
        if (status, refer_in) == (491, 0) {
            building.run(SECOND);
        }
    }
    building.act("garage", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn digits_on_their_way_are_taken_back_when_the_call_ends() {
    let mut building = Building::ready(456);
    talking(&mut building, "garage", "one", "desk-1");
    let (_, desk) = building.joined();
    building.press(desk, '8');
    building.run(SECOND / 10);
    building.act("desk-1", |ua, now| ua.hang_up(now));
    building.run(SECOND / 10);
    let place = |wanted: fn(&Command) -> bool| building.commands.iter().position(wanted);
    let taken = place(|command| matches!(command, Command::StopDigits { .. })).unwrap();
    let closed = place(|command| matches!(command, Command::Close { .. })).unwrap();
    assert!(taken < closed);
    building.check_quiet();
}

#[test]
fn who_has_changed_calls_with_a_question_out_is_asked_again() {
    let mut building = Building::ready(457);
    talking(&mut building, "lobby", "one", "desk-1");
    consult(&mut building, "desk-1", "anna-app");
    building.ua("anna-app").watches.deaf = true;
    let asked = |building: &Building| building.find("anna-app").got(&Method::Options).len();
    building.until("asked", 120 * SECOND, |b| asked(b) == 1);
    attended(&mut building, "desk-1", 0, 1);
    building.run(2 * SECOND);
    building.ua("anna-app").watches.deaf = false;
    building.run(200 * SECOND);
    assert!(building.find("anna-app").is_up());
    assert!(asked(&building) > 2, "{}", asked(&building));
    building.act("anna-app", |ua, now| ua.hang_up(now));
    building.check_quiet();
}
