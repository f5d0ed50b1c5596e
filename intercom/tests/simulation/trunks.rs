//! Telephone numbers through trunks: which one rings, what it is told, who may come in, and what a dead DNS costs.

use std::sync::Arc;
use std::time::Duration;

use intercom::EndReason;
use pstn::{Login, Secret, Trunk};
use sip_proxy::locate::{Kind, Records, Srv};
use sip_proxy::{HeaderName, Method};

use crate::building::Building;
use crate::building::link::Weather;
use crate::building::names::Dns;
use crate::building::ua::{Gate, Policy};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const NUMBER: &str = "+420601234567";

/// A house with the trunks `trunk-a` and `trunk-b`, and carriers of that name at 10.0.9.1 and 10.0.9.2.
fn house(seed: u64, edit: impl FnOnce(&mut Trunk, &mut Trunk)) -> Building {
    let mut a = Trunk::new("trunk-a", "sip:10.0.9.1").unwrap();
    let mut b = Trunk::new("trunk-b", "sip:10.0.9.2").unwrap();
    a.addresses = vec!["10.0.9.1".parse().unwrap()];
    edit(&mut a, &mut b);
    let mut building = Building::with(seed, Weather::FINE, |config| {
        config.trunks = [a, b]
            .map(|trunk| (trunk.name.clone(), Arc::new(trunk)))
            .into();
    });
    building.register_all();
    building.outsider("carrier-a", "10.0.9.1:5060");
    building.outsider("carrier-b", "10.0.9.2:5060");
    let routes = r#"route "phone" doors="*" dial="phone" { ring "pstn:+420601234567" via="trunk-a,trunk-b" for="30s"; end "log" }
route "both" doors="*" dial="both" { ring "device:desk-1,pstn:+420601234567" via="trunk-a" for="30s"; end "log" }
route "in" from="trunk-a" to="+420222000111" { ring "desk" for="20s"; end "hangup" }
route "one""#;
    building.replan(&[("route \"one\"", routes)]);
    building
}

fn dial(building: &mut Building, what: &str) {
    building.act("lobby", |ua, now| ua.call(now, what, true, &[]));
}

fn invites(building: &Building, carrier: &str) -> usize {
    let seen = building.find(carrier).seen.iter();
    seen.filter(|message| *message.method() == Method::Invite)
        .count()
}

#[test]
fn a_number_rings_by_its_trunk_under_the_trunk_s_own_identity() {
    let mut building = house(1, |a, _| a.caller_id = Some("+420222000111".to_owned()));
    building.ua("carrier-a").policy = Policy::Answer(2 * SECOND);
    dial(&mut building, "phone");
    building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
    let invite = building.find("carrier-a").seen[0].clone();
    assert_eq!(invite.uri(), "sip:+420601234567@10.0.9.1;user=phone");
    let from = invite.header(&HeaderName::From).unwrap();
    assert!(
        from.starts_with("\"lobby\" <sip:+420222000111@10.0.9.1>"),
        "{from}"
    );
    assert_eq!(
        invite.header(&HeaderName::PAssertedIdentity),
        Some("<sip:+420222000111@10.0.9.1>")
    );
    assert!(building.find("lobby").provisionals.contains(&180));
    building.run(SECOND);
    building.act("carrier-a", |ua, now| ua.hang_up(now));
    building.check_quiet();
    let cdr = building.cdrs.last().unwrap();
    assert_eq!(cdr.winner.as_deref(), Some("trunk:trunk-a"));
    assert_eq!(cdr.end, EndReason::CalleeHungUp);
    let story = building.stories.last().unwrap().to_string();
    assert!(
        !story.contains("601234567"),
        "the number is masked: {story}"
    );
    assert_eq!(invites(&building, "carrier-b"), 0);
}

#[test]
fn a_trunk_with_a_host_name_is_found_by_srv_and_its_servers_are_tried_in_order() {
    let mut building = house(2, |a, _| {
        *a = Trunk::new("trunk-a", "sip:carrier.example").unwrap();
    });
    let srv = |priority, target: &str| Srv {
        priority,
        weight: 1,
        port: 5060,
        target: target.to_owned(),
    };
    let records = vec![
        srv(20, "two.carrier.example"),
        srv(10, "one.carrier.example"),
    ];
    building.names.put(
        "_sip._udp.carrier.example",
        Kind::Srv,
        Records::Srv(records),
    );
    building
        .names
        .addresses("one.carrier.example", &["10.0.9.1"]);
    building
        .names
        .addresses("two.carrier.example", &["10.0.9.2"]);
    building.ua("carrier-a").policy = Policy::Refuse(10 * MS, 503);
    building.ua("carrier-b").policy = Policy::Answer(SECOND);
    dial(&mut building, "phone");
    building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
    let second = &building.find("carrier-b").seen[0];
    assert_eq!(second.uri(), "sip:+420601234567@carrier.example;user=phone");
    assert_eq!(invites(&building, "carrier-a"), 1);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn a_silent_trunk_is_left_for_the_next_within_four_seconds() {
    let mut building = house(3, |_, _| {});
    building.ua("carrier-a").deaf = true;
    dial(&mut building, "phone");
    building.until("the next trunk rings", 4 * SECOND, |b| {
        invites(b, "carrier-b") == 1
    });
    // The first one wakes up late: it is told that nobody waits for it any more.
    building.ua("carrier-a").deaf = false;
    building.until("cancelled", 10 * SECOND, |b| {
        let log = &b.find("carrier-a").log;
        log.contains(&"cancelled SIP;cause=408;text=\"No response in time\"".to_owned())
    });
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
}

#[test]
fn a_late_answer_of_the_first_trunk_is_acknowledged_and_hung_up() {
    let mut building = house(4, |_, _| {});
    building.ua("carrier-a").deaf = true;
    building.ua("carrier-a").policy = Policy::Answer(Duration::ZERO);
    building.ua("carrier-b").policy = Policy::Answer(4 * SECOND);
    dial(&mut building, "phone");
    building.until("the next trunk", 4 * SECOND, |b| {
        invites(b, "carrier-b") == 1
    });
    building.ua("carrier-a").deaf = false;
    building.until("answered", 9 * SECOND, |b| b.find("lobby").is_up());
    building.run(2 * SECOND);
    let first = building.find("carrier-a");
    let ended = first.log.iter().any(|line| {
        line.starts_with("bye SIP;cause=408") || line.starts_with("cancelled SIP;cause=408")
    });
    assert!(ended, "{:?}", first.log);
    assert_eq!(
        building.find("carrier-b").open_calls(),
        1,
        "the second has the call"
    );
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn trunks_that_fail_are_passed_over_and_a_number_that_refuses_is_not() {
    for (status, second) in [(503, 1), (500, 1), (408, 1), (403, 1), (486, 0), (404, 0)] {
        let mut building = house(5, |_, _| {});
        building.ua("carrier-a").policy = Policy::Refuse(10 * MS, status);
        building.ua("carrier-b").policy = Policy::Refuse(10 * MS, 486);
        dial(&mut building, "phone");
        building.until("refused", 5 * SECOND, |b| {
            !b.find("lobby").finals.is_empty()
        });
        assert_eq!(invites(&building, "carrier-b"), second, "{status}");
        building.check_quiet();
    }
}

#[test]
fn the_next_call_begins_where_the_last_one_was_carried() {
    let mut building = house(6, |_, _| {});
    building.ua("carrier-a").deaf = true;
    building.ua("carrier-b").policy = Policy::Answer(SECOND);
    dial(&mut building, "phone");
    building.until("answered", 6 * SECOND, |b| b.find("lobby").is_up());
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(SECOND);
    let before = building.at();
    dial(&mut building, "phone");
    building.until("the other trunk", SECOND, |b| invites(b, "carrier-b") == 2);
    assert!(building.at() - before < 200 * MS);
    building.act("lobby", |ua, now| ua.cancel(now));
    building.check_quiet();
}

#[test]
fn a_dead_dns_costs_the_trunk_and_nothing_else() {
    for dns in [Dns::Dead, Dns::Silent] {
        let mut building = house(7, |a, _| {
            *a = Trunk::new("trunk-a", "sip:carrier.example").unwrap();
        });
        building.names.dns = dns;
        building.ua("desk-1").policy = Policy::Answer(SECOND);
        dial(&mut building, "desk");
        building.until("a local call", 1_200 * MS, |b| b.find("lobby").is_up());
        building.act("lobby", |ua, now| ua.hang_up(now));
        building.run(SECOND);
        assert!(building.names.asked.is_empty(), "local calls ask nothing");
        // A number and a desk together: the desk rings at once.
        dial(&mut building, "both");
        building.until("the desk", 1_200 * MS, |b| b.find("lobby").is_up());
        building.act("lobby", |ua, now| ua.hang_up(now));
        building.run(SECOND);
        // The number alone: the next trunk, which has an address, rings within four seconds.
        dial(&mut building, "phone");
        building.until("the next trunk", 4 * SECOND, |b| {
            invites(b, "carrier-b") == 1
        });
        building.act("lobby", |ua, now| ua.cancel(now));
        building.check_quiet();
    }
}

fn login(realm: &str) -> Option<Login> {
    Some(Login {
        user: "opener".to_owned(),
        password: Secret::new("let-me-in"),
        realm: realm.to_owned(),
    })
}

#[test]
fn a_trunk_s_challenge_is_answered_in_its_realm_alone_and_twice_at_most() {
    for (realm, forgetful, asked, answered) in [
        ("carrier", false, 1, true),
        ("elsewhere", false, 1, false),
        ("carrier", true, 3, false),
    ] {
        let mut building = house(8, |a, _| a.login = login("carrier"));
        let now = building.now;
        let mut gate = Gate::new(realm, "let-me-in", now);
        (gate.of_all, gate.forgetful) = (true, forgetful);
        building.ua("carrier-a").gate = Some(gate);
        building.ua("carrier-a").policy = Policy::Answer(SECOND);
        building.ua("carrier-b").policy = Policy::Refuse(10 * MS, 486);
        dial(&mut building, "phone");
        building.until("a final answer", 6 * SECOND, |b| {
            !b.find("lobby").finals.is_empty()
        });
        assert_eq!(building.find("lobby").is_up(), answered, "{realm}");
        let gate = building.find("carrier-a").gate.as_ref().unwrap();
        assert_eq!(gate.asked, asked, "{realm} {forgetful}");
        building.ua("carrier-a").gate = None;
        building.act("lobby", |ua, now| ua.hang_up(now));
        building.forgive_lost_dialogs();
        building.check_quiet();
    }
}

#[test]
fn what_a_trunk_plays_before_its_answer_is_not_heard_at_the_door() {
    let mut building = house(9, |_, _| {});
    building.ua("carrier-a").early = Some(false);
    building.ua("carrier-a").policy = Policy::Answer(5 * SECOND);
    dial(&mut building, "phone");
    building.run(3 * SECOND);
    assert!(building.open_legs.is_empty(), "{:?}", building.open_legs);
    building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
    building.run(SECOND);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.check_quiet();
}

#[test]
fn an_answered_trunk_is_spoken_to_where_its_contact_says() {
    for (says, asks) in [("10.0.9.2:5060", 0), ("media.carrier.example:5060", 1)] {
        let mut building = house(10, |_, _| {});
        building
            .names
            .addresses("media.carrier.example", &["10.0.9.2"]);
        building.ua("carrier-a").calls_itself = Some(says.to_owned());
        building.ua("carrier-a").policy = Policy::Answer(SECOND);
        dial(&mut building, "phone");
        building.until("answered", 5 * SECOND, |b| b.find("lobby").is_up());
        building.run(SECOND);
        building.act("lobby", |ua, now| ua.hang_up(now));
        building.run(SECOND);
        let methods: Vec<&str> = building
            .find("carrier-b")
            .seen
            .iter()
            .map(|message| message.method().as_str())
            .collect();
        assert_eq!(methods, ["BYE"], "{says}");
        assert_eq!(building.names.asked.len(), asks);
        building.forgive_lost_dialogs();
        building.check_quiet();
    }
}

#[test]
fn a_trunk_reaches_what_the_plan_names_for_it_and_nothing_else() {
    let mut building = house(11, |_, _| {});
    building.ua("desk-1").policy = Policy::Answer(SECOND);
    building.act("carrier-a", |ua, now| {
        ua.call(now, "+420222000111", true, &[]);
    });
    building.until("answered", 3 * SECOND, |b| b.find("carrier-a").is_up());
    building.act("carrier-a", |ua, now| ua.hang_up(now));
    building.run(SECOND);
    for dialled in ["desk-1", "lobby", "101", "desk", NUMBER] {
        building.act("carrier-a", |ua, now| ua.call(now, dialled, true, &[]));
        building.run(SECOND);
        assert_eq!(
            building.find("carrier-a").finals.last(),
            Some(&404),
            "{dialled}"
        );
    }
    // Its address is that of a trunk, not of an account: nothing else is served without credentials.
    for method in [Method::Message, Method::Register, Method::Subscribe] {
        building.act("carrier-a", |ua, now| {
            ua.plain(now, method.clone(), "desk-1", &[]);
        });
        building.run(SECOND);
        let (_, status) = building.find("carrier-a").answers.last().unwrap().clone();
        assert!(status >= 400, "{method:?} {status}");
    }
    // The other carrier has no trusted address: it is a stranger.
    building.act("carrier-b", |ua, now| {
        ua.call(now, "+420222000111", true, &[]);
    });
    building.run(SECOND);
    assert!(!building.find("carrier-b").is_up());
    building.forgive_lost_dialogs();
    building.check_quiet();
}

#[test]
fn nobody_reaches_a_trunk_with_a_number_the_plan_does_not_name() {
    let mut building = house(12, |_, _| {});
    for caller in ["lobby", "desk-1", "anna-app"] {
        for dialled in [NUMBER, "+420900123456", "00900123456"] {
            building.act(caller, |ua, now| ua.call(now, dialled, true, &[]));
            building.run(2 * SECOND);
            assert_eq!(building.find(caller).finals.last(), Some(&404), "{caller}");
        }
        building.act(caller, |ua, now| {
            ua.raw(now, |request| {
                request.method = Method::Invite;
                request.uri = "sip:+420900123456@10.0.9.1".to_owned();
            });
        });
        building.run(2 * SECOND);
    }
    assert_eq!(
        invites(&building, "carrier-a") + invites(&building, "carrier-b"),
        0
    );
    building.check_quiet();
}

#[test]
fn a_trunk_that_stays_silent_is_forgotten_when_nobody_waits_for_it() {
    for answered in [true, false] {
        let mut building = house(13, |_, _| {});
        building.ua("carrier-a").deaf = true;
        building.ua("desk-1").policy = Policy::Answer(if answered { SECOND } else { 60 * SECOND });
        dial(&mut building, "both");
        building.run(2 * SECOND);
        assert_eq!(building.find("lobby").is_up(), answered);
        if !answered {
            building.act("lobby", |ua, now| ua.cancel(now));
        }
        building.run(5 * SECOND);
        assert_eq!(building.b2bua.counters().stuck_deadlines, 0);
        if answered {
            building.act("lobby", |ua, now| ua.hang_up(now));
        }
        building.check_quiet();
    }
}

#[test]
fn a_trunk_hangs_up_from_another_of_its_addresses() {
    let mut building = house(14, |a, _| a.addresses.push("10.0.9.3".parse().unwrap()));
    building.ua("desk-1").policy = Policy::Answer(SECOND);
    building.act("carrier-a", |ua, now| {
        ua.call(now, "+420222000111", true, &[]);
    });
    building.until("answered", 3 * SECOND, |b| b.find("carrier-a").is_up());
    building.ua("carrier-a").addr = "10.0.9.3:5060".parse().unwrap();
    building.act("carrier-a", |ua, now| ua.hang_up(now));
    building.run(SECOND);
    assert_eq!(
        building.find("carrier-a").answers.last().unwrap(),
        &("BYE".to_owned(), 200)
    );
    assert!(!building.find("desk-1").is_up());
    building.check_quiet();
}
