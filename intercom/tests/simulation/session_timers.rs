//! Session timers (RFC 4028) on both sides of a call, each for itself.

use std::time::Duration;

use intercom::EndReason;
use sip_proxy::{HeaderName, Method};

use crate::building::Building;
use crate::building::link::Weather;
use crate::building::ua::Policy;
use crate::calls::ladder;
use crate::talks::talking;
use crate::transfers::refer;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// A building whose calls last hours.
fn patient(seed: u64) -> Building {
    let mut building = Building::with(seed, Weather::FINE, |config| {
        config.limits.max_duration = Duration::from_secs(20_000);
    });
    building.register_all();
    building.ua("desk-1").policy = Policy::Answer(SECOND);
    building
}

fn talk(building: &mut Building, from: &str, extra: &[(&str, &str)]) {
    building.act(from, |ua, now| ua.call(now, "one", true, extra));
    building.until("answered", 3 * SECOND, |b| {
        b.uas.iter().filter(|ua| ua.is_up()).count() == 2
    });
    building.run(SECOND);
}

fn success(name: HeaderName, value: &str) -> (HeaderName, String) {
    (name, value.to_owned())
}

#[test]
fn a_branch_is_offered_a_timer_and_a_door_that_takes_no_reinvite_is_not() {
    let mut building = patient(720);
    building.replan(&[(r#"ring "@door" for="30s""#, r#"ring "@door" for="30s" "#)]);
    talk(&mut building, "lobby", &[]);
    let desk = building.find("desk-1");
    let invite = desk.got(&Method::Invite)[0];
    assert_eq!(invite.header(&HeaderName::SessionExpires), Some("1800"));
    assert_eq!(invite.header(&HeaderName::MinSe), Some("90"));
    assert!(
        invite
            .values(&HeaderName::Supported)
            .any(|option| option == "timer")
    );
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(SECOND);
    building.act("desk-2", |ua, now| ua.call(now, "lobby", true, &[]));
    building.run(SECOND);
    let door = building.find("lobby");
    let invite = door.got(&Method::Invite)[0];
    assert_eq!(invite.header(&HeaderName::SessionExpires), None);
    building.act("desk-2", |ua, now| ua.cancel(now));
    building.check_quiet();
}

#[test]
fn we_refresh_by_update_at_half_the_interval_where_the_peer_takes_it() {
    let mut building = patient(721);
    building.ua("desk-1").with_success = vec![
        success(HeaderName::Allow, "INVITE, ACK, BYE, CANCEL, UPDATE"),
        success(HeaderName::SessionExpires, "600;refresher=uac"),
    ];
    talk(&mut building, "lobby", &[]);
    building.run(1_000 * SECOND);
    let desk = building.find("desk-1");
    let updates = desk.got(&Method::Update);
    assert_eq!(updates.len(), 3);
    let value = updates[0].header(&HeaderName::SessionExpires);
    assert_eq!(value, Some("600;refresher=uac"));
    assert!(updates[0].body().is_empty());
    assert!(building.find("lobby").is_up());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    insta::assert_snapshot!("session_refresh", ladder(&building));
}

#[test]
fn we_refresh_by_reinvite_with_the_same_sdp_where_it_does_not() {
    let mut building = patient(722);
    building.ua("desk-1").with_success =
        vec![success(HeaderName::SessionExpires, "600;refresher=uac")];
    talk(&mut building, "lobby", &[]);
    building.run(400 * SECOND);
    let desk = building.find("desk-1");
    let invites = desk.got(&Method::Invite);
    assert_eq!(invites.len(), 2);
    let origin = |at: usize| {
        let body = String::from_utf8_lossy(invites[at].body()).into_owned();
        let line = body.lines().find(|line| line.starts_with("o=")).unwrap();
        line.to_owned()
    };
    assert_eq!(origin(0), origin(1), "nothing changed");
    assert!(desk.got(&Method::Update).is_empty());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_refused_update_is_followed_by_a_reinvite() {
    let mut building = patient(723);
    let desk = building.ua("desk-1");
    desk.with_success = vec![
        success(HeaderName::Allow, "INVITE, ACK, BYE, UPDATE"),
        success(HeaderName::SessionExpires, "600;refresher=uac"),
    ];
    talk(&mut building, "lobby", &[]);
    building.ua("desk-1").refusals = vec![405];
    building.run(310 * SECOND);
    let desk = building.find("desk-1");
    assert_eq!(desk.got(&Method::Update).len(), 1);
    assert_eq!(desk.got(&Method::Invite).len(), 2);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_peer_that_promised_to_refresh_and_does_not_ends_the_call_on_both_sides() {
    let mut building = patient(724);
    building.ua("desk-1").with_success =
        vec![success(HeaderName::SessionExpires, "300;refresher=uas")];
    talk(&mut building, "lobby", &[]);
    building.run(280 * SECOND);
    assert_eq!(building.cdrs.last().unwrap().end, EndReason::SessionExpired);
    for device in ["lobby", "desk-1"] {
        let last = building.find(device).log.last().unwrap();
        assert_eq!(last, "bye SIP;cause=408;text=\"Session timer expired\"");
    }
    building.check_quiet();
}

#[test]
fn a_caller_that_supports_timers_is_asked_to_refresh_and_keeps_the_call_by_doing_so() {
    let mut building = patient(725);
    let extra = [("Supported", "timer"), ("Session-Expires", "120")];
    talk(&mut building, "lobby", &extra);
    let answer = building.find("lobby").responses.last().unwrap().clone();
    assert_eq!(
        answer.header(&HeaderName::SessionExpires),
        Some("120;refresher=uac")
    );
    assert_eq!(answer.header(&HeaderName::Require), Some("timer"));
    for _ in 0..4 {
        building.run(60 * SECOND);
        building.act("lobby", |ua, now| {
            ua.within(now, Method::Update, |request| {
                let headers = &mut request.headers;
                headers.push((HeaderName::Supported, "timer".to_owned()));
                headers.push((HeaderName::SessionExpires, "120;refresher=uac".to_owned()));
            });
        });
    }
    building.run(SECOND);
    assert!(building.find("desk-1").is_up());
    let renewed = building.find("lobby").responses.last().unwrap();
    assert_eq!(
        renewed.header(&HeaderName::SessionExpires),
        Some("120;refresher=uac")
    );
    building.run(100 * SECOND);
    assert_eq!(building.cdrs.last().unwrap().end, EndReason::SessionExpired);
    building.check_quiet();
}

#[test]
fn too_short_an_interval_is_422_with_our_minimum() {
    let mut building = patient(726);
    let extra = [("Supported", "timer"), ("Session-Expires", "60")];
    building.act("lobby", |ua, now| ua.call(now, "one", true, &extra));
    building.run(SECOND);
    let door = building.find("lobby");
    assert_eq!(door.finals, [422]);
    let refusal = door.responses.last().unwrap();
    assert_eq!(refusal.header(&HeaderName::MinSe), Some("90"));
    building.check_quiet();
}

#[test]
fn a_branch_that_wants_a_longer_interval_is_invited_again_with_it() {
    let mut building = patient(727);
    building.ua("desk-1").policy = Policy::Refuse(Duration::from_millis(10), 422);
    building.ua("desk-1").with_refusal = vec![success(HeaderName::MinSe, "2400")];
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.run(Duration::from_millis(15));
    building.ua("desk-1").policy = Policy::Answer(SECOND);
    building.until("answered", 3 * SECOND, |b| b.find("lobby").is_up());
    let desk = building.find("desk-1");
    let invites = desk.got(&Method::Invite);
    assert_eq!(invites.len(), 2);
    assert_eq!(invites[1].header(&HeaderName::SessionExpires), Some("2400"));
    assert_eq!(invites[0].call_id(), invites[1].call_id());
    assert_eq!(invites[1].cseq(), invites[0].cseq() + 1);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_peer_that_lost_the_dialog_is_found_by_the_refresh() {
    let mut building = patient(728);
    building.ua("desk-1").with_success =
        vec![success(HeaderName::SessionExpires, "600;refresher=uac")];
    talk(&mut building, "lobby", &[]);
    building.ua("desk-1").refusals = vec![481];
    building.run(400 * SECOND);
    assert_eq!(building.cdrs.last().unwrap().end, EndReason::PeerGone);
    building.forgive_lost_dialogs();
    building.check_quiet();
}

#[test]
fn a_hold_within_a_timed_call_renews_the_timer() {
    let mut building = patient(729);
    building.ua("desk-1").with_success =
        vec![success(HeaderName::SessionExpires, "600;refresher=uac")];
    building.replan(&[]);
    building.act("desk-2", |ua, now| ua.call(now, "desk-1", true, &[]));
    building.until("answered", 3 * SECOND, |b| b.find("desk-2").is_up());
    building.run(SECOND);
    building.act("desk-2", |ua, now| ua.reinvite(now, "sendonly"));
    building.run(SECOND);
    let desk = building.find("desk-1");
    let hold = desk.got(&Method::Invite)[1];
    assert_eq!(
        hold.header(&HeaderName::SessionExpires),
        Some("600;refresher=uac"),
        "a re-INVITE without it would end the timer"
    );
    building.act("desk-2", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_hold_that_waits_for_its_turn_lets_a_refresh_go_first() {
    let mut building = patient(740);
    building.ua("desk-1").with_success =
        vec![success(HeaderName::SessionExpires, "600;refresher=uac")];
    talking(&mut building, "desk-2", "desk-1", "desk-1");
    building.run(297_500 * MS);
    building.ua("desk-1").refusals = vec![491];
    building.act("desk-2", |ua, now| ua.reinvite(now, "sendonly"));
    building.run(100 * MS);
    assert!(building.find("desk-1").refusals.is_empty());
    building.ua("desk-1").deaf = true;
    building.run(6 * SECOND);
    assert!(!building.find("desk-1").log.contains(&"held".to_owned()));
    building.ua("desk-1").deaf = false;
    building.run(10 * SECOND);
    assert!(building.find("desk-1").log.contains(&"held".to_owned()));
    building.act("desk-2", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn the_timer_of_who_transferred_the_call_and_left_does_not_end_it() {
    // (it hangs up by itself, it is gone when it is refreshed)
    for (hangs_up, gone) in [(true, false), (false, true)] {
        let mut building = patient(741);
        let refresher = if gone { "uac" } else { "uas" };
        let expires = format!("90;refresher={refresher}");
        building.ua("desk-1").with_success = vec![success(HeaderName::SessionExpires, &expires)];
        building.ua("anna-app").policy = Policy::Ring;
        talk(&mut building, "lobby", &[]);
        building.run(35 * SECOND);
        refer(&mut building, "desk-1", "<sip:anna-app@elm.example>", &[]);
        building.run(SECOND);
        if hangs_up {
            building.act("desk-1", |ua, now| ua.hang_up(now));
        }
        if gone {
            building.ua("desk-1").refusals = vec![481];
        }
        building.run(35 * SECOND);
        assert!(building.find("desk-1").refusals.is_empty());
        assert!(building.find("lobby").is_up(), "{hangs_up} {gone}");
        assert_eq!(building.find("anna-app").open_calls(), 1);
        building.act("lobby", |ua, now| ua.hang_up(now));
        building.forgive_lost_dialogs();
        building.check_quiet();
    }
}
