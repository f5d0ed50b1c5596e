//! Who opens what, by which way, and what never opens.

use std::time::Duration;

use intercom::audit::{Decision, Kind};
use intercom::profile::{DigitsOut, DtmfMethod, StationOut, Stations};
use media_bridge::{Command, Tone};
use sip_proxy::{HeaderName, Method};

use crate::building::link::Weather;
use crate::building::ua::Policy;
use crate::building::{Building, Relay};
use crate::calls::ladder;
use crate::talks::talking;

const SECOND: Duration = Duration::from_secs(1);

fn result_of(building: &Building, device: &str) -> (u16, String) {
    let response = building.find(device).responses.last().unwrap();
    let name = HeaderName::Other("Action-Result".into());
    (
        response.status().unwrap(),
        response.header(&name).unwrap_or("").to_owned(),
    )
}

#[test]
fn info_digit_opens_and_its_rfc4733_twin_does_not_open_again() {
    let mut building = Building::ready(40);
    talking(&mut building, "lobby", "desk", "desk-1");
    let (_, desk) = building.joined();
    building.act("desk-1", |ua, now| ua.info_digit(now, '9'));
    building.run(Duration::from_millis(20));
    building.press(desk, '9');
    building.run(2 * SECOND);
    assert_eq!(building.drives.len(), 1);
    assert_eq!(
        building.find("desk-1").answers.last().unwrap(),
        &("INFO".to_owned(), 200)
    );
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_digit_from_the_doors_side_never_opens_even_when_the_desk_called() {
    for seed in [41, 42] {
        let mut building = Building::ready(seed);
        if seed == 41 {
            talking(&mut building, "lobby", "desk", "desk-1");
        } else {
            talking(&mut building, "desk-1", "lobby", "lobby");
        }
        let (caller, callee) = building.joined();
        let door = if seed == 41 { caller } else { callee };
        building.press(door, '9');
        building.act("lobby", |ua, now| ua.info_digit(now, '9'));
        building.run(2 * SECOND);
        assert!(building.drives.is_empty());
        // The person at the desk may, whoever called.
        let desk = if seed == 41 { callee } else { caller };
        building.press(desk, '9');
        building.run(2 * SECOND);
        assert_eq!(building.drives.len(), 1);
        building.act("lobby", |ua, now| ua.hang_up(now));
        building.check_quiet();
    }
}

#[test]
fn without_a_right_nothing_opens_and_the_log_says_so() {
    let mut building = Building::ready(43);
    talking(&mut building, "lobby", "101", "guest-phone");
    let (_, guest) = building.joined();
    building.press(guest, '9');
    building.run(2 * SECOND);
    assert!(building.drives.is_empty());
    let denied = building
        .records
        .iter()
        .find(|record| record.entry.kind == Kind::Unlock)
        .unwrap();
    assert_eq!(denied.entry.decision, Some(Decision::Denied));
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    insta::assert_snapshot!("denied_unlock", ladder(&building));
}

#[test]
fn nothing_opens_before_the_answer_or_without_the_disk() {
    let mut building = Building::ready(44);
    building.ua("desk-1").policy = Policy::Ring;
    building.act("lobby", |ua, now| ua.call(now, "one", true, &[]));
    building.run(SECOND);
    building.act("lobby", |ua, now| ua.cancel(now));
    building.run(SECOND);
    building.disk = None;
    talking(&mut building, "lobby", "desk", "desk-2");
    let (_, desk) = building.joined();
    building.press(desk, '9');
    building.run(6 * SECOND);
    assert!(
        building.drives.is_empty(),
        "no record on the disk, no relay"
    );
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn buzz_by_info_message_and_invite_is_authenticated_by_itself_and_answered() {
    let mut building = Building::ready(45);
    talking(&mut building, "lobby", "desk", "desk-1");
    let buzz = (HeaderName::Other("Action".into()), "buzz".to_owned());
    building.act("desk-1", |ua, now| {
        ua.within(now, Method::Info, |request| request.headers.push(buzz));
    });
    building.run(2 * SECOND);
    assert_eq!(result_of(&building, "desk-1"), (200, "opened".to_owned()));
    building.act("desk-1", |ua, now| {
        ua.plain(
            now,
            Method::Message,
            "lobby",
            &[("Action", "BUZZ;output=main")],
        );
    });
    building.run(2 * SECOND);
    assert_eq!(
        result_of(&building, "desk-1"),
        (200, "already-open".to_owned())
    );
    building.run(10 * SECOND);
    building.act("desk-1", |ua, now| {
        ua.call(now, "lobby", true, &[("Action", "buzz")]);
    });
    building.run(2 * SECOND);
    assert_eq!(building.drives.len(), 2);
    assert_eq!(
        building.b2bua.live_calls(),
        1,
        "an INVITE with a buzz makes no call"
    );
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn buzz_without_a_right_or_with_nonsense_is_refused_alike() {
    let mut building = Building::ready(46);
    building.act("guest-phone", |ua, now| {
        ua.plain(now, Method::Message, "lobby", &[("Action", "buzz")]);
    });
    building.run(SECOND);
    assert_eq!(result_of(&building, "guest-phone").0, 403);
    building.act("guest-phone", |ua, now| {
        ua.plain(now, Method::Message, "no-such-door", &[("Action", "buzz")]);
    });
    building.run(SECOND);
    assert_eq!(result_of(&building, "guest-phone").0, 403);
    building.act("desk-1", |ua, now| {
        ua.plain(now, Method::Message, "lobby", &[("Action", "explode")]);
    });
    building.run(SECOND);
    assert_eq!(result_of(&building, "desk-1").0, 400);
    assert!(building.drives.is_empty());
    building.check_quiet();
}

#[test]
fn an_action_header_in_a_call_is_not_passed_on() {
    let mut building = Building::ready(47);
    building.ua("desk-1").policy = Policy::Answer(SECOND);
    building.act("lobby", |ua, now| {
        ua.call(
            now,
            "desk",
            true,
            &[("X-Action", "buzz"), ("Subject", "secret")],
        );
    });
    building.run(3 * SECOND);
    let invite = building.find("desk-1").seen.first().unwrap();
    let text = String::from_utf8_lossy(invite.bytes()).into_owned();
    assert!(
        !text.contains("Action") && !text.contains("secret"),
        "{text}"
    );
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_dtmf_output_gets_its_code_on_the_doors_own_leg() {
    let mut building = Building::ready(48);
    talking(&mut building, "garage", "desk", "desk-1");
    let (door, desk) = building.joined();
    building.press(desk, '8');
    building.run(2 * SECOND);
    let sent = building.commands.iter().find_map(|command| match command {
        Command::SendDigits { leg, digits, .. } => Some((*leg, digits.clone())),
        _ => None,
    });
    assert_eq!(sent, Some((door, "4711#".into())));
    let result = building
        .records
        .iter()
        .find(|record| record.entry.kind == Kind::UnlockResult)
        .unwrap();
    assert_eq!(result.entry.result.as_deref(), Some("sent"));
    building.act("garage", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_relay_that_refuses_or_is_dead_is_told_and_a_new_press_is_a_new_intent() {
    let mut building = Building::ready(49);
    talking(&mut building, "lobby", "desk", "desk-1");
    let (_, desk) = building.joined();
    building.relay = Relay::Refuses;
    building.press(desk, '9');
    building.run(2 * SECOND);
    building.relay = Relay::Dead;
    building.press(desk, '9');
    building.run(12 * SECOND);
    building.relay = Relay::Opens(Duration::from_millis(50));
    building.press(desk, '9');
    building.run(2 * SECOND);
    let results: Vec<_> = building
        .records
        .iter()
        .filter(|record| record.entry.kind == Kind::UnlockResult)
        .map(|record| record.entry.result.clone().unwrap())
        .collect();
    assert_eq!(results, ["refused", "timed-out", "opened"]);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_transfer_to_nobody_is_refused_aloud() {
    let mut building = Building::ready(50);
    building.replan(&[(
        "\"0\" transfer=\"desk\"",
        "\"0\" transfer=\"device:nobody\"",
    )]);
    talking(&mut building, "lobby", "101", "anna-app");
    let (_, anna) = building.joined();
    building.press(anna, '0');
    building.run(SECOND);
    assert!(building.b2bua.stories().any(|story| {
        story
            .to_string()
            .contains("transfer refused: nobody is there")
    }));
    let beep = building.commands.iter().any(|command| {
        matches!(
            command,
            Command::Play {
                tone: Tone::Beep,
                ..
            }
        )
    });
    assert!(beep && building.find("lobby").is_up());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn on_a_bad_network_a_pressed_digit_opens_exactly_once() {
    for seed in 0..20 {
        let mut building = Building::new(500 + seed, Weather::FINE);
        building.register_all();
        talking(&mut building, "lobby", "desk", "desk-1");
        building.set_weather(Weather::BAD);
        building.act("desk-1", |ua, now| ua.info_digit(now, '9'));
        building.run(40 * SECOND);
        assert_eq!(building.drives.len(), 1, "seed {seed}");
        building.set_weather(Weather::FINE);
        building.act("lobby", |ua, now| ua.hang_up(now));
        building.check_quiet();
    }
}

#[test]
fn a_station_that_takes_digits_by_info_gets_them_one_by_one_with_its_terminator() {
    let mut building = Building::ready(51);
    let digits = DigitsOut {
        method: DtmfMethod::Info,
        terminator: "*".to_owned(),
        ..DigitsOut::default()
    };
    let out = StationOut {
        digits,
        ..StationOut::default()
    };
    building.b2bua.set_stations(Stations {
        out: [("door".to_owned(), out)].into(),
        ..Stations::default()
    });
    talking(&mut building, "garage", "desk", "desk-1");
    let (_, desk) = building.joined();
    building.press(desk, '8');
    building.run(2 * SECOND);
    let infos: String = building
        .find("garage")
        .seen
        .iter()
        .filter(|message| message.method().as_str() == "INFO")
        .filter_map(|message| String::from_utf8_lossy(message.body()).chars().nth(7))
        .collect();
    assert_eq!(infos, "4711#*");
    let result = building
        .records
        .iter()
        .find(|record| record.entry.kind == Kind::UnlockResult)
        .unwrap();
    assert_eq!(result.entry.result.as_deref(), Some("sent"));
    building.act("garage", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_station_is_told_by_action_buzz_in_its_call_and_outside_it() {
    let plan = crate::building::PLAN
        .replace("driver=\"http\" switch=1", "driver=\"action-buzz\"")
        .replace(
            "group=\"entry,parking\"",
            "group=\"entry,parking\" require=\"none\"",
        );
    let mut building = Building::ready(52);
    let plan = dialplan::load(&plan, "plan.kdl", &|_| None).plan.unwrap();
    let (directory, accounts) = (
        crate::building::directory().into(),
        building.accounts.clone(),
    );
    building.feed(intercom::Input::Reload {
        plan: plan.into(),
        directory,
        accounts,
    });
    talking(&mut building, "lobby", "desk", "desk-1");
    let (_, desk) = building.joined();
    building.press(desk, '9');
    building.run(2 * SECOND);
    let action = HeaderName::Other("Action".into());
    let told = building.find("lobby").seen.last().unwrap();
    assert_eq!(
        (told.method().as_str(), told.header(&action)),
        ("INFO", Some("buzz;output=main"))
    );
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(10 * SECOND);
    building.act("desk-1", |ua, now| {
        ua.plain(now, Method::Message, "lobby", &[("Action", "buzz")]);
    });
    building.run(2 * SECOND);
    assert_eq!(result_of(&building, "desk-1"), (200, "sent".to_owned()));
    assert_eq!(
        building
            .find("lobby")
            .seen
            .last()
            .unwrap()
            .method()
            .as_str(),
        "MESSAGE"
    );
    building.check_quiet();
}
