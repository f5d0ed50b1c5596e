//! RFC 5626 section 6: the registrar's side of flows that a device opens and keeps.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where its own words are wrong"
)]

mod registration;

use registration::{Bench, INSTANCE, OUTBOUND, flow};
use sip_proxy::{BindingChange, ConnectionId, RemovalCause, Transport};

fn by_flow(reg_id: u32) -> String {
    format!("{OUTBOUND}Contact: <sip:a@192.0.2.50:5060>;{INSTANCE};reg-id={reg_id}\r\n")
}

#[test]
fn two_flows_with_one_contact_are_two_bindings_of_one_user_agent() {
    let mut bench = Bench::new();
    bench.register(&by_flow(1));
    bench.flow = flow(6000);
    let answer = bench.register(&by_flow(2));
    let bindings = bench.bindings();
    assert_eq!(bindings.len(), 2);
    assert_eq!(bindings[0].user_agent_key(), bindings[1].user_agent_key());
    assert_eq!(
        (bindings[0].flow, bindings[1].flow),
        (flow(6000), flow(5060)),
        "the latest first"
    );
    assert!(bindings.iter().all(|binding| binding.outbound));
    assert!(answer.text.contains(";reg-id=1") && answer.text.contains(";reg-id=2"));
}

#[test]
fn the_answer_requires_outbound_where_a_flow_was_registered_and_nowhere_else() {
    let mut bench = Bench::new();
    let answer = bench.register(&by_flow(1));
    assert!(answer.has("Require: outbound"), "{}", answer.text);
    assert!(answer.has("Supported: path, outbound, gruu"));
    for plain in [
        // No instance: the reg-id is ignored.
        format!("{OUTBOUND}Contact: <sip:b@192.0.2.50>;reg-id=1\r\n"),
        // No reg-id.
        format!("{OUTBOUND}Contact: <sip:b@192.0.2.50>;{INSTANCE}\r\n"),
        // The device does not speak it.
        format!("Contact: <sip:b@192.0.2.50>;{INSTANCE};reg-id=7\r\n"),
        OUTBOUND.to_owned(),
    ] {
        let answer = bench.register(&plain);
        assert_eq!(answer.status, 200);
        assert!(!answer.text.contains("Require:"), "{plain}");
    }
}

#[test]
fn require_outbound_is_as_good_as_supported() {
    let mut bench = Bench::new();
    let contact = format!("Contact: <sip:a@192.0.2.50>;{INSTANCE};reg-id=1\r\n");
    let answer = bench.register(&format!("Require: outbound\r\n{contact}"));
    assert!(answer.has("Require: outbound"));
}

#[test]
fn flow_timer_is_told_to_those_who_keep_flows() {
    let mut bench = Bench::new();
    bench.registrar.config.flow_timer = Some(120);
    assert!(bench.register(&by_flow(1)).has("Flow-Timer: 120"));
    let plain = bench.register("Contact: <sip:b@192.0.2.50>\r\n");
    assert!(!plain.text.contains("Flow-Timer"));
}

#[test]
fn a_flow_is_one_contacts() {
    let mut bench = Bench::new();
    let two = format!(
        "{OUTBOUND}Contact: <sip:a@192.0.2.50>;{INSTANCE};reg-id=1, <sip:b@192.0.2.50>\r\n"
    );
    assert_eq!(bench.register(&two).status, 400);
    let one_goes = format!(
        "{OUTBOUND}Contact: <sip:a@192.0.2.50>;{INSTANCE};reg-id=1, <sip:b@192.0.2.50>;expires=0\r\n"
    );
    assert_eq!(bench.register(&one_goes).status, 200);
}

#[test]
fn a_first_hop_without_outbound_is_439_and_one_with_ob_is_taken() {
    let mut bench = Bench::new();
    bench.vias = "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK2\r\nVia: SIP/2.0/TCP 10.0.0.1;branch=z9hG4bK1\r\n";
    let refused = bench.register(&by_flow(1));
    assert_eq!(refused.status, 439);
    assert!(
        refused
            .text
            .starts_with("SIP/2.0 439 First Hop Lacks Outbound Support")
    );
    let path =
        "Path: <sip:core@192.0.2.9;lr>, <sip:VskztcQ/S8p4WPbOnHbuyh5iJvJIW3ib@192.0.2.8;lr>\r\n";
    assert_eq!(
        bench.register(&format!("{path}{}", by_flow(1))).status,
        439,
        "its own Path value counts, the last one, and that has no ob"
    );
    let path =
        "Path: <sip:core@192.0.2.9;lr>, <sip:VskztcQ/S8p4WPbOnHbuyh5iJvJIW3ib@192.0.2.8;lr;ob>\r\n";
    let taken = bench.register(&format!("{path}{}", by_flow(1)));
    assert_eq!(taken.status, 200);
    assert_eq!(bench.bindings()[0].path.len(), 2);
    let plain = bench.register("Contact: <sip:plain@192.0.2.50>\r\n");
    assert_eq!(
        plain.status, 200,
        "who asks for no flow is not asked for ob"
    );
}

#[test]
fn a_reboot_replaces_the_flow_of_the_same_number() {
    let mut bench = Bench::new();
    bench.register(&by_flow(1));
    bench.register(&by_flow(2));
    bench.call_id = "after-the-reboot";
    bench.flow = flow(7000);
    let moved = format!("{OUTBOUND}Contact: <sip:a@192.0.2.50:7000>;{INSTANCE};reg-id=1\r\n");
    let answer = bench.register(&moved);
    assert_eq!(bench.bindings().len(), 2);
    let last = answer.done.changes.last();
    assert!(matches!(last, Some(BindingChange::Refreshed { .. })));
    assert_eq!(bench.bindings()[0].flow, flow(7000));
}

#[test]
fn taking_one_flow_back_leaves_the_other() {
    let mut bench = Bench::new();
    bench.register(&by_flow(1));
    bench.register(&by_flow(2));
    bench.register(&format!("Expires: 0\r\n{}", by_flow(1)));
    let left: Vec<_> = bench.bindings().iter().map(|one| one.reg_id).collect();
    assert_eq!(left, [Some(2)]);
}

#[test]
fn a_stream_flow_that_closed_is_over_and_nobody_connects_in_its_stead() {
    let mut bench = Bench::new();
    bench.flow.transport = Transport::Tls;
    bench.flow.connection = Some(ConnectionId(4));
    bench.register(&by_flow(1));
    bench.flow.connection = Some(ConnectionId(5));
    bench.register(&by_flow(2));
    let changes = bench.location.connection_closed(ConnectionId(5));
    assert!(matches!(
        &changes[..],
        [BindingChange::Removed { binding, why: RemovalCause::ConnectionLost, .. }] if binding.reg_id == Some(2)
    ));
    let left = bench.bindings();
    assert_eq!((left.len(), left[0].reg_id), (1, Some(1)));
}

#[test]
fn a_stream_flow_from_before_a_restart_is_kept_but_not_reachable() {
    let mut bench = Bench::new();
    bench.flow.transport = Transport::Tcp;
    bench.flow.connection = Some(ConnectionId(4));
    bench.register(&by_flow(1));
    let mut kept = bench.bindings()[0].clone();
    kept.lose_connection();
    assert!(!kept.is_reachable());
    kept.outbound = false;
    assert!(kept.is_reachable(), "a device that listens is called back");
    kept.flow.transport = Transport::Wss;
    assert!(!kept.is_reachable());
    kept.flow.transport = Transport::Udp;
    kept.outbound = true;
    assert!(kept.is_reachable(), "a datagram needs no connection");
}
