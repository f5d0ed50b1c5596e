//! A server of known capacity under more than it can do, in virtual time: what overload control makes of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sip_proxy::overload::{Class, Config, Overload, Verdict};

const MICRO: Duration = Duration::from_micros(1);
/// What a call costs, over its messages.
const CALL: Duration = Duration::from_micros(900);
/// What a registration costs.
const REGISTER: Duration = Duration::from_micros(100);
/// What a stranger's request costs: read, challenged.
const STRANGER: Duration = Duration::from_micros(60);
/// What a refusal costs, and a message that is dropped.
const REFUSAL: Duration = Duration::from_micros(25);
const DROP: Duration = Duration::from_micros(4);
/// The kernel's buffer, messages.
const BUFFER: usize = 4_000;
/// A call set up later than this is no good.
const GOOD: Duration = Duration::from_millis(500);

/// Offered a second.
#[derive(Clone, Copy)]
struct Load {
    strangers: f64,
    registers: f64,
    calls: f64,
    doors: f64,
}

#[derive(Debug, Default)]
struct Done {
    offered: [u32; 5],
    good: [u32; 5],
    /// Waits of doors' calls that were served, µs.
    door_waits: Vec<u128>,
}

impl Done {
    fn part(&self, class: Class) -> f64 {
        f64::from(self.good[class as usize]) / f64::from(self.offered[class as usize].max(1))
    }

    fn calls(&self) -> u32 {
        self.good[Class::Call as usize] + self.good[Class::Precedence as usize]
    }

    fn p95(&mut self) -> u128 {
        self.door_waits.sort_unstable();
        self.door_waits[self.door_waits.len() * 95 / 100]
    }
}

/// Thirty seconds of load, the first five not counted; `controlled`: with overload control.
fn run(load: Load, controlled: bool) -> Done {
    #[expect(
        clippy::disallowed_methods,
        reason = "one origin for the virtual clock"
    )]
    let origin = Instant::now();
    let mut random = StdRng::seed_from_u64(7);
    let mut overload = Overload::new(Config::default());
    let mut queue: VecDeque<(Instant, Class, u64)> = VecDeque::new();
    let mut done = Done::default();
    let rates = [load.strangers, 0.0, load.registers, load.calls, load.doors];
    let total: f64 = rates.iter().sum();
    let (mut next, mut now) = (origin, origin);
    let mut lost = false;
    while now < origin + Duration::from_secs(30) {
        // Poisson arrivals until the server is free.
        while next <= now {
            let mut pick = random.random_range(0.0..total);
            let class = Class::ALL
                .into_iter()
                .find(|class| {
                    pick -= rates[*class as usize];
                    pick < 0.0
                })
                .unwrap_or(Class::Stranger);
            if next > origin + Duration::from_secs(5) {
                done.offered[class as usize] += 1;
            }
            if queue.len() < BUFFER {
                queue.push_back((next, class, random.random()));
            } else {
                lost = true;
            }
            let gap = -(1.0 - random.random_range(0.0..1.0_f64)).ln() / total;
            next += Duration::from_secs_f64(gap).max(MICRO);
        }
        let Some((came, class, hash)) = queue.pop_front() else {
            now = next;
            continue;
        };
        let wait = now - came;
        if std::mem::take(&mut lost) {
            overload.lost(now);
        }
        overload.waited(now, wait);
        let verdict = if controlled {
            overload.judge(now, class, hash)
        } else {
            Verdict::Serve
        };
        let cost = match (verdict, class) {
            (Verdict::Drop, _) => DROP,
            (Verdict::Refuse(_), _) => REFUSAL,
            (Verdict::Serve, Class::Stranger | Class::Auxiliary) => STRANGER,
            (Verdict::Serve, Class::Register) => REGISTER,
            (Verdict::Serve, Class::Call | Class::Precedence) => CALL,
        };
        now += cost;
        if verdict == Verdict::Serve && came > origin + Duration::from_secs(5) {
            if class == Class::Precedence {
                done.door_waits.push((now - came).as_micros());
            }
            if now - came <= GOOD {
                done.good[class as usize] += 1;
            }
        }
    }
    done
}

#[test]
fn at_twice_its_capacity_calls_served_in_time_stay_above_nine_tenths_of_the_most() {
    let load = |calls: f64| Load {
        strangers: 0.0,
        registers: 50.0,
        calls: calls * 0.9,
        doors: calls * 0.1,
    };
    // 995 ms of each second are left for calls of 900 µs.
    let capacity = 0.995 / 0.000_9;
    let most = [0.8, 0.9, 0.95, 1.0]
        .into_iter()
        .map(|part| run(load(capacity * part), true).calls())
        .max()
        .unwrap();
    let mut doubled = run(load(capacity * 2.0), true);
    let part = f64::from(doubled.calls()) / f64::from(most);
    assert!(part >= 0.9, "{part:.3} of the most");
    assert!(
        doubled.part(Class::Precedence) >= 0.99,
        "doors: {}",
        doubled.part(Class::Precedence)
    );
    assert!(doubled.p95() <= 100_000, "doors wait {} µs", doubled.p95());
    // Without control the queue stands at the buffer's length and hardly a call is in time.
    let wild = run(load(capacity * 2.0), false);
    assert!(
        f64::from(wild.calls()) < 0.5 * f64::from(most),
        "{} of {most}",
        wild.calls()
    );
}

#[test]
fn a_flood_of_strangers_beyond_what_can_even_be_refused_costs_doors_nothing() {
    let mut done = run(
        Load {
            strangers: 60_000.0,
            registers: 100.0,
            calls: 100.0,
            doors: 20.0,
        },
        true,
    );
    assert!(
        done.part(Class::Precedence) >= 0.95,
        "doors: {}",
        done.part(Class::Precedence)
    );
    assert!(
        done.part(Class::Call) >= 0.9,
        "calls: {}",
        done.part(Class::Call)
    );
    assert!(done.p95() <= 100_000, "doors wait {} µs", done.p95());
}
