//! MESSAGE (RFC 3428): stations' own words become events.

use std::time::Duration;

use intercom::audit::Kind;
use intercom::profile::{StationOut, Stations};
use intercom::{Input, SiteEvent};
use sip_proxy::Method;

use crate::building::Building;

const SECOND: Duration = Duration::from_secs(1);

fn ready(seed: u64) -> Building {
    let mut building = Building::ready(seed);
    let out = StationOut {
        message_events: vec![
            ("ALERT=".to_owned(), "alert".to_owned()),
            ("ALERT=tamper".to_owned(), "tamper".to_owned()),
        ],
        ..StationOut::default()
    };
    let stations = Stations {
        out: [("2n".to_owned(), out)].into(),
        ..Stations::default()
    };
    building.feed(Input::Stations(Box::new(stations)));
    building
}

fn say(building: &mut Building, device: &str, to: &str, text: &str) -> u16 {
    let (to, text) = (to.to_owned(), text.to_owned());
    building.act(device, |ua, now| ua.text(now, &to, &text));
    building.run(SECOND);
    let response = building.find(device).answer_to(&Method::Message);
    response.status().unwrap()
}

#[test]
fn what_the_profile_knows_by_name_is_an_alarm_in_the_log() {
    let mut building = ready(531);
    assert_eq!(
        say(&mut building, "lobby", "doorward", "alert=TAMPER\r\n"),
        200
    );
    assert_eq!(
        building.events,
        [SiteEvent::StationAlarm {
            door: "lobby".to_owned(),
            device: "lobby".to_owned(),
            kind: "tamper".to_owned(),
            text: "alert=TAMPER".to_owned(),
        }]
    );
    let record = building
        .records
        .iter()
        .find(|record| record.entry.kind == Kind::Alarm)
        .unwrap();
    assert_eq!(record.entry.door.as_deref(), Some("lobby"));
    assert_eq!(record.entry.result.as_deref(), Some("station-alarm"));
}

#[test]
fn a_station_hears_200_whatever_it_says_and_to_whomever() {
    let mut building = ready(532);
    for (to, text) in [
        ("anybody", "hello"),
        ("desk-1", "{\"Action\":\"Pulse\",\"Code\":\"AlarmLocal\"}"),
        ("lobby", ""),
    ] {
        assert_eq!(say(&mut building, "lobby", to, text), 200, "{text}");
    }
    building.act("lobby", |ua, now| {
        ua.raw(now, |request| {
            request.method = Method::Message;
            request.uri = "sip:centre@management.example".to_owned();
        });
    });
    building.run(SECOND);
    assert_eq!(
        building.find("lobby").answer_to(&Method::Message).status(),
        Some(200)
    );
    assert!(
        building
            .events
            .iter()
            .all(|event| matches!(event, SiteEvent::StationMessage { .. }))
    );
    assert_eq!(building.events.len(), 4);
    assert!(
        building.records.iter().all(|r| r.entry.kind != Kind::Alarm),
        "an unknown word is no alarm"
    );
}

#[test]
fn a_station_gone_mad_fills_no_disk_and_forges_no_line() {
    let mut building = ready(533);
    for at in 0..100 {
        let text = format!(
            "ALERT=tamper {at}\r\n2026 forged line\0{}",
            "x".repeat(3_000)
        );
        assert_eq!(say(&mut building, "lobby", "x", &text), 200);
    }
    let alarms = building
        .records
        .iter()
        .filter(|record| record.entry.kind == Kind::Alarm);
    let details: Vec<&str> = alarms.filter_map(|r| r.entry.detail.as_deref()).collect();
    assert!(
        details.len() <= 120 && details.len() >= 60,
        "{}",
        details.len()
    );
    for detail in details {
        assert!(
            detail.len() < 300 && !detail.contains(char::is_control),
            "{detail}"
        );
    }
    assert_eq!(building.events.len(), 100, "each one is counted and told");
}

#[test]
fn a_phone_is_no_station() {
    let mut building = ready(534);
    say(&mut building, "guest-phone", "lobby", "ALERT=tamper");
    assert!(building.events.is_empty());
    assert_ne!(
        building
            .find("guest-phone")
            .answer_to(&Method::Message)
            .status(),
        Some(200),
        "and a door is sent nothing"
    );
    assert!(
        building
            .find("lobby")
            .seen
            .iter()
            .all(|message| *message.method() != Method::Message)
    );
}
