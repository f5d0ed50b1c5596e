//! RFC 5627: GRUUs given, found and ended.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where its own words are wrong"
)]

mod registration;

use registration::{AOR, Bench, INSTANCE, OUTBOUND, flow};
use sip_proxy::BindingChange;

const SUPPORTED: &str = "Supported: gruu\r\n";

fn contact(port: u16) -> String {
    format!("Contact: <sip:a@192.0.2.50:{port}>;{INSTANCE}\r\n")
}

#[test]
fn both_gruus_are_given_to_who_supports_them_and_has_an_instance() {
    let mut bench = Bench::new();
    let answer = bench.register(&format!("{SUPPORTED}{}", contact(5060)));
    assert_eq!(
        answer.param("pub-gruu").as_deref(),
        Some("sip:desk@example.com;gr=urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF")
    );
    let temporary = answer.param("temp-gruu").unwrap();
    assert!(temporary.starts_with("sip:tgruu.") && temporary.ends_with("@example.com;gr"));
    assert!(!temporary.contains("desk"), "it hides whose it is");
    let silent = bench.register(&contact(5060));
    assert_eq!(silent.param("pub-gruu"), None);
    let nameless = bench.register(&format!("{SUPPORTED}Contact: <sip:b@192.0.2.50>\r\n"));
    assert_eq!(nameless.text.matches("pub-gruu").count(), 1, "the other's");
}

#[test]
fn each_refresh_brings_another_temporary_gruu_and_all_lead_to_the_contact() {
    let mut bench = Bench::new();
    let first = bench.register(&format!("{SUPPORTED}{}", contact(5060)));
    let second = bench.register(&format!("{SUPPORTED}{}", contact(5060)));
    let (first, second) = (
        first.param("temp-gruu").unwrap(),
        second.param("temp-gruu").unwrap(),
    );
    assert_ne!(first, second);
    let there = Some(vec!["sip:a@192.0.2.50:5060".to_owned()]);
    assert_eq!(bench.reached(&first), there);
    assert_eq!(bench.reached(&second), there);
}

#[test]
fn a_public_gruu_leads_to_its_instance_alone_and_outlives_its_registration() {
    let mut bench = Bench::new();
    let answer = bench.register(&format!("{SUPPORTED}{}", contact(5060)));
    bench.register("Contact: <sip:other@192.0.2.50>\r\n");
    let public = answer.param("pub-gruu").unwrap();
    let there = Some(vec!["sip:a@192.0.2.50:5060".to_owned()]);
    assert_eq!(bench.reached(&public), there);
    let upper = public.replace("urn:uuid", "URN:UUID");
    assert_eq!(bench.reached(&upper), there, "a URN's case says nothing");
    bench.register(&format!("Expires: 0\r\n{}", contact(5060)));
    assert_eq!(bench.reached(&public), Some(Vec::new()), "480, not 404");
    bench.register(&format!("{SUPPORTED}{}", contact(7000)));
    let moved = Some(vec!["sip:a@192.0.2.50:7000".to_owned()]);
    assert_eq!(bench.reached(&public), moved);
}

#[test]
fn temporary_gruus_end_with_the_registration() {
    let mut bench = Bench::new();
    let answer = bench.register(&format!("{SUPPORTED}{}", contact(5060)));
    let temporary = answer.param("temp-gruu").unwrap();
    bench.register("Contact: *\r\nExpires: 0\r\n");
    assert_eq!(bench.reached(&temporary), None);
    bench.register(&format!("{SUPPORTED}{}", contact(5060)));
    assert_eq!(bench.reached(&temporary), None, "what is over stays over");
}

#[test]
fn temporary_gruus_end_with_the_call_id() {
    let mut bench = Bench::new();
    let before = bench.register(&format!("{SUPPORTED}{}", contact(5060)));
    bench.call_id = "after-the-reboot";
    let after = bench.register(&format!("{SUPPORTED}{}", contact(5060)));
    assert_eq!(bench.reached(&before.param("temp-gruu").unwrap()), None);
    assert!(bench.reached(&after.param("temp-gruu").unwrap()).is_some());
    assert_eq!(before.param("pub-gruu"), after.param("pub-gruu"));
}

#[test]
fn a_gruu_has_all_flows_of_its_user_agent_and_ends_for_all_at_once() {
    let mut bench = Bench::new();
    let by_flow =
        |reg: u32| format!("{OUTBOUND}Contact: <sip:a@192.0.2.50>;{INSTANCE};reg-id={reg}\r\n");
    let first = bench.register(&by_flow(1)).param("temp-gruu").unwrap();
    bench.flow = flow(6000);
    bench.register(&by_flow(2));
    assert_eq!(bench.reached(&first).unwrap().len(), 2);
    bench.call_id = "after-the-reboot";
    let rebooted = bench.register(&by_flow(2));
    assert_eq!(bench.reached(&first), None);
    let second = rebooted.param("temp-gruu").unwrap();
    assert_eq!(bench.reached(&second).unwrap().len(), 2);
    let told = rebooted.done.changes.iter();
    let told = told.filter(|change| matches!(change, BindingChange::Refreshed { .. }));
    assert_eq!(told.count(), 2, "the store learns of both");
}

#[test]
fn temporary_gruus_survive_a_restart_under_the_same_key() {
    let mut bench = Bench::new();
    let answer = bench.register(&format!("{SUPPORTED}{}", contact(5060)));
    let kept = bench.bindings()[0].clone();
    bench.location = sip_proxy::Location::new(5);
    let temporary = answer.param("temp-gruu").unwrap();
    assert_eq!(bench.reached(&temporary), None);
    bench.location.restore(AOR, kept);
    assert!(bench.reached(&temporary).is_some());
}

#[test]
fn an_address_of_record_or_a_gruu_is_no_contact() {
    let mut bench = Bench::new();
    for contact in [
        "sip:desk@example.com",
        "sip:desk@example.com;gr=urn:uuid:1",
        "sip:tgruu.00@example.com;gr",
    ] {
        let lines = format!("Contact: <{contact}>\r\n");
        assert_eq!(bench.register(&lines).status, 403, "{contact}");
    }
}

#[test]
fn require_gruu_is_understood_here_and_refused_where_none_is_given() {
    let mut bench = Bench::new();
    let lines = format!("Require: gruu\r\n{}", contact(5060));
    assert!(bench.register(&lines).param("temp-gruu").is_some());
}
