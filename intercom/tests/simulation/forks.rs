//! A ring step: who rings when, what one member's outcome does to the others, who joins late.

use std::time::Duration;

use sip_proxy::{HeaderName, Method};

use crate::building::Building;
use crate::building::link::Weather;
use crate::building::ua::Policy;
use crate::calls::ladder;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn with_route(seed: u64, steps: &str) -> Building {
    let mut building = Building::ready(seed);
    let route = format!("route \"house\" doors=\"*\" dial=\"house\" {{ {steps} }}\nroute \"one\"");
    building.replan(&[("route \"one\"", &route)]);
    building
}

fn dial(building: &mut Building) {
    building.act("lobby", |ua, now| ua.call(now, "house", true, &[]));
}

fn rung(building: &Building, device: &str) -> usize {
    building.find(device).got(&Method::Invite).len()
}

#[test]
fn a_ring_with_after_starts_that_long_after_the_ring_before_it_began_which_rings_on() {
    let steps = r#"ring "device:desk-1" for="30s"; ring "device:desk-2" for="20s" after="5s"; ring "device:anna-app" for="10s" after="3s"; end "log""#;
    let mut building = with_route(760, steps);
    dial(&mut building);
    let devices = ["desk-1", "desk-2", "anna-app"];
    let ringing = |building: &Building| devices.map(|device| building.find(device).open_calls());
    building.run(4_900 * MS);
    assert_eq!(ringing(&building), [1, 0, 0]);
    building.run(200 * MS);
    assert_eq!(ringing(&building), [1, 1, 0]);
    building.run(3 * SECOND);
    assert_eq!(ringing(&building), [1, 1, 1], "all ring on");
    building.run(10 * SECOND);
    assert_eq!(ringing(&building), [1, 1, 0], "each for its own time");
    building.run(7 * SECOND);
    assert_eq!(ringing(&building), [1, 0, 0]);
    building.ua("desk-1").policy = Policy::Ring;
    building.until("over", 10 * SECOND, |b| !b.find("lobby").finals.is_empty());
    building.check_quiet();
    insta::assert_snapshot!("waves", ladder(&building));
}

#[test]
fn a_6xx_is_that_member_s_outcome_and_the_others_ring_on() {
    for status in [486, 600, 603, 606, 404, 500] {
        let mut building = with_route(761, r#"ring "desk" for="20s"; end "log""#);
        building.ua("desk-1").policy = Policy::Refuse(SECOND, status);
        dial(&mut building);
        building.run(5 * SECOND);
        assert_eq!(building.find("desk-2").open_calls(), 1, "{status}");
        assert!(building.find("lobby").finals.is_empty(), "{status}");
        building.act("lobby", |ua, now| ua.cancel(now));
        building.check_quiet();
    }
}

#[test]
fn the_plan_may_say_otherwise_for_one_outcome() {
    let steps = r#"ring "desk" for="20s" { on "declined" next; on "busy" stay }; ring "device:anna-app" for="10s"; end "log""#;
    for (status, moves_on) in [(603, true), (486, false)] {
        let mut building = with_route(762, steps);
        building.ua("desk-1").policy = Policy::Refuse(SECOND, status);
        dial(&mut building);
        building.run(3 * SECOND);
        assert_eq!(rung(&building, "anna-app") == 1, moves_on, "{status}");
        let desk = building.find("desk-2").open_calls();
        assert_eq!(desk == 0, moves_on, "{status}");
        building.act("lobby", |ua, now| ua.cancel(now));
        building.check_quiet();
    }
}

#[test]
fn a_member_that_cannot_be_reached_has_an_outcome_like_any() {
    let steps = r#"ring "device:desk-1,device:garage" for="20s" { on "unreachable" next }; ring "device:anna-app" for="10s"; end "log""#;
    let mut building = with_route(763, steps);
    building.act("garage", |ua, now| {
        let contact = ua.contact();
        ua.raw(now, |request| {
            request.method = Method::Register;
            request.uri = "sip:elm.example".to_owned();
            request.from = "<sip:garage@elm.example>;tag=g".to_owned();
            request.to = "<sip:garage@elm.example>".to_owned();
            request.contact = Some(contact);
            request.headers.push((HeaderName::Expires, "0".to_owned()));
        });
    });
    building.run(SECOND);
    dial(&mut building);
    building.run(SECOND);
    assert_eq!(rung(&building, "anna-app"), 1);
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
}

#[test]
fn the_step_ends_at_once_when_nobody_can_answer_any_more() {
    let steps = r#"ring "desk" for="20s"; ring "device:anna-app" for="10s"; end "log""#;
    let mut building = with_route(764, steps);
    building.ua("desk-1").policy = Policy::Refuse(SECOND, 486);
    building.ua("desk-2").policy = Policy::Refuse(2 * SECOND, 480);
    dial(&mut building);
    building.run(1_500 * MS);
    assert_eq!(rung(&building, "anna-app"), 0);
    building.run(SECOND);
    assert_eq!(rung(&building, "anna-app"), 1);
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
}

/// Registers `anna-app` with an instance, from a contact of the given port.
fn register_instance(building: &mut Building, port: u16) {
    building.act("anna-app", |ua, now| {
        let ip = ua.addr.ip();
        ua.raw(now, |request| {
            request.method = Method::Register;
            request.uri = "sip:elm.example".to_owned();
            request.from = "<sip:anna-app@elm.example>;tag=a".to_owned();
            request.to = "<sip:anna-app@elm.example>".to_owned();
            let instance = "\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"";
            let contact = format!("<sip:anna-app@{ip}:{port}>;+sip.instance={instance}");
            request.contact = Some(contact);
        });
    });
    building.run(100 * MS);
}

#[test]
fn a_device_that_comes_by_another_contact_is_the_same_device() {
    let mut building = Building::new(765, Weather::FINE);
    building.act("lobby", |ua, now| ua.register(now));
    building.act("petr-phone", |ua, now| ua.register(now));
    building.run(100 * MS);
    building.act("lobby", |ua, now| ua.call(now, "101", true, &[]));
    building.run(SECOND);
    assert_eq!(rung(&building, "anna-app"), 0);
    register_instance(&mut building, 5060);
    building.run(SECOND);
    assert_eq!(rung(&building, "anna-app"), 1, "it joins late");
    register_instance(&mut building, 5070);
    building.run(SECOND);
    assert_eq!(rung(&building, "anna-app"), 1, "and once");
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
}

#[test]
fn a_wrong_password_does_not_join_late() {
    let mut building = Building::new(766, Weather::FINE);
    building.act("lobby", |ua, now| ua.register(now));
    building.act("petr-phone", |ua, now| ua.register(now));
    building.run(100 * MS);
    building.act("lobby", |ua, now| ua.call(now, "101", true, &[]));
    building.run(SECOND);
    building.ua("anna-app").password = "guess".to_owned();
    building.act("anna-app", |ua, now| ua.register(now));
    building.run(SECOND);
    assert_eq!(rung(&building, "anna-app"), 0);
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
}

#[test]
fn every_answer_behind_a_losing_contact_is_acknowledged_and_hung_up() {
    let mut building = Building::ready(767);
    building.ua("desk-2").policy = Policy::Answer(SECOND);
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.run(900 * MS);
    // A proxy behind desk-1's contact forks; both its devices answer while the other desk does.
    building.run(105 * MS);
    building.act("desk-1", |ua, now| {
        ua.fork(now, "kitchen", 200, true, None);
    });
    building.run(5 * MS);
    let invite = building.find("desk-1").got(&Method::Invite)[0].clone();
    let line =
        |name: &HeaderName| format!("{}: {}\r\n", name.as_str(), invite.header(name).unwrap());
    let names = [
        HeaderName::Via,
        HeaderName::From,
        HeaderName::CallId,
        HeaderName::CSeq,
    ];
    let lines: String = names.iter().map(line).collect();
    let to = line(&HeaderName::To).replace("\r\n", ";tag=garden\r\n");
    let rest = "Contact: <sip:garden@10.0.1.3:5060>\r\nContent-Length: 0\r\n\r\n";
    let from = building.find("desk-1").addr;
    building.inject(from, format!("SIP/2.0 200 OK\r\n{lines}{to}{rest}"));
    building.run(SECOND);
    let desk = building.find("desk-1");
    let byes: Vec<(&str, Option<&str>)> = desk
        .got(&Method::Bye)
        .iter()
        .map(|bye| (bye.to_tag().unwrap(), bye.header(&HeaderName::Reason)))
        .collect();
    let reason = Some("SIP;cause=200;text=\"Call completed elsewhere\"");
    assert_eq!(byes, [("kitchen", reason), ("garden", reason)]);
    assert_eq!(desk.acks, 2);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(SECOND);
    building.forgive_lost_dialogs();
    building.check_quiet();
}

#[test]
fn who_joins_a_serial_ring_late_holds_up_the_next_and_not_the_end_of_another() {
    let mut building = Building::new(769, Weather::FINE);
    for device in ["lobby", "desk-2", "panel-101"] {
        building.act(device, |ua, now| ua.register(now));
        building.run(100 * MS);
    }
    let route = "route \"house\" doors=\"*\" dial=\"house\" { ring \"desk\" for=\"40s\" join-late=#true; end \"log\" }\nroute \"one\"";
    building.replan(&[
        (
            "strategy \"parallel\"",
            "device \"panel-101\"; strategy \"serial\"",
        ),
        ("route \"one\"", route),
    ]);
    let devices = ["desk-1", "desk-2", "panel-101"];
    let ringing = |building: &Building| devices.map(|device| building.find(device).open_calls());
    dial(&mut building);
    building.run(5 * SECOND);
    assert_eq!(ringing(&building), [0, 1, 0]);
    building.act("desk-1", |ua, now| ua.register(now));
    building.run(SECOND);
    assert_eq!(ringing(&building), [1, 1, 0], "it joins late");
    building.run(9 * SECOND);
    assert_eq!(ringing(&building), [1, 0, 0], "the other's time is up");
    building.run(7 * SECOND);
    assert_eq!(ringing(&building), [0, 0, 1], "and then its own");
    building.until("over", 30 * SECOND, |b| !b.find("lobby").finals.is_empty());
    building.check_quiet();
}
