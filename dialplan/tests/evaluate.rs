//! Matching, bodies, members and outcomes, as the language page describes them.

mod house;

use std::time::Duration;

use dialplan::{End, MemberRule, Reachable, RingOutcome, Step, Target};
use house::{at, devices, directory, evening, from_device, from_door, house as plan, noon, ring};

fn route_of(routes: &str, call: dialplan::CallFacts) -> Option<String> {
    let plan = plan(routes);
    plan.begin(&directory(), &noon(), call)
        .ok()
        .map(|(run, _)| run.route_name().to_owned())
}

#[test]
fn of_all_dials_that_match_the_most_specific_wins() {
    let routes = [
        (r#"route "any" doors="*" dial="*" { end "log" }"#, "any"),
        (
            r#"route "class" doors="*" dial="unit" { end "log" }"#,
            "class",
        ),
        (
            r#"route "short" doors="*" dial="1.." { end "log" }"#,
            "short",
        ),
        (
            r#"route "long" doors="*" dial="10.." { end "log" }"#,
            "long",
        ),
        (
            r#"route "range" doors="*" dial="1xx" { end "log" }"#,
            "range",
        ),
        (
            r#"route "literal" doors="*" dial="101" { end "log" }"#,
            "literal",
        ),
    ];
    let mut text = String::new();
    for (route, name) in routes {
        text = format!("{text}{route}\n");
        assert_eq!(route_of(&text, from_door("101")).as_deref(), Some(name));
    }
    assert_eq!(
        route_of(&text, from_door("1")).as_deref(),
        Some("any"),
        "a prefix wants one more character"
    );
}

#[test]
fn a_trunk_reaches_what_a_route_says_for_its_name_and_nothing_else() {
    let text = r#"route "all" from="*" dial="*" { end "log" }
route "doors" doors="*" dial="*" { end "log" }
route "in" from="trunk-a" to="+420222000111" { ring "desk" for="20s"; end "hangup" }
"#;
    let from = |trunk: &str, dial: &str| dialplan::CallFacts {
        caller: dialplan::Caller::Trunk(trunk.to_owned()),
        dial: dial.to_owned(),
    };
    assert_eq!(
        route_of(text, from("trunk-a", "+420222000111")).as_deref(),
        Some("in")
    );
    for call in [
        from("trunk-a", "101"),
        from("trunk-a", "+420900000000"),
        from("trunk-b", "+420222000111"),
    ] {
        assert_eq!(route_of(text, call.clone()), None, "{call:?}");
    }
    let plan = plan(text);
    let named: Vec<&str> = plan.trunks().map(|(name, _)| name).collect();
    assert_eq!(named, ["trunk-a"]);
}

#[test]
fn then_the_most_specific_caller_then_file_order() {
    let all = r#"route "all" doors="*" dial="unit" { end "log" }"#;
    let first = r#"route "first" doors="entry" dial="unit" { end "log" }"#;
    let second = r#"route "second" doors="entry" dial="unit" { end "log" }"#;
    let named = r#"route "named" doors="lobby" dial="unit" { end "log" }"#;
    assert_eq!(
        route_of(&format!("{all}\n{first}\n{second}"), from_door("101")).as_deref(),
        Some("first")
    );
    assert_eq!(
        route_of(
            &format!("{all}\n{first}\n{second}\n{named}"),
            from_door("101")
        )
        .as_deref(),
        Some("named")
    );
    // A specific dial for another caller does not match, so it does not win either.
    let other = r#"route "other" doors="garage" dial="101" { end "log" }"#;
    assert_eq!(
        route_of(&format!("{all}\n{other}"), from_door("101")).as_deref(),
        Some("all")
    );
}

#[test]
fn only_an_authenticated_door_of_the_plan_is_a_door() {
    let routes = r#"route "unit" doors="*" dial="*" { end "log" }"#;
    let stranger = dialplan::CallFacts {
        caller: dialplan::Caller::Door("attic".into()),
        dial: "101".into(),
    };
    assert_eq!(route_of(routes, stranger), None);
    assert_eq!(route_of(routes, from_device("lobby-station", "101")), None);
    let inside = r#"route "inside" from="device:*" dial="*" { end "log" }"#;
    for revoked in ["olga-lost", "gone-1", "nobody", "lobby-station"] {
        assert_eq!(
            route_of(inside, from_device(revoked, "101")),
            None,
            "{revoked}"
        );
    }
}

const DAY: &str = r#"route "unit" doors="entry" dial="unit" {
    when "desk-hours" { ring "desk" for="20s" }
    otherwise { ring "@unit" for="25s"; end "busy" }
    ring "@unit" for="30s"
    end "log"
}"#;

#[test]
fn a_block_without_end_goes_on_below() {
    let plan = plan(DAY);
    let (mut run, step) = plan.begin(&directory(), &noon(), from_door("101")).unwrap();
    assert_eq!(devices(&ring(step)), ["desk-1", "desk-2"]);
    let step = run.next(&directory(), &noon(), RingOutcome::Busy);
    assert_eq!(devices(&ring(step)), ["panel-101", "anna-1", "petr-1"]);
    let step = run.next(&directory(), &noon(), RingOutcome::NoAnswer);
    assert_eq!(step, Step::End(End::Log));
    assert_eq!(End::Log.status(), 480);
}

#[test]
fn the_condition_is_read_once_on_arrival() {
    let plan = plan(DAY);
    let (mut run, step) = plan
        .begin(&directory(), &evening(), from_door("101"))
        .unwrap();
    assert_eq!(ring(step).for_, Duration::from_secs(25));
    // Morning has come while it rang: the walk stays in the block it took.
    let step = run.next(&directory(), &noon(), RingOutcome::NoAnswer);
    assert_eq!(step, Step::End(End::Busy));
    assert_eq!(End::Busy.status(), 486);
}

#[test]
fn after_an_answer_the_plan_is_over_unless_it_says_more() {
    let plan = plan(DAY);
    let (mut run, _) = plan.begin(&directory(), &noon(), from_door("101")).unwrap();
    assert_eq!(
        run.next(&directory(), &noon(), RingOutcome::Answered),
        Step::Done
    );
}

#[test]
fn a_ring_with_nobody_left_ends_at_once() {
    let plan = plan(DAY);
    let facts = noon().with_reachable(["anna-1"].into_iter().collect::<Reachable>());
    let (run, step) = plan.begin(&directory(), &facts, from_door("101")).unwrap();
    let ring = ring(step);
    assert_eq!(devices(&ring), ["anna-1"]);
    assert!(
        ring.dropped
            .contains(&("panel-101".into(), RingOutcome::Unreachable))
    );
    assert!(
        run.trace().iter().any(
            |line| line.what == "ring desk 20 s" && line.detail.contains("desk-1 (unreachable")
        )
    );
}

#[test]
fn the_revoked_and_the_caller_itself_are_never_rung() {
    let plan = plan(
        "route \"in\" from=\"device:*\" dial=\"unit\" { ring \"@unit\" for=\"9s\"; end \"log\" }",
    );
    let (_, step) = plan
        .begin(&directory(), &noon(), from_device("desk-1", "102"))
        .unwrap();
    assert_eq!(devices(&ring(step)), ["olga-1"]);
    let (_, step) = plan
        .begin(&directory(), &noon(), from_device("anna-1", "101"))
        .unwrap();
    assert_eq!(devices(&ring(step)), ["panel-101", "petr-1"]);
}

#[test]
fn an_added_member_leaves_the_first_set_and_rings_later() {
    let plan = plan(
        r#"route "unit" doors="entry" dial="unit" {
            ring "@unit" for="25s" { add "@unit.mobile" after="10s" for="5s"; on "declined" next }
            end "log"
        }"#,
    );
    let (_, step) = plan.begin(&directory(), &noon(), from_door("101")).unwrap();
    let ring = ring(step);
    let timing: Vec<_> = ring
        .members
        .iter()
        .map(|m| (m.name.as_str(), m.after.as_secs(), m.for_))
        .collect();
    let five = Some(Duration::from_secs(5));
    assert_eq!(
        timing,
        [
            ("panel-101", 0, None),
            ("anna.mobile", 10, five),
            ("petr.mobile", 10, five)
        ]
    );
    assert_eq!(
        ring.members[0].on,
        [(RingOutcome::Declined, MemberRule::Next)]
    );
}

#[test]
fn a_ring_with_after_joins_the_one_before_it() {
    let plan = plan(
        r#"route "unit" doors="entry" dial="unit" {
            ring "desk" for="20s"
            ring "@unit" for="30s" after="10s"
            end "log"
        }"#,
    );
    let (_, step) = plan.begin(&directory(), &noon(), from_door("102")).unwrap();
    let ring = ring(step);
    assert_eq!(ring.for_, Duration::from_secs(40));
    let timing: Vec<_> = ring
        .members
        .iter()
        .map(|m| {
            (
                m.name.as_str(),
                m.after.as_secs(),
                m.for_.map(|f| f.as_secs()),
            )
        })
        .collect();
    assert_eq!(
        timing,
        [
            ("desk-1", 0, Some(20)),
            ("desk-2", 0, Some(20)),
            ("olga-1", 10, Some(30))
        ]
    );
}

#[test]
fn an_on_block_follows_the_first_outcome_of_the_list_any_member_had() {
    let plan = plan(
        r#"route "unit" doors="entry" dial="unit" {
            ring "@unit" for="25s" { on "declined" { end "busy" }; on "unreachable,blocked" { ring "desk" for="5s" } }
            end "log"
        }"#,
    );
    let begin =
        |facts: &dialplan::Facts| plan.begin(&directory(), facts, from_door("101")).unwrap();
    let (mut run, _) = begin(&noon());
    assert_eq!(
        run.next(&directory(), &noon(), RingOutcome::Declined),
        Step::End(End::Busy)
    );
    let (mut run, _) = begin(&noon());
    assert_eq!(
        run.next(&directory(), &noon(), RingOutcome::NoAnswer),
        Step::End(End::Log)
    );
    // Only the desk is reachable: the unit's outcome is "unreachable", and its block ends below.
    let facts = noon().with_reachable(["desk-2"].into_iter().collect());
    let (mut run, step) = begin(&facts);
    assert_eq!(devices(&ring(step)), ["desk-2"]);
    assert_eq!(
        run.next(&directory(), &facts, RingOutcome::NoAnswer),
        Step::End(End::Log)
    );
}

#[test]
fn quiet_hours_block_except_where_excepted_and_for_emergencies() {
    let quiet = r#"quiet "person:anna" during="quiet" except="desk,high"
route "unit" doors="entry" dial="unit" PRIORITY { ring "person:anna" for="9s" { on "blocked" { end "busy" } }; end "log" }
route "desk" from="desk:desk" dial="unit" { ring "person:anna" for="9s"; end "log" }"#;
    let night = dialplan::Facts::at(at("2026-11-24 23:00:00"));
    for (priority, blocked) in [
        ("", true),
        ("priority=\"high\"", false),
        ("priority=\"emergency\"", false),
    ] {
        let plan = plan(&quiet.replace("PRIORITY", priority));
        let (_, step) = plan.begin(&directory(), &night, from_door("101")).unwrap();
        assert_eq!(step == Step::End(End::Busy), blocked, "{priority}");
        let (_, step) = plan
            .begin(&directory(), &night, from_device("desk-1", "101"))
            .unwrap();
        assert_eq!(devices(&ring(step)), ["anna-1"]);
        let (_, step) = plan.begin(&directory(), &noon(), from_door("101")).unwrap();
        assert_eq!(devices(&ring(step)), ["anna-1"]);
    }
}

#[test]
fn retry_starts_again_until_its_time_is_up() {
    let plan = plan(
        r#"route "sos" doors="*" dial="sos" priority="emergency" { ring "desk" for="20s"; end "retry" every="20s" up-to="1m" }"#,
    );
    let facts = noon();
    let (mut run, _) = plan.begin(&directory(), &facts, from_door("sos")).unwrap();
    let later = |seconds: i64| {
        let mut facts = facts.clone();
        facts.at = facts
            .at
            .checked_add(jiff::SignedDuration::from_secs(seconds))
            .unwrap();
        facts
    };
    let step = run.next(&directory(), &later(20), RingOutcome::NoAnswer);
    assert!(matches!(step, Step::End(End::Retry { .. })));
    assert!(matches!(run.retry(&directory(), &later(40)), Step::Ring(_)));
    run.next(&directory(), &later(60), RingOutcome::NoAnswer);
    assert_eq!(run.retry(&directory(), &later(80)), Step::End(End::Log));
}

#[test]
fn a_serial_desk_shares_the_time_among_its_devices() {
    let plan = plan(
        r#"desk "night" { device "desk-2"; device "desk-1"; strategy "serial" }
        route "unit" doors="entry" dial="unit" { ring "night" for="20s"; end "log" }"#,
    );
    let (_, step) = plan.begin(&directory(), &noon(), from_door("101")).unwrap();
    let ring = ring(step);
    assert!(ring.serial);
    assert_eq!(devices(&ring), ["desk-2", "desk-1"]);
    assert_eq!(ring.members[0].for_, Some(Duration::from_secs(10)));
}

#[test]
fn conditions_ask_overrides_modes_flags_and_the_caller() {
    let plan = plan(
        r#"mode "party" { }
        route "unit" doors="*" dial="unit" {
            when "group:parking" { end "hangup" }
            when "party" { end "busy" }
            ring "desk" for="5s" if="@unit.neighbour_ok"
            unless "desk-hours" { end "message" box="@unit" }
            end "log"
        }"#,
    );
    let begin =
        |facts: &dialplan::Facts, dial| plan.begin(&directory(), facts, from_door(dial)).unwrap().1;
    assert!(matches!(begin(&noon(), "101"), Step::Ring(_)));
    assert_eq!(begin(&noon(), "102"), Step::End(End::Log));
    assert_eq!(
        begin(&evening(), "102"),
        Step::End(End::Message {
            mailbox: "102".into()
        })
    );
    let mut held = noon();
    held.overrides.insert(
        "desk-hours".into(),
        dialplan::Override {
            open: false,
            until: None,
        },
    );
    assert_eq!(
        begin(&held, "102"),
        Step::End(End::Message {
            mailbox: "102".into()
        })
    );
    held.modes.insert("party".into());
    assert_eq!(begin(&held, "102"), Step::End(End::Busy));
    let garage = dialplan::CallFacts {
        caller: dialplan::Caller::Door("garage".into()),
        dial: "101".into(),
    };
    assert_eq!(
        plan.begin(&directory(), &noon(), garage).unwrap().1,
        Step::End(End::Hangup)
    );
}

#[test]
fn telephones_carry_their_trunks_and_confirmation() {
    let plan = plan(
        r#"route "unit" doors="entry" dial="unit" { ring "@unit.phones" via="trunk-a,lte-gw" for="30s" confirm="1"; end "log" }"#,
    );
    let (run, step) = plan.begin(&directory(), &noon(), from_door("101")).unwrap();
    let ring = ring(step);
    let member = &ring.members[0];
    assert!(
        matches!(&member.target, Target::Number { number, via } if number.reveal() == "+420601234567" && *via == ["trunk-a", "lte-gw"])
    );
    assert_eq!(member.confirm.as_deref(), Some("1"));
    assert!(
        run.trace()
            .iter()
            .all(|line| !line.detail.contains("01234567")),
        "numbers are masked in the trace"
    );
}

#[test]
fn a_device_calls_a_device_by_proxy_and_never_a_door() {
    let plan = plan(r#"route "inside" from="device:*" dial="device" { proxy; }"#);
    let (_, step) = plan
        .begin(&directory(), &noon(), from_device("anna-1", "desk-1"))
        .unwrap();
    assert_eq!(
        step,
        Step::Proxy {
            target: Target::Device("desk-1".into())
        }
    );
    let (_, step) = plan
        .begin(
            &directory(),
            &noon(),
            from_device("anna-1", "lobby-station"),
        )
        .unwrap();
    assert_eq!(step, Step::End(End::Hangup));
}
