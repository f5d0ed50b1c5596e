//! SUBSCRIBE and PUBLISH: who may, who may not, and how each ends.

use std::time::Duration;

use intercom::Input;
use intercom::event::Waiting;
use sip_proxy::{HeaderName, Method, Transport};

use crate::building::Building;
use crate::building::link::Weather;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Subscribes and returns the final status.
fn subscribe(building: &mut Building, watcher: &str, user: &str, event: &str) -> u16 {
    let (user, event) = (user.to_owned(), event.to_owned());
    building.act(watcher, |ua, now| ua.subscribe(now, &user, &event, 600));
    building.run(100 * MS);
    let response = building.find(watcher).answer_to(&Method::Subscribe);
    response.status().unwrap()
}

#[test]
fn the_plan_and_the_directory_say_who_may_watch_whom() {
    for (watcher, user, event, status) in [
        ("desk-1", "lobby", "dialog", 200),
        ("desk-1", "desk", "dialog", 200),
        ("desk-1", "101", "dialog", 200),
        ("desk-1", "anna-app", "presence", 200),
        ("anna-app", "lobby", "dialog", 200),
        ("anna-app", "garage", "dialog", 403),
        ("anna-app", "desk", "dialog", 403),
        ("anna-app", "desk-1", "dialog", 403),
        ("anna-app", "petr-phone", "dialog", 200),
        ("anna-app", "101", "presence", 200),
        ("guest-phone", "lobby", "dialog", 403),
        ("lobby", "desk-1", "dialog", 403),
        ("lobby", "lobby", "dialog", 403),
        ("anna-app", "anna-app", "reg", 200),
        ("anna-app", "petr-phone", "reg", 403),
        ("desk-1", "anna-app", "reg", 403),
        ("anna-app", "anna-app", "message-summary", 200),
        ("anna-app", "petr-phone", "message-summary", 403),
    ] {
        let mut building = Building::ready(511);
        let got = subscribe(&mut building, watcher, user, event);
        assert_eq!(got, status, "{watcher} watches {event} of {user}");
        assert_eq!(
            building.find(watcher).watches.told.is_empty(),
            status != 200
        );
    }
}

#[test]
fn what_may_not_be_seen_and_what_does_not_exist_are_the_same() {
    let mut answers = Vec::new();
    for user in ["desk", "desk-1", "garage", "nobody", "777"] {
        let mut building = Building::ready(512);
        assert_eq!(subscribe(&mut building, "anna-app", user, "dialog"), 403);
        let response = building.find("anna-app").answer_to(&Method::Subscribe);
        let headers: Vec<(String, String)> = response
            .all_headers()
            .filter(|(name, _)| !["To", "Via"].contains(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        answers.push((response.reason().to_owned(), headers));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[test]
fn an_unknown_package_is_489_and_names_those_there_are() {
    let mut building = Building::ready(513);
    for event in ["conference", "presence.winfo"] {
        assert_eq!(subscribe(&mut building, "desk-1", "lobby", event), 489);
        let response = building.find("desk-1").answer_to(&Method::Subscribe);
        assert_eq!(
            response.header(&HeaderName::AllowEvents),
            Some("dialog, message-summary, presence, reg")
        );
    }
    assert_eq!(building.b2bua.event_counters().refused, 2);
}

#[test]
fn a_forged_subscribe_is_challenged_and_holds_nothing() {
    let mut building = Building::ready(514);
    let stranger = "10.9.9.9:5060".parse().unwrap();
    for at in 0..200 {
        building.inject(
            stranger,
            format!(
                "SUBSCRIBE sip:lobby@elm.example SIP/2.0\r\nVia: SIP/2.0/UDP 10.9.9.9;branch=z9hG4bKf{at}\r\n\
                 From: <sip:desk-1@elm.example>;tag=f\r\nTo: <sip:lobby@elm.example>\r\nCall-ID: f{at}\r\nCSeq: 1 SUBSCRIBE\r\n\
                 Contact: <sip:x@10.9.9.9>\r\nEvent: dialog\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
            ),
        );
    }
    assert_eq!(building.b2bua.event_counters().subscriptions, 0);
    assert!(building.b2bua.counters().challenged >= 200);
}

#[test]
fn a_subscription_overheard_is_not_ended_from_another_address() {
    let mut building = Building::ready(515);
    assert_eq!(subscribe(&mut building, "desk-1", "lobby", "dialog"), 200);
    let request = building.ua("desk-1").refreshing("dialog", 0);
    let bytes = sip_proxy::message::write_request(
        &request,
        "SIP/2.0/UDP 10.9.9.9;branch=z9hG4bKstolen",
        None,
    );
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    building.inject("10.9.9.9:5060".parse().unwrap(), text);
    building.run(SECOND);
    assert_eq!(building.b2bua.event_counters().subscriptions, 1);
    building.act("desk-1", |ua, now| ua.resubscribe(now, "dialog", 0));
    building.run(SECOND);
    assert_eq!(building.find("desk-1").state(), "terminated;reason=timeout");
    assert_eq!(building.b2bua.event_counters().subscriptions, 0);
}

#[test]
fn a_refresh_is_answered_with_the_full_state() {
    let mut building = Building::ready(516);
    assert_eq!(subscribe(&mut building, "desk-1", "lobby", "dialog"), 200);
    building.run(300 * SECOND);
    building.act("desk-1", |ua, now| ua.resubscribe(now, "dialog", 1_200));
    building.run(SECOND);
    assert_eq!(building.find("desk-1").state(), "active;expires=1200");
    assert_eq!(building.find("desk-1").watches.told.len(), 2);
    building.run(1_200 * SECOND);
    assert_eq!(building.find("desk-1").state(), "terminated;reason=timeout");
}

#[test]
fn a_subscribe_in_a_dialog_we_do_not_hold_is_481() {
    let mut building = Building::ready(517);
    building.act("desk-1", |ua, now| {
        ua.raw(now, |request| {
            request.method = Method::Subscribe;
            request.to = "<sip:lobby@elm.example>;tag=e1-0123456789abcdef".to_owned();
            request
                .headers
                .push((HeaderName::Event, "dialog".to_owned()));
        });
    });
    building.run(SECOND);
    let response = building.find("desk-1").answer_to(&Method::Subscribe);
    assert_eq!(response.status(), Some(481));
}

#[test]
fn a_phone_that_is_gone_or_forgot_loses_its_subscription() {
    for (status, wait) in [(481, SECOND), (0, 40 * SECOND)] {
        let mut building = Building::ready(518);
        building.ua("desk-1").watches.status = Some(status);
        building.act("desk-1", |ua, now| {
            ua.subscribe(now, "lobby", "dialog", 600);
        });
        building.run(wait);
        let counters = building.b2bua.event_counters();
        assert_eq!(
            (counters.subscriptions, counters.notifier.unreachable),
            (0, 1)
        );
    }
}

#[test]
fn who_is_revoked_is_told_that_it_is_over() {
    let mut building = Building::ready(519);
    assert_eq!(subscribe(&mut building, "anna-app", "lobby", "dialog"), 200);
    building.revoke("anna-app");
    building.run(SECOND);
    assert_eq!(
        building.find("anna-app").state(),
        "terminated;reason=rejected"
    );
    assert_eq!(building.b2bua.event_counters().subscriptions, 0);
}

#[test]
fn a_right_that_the_plan_takes_back_ends_the_subscription() {
    let mut building = Building::ready(520);
    assert_eq!(subscribe(&mut building, "anna-app", "lobby", "dialog"), 200);
    let rule =
        "may-open \"role:resident\" group=\"entry\" method=\"app,handset\" require=\"answered\"";
    building.replan(&[(rule, "")]);
    building.run(SECOND);
    assert_eq!(
        building.find("anna-app").state(),
        "terminated;reason=rejected"
    );
}

#[test]
fn at_shutdown_phones_are_told_to_subscribe_anew() {
    let mut building = Building::ready(521);
    assert_eq!(subscribe(&mut building, "desk-1", "lobby", "dialog"), 200);
    building.feed(Input::Shutdown);
    building.run(SECOND);
    assert_eq!(
        building.find("desk-1").state(),
        "terminated;reason=deactivated"
    );
}

#[test]
fn a_draining_server_takes_no_new_subscriptions() {
    let mut building = Building::ready(522);
    building.feed(Input::Drain);
    assert_eq!(subscribe(&mut building, "desk-1", "lobby", "dialog"), 503);
}

#[test]
fn the_message_lamp_follows_the_box() {
    let mut building = Building::ready(523);
    assert_eq!(
        subscribe(&mut building, "anna-app", "anna-app", "message-summary"),
        200
    );
    let first = building.find("anna-app").documents().pop().unwrap();
    assert_eq!(
        first,
        "Messages-Waiting: no\r\nMessage-Account: sip:anna-app@elm.example\r\nVoice-Message: 0/0 (0/0)\r\n"
    );
    let waiting = Waiting {
        new: 1,
        ..Waiting::default()
    };
    for _ in 0..2 {
        building.feed(Input::MessagesWaiting {
            account: "anna-app".to_owned(),
            waiting,
        });
    }
    building.run(SECOND);
    let documents = building.find("anna-app").documents();
    assert_eq!(documents.len(), 2, "the same again is no news");
    assert!(documents[1].starts_with("Messages-Waiting: yes\r\n"));
}

#[test]
fn registrations_are_told_to_their_owner() {
    let mut building = Building::ready(524);
    assert_eq!(subscribe(&mut building, "anna-app", "anna-app", "reg"), 200);
    let first = building.find("anna-app").documents().pop().unwrap();
    assert!(
        first.contains(
            "<registration aor=\"sip:anna-app@elm.example\" id=\"anna-app\" state=\"active\">"
        ) && first.contains("<uri>sip:anna-app@10.0.1.6:5060</uri>"),
        "{first}"
    );
    building.act("anna-app", |ua, now| {
        ua.raw(now, |request| {
            request.method = Method::Register;
            request.uri = "sip:elm.example".to_owned();
            request.to = "<sip:anna-app@elm.example>".to_owned();
            request.headers.push((HeaderName::Expires, "0".to_owned()));
        });
    });
    building.run(2 * SECOND);
    let gone = building.find("anna-app").documents().pop().unwrap();
    assert!(
        gone.contains("state=\"terminated\"") && gone.contains("event=\"unregistered\""),
        "{gone}"
    );
}

const CLOSED: &str = "<?xml version=\"1.0\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:anna-app@elm.example\">\
    <tuple id=\"a\"><status><basic>closed</basic></status></tuple><note>lunch</note></presence>";

#[test]
fn presence_is_registration_and_what_its_owner_publishes() {
    let mut building = Building::ready(525);
    assert_eq!(
        subscribe(&mut building, "desk-1", "anna-app", "presence"),
        200
    );
    building.act("anna-app", |ua, now| {
        ua.publish(now, "anna-app", None, CLOSED);
    });
    building.run(2 * SECOND);
    let published = building.find("anna-app").answer_to(&Method::Publish);
    assert_eq!(published.status(), Some(200));
    let etag = published.header(&HeaderName::SipETag).unwrap().to_owned();
    let documents = building.find("desk-1").documents();
    assert!(documents[0].contains("<basic>open</basic>"));
    assert!(
        documents[1].contains("<basic>closed</basic>")
            && documents[1].contains("<note>lunch</note>")
    );
    building.act("anna-app", |ua, now| {
        ua.publish(now, "anna-app", Some("nonsense"), "");
    });
    building.run(SECOND);
    assert_eq!(
        building
            .find("anna-app")
            .answer_to(&Method::Publish)
            .status(),
        Some(412)
    );
    building.act("anna-app", |ua, now| {
        ua.publish(now, "anna-app", Some(&etag), "");
    });
    building.run(3 * SECOND);
    assert_eq!(
        building.find("desk-1").documents().len(),
        2,
        "a refresh is no news"
    );
    let published = building.find("anna-app").answer_to(&Method::Publish);
    let etag = published.header(&HeaderName::SipETag).unwrap().to_owned();
    building.act("anna-app", |ua, now| {
        ua.unpublish(now, "anna-app", &etag);
    });
    building.run(3 * SECOND);
    let documents = building.find("desk-1").documents();
    assert!(documents[2].contains("<basic>open</basic>") && !documents[2].contains("lunch"));
}

#[test]
fn nobody_publishes_for_somebody_else_and_no_other_package_is_published() {
    let mut building = Building::ready(526);
    building.act("anna-app", |ua, now| {
        ua.publish(now, "desk-1", None, CLOSED);
    });
    building.run(SECOND);
    let publish = |building: &Building| {
        let response = building.find("anna-app").answer_to(&Method::Publish);
        response.status().unwrap()
    };
    assert_eq!(publish(&building), 403);
    building.act("anna-app", |ua, now| {
        ua.raw(now, |request| {
            request.method = Method::Publish;
            request.uri = "sip:anna-app@elm.example".to_owned();
            request
                .headers
                .push((HeaderName::Event, "dialog".to_owned()));
        });
    });
    building.run(SECOND);
    assert_eq!(publish(&building), 489);
    assert_eq!(building.b2bua.event_counters().publications, 0);
}

#[test]
fn notifies_follow_a_phone_to_its_new_connection() {
    let mut building = Building::over(527, Weather::FINE, Transport::Tcp, false, |_| {});
    building.register_all();
    assert_eq!(subscribe(&mut building, "desk-1", "lobby", "dialog"), 200);
    building.cut("desk-1");
    building.act("desk-1", |ua, now| ua.register(now));
    building.run(SECOND);
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.run(2 * SECOND);
    assert_eq!(building.find("desk-1").lamps().last().unwrap(), "early");
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
}
