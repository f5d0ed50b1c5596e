//! One test per arrow of the road, and the property that nothing is driven without a committed grant.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dialplan::{Actor, Device, Directory, Facts, LegState, Method, Owner, Plan};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::Now;
use crate::audit::{Decision, Journal, Kind, RecordId};
use crate::buzz::BuzzResult;

const PLAN: &str = r#"
site "elm-court" tz="Europe/Prague" { calendar "always" { weekly "daily 00:00-24:00" } }
door "lobby" station="generic" group="entry" fail="closed" {
    output "main" driver="http" switch=1 pulse="5s"
    output "vault" driver="http" switch=2 pulse="5s" two-step=#true
}
desk "desk" { device "desk-1" }
keys "default" { "9" open="main" }
may-open "desk:desk" group="entry"
route "unit" doors="entry" dial="unit" { ring "desk" for="20s"; end "log" }
"#;

struct Bench {
    plan: Arc<Plan>,
    directory: Directory,
    facts: Facts,
    journal: Journal,
    rng: StdRng,
    unlocks: Unlocks,
    now: Now,
    out: Vec<Effect>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "one origin for the virtual clock"
)]
fn origin() -> Instant {
    Instant::now()
}

/// A door and a desk phone, the latter revoked or not.
fn directory(revoked: bool) -> Directory {
    let device = |id: &str, owner, revoked| Device {
        id: id.into(),
        owner,
        label: None,
        revoked,
    };
    let devices = [
        device("desk-1", Owner::Desk("desk".into()), revoked),
        device("lobby", Owner::Door("lobby".into()), false),
    ];
    Directory::new([], [], devices)
}

impl Bench {
    fn new() -> Self {
        let loaded = dialplan::load(PLAN, "plan.kdl", &|_| None);
        let plan = loaded
            .plan
            .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        let directory = directory(false);
        let civil: jiff::Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        Self {
            plan: Arc::new(plan),
            directory,
            facts: Facts::at(civil),
            journal: Journal::new("elm-court"),
            rng: StdRng::seed_from_u64(1),
            unlocks: Unlocks::new(Config::default(), None),
            now: Now {
                mono: origin(),
                civil,
            },
            out: Vec::new(),
        }
    }

    fn world<R>(&mut self, act: impl FnOnce(&mut Unlocks, &mut World<'_>) -> R) -> R {
        let mut world = World {
            now: self.now,
            plan: &self.plan,
            directory: &self.directory,
            facts: &self.facts,
            journal: &mut self.journal,
            rng: &mut self.rng,
            out: &mut self.out,
        };
        act(&mut self.unlocks, &mut world)
    }

    fn press(&mut self, device: &str, output: Option<&str>, leg: LegState) {
        let request = Request {
            actor: Actor::of_device(&self.plan, &self.directory, device),
            who: format!("device:{device}"),
            door: "lobby".into(),
            output: output.map(str::to_owned),
            method: Method::Handset,
            leg,
            call: Some("c1".into()),
            address: Some("127.0.0.3:5060".into()),
            evidence: Evidence::Digit('9'),
            reply: None,
            two_step: false,
        };
        self.world(|unlocks, world| unlocks.request(world, request));
    }

    fn desk_presses(&mut self) {
        self.press("desk-1", None, LegState::Answered);
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.civil = self
            .now
            .civil
            .saturating_add(jiff::SignedDuration::try_from(time).unwrap())
            .unwrap();
        self.facts.at = self.now.civil;
        self.world(|unlocks, world| unlocks.timeout(world));
    }

    fn commit(&mut self) {
        for id in self.waiting_records() {
            self.world(|unlocks, world| unlocks.recorded(world, id));
        }
    }

    fn waiting_records(&self) -> Vec<RecordId> {
        let durable = |effect: &Effect| match effect {
            Effect::Record(record) if record.durable => Some(record.id),
            _ => None,
        };
        self.out.iter().filter_map(durable).collect()
    }

    fn drives(&self) -> Vec<Drive> {
        let drive = |effect: &Effect| match effect {
            Effect::Drive(drive) => Some(drive.clone()),
            _ => None,
        };
        self.out.iter().filter_map(drive).collect()
    }

    fn results(&self) -> Vec<BuzzResult> {
        let result = |effect: &Effect| match effect {
            Effect::Done(done) => Some(done.result),
            _ => None,
        };
        self.out.iter().filter_map(result).collect()
    }

    fn kinds(&self) -> Vec<(Kind, Option<Decision>)> {
        let kind = |effect: &Effect| match effect {
            Effect::Record(record) => Some((record.entry.kind, record.entry.decision)),
            _ => None,
        };
        self.out.iter().filter_map(kind).collect()
    }

    fn outcome(&mut self, outcome: Outcome) {
        let drive = self.drives().pop().expect("driven");
        self.world(|unlocks, world| unlocks.outcome(world, drive.intent, drive.attempt, outcome));
    }
}

#[test]
fn a_granted_press_is_recorded_then_driven_then_reported() {
    let mut bench = Bench::new();
    bench.desk_presses();
    assert_eq!(bench.kinds(), [(Kind::Unlock, Some(Decision::Granted))]);
    assert!(
        bench.drives().is_empty(),
        "nothing is driven before the commit"
    );
    bench.commit();
    assert_eq!(bench.drives().len(), 1);
    bench.outcome(Outcome::Opened);
    assert_eq!(bench.results(), [BuzzResult::Opened]);
    assert_eq!(bench.kinds().last(), Some(&(Kind::UnlockResult, None)));
    assert!(bench.unlocks.is_empty());
}

#[test]
fn a_press_without_the_right_is_recorded_as_denied_and_drives_nothing() {
    let mut bench = Bench::new();
    bench.press("lobby", None, LegState::Answered);
    assert_eq!(bench.results(), [BuzzResult::Denied]);
    assert_eq!(bench.kinds(), [(Kind::Unlock, Some(Decision::Denied))]);
    assert!(bench.waiting_records().is_empty());
}

#[test]
fn a_ringing_leg_opens_nothing() {
    let mut bench = Bench::new();
    bench.press("desk-1", None, LegState::Rung);
    assert_eq!(bench.results(), [BuzzResult::Denied]);
}

#[test]
fn an_unknown_output_is_told_only_to_those_with_the_right() {
    let mut bench = Bench::new();
    bench.press("desk-1", Some("cellar"), LegState::Answered);
    bench.press("lobby", Some("cellar"), LegState::Answered);
    assert_eq!(bench.results(), [BuzzResult::NoOutput, BuzzResult::Denied]);
}

#[test]
fn a_second_press_within_the_pulse_is_not_driven_twice() {
    let mut bench = Bench::new();
    bench.desk_presses();
    bench.commit();
    bench.outcome(Outcome::Opened);
    bench.desk_presses();
    assert_eq!(
        bench.results(),
        [BuzzResult::Opened, BuzzResult::AlreadyOpen]
    );
    bench.pass(Duration::from_secs(5));
    bench.out.clear();
    bench.desk_presses();
    bench.commit();
    assert_eq!(
        bench.drives().len(),
        1,
        "after the pulse a press is a new one"
    );
}

#[test]
fn presses_while_it_opens_share_one_opening() {
    let mut bench = Bench::new();
    bench.desk_presses();
    bench.desk_presses();
    bench.commit();
    assert_eq!(bench.drives().len(), 1);
    bench.outcome(Outcome::Opened);
    assert_eq!(
        bench.results(),
        [BuzzResult::AlreadyOpen, BuzzResult::Opened]
    );
}

#[test]
fn more_presses_than_may_wait_are_refused_not_told_that_it_opened() {
    let mut bench = Bench::new();
    for _ in 0..=super::intent::WAITERS {
        bench.desk_presses();
    }
    assert!(bench.results().is_empty());
    bench.desk_presses();
    assert_eq!(bench.results(), [BuzzResult::Denied]);
}

#[test]
fn after_a_failure_a_press_is_a_new_intent() {
    let mut bench = Bench::new();
    bench.desk_presses();
    bench.commit();
    bench.outcome(Outcome::Refused("401".into()));
    bench.desk_presses();
    bench.commit();
    assert_eq!(bench.drives().len(), 2);
    assert_eq!(bench.results(), [BuzzResult::Refused]);
}

#[test]
fn a_store_that_fails_refuses_the_unlock() {
    let mut bench = Bench::new();
    bench.desk_presses();
    let id = bench.waiting_records()[0];
    bench.world(|unlocks, world| unlocks.record_failed(world, id));
    assert_eq!(bench.results(), [BuzzResult::NotRecorded]);
    assert!(bench.kinds().contains(&(Kind::Alarm, None)));
    bench.commit();
    assert!(bench.drives().is_empty());
}

#[test]
fn a_record_that_is_committed_too_late_drives_nothing() {
    let mut bench = Bench::new();
    bench.desk_presses();
    bench.pass(Config::default().record_timeout);
    assert_eq!(bench.results(), [BuzzResult::NotRecorded]);
    assert!(bench.kinds().contains(&(Kind::Alarm, None)));
    bench.commit();
    assert!(bench.drives().is_empty());
}

#[test]
fn a_silent_driver_times_out() {
    let mut bench = Bench::new();
    bench.desk_presses();
    bench.commit();
    assert_eq!(
        bench.unlocks.next_timeout(),
        Some(bench.now.mono + Config::default().driver_timeout)
    );
    bench.pass(Config::default().driver_timeout);
    assert_eq!(bench.results(), [BuzzResult::TimedOut]);
}

#[test]
fn an_outcome_of_an_attempt_that_is_over_changes_nothing() {
    let mut bench = Bench::new();
    bench.desk_presses();
    bench.commit();
    let drive = bench.drives()[0].clone();
    bench.outcome(Outcome::Refused("503".into()));
    bench.world(|unlocks, world| {
        unlocks.outcome(world, drive.intent, drive.attempt, Outcome::Opened);
    });
    assert_eq!(bench.results(), [BuzzResult::Refused]);
}

#[test]
fn a_right_withdrawn_between_record_and_relay_opens_nothing() {
    let mut bench = Bench::new();
    bench.desk_presses();
    bench.directory = directory(true);
    bench.commit();
    assert!(bench.drives().is_empty());
    assert_eq!(bench.results(), [BuzzResult::Denied]);
}

#[test]
fn a_call_that_ends_before_the_record_takes_its_intent_along() {
    let mut bench = Bench::new();
    bench.desk_presses();
    bench.world(|unlocks, world| unlocks.call_ended(world, "c1"));
    bench.commit();
    assert!(bench.drives().is_empty());
    assert_eq!(bench.results(), [BuzzResult::Denied]);
}

#[test]
fn a_clock_that_went_backwards_is_not_trusted() {
    let mut bench = Bench::new();
    let known = "2026-11-20T11:00:00Z".parse().unwrap();
    bench.unlocks = Unlocks::new(Config::default(), Some(known));
    bench.desk_presses();
    assert_eq!(bench.results(), [BuzzResult::Denied]);
    assert!(bench.kinds().contains(&(Kind::Alarm, None)));
}

#[test]
fn a_two_step_output_wants_a_second_press() {
    let mut bench = Bench::new();
    bench.press("desk-1", Some("vault"), LegState::Answered);
    assert!(matches!(bench.out.as_slice(), [Effect::Again { .. }]));
    bench.press("desk-1", Some("vault"), LegState::Answered);
    bench.commit();
    assert_eq!(bench.drives().len(), 1);
}

#[test]
fn a_second_step_that_comes_too_late_is_a_first() {
    let mut bench = Bench::new();
    bench.press("desk-1", Some("vault"), LegState::Answered);
    bench.pass(Config::default().second_press);
    bench.press("desk-1", Some("vault"), LegState::Answered);
    assert!(matches!(
        bench.out.as_slice(),
        [Effect::Again { .. }, Effect::Again { .. }]
    ));
}

#[test]
fn too_many_unlocks_of_a_door_are_an_alarm() {
    let mut bench = Bench::new();
    for _ in 0..Config::default().per_door_per_minute {
        bench.desk_presses();
        bench.commit();
        bench.outcome(Outcome::Refused("busy".into()));
    }
    bench.out.clear();
    bench.desk_presses();
    assert_eq!(bench.results(), [BuzzResult::Denied]);
    assert!(bench.kinds().contains(&(Kind::Alarm, None)));
    bench.pass(Duration::from_secs(60));
    bench.out.clear();
    bench.desk_presses();
    assert_eq!(bench.waiting_records().len(), 1);
}

#[test]
fn refusals_of_one_actor_fill_no_log_and_silence_no_other() {
    let mut bench = Bench::new();
    for _ in 0..500 {
        bench.press("lobby", None, LegState::Answered);
    }
    let denied = (Kind::Unlock, Some(Decision::Denied));
    let count = |bench: &Bench, kind| bench.kinds().iter().filter(|k| **k == kind).count();
    assert_eq!(bench.results().len(), 500, "each is answered");
    assert_eq!(count(&bench, denied), 60);
    assert_eq!(count(&bench, (Kind::Alarm, None)), 1);
    bench.press("desk-1", None, LegState::Rung);
    assert_eq!(count(&bench, denied), 61);
    bench.pass(Duration::from_secs(60));
    bench.press("lobby", None, LegState::Answered);
    assert_eq!(count(&bench, denied), 62);
}

proptest! {
    /// Whatever presses, commits, failures, outcomes, revocations and time do: a relay is driven only for an intent whose
    /// granted record was committed, and at most once an attempt.
    #[test]
    fn nothing_is_driven_without_a_committed_grant(steps in prop::collection::vec((0_u8..9, any::<u8>()), 1..60)) {
        let mut bench = Bench::new();
        let mut committed: Vec<String> = Vec::new();
        let mut seen = 0;
        let mut driven = std::collections::BTreeSet::new();
        for (step, n) in steps {
            let pending: Vec<(RecordId, String)> = bench.out.iter().filter_map(|effect| match effect {
                Effect::Record(r) if r.durable => Some((r.id, r.entry.intent.clone().unwrap())),
                _ => None,
            }).collect();
            let picked = pending.get(usize::from(n) % pending.len().max(1)).cloned();
            match step {
                0 | 1 => bench.desk_presses(),
                2 => bench.press("lobby", None, LegState::Answered),
                3 => if let Some((id, intent)) = picked {
                    committed.push(intent);
                    bench.world(|unlocks, world| unlocks.recorded(world, id));
                },
                4 => if let Some((id, _)) = picked {
                    bench.world(|unlocks, world| unlocks.record_failed(world, id));
                },
                5 => if !bench.drives().is_empty() {
                    bench.outcome(if n % 2 == 0 { Outcome::Opened } else { Outcome::TimedOut });
                },
                6 => bench.pass(Duration::from_millis(u64::from(n) * 40)),
                7 => bench.world(|unlocks, world| unlocks.call_ended(world, "c1")),
                _ => bench.directory = directory(n % 4 == 0),
            }
            for drive in bench.drives().into_iter().skip(seen) {
                seen += 1;
                prop_assert!(committed.contains(&drive.intent.to_string()));
                prop_assert!(driven.insert((drive.intent, drive.attempt)));
            }
        }
        bench.pass(Duration::from_secs(20));
        prop_assert!(bench.unlocks.is_empty(), "every intent ends");
    }
}
