//! Several ways to one device: flows (RFC 5626), q (RFC 3261 §16.6), GRUUs (RFC 5627); and what a restart leaves of them.

use std::sync::Arc;

use intercom::audit::Kind;
use sip_proxy::Gruus;

use super::*;

const ONE: &str = "+sip.instance=\"<urn:uuid:1>\"";
const TWO: &str = "+sip.instance=\"<urn:uuid:2>\"";
const OUTBOUND: &str = "Supported: path, outbound, gruu\r\n";
const AOR: &str = "sip:desk-1@elm.example";

/// `desk-1` with two flows of one user agent, the second the later one.
fn two_flows() -> Yard {
    let mut yard = yard();
    for (reg, port) in [(1, 5061), (2, 5062)] {
        let flow = udp(&format!("10.0.1.3:{port}"));
        let contact = format!("<sip:desk-1@10.0.1.3>;{ONE};reg-id={reg}");
        yard.register(flow, "desk-1", &contact, OUTBOUND);
    }
    yard
}

fn ports(requests: &[(Flow, Message)]) -> Vec<u16> {
    requests.iter().map(|(to, _)| to.remote.port()).collect()
}

#[test]
fn a_phone_with_two_flows_rings_once_by_the_latest() {
    let mut yard = two_flows();
    yard.ring("sip:desk-1@elm.example");
    let invites = yard.requests(&Method::Invite);
    assert_eq!(ports(&invites), [5062]);
    yard.respond(
        invites[0].0,
        &invites[0].1,
        "180 Ringing",
        "sip:desk-1@10.0.1.3",
        false,
    );
    yard.pass(60 * SECOND);
    assert!(yard.requests(&Method::Invite).is_empty());
}

#[test]
fn a_flow_that_failed_at_the_edge_gives_way_to_the_next_and_the_call_goes_on() {
    let mut yard = two_flows();
    yard.ring("sip:desk-1@elm.example");
    let first = yard.requests(&Method::Invite);
    yard.respond(
        first[0].0,
        &first[0].1,
        "430 Flow Failed",
        "sip:desk-1@10.0.1.3",
        false,
    );
    let second = yard.requests(&Method::Invite);
    assert_eq!(ports(&second), [5061]);
    yard.respond(
        second[0].0,
        &second[0].1,
        "200 OK",
        "sip:desk-1@10.0.1.3",
        true,
    );
    let to_door: Vec<u16> = yard
        .sent()
        .iter()
        .filter_map(|(_, one)| one.status())
        .collect();
    assert!(to_door.contains(&200), "{to_door:?}");
}

#[test]
fn when_every_flow_has_failed_the_device_is_unreachable() {
    let mut yard = two_flows();
    yard.ring("sip:desk-1@elm.example");
    for port in [5062, 5061] {
        let invites = yard.requests(&Method::Invite);
        assert_eq!(ports(&invites), [port]);
        yard.respond(
            invites[0].0,
            &invites[0].1,
            "430 Flow Failed",
            "sip:desk-1@10.0.1.3",
            false,
        );
    }
    assert!(yard.requests(&Method::Invite).is_empty());
    assert_eq!(yard.b2bua.live_calls(), 0);
}

#[test]
fn a_stream_that_closes_while_it_carries_the_invite_gives_way_to_the_next() {
    let mut yard = yard();
    for reg in [1, 2] {
        let flow = stream(Transport::Tcp, &format!("10.0.1.3:4000{reg}"), reg);
        let contact = format!("<sip:desk-1@10.0.1.3;transport=tcp>;{ONE};reg-id={reg}");
        yard.register(flow, "desk-1", &contact, OUTBOUND);
    }
    yard.ring("sip:desk-1@elm.example");
    assert_eq!(ports(&yard.requests(&Method::Invite)), [40002]);
    yard.feed(Input::ConnectionClosed {
        connection: ConnectionId(2),
    });
    assert_eq!(ports(&yard.requests(&Method::Invite)), [40001]);
    assert_eq!(yard.bindings_of(AOR).len(), 1, "the dead flow is forgotten");
}

#[test]
fn contacts_of_lower_q_have_their_turn_when_the_better_ones_failed() {
    let mut yard = yard();
    for (port, q) in [(5061, "1.0"), (5062, "0.5"), (5063, "1.0")] {
        let flow = udp(&format!("10.0.1.3:{port}"));
        let contact = format!("<sip:desk-1@10.0.1.3:{port}>;q={q}");
        yard.register(flow, "desk-1", &contact, "");
    }
    yard.ring("sip:desk-1@elm.example");
    let mut first = yard.requests(&Method::Invite);
    first.sort_by_key(|(to, _)| to.remote.port());
    assert_eq!(ports(&first), [5061, 5063], "equals ring together");
    yard.respond(first[0].0, &first[0].1, "480 Away", "sip:a@10.0.1.3", false);
    assert!(yard.requests(&Method::Invite).is_empty());
    yard.respond(first[1].0, &first[1].1, "480 Away", "sip:a@10.0.1.3", false);
    let second = yard.requests(&Method::Invite);
    assert_eq!(ports(&second), [5062]);
    yard.respond(
        second[0].0,
        &second[0].1,
        "480 Away",
        "sip:a@10.0.1.3",
        false,
    );
    assert_eq!(yard.b2bua.live_calls(), 0, "then nobody is left");
}

#[test]
fn a_person_who_declines_is_not_asked_again_on_another_phone() {
    let mut yard = yard();
    for (port, q) in [(5061, "1.0"), (5062, "0.5")] {
        let contact = format!("<sip:desk-1@10.0.1.3:{port}>;q={q}");
        yard.register(udp(&format!("10.0.1.3:{port}")), "desk-1", &contact, "");
    }
    yard.ring("sip:desk-1@elm.example");
    let first = yard.requests(&Method::Invite);
    yard.respond(
        first[0].0,
        &first[0].1,
        "603 Decline",
        "sip:a@10.0.1.3",
        false,
    );
    assert!(yard.requests(&Method::Invite).is_empty());
}

/// Registers two phones of one account; the first one's GRUUs, public and temporary.
fn gruus(yard: &mut Yard) -> [String; 2] {
    let other = format!("<sip:desk-1@10.0.1.3:5062>;{TWO}");
    yard.register(udp("10.0.1.3:5062"), "desk-1", &other, OUTBOUND);
    let contact = format!("<sip:desk-1@10.0.1.3:5061>;{ONE}");
    yard.register(udp("10.0.1.3:5061"), "desk-1", &contact, OUTBOUND);
    let (_, answer) = yard.sent().pop().unwrap();
    let contact = answer
        .headers(&HeaderName::Contact)
        .find(|value| value.contains("urn:uuid:1"))
        .unwrap()
        .to_owned();
    ["pub-gruu", "temp-gruu"].map(|name| {
        let (_, rest) = contact.split_once(&format!("{name}=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    })
}

#[test]
fn a_gruu_dialled_rings_its_user_agent_alone() {
    for which in 0..2 {
        let mut yard = yard();
        let gruu = gruus(&mut yard)[which].clone();
        yard.ring(&gruu);
        let invites = yard.requests(&Method::Invite);
        assert_eq!(ports(&invites), [5061], "{gruu}");
        assert_eq!(invites[0].1.uri(), "sip:desk-1@10.0.1.3:5061");
    }
}

#[test]
fn a_gruu_that_is_over_is_404_and_one_without_its_phone_480() {
    let mut yard = yard();
    let [public, temporary] = gruus(&mut yard);
    let gone = format!("<sip:desk-1@10.0.1.3:5061>;{ONE};expires=0");
    yard.register(udp("10.0.1.3:5061"), "desk-1", &gone, OUTBOUND);
    for (gruu, status) in [(public, 480), (temporary, 404)] {
        yard.send(
            udp("10.0.1.1:5060"),
            invite(&gruu)
                .replace("z9hG4bKcall", &format!("z9hG4bK{status}"))
                .replace("door-call", &format!("call-{status}")),
        );
        let statuses = yard.sent().into_iter().filter_map(|(_, one)| one.status());
        assert!(statuses.into_iter().any(|one| one == status), "{gruu}");
    }
}

#[test]
fn a_phone_that_gives_its_gruu_as_contact_hears_ack_and_bye_at_its_own_address() {
    for which in 0..2 {
        let mut yard = yard();
        let gruu = gruus(&mut yard)[which].clone();
        yard.ring("sip:desk-1@elm.example;gr=urn:uuid:1");
        let invites = yard.requests(&Method::Invite);
        yard.respond(invites[0].0, &invites[0].1, "200 OK", &gruu, true);
        let sent = yard.sent();
        let (to, ack) = sent
            .iter()
            .find(|(_, one)| one.is_request() && *one.method() == Method::Ack)
            .unwrap();
        assert_eq!(
            (ack.uri(), to.remote.port()),
            ("sip:desk-1@10.0.1.3:5061", 5061)
        );
        yard.feed(Input::Shutdown);
        let byes = yard.requests(&Method::Bye);
        let bye = byes
            .iter()
            .find(|(to, _)| to.remote.port() == 5061)
            .unwrap();
        assert_eq!(bye.1.uri(), "sip:desk-1@10.0.1.3:5061");
    }
}

#[test]
fn what_is_restored_is_rung_at_once_by_udp_and_by_streams_that_listen() {
    let mut before = yard();
    let ways = [
        (
            udp("10.0.1.3:5061"),
            "<sip:desk-1@10.0.1.3:5061>".to_owned(),
            "",
        ),
        (
            stream(Transport::Tcp, "10.0.1.4:40001", 7),
            "<sip:desk-1@10.0.1.4:5060;transport=tcp>".to_owned(),
            "",
        ),
        (
            stream(Transport::Tcp, "10.0.1.5:40001", 8),
            format!("<sip:desk-1@10.0.1.5;transport=tcp>;{ONE};reg-id=1"),
            OUTBOUND,
        ),
        (
            stream(Transport::Wss, "10.0.1.6:40001", 9),
            "<sip:desk-1@x.invalid;transport=ws>".to_owned(),
            "",
        ),
    ];
    for (flow, contact, lines) in &ways {
        before.register(*flow, "desk-1", contact, lines);
    }
    let mut kept = before.bindings_of(AOR);
    assert_eq!(kept.len(), 4);
    kept.iter_mut().for_each(Binding::lose_connection);
    let mut yard = yard();
    let restored = kept.into_iter().map(|binding| (AOR.to_owned(), binding));
    yard.feed(Input::Restore(restored.collect()));
    assert_eq!(yard.b2bua.bindings(), 4, "none is lost");
    yard.ring("sip:desk-1@elm.example");
    let mut reached: Vec<String> = yard
        .requests(&Method::Invite)
        .iter()
        .map(|(to, _)| to.remote.to_string())
        .collect();
    reached.sort();
    assert_eq!(reached, ["10.0.1.3:5061", "10.0.1.4:5060"]);
    // The phone that keeps its flow itself comes back by a new one.
    let back = stream(Transport::Tcp, "10.0.1.5:40999", 3);
    yard.register(back, "desk-1", &ways[2].1, OUTBOUND);
    assert_eq!(yard.b2bua.bindings(), 4);
}

#[test]
fn a_door_whose_contact_moves_is_told_recorded_and_counted_and_a_phone_is_not() {
    let mut yard = Yard::new();
    for (device, contact) in [
        ("lobby", "<sip:lobby@10.0.1.1>"),
        ("desk-1", "<sip:desk-1@10.0.1.3>"),
    ] {
        yard.register(udp("10.0.1.1:5060"), device, contact, "");
        yard.register(udp("10.0.9.9:5060"), device, contact, "");
    }
    let moved: Vec<_> = yard
        .records
        .iter()
        .filter(|record| record.entry.kind == Kind::ContactMoved)
        .collect();
    assert_eq!(moved.len(), 1);
    let entry = &moved[0].entry;
    assert_eq!(entry.door.as_deref(), Some("lobby"));
    assert_eq!(entry.actor.as_deref(), Some("device:lobby"));
    assert_eq!(entry.leg.as_deref(), Some("10.0.9.9:5060"));
    assert!(entry.detail.as_deref().unwrap().contains("10.0.1.1"));
    assert_eq!(yard.b2bua.counters().doors_moved, 1);
    assert_eq!(yard.events, ["registration-moved"]);
}

#[test]
fn a_change_has_all_that_a_watcher_of_registrations_wants_to_know() {
    let mut yard = yard();
    gruus(&mut yard);
    let change = yard.changes.last().unwrap();
    let binding = Arc::clone(change.binding());
    assert_eq!((change.aor(), change.is_live()), (AOR, true));
    assert_eq!(&*binding.contact, "sip:desk-1@10.0.1.3:5061");
    assert_eq!(binding.remaining(yard.now), 3_600);
    assert!(binding.call_id.starts_with("reg-desk-1-"));
    assert_eq!(
        Gruus::public(change.aor(), binding.instance.as_deref().unwrap()),
        "sip:desk-1@elm.example;gr=urn:uuid:1"
    );
}
