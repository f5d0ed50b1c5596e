//! What the shell asks before it refuses for overload, and what a refusal leaves alone.

use std::time::Duration;

use intercom::ladder::{Recorded, find_header};
use intercom::{Input, Now};
use sip_proxy::{Flow, Transport};

use crate::building::Building;
use crate::talks::talking;

fn now(building: &Building) -> Now {
    Now {
        mono: building.now,
        civil: "2026-11-20T10:00:00Z".parse().unwrap(),
    }
}

#[test]
fn doors_lift_and_emergency_calls_are_likely_to_precede_and_ordinary_ones_are_not() {
    let mut building = Building::ready(400);
    building.replan(&[(
        "route \"desk-to-door\"",
        "route \"desk-to-door\" priority=\"lift\"",
    )]);
    let precedes = |from: &str, dial: &str| {
        let source = "10.0.1.3".parse().unwrap();
        building
            .b2bua
            .likely_precedes(now(&building), source, from, dial)
    };
    assert!(precedes("lobby", "desk"), "a door");
    assert!(precedes("desk-1", "lobby"), "a lift's route");
    assert!(!precedes("anna-app", "lobby"), "not hers");
    assert!(!precedes("desk-1", "101"));
    assert!(!precedes("nobody", "lobby"), "who is not in the directory");
}

#[test]
fn a_refused_invite_hears_503_and_a_call_in_progress_goes_on() {
    let mut building = Building::ready(401);
    talking(&mut building, "lobby", "desk", "desk-1");
    let id = building.b2bua.stories().next().unwrap().call.clone();
    let ladder = building.b2bua.ladder(&id).unwrap();
    let answer = |message: &&Recorded| message.sent && message.scan().status == Some(200);
    let answer = ladder.messages.iter().find(answer).unwrap();
    let to = find_header(answer.unredacted(), "to", Some(b't')).unwrap();
    let tag = to.rsplit_once(";tag=").unwrap().1.to_owned();
    assert!(building.b2bua.knows_dialog(&tag));
    assert!(!building.b2bua.knows_dialog("9999.1.0123456789abcdef"));
    let flow = Flow {
        transport: Transport::Udp,
        local: "10.0.0.1:5060".parse().unwrap(),
        remote: "10.0.9.9:5060".parse().unwrap(),
        connection: None,
    };
    let text = "INVITE sip:desk@elm.example SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.9.9:5060;branch=z9hG4bKr\r\n\
        From: <sip:x@elm.example>;tag=1\r\nTo: <sip:desk@elm.example>\r\nCall-ID: refused\r\nCSeq: 1 INVITE\r\n\
        Max-Forwards: 70\r\nContact: <sip:x@10.0.9.9>\r\nContent-Length: 0\r\n\r\n";
    building.outsider("stranger", "10.0.9.9:5060");
    building.feed(Input::Tap(true));
    building.feed(Input::Refuse {
        flow,
        bytes: text.into(),
        retry_after: 8,
    });
    let answer = building.heard.last().unwrap();
    assert_eq!(answer.message.scan().status, Some(503));
    assert!(answer.message.redacted().contains("Retry-After: 8\r\n"));
    assert_eq!(building.b2bua.live_calls(), 1);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(Duration::from_secs(5));
    building.check_quiet();
}
