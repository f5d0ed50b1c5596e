//! Proxy mode: two phones of the house speak directly where the plan says so; doors never do.

use std::time::Duration;

use intercom::EndReason;
use sip_proxy::{HeaderName, Message, Method};

use crate::building::Building;
use crate::building::ua::Policy;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const INSIDE: &str =
    r#"route "inside" from="device:*" dial="device" { ring "@device" for="60s"; end "hangup" }"#;

/// A house whose plan lets devices speak directly.
fn house(seed: u64) -> Building {
    let mut building = Building::ready(seed);
    let proxy = r#"route "inside" from="device:*" dial="device" { proxy; }
route "doors" doors="*" dial="device" { proxy; }"#;
    building.replan(&[(INSIDE, proxy)]);
    building
}

fn seen<'a>(building: &'a Building, device: &str, method: &Method) -> Vec<&'a Message> {
    let seen = building.find(device).seen.iter();
    seen.filter(|message| message.method() == method).collect()
}

fn count(building: &Building, device: &str, method: &Method) -> usize {
    seen(building, device, method).len()
}

#[test]
fn a_call_passes_through_with_its_own_sdp_and_leaves_a_record() {
    let mut building = house(1);
    building.ua("petr-phone").policy = Policy::Answer(SECOND);
    building.act("anna-app", |ua, now| ua.call(now, "petr-phone", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("anna-app").is_up());
    let invite = seen(&building, "petr-phone", &Method::Invite)[0].clone();
    assert_eq!(invite.values(&HeaderName::Via).count(), 2);
    assert_eq!(invite.max_forwards(), Some(69));
    assert!(
        String::from_utf8_lossy(invite.body()).contains("10.0.1."),
        "media is direct"
    );
    assert_eq!(
        invite.header(&HeaderName::PAssertedIdentity),
        Some("<sip:anna-app@elm.example>")
    );
    assert!(invite.header(&HeaderName::Authorization).is_none());
    assert_eq!(invite.values(&HeaderName::RecordRoute).count(), 1);
    assert!(building.open_legs.is_empty(), "no bridge");
    assert_eq!(
        (building.b2bua.live_calls(), building.b2bua.held_calls()),
        (1, 0)
    );
    // A re-INVITE and an INFO within, and the end from the other side.
    building.act("anna-app", |ua, now| ua.reinvite(now, "sendonly"));
    building.run(SECOND);
    assert!(building.find("petr-phone").log.contains(&"held".to_owned()));
    assert!(building.find("petr-phone").acks >= 2);
    building.act("petr-phone", |ua, now| ua.hang_up(now));
    building.run(SECOND);
    assert_eq!(building.b2bua.live_calls(), 0);
    let cdr = building.cdrs.last().unwrap();
    assert_eq!(
        (cdr.end, cdr.status, cdr.winner.as_deref()),
        (EndReason::CalleeHungUp, 200, Some("petr-phone"))
    );
    assert_eq!(cdr.route.as_deref(), Some("inside"));
    let story = building.stories.last().unwrap().to_string();
    for line in [
        "proxy to petr-phone",
        "180 INVITE",
        "200 INVITE (SDP)",
        "BYE",
    ] {
        assert!(story.contains(line), "{line} is not in\n{story}");
    }
    building.check_quiet();
    assert_eq!(building.b2bua.proxied_dialogs(), 0);
}

#[test]
fn the_caller_gives_up_and_the_branches_are_cancelled() {
    let mut building = house(2);
    building.act("anna-app", |ua, now| ua.call(now, "petr-phone", true, &[]));
    building.until("rings", SECOND, |b| {
        b.find("anna-app").provisionals.contains(&180)
    });
    building.act("anna-app", |ua, now| ua.cancel(now));
    building.until("ended", 2 * SECOND, |b| b.find("anna-app").finals == [487]);
    let log = &building.find("petr-phone").log;
    assert!(
        log.iter().any(|line| line.starts_with("cancelled")),
        "{log:?}"
    );
    let cdr = building.cdrs.last().unwrap();
    assert_eq!((cdr.end, cdr.status), (EndReason::CallerCancelled, 487));
    building.check_quiet();
}

#[test]
fn a_refusal_is_passed_back_and_recorded() {
    for (status, end) in [(486, EndReason::Busy), (480, EndReason::NotAnswered)] {
        let mut building = house(3);
        building.ua("petr-phone").policy = Policy::Refuse(50 * MS, status);
        building.act("anna-app", |ua, now| ua.call(now, "petr-phone", true, &[]));
        building.until("refused", 2 * SECOND, |b| {
            b.find("anna-app").finals == [status]
        });
        assert_eq!(building.cdrs.last().unwrap().end, end);
        building.check_quiet();
    }
}

#[test]
fn a_door_is_never_proxied_to_or_from() {
    let mut building = house(4);
    for (from, to) in [("lobby", "petr-phone"), ("anna-app", "lobby")] {
        building.act(from, |ua, now| ua.call(now, to, true, &[]));
        building.run(2 * SECOND);
        for invite in seen(&building, to, &Method::Invite) {
            assert_eq!(invite.values(&HeaderName::Via).count(), 1, "{from} to {to}");
        }
        building.act(from, |ua, now| ua.cancel(now));
        building.run(SECOND);
        building.act(from, |ua, now| ua.plain(now, Method::Message, to, &[]));
        building.run(SECOND);
        assert_eq!(count(&building, to, &Method::Message), 0, "{from} to {to}");
    }
    assert_eq!(building.b2bua.counters().proxied, 0);
    building.check_quiet();
}

#[test]
fn an_action_header_never_passes() {
    let mut building = house(5);
    building.ua("petr-phone").policy = Policy::Answer(SECOND);
    building.act("anna-app", |ua, now| ua.call(now, "petr-phone", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("anna-app").is_up());
    building.act("anna-app", |ua, now| {
        ua.within(now, Method::Info, |request| {
            for name in ["Action", "Action-Auth", "Action-Result"] {
                let name = HeaderName::from_token(name);
                request.headers.push((name, "buzz".to_owned()));
            }
        });
    });
    building.run(SECOND);
    let info = seen(&building, "petr-phone", &Method::Info);
    assert_eq!(info.len(), 1);
    let passed = info[0].all_headers();
    assert_eq!(
        passed
            .filter(|(name, _)| name.starts_with("Action"))
            .count(),
        0
    );
    assert_eq!(building.b2bua.intents(), 0);
    building.act("anna-app", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn messages_pass_between_devices_where_the_plan_says_so() {
    let mut building = house(6);
    building.act("anna-app", |ua, now| {
        ua.plain(now, Method::Message, "petr-phone", &[]);
    });
    building.run(SECOND);
    assert_eq!(
        building.find("anna-app").answers.last(),
        Some(&("MESSAGE".to_owned(), 200))
    );
    assert_eq!(count(&building, "petr-phone", &Method::Message), 1);
    // Without such a route: nowhere.
    building.replan(&[]);
    building.act("anna-app", |ua, now| {
        ua.plain(now, Method::Message, "petr-phone", &[]);
    });
    building.run(SECOND);
    assert_eq!(
        building.find("anna-app").answers.last(),
        Some(&("MESSAGE".to_owned(), 403))
    );
    assert_eq!(count(&building, "petr-phone", &Method::Message), 1);
    building.check_quiet();
}

#[test]
fn a_package_of_the_device_s_own_is_subscribed_there() {
    let mut building = house(7);
    building.act("anna-app", |ua, now| {
        ua.plain(
            now,
            Method::Subscribe,
            "petr-phone",
            &[("Event", "x-weather")],
        );
    });
    building.run(SECOND);
    assert_eq!(
        building.find("anna-app").answers.last(),
        Some(&("SUBSCRIBE".to_owned(), 200))
    );
    let subscribe = seen(&building, "petr-phone", &Method::Subscribe)[0].clone();
    assert_eq!(subscribe.values(&HeaderName::RecordRoute).count(), 1);
    assert_eq!(building.b2bua.proxied_dialogs(), 1);
    building.act("anna-app", |ua, now| {
        ua.plain(now, Method::Subscribe, "lobby", &[("Event", "x-weather")]);
    });
    building.run(SECOND);
    assert_eq!(
        building.find("anna-app").answers.last(),
        Some(&("SUBSCRIBE".to_owned(), 489))
    );
    assert_eq!(count(&building, "lobby", &Method::Subscribe), 0);
}

#[test]
fn what_a_proxy_must_refuse_is_refused() {
    let mut building = house(8);
    for (name, value, status) in [
        ("Proxy-Require", "x-unheard-of", 420),
        ("Route", "<sip:elsewhere.example;lr>", 403),
        ("Max-Breadth", "0", 440),
    ] {
        building.act("anna-app", |ua, now| {
            ua.plain(now, Method::Message, "petr-phone", &[(name, value)]);
        });
        building.run(SECOND);
        let last = building.find("anna-app").answers.last().cloned();
        assert_eq!(last, Some(("MESSAGE".to_owned(), status)), "{name}");
    }
    building.act("anna-app", |ua, now| {
        ua.raw(now, |request| {
            request.method = Method::Message;
            request.uri = "sip:petr-phone@elm.example".to_owned();
            request.max_forwards = 0;
        });
    });
    building.run(SECOND);
    let last = building.find("anna-app").answers.last().cloned();
    assert_eq!(last, Some(("MESSAGE".to_owned(), 483)));
    // Nobody else's domain, by whatever way.
    building.act("anna-app", |ua, now| {
        ua.raw(now, |request| {
            request.method = Method::Message;
            request.uri = "sip:petr-phone@elsewhere.example".to_owned();
        });
    });
    building.run(SECOND);
    let last = building.find("anna-app").answers.last().cloned();
    assert_eq!(last, Some(("MESSAGE".to_owned(), 403)));
    assert_eq!(count(&building, "petr-phone", &Method::Message), 0);
}

#[test]
fn a_call_with_a_from_that_is_not_the_sender_s_is_bridged() {
    let mut building = house(9);
    building.ua("petr-phone").policy = Policy::Answer(SECOND);
    building.act("anna-app", |ua, now| {
        ua.raw(now, |request| {
            request.method = Method::Message;
            request.uri = "sip:petr-phone@elm.example".to_owned();
            request.from = "<sip:desk-1@elm.example>;tag=1".to_owned();
        });
    });
    building.run(SECOND);
    let last = building.find("anna-app").answers.last().cloned();
    assert_eq!(last, Some(("MESSAGE".to_owned(), 403)));
    building.act("anna-app", |ua, now| {
        ua.call(now, "petr-phone", true, &[("Privacy", "id")]);
    });
    building.until("answered", 5 * SECOND, |b| b.find("anna-app").is_up());
    assert_eq!(building.b2bua.held_calls(), 1, "bridged");
    building.act("anna-app", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_dialog_set_up_before_a_restart_goes_on_by_its_token_alone() {
    let mut building = house(10);
    building.ua("petr-phone").policy = Policy::Answer(SECOND);
    building.act("anna-app", |ua, now| ua.call(now, "petr-phone", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("anna-app").is_up());
    building.restart();
    building.register_all();
    building.act("anna-app", |ua, now| ua.hang_up(now));
    building.run(SECOND);
    assert!(!building.find("petr-phone").is_up(), "the BYE has passed");
}

#[test]
fn a_token_reaches_nobody_but_a_phone_of_the_house() {
    let mut building = house(11);
    building.ua("petr-phone").policy = Policy::Answer(SECOND);
    building.act("anna-app", |ua, now| ua.call(now, "petr-phone", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("anna-app").is_up());
    // The dialog is forgotten, the token still good.
    building.restart();
    building.register_all();
    let door = format!("sip:lobby@{}", building.find("lobby").addr);
    for target in [
        door.as_str(),
        "sip:x@192.0.2.9:5060",
        "sip:x@elsewhere.example",
    ] {
        for method in [Method::Info, Method::Message, Method::Invite] {
            building.act("anna-app", |ua, now| {
                ua.within(now, method.clone(), |request| {
                    request.uri = target.to_owned();
                });
            });
            building.run(SECOND);
            let last = building.find("anna-app").answers.last().cloned();
            assert_eq!(last, Some((method.as_str().to_owned(), 480)), "{target}");
        }
    }
    for method in [Method::Info, Method::Message, Method::Invite] {
        assert_eq!(count(&building, "lobby", &method), 0);
    }
    assert!(building.violations.is_empty(), "{:?}", building.violations);
}

#[test]
fn an_ack_leaves_the_credentials_of_its_invite_here() {
    let mut building = house(12);
    building.ua("petr-phone").policy = Policy::Answer(SECOND);
    building.act("anna-app", |ua, now| ua.call(now, "petr-phone", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("anna-app").is_up());
    building.run(SECOND);
    let invite = seen(&building, "petr-phone", &Method::Invite)[0].clone();
    let route = invite.header(&HeaderName::RecordRoute).unwrap().to_owned();
    let (from, call) = (invite.header(&HeaderName::From).unwrap(), invite.call_id());
    let (addr, acks) = (
        building.find("anna-app").addr,
        building.find("petr-phone").acks,
    );
    let text = format!(
        "ACK {} SIP/2.0\r\nVia: SIP/2.0/UDP {addr};branch=z9hG4bKagain\r\nRoute: {route}\r\nFrom: {from}\r\n\
         To: <sip:petr-phone@elm.example>;tag=x\r\nCall-ID: {call}\r\nCSeq: 2 ACK\r\nMax-Forwards: 70\r\n\
         Authorization: Digest username=\"anna-app\", response=\"00\"\r\nContent-Length: 0\r\n\r\n",
        invite.uri()
    );
    building.inject(addr, text);
    building.run(SECOND);
    assert_eq!(building.find("petr-phone").acks, acks + 1, "it has passed");
    assert!(building.violations.is_empty(), "{:?}", building.violations);
}

#[test]
fn who_is_revoked_leaves_what_passes_through() {
    // While it rings: cancelled, with a record.
    let mut building = house(13);
    building.act("anna-app", |ua, now| ua.call(now, "petr-phone", true, &[]));
    building.until("rings", SECOND, |b| {
        b.find("anna-app").provisionals.contains(&180)
    });
    building.revoke("petr-phone");
    building.run(SECOND);
    assert_eq!(building.find("anna-app").finals, [487]);
    let ends: Vec<_> = building.cdrs.iter().map(|cdr| cdr.end).collect();
    assert_eq!(ends, [EndReason::Revoked]);
    // While it talks: nothing but the end passes.
    let mut building = house(14);
    building.ua("petr-phone").policy = Policy::Answer(SECOND);
    building.act("anna-app", |ua, now| ua.call(now, "petr-phone", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("anna-app").is_up());
    building.revoke("anna-app");
    building.run(SECOND);
    let ends: Vec<_> = building.cdrs.iter().map(|cdr| cdr.end).collect();
    assert_eq!(ends, [EndReason::Revoked]);
    building.act("anna-app", |ua, now| ua.within(now, Method::Info, |_| {}));
    building.run(SECOND);
    let last = building.find("anna-app").answers.last().cloned();
    assert_eq!(last, Some(("INFO".to_owned(), 403)));
    assert_eq!(count(&building, "petr-phone", &Method::Info), 0);
    building.act("anna-app", |ua, now| ua.hang_up(now));
    building.run(SECOND);
    assert!(!building.find("petr-phone").is_up(), "the BYE has passed");
}
