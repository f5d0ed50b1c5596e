//! OPTIONS: what we answer, and whom we ask whether it is there.

use std::time::Duration;

use intercom::audit::Kind;
use intercom::config::QualifyConfig;
use intercom::reach::Reachability;
use intercom::{Input, Reading, SiteEvent};
use sip_proxy::{HeaderName, Method};

use crate::building::Building;
use crate::building::link::Weather;
use crate::building::ua::Policy;

const SECOND: Duration = Duration::from_secs(1);

fn ready(seed: u64) -> Building {
    let mut building = Building::with(seed, Weather::FINE, |config| {
        config.qualify = QualifyConfig {
            doors: Some(30 * SECOND),
            ..QualifyConfig::default()
        };
    });
    building.register_all();
    building
}

fn reading(building: &Building, device: &str) -> Reading {
    let mut all = building.b2bua.reachability(building.now);
    all.find(|reading| reading.device == device).unwrap()
}

fn asked(building: &Building, device: &str) -> usize {
    let seen = building.find(device).seen.iter();
    seen.filter(|message| *message.method() == Method::Options)
        .count()
}

#[test]
fn doors_are_asked_at_their_interval_and_others_are_left_alone() {
    let mut building = ready(541);
    building.run(301 * SECOND);
    assert!((9..=11).contains(&asked(&building, "lobby")));
    assert_eq!(asked(&building, "desk-1"), 0);
    let lobby = reading(&building, "lobby");
    assert_eq!(lobby.state, Reachability::Reachable);
    assert!(lobby.rtt.unwrap() < SECOND);
    assert!(building.events.is_empty(), "nothing has happened");
}

#[test]
fn a_door_that_falls_silent_is_an_alarm_after_two_questions_and_not_after_one() {
    let mut building = ready(542);
    building.run(40 * SECOND);
    building.ua("lobby").watches.deaf = true;
    building.until("noticed", 45 * SECOND, |b| !b.events.is_empty());
    assert_eq!(
        building.events,
        [SiteEvent::DeviceUnreachable {
            device: "lobby".to_owned(),
            door: Some("lobby".to_owned()),
        }]
    );
    assert!(building.records.iter().any(|record| {
        record.entry.kind == Kind::Alarm && record.entry.door.as_deref() == Some("lobby")
    }));
    building.run(300 * SECOND);
    assert_eq!(building.events.len(), 1, "told once");
    building.ua("lobby").watches.deaf = false;
    building.until("back", 90 * SECOND, |b| b.events.len() == 2);
    assert!(matches!(
        building.events[1],
        SiteEvent::DeviceReachable { .. }
    ));
}

#[test]
fn a_single_lost_question_is_nobody_s_business() {
    let mut building = ready(543);
    building.run(40 * SECOND);
    building.ua("lobby").watches.deaf = true;
    let before = asked(&building, "lobby");
    building.until("asked", 40 * SECOND, |b| asked(b, "lobby") > before);
    building.run(2 * SECOND);
    building.ua("lobby").watches.deaf = false;
    building.run(120 * SECOND);
    assert!(building.events.is_empty(), "{:?}", building.events);
    assert_eq!(reading(&building, "lobby").state, Reachability::Reachable);
}

#[test]
fn an_unreachable_door_is_rung_all_the_same() {
    let mut building = ready(544);
    building.ua("lobby").watches.deaf = true;
    building.until("noticed", 90 * SECOND, |b| !b.events.is_empty());
    building.ua("lobby").policy = Policy::Answer(SECOND);
    building.act("desk-1", |ua, now| ua.call(now, "lobby", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("desk-1").is_up());
    building.act("desk-1", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn the_last_day_is_kept_by_the_hour() {
    let mut building = ready(545);
    for _ in 0..12 {
        building.run(1_800 * SECOND);
        building.act("lobby", |ua, now| ua.register(now));
    }
    let lobby = reading(&building, "lobby");
    assert!(lobby.permille.unwrap() >= 990, "{lobby:?}");
    assert_eq!(lobby.hours.len(), 24);
}

#[test]
fn a_device_that_left_is_asked_no_more() {
    let mut building = ready(546);
    building.run(40 * SECOND);
    building.revoke("lobby");
    let before = asked(&building, "lobby");
    building.run(200 * SECOND);
    assert_eq!(asked(&building, "lobby"), before);
    assert_eq!(building.b2bua.bindings(), 7);
}

#[test]
fn options_says_the_same_of_everybody_and_nothing_of_the_house() {
    let mut building = Building::ready(547);
    let mut answers = Vec::new();
    for user in ["desk-1", "nobody", "lobby"] {
        let user = user.to_owned();
        building.act("guest-phone", |ua, now| {
            ua.plain(now, Method::Options, &user, &[]);
        });
        building.run(SECOND);
        let response = building.find("guest-phone").answer_to(&Method::Options);
        assert_eq!(response.status(), Some(200));
        let said: Vec<(String, String)> = response
            .all_headers()
            .filter(|(name, _)| !["To", "Via", "From", "Call-ID", "CSeq"].contains(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        answers.push(said);
    }
    assert!(
        answers.windows(2).all(|pair| pair[0] == pair[1]),
        "{answers:?}"
    );
    let response = building.find("guest-phone").answer_to(&Method::Options);
    for (name, part) in [
        (HeaderName::Allow, "SUBSCRIBE"),
        (HeaderName::AllowEvents, "dialog"),
        (HeaderName::Accept, "application/sdp"),
        (HeaderName::Supported, "path"),
    ] {
        let value = response.header(&name).unwrap_or_default();
        assert!(value.contains(part), "{name}: {value}");
    }
}

#[test]
fn options_in_a_call_says_what_options_outside_says() {
    let mut building = Building::ready(549);
    building.ua("desk-1").policy = Policy::Answer(SECOND);
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
    building.act("desk-1", |ua, now| ua.within(now, Method::Options, |_| {}));
    building.run(SECOND);
    let response = building.find("desk-1").answer_to(&Method::Options);
    assert_eq!(response.status(), Some(200));
    let allowed = response
        .header(&HeaderName::AllowEvents)
        .unwrap_or_default();
    assert!(allowed.contains("dialog"));
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_draining_server_says_so_to_who_asks() {
    let mut building = Building::ready(548);
    building.feed(Input::Drain);
    building.act("guest-phone", |ua, now| {
        ua.plain(now, Method::Options, "desk-1", &[]);
    });
    building.run(SECOND);
    let response = building.find("guest-phone").answer_to(&Method::Options);
    assert_eq!(response.status(), Some(503));
    assert!(response.header(&HeaderName::RetryAfter).is_some());
}
