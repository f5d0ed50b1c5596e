//! Every message of a call is kept with it, redacted, and told to whoever listens.

use std::time::Duration;

use intercom::{Input, Ladder};

use crate::building::Building;
use crate::building::link::Weather;
use crate::building::ua::Policy;
use crate::talks::talking;

const SECOND: Duration = Duration::from_secs(1);

fn building(seed: u64) -> Building {
    let mut building = Building::new(seed, Weather::FINE);
    building.register_all();
    building
}

/// `lobby> 401 INVITE`: the party, the way, what it is.
fn arrows(ladder: &Ladder) -> Vec<String> {
    ladder
        .messages
        .iter()
        .map(|message| {
            let scanned = message.scan();
            let what = match scanned.status {
                Some(status) => format!("{status} {}", scanned.cseq_method),
                None => scanned.about().to_owned(),
            };
            let way = if message.sent { '<' } else { '>' };
            format!("{}{way} {what}", message.party)
        })
        .collect()
}

#[test]
fn a_call_keeps_every_message_of_both_sides_from_the_challenge_to_the_last_answer() {
    let mut building = building(300);
    building.ua("desk-2").policy = Policy::Ring;
    talking(&mut building, "lobby", "desk", "desk-1");
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(120 * SECOND);
    let [ladder] = building.ladders.as_slice() else {
        panic!("{} ladders", building.ladders.len());
    };
    assert!(ladder.answered && ladder.dropped == 0);
    assert_eq!(&*ladder.call, building.stories.last().unwrap().call);
    let arrows = arrows(ladder);
    for expected in [
        "lobby> INVITE",
        "lobby< 401 INVITE",
        "lobby> ACK",
        "desk-1< INVITE",
        "desk-2< INVITE",
        "desk-1> 180 INVITE",
        "lobby< 180 INVITE",
        "desk-1> 200 INVITE",
        "desk-1< ACK",
        "lobby< 200 INVITE",
        "desk-2< CANCEL",
        "desk-2> 200 CANCEL",
        "desk-2> 487 INVITE",
        "desk-2< ACK",
        "lobby> BYE",
        "lobby< 200 BYE",
        "desk-1< BYE",
        "desk-1> 200 BYE",
    ] {
        assert!(
            arrows.iter().any(|arrow| arrow == expected),
            "{expected} not in {arrows:#?}"
        );
    }
    assert!(!arrows.iter().any(|arrow| arrow.contains("REGISTER")));
    assert!(ladder.messages.is_sorted_by_key(|message| message.at));
    building.check_quiet();
}

#[test]
fn what_can_be_read_of_a_ladder_has_no_credential_and_no_digit() {
    let mut building = building(301);
    talking(&mut building, "lobby", "desk", "desk-1");
    building.act("desk-1", |ua, now| ua.info_digit(now, '9'));
    building.run(SECOND);
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(120 * SECOND);
    let ladder = building.ladders.first().unwrap();
    let text: String = ladder.messages.iter().map(|m| m.redacted()).collect();
    assert!(text.contains("Digest username=\"lobby\""), "{text}");
    assert!(text.contains("response=\"***\""));
    assert!(
        text.contains("Signal=***") && !text.contains("Signal=9"),
        "{text}"
    );
    assert!(text.contains("m=audio"));
    assert!(!format!("{ladder:?}").contains("INVITE"));
    building.check_quiet();
}

#[test]
fn a_call_in_progress_shows_its_ladder_and_a_full_ring_forgets_the_oldest_call() {
    let mut building = Building::with(302, Weather::FINE, |config| config.ladder_octets = 20_000);
    building.register_all();
    let mut ids = Vec::new();
    for _ in 0..5 {
        talking(&mut building, "lobby", "desk", "desk-1");
        let id = building.b2bua.stories().next().unwrap().call.clone();
        assert!(
            building
                .b2bua
                .ladder(&id)
                .is_some_and(|ladder| ladder.messages.len() > 6)
        );
        ids.push(id);
        building.act("lobby", |ua, now| ua.hang_up(now));
        building.run(120 * SECOND);
        assert!(building.b2bua.ladders().0 <= 20_000);
    }
    assert!(building.b2bua.ladder(&ids[0]).is_none());
    assert!(building.b2bua.ladder(&ids[4]).is_some());
    assert!(building.b2bua.ladders().1 >= 1);
    building.check_quiet();
}

#[test]
fn who_listens_hears_all_in_order_with_its_call_and_who_does_not_costs_nothing() {
    let mut building = building(303);
    assert!(building.heard.is_empty());
    building.feed(Input::Tap(true));
    talking(&mut building, "lobby", "desk", "desk-1");
    let id = building.b2bua.stories().next().unwrap().call.clone();
    let of_call = |heard: &intercom::Heard| heard.call.as_deref() == Some(id.as_str());
    let invites: Vec<bool> = building
        .heard
        .iter()
        .filter(|heard| heard.message.scan().method == Some("INVITE"))
        .map(of_call)
        .collect();
    assert_eq!(
        invites[..3],
        [false, true, true],
        "challenged, then the call's own"
    );
    building.act("lobby", |ua, now| ua.register(now));
    building.run(SECOND);
    let register = building.heard.last().unwrap();
    assert_eq!(register.message.scan().about(), "REGISTER");
    assert!(register.call.is_none());
    building.feed(Input::Tap(false));
    let heard = building.heard.len();
    building.act("lobby", |ua, now| ua.hang_up(now));
    building.run(SECOND);
    assert_eq!(building.heard.len(), heard);
    building.check_quiet();
}
