//! Busy lamps (RFC 4235): what a phone that watches a door, a desk or a unit sees of the calls there.

use std::time::Duration;

use crate::building::Building;
use crate::building::ua::Policy;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn watch(building: &mut Building, watcher: &str, what: &str) {
    let user = what.to_owned();
    building.act(watcher, |ua, now| ua.subscribe(now, &user, "dialog", 3_600));
    building.until("told at once", SECOND, |b| {
        !b.find(watcher).watches.told.is_empty()
    });
    building.run(20 * MS);
}

#[test]
fn a_desk_phone_sees_a_door_ring_talk_and_hang_up() {
    let mut building = Building::ready(501);
    watch(&mut building, "desk-2", "lobby");
    building.ua("desk-1").policy = Policy::Answer(2 * SECOND);
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
    building.run(SECOND);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(2 * SECOND);
    let desk = building.find("desk-2");
    assert_eq!(
        desk.lamps(),
        ["idle", "trying", "early", "confirmed", "terminated"]
    );
    let documents = desk.documents();
    for (version, text) in documents.iter().enumerate() {
        assert!(
            text.contains(&format!(" version=\"{version}\" state=\"full\"")),
            "{text}"
        );
        assert!(text.contains("entity=\"sip:lobby@elm.example\""));
    }
    assert!(documents[2].contains("direction=\"initiator\""));
    assert!(documents[3].contains("sip:desk-1@elm.example"), "with whom");
    building.check_quiet();
}

#[test]
fn a_desk_is_one_lamp_for_all_its_phones() {
    let mut building = Building::ready(502);
    watch(&mut building, "desk-1", "desk");
    building.ua("desk-2").policy = Policy::Answer(2 * SECOND);
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
    building.run(2 * SECOND);
    let talking = building.find("desk-1").documents().pop().unwrap();
    assert_eq!(
        talking.matches("<dialog ").count(),
        1,
        "one dialog for the call"
    );
    building.act("desk-2", |ua, now| ua.hang_up(now));
    building.run(2 * SECOND);
    assert_eq!(
        building.find("desk-1").lamps(),
        ["idle", "trying", "early", "confirmed", "terminated"]
    );
    building.check_quiet();
}

#[test]
fn a_ringing_call_shows_what_a_pick_up_needs_and_not_the_dialog_itself() {
    let mut building = Building::ready(503);
    watch(&mut building, "desk-2", "desk-1");
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.run(SECOND);
    let text = building.find("desk-2").documents().pop().unwrap();
    for part in [
        "call-id=\"",
        "local-tag=\"",
        "remote-tag=\"",
        "direction=\"recipient\"",
        "<identity display=\"lobby\">sip:lobby@elm.example</identity><target uri=\"sip:lobby@elm.example\"/>",
    ] {
        assert!(text.contains(part), "{part} not in {text}");
    }
    // Who shares the ringing phone's address could otherwise speak in its dialog.
    let invite = building
        .find("desk-1")
        .seen
        .iter()
        .find(|message| *message.method() == sip_proxy::Method::Invite)
        .unwrap();
    for secret in [invite.call_id(), invite.from_tag().unwrap()] {
        assert!(!text.contains(secret), "{text}");
    }
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
}

#[test]
fn a_resident_sees_that_a_door_is_busy_and_not_with_whom() {
    let mut building = Building::ready(504);
    watch(&mut building, "anna-app", "lobby");
    building.ua("desk-1").policy = Policy::Answer(SECOND);
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
    building.run(2 * SECOND);
    let anna = building.find("anna-app");
    assert_eq!(anna.lamps().last().unwrap(), "confirmed");
    for text in anna.documents() {
        assert!(
            !text.contains("desk") && !text.contains("call-id"),
            "{text}"
        );
    }
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_unit_is_all_its_devices_for_those_who_live_there() {
    let mut building = Building::ready(505);
    watch(&mut building, "panel-101", "101");
    building.ua("anna-app").policy = Policy::Answer(2 * SECOND);
    building.act("lobby", |ua, now| ua.call(now, "101", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
    building.run(2 * SECOND);
    let panel = building.find("panel-101");
    assert_eq!(panel.lamps(), ["idle", "trying", "early", "confirmed"]);
    assert!(panel.documents()[3].contains("display=\"lobby\""));
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_late_subscriber_is_told_of_the_call_in_progress() {
    let mut building = Building::ready(506);
    building.ua("desk-1").policy = Policy::Answer(SECOND);
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
    watch(&mut building, "desk-2", "lobby");
    assert_eq!(building.find("desk-2").lamps(), ["confirmed"]);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_call_costs_what_the_watchers_of_its_own_parties_cost() {
    let mut building = Building::ready(507);
    // A busy house: many lamps, none of them of the garage or desk-1 but one.
    for _ in 0..60 {
        building.act("desk-2", |ua, now| {
            ua.subscribe(now, "lobby", "dialog", 3_600);
        });
        building.act("desk-2", |ua, now| {
            ua.subscribe(now, "101", "dialog", 3_600);
        });
        building.act("panel-101", |ua, now| {
            ua.subscribe(now, "anna-app", "dialog", 3_600);
        });
        building.run(50 * MS);
    }
    watch(&mut building, "desk-1", "garage");
    building.run(2 * SECOND);
    let before = building.b2bua.event_counters();
    assert_eq!(before.subscriptions, 181);
    building.ua("desk-1").policy = Policy::Answer(SECOND);
    building.act("garage", |ua, now| ua.call(now, "one", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("garage").is_up());
    building.act("garage", |ua, now| ua.hang_up(now));
    building.run(3 * SECOND);
    let told = building.b2bua.event_counters().notifier.notified - before.notifier.notified;
    assert_eq!(
        told, 4,
        "trying, early, confirmed, terminated, to the one who watches"
    );
    building.check_quiet();
}

#[test]
fn a_flood_of_calls_is_one_notify_at_a_time() {
    let mut building = Building::ready(508);
    watch(&mut building, "desk-2", "lobby");
    for _ in 0..20 {
        building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
        building.run(20 * MS);
        building.act("lobby", |ua, now| ua.cancel(now));
        building.run(20 * MS);
    }
    building.run(5 * SECOND);
    let told = building.find("desk-2").watches.told.len();
    assert!(
        (3..=12).contains(&told),
        "{told} NOTIFYs for 20 calls in 0.8 s"
    );
    assert!(
        ["idle", "terminated"].contains(&building.find("desk-2").lamps().last().unwrap().as_str()),
        "the last word is the truth"
    );
    building.check_quiet();
}

/// What a phone would write into Replaces of the latest dialog it was told of: the watched side's tag is the `from` of a
/// pick-up as RFC 5359 draws it, and the `to` as some phones have it.
fn replaces(building: &Building, watcher: &str, turned: bool) -> String {
    let text = building.find(watcher).documents().pop().unwrap();
    let value = |name: &str| {
        let (_, rest) = text.split_once(&format!(" {name}=\"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let (local, remote) = (value("local-tag"), value("remote-tag"));
    let (to, from) = if turned {
        (local, remote)
    } else {
        (remote, local)
    };
    format!(
        "{};to-tag={to};from-tag={from};early-only",
        value("call-id")
    )
}

#[test]
fn a_ringing_lamp_is_picked_up_by_its_key() {
    for (seed, watched, turned) in [
        (509, "desk-1", false),
        (510, "desk-1", true),
        (511, "lobby", false),
    ] {
        let mut building = Building::ready(seed);
        watch(&mut building, "desk-2", watched);
        building.ua("desk-1").policy = Policy::Ring;
        building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
        building.run(2 * SECOND);
        let named = replaces(&building, "desk-2", turned);
        building.act("desk-2", |ua, now| {
            ua.call(
                now,
                watched,
                true,
                &[("Replaces", &named), ("Require", "replaces")],
            );
        });
        building.until("picked up", 5 * SECOND, |b| {
            b.find("desk-2").is_up() && b.find("lobby").is_up()
        });
        building.run(SECOND);
        building.act("lobby", |ua, now| ua.hang_up(now));
        building.check_quiet();
    }
}

#[test]
fn what_a_lamp_shows_is_good_for_nothing_else() {
    let mut building = Building::ready(512);
    watch(&mut building, "desk-2", "desk-1");
    building.ua("desk-1").policy = Policy::Answer(SECOND);
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
    building.run(SECOND);
    let text = building.find("desk-2").documents().pop().unwrap();
    let value = |name: &str| {
        let (_, rest) = text.split_once(&format!(" {name}=\"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let (call_id, theirs, ours) = (value("call-id"), value("local-tag"), value("remote-tag"));
    // From the very address of the phone that talks.
    let address = building.find("desk-1").addr;
    for (method, body) in [("BYE", ""), ("INFO", "Signal=9\r\nDuration=160\r\n")] {
        building.inject(
            address,
            format!(
                "{method} sip:doorward@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bKblf{method}\r\n\
                 From: <sip:desk-1@elm.example>;tag={theirs}\r\nTo: <sip:lobby@elm.example>;tag={ours}\r\n\
                 Call-ID: {call_id}\r\nCSeq: 99 {method}\r\nMax-Forwards: 70\r\n\
                 Content-Type: application/dtmf-relay\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        );
        building.run(SECOND);
    }
    assert!(building.find("lobby").is_up() && building.drives.is_empty());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}
