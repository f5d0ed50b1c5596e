//! Every call ends and leaves one record, whoever dies when: media, hold, OPTIONS, connections, ACK, BYE, and all at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use intercom::{EndReason, Input};
use media_bridge::Event;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sip_proxy::{HeaderName, Method, Transport};

use crate::building::Building;
use crate::building::link::Weather;
use crate::building::ua::Policy;
use crate::calls::ladder;
use crate::talks::talking;
use crate::transfers::refer;

const SECOND: Duration = Duration::from_secs(1);

fn asked(building: &Building, device: &str) -> usize {
    let seen = &building.find(device).seen;
    seen.iter()
        .filter(|message| *message.method() == Method::Options)
        .count()
}

/// A building without session timers, as with phones that know none.
fn house(seed: u64) -> Building {
    let mut building = Building::with(seed, Weather::FINE, |config| {
        config.limits.max_duration = 600 * SECOND;
        config.limits.max_hold = 300 * SECOND;
    });
    building.register_all();
    building
}

#[test]
fn a_side_without_session_timer_is_asked_whether_it_is_there() {
    let mut building = house(500);
    talking(&mut building, "lobby", "one", "desk-1");
    building.run(100 * SECOND);
    assert_eq!(
        (asked(&building, "lobby"), asked(&building, "desk-1")),
        (1, 1)
    );
    assert!(building.find("lobby").is_up());
    building.run(90 * SECOND);
    assert_eq!(asked(&building, "desk-1"), 2);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_peer_that_forgot_the_dialog_is_found_out() {
    let mut building = house(501);
    talking(&mut building, "lobby", "one", "desk-1");
    for call in &mut building.ua("desk-1").calls {
        call.over = true;
    }
    building.run(95 * SECOND);
    assert!(!building.find("lobby").is_up());
    building.check_quiet();
    let cdr = building.cdrs.last().unwrap();
    assert_eq!(cdr.end, EndReason::PeerGone);
    assert_eq!(cdr.cause.as_deref(), Some("SIP;cause=481"));
    insta::assert_snapshot!("peer_gone", ladder(&building));
}

#[test]
fn a_held_peer_that_dies_is_found_out_by_its_silence_to_options() {
    let mut building = house(502);
    talking(&mut building, "desk-2", "desk-1", "desk-1");
    building.act("desk-1", |ua, now| ua.reinvite(now, "sendonly"));
    building.run(SECOND);
    building.ua("desk-1").dead = true;
    // Its media is silent too, and may be: it is on hold.
    let (_, leg) = building.joined();
    building.feed(Input::Media(Event::Silent {
        leg,
        for_: 30 * SECOND,
    }));
    assert!(building.find("desk-2").is_up());
    building.run(130 * SECOND);
    assert!(!building.find("desk-2").is_up());
    building.forgive_lost_dialogs();
    building.check_quiet();
    assert_eq!(building.cdrs.last().unwrap().end, EndReason::PeerGone);
}

#[test]
fn a_door_that_answers_no_options_but_is_heard_keeps_its_call() {
    let mut building = house(503);
    talking(&mut building, "lobby", "one", "desk-1");
    building.ua("lobby").ignores = Some(Method::Options);
    building.run(300 * SECOND);
    assert!(building.find("lobby").is_up() && building.find("desk-1").is_up());
    let story = building.b2bua.stories().next().unwrap().to_string();
    assert!(
        story.contains("lobby: answers no OPTIONS, but is heard"),
        "{story}"
    );
    // Its sound is what is watched; when that stops, so does the call.
    let (door, _) = building.joined();
    building.feed(Input::Media(Event::Silent {
        leg: door,
        for_: 30 * SECOND,
    }));
    building.check_quiet();
    assert_eq!(building.cdrs.last().unwrap().end, EndReason::MediaSilent);
}

#[test]
fn a_profile_may_forbid_the_question() {
    let mut building = Building::with(504, Weather::FINE, |config| {
        let door = config.profiles.get_mut("door").unwrap();
        std::sync::Arc::make_mut(door).probe = false;
    });
    building.register_all();
    talking(&mut building, "lobby", "one", "desk-1");
    building.run(200 * SECOND);
    assert_eq!(asked(&building, "lobby"), 0);
    assert!(asked(&building, "desk-1") > 0);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn hold_is_bounded() {
    let mut building = house(505);
    talking(&mut building, "desk-2", "desk-1", "desk-1");
    building.act("desk-1", |ua, now| ua.reinvite(now, "sendonly"));
    building.run(60 * SECOND);
    building.act("desk-1", |ua, now| ua.reinvite(now, "sendrecv"));
    building.run(SECOND);
    building.act("desk-1", |ua, now| ua.reinvite(now, "sendonly"));
    building.run(299 * SECOND);
    assert!(
        building.find("desk-2").is_up(),
        "counted from the latest hold"
    );
    building.run(2 * SECOND);
    assert!(!building.find("desk-2").is_up());
    building.check_quiet();
    assert_eq!(building.cdrs.last().unwrap().end, EndReason::Limit);
}

#[test]
fn a_lost_connection_makes_us_ask_at_once() {
    let mut building = Building::over(506, Weather::FINE, Transport::Tcp, false, |_| {});
    building.register_all();
    talking(&mut building, "lobby", "one", "desk-1");
    building.cut("desk-1");
    building.run(3 * SECOND);
    assert_eq!(asked(&building, "desk-1"), 1);
    assert_eq!(asked(&building, "lobby"), 0);
    assert!(building.find("lobby").is_up());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn the_reason_of_one_side_is_told_to_the_other_and_to_the_record() {
    let mut building = house(507);
    talking(&mut building, "desk-2", "desk-1", "desk-1");
    building.act("desk-1", |ua, now| {
        ua.within(now, Method::Bye, |request| {
            let reason = "X;cause=1, Q.850;cause=31;text=\"secret\"".to_owned();
            request.headers.push((HeaderName::Reason, reason));
        });
        ua.calls.iter_mut().for_each(|call| call.over = true);
    });
    building.check_quiet();
    let log = &building.find("desk-2").log;
    assert!(log.contains(&"bye Q.850;cause=31".to_owned()), "{log:?}");
    assert_eq!(building.cdrs[0].cause.as_deref(), Some("Q.850;cause=31"));
    // And ours, where none is given.
    talking(&mut building, "lobby", "one", "desk-1");
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    assert_eq!(building.cdrs[1].cause.as_deref(), Some("Q.850;cause=16"));
}

#[test]
fn who_transfers_and_dies_is_not_waited_for() {
    let mut building = house(508);
    talking(&mut building, "lobby", "one", "desk-1");
    building.ua("anna-app").policy = Policy::Answer(5 * SECOND);
    refer(&mut building, "desk-1", "<sip:anna-app@elm.example>", &[]);
    building.run(SECOND);
    building.ua("desk-1").dead = true;
    building.run(10 * SECOND);
    assert!(building.find("anna-app").is_up() && building.find("lobby").is_up());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(60 * SECOND);
    building.forgive_lost_dialogs();
    building.check_quiet();
    assert_eq!(building.cdrs.len(), 1);
}

/// What may go on in a house when somebody dies.
fn scene(building: &mut Building, rng: &mut StdRng) {
    for device in [
        "desk-1",
        "desk-2",
        "anna-app",
        "petr-phone",
        "panel-101",
        "guest-phone",
    ] {
        let after = Duration::from_millis(rng.random_range(200..4_000));
        building.ua(device).policy = match rng.random_range(0..5) {
            0 => Policy::Ring,
            1 => Policy::Refuse(after, [486, 603, 302][rng.random_range(0..3)]),
            _ => Policy::Answer(after),
        };
        building.ua(device).elsewhere = Some("<sip:guest-phone@elm.example>".to_owned());
    }
    let dial = ["one", "desk", "101", "wave"][rng.random_range(0..4)];
    building.act("lobby", |ua, now| ua.call(now, dial, true, &[]));
    if rng.random_bool(0.5) {
        building.act("desk-2", |ua, now| {
            ua.call(now, "anna-app", rng.random_bool(0.8), &[]);
        });
    }
    for _ in 0..rng.random_range(0..6) {
        building.run(Duration::from_millis(rng.random_range(100..3_000)));
        let device =
            ["desk-1", "desk-2", "anna-app", "petr-phone", "panel-101"][rng.random_range(0..5)];
        match rng.random_range(0..9) {
            0 => refer(building, device, "<sip:petr-phone@elm.example>", &[]),
            1 => refer(building, device, "<sip:701@elm.example>", &[]),
            2 => building.act(device, |ua, now| ua.reinvite(now, "sendonly")),
            3 => building.act(device, |ua, now| ua.reinvite(now, "sendrecv")),
            4 => building.act(device, |ua, now| ua.call(now, "*8", true, &[])),
            5 => building.act(device, |ua, now| ua.call(now, "701", true, &[])),
            6 => building.act(device, |ua, now| ua.hang_up(now)),
            7 => attended(building, device),
            _ => building.act(device, |ua, now| ua.info_digit(now, '0')),
        }
    }
}

/// REFER with Replaces between the two oldest calls of a device, when it has two.
fn attended(building: &mut Building, device: &str) {
    let up: Vec<usize> = building
        .find(device)
        .calls
        .iter()
        .enumerate()
        .filter(|(_, call)| call.up && !call.over)
        .map(|(at, _)| at)
        .collect();
    let [first, second, ..] = up.as_slice() else {
        return;
    };
    let (first, second) = (*first, *second);
    building.act(device, |ua, now| {
        let replaces = ua
            .replaces(second)
            .replace('@', "%40")
            .replace(';', "%3B")
            .replace('=', "%3D");
        ua.within_nth(now, first, Method::Refer, |request| {
            let to = format!("<sip:x@elm.example?Replaces={replaces}>");
            request.headers.push((HeaderName::ReferTo, to));
        });
    });
}

/// Two thousand lives, in four parts that run side by side.
fn deaths(from: u64) {
    for seed in from..from + 500 {
        let outcome = catch_unwind(AssertUnwindSafe(|| one_death(seed)));
        if let Err(panic) = outcome {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            panic!("seed {seed} fails: {text}");
        }
    }
}

#[test]
fn whoever_dies_at_whatever_moment_every_call_ends_with_one_record() {
    deaths(0);
}

#[test]
fn whoever_dies_every_call_ends_with_one_record_second_part() {
    deaths(500);
}

#[test]
fn whoever_dies_every_call_ends_with_one_record_third_part() {
    deaths(1_000);
}

#[test]
fn whoever_dies_every_call_ends_with_one_record_fourth_part() {
    deaths(1_500);
}

fn one_death(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut building = Building::with(seed, Weather::FINE, |config| {
        config.limits.max_duration = 600 * SECOND;
        config.limits.max_hold = 300 * SECOND;
        config.limits.max_ringing = 120 * SECOND;
        config.media_workers = 2;
    });
    building.register_all();
    let inside = "route \"inside\" from=\"device:*\" dial=\"device\" { ring \"@device\" for=\"60s\"; end \"hangup\" }";
    let with = format!(
        "{inside}\nroute \"grab\" from=\"device:*\" dial=\"*8\" {{ pickup \"*\"; end \"hangup\" }}\nroute \"park\" from=\"device:*\" dial=\"70x\" {{ park slots=\"701-702\" for=\"60s\"; end \"hangup\" }}"
    );
    building.replan(&[(inside, &with)]);
    building.set_weather(if rng.random_bool(0.5) {
        Weather::JITTER
    } else {
        Weather::FINE
    });
    scene(&mut building, &mut rng);
    building.run(Duration::from_millis(rng.random_range(0..5_000)));
    // Any subset, none and all included.
    for device in crate::building::DEVICES {
        if rng.random_bool(0.4) {
            building.die(device);
        }
    }
    // Nobody acts any more; those who live would talk for ever.
    building.run(900 * SECOND);
    building.forgive_lost_dialogs();
    building.check_quiet();
    let calls = building.b2bua.counters().calls;
    assert_eq!(building.cdrs.len() as u64, calls, "one record a call");
    let mut ids: Vec<&str> = building.cdrs.iter().map(|cdr| cdr.call.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len() as u64, calls, "and no call twice");
    assert!(
        building.cdrs.iter().all(|cdr| cdr.cause.is_some()),
        "each with its cause"
    );
}
