//! Within an answered call: re-INVITE and UPDATE with offers, new codecs, addresses and targets, and those that meet.

use std::time::Duration;

use media_bridge::{Codec, Command, LegConfig};
use sip_proxy::{Body, HeaderName, Method};

use crate::building::Building;
use crate::building::ua::{Ua, sdp};
use crate::talks::talking;

const SECOND: Duration = Duration::from_secs(1);

fn offer(ua: &Ua, direction: &str, port: &str) -> Body {
    let text = String::from_utf8(sdp(ua.addr, ua.codec, direction).to_vec()).unwrap();
    Body {
        content_type: "application/sdp".to_owned(),
        bytes: text.replace("40000", port).into(),
    }
}

/// The latest form of the leg whose peer is at a device.
fn media(building: &Building, device: &str) -> LegConfig {
    let ip = building.find(device).addr.ip();
    let mut configs = building
        .commands
        .iter()
        .rev()
        .filter_map(|command| match command {
            Command::Open { config, .. } | Command::Update { config, .. } => Some(config),
            _ => None,
        });
    configs
        .find(|config| config.remote_rtp.ip() == ip)
        .unwrap()
        .clone()
}

fn answered(building: &Building, device: &str, method: &str) -> Vec<u16> {
    let answers = building.find(device).answers.iter();
    answers
        .filter(|(found, _)| found == method)
        .map(|(_, status)| *status)
        .collect()
}

#[test]
fn hold_and_resume_by_update_are_told_to_the_other_phone() {
    let mut building = Building::ready(780);
    talking(&mut building, "desk-2", "desk-1", "desk-1");
    for direction in ["sendonly", "sendrecv"] {
        building.act("desk-2", |ua, now| {
            let offer = offer(ua, direction, "40000");
            ua.within(now, Method::Update, |request| request.body = Some(offer));
        });
        building.run(SECOND);
    }
    assert_eq!(answered(&building, "desk-2", "UPDATE"), [200, 200]);
    let log = &building.find("desk-1").log;
    assert_eq!(log[log.len() - 2..], ["held", "resumed"]);
    let answer = building.find("desk-2").responses.last().unwrap();
    assert!(!answer.body().is_empty());
    building.act("desk-2", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn another_codec_and_another_address_end_at_our_side() {
    let mut building = Building::ready(781);
    talking(&mut building, "desk-2", "desk-1", "desk-1");
    assert_eq!(media(&building, "desk-2").codec, Codec::Pcma);
    let before = building.find("desk-1").got(&Method::Invite).len();
    building.ua("desk-2").codec = 0;
    building.act("desk-2", |ua, now| {
        let offer = offer(ua, "sendrecv", "41000");
        ua.within(now, Method::Invite, |request| request.body = Some(offer));
    });
    building.run(SECOND);
    let now = media(&building, "desk-2");
    assert_eq!((now.codec, now.remote_rtp.port()), (Codec::Pcmu, 41_000));
    assert_eq!(media(&building, "desk-1").codec, Codec::Pcma, "transcoded");
    let after = building.find("desk-1").got(&Method::Invite).len();
    assert_eq!(before, after, "the other side need not know");
    building.act("desk-2", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn an_offer_nobody_can_take_changes_nothing() {
    let mut building = Building::ready(782);
    talking(&mut building, "desk-2", "desk-1", "desk-1");
    let before = media(&building, "desk-2");
    building.ua("desk-2").codec = 18;
    building.act("desk-2", |ua, now| ua.reinvite(now, "sendrecv"));
    building.run(SECOND);
    assert_eq!(answered(&building, "desk-2", "INVITE"), [488]);
    assert_eq!(media(&building, "desk-2"), before);
    building.act("desk-2", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_reinvite_without_sdp_is_answered_with_an_offer_and_its_ack_counts() {
    let mut building = Building::ready(783);
    talking(&mut building, "desk-2", "desk-1", "desk-1");
    building.act("desk-2", |ua, now| {
        let contact = ua.contact();
        let call = ua.calls.last_mut().unwrap();
        let mut request = call.dialog.as_mut().unwrap().request(Method::Invite);
        request.contact = Some(contact);
        ua.send_late(now, request);
    });
    building.run(SECOND);
    let response = building.find("desk-2").responses.last().unwrap();
    assert_eq!(response.status(), Some(200));
    assert!(String::from_utf8_lossy(response.body()).contains("m=audio"));
    assert!(building.find("desk-1").is_up());
    building.act("desk-1", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_new_contact_is_where_the_next_request_goes() {
    let mut building = Building::ready(784);
    talking(&mut building, "desk-2", "desk-1", "desk-1");
    for (device, method) in [("desk-2", Method::Invite), ("desk-1", Method::Update)] {
        building.act(device, |ua, now| {
            let offer = offer(ua, "sendrecv", "40000");
            let contact = format!("<sip:moved-{}@{}>", ua.user, ua.addr);
            ua.within(now, method, |request| {
                request.body = Some(offer);
                request.contact = Some(contact);
            });
        });
        building.run(SECOND);
    }
    building.feed(intercom::Input::Shutdown);
    building.run(SECOND);
    for device in ["desk-1", "desk-2"] {
        let bye = building.find(device).got(&Method::Bye)[0];
        assert!(bye.uri().starts_with(&format!("sip:moved-{device}@")));
    }
    building.check_quiet();
}

#[test]
fn offers_that_meet_get_491_and_an_update_without_one_meets_nothing() {
    let mut building = Building::ready(785);
    talking(&mut building, "desk-2", "desk-1", "desk-1");
    // Our re-INVITE to desk-1 is under way when its own requests come.
    building.act("desk-2", |ua, now| ua.reinvite(now, "sendonly"));
    building.run(Duration::from_micros(1_100));
    building.act("desk-1", |ua, now| {
        let one = offer(ua, "sendrecv", "40000");
        let two = one.clone();
        ua.within(now, Method::Update, |request| request.body = Some(one));
        ua.within(now, Method::Invite, |request| request.body = Some(two));
        ua.within(now, Method::Update, |_| {});
    });
    building.run(SECOND);
    assert_eq!(answered(&building, "desk-1", "UPDATE"), [491, 200]);
    assert_eq!(answered(&building, "desk-1", "INVITE"), [491]);
    assert!(building.find("desk-1").log.contains(&"held".to_owned()));
    building.act("desk-2", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_second_offer_before_the_first_is_acknowledged_is_told_when_to_come_again() {
    let mut building = Building::ready(786);
    talking(&mut building, "desk-2", "desk-1", "desk-1");
    building.act("desk-2", |ua, now| {
        ua.reinvite(now, "sendonly");
        ua.reinvite(now, "sendrecv");
    });
    building.run(SECOND);
    let mut statuses = answered(&building, "desk-2", "INVITE");
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 500]);
    let refused = building.find("desk-2").responses.iter();
    let mut refused = refused.filter(|response| response.status() == Some(500));
    let retry = refused.next().unwrap().header(&HeaderName::RetryAfter);
    assert!(retry.unwrap().parse::<u8>().unwrap() <= 10);
    building.act("desk-2", |ua, now| ua.hang_up(now));
    building.check_quiet();
}
