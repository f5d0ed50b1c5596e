//! Keys pressed by people, and codes sent to stations.

use std::time::Duration;

use intercom::profile::{DigitsOut, DtmfMethod, StationOut, Stations};
use media_bridge::{Command, Pacing};

use crate::building::Building;
use crate::talks::talking;

const SECOND: Duration = Duration::from_secs(1);

fn station(building: &mut Building, name: &str, digits: DigitsOut) {
    let out = StationOut {
        digits,
        ..StationOut::default()
    };
    building.b2bua.set_stations(Stations {
        out: [(name.to_owned(), out)].into(),
        ..Stations::default()
    });
}

fn opened_by_8(building: &mut Building) {
    talking(building, "garage", "desk", "desk-1");
    let (_, desk) = building.joined();
    building.press(desk, '8');
    building.run(8 * SECOND);
}

/// The signals of the INFO requests a device got.
fn signals(building: &Building, device: &str) -> String {
    building
        .find(device)
        .seen
        .iter()
        .filter(|message| message.method().as_str() == "INFO")
        .filter_map(|message| String::from_utf8_lossy(message.body()).chars().nth(7))
        .collect()
}

fn sent(building: &Building) -> Vec<(String, Pacing)> {
    building
        .commands
        .iter()
        .filter_map(|command| match command {
            Command::SendDigits { digits, pacing, .. } => {
                Some((digits.as_str().to_owned(), *pacing))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_code_goes_out_as_the_stations_own_profile_says() {
    let quick = Pacing {
        tone_ms: 90,
        gap_ms: 60,
    };
    for (profile, terminator, code) in [("akuvox", "", "2580"), ("2n", "*", "2580*")] {
        for method in [DtmfMethod::Rtp, DtmfMethod::Info] {
            let mut building = Building::ready(100);
            let planned = format!("station=\"{profile}\" group=\"parking\"");
            building.replan(&[
                ("station=\"akuvox\" group=\"parking\"", &planned),
                ("code=\"4711#\"", "code=\"2580\""),
            ]);
            let digits = DigitsOut {
                method,
                pacing: quick,
                terminator: terminator.to_owned(),
            };
            station(&mut building, profile, digits);
            opened_by_8(&mut building);
            if method == DtmfMethod::Rtp {
                assert_eq!(sent(&building), [(code.to_owned(), quick)], "{profile}");
            } else {
                assert_eq!(signals(&building, "garage"), code, "{profile}");
                let info = building.find("garage").seen.last().unwrap();
                assert!(String::from_utf8_lossy(info.body()).contains("Duration=90"));
            }
            building.act("garage", |ua, now| ua.hang_up(now));
            building.check_quiet();
        }
    }
}

#[test]
fn no_digit_leaves_after_the_intent_or_into_a_held_call() {
    // Each INFO takes longer than the last: the station would have its code long after the desk was told "no".
    let mut building = Building::ready(101);
    let digits = DigitsOut {
        method: DtmfMethod::Info,
        ..DigitsOut::default()
    };
    station(&mut building, "akuvox", digits);
    building.set_weather(crate::building::link::Weather {
        loss: 0.0,
        duplication: 0.0,
        delay_ms: (1_100, 1_100),
    });
    building.ua("desk-1").policy = crate::building::ua::Policy::Answer(SECOND);
    building.act("garage", |ua, now| ua.call(now, "desk", true, &[]));
    building.run(20 * SECOND);
    let (_, desk) = building.joined();
    building.press(desk, '8');
    building.run(30 * SECOND);
    assert_eq!(signals(&building, "garage"), "47");
    building.act("garage", |ua, now| ua.hang_up(now));
    building.check_quiet();

    let mut building = Building::ready(102);
    talking(&mut building, "garage", "desk", "desk-1");
    building.act("garage", |ua, now| ua.reinvite(now, "sendonly"));
    building.run(2 * SECOND);
    let (_, desk) = building.joined();
    building.press(desk, '8');
    building.run(8 * SECOND);
    assert!(sent(&building).is_empty());
    building.act("garage", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_key_held_long_and_reported_twice_is_one_press() {
    for held in [1_000, 3_000] {
        let mut building = Building::ready(103);
        // No pulse, no driver's time: a second press would be a second opening.
        building.replan(&[("switch=1 pulse=\"5s\"", "switch=1 pulse=\"0s\"")]);
        talking(&mut building, "lobby", "desk", "desk-1");
        let (_, desk) = building.joined();
        building.press(desk, '9');
        building.run(Duration::from_millis(u64::from(held)));
        building.act("desk-1", |ua, now| ua.info_held(now, '9', held));
        building.run(SECOND);
        assert_eq!(building.drives.len(), 1, "{held} ms");
        building.press(desk, '9');
        building.run(SECOND);
        assert_eq!(building.drives.len(), 2, "a new press opens anew");
        building.act("lobby", |ua, now| ua.hang_up(now));
        building.check_quiet();
    }
}

#[test]
fn no_code_password_or_number_is_ever_printed() {
    const NUMBER: &str = "+420777123456";
    let mut building = Building::ready(104);
    building.overheard = Some(String::new());
    building.replan(&[
        ("code=\"4711#\"", "code=\"86420\""),
        (
            "route \"one\" doors=\"*\" dial=\"one\" { ring",
            "route \"one\" doors=\"*\" dial=\"one\" { ring \"pstn:+420777123456\" for=\"5s\"; ring",
        ),
    ]);
    for method in [DtmfMethod::Rtp, DtmfMethod::Info] {
        let digits = DigitsOut {
            method,
            ..DigitsOut::default()
        };
        station(&mut building, "akuvox", digits);
        building.ua("desk-1").policy = crate::building::ua::Policy::Answer(SECOND);
        building.act("garage", |ua, now| ua.call(now, "one", true, &[]));
        building.run(8 * SECOND);
        let (_, desk) = building.joined();
        // What a person types by mistake, such as a code of his own, and then the key that opens.
        for key in "75319".chars().chain(['8']) {
            building.press(desk, key);
            building.run(Duration::from_millis(300));
        }
        building.act("desk-1", |ua, now| ua.info_digit(now, '2'));
        building.run(6 * SECOND);
        building.act("garage", |ua, now| ua.hang_up(now));
        building.run(6 * SECOND);
    }
    let results: Vec<_> = building
        .records
        .iter()
        .filter_map(|record| record.entry.result.clone())
        .filter(|result| result == "sent")
        .collect();
    assert_eq!(results.len(), 2, "the code was sent both ways");
    // Numbers dialled, by who has no route and by who has one, and a wrong password.
    building.act("desk-1", |ua, now| ua.call(now, NUMBER, true, &[]));
    building.act("desk-2", |ua, now| ua.call(now, "777123456", true, &[]));
    building.ua("guest-phone").password = "swordfish".to_owned();
    building.act("guest-phone", |ua, now| ua.register(now));
    building.act("desk-1", |ua, now| {
        ua.plain(
            now,
            sip_proxy::Method::Message,
            NUMBER,
            &[("Action", "buzz")],
        );
    });
    building.run(20 * SECOND);
    let mut said = building.overheard.take().unwrap();
    for story in &building.stories {
        said.push_str(&format!("{story}\n{story:?}\n"));
    }
    for record in &building.records {
        said.push_str(&format!("{record:?}\n{:?}\n", record.entry));
    }
    said.push_str(&format!("{:?}\n{:?}", building.b2bua, building.cdrs));
    said.push_str(&building.notices.join("\n"));
    let keys: String = said.matches("key 8").collect();
    assert!(!keys.is_empty(), "a key of the key map is named");
    for secret in [
        "86420",
        "8642",
        "Signal=",
        "pw-",
        "swordfish",
        "777123456",
        "key 7",
        "key 5",
        "key 2",
    ] {
        let at = said.find(secret);
        let around =
            at.map(|at| said[at.saturating_sub(200)..(at + 60).min(said.len())].to_owned());
        assert_eq!(around, None, "{secret}");
    }
}

#[test]
fn a_station_out_of_reach_is_not_opened_when_it_comes_back_later() {
    for method in ["dtmf", "action-buzz"] {
        let mut building = Building::ready(105);
        let driver = format!("driver=\"{method}\" code=");
        building.replan(&[("driver=\"dtmf\" code=", &driver)]);
        let digits = DigitsOut {
            method: DtmfMethod::Info,
            ..DigitsOut::default()
        };
        station(&mut building, "akuvox", digits);
        talking(&mut building, "garage", "desk", "desk-1");
        let (_, desk) = building.joined();
        building.set_weather(crate::building::link::Weather {
            loss: 1.0,
            duplication: 0.0,
            delay_ms: (1, 1),
        });
        building.press(desk, '8');
        building.run(6 * SECOND);
        building.set_weather(crate::building::link::Weather::FINE);
        building.run(40 * SECOND);
        let heard = building.find("garage").seen.iter();
        let infos = heard.filter(|message| message.method().as_str() == "INFO");
        assert_eq!(infos.count(), 0, "{method}");
        let result = building.records.iter().rev();
        let result = result
            .filter_map(|record| record.entry.result.clone())
            .next();
        assert_eq!(result.as_deref(), Some("timed-out"), "{method}");
        building.act("garage", |ua, now| ua.hang_up(now));
        building.check_quiet();
    }
}

#[test]
fn a_door_that_holds_the_call_under_a_code_hears_no_more_of_it() {
    let mut building = Building::ready(520);
    talking(&mut building, "garage", "desk", "desk-1");
    let (door, desk) = building.joined();
    building.press(desk, '8');
    building.run(Duration::from_millis(100));
    // A late word of some older order says nothing of this one.
    let old = media_bridge::Event::DigitsSent {
        leg: door,
        order: 12_345,
    };
    building.feed(intercom::Input::Media(old));
    assert_eq!(building.b2bua.intents(), 1);
    building.act("garage", |ua, now| ua.reinvite(now, "sendonly"));
    building.run(3 * SECOND);
    let order = building.commands.iter().find_map(|command| match command {
        Command::SendDigits { order, .. } => Some(*order),
        _ => None,
    });
    let taken_back = building.commands.iter().any(
        |command| matches!(command, Command::StopDigits { order: found, .. } if Some(*found) == order),
    );
    assert!(order.is_some() && taken_back);
    let story = building.b2bua.stories().next().unwrap().to_string();
    assert!(story.contains("the door holds the call"), "{story}");
    building.act("garage", |ua, now| ua.hang_up(now));
    building.check_quiet();
}
