//! `Action: buzz` as an INVITE, and towards stations that ask who we are.

use std::time::Duration;

use sip_proxy::{HeaderName, Message};

use crate::building::Building;

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
