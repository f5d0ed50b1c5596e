//! `Action: buzz` as an INVITE, and towards stations that ask who we are.

use std::time::Duration;

use intercom::profile::{BuzzBy, BuzzOut, Password, StationLogin, StationOut, Stations};
use sip_proxy::{HeaderName, Message};

use crate::building::Building;
use crate::building::ua::{Gate, Policy};
use crate::talks::talking;

const SECOND: Duration = Duration::from_secs(1);
/// The desk may open without a call.
const AT_ANY_TIME: (&str, &str) = (
    "group=\"entry,parking\"",
    "group=\"entry,parking\" require=\"none\"",
);

fn m_lines(message: &Message) -> Vec<String> {
    String::from_utf8_lossy(message.body())
        .lines()
        .filter(|line| line.starts_with("m="))
        .map(str::to_owned)
        .collect()
}

#[test]
fn an_invite_with_a_buzz_gets_every_line_refused_and_a_bye() {
    for (offer, lines) in [(true, &["m=audio 0 RTP/AVP 8"][..]), (false, &[])] {
        let mut building = Building::ready(80);
        building.replan(&[AT_ANY_TIME]);
        building.act("desk-1", |ua, now| {
            ua.call(now, "lobby", offer, &[("Action", "buzz")]);
        });
        building.run(2 * SECOND);
        let desk = building.find("desk-1");
        assert_eq!(desk.finals, [200]);
        let response = desk.responses.last().unwrap();
        assert_eq!(
            response.header(&HeaderName::ContentType),
            Some("application/sdp")
        );
        assert!(response.body().starts_with(b"v=0"));
        assert_eq!(m_lines(response), lines);
        assert!(desk.log.iter().any(|line| line.starts_with("bye")));
        assert!(building.find("lobby").seen.is_empty(), "it is never routed");
        assert!(building.commands.is_empty(), "and makes no media");
        assert_eq!(building.drives.len(), 1);
        building.check_quiet();
    }
}

#[test]
fn a_buzz_with_an_offer_that_cannot_be_read_opens_nothing() {
    let mut building = Building::ready(81);
    building.replan(&[AT_ANY_TIME]);
    for (kind, body, status) in [
        ("application/sdp", "v=0\r\nm=audio\r\n", 400),
        ("text/plain", "please", 415),
    ] {
        building.act("desk-1", |ua, now| {
            ua.raw(now, |request| {
                request.method = sip_proxy::Method::Invite;
                request.uri = "sip:lobby@elm.example".to_owned();
                request
                    .headers
                    .push((HeaderName::from_token("Action"), "buzz".to_owned()));
                request.body = Some(sip_proxy::Body {
                    content_type: kind.to_owned(),
                    bytes: body.into(),
                });
            });
        });
        building.run(2 * SECOND);
        let response = building.find("desk-1").responses.last().unwrap();
        assert_eq!(response.status(), Some(status));
    }
    assert!(building.drives.is_empty());
    building.check_quiet();
}

const BY_BUZZ: (&str, &str) = ("driver=\"http\" switch=1", "driver=\"action-buzz\"");

/// A building whose lobby station is told by `Action: buzz` and asks for a password first.
fn asking(seed: u64, by: BuzzBy, edit: impl FnOnce(&mut StationLogin)) -> Building {
    let mut building = Building::ready(seed);
    building.replan(&[AT_ANY_TIME, BY_BUZZ]);
    let lobby = building.find("lobby").addr.ip();
    let mut login = StationLogin {
        user: "opener".to_owned(),
        password: Password::new("open sesame"),
        realm: None,
        peers: vec![lobby],
    };
    edit(&mut login);
    let out = StationOut {
        buzz: BuzzOut {
            by,
            ..BuzzOut::default()
        },
        ..StationOut::default()
    };
    building.b2bua.set_stations(Stations {
        out: [("2n".to_owned(), out)].into(),
        logins: [("lobby".to_owned(), login)].into(),
    });
    let now = building.now;
    building.ua("lobby").gate = Some(Gate::new("station", "open sesame", now));
    building
}

fn asked(building: &Building) -> u32 {
    building.find("lobby").gate.as_ref().unwrap().asked
}

fn buzz(building: &mut Building) -> u16 {
    building.act("desk-1", |ua, now| {
        ua.plain(
            now,
            sip_proxy::Method::Message,
            "lobby",
            &[("Action", "buzz")],
        );
    });
    building.run(12 * SECOND);
    building.find("desk-1").answers.last().unwrap().1
}

/// Requests with proof that the station has got.
fn proofs(building: &Building) -> Vec<String> {
    building
        .find("lobby")
        .seen
        .iter()
        .filter(|message| message.header(&HeaderName::Authorization).is_some())
        .map(|message| message.method().as_str().to_owned())
        .collect()
}

#[test]
fn a_station_that_asks_gets_its_own_credentials() {
    let mut building = asking(82, BuzzBy::Info, |_| {});
    assert_eq!(buzz(&mut building), 200);
    assert_eq!(proofs(&building), ["MESSAGE"]);
    building.run(10 * SECOND);
    talking(&mut building, "lobby", "desk", "desk-1");
    let (_, desk) = building.joined();
    building.press(desk, '9');
    building.run(2 * SECOND);
    assert_eq!(proofs(&building), ["MESSAGE", "INFO"]);
    assert_eq!(asked(&building), 2);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_station_told_by_invite_is_hung_up_and_a_ringing_one_cancelled() {
    let mut building = asking(83, BuzzBy::Invite, |_| {});
    building.ua("lobby").policy = Policy::Answer(Duration::ZERO);
    assert_eq!(buzz(&mut building), 200);
    assert_eq!(proofs(&building), ["INVITE"]);
    building.run(10 * SECOND);
    building.ua("lobby").policy = Policy::Ring;
    assert_eq!(buzz(&mut building), 504);
    assert_eq!(proofs(&building), ["INVITE", "INVITE"]);
    building.check_quiet();
}

#[test]
fn credentials_go_to_no_other_address_realm_or_door_and_not_for_ever() {
    let elsewhere = "10.9.9.9".parse().unwrap();
    let mut building = asking(84, BuzzBy::Message, |login| login.peers = vec![elsewhere]);
    assert_eq!(buzz(&mut building), 502);
    assert_eq!(proofs(&building).len(), 0, "another address");

    let realm = Some("other".to_owned());
    let mut building = asking(85, BuzzBy::Message, |login| login.realm = realm);
    assert_eq!(buzz(&mut building), 502);
    assert_eq!(proofs(&building).len(), 0, "another realm than configured");

    let mut building = asking(86, BuzzBy::Message, |_| {});
    assert_eq!(buzz(&mut building), 200);
    let now = building.now;
    building.ua("lobby").gate = Some(Gate::new("elsewhere", "open sesame", now));
    building.run(10 * SECOND);
    assert_eq!(buzz(&mut building), 502);
    assert_eq!(proofs(&building).len(), 1, "another realm than seen before");

    let mut building = asking(87, BuzzBy::Message, |login| {
        login.password = Password::new("wrong");
    });
    assert_eq!(buzz(&mut building), 502);
    assert_eq!((asked(&building), proofs(&building).len()), (2, 1), "once");

    let mut building = asking(88, BuzzBy::Message, |_| {});
    building.ua("lobby").gate.as_mut().unwrap().forgetful = true;
    assert_eq!(buzz(&mut building), 502);
    assert_eq!((asked(&building), proofs(&building).len()), (3, 2), "twice");
    building.check_quiet();
}
