//! The table of intents and the road each takes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dialplan::{DenyReason, Directory, Facts, OpenQuery, OutputDef, Plan, Verdict as Policy};
use jiff::{SignedDuration, Timestamp};
use rand::Rng;

use super::IntentId;
use super::intent::{Intent, State, Verdict, WAITERS};
use super::limit::RateLimit;
use super::request::{Done, Effect, Outcome, Request};
use crate::Now;
use crate::audit::{Decision, Entry, Journal, Kind, RecordId};
use crate::buzz::BuzzResult;

/// Limits of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// A granted record that is not committed by then refuses the unlock (doors.md rule 4).
    pub record_timeout: Duration,
    /// One driver's time.
    pub driver_timeout: Duration,
    /// The whole chain's time, and an intent's life.
    pub chain_timeout: Duration,
    /// Time for the second press of a two-step unlock.
    pub second_press: Duration,
    /// Unlocks a minute and door; more are refused with an alarm.
    pub per_door_per_minute: usize,
    /// Intents under way at once; more are refused with an alarm.
    pub intents: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            record_timeout: Duration::from_millis(2_000),
            driver_timeout: Duration::from_secs(4),
            chain_timeout: Duration::from_secs(10),
            second_press: Duration::from_secs(10),
            per_door_per_minute: 20,
            intents: 1_024,
        }
    }
}

/// What a decision needs beside the machine's own state.
pub struct World<'a> {
    /// Both clocks.
    pub now: Now,
    /// The plan in force now, not the one the call began with: rights are judged at the moment of opening.
    pub plan: &'a Plan,
    /// People, devices, units.
    pub directory: &'a Directory,
    /// Modes, overrides, the civil time.
    pub facts: &'a Facts,
    /// Where records get their ids.
    pub journal: &'a mut Journal,
    /// Randomness for intent ids.
    pub rng: &'a mut dyn Rng,
    /// What is to be done.
    pub out: &'a mut Vec<Effect>,
}

/// How far civil time may step back before schedules stop being trusted.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(2);

/// Refusals of one actor written to the log a minute.
const REFUSALS: usize = 60;

/// First presses that may wait for their second at once; beyond it the oldest is forgotten.
const FIRST_PRESSES: usize = 256;

/// First press of a two-step unlock: who, door, output, in which call.
type FirstPress = (String, String, String, Option<String>);

/// All unlocks under way.
#[derive(Debug)]
pub struct Unlocks {
    config: Config,
    intents: BTreeMap<IntentId, Intent>,
    by_record: BTreeMap<RecordId, IntentId>,
    /// Outputs within their pulse. Bounded by the plan's outputs.
    pulses: BTreeMap<(String, String), Instant>,
    first_presses: BTreeMap<FirstPress, Instant>,
    rate: RateLimit,
    /// Refusals written to the log, by actor.
    refusals: RateLimit,
    /// Alarms for more of them, by actor.
    flooding: RateLimit,
    high_water: Timestamp,
}

impl Unlocks {
    /// An empty table. `high_water` is the latest civil time known from the log: a clock before it is not trusted.
    #[must_use]
    pub fn new(config: Config, high_water: Option<Timestamp>) -> Self {
        Self {
            rate: RateLimit::new(config.per_door_per_minute),
            refusals: RateLimit::new(REFUSALS),
            flooding: RateLimit::new(1),
            config,
            intents: BTreeMap::new(),
            by_record: BTreeMap::new(),
            pulses: BTreeMap::new(),
            first_presses: BTreeMap::new(),
            high_water: high_water.unwrap_or(Timestamp::MIN),
        }
    }

    /// Unlocks under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.intents.len()
    }

    /// None under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.intents.is_empty()
    }

    /// Whether this attempt of this intent is the one whose outcome is awaited.
    #[must_use]
    pub fn awaits(&self, id: IntentId, attempt: u8) -> bool {
        self.intents.get(&id).is_some_and(
            |intent| matches!(intent.state, State::Driving { attempt: now, .. } if now == attempt),
        )
    }

    /// When [`Unlocks::timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.intents.values().map(Intent::deadline).min()
    }

    /// Somebody wants a door opened.
    pub fn request(&mut self, world: &mut World<'_>, request: Request) {
        let now = world.now;
        if now.civil.duration_since(self.high_water) < -CLOCK_SLACK {
            let why = "the clock went backwards: schedules are not trusted";
            return self.refuse(world, request, BuzzResult::Denied, None, why, true);
        }
        self.high_water = self.high_water.max(now.civil);
        let (rule, output) = match judge(world, &request) {
            Ok(granted) => granted,
            Err((result, rule, why)) => {
                return self.refuse(world, request, result, rule, &why, false);
            }
        };
        if (output.two_step || request.two_step)
            && !self.second_press(now.mono, &request, &output.name)
        {
            world.out.push(Effect::Again { request });
            return;
        }
        let place = (request.door.clone(), output.name.clone());
        self.pulses.retain(|_, until| *until > now.mono);
        if self.pulses.contains_key(&place) {
            let done = Done {
                rule: Some(rule),
                ..done(request, Some(place.1), BuzzResult::AlreadyOpen)
            };
            return finish(world, Decision::Granted, done);
        }
        if let Some(intent) = self
            .intents
            .values_mut()
            .find(|i| i.request.door == place.0 && i.output.name == place.1)
        {
            if intent.waiters.len() < WAITERS {
                intent.waiters.push(request);
                return;
            }
            // Nobody is told that it opens before it does.
            let why = "too many presses wait for this opening";
            return self.refuse(world, request, BuzzResult::Denied, Some(rule), why, false);
        }
        if self.intents.len() >= self.config.intents || !self.rate.admit(now.mono, &request.door) {
            let why = "too many unlocks of this door within a minute";
            return self.refuse(world, request, BuzzResult::Denied, Some(rule), why, true);
        }
        self.grant(world, request, rule, output);
    }

    /// Answers a request that is refused, and records it; an actor's refusals beyond [`REFUSALS`] a minute are one alarm.
    fn refuse(
        &mut self,
        world: &mut World<'_>,
        request: Request,
        result: BuzzResult,
        rule: Option<String>,
        why: &str,
        alarming: bool,
    ) {
        let now = world.now.mono;
        let output = request.output.clone();
        let done = Done {
            rule,
            detail: Some(why.to_owned()),
            ..done(request, output, result)
        };
        if self.refusals.admit(now, &done.request.who) {
            if alarming {
                alarm(world, &done.request, why);
            }
            return finish(world, Decision::Denied, done);
        }
        if self.flooding.admit(now, &done.request.who) {
            let what = "too many refusals within a minute: not all are recorded";
            alarm(world, &done.request, what);
        }
        world.out.push(Effect::Done(Box::new(done)));
    }

    /// Writes the granted record; the relay waits for its commit.
    fn grant(&mut self, world: &mut World<'_>, request: Request, rule: String, output: OutputDef) {
        let now = world.now.mono;
        let id = loop {
            let id = IntentId(world.rng.next_u64());
            if !self.intents.contains_key(&id) {
                break id;
            }
        };
        let mut entry = entry(world, Kind::Unlock, &request);
        entry.output = Some(output.name.clone());
        entry.intent = Some(id.to_string());
        entry.decision = Some(Decision::Granted);
        entry.rule = Some(rule.clone());
        let record = world.journal.durable(entry);
        self.by_record.insert(record.id, id);
        let state = State::Recording {
            record: record.id,
            deadline: now + self.config.record_timeout,
        };
        let until = now + self.config.chain_timeout;
        self.intents.insert(
            id,
            Intent {
                id,
                request,
                rule,
                output,
                state,
                since: now,
                until,
                waiters: Vec::new(),
                driver: None,
            },
        );
        world.out.push(Effect::Record(record));
    }

    /// The disk has the granted record: the first driver gets its turn, if the right still stands.
    pub fn recorded(&mut self, world: &mut World<'_>, record: RecordId) {
        let Some(id) = self.by_record.remove(&record) else {
            return;
        };
        let Some(intent) = self.intents.get_mut(&id) else {
            return;
        };
        if judge(world, &intent.request).is_err() {
            return self.end(
                world,
                id,
                BuzzResult::Denied,
                Some("the right was withdrawn".into()),
            );
        }
        match intent.first(world.now.mono, self.config.driver_timeout) {
            Some(drive) => world.out.push(Effect::Drive(drive)),
            None => self.end(
                world,
                id,
                BuzzResult::Unreachable,
                Some("the output has no driver".into()),
            ),
        }
    }

    /// The store could not commit the record: nothing is driven.
    pub fn record_failed(&mut self, world: &mut World<'_>, record: RecordId) {
        if let Some(id) = self.by_record.remove(&record) {
            if let Some(intent) = self.intents.get(&id) {
                alarm(world, &intent.request, "the log could not be written");
            }
            self.end(
                world,
                id,
                BuzzResult::NotRecorded,
                Some("the log could not be written".into()),
            );
        }
    }

    /// A driver's word on its attempt.
    pub fn outcome(&mut self, world: &mut World<'_>, id: IntentId, attempt: u8, outcome: Outcome) {
        let Some(intent) = self.intents.get_mut(&id) else {
            return;
        };
        match intent.outcome(world.now.mono, attempt, outcome, self.config.driver_timeout) {
            Verdict::Finished { result, detail } => self.end(world, id, result, detail),
            Verdict::Next(drive) => world.out.push(Effect::Drive(drive)),
            Verdict::Stale => {}
        }
    }

    /// The call is over: an intent that has not reached the relay dies with it.
    pub fn call_ended(&mut self, world: &mut World<'_>, call: &str) {
        let waiting = |intent: &&Intent| {
            intent.request.call.as_deref() == Some(call)
                && matches!(intent.state, State::Recording { .. })
        };
        let dead: Vec<IntentId> = self
            .intents
            .values()
            .filter(waiting)
            .map(|intent| intent.id)
            .collect();
        for id in dead {
            self.end(
                world,
                id,
                BuzzResult::Denied,
                Some("the call ended before the record was written".into()),
            );
        }
    }

    /// Deadlines that have passed.
    pub fn timeout(&mut self, world: &mut World<'_>) {
        let now = world.now.mono;
        let late: Vec<IntentId> = self
            .intents
            .values()
            .filter(|i| i.deadline() <= now)
            .map(|i| i.id)
            .collect();
        for id in late {
            let Some(intent) = self.intents.get(&id) else {
                continue;
            };
            match intent.state {
                State::Recording { .. } => {
                    alarm(
                        world,
                        &intent.request,
                        "the log did not take a record in time",
                    );
                    self.end(
                        world,
                        id,
                        BuzzResult::NotRecorded,
                        Some("the log did not take the record in time".into()),
                    );
                }
                State::Driving { attempt, .. } => {
                    self.outcome(world, id, attempt, Outcome::TimedOut);
                }
            }
        }
    }

    fn end(
        &mut self,
        world: &mut World<'_>,
        id: IntentId,
        result: BuzzResult,
        detail: Option<String>,
    ) {
        let Some(intent) = self.intents.remove(&id) else {
            return;
        };
        if let State::Recording { record, .. } = intent.state {
            self.by_record.remove(&record);
        }
        let latency = world.now.mono.saturating_duration_since(intent.since);
        let output = intent.output.name;
        if result.is_success() {
            let until = world.now.mono + intent.output.pulse;
            self.pulses
                .insert((intent.request.door.clone(), output.clone()), until);
        }
        let mut entry = entry(world, Kind::UnlockResult, &intent.request);
        entry.output = Some(output.clone());
        entry.intent = Some(id.to_string());
        entry.driver = intent.driver.map(str::to_owned);
        entry.result = Some(result.as_str().to_owned());
        entry.latency_ms = Some(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX));
        entry.detail.clone_from(&detail);
        let record = world.journal.record(entry);
        world.out.push(Effect::Record(record));
        for waiter in intent.waiters {
            let result = if result.is_success() {
                BuzzResult::AlreadyOpen
            } else {
                result
            };
            let done = Done {
                rule: Some(intent.rule.clone()),
                ..done(waiter, Some(output.clone()), result)
            };
            finish(world, Decision::Granted, done);
        }
        let mut done = done(intent.request, Some(output), result);
        done.intent = Some(id);
        done.rule = Some(intent.rule);
        done.driver = intent.driver;
        done.detail = detail;
        done.latency = latency;
        world.out.push(Effect::Done(Box::new(done)));
    }

    /// Is this the second press of a two-step unlock? Remembers a first one.
    fn second_press(&mut self, now: Instant, request: &Request, output: &str) -> bool {
        self.first_presses.retain(|_, until| *until > now);
        let press = (
            request.who.clone(),
            request.door.clone(),
            output.to_owned(),
            request.call.clone(),
        );
        if self.first_presses.remove(&press).is_some() {
            return true;
        }
        if self.first_presses.len() >= FIRST_PRESSES {
            let oldest = self
                .first_presses
                .iter()
                .min_by_key(|(_, until)| **until)
                .map(|(press, _)| press.clone());
            oldest.and_then(|press| self.first_presses.remove(&press));
        }
        self.first_presses
            .insert(press, now + self.config.second_press);
        false
    }
}

/// The policy's word: the rule and the output, or why not. Right before output, so that nobody without the right learns
/// what exists.
fn judge(
    world: &World<'_>,
    request: &Request,
) -> Result<(String, OutputDef), (BuzzResult, Option<String>, String)> {
    let query = OpenQuery {
        actor: &request.actor,
        door: &request.door,
        output: request.output.as_deref(),
        method: request.method,
        leg: request.leg,
    };
    match world.plan.may_open(world.directory, world.facts, &query) {
        Policy::Allow { rule, output, .. } => {
            let found = world
                .plan
                .door(&request.door)
                .and_then(|door| door.outputs.iter().find(|o| o.name == output));
            let missing = || {
                (
                    BuzzResult::NoOutput,
                    Some(rule.to_string()),
                    format!("no output \"{output}\""),
                )
            };
            found
                .cloned()
                .map(|output| (rule.to_string(), output))
                .ok_or_else(missing)
        }
        Policy::Deny { rule, reason } => {
            let result = if reason == DenyReason::NoSuchOutput {
                BuzzResult::NoOutput
            } else {
                BuzzResult::Denied
            };
            Err((
                result,
                rule.map(|rule| rule.to_string()),
                reason.to_string(),
            ))
        }
    }
}

fn entry(world: &World<'_>, kind: Kind, request: &Request) -> Entry {
    let mut entry = world.journal.entry(world.now.civil, kind);
    entry.door = Some(request.door.clone());
    entry.output.clone_from(&request.output);
    entry.actor = Some(request.who.clone());
    entry.method = Some(request.method.as_str().to_owned());
    entry.leg.clone_from(&request.address);
    entry.call.clone_from(&request.call);
    entry
}

fn done(request: Request, output: Option<String>, result: BuzzResult) -> Done {
    Done {
        request,
        output,
        intent: None,
        result,
        rule: None,
        driver: None,
        detail: None,
        latency: Duration::ZERO,
    }
}

/// Answers a request that starts no intent of its own, and records it.
fn finish(world: &mut World<'_>, decision: Decision, done: Done) {
    let mut entry = entry(world, Kind::Unlock, &done.request);
    entry.output.clone_from(&done.output);
    entry.decision = Some(decision);
    entry.rule.clone_from(&done.rule);
    entry.result = Some(done.result.as_str().to_owned());
    entry.detail.clone_from(&done.detail);
    let record = world.journal.record(entry);
    world.out.push(Effect::Record(record));
    world.out.push(Effect::Done(Box::new(done)));
}

fn alarm(world: &mut World<'_>, request: &Request, what: &str) {
    let mut entry = entry(world, Kind::Alarm, request);
    entry.detail = Some(what.to_owned());
    let record = world.journal.record(entry);
    world.out.push(Effect::Record(record));
}
