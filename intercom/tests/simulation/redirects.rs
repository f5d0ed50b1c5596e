//! 3xx from a phone, followed within the plan only (RFC 3261 8.1.3.4, 5806, 7044), and call waiting.

use std::time::Duration;

use sip_proxy::{HeaderName, Method};

use crate::building::Building;
use crate::building::link::Weather;
use crate::building::ua::Policy;
use crate::calls::ladder;
use crate::talks::talking;

const SECOND: Duration = Duration::from_secs(1);

fn redirecting(building: &mut Building, device: &str, status: u16, contact: &str) {
    building.ua(device).policy = Policy::Refuse(SECOND, status);
    building.ua(device).elsewhere = Some(contact.to_owned());
}

fn header(building: &Building, device: &str, name: &HeaderName) -> Vec<String> {
    let ua = building.find(device);
    let invite = ua
        .seen
        .iter()
        .find(|message| *message.method() == Method::Invite);
    let invite = invite.unwrap_or_else(|| panic!("{device} was not rung"));
    invite.headers(name).map(str::to_owned).collect()
}

#[test]
fn a_phone_that_sends_the_call_on_is_followed_within_the_plan() {
    let mut building = Building::ready(480);
    redirecting(&mut building, "desk-1", 302, "<sip:anna-app@elm.example>");
    building.ua("anna-app").policy = Policy::Answer(SECOND);
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.until("answered", 10 * SECOND, |b| b.find("anna-app").is_up());
    building.run(SECOND);
    assert_eq!(
        header(&building, "anna-app", &HeaderName::Diversion),
        ["<sip:desk-1@elm.example>;reason=deflection;counter=1"]
    );
    assert_eq!(
        header(&building, "anna-app", &HeaderName::HistoryInfo),
        [
            "<sip:desk-1@elm.example?Reason=SIP%3Bcause%3D302>;index=1",
            "<sip:anna-app@elm.example>;index=1.1;mp=1"
        ]
    );
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    insta::assert_snapshot!("redirected", ladder(&building));
}

#[test]
fn contacts_are_followed_by_their_q_and_all_ring() {
    let mut building = Building::ready(481);
    let contacts = "<sip:petr-phone@elm.example>;q=0.5, <sip:anna-app@elm.example>";
    redirecting(&mut building, "desk-1", 300, contacts);
    for device in ["petr-phone", "anna-app"] {
        building.ua(device).policy = Policy::Ring;
    }
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.run(3 * SECOND);
    let story = building.b2bua.stories().next().unwrap().to_string();
    let at = |name: &str| story.find(&format!("us -> {name}")).unwrap();
    assert!(at("anna-app") < at("petr-phone"), "{story}");
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
}

#[test]
fn nothing_is_followed_that_the_plan_does_not_let_the_phone_dial() {
    for (seed, contact) in [
        (482, "<sip:anna-app@evil.example>"),
        (483, "<sip:anna-app@203.0.113.9>"),
        (484, "<sip:+420123456789@elm.example>"),
        (485, "<tel:+420123456789>"),
        (486, "<sip:nowhere@elm.example>"),
        (487, "<sip:garage@elm.example>"),
        (488, "garbage <<"),
    ] {
        let mut building = Building::ready(seed);
        redirecting(&mut building, "desk-1", 302, contact);
        building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
        building.run(3 * SECOND);
        assert_eq!(building.find("lobby").finals, [480], "{contact}");
        for ua in &building.uas {
            let rung = ua
                .seen
                .iter()
                .any(|message| *message.method() == Method::Invite);
            assert!(!rung || ua.user == "desk-1", "{contact} rings {}", ua.user);
        }
        let story = building.stories.last().unwrap().to_string();
        assert!(story.contains("ring step: declined"), "{story}");
        building.check_quiet();
    }
}

#[test]
fn a_circle_of_phones_ends() {
    let mut building = Building::ready(489);
    let circle = ["desk-1", "desk-2", "anna-app", "petr-phone", "guest-phone"];
    for (at, device) in circle.iter().enumerate() {
        let next = circle[(at + 1) % circle.len()];
        redirecting(
            &mut building,
            device,
            302,
            &format!("<sip:{next}@elm.example>"),
        );
    }
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.run(20 * SECOND);
    assert_eq!(building.find("lobby").finals, [480]);
    let rung = |device: &str| {
        let seen = &building.find(device).seen;
        seen.iter()
            .filter(|message| *message.method() == Method::Invite)
            .count()
    };
    assert_eq!(
        circle.map(rung),
        [1, 1, 1, 1, 0],
        "three times at most, nobody twice"
    );
    let history = header(&building, "petr-phone", &HeaderName::HistoryInfo);
    assert_eq!(
        history.last().unwrap(),
        "<sip:petr-phone@elm.example>;index=1.1.1.1;mp=1.1.1"
    );
    building.check_quiet();
}

#[test]
fn the_others_ring_on_when_one_sends_the_call_on() {
    let mut building = Building::ready(490);
    redirecting(&mut building, "desk-1", 302, "<sip:nowhere@elm.example>");
    building.ua("desk-2").policy = Policy::Answer(3 * SECOND);
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.until("answered", 10 * SECOND, |b| b.find("desk-2").is_up());
    building.run(SECOND);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_busy_phone_is_rung_a_second_time_unless_it_may_not() {
    // As shipped: rung.
    let mut building = Building::ready(491);
    talking(&mut building, "lobby", "one", "desk-1");
    building.ua("desk-1").policy = Policy::Ring;
    building.act("garage", |ua, now| ua.call(now, "one", true, &[]));
    building.run(SECOND);
    assert_eq!(building.find("garage").provisionals, [180]);
    building.act("garage", |ua, now| ua.cancel(now));
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    // By its profile.
    let mut building = Building::with(492, Weather::FINE, |config| {
        let phone = config.profiles.get_mut("phone").unwrap();
        std::sync::Arc::make_mut(phone).call_waiting = false;
    });
    building.register_all();
    no_second_call(&mut building);
    // By its desk.
    let mut building = Building::ready(493);
    building.replan(&[(
        "strategy \"parallel\"",
        "strategy \"parallel\"; call-waiting \"off\"",
    )]);
    no_second_call(&mut building);
}

fn no_second_call(building: &mut Building) {
    talking(building, "lobby", "one", "desk-1");
    building.act("garage", |ua, now| ua.call(now, "wave", true, &[]));
    building.ua("desk-2").policy = Policy::Refuse(SECOND, 486);
    building.run(8 * SECOND);
    assert_eq!(
        building.find("garage").finals,
        [486],
        "busy is an outcome of the plan"
    );
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(SECOND);
    // Free again.
    building.act("garage", |ua, now| ua.call(now, "one", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("desk-1").is_up());
    building.run(SECOND);
    building.act("garage", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_call_is_not_sent_on_to_a_phone_that_takes_no_second_call() {
    let mut building = Building::ready(498);
    building.replan(&[(
        "strategy \"parallel\"",
        "strategy \"parallel\"; call-waiting \"off\"",
    )]);
    talking(&mut building, "petr-phone", "desk-2", "desk-2");
    redirecting(&mut building, "desk-1", 302, "<sip:desk-2@elm.example>");
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.run(3 * SECOND);
    assert_eq!(building.find("desk-2").got(&Method::Invite).len(), 1);
    building.act("petr-phone", |ua, now| ua.hang_up(now));
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
}
