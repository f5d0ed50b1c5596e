//! What is refused, and that a refusal says nothing.

use std::time::Duration;

use intercom::audit::Kind;
use sip_proxy::{HeaderName, Method};

use crate::building::Building;
use crate::building::link::Weather;
use crate::building::ua::Policy;
use crate::talks::talking;

const SECOND: Duration = Duration::from_secs(1);

fn last(building: &Building, device: &str) -> u16 {
    building.find(device).answers.last().unwrap().1
}

#[test]
fn a_wrong_password_gets_nothing_and_is_recorded() {
    let mut building = Building::new(60, Weather::FINE);
    building.ua("lobby").password = "wrong".to_owned();
    building.act("lobby", |ua, now| ua.register(now));
    building.run(SECOND);
    assert_eq!(last(&building, "lobby"), 401);
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.run(SECOND);
    assert_eq!(building.find("lobby").finals, [401]);
    assert_eq!(
        building
            .records
            .iter()
            .filter(|record| record.entry.kind == Kind::AuthFailure)
            .count(),
        2
    );
    assert_eq!(building.b2bua.bindings(), 0);
    building.check_quiet();
}

#[test]
fn nobody_registers_anothers_address() {
    let mut building = Building::new(61, Weather::FINE);
    building.act("guest-phone", |ua, now| {
        ua.raw(now, |request| {
            request.method = Method::Register;
            request.uri = "sip:elm.example".to_owned();
            request.to = "<sip:desk-1@elm.example>".to_owned();
        });
    });
    building.run(SECOND);
    assert_eq!(last(&building, "guest-phone"), 403);
    assert_eq!(building.b2bua.bindings(), 0);
}

#[test]
fn identity_comes_from_the_account_not_from_from() {
    let mut building = Building::ready(62);
    building.ua("desk-1").policy = Policy::Ring;
    building.act("guest-phone", |ua, now| {
        ua.raw(now, |request| {
            request.method = Method::Invite;
            request.uri = "sip:desk-1@elm.example".to_owned();
            request.from = "\"Lobby\" <sip:lobby@elm.example>;tag=x".to_owned();
        });
    });
    building.run(SECOND);
    let invite = building.find("desk-1").seen.first().unwrap();
    assert!(
        invite.from().uri.contains("guest-phone"),
        "{}",
        invite.from().uri
    );
    building.run(120 * SECOND);
}

#[test]
fn unknown_dialogs_methods_and_foreign_domains_are_refused() {
    let mut building = Building::ready(63);
    for (method, to, uri, status) in [
        (
            Method::Bye,
            "<sip:desk-1@elm.example>;tag=1.0.00",
            "sip:desk-1@elm.example",
            481,
        ),
        (
            Method::Info,
            "<sip:desk-1@elm.example>;tag=1.0.0000000000000000",
            "sip:desk-1@elm.example",
            481,
        ),
        (
            Method::Invite,
            "<sip:desk-1@elm.example>;tag=abc",
            "sip:desk-1@elm.example",
            481,
        ),
        (
            Method::Refer,
            "<sip:desk-1@elm.example>",
            "sip:desk-1@elm.example",
            403,
        ),
        (
            Method::Notify,
            "<sip:desk-1@elm.example>",
            "sip:desk-1@elm.example",
            405,
        ),
        (
            Method::Options,
            "<sip:desk-1@elm.example>",
            "sip:elm.example",
            200,
        ),
        (
            Method::Message,
            "<sip:desk-1@evil.example>",
            "sip:desk-1@evil.example",
            403,
        ),
        (
            Method::Message,
            "<sip:desk-1@elm.example>",
            "sip:desk-1@elm.example",
            403,
        ),
    ] {
        let name = method.as_str().to_owned();
        building.act("guest-phone", |ua, now| {
            ua.raw(now, |request| {
                request.method = method;
                request.uri = uri.to_owned();
                request.to = to.to_owned();
            });
        });
        building.run(2 * SECOND);
        let response = building.find("guest-phone").responses.last().unwrap();
        assert_eq!(response.status(), Some(status), "{name} {uri}");
        if status == 405 {
            assert!(
                response
                    .header(&HeaderName::Allow)
                    .unwrap()
                    .contains("INVITE")
            );
        }
    }
    building.act("guest-phone", |ua, now| {
        ua.raw(now, |request| {
            request.method = Method::Invite;
            request.uri = "sip:1@203.0.113.9".to_owned();
        });
    });
    building.run(2 * SECOND);
    assert_eq!(
        building
            .find("guest-phone")
            .responses
            .last()
            .unwrap()
            .status(),
        Some(403)
    );
    building.check_quiet();
}

#[test]
fn required_extensions_we_lack_are_named() {
    let mut building = Building::ready(64);
    building.act("lobby", |ua, now| {
        ua.call(now, "desk", true, &[("Require", "precondition")]);
    });
    building.run(SECOND);
    assert_eq!(building.find("lobby").finals, [420]);
    let response = building.find("lobby").responses.last().unwrap();
    assert_eq!(
        response.header(&HeaderName::Unsupported),
        Some("precondition")
    );
    building.check_quiet();
}

#[test]
fn hops_that_are_used_up_end_the_call() {
    let mut building = Building::ready(65);
    building.act("lobby", |ua, now| {
        ua.raw(now, |request| {
            request.method = Method::Invite;
            request.uri = "sip:desk@elm.example".to_owned();
            request.max_forwards = 1;
        });
    });
    building.run(SECOND);
    assert_eq!(
        building.find("lobby").responses.last().unwrap().status(),
        Some(483)
    );
    building.check_quiet();
}

#[test]
fn limits_on_calls_are_kept() {
    let mut building = Building::with(66, Weather::FINE, |config| {
        config.limits.max_calls = 2;
        config.limits.max_calls_per_device = 1;
    });
    building.register_all();
    talking(&mut building, "lobby", "one", "desk-1");
    building.act("lobby", |ua, now| ua.call(now, "101", true, &[]));
    building.run(SECOND);
    assert_eq!(building.find("lobby").finals, [200, 486]);
    building.act("garage", |ua, now| ua.call(now, "101", true, &[]));
    building.run(SECOND);
    building.act("desk-2", |ua, now| ua.call(now, "lobby", true, &[]));
    building.run(SECOND);
    assert_eq!(building.find("desk-2").finals, [503]);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.act("garage", |ua, now| ua.cancel(now));
    building.check_quiet();
}

#[test]
fn emergency_and_lift_calls_are_not_refused_by_limits_but_by_a_reserve_of_their_own() {
    let mut building = Building::with(70, Weather::FINE, |config| {
        config.limits.max_calls = 1;
        config.limits.max_calls_per_device = 1;
        config.limits.reserved_calls = 2;
        config.limits.reserved_per_device = 1;
    });
    building.register_all();
    building.replan(&[
        ("route \"one\"", "route \"one\" priority=\"emergency\""),
        ("route \"long\"", "route \"long\" priority=\"lift\""),
        ("route \"wave\"", "route \"wave\" priority=\"high\""),
    ]);
    building.ua("desk-1").policy = Policy::Ring;
    for (caller, dial, status) in [
        ("lobby", "desk", None),
        ("garage", "desk", Some(503)),
        ("garage", "wave", Some(503)),
        // The house is full, and the lobby has its one call: these come through all the same.
        ("lobby", "one", None),
        ("garage", "long", None),
        // The reserve is bounded too.
        ("lobby", "one", Some(503)),
        ("garage", "one", Some(503)),
    ] {
        let before = building.find(caller).finals.len();
        building.act(caller, |ua, now| ua.call(now, dial, true, &[]));
        building.run(Duration::from_millis(200));
        let new = building.find(caller).finals.get(before).copied();
        assert_eq!(new, status, "{caller} {dial}");
    }
    assert_eq!(building.b2bua.live_calls(), 3);
    building.run(200 * SECOND);
    building.check_quiet();
}

#[test]
fn without_a_media_port_the_call_is_refused_not_lost() {
    let mut building = Building::ready(67);
    building.leases_dry = true;
    for _ in 0..64 {
        building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
        building.run(SECOND);
        building.act("lobby", |ua, now| ua.cancel(now));
        building.run(SECOND);
        if building.find("lobby").finals.last() == Some(&503) {
            break;
        }
    }
    assert_eq!(building.find("lobby").finals.last(), Some(&503));
    building.check_quiet();
}

#[test]
fn info_of_unknown_content_is_415_and_of_a_known_kind_200() {
    let mut building = Building::ready(68);
    talking(&mut building, "lobby", "desk", "desk-1");
    for (kind, status) in [
        ("text/html", 415),
        ("application/media_control+xml", 200),
        ("application/dtmf-relay", 200),
    ] {
        building.act("desk-1", |ua, now| {
            ua.within(now, Method::Info, |request| {
                let bytes = "Signal=5\r\nDuration=100\r\n".into();
                request.body = Some(sip_proxy::Body {
                    content_type: kind.to_owned(),
                    bytes,
                });
            });
        });
        building.run(SECOND);
        assert_eq!(last(&building, "desk-1"), status, "{kind}");
    }
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_peer_known_by_its_address_calls_without_digest_but_may_not_buzz_or_register() {
    let mut building = Building::with(69, Weather::FINE, |config| {
        config.trusted.push(intercom::config::TrustedPeer {
            address: "10.0.1.1".parse().unwrap(),
            account: "lobby".to_owned(),
            contact: None,
        });
    });
    building.ua("lobby").password = "none".to_owned();
    building.act("desk-1", |ua, now| ua.register(now));
    building.run(SECOND);
    talking(&mut building, "lobby", "desk", "desk-1");
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.act("lobby", |ua, now| {
        ua.plain(now, Method::Message, "lobby", &[("Action", "buzz")]);
    });
    building.run(SECOND);
    assert_eq!(last(&building, "lobby"), 401);
    building.act("lobby", |ua, now| ua.register(now));
    building.run(SECOND);
    assert_eq!(last(&building, "lobby"), 401);
    building.check_quiet();
}

#[test]
fn a_peer_taken_out_at_a_reload_is_a_stranger_at_once() {
    let mut building = Building::with(70, Weather::FINE, |config| {
        config.trusted.push(intercom::config::TrustedPeer {
            address: "10.0.1.1".parse().unwrap(),
            account: "lobby".to_owned(),
            contact: None,
        });
    });
    building.ua("lobby").password = "none".to_owned();
    building.act("desk-1", |ua, now| ua.register(now));
    building.run(SECOND);
    talking(&mut building, "lobby", "desk", "desk-1");
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(SECOND);
    building.feed(intercom::Input::Peers {
        trusted: Vec::new(),
        certified: std::collections::BTreeMap::new(),
    });
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.run(5 * SECOND);
    assert!(!building.find("lobby").is_up());
    building.run(60 * SECOND);
    building.check_quiet();
}

#[test]
fn guessing_passwords_ends_in_silence_for_the_source_and_for_nobody_else() {
    let mut building = Building::new(71, Weather::FINE);
    for device in ["desk-1", "lobby"] {
        building.act(device, |ua, now| ua.register(now));
        building.run(SECOND);
    }
    // The guest's phone guesses the lobby's password and others'.
    building.ua("guest-phone").password = "guess".to_owned();
    let mut answered = 0;
    for round in 0..40 {
        building.ua("guest-phone").user = ["lobby", "nobody", "desk-2"][round % 3].to_owned();
        let before = building.find("guest-phone").answers.len();
        building.act("guest-phone", |ua, now| ua.register(now));
        building.run(Duration::from_millis(200));
        answered += building.find("guest-phone").answers.len() - before;
    }
    assert!(
        (6..12).contains(&answered),
        "{answered} of 40 were answered"
    );
    let counters = *building.b2bua.counters();
    assert!(counters.penalties > 0 && counters.silenced > 40);
    assert_eq!(building.b2bua.failing_sources(), 1);
    // Its own name and the right password help no more, and OPTIONS gets nothing either.
    let before = building.find("guest-phone").answers.len();
    building.ua("guest-phone").user = "guest-phone".to_owned();
    building.ua("guest-phone").password = "pw-guest-phone".to_owned();
    building.act("guest-phone", |ua, now| ua.register(now));
    building.act("guest-phone", |ua, now| {
        ua.plain(now, Method::Options, "desk", &[]);
    });
    building.run(Duration::from_millis(200));
    assert_eq!(building.find("guest-phone").answers.len(), before);
    // The lobby itself is served as ever.
    talking(&mut building, "lobby", "desk", "desk-1");
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(60 * SECOND);
    // The silence ends.
    building.run(900 * SECOND);
    building.act("guest-phone", |ua, now| ua.register(now));
    building.run(SECOND);
    assert_eq!(last(&building, "guest-phone"), 200);
    building.check_quiet();
}

#[test]
fn a_registered_device_is_never_silenced_at_home() {
    let mut building = Building::ready(72);
    // Somebody sends wrong passwords with the lobby's address as source, in its name and in others'.
    for round in 0..30 {
        building.ua("lobby").user = ["lobby", "desk-1", "nobody"][round % 3].to_owned();
        building.ua("lobby").password = "guess".to_owned();
        building.act("lobby", |ua, now| ua.register(now));
        building.run(Duration::from_millis(50));
    }
    building.ua("lobby").user = "lobby".to_owned();
    building.ua("lobby").password = "pw-lobby".to_owned();
    assert!(building.b2bua.counters().silenced > 0);
    talking(&mut building, "lobby", "desk", "desk-1");
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(60 * SECOND);
    building.act("lobby", |ua, now| ua.register(now));
    building.run(SECOND);
    assert_eq!(last(&building, "lobby"), 200);
    building.check_quiet();
}

/// An answer that comes before the lobby's own ACK of a late offer; where the sound then goes to the lobby.
fn forged_ack(seed: u64, from: Option<&str>, overheard: bool) -> (Building, Vec<std::net::IpAddr>) {
    let mut building = Building::ready(seed);
    building.ua("desk-1").policy = Policy::Answer(SECOND);
    building.act("lobby", |ua, now| ua.call(now, "desk", false, &[]));
    building.until("answered", 5 * SECOND, |b| b.find("lobby").finals == [200]);
    let dialog = building.find("lobby").calls[0].dialog.clone().unwrap();
    let from = from.map_or(building.find("lobby").addr, |from| from.parse().unwrap());
    let sdp = crate::building::ua::sdp("10.0.1.8:5060".parse().unwrap(), 8, "sendrecv");
    let tag = match dialog.remote_tag.rsplit_once('.') {
        Some((head, _)) if !overheard => format!("{head}.0000000000000000"),
        _ => dialog.remote_tag.clone(),
    };
    let text = format!(
        "ACK sip:doorward@10.0.0.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKforged\r\n\
         Max-Forwards: 70\r\nFrom: {};tag={}\r\nTo: {};tag={tag}\r\nCall-ID: {}\r\nCSeq: {} ACK\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{}",
        dialog.local,
        dialog.local_tag,
        dialog.remote,
        dialog.call_id,
        dialog.local_cseq,
        sdp.len(),
        String::from_utf8_lossy(&sdp),
    );
    building.inject(from, text);
    building.run(SECOND);
    assert_eq!(building.b2bua.counters().unknown_dialog, 1);
    let opened = building
        .commands
        .iter()
        .filter_map(|command| match command {
            media_bridge::Command::Open { config, .. } => Some(config.remote_rtp.ip()),
            _ => None,
        })
        .collect();
    (building, opened)
}

#[test]
fn a_forged_ack_does_not_say_where_the_sound_goes() {
    // A guessed tag, even with the door's own address: as if it had not come.
    let (mut building, opened) = forged_ack(73, None, false);
    let lobby = building.find("lobby").addr.ip();
    assert!(opened.contains(&lobby), "{opened:?}");
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
    // An overheard dialog from elsewhere: the call ends rather than go there.
    let (mut building, opened) = forged_ack(75, Some("10.0.1.8:5060"), true);
    assert!(opened.is_empty(), "{opened:?}");
    assert_eq!(building.b2bua.live_calls(), 0);
    building.check_quiet();
}

#[test]
fn who_is_revoked_while_it_rings_rings_no_more_and_cannot_answer() {
    let mut building = Building::ready(74);
    building.ua("desk-2").policy = Policy::Answer(5 * SECOND);
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
    building.run(2 * SECOND);
    building.revoke("desk-1");
    building.run(SECOND);
    let log = &building.find("desk-1").log;
    assert!(log.iter().any(|line| line.contains("revoked")), "{log:?}");
    building.run(4 * SECOND);
    assert!(building.find("desk-2").is_up(), "the others ring on");
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_peer_known_by_its_address_is_not_silenced_by_who_borrows_it() {
    let mut building = Building::with(76, Weather::FINE, |config| {
        config.trusted.push(intercom::config::TrustedPeer {
            address: "10.0.1.1".parse().unwrap(),
            account: "lobby".to_owned(),
            contact: None,
        });
    });
    building.act("desk-1", |ua, now| ua.register(now));
    building.run(SECOND);
    for _ in 0..20 {
        building.ua("lobby").user = "desk-2".to_owned();
        building.ua("lobby").password = "guess".to_owned();
        building.act("lobby", |ua, now| ua.register(now));
        building.run(Duration::from_millis(50));
    }
    assert!(building.b2bua.counters().silenced > 0);
    // The station writes what it likes into From.
    building.ua("lobby").user = "frontdoor".to_owned();
    talking(&mut building, "lobby", "desk", "desk-1");
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(60 * SECOND);
    building.check_quiet();
}
