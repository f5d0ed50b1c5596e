//! Who may open what: denied by default, deny wins, the revoked never.

mod house;

use dialplan::{Actor, DenyReason, KeyAction, LegState, Method, OpenQuery, Plan, Verdict};
use house::{directory, evening, house as plan, noon};

const RULES: &str = r#"may-open "role:resident" group="entry" method="app,handset,pstn"
may-open "desk:desk" group="entry,parking" require="rung"
may-open "role:courier" group="parking" method="code,handset" during="desk-hours" require="none"
may-open "person:petr" door="garage"
deny "person:petr" group="parking"
mode "lockdown" { block-codes group="*" }
"#;

fn ask(
    plan: &Plan,
    facts: &dialplan::Facts,
    device: &str,
    door: &str,
    method: Method,
    leg: LegState,
) -> Result<String, DenyReason> {
    let directory = directory();
    let actor = Actor::of_device(plan, &directory, device);
    let query = OpenQuery {
        actor: &actor,
        door,
        output: None,
        method,
        leg,
    };
    match plan.may_open(&directory, facts, &query) {
        Verdict::Allow { text, output, rule } => Ok(format!("{output} {text} {rule}")),
        Verdict::Deny { reason, .. } => Err(reason),
    }
}

#[test]
fn nothing_is_allowed_that_no_rule_allows() {
    let (with, without) = (plan(RULES), plan(""));
    use LegState::Answered;
    use Method::Handset;
    assert_eq!(
        ask(&with, &noon(), "anna-1", "lobby", Handset, Answered).unwrap(),
        "main resident, answered plan.kdl:10"
    );
    assert_eq!(
        ask(&with, &noon(), "anna-1", "garage", Handset, Answered),
        Err(DenyReason::NoRight)
    );
    assert_eq!(
        ask(&with, &noon(), "anna-1", "attic", Handset, Answered),
        Err(DenyReason::NoRight)
    );
    assert_eq!(
        ask(&without, &noon(), "anna-1", "lobby", Handset, Answered),
        Err(DenyReason::NoRight)
    );
    assert_eq!(
        ask(&with, &noon(), "lobby-station", "lobby", Handset, Answered),
        Err(DenyReason::NoRight)
    );
}

#[test]
fn deny_wins_over_any_allow() {
    let denied = ask(
        &plan(RULES),
        &noon(),
        "petr-1",
        "garage",
        Method::Handset,
        LegState::Answered,
    );
    assert_eq!(denied, Err(DenyReason::DenyRule));
}

#[test]
fn revoked_and_unknown_devices_and_people_open_nothing() {
    for device in ["olga-lost", "gone-1", "nobody"] {
        let denied = ask(
            &plan(RULES),
            &noon(),
            device,
            "lobby",
            Method::Handset,
            LegState::Answered,
        );
        assert_eq!(denied, Err(DenyReason::Revoked), "{device}");
    }
}

#[test]
fn an_absent_method_is_all_but_api_and_require_defaults_to_answered() {
    let plan = plan("may-open \"role:resident\" group=\"entry\"\n");
    for method in Method::ALL {
        let verdict = ask(
            &plan,
            &noon(),
            "anna-1",
            "lobby",
            method,
            LegState::Answered,
        );
        assert_eq!(verdict.is_ok(), method != Method::Api, "{method}");
        let outside = ask(&plan, &noon(), "anna-1", "lobby", method, LegState::Rung);
        assert_eq!(
            outside.is_ok(),
            matches!(method, Method::Code | Method::DialIn),
            "{method}"
        );
    }
    assert_eq!(
        ask(
            &plan,
            &noon(),
            "anna-1",
            "lobby",
            Method::Handset,
            LegState::None
        ),
        Err(DenyReason::NotInCall)
    );
}

#[test]
fn a_rule_may_ask_for_less_and_hold_at_times_only() {
    let plan = plan(RULES);
    assert!(
        ask(
            &plan,
            &noon(),
            "desk-1",
            "garage",
            Method::Handset,
            LegState::Rung
        )
        .is_ok()
    );
    assert_eq!(
        ask(
            &plan,
            &noon(),
            "desk-1",
            "garage",
            Method::Handset,
            LegState::None
        ),
        Err(DenyReason::NotInCall)
    );
    assert!(
        ask(
            &plan,
            &noon(),
            "carl-1",
            "garage",
            Method::Code,
            LegState::None
        )
        .is_ok()
    );
    assert_eq!(
        ask(
            &plan,
            &evening(),
            "carl-1",
            "garage",
            Method::Code,
            LegState::None
        ),
        Err(DenyReason::OutsideHours)
    );
    let mut lockdown = noon();
    lockdown.modes.insert("lockdown".into());
    assert_eq!(
        ask(
            &plan,
            &lockdown,
            "carl-1",
            "garage",
            Method::Code,
            LegState::None
        ),
        Err(DenyReason::ModeBlocks)
    );
}

#[test]
fn right_comes_before_output_and_output_before_state() {
    let (plan, directory) = (plan(RULES), directory());
    let verdict = |device: &str, leg| {
        let actor = Actor::of_device(&plan, &directory, device);
        plan.may_open(
            &directory,
            &noon(),
            &OpenQuery {
                actor: &actor,
                door: "lobby",
                output: Some("roof"),
                method: Method::Handset,
                leg,
            },
        )
    };
    let reason = |verdict| match verdict {
        Verdict::Deny { reason, .. } => reason,
        Verdict::Allow { .. } => panic!("allowed"),
    };
    assert_eq!(
        reason(verdict("carl-1", LegState::Answered)),
        DenyReason::NoRight
    );
    assert_eq!(
        reason(verdict("anna-1", LegState::None)),
        DenyReason::NoSuchOutput
    );
}

#[test]
fn a_panel_acts_as_resident_only_while_a_resident_lives_there() {
    let plan = plan(RULES);
    assert!(
        ask(
            &plan,
            &noon(),
            "panel-101",
            "lobby",
            Method::Handset,
            LegState::Answered
        )
        .is_ok()
    );
    assert_eq!(
        ask(
            &plan,
            &noon(),
            "panel-103",
            "lobby",
            Method::Handset,
            LegState::Answered
        ),
        Err(DenyReason::NoRight)
    );
}

#[test]
fn keys_open_the_calls_own_door_or_one_by_name() {
    let plan = plan("");
    let open = |door, digit| match plan.key("default", door, digit) {
        Some(KeyAction::Open {
            door,
            output,
            two_step,
            ..
        }) => format!("{door}/{output} {two_step}"),
        Some(KeyAction::Transfer { target, .. }) => format!("-> {target}"),
        Some(KeyAction::Absent) => "absent".to_owned(),
        None => "unbound".to_owned(),
    };
    assert_eq!(open("lobby", '9'), "lobby/main false");
    assert_eq!(open("garage", '9'), "absent");
    assert_eq!(open("lobby", '8'), "absent");
    assert_eq!(open("lobby", '7'), "garage/gate true");
    assert_eq!(open("lobby", '0'), "-> desk");
    assert_eq!(open("lobby", '5'), "unbound");
}
