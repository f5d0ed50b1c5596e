//! Parked calls: laid down by a transfer to a slot, taken up by dialling it, returned when their time is up.

use std::time::Duration;

use intercom::EndReason;
use media_bridge::{Command, Tone};

use crate::building::Building;
use crate::building::ua::Policy;
use crate::calls::ladder;
use crate::talks::talking;
use crate::transfers::refer;

const SECOND: Duration = Duration::from_secs(1);
const INSIDE: &str = "route \"inside\" from=\"device:*\" dial=\"device\" { ring \"@device\" for=\"60s\"; end \"hangup\" }";

/// A house with slots 701 and 702.
fn house(seed: u64) -> Building {
    let mut building = Building::ready(seed);
    let with = format!(
        "{INSIDE}\nroute \"park\" from=\"desk:desk\" dial=\"70x\" {{ park slots=\"701-702\" for=\"60s\"; ring \"person:petr\" for=\"20s\"; end \"hangup\" }}"
    );
    building.replan(&[(INSIDE, &with)]);
    building
}

fn park(building: &mut Building, slot: &str) {
    talking(building, "lobby", "one", "desk-1");
    refer(
        building,
        "desk-1",
        &format!("<sip:{slot}@elm.example>"),
        &[],
    );
    building.run(SECOND);
}

#[test]
fn a_call_is_parked_and_taken_up_by_another_phone() {
    let mut building = house(460);
    park(&mut building, "701");
    assert_eq!(
        building.find("desk-1").answers.last().unwrap(),
        &("REFER".to_owned(), 202)
    );
    assert!(!building.find("desk-1").is_up() && building.find("lobby").is_up());
    let hold = building.commands.iter().any(|command| {
        matches!(
            command,
            Command::Play {
                tone: Tone::Hold,
                repeat: true,
                ..
            }
        )
    });
    assert!(hold, "the visitor hears that the call is kept");
    building.run(20 * SECOND);
    building.act("desk-2", |ua, now| ua.call(now, "701", true, &[]));
    building.run(2 * SECOND);
    assert!(building.find("desk-2").is_up() && building.find("lobby").is_up());
    let (_, desk) = building.joined();
    building.press(desk, '9');
    building.run(2 * SECOND);
    assert_eq!(building.drives.len(), 1);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    assert_eq!(building.cdrs.len(), 2);
    insta::assert_snapshot!("parked", ladder(&building));
}

#[test]
fn a_parked_call_returns_to_who_parked_it_and_then_the_plan_goes_on() {
    let mut building = house(461);
    park(&mut building, "701");
    building.ua("desk-1").policy = Policy::Ring;
    building.ua("petr-phone").policy = Policy::Answer(SECOND);
    building.run(65 * SECOND);
    let invites = building
        .find("desk-1")
        .log
        .iter()
        .filter(|line| *line == "invite")
        .count();
    assert_eq!(invites, 2, "back to the desk");
    building.run(20 * SECOND);
    assert!(building.find("petr-phone").is_up() && building.find("lobby").is_up());
    building.act("petr-phone", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_slot_holds_one_call_and_slots_are_bounded() {
    let mut building = house(462);
    park(&mut building, "701");
    talking(&mut building, "garage", "one", "desk-1");
    refer(&mut building, "desk-1", "<sip:701@elm.example>", &[]);
    building.run(SECOND);
    assert!(
        building.find("desk-1").is_up(),
        "taken: the desk has the call again"
    );
    // No slot of that number, so any free one.
    refer(&mut building, "desk-1", "<sip:709@elm.example>", &[]);
    building.run(SECOND);
    assert!(!building.find("desk-1").is_up());
    building.act("desk-2", |ua, now| ua.call(now, "702", true, &[]));
    building.run(2 * SECOND);
    assert!(building.find("desk-2").is_up());
    for device in ["garage", "lobby"] {
        assert!(building.find(device).is_up());
        building.act(device, |ua, now| ua.hang_up(now));
    }
    building.check_quiet();
}

#[test]
fn an_empty_slot_gives_nothing_and_a_visitor_who_leaves_frees_it() {
    let mut building = house(463);
    building.ua("petr-phone").policy = Policy::Refuse(SECOND, 603);
    building.act("desk-2", |ua, now| ua.call(now, "701", true, &[]));
    building.run(5 * SECOND);
    assert_eq!(building.find("desk-2").finals, [480], "as the plan says");
    park(&mut building, "701");
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(SECOND);
    assert_eq!(building.cdrs.last().unwrap().end, EndReason::CallerHungUp);
    park(&mut building, "701");
    assert!(!building.find("desk-1").is_up(), "free again");
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn who_is_not_let_by_a_route_parks_nothing_and_takes_nothing_up() {
    let mut building = house(464);
    park(&mut building, "701");
    building.act("anna-app", |ua, now| ua.call(now, "701", true, &[]));
    building.run(SECOND);
    assert_eq!(building.find("anna-app").finals, [404]);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(SECOND);
    talking(&mut building, "lobby", "101", "anna-app");
    refer(&mut building, "anna-app", "<sip:701@elm.example>", &[]);
    building.run(SECOND);
    assert_eq!(
        building.find("anna-app").answers.last().unwrap(),
        &("REFER".to_owned(), 603)
    );
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn the_session_timer_of_who_parked_it_does_not_end_a_parked_call() {
    let mut building = house(469);
    building.ua("desk-1").with_success = vec![(
        sip_proxy::HeaderName::SessionExpires,
        "90;refresher=uas".to_owned(),
    )];
    talking(&mut building, "lobby", "one", "desk-1");
    building.run(30 * SECOND);
    refer(&mut building, "desk-1", "<sip:701@elm.example>", &[]);
    building.run(45 * SECOND);
    assert!(!building.find("desk-1").is_up());
    assert!(building.find("lobby").is_up(), "it is parked still");
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}
