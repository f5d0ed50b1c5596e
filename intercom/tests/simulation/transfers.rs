//! A call passed on: by REFER (RFC 3515, 3892, 4488) and by a key of the plan.

use std::time::Duration;

use intercom::EndReason;
use media_bridge::{Command, Tone};
use sip_proxy::{HeaderName, Method};

use crate::building::Building;
use crate::building::ua::{Policy, Ua};
use crate::calls::ladder;
use crate::talks::talking;

const SECOND: Duration = Duration::from_secs(1);

/// REFER in the latest call of a device.
pub(crate) fn refer(building: &mut Building, device: &str, to: &str, extra: &[(HeaderName, &str)]) {
    building.act(device, |ua, now| {
        ua.within(now, Method::Refer, |request| {
            request.headers.push((HeaderName::ReferTo, to.to_owned()));
            for (name, value) in extra {
                request.headers.push((name.clone(), (*value).to_owned()));
            }
        });
    });
}

/// What the NOTIFYs to a device said.
fn told(ua: &Ua) -> Vec<String> {
    ua.seen
        .iter()
        .filter(|message| *message.method() == Method::Notify)
        .map(|message| {
            let state = message.header(&HeaderName::SubscriptionState).unwrap();
            let state = state.split(';').next().unwrap();
            let body = String::from_utf8_lossy(message.body()).trim().to_owned();
            format!("{state} {body}")
        })
        .collect()
}

fn last_answer(building: &Building, device: &str) -> (String, u16) {
    building.find(device).answers.last().unwrap().clone()
}

#[test]
fn blind_transfer_of_a_door_call_reaches_its_target_and_keeps_no_one_else() {
    let mut building = Building::ready(400);
    talking(&mut building, "lobby", "one", "desk-1");
    building.ua("anna-app").policy = Policy::Answer(2 * SECOND);
    refer(&mut building, "desk-1", "<sip:anna-app@elm.example>", &[]);
    building.run(SECOND);
    assert_eq!(last_answer(&building, "desk-1"), ("REFER".to_owned(), 202));
    assert!(
        building.find("desk-1").is_up(),
        "stays until the target answers"
    );
    assert_eq!(
        told(building.find("desk-1")),
        ["active SIP/2.0 100 Trying", "active SIP/2.0 180 Ringing"]
    );
    let ringback = building.commands.iter().any(|command| {
        matches!(
            command,
            Command::Play {
                tone: Tone::Ringback { .. },
                repeat: true,
                ..
            }
        )
    });
    assert!(ringback, "the visitor hears that it rings");
    let invite = building.find("anna-app").seen.last().unwrap();
    assert_eq!(
        invite.header(&HeaderName::ReferredBy),
        Some("<sip:desk-1@elm.example>")
    );
    assert!(invite.header(&HeaderName::From).unwrap().contains("lobby"));
    building.run(3 * SECOND);
    assert!(building.find("anna-app").is_up() && building.find("lobby").is_up());
    assert!(!building.find("desk-1").is_up());
    assert_eq!(
        told(building.find("desk-1")).last().unwrap(),
        "terminated SIP/2.0 200 OK"
    );
    assert!(
        building
            .find("desk-1")
            .log
            .iter()
            .any(|line| line.starts_with("bye SIP;cause=200"))
    );
    // The right is that of who has the call now.
    let (_, anna) = building.joined();
    building.press(anna, '9');
    building.run(2 * SECOND);
    assert_eq!(building.drives.len(), 1);
    building.act("anna-app", |ua, now| ua.hang_up(now));
    building.check_quiet();
    assert_eq!(building.cdrs.len(), 1);
    let cdr = &building.cdrs[0];
    assert_eq!(
        (cdr.caller.as_str(), cdr.winner.as_deref()),
        ("lobby", Some("anna-app"))
    );
    assert_eq!(cdr.legs.len(), 3);
    insta::assert_snapshot!("blind_transfer", ladder(&building));
}

#[test]
fn a_transfer_passes_the_call_and_not_the_right() {
    let mut building = Building::ready(401);
    talking(&mut building, "lobby", "one", "desk-1");
    building.ua("guest-phone").policy = Policy::Answer(SECOND);
    refer(&mut building, "desk-1", "sip:guest-phone@elm.example", &[]);
    building.until("passed on", 10 * SECOND, |b| b.find("guest-phone").is_up());
    building.run(SECOND);
    let (_, guest) = building.joined();
    building.press(guest, '9');
    building.run(2 * SECOND);
    assert!(building.drives.is_empty(), "a guest opens nothing");
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_transfer_that_nobody_takes_comes_back() {
    let mut building = Building::ready(402);
    talking(&mut building, "lobby", "one", "desk-1");
    building.ua("anna-app").policy = Policy::Refuse(SECOND, 486);
    refer(&mut building, "desk-1", "<sip:anna-app@elm.example>", &[]);
    building.run(3 * SECOND);
    assert!(building.find("desk-1").is_up() && building.find("lobby").is_up());
    assert!(
        told(building.find("desk-1"))
            .last()
            .unwrap()
            .starts_with("terminated SIP/2.0 480")
    );
    let (_, desk) = building.joined();
    building.press(desk, '9');
    building.run(2 * SECOND);
    assert_eq!(building.drives.len(), 1, "the desk talks to the door again");
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn who_hung_up_after_a_transfer_that_fails_is_rung_again() {
    let mut building = Building::ready(403);
    talking(&mut building, "lobby", "one", "desk-1");
    building.ua("anna-app").policy = Policy::Refuse(SECOND, 603);
    refer(&mut building, "desk-1", "<sip:anna-app@elm.example>", &[]);
    building.run(Duration::from_millis(100));
    building.act("desk-1", |ua, now| ua.hang_up(now));
    building.run(5 * SECOND);
    assert!(building.find("desk-1").is_up() && building.find("lobby").is_up());
    assert_eq!(
        building
            .find("desk-1")
            .log
            .iter()
            .filter(|line| *line == "answer")
            .count(),
        2
    );
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    assert_eq!(building.cdrs.len(), 1);
}

#[test]
fn a_call_that_comes_back_to_nobody_ends() {
    let mut building = Building::ready(404);
    talking(&mut building, "lobby", "one", "desk-1");
    building.ua("anna-app").policy = Policy::Ring;
    refer(&mut building, "desk-1", "<sip:anna-app@elm.example>", &[]);
    building.run(SECOND);
    building.act("desk-1", |ua, now| ua.hang_up(now));
    building.ua("desk-1").policy = Policy::Ring;
    building.run(120 * SECOND);
    assert!(!building.find("lobby").is_up());
    building.check_quiet();
    assert_eq!(building.cdrs[0].end, EndReason::NotAnswered);
}

#[test]
fn nothing_is_transferred_that_the_plan_does_not_allow() {
    for (target, status) in [
        ("<sip:anna-app@evil.example>", 403),
        ("<sip:+420123456789@elm.example>", 603),
        ("<tel:+420123456789>", 603),
        ("<sip:nowhere@elm.example>", 603),
        ("<sip:garage@elm.example>", 603),
        ("<sip:anna-app@elm.example;method=MESSAGE>", 400),
        ("<sip:anna-app@elm.example>, <sip:desk-2@elm.example>", 400),
        ("no uri at all", 400),
    ] {
        let mut building = Building::ready(405);
        talking(&mut building, "lobby", "one", "desk-1");
        refer(&mut building, "desk-1", target, &[]);
        building.run(SECOND);
        assert_eq!(
            last_answer(&building, "desk-1"),
            ("REFER".to_owned(), status),
            "{target}"
        );
        assert!(building.find("lobby").is_up() && building.find("desk-1").is_up());
        let story = building.b2bua.stories().next().unwrap().to_string();
        assert!(story.contains("transfer refused"), "{story}");
        building.act("lobby", |ua, now| ua.hang_up(now));
        building.check_quiet();
    }
}

#[test]
fn a_door_transfers_nothing() {
    let mut building = Building::ready(406);
    talking(&mut building, "lobby", "one", "desk-1");
    refer(&mut building, "lobby", "<sip:anna-app@elm.example>", &[]);
    building.run(SECOND);
    assert_eq!(last_answer(&building, "lobby"), ("REFER".to_owned(), 403));
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn who_wants_no_subscription_is_told_nothing() {
    let mut building = Building::ready(407);
    talking(&mut building, "lobby", "one", "desk-1");
    building.ua("anna-app").policy = Policy::Answer(SECOND);
    let quiet = [(HeaderName::ReferSub, "false")];
    refer(
        &mut building,
        "desk-1",
        "<sip:anna-app@elm.example>",
        &quiet,
    );
    building.until("passed on", 10 * SECOND, |b| b.find("anna-app").is_up());
    building.run(SECOND);
    assert_eq!(told(building.find("desk-1")).len(), 0);
    let accepted = &building.find("desk-1").responses;
    let accepted = accepted
        .iter()
        .find(|message| message.status() == Some(202))
        .unwrap();
    assert_eq!(accepted.header(&HeaderName::ReferSub), Some("false"));
    assert!(!building.find("desk-1").is_up());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn the_caller_transfers_the_called_side() {
    let mut building = Building::ready(408);
    talking(&mut building, "desk-1", "anna-app", "anna-app");
    building.ua("petr-phone").policy = Policy::Answer(SECOND);
    refer(&mut building, "desk-1", "<sip:petr-phone@elm.example>", &[]);
    building.until("passed on", 10 * SECOND, |b| b.find("petr-phone").is_up());
    building.run(SECOND);
    assert!(building.find("anna-app").is_up() && !building.find("desk-1").is_up());
    // And on again, by the one who was called.
    building.ua("desk-2").policy = Policy::Answer(SECOND);
    refer(&mut building, "anna-app", "<sip:desk-2@elm.example>", &[]);
    building.until("passed on again", 10 * SECOND, |b| b.find("desk-2").is_up());
    building.run(SECOND);
    assert!(!building.find("anna-app").is_up() && building.find("petr-phone").is_up());
    building.act("petr-phone", |ua, now| ua.reinvite(now, "sendonly"));
    building.run(2 * SECOND);
    assert!(building.find("desk-2").log.contains(&"held".to_owned()));
    building.act("desk-2", |ua, now| ua.hang_up(now));
    building.check_quiet();
    assert_eq!(building.cdrs.len(), 1);
    assert_eq!(building.cdrs[0].caller, "desk-1");
}

#[test]
fn the_one_who_waits_may_leave_and_ends_it_all() {
    let mut building = Building::ready(409);
    talking(&mut building, "lobby", "one", "desk-1");
    building.ua("anna-app").policy = Policy::Ring;
    refer(&mut building, "desk-1", "<sip:anna-app@elm.example>", &[]);
    building.run(SECOND);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(SECOND);
    assert!(
        building
            .find("anna-app")
            .log
            .iter()
            .any(|line| line.starts_with("cancelled"))
    );
    assert!(
        told(building.find("desk-1"))
            .last()
            .unwrap()
            .starts_with("terminated")
    );
    building.check_quiet();
    assert_eq!(building.cdrs[0].end, EndReason::CallerHungUp);
}

#[test]
fn a_held_visitor_is_resumed_towards_the_target() {
    let mut building = Building::ready(410);
    talking(&mut building, "desk-1", "anna-app", "anna-app");
    building.act("desk-1", |ua, now| ua.reinvite(now, "sendonly"));
    building.run(SECOND);
    assert!(building.find("anna-app").log.contains(&"held".to_owned()));
    building.ua("petr-phone").policy = Policy::Answer(SECOND);
    refer(&mut building, "desk-1", "<sip:petr-phone@elm.example>", &[]);
    building.until("passed on", 10 * SECOND, |b| b.find("petr-phone").is_up());
    building.run(SECOND);
    assert!(
        building
            .find("anna-app")
            .log
            .contains(&"resumed".to_owned())
    );
    building.act("anna-app", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_key_of_the_plan_transfers_and_the_presser_stays_until_the_target_answers() {
    let mut building = Building::ready(411);
    talking(&mut building, "lobby", "101", "anna-app");
    building.ua("desk-2").policy = Policy::Answer(5 * SECOND);
    building.ua("desk-1").policy = Policy::Ring;
    let (_, anna) = building.joined();
    building.press(anna, '0');
    building.run(3 * SECOND);
    assert!(building.find("anna-app").is_up());
    building.run(4 * SECOND);
    assert!(building.find("desk-2").is_up() && !building.find("anna-app").is_up());
    assert!(
        building
            .find("desk-1")
            .log
            .iter()
            .any(|line| line.contains("elsewhere"))
    );
    let (_, desk) = building.joined();
    building.press(desk, '9');
    building.run(2 * SECOND);
    assert_eq!(building.drives.len(), 1);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    insta::assert_snapshot!("key_transfer", ladder(&building));
}

#[test]
fn a_key_transfer_rings_twenty_seconds_and_leaves_the_talk_as_it_was() {
    let mut building = Building::ready(412);
    talking(&mut building, "lobby", "101", "anna-app");
    for desk in ["desk-1", "desk-2"] {
        building.ua(desk).policy = Policy::Ring;
    }
    let (_, anna) = building.joined();
    building.press(anna, '0');
    building.run(19 * SECOND);
    assert!(
        building
            .find("desk-1")
            .log
            .iter()
            .all(|line| !line.starts_with("cancelled"))
    );
    building.run(2 * SECOND);
    assert!(
        building
            .find("desk-1")
            .log
            .iter()
            .any(|line| line.starts_with("cancelled"))
    );
    assert!(building.find("anna-app").is_up() && building.find("lobby").is_up());
    building.press(anna, '9');
    building.run(2 * SECOND);
    assert_eq!(building.drives.len(), 1);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_route_that_ends_in_a_transfer_rings_its_target() {
    let mut building = Building::ready(413);
    building.replan(&[(
        "route \"one\" doors=\"*\" dial=\"one\" { ring \"device:desk-1\" for=\"20s\"; end \"hangup\" }",
        "route \"one\" doors=\"*\" dial=\"one\" { ring \"device:desk-1\" for=\"5s\"; end \"transfer\" to=\"unit:101\" }",
    )]);
    building.ua("panel-101").policy = Policy::Answer(SECOND);
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.until("answered", 10 * SECOND, |b| b.find("panel-101").is_up());
    building.run(SECOND);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_call_is_not_transferred_for_ever() {
    let mut building = Building::ready(414);
    talking(&mut building, "lobby", "one", "desk-1");
    building.ua("desk-2").policy = Policy::Answer(Duration::from_millis(100));
    building.ua("desk-1").policy = Policy::Answer(Duration::from_millis(100));
    let mut refused = None;
    for turn in 0..30 {
        let (from, to) = if turn % 2 == 0 {
            ("desk-1", "desk-2")
        } else {
            ("desk-2", "desk-1")
        };
        refer(&mut building, from, &format!("<sip:{to}@elm.example>"), &[]);
        building.run(2 * SECOND);
        if last_answer(&building, from).1 == 483 {
            refused = Some(turn);
            break;
        }
    }
    assert_eq!(refused, Some(16));
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_refer_outside_a_call_makes_no_call() {
    let mut building = Building::ready(415);
    let to = ("Refer-To", "<sip:anna-app@elm.example>");
    building.act("desk-1", |ua, now| {
        ua.plain(now, Method::Refer, "desk-2", &[to]);
    });
    building.run(SECOND);
    assert_eq!(last_answer(&building, "desk-1"), ("REFER".to_owned(), 403));
    building.check_quiet();
}

#[test]
fn who_has_passed_the_call_on_opens_nothing_by_its_old_dialog() {
    let mut building = Building::ready(425);
    talking(&mut building, "lobby", "one", "desk-1");
    building.ua("anna-app").policy = Policy::Answer(SECOND);
    refer(&mut building, "desk-1", "<sip:anna-app@elm.example>", &[]);
    building.until("passed on", 10 * SECOND, |b| b.find("anna-app").is_up());
    building.run(SECOND);
    building.act("desk-1", |ua, now| {
        ua.within_nth(now, 0, Method::Info, |request| {
            let action = HeaderName::from_token("Action");
            request.headers.push((action, "buzz".to_owned()));
        });
    });
    building.run(2 * SECOND);
    assert_eq!(last_answer(&building, "desk-1"), ("INFO".to_owned(), 403));
    assert!(building.drives.is_empty());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}
