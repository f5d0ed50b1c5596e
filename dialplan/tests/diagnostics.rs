//! What a person sees when a plan is wrong; and the shipped plan, which is not.

mod house;

use dialplan::{Diagnostic, Directory, PLAN_BYTES, load, render};
use house::{HOUSE, at, directory, files, plan};

fn faults(text: &str) -> Vec<Diagnostic> {
    load(text, "plan.kdl", &files).diagnostics
}

fn codes(diagnostics: &[Diagnostic]) -> Vec<&str> {
    diagnostics
        .iter()
        .map(|diagnostic| diagnostic.code)
        .collect()
}

/// What the checks say of the house with `rest` added; what this version does not serve has its own test.
fn checked(rest: &str) -> Vec<Diagnostic> {
    let mut found = checked_whole(&format!("{HOUSE}{rest}"));
    found.retain(|diagnostic| diagnostic.code != "L007");
    found
}

fn checked_whole(text: &str) -> Vec<Diagnostic> {
    plan(text).check(&directory(), at("2026-11-24 12:00:00"))
}

#[test]
fn what_the_server_does_not_carry_out_is_told_before_anybody_presses_the_button() {
    let found = checked_whole(
        r#"site "s" tz="Europe/Prague"
door "lobby" station="2n" group="entry" fail="closed" { output "main" driver="mqtt" }
desk "desk" { device "desk-1" }
keys "default" { "0" transfer="desk" }
route "unit" doors="entry" dial="unit" {
    ring "desk" for="20s"
    ring "@unit.phones" for="20s" confirm="1"
    end "message" box="@unit"
}
"#,
    );
    let unserved: Vec<_> = found.iter().filter(|d| d.code == "L007").collect();
    assert_eq!(unserved.len(), 3, "a transfer is carried out");
    let errors: Vec<_> = unserved.iter().filter(|d| d.is_error()).collect();
    assert_eq!(errors.len(), 1, "an output that nothing drives is an error");
    assert!(errors[0].message.contains("mqtt"));
}

#[test]
fn several_errors_are_drawn_in_one_pass_with_caret_label_and_hint() {
    let text = r#"site "elm-court" tz="Europe/Prag"
door "lobby" station="2n" grup="entry" fail="closd" { output "main" driver="htp" }
desk "desk" { device "desk-1" }
keys "default" { "9" open="man" }
route "unit" doors="loby" dial="unit" {
    when "desk-hour" { ring "dsk" for="20" }
    collect digits=6
    end "lgo"
}
"#;
    insta::assert_snapshot!("errors", render(&faults(text), false));
}

#[test]
fn what_this_version_does_not_execute_is_refused_not_ignored() {
    let text = r#"site "s" tz="Europe/Prague"
door "lobby" station="2n" fail="closed"
input "fire" source="mqtt:x"
expect "call" door="lobby" every="72h"
route "a" doors="lobby" dial="*1" { collect digits=6; open "main"; end "hangup" }
route "b" from="trunk-a" to="+420" { identify "pin"; end "hangup" }
route "c" doors="lobby" dial="*" { open "main"; media codec="PCMA"; end "log" }
"#;
    let found = faults(text);
    assert!(load(text, "plan.kdl", &files).plan.is_none());
    let refused: Vec<_> = found
        .iter()
        .map(|d| format!("{} {}", d.code, d.source().line))
        .collect();
    assert_eq!(
        refused,
        [
            "L007 3", "L007 4", "L007 5", "L007 5", "L007 6", "L007 7", "P006 7", "L007 7"
        ]
    );
}

#[test]
fn a_missing_value_is_shown_where_it_is_missing() {
    let found = faults("site \"s\" tz=\"UTC\"\ndoor \"lobby\" station=\n");
    assert_eq!(codes(&found), ["L001"; 1], "{found:?}");
    assert_eq!(found[0].source().line, 2);
}

#[test]
fn too_large_and_too_deep_are_refused_before_parsing() {
    assert_eq!(codes(&faults(&" ".repeat(PLAN_BYTES + 1))), ["L002"]);
    assert_eq!(codes(&faults(&"a {".repeat(5_000))), ["L002"]);
}

#[test]
fn diagnostics_serialise_with_line_and_column() {
    let found = faults("site \"s\" tz=\"UTC\"\ndor \"lobby\"\n");
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json[0]["code"], "L003");
    assert_eq!(
        (&json[0]["line"], &json[0]["column"]),
        (&2.into(), &1.into())
    );
    assert_eq!(json[0]["hint"], "did you mean \"door\"?");
}

#[test]
fn names_the_store_lacks_are_warnings_with_the_nearest_name() {
    let found = checked(
        "may-open \"person:ana\" group=\"entry\"\nroute \"x\" doors=\"entry\" dial=\"unit:999\" { ring \"device:desk-3\"; end \"message\" box=\"101\" }\n",
    );
    insta::assert_snapshot!("store_names", render(&found, false));
    assert!(found.iter().all(|d| !d.is_error()));
}

#[test]
fn a_path_without_end_and_an_unreachable_step_are_found() {
    let found = checked(
        r#"route "x" doors="entry" dial="unit" { when "desk-hours" { ring "desk"; end "log" }; ring "@unit" }
route "y" doors="entry" dial="*" { end "message" box="101"; ring "desk" }
"#,
    );
    let told: Vec<_> = found
        .iter()
        .filter(|d| d.code == "P002")
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        told,
        [
            "plan.kdl:10: error[P002]: a path of route \"x\" reaches no end",
            "plan.kdl:11: warning[P002]: this step is never reached",
        ]
    );
}

#[test]
fn a_wait_longer_than_the_stations_limit_is_found_and_can_be_silenced_with_a_reason() {
    let route = |allow: &str| {
        format!(
            "route \"x\" doors=\"lobby\" dial=\"unit\" {{ {allow} ring \"desk\" for=\"100s\"; ring \"@unit\" for=\"30s\"; end \"log\" }}\n"
        )
    };
    assert_eq!(codes(&checked(&route(""))), ["P003"]);
    assert_eq!(
        codes(&checked(&route(
            "allow \"P003\" reason=\"the station's limit was raised\";"
        ))),
        [""; 0]
    );
    assert_eq!(
        codes(&faults(&format!("{HOUSE}{}", route("allow \"P003\";")))),
        ["L005"]
    );
}

#[test]
fn an_hour_with_nobody_is_found_by_calendar_and_by_unit() {
    let by_day = checked(
        "route \"x\" doors=\"entry\" dial=\"*\" { when \"desk-hours\" { ring \"desk\" }; end \"log\" }\n",
    );
    assert_eq!(codes(&by_day), ["P004"]);
    assert!(
        by_day[0].is_error() && by_day[0].label == "at 2026-11-24 19:00",
        "{}",
        by_day[0].label
    );
    // The courier's phone is no unit's, and unit 102 has a device: only a label nobody has reaches nobody.
    let unit = checked(
        "route \"x\" doors=\"entry\" dial=\"unit\" { ring \"@unit.mobile\"; end \"log\" }\n",
    );
    assert_eq!(codes(&unit), ["P004"]);
    assert!(
        !unit[0].is_error() && unit[0].message.contains("2 of 3 units (102, 103"),
        "{}",
        unit[0].message
    );
    let all =
        checked("route \"x\" doors=\"entry\" dial=\"unit\" { ring \"@unit.fax\"; end \"log\" }\n");
    assert!(all[0].is_error() && all[0].message.contains("any unit"));
    assert_eq!(
        codes(&checked(
            "route \"x\" doors=\"entry\" dial=\"unit\" { ring \"@unit\"; end \"log\" }\n"
        )),
        [""; 0]
    );
    let quiet = checked(
        "quiet \"unit:102\" during=\"quiet\"\nroute \"x\" doors=\"entry\" dial=\"unit\" { ring \"@unit\"; end \"log\" }\n",
    );
    assert_eq!(codes(&quiet), ["P004"]);
    assert_eq!(quiet[0].label, "at 2026-11-24 22:00");
}

#[test]
fn a_telephone_rung_by_a_door_needs_confirm_except_in_emergencies() {
    let route = |priority: &str, confirm: &str| {
        format!(
            "route \"x\" doors=\"entry\" dial=\"sos\" {priority} {{ ring \"pstn:112\" via=\"t\" {confirm}; end \"log\" }}\n"
        )
    };
    assert_eq!(codes(&checked(&route("", ""))), ["P006"]);
    assert_eq!(codes(&checked(&route("", "confirm=\"1\""))), [""; 0]);
    assert_eq!(
        codes(&checked(&route("priority=\"emergency\"", ""))),
        [""; 0]
    );
}

#[test]
fn a_door_says_how_it_fails_and_may_not_fail_open_without_a_fire_input() {
    let found = checked("door \"a\" station=\"2n\"\ndoor \"b\" station=\"2n\" fail=\"open\"\n");
    assert_eq!(codes(&found), ["P009", "P009"]);
    insta::assert_snapshot!("fail", render(&found, false));
}

#[test]
fn the_shipped_plan_passes_its_check() {
    let loaded = load(include_str!("../../conf/plan.kdl"), "plan.kdl", &files);
    assert_eq!(render(&loaded.diagnostics, false), "");
    let found = loaded
        .plan
        .unwrap()
        .check(&directory(), at("2026-11-24 12:00:00"));
    assert_eq!(render(&found, false), "");
}

#[test]
fn an_empty_store_makes_no_panic() {
    let loaded = load(include_str!("../../conf/plan.kdl"), "plan.kdl", &files);
    let found = loaded
        .plan
        .unwrap()
        .check(&Directory::default(), at("2026-11-24 12:00:00"));
    assert!(
        found.iter().any(|d| d.code == "P001"),
        "the desk's devices are not imported yet"
    );
}
