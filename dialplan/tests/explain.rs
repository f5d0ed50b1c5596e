//! What `plan explain` prints, on the example of the language page.

mod house;

use dialplan::{Facts, Reach, Reachable, RingOutcome, explain, parse_given};
use house::{at, directory, from_device, from_door, house as plan, noon};

const EXAMPLE: &str = r#"may-open "role:resident" group="entry" method="app,handset,pstn" require="answered"
may-open "desk:desk" group="entry,parking"
route "unit" doors="entry" dial="unit" {
    when "desk-hours" { ring "desk" for="20s"; ring "@unit" for="30s" preview="video"; end "message" box="@unit" }
    otherwise {
        ring "@unit" for="25s" preview="video" join-late=#true
        ring "@unit.phones" via="trunk-a,lte-gw" for="30s" confirm="1"
        end "log"
    }
}
route "desk-to-door" from="desk:desk" dial="door" { ring "@door"; end "hangup" }
"#;

fn reachable() -> Reachable {
    let devices = [
        ("panel-101", Reach::Registered),
        ("petr-1", Reach::Push),
        ("anna-1", Reach::Push),
        ("desk-1", Reach::Registered),
    ];
    Reachable::Only(std::sync::Arc::new(
        devices
            .into_iter()
            .map(|(id, reach)| (id.to_owned(), reach))
            .collect(),
    ))
}

#[test]
fn christmas_eve_rings_the_unit_and_then_its_telephones() {
    let facts = Facts::at(at("2026-12-24 18:59:50")).with_reachable(reachable());
    let given = parse_given("desk=busy, anna.mobile=push-failed").unwrap();
    let told = explain(
        &plan(EXAMPLE),
        &directory(),
        &facts,
        from_door("101"),
        &given,
    )
    .unwrap();
    insta::assert_snapshot!("christmas_eve", told.to_string());
    let json = serde_json::to_value(&told).unwrap();
    assert_eq!(json["lines"][0]["source"]["file"], "plan.kdl");
}

#[test]
fn a_busy_desk_gives_way_at_once() {
    let given = parse_given("desk=busy,@unit=answered").unwrap();
    let told = explain(
        &plan(EXAMPLE),
        &directory(),
        &noon(),
        from_door("101"),
        &given,
    )
    .unwrap();
    insta::assert_snapshot!("busy_desk", told.to_string());
}

#[test]
fn a_desk_that_calls_a_door_has_its_keys() {
    let told = explain(
        &plan(EXAMPLE),
        &directory(),
        &noon(),
        from_device("desk-1", "lobby"),
        &Default::default(),
    )
    .unwrap();
    insta::assert_snapshot!("desk_to_door", told.to_string());
}

#[test]
fn given_outcomes_are_read_or_refused_by_part() {
    assert_eq!(parse_given("a=busy").unwrap()["a"], RingOutcome::Busy);
    assert_eq!(parse_given("a=busy, b=asleep"), Err("b=asleep".into()));
    assert_eq!(parse_given("a"), Err("a".into()));
}
