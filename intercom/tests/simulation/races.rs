//! A thousand seeded races, each with the same end: one final response to the door, nothing dangling, no relay without
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

#[test]
fn two_answers_within_a_moment() {
    seeds(1_000, 350, |seed| {
        let (mut building, mut rng) = prepare(seed, Weather::JITTER);
        for desk in ["desk-1", "desk-2"] {
            building.ua(desk).policy = Policy::Answer(ms(1_000 + rng.random_range(0..60 * MS)));
        }
        building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
        building.until("answered", ms(5_000), |b| b.find("lobby").is_up());
        building.run(ms(2_000));
        let up = ["desk-1", "desk-2"]
            .iter()
            .filter(|desk| building.find(desk).is_up())
            .count();
        assert_eq!(up, 1, "one winner");
        building.act("lobby", |ua, now| ua.hang_up(now));
        building.check_quiet();
        one_final(&building);
        losers_told(&building);
        assert_eq!(building.cdrs.len(), 1);
    });
}

#[test]
fn answer_against_cancel() {
    seeds(2_000, 350, |seed| {
        let (mut building, mut rng) = prepare(seed, Weather::JITTER);
        building.ua("desk-1").policy = Policy::Answer(ms(1_000));
        building.ua("desk-2").policy = Policy::Ring;
        building.act("lobby", |ua, now| ua.call(now, "desk", true, &[]));
        building.run(ms(950 + rng.random_range(0..200 * MS)));
        building.act("lobby", |ua, now| ua.cancel(now));
        building.run(ms(3_000));
        if building.find("lobby").is_up() {
            building.act("lobby", |ua, now| ua.hang_up(now));
        }
        building.check_quiet();
        one_final(&building);
        losers_told(&building);
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
    seeds(4_000, 150, |seed| {
        let weather = [Weather::FINE, Weather::JITTER, Weather::BAD][(seed % 3) as usize];
        let (mut building, mut rng) = prepare(seed, weather);
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
                0..=2 => building.act(device, |ua, now| ua.call(now, dial, seed % 5 != 0, &[])),
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
