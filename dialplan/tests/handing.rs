//! `pickup`, `park` and transfers: calls that change hands.

mod house;

use dialplan::{CallFacts, Caller, Diagnostic, Step, explain, load, render};
use house::{HOUSE, directory, files, from_device, from_door, house as plan, noon};

const HANDING: &str = r#"route "grab" from="desk:desk" dial="*8" { pickup "group:entry,desk:desk"; end "hangup" }
route "park" from="desk:desk" dial="70x" { park slots="701-703" for="45s"; ring "desk" for="20s"; end "log" }
route "orbit" from="desk:desk" dial="*68" { park slots="701-703"; end "hangup" }
"#;

fn faults(rest: &str) -> Vec<Diagnostic> {
    load(&format!("{HOUSE}{rest}"), "plan.kdl", &files).diagnostics
}

#[test]
fn a_pickup_names_the_doors_and_devices_whose_calls_may_be_taken() {
    let plan = plan(HANDING);
    let (mut run, step) = plan
        .begin(&directory(), &noon(), from_device("desk-1", "*8"))
        .unwrap();
    let Step::Pickup {
        doors,
        devices,
        source,
    } = step
    else {
        panic!("{step:?}");
    };
    assert_eq!(doors, ["lobby"]);
    assert_eq!(devices, ["desk-1", "desk-2"]);
    assert_eq!(source.to_string(), "plan.kdl:10");
    assert!(matches!(run.go_on(&directory(), &noon()), Step::End(_)));
    assert!(
        plan.begin(&directory(), &noon(), from_door("*8")).is_err(),
        "a door picks up nothing"
    );
}

#[test]
fn a_park_names_its_slots_and_the_one_dialled() {
    let plan = plan(HANDING);
    let begin = |dial: &str| {
        plan.begin(&directory(), &noon(), from_device("desk-1", dial))
            .unwrap()
    };
    let (mut run, step) = begin("702");
    let Step::Park {
        slots, slot, for_, ..
    } = step
    else {
        panic!("{step:?}");
    };
    assert_eq!(slot.as_deref(), Some("702"));
    assert_eq!(for_.as_secs(), 45);
    assert_eq!(slots.iter().collect::<Vec<_>>(), ["701", "702", "703"]);
    assert!(slots.contains("703") && !slots.contains("0703") && !slots.contains("704"));
    assert!(matches!(run.go_on(&directory(), &noon()), Step::Ring(_)));
    assert!(matches!(begin("709").1, Step::Park { slot: None, .. }));
    assert!(matches!(begin("*68").1, Step::Park { slot: None, .. }));
}

#[test]
fn who_may_pick_up_a_call_by_its_dialog_is_who_may_by_the_plan() {
    let plan = plan(HANDING);
    let may = |device: &str, door: &str, rung: &[&str]| {
        let caller = Caller::Device(device.to_owned());
        plan.may_pick_up(&directory(), &caller, Some(door), rung)
    };
    assert!(may("desk-1", "lobby", &[]));
    assert!(!may("desk-1", "garage", &[]));
    assert!(may("desk-1", "garage", &["desk-2"]));
    assert!(!may("anna-1", "lobby", &["desk-2"]));
}

#[test]
fn a_transfer_target_is_rung_without_the_one_who_transfers() {
    let plan = plan(HANDING);
    let (run, _) = plan
        .begin(&directory(), &noon(), from_device("desk-1", "*8"))
        .unwrap();
    let source = run.trace()[0].source.clone();
    let facts = CallFacts {
        caller: Caller::Device("desk-1".to_owned()),
        dial: String::new(),
    };
    let second = std::time::Duration::from_secs(20);
    let ring = plan.transfer_ring(
        &directory(),
        &noon(),
        &facts,
        ("desk", second, "default"),
        source,
    );
    let names: Vec<_> = ring
        .members
        .iter()
        .map(|member| member.name.as_str())
        .collect();
    assert_eq!(names, ["desk-2"]);
}

#[test]
fn explain_tells_of_a_pickup_and_a_park() {
    let told = explain(
        &plan(HANDING),
        &directory(),
        &noon(),
        from_device("desk-2", "701"),
        &Default::default(),
    );
    insta::assert_snapshot!("park", told.unwrap().to_string());
    let told = explain(
        &plan(HANDING),
        &directory(),
        &noon(),
        from_device("desk-2", "*8"),
        &Default::default(),
    );
    insta::assert_snapshot!("pickup", told.unwrap().to_string());
}

#[test]
fn faults_in_pickup_and_park_are_drawn_with_a_hint() {
    let found = faults(
        r#"route "grab" from="desk:desk" dial="*8" { pickup "group:entri"; pickup "entry"; pickup; end "hangup" }
route "park" from="desk:desk" dial="70x" { park slots="709-701"; park slots="1000-1999"; park for="5s"; end "log" }
"#,
    );
    insta::assert_snapshot!("handing_faults", render(&found, false));
}
