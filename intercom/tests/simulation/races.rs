//! Ten thousand seeded races, each with the same end: one final response to the door, nothing dangling, no relay without
//! a recorded Allow.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::building::Building;
use crate::building::link::Weather;
use crate::building::ua::Policy;

const MS: u64 = 1;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Runs a scenario for many seeds and names the first that fails.
fn seeds(from: u64, count: u64, scenario: impl Fn(u64)) {
    for seed in from..from + count {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| scenario(seed))) {
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            panic!("seed {seed} fails: {text}");
        }
    }
}

fn one_final(building: &Building) {
    let finals = &building.find("lobby").finals;
    assert_eq!(
        finals.len(),
        1,
        "exactly one final response to the door: {finals:?}"
    );
}

/// Whoever was invited has ended by a CANCEL or BYE with a Reason, by its own refusal, or by hanging up.
fn losers_told(building: &Building) {
    for ua in &building.uas {
        for line in &ua.log {
            if line.starts_with("cancelled") || line.starts_with("bye") {
                assert!(line.contains("cause="), "{}: {line}", ua.user);
            }
        }
    }
}

fn prepare(seed: u64, weather: Weather) -> (Building, StdRng) {
    let mut building = Building::ready(seed);
    building.set_weather(weather);
    (building, StdRng::seed_from_u64(seed))
}

/// Races in one building before the next one is built.
const ROUNDS: u64 = 25;

/// How a race ended, as the record and the devices tell.
struct Ended {
    winner: Option<String>,
    door: Vec<String>,
}

/// Runs a race again and again, each with a seed of its own: `race` plays it until nobody does anything any more, then
/// everybody hangs up, and nothing may be left of it: no dialog, transaction, lease or second record, and each CANCEL
/// and BYE with the reason that is true.
fn season(first: u64, races: u64, race: impl Fn(&mut Building, &mut StdRng)) {
    seeds(first, races / ROUNDS, |seed| {
        let mut building = Building::ready(seed);
        let mut rng = StdRng::seed_from_u64(seed);
        for round in 0..ROUNDS {
            let weather = [Weather::JITTER, Weather::LOSSY][(round % 2) as usize];
            building.set_weather(weather);
            race(&mut building, &mut rng);
            let ended = clear_up(&mut building);
            assert_truthful(&building, &ended, round);
            building.forget();
        }
        building.check_quiet();
        assert_eq!(building.b2bua.held_transactions(), 0);
    });
}

/// Everybody hangs up, and what is under way comes to its end.
fn clear_up(building: &mut Building) -> Ended {
    building.run(ms(4_000));
    building.set_weather(Weather::FINE);
    for _ in 0..2 {
        for device in ["lobby", "desk-1", "desk-2"] {
            if building.find(device).is_up() {
                building.act(device, |ua, now| ua.hang_up(now));
                building.run(ms(50));
            }
        }
        building.run(ms(1_000));
    }
    building.until("nothing is left", ms(80_000), |b| {
        b.b2bua.held_calls() == 0 && b.open_legs.is_empty()
    });
    assert_eq!(building.cdrs.len(), 1, "one record");
    Ended {
        winner: building.cdrs[0].winner.clone(),
        door: building.find("lobby").log.clone(),
    }
}

const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";
const GIVEN_UP: &str = "SIP;cause=487;text=\"Call given up\"";
const CLEARED: &str = "Q.850;cause=16;text=\"Normal call clearing\"";

/// One side hung up. A re-INVITE of ours may have met its BYE and been told first.
fn cleared(reason: &str) -> bool {
    reason == CLEARED || reason == "SIP;cause=481;text=\"The other side is gone\""
}

fn assert_truthful(building: &Building, ended: &Ended, round: u64) {
    for desk in ["desk-1", "desk-2"] {
        let ua = building.find(desk);
        assert_eq!(
            ua.open_calls(),
            0,
            "round {round}: {desk} dangles: {:?}",
            ua.log
        );
        let won = ended.winner.as_deref() == Some(desk);
        for line in &ua.log {
            let Some((what, reason)) = line.split_once(' ') else {
                continue;
            };
            let right = match what {
                "bye" if won => cleared(reason),
                "cancelled" if won => false,
                "cancelled" | "bye" if ended.winner.is_some() => reason == ELSEWHERE,
                "cancelled" | "bye" => reason == GIVEN_UP,
                _ => true,
            };
            assert!(
                right,
                "round {round}: {desk}, winner {:?}: {line}",
                ended.winner
            );
        }
    }
    let finals = &building.find("lobby").finals;
    assert_eq!(
        finals.len(),
        1,
        "round {round}: one final response: {finals:?}"
    );
    let byes = ended.door.iter().filter(|line| line.starts_with("bye"));
    for bye in byes {
        let reason = bye.strip_prefix("bye ").unwrap_or_default();
        assert!(cleared(reason), "round {round}: {bye}");
    }
    let free = building.b2bua.free_leases();
    assert_eq!(building.leased.len(), free, "round {round}: leases");
    assert!(building.violations.is_empty(), "{:?}", building.violations);
}

fn desks(building: &mut Building, first: Policy, second: Policy) {
    building.ua("desk-1").policy = first;
    building.ua("desk-2").policy = second;
    building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
}

#[test]
fn two_answers_within_a_moment() {
    season(1_000, 2_500, |building, rng| {
        let mut answer = || Policy::Answer(ms(200 + rng.random_range(0..60 * MS)));
        let (first, second) = (answer(), answer());
        desks(building, first, second);
        building.until("somebody has won", ms(15_000), |b| {
            ["desk-1", "desk-2"].iter().any(|desk| b.find(desk).is_up())
        });
    });
}

#[test]
fn answer_against_cancel() {
    season(20_000, 2_500, |building, rng| {
        desks(building, Policy::Answer(ms(200)), Policy::Ring);
        building.run(ms(150 + rng.random_range(0..200 * MS)));
        building.act("lobby", |ua, now| ua.cancel(now));
    });
}

#[test]
fn answer_against_the_end_of_the_ring_step() {
    season(40_000, 2_000, |building, rng| {
        let mut answer = || Policy::Answer(ms(19_900 + rng.random_range(0..200 * MS)));
        let (first, second) = (answer(), answer());
        desks(building, first, second);
        building.run(ms(21_000));
    });
}

#[test]
fn bye_against_reinvites_that_meet() {
    season(60_000, 1_500, |building, rng| {
        building.ua("desk-2").policy = Policy::Ring;
        building.ua("desk-1").policy = Policy::Answer(ms(100));
        building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
        building.run(ms(1_500));
        for _ in 0..3 {
            let (who, other) = [("lobby", "desk-1"), ("desk-1", "lobby")][rng.random_range(0..2)];
            building.act(who, |ua, now| ua.reinvite(now, "sendonly"));
            building.run(ms(rng.random_range(0..40)));
            building.act(other, |ua, now| ua.reinvite(now, "sendrecv"));
            building.run(ms(rng.random_range(0..60)));
        }
        let who = ["lobby", "desk-1"][rng.random_range(0..2)];
        building.act(who, |ua, now| ua.hang_up(now));
    });
}

#[test]
fn bye_against_answer() {
    season(80_000, 1_500, |building, rng| {
        let mut answer = || Policy::Answer(ms(200 + rng.random_range(0..30 * MS)));
        let (first, second) = (answer(), answer());
        desks(building, first, second);
        building.run(ms(190 + rng.random_range(0..120 * MS)));
        // Whoever thinks it is in the call hangs up at once, with the other's answer and all ACKs under way.
        for device in ["desk-1", "lobby", "desk-2"] {
            if building.find(device).is_up() {
                building.act(device, |ua, now| ua.hang_up(now));
                break;
            }
        }
    });
}

#[test]
fn lossy_links_with_keys_and_hang_ups() {
    seeds(3_000, 300, |seed| {
        let (mut building, mut rng) = prepare(seed, Weather::BAD);
        for (at, desk) in ["desk-1", "desk-2"].into_iter().enumerate() {
            building.ua(desk).policy = match rng.random_range(0..5) {
                0 => Policy::Refuse(ms(500), 486),
                1 => Policy::Refuse(ms(900), 603),
                2 => Policy::Ring,
                _ => Policy::Answer(ms(1_000 + 40 * at as u64)),
            };
        }
        building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
        building.run(ms(rng.random_range(200..8_000)));
        match rng.random_range(0..4) {
            0 => building.act("lobby", |ua, now| ua.cancel(now)),
            1 => building.act("desk-1", |ua, now| ua.info_digit(now, '9')),
            2 => building.act("lobby", |ua, now| ua.info_digit(now, '9')),
            _ => {}
        }
        building.run(ms(rng.random_range(0..30_000)));
        for device in ["lobby", "desk-1", "desk-2"] {
            if building.find(device).is_up() {
                building.act(device, |ua, now| ua.hang_up(now));
            }
        }
        // A response lost for good is a matter of the network; what is checked is that nothing is left.
        building.run(ms(100_000));
        building.set_weather(Weather::FINE);
        for device in ["lobby", "desk-1", "desk-2"] {
            if building.find(device).is_up() {
                building.act(device, |ua, now| ua.hang_up(now));
            }
        }
        building.check_quiet();
        one_final(&building);
        losers_told(&building);
    });
}

/// Anybody does anything at any time.
#[test]
fn chaos() {
    anything(4_000, 150, Building::ready, &[]);
}

/// The same with early media, reliable responses on both sides and session timers.
#[test]
fn chaos_before_the_answer() {
    let wishes = [("Supported", "100rel, timer"), ("Session-Expires", "90")];
    anything(5_000, 100, reliable_house, &wishes);
}

fn reliable_house(seed: u64) -> Building {
    let mut building = crate::early::previewing(seed);
    for ua in &mut building.uas {
        ua.rel.prack = !seed.is_multiple_of(3);
        ua.rel.rseq = seed.is_multiple_of(2).then_some(40);
        ua.early = seed.is_multiple_of(2).then_some(true);
    }
    building
}

fn anything(first: u64, count: u64, house: fn(u64) -> Building, wishes: &[(&str, &str)]) {
    let devices = [
        "lobby",
        "garage",
        "desk-1",
        "desk-2",
        "anna-app",
        "guest-phone",
    ];
    let dials = [
        "desk", "101", "one", "wave", "lobby", "garage", "desk-1", "nowhere",
    ];
    seeds(first, count, |seed| {
        let weather = [Weather::FINE, Weather::JITTER, Weather::BAD][(seed % 3) as usize];
        let mut building = house(seed);
        building.set_weather(weather);
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..40 {
            let device = devices[rng.random_range(0..devices.len())];
            let dial = dials[rng.random_range(0..dials.len())];
            let policy = match rng.random_range(0..6) {
                0 => Policy::Refuse(ms(300), 486),
                1 => Policy::Ring,
                2 => Policy::Dead,
                _ => Policy::Answer(ms(rng.random_range(1..3_000))),
            };
            match rng.random_range(0..12) {
                0..=2 => building.act(device, |ua, now| ua.call(now, dial, seed % 5 != 0, wishes)),
                3 => building.act(device, |ua, now| ua.cancel(now)),
                4 => building.act(device, |ua, now| ua.hang_up(now)),
                5 | 6 => building.act(device, |ua, now| ua.info_digit(now, '9')),
                7 => building.act(device, |ua, now| ua.reinvite(now, "sendonly")),
                8 => building.act(device, |ua, now| ua.reinvite(now, "sendrecv")),
                9 => building.act(device, |ua, now| {
                    ua.plain(
                        now,
                        sip_proxy::Method::Message,
                        "lobby",
                        &[("Action", "buzz")],
                    );
                }),
                10 => building.act(device, |ua, now| ua.register(now)),
                _ => building.ua(device).policy = policy,
            }
            if let Some(leg) = building.open_legs.keys().next().copied()
                && rng.random_bool(0.2)
            {
                building.press(leg, if rng.random_bool(0.5) { '9' } else { '8' });
            }
            building.run(ms(rng.random_range(0..2_000)));
        }
        building.set_weather(Weather::FINE);
        for device in devices {
            building.act(device, |ua, now| ua.cancel(now));
        }
        building.run(ms(60_000));
        building.feed(intercom::Input::Shutdown);
        building.run(ms(100_000));
        building.forgive_lost_dialogs();
        building.check_quiet();
    });
}
