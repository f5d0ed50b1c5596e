//! The top machine: the transaction layer, the registrar, the calls and the unlock pipeline under one roof.

mod authentication;
mod buzz;
mod deadlines;
mod dispatch;
mod events;
mod gruu;
mod handover;
mod heard;
mod inspection;
mod interface;
mod locating;
mod overload;
mod proxying;
mod registration;
mod relay;
mod station;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use dialplan::{Directory, Plan};
use media_bridge::Event;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sip_proxy::digest::Authenticator;
use sip_proxy::message::Capabilities;
use sip_proxy::{ClientTx, ConnectionId, Endpoint, Location, Pool, Registrar, ServerTx};

use crate::Now;
use crate::accounts::Accounts;
use crate::audit::{Journal, Kind};
use crate::call::{Call, CallInput, Party};
use crate::cdr::{Cdr, EndReason};
use crate::config::Config;
use crate::ladder::Ladders;
use crate::lease::Leases;
use crate::penalty::Penalties;
use crate::profile::Stations;
use crate::site::{Effect, Site};
use crate::story::{Line, Story};
use crate::transactions::{Owner, Serials};
use crate::unlock::{self, Unlocks};

pub(crate) use events::capabilities;
pub use events::{EventCounters, Reading};
pub use interface::{Counters, Input, Notice, Output, Outputs};

/// Requests remembered that must not be repeated; the oldest is forgotten first.
const OVERDUE: usize = 256;

/// The machine.
pub struct B2bua {
    pub(crate) site: Site,
    endpoint: Endpoint,
    registrar: Registrar,
    capabilities: Capabilities,
    /// Made at the first input: nonces are stamped relative to it.
    authenticator: Option<Authenticator>,
    journal: Journal,
    unlocks: Unlocks,
    calls: BTreeMap<u64, Call>,
    next_call: u64,
    /// Calls that are not over for their people; those that are only wait for transactions.
    live: usize,
    /// Live calls by calling device.
    per_device: BTreeMap<String, usize>,
    ringing: BTreeSet<u64>,
    /// Deadlines of calls.
    wakes: BTreeSet<(Instant, u64)>,
    wake_of: BTreeMap<u64, Instant>,
    /// Legs that changed calls.
    moved: handover::Moved,
    /// INVITEs not yet answered, for CANCEL. One entry per call.
    invites: BTreeMap<ServerTx, u64>,
    /// Requests of ours to stations that drive a relay. Bounded by the intents of the last half minute.
    stations: BTreeMap<ClientTx, station::Asked>,
    /// INVITEs that were a buzz: after the ACK of their 200 the dialog is ended. Bounded by the intents under way.
    buzz_invites: BTreeMap<ServerTx, buzz::BuzzInvite>,
    /// Requests to stations whose intent is over, by Call-ID and CSeq: they are not repeated. Bounded by [`OVERDUE`].
    overdue: VecDeque<(Instant, String, u32)>,
    station_serials: Serials,
    /// How stations are spoken to.
    speech: Stations,
    /// The realm each door's station named first. Bounded by the doors that have a login.
    station_realms: BTreeMap<String, String>,
    /// Failed authentications written to the log in the current minute.
    auth_records: (Option<Instant>, u32),
    /// Connections whose peer proved itself by certificate, and by which name: `Config::certified` says whose it is.
    /// Bounded by the connections open.
    certified: BTreeMap<ConnectionId, String>,
    penalties: Penalties,
    proxying: proxying::Proxying,
    events: events::Events,
    qualify: events::Qualify,
    /// Alarms of stations written to the log in the current minute.
    station_records: events::StationRecords,
    ladders: Ladders,
    /// Somebody listens to all messages.
    tapped: bool,
    draining: bool,
    counters: Counters,
    queue: VecDeque<Output>,
    scratch: Vec<sip_proxy::Output>,
    unlock_effects: Vec<unlock::Effect>,
}

impl std::fmt::Debug for B2bua {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("B2bua")
            .field("calls", &self.calls.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl B2bua {
    /// A machine without calls or bindings.
    #[must_use]
    pub fn new(
        config: Config,
        plan: Arc<Plan>,
        directory: Arc<Directory>,
        accounts: Arc<Accounts>,
        mut rng: Box<dyn Rng + Send>,
    ) -> Self {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let endpoint = Endpoint::new(config.endpoint.clone(), Box::new(StdRng::from_seed(seed)));
        let limits = &config.registration;
        let registrar = Registrar::new(sip_proxy::RegistrarConfig {
            min_expires: limits.min_expires,
            max_expires: limits.max_expires,
            default_expires: limits.default_expires,
            max_contacts: limits.max_contacts,
            own: config.advertise.keys().copied().collect(),
            strict_path: limits.strict_path,
            service_route: limits.service_route.clone(),
            flow_timer: limits.flow_timer,
            push: limits.push.clone(),
            gruus: config.gruu_key.map(sip_proxy::Gruus::new),
        });
        let locator = locating::locator(&config, seed);
        let epoch = rng.next_u32();
        B2bua {
            endpoint,
            registrar,
            capabilities: inspection::capabilities(),
            authenticator: None,
            journal: Journal::new(&config.site),
            unlocks: Unlocks::new(config.unlock.clone(), config.high_water),
            calls: BTreeMap::new(),
            next_call: 1,
            live: 0,
            per_device: BTreeMap::new(),
            ringing: BTreeSet::new(),
            wakes: BTreeSet::new(),
            wake_of: BTreeMap::new(),
            moved: handover::Moved::default(),
            invites: BTreeMap::new(),
            stations: BTreeMap::new(),
            buzz_invites: BTreeMap::new(),
            overdue: VecDeque::new(),
            station_serials: Serials::new(Owner::Station),
            speech: Stations::default(),
            station_realms: BTreeMap::new(),
            auth_records: (None, 0),
            certified: BTreeMap::new(),
            penalties: Penalties::default(),
            proxying: proxying::Proxying::new(&config),
            events: events::Events::new(&config.events),
            qualify: events::Qualify::new(config.qualify),
            station_records: events::StationRecords::default(),
            ladders: Ladders::new(config.ladder_octets),
            tapped: false,
            draining: false,
            counters: Counters::default(),
            queue: VecDeque::new(),
            scratch: Vec::new(),
            unlock_effects: Vec::new(),
            site: Site {
                location: Location::new(limits.max_bindings),
                pool: Pool::default(),
                locator,
                leases: Leases::new(
                    config.media_workers,
                    &config.media_families,
                    config.leases_kept,
                ),
                config,
                plan,
                directory,
                accounts,
                rng,
                effects: VecDeque::new(),
                engaged: BTreeMap::new(),
                parked: BTreeMap::new(),
                epoch,
            },
        }
    }

    /// How stations are spoken to; later by [`Input::Stations`].
    pub fn set_stations(&mut self, stations: Stations) {
        // Another login may mean another station: its realm is learnt anew.
        let logins = &self.speech.logins;
        self.station_realms
            .retain(|door, _| stations.logins.get(door) == logins.get(door));
        self.speech = stations;
    }

    /// One input.
    pub fn handle(&mut self, now: Now, input: Input) -> Outputs<'_> {
        match input {
            Input::Received { flow, bytes } => {
                self.hear(now, false, &flow, &bytes);
                if self.is_silenced(now, &flow, &bytes) {
                    self.counters.silenced += 1;
                } else {
                    self.feed(now, sip_proxy::Input::Received { flow, bytes });
                }
            }
            Input::Refuse {
                flow,
                bytes,
                retry_after,
            } => {
                self.hear(now, false, &flow, &bytes);
                let input = sip_proxy::Input::Refuse {
                    flow,
                    bytes,
                    retry_after,
                };
                self.feed(now, input);
            }
            Input::ConnectionClosed { connection } => self.connection_closed(now, connection),
            Input::Certified { connection, names } => self.certified(connection, &names),
            Input::TransportFailed { flow, bytes } => {
                self.feed(now, sip_proxy::Input::TransportFailed { flow, bytes });
            }
            Input::Timeout => self.timeout(now),
            Input::Media(event) => self.media(now, event),
            Input::Leased(lease) => {
                if let Some(surplus) = self.site.leases.put(lease) {
                    self.queue.push_back(Output::ReturnLease(surplus));
                }
            }
            Input::Recorded { record } => {
                self.unlock(now, |unlocks, world| unlocks.recorded(world, record));
            }
            Input::RecordFailed { record } => {
                self.unlock(now, |unlocks, world| unlocks.record_failed(world, record));
            }
            Input::RelayDone {
                intent,
                attempt,
                outcome,
            } => {
                self.unlock(now, |unlocks, world| {
                    unlocks.outcome(world, intent, attempt, outcome);
                });
            }
            Input::Reload {
                plan,
                directory,
                accounts,
            } => self.reload(now, plan, directory, accounts),
            Input::Restore(bindings) => {
                for (aor, binding) in bindings {
                    self.site.location.restore(&aor, binding);
                }
                self.qualify_all(now);
            }
            Input::Stations(stations) => self.set_stations(*stations),
            Input::Trunks(trunks) => self.site.config.trunks = trunks,
            Input::Peers { trusted, certified } => self.set_peers(now, trusted, certified),
            Input::Resolved { question, answer } => {
                self.resolved(now, question, answer);
            }
            Input::Tap(on) => self.tapped = on,
            Input::MessagesWaiting { account, waiting } => {
                self.messages_waiting(now, account, waiting);
            }
            Input::Drain => self.draining = true,
            Input::Shutdown => {
                self.draining = true;
                let numbers: Vec<u64> = self.calls.keys().copied().collect();
                for number in numbers {
                    self.run(now, number, CallInput::End(EndReason::Shutdown));
                }
                self.end_subscriptions(now);
            }
        }
        self.perform(now);
        self.tell_watchers(now);
        self.name_heard();
        for want in self.site.leases.wants() {
            self.queue.push_back(Output::WantLeases(want));
        }
        Outputs {
            queue: &mut self.queue,
        }
    }

    /// When [`Input::Timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let calls = self.wakes.first().map(|(at, _)| *at);
        let others = [
            self.endpoint.next_timeout(),
            self.unlocks.next_timeout(),
            self.site.location.next_timeout(),
            self.site.locator.next_timeout(),
            self.proxying.next_timeout(),
            self.events.next_timeout(),
            self.qualify.next_timeout(),
        ];
        others.into_iter().chain([calls]).flatten().min()
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The transaction layer's counts.
    #[must_use]
    pub fn sip_counters(&self) -> &sip_proxy::Counters {
        self.endpoint.counters()
    }

    /// Calls in progress for their people.
    #[must_use]
    pub fn live_calls(&self) -> usize {
        self.live
    }

    /// Calls held, those included that only wait for their last transactions. Zero when nothing dangles.
    #[must_use]
    pub fn held_calls(&self) -> usize {
        self.calls.len()
    }

    /// SIP transactions alive, of both sides.
    #[must_use]
    pub fn held_transactions(&self) -> usize {
        self.endpoint.server_transactions() + self.endpoint.client_transactions()
    }

    /// Dialogs that pass through and are remembered.
    #[must_use]
    pub fn proxied_dialogs(&self) -> usize {
        self.proxying.dialogs()
    }

    /// Unlock intents under way.
    #[must_use]
    pub fn intents(&self) -> usize {
        self.unlocks.len()
    }

    /// Free media leases.
    #[must_use]
    pub fn free_leases(&self) -> usize {
        self.site.leases.free()
    }

    /// Sources that gave wrong credentials lately.
    #[must_use]
    pub fn failing_sources(&self) -> usize {
        self.penalties.len()
    }

    /// Contacts registered.
    #[must_use]
    pub fn bindings(&self) -> usize {
        self.site.location.len()
    }

    /// The stories of live calls.
    pub fn stories(&self) -> impl Iterator<Item = &Story> {
        let bridged = self.calls.values().map(|call| &call.story);
        bridged.chain(self.proxying.stories())
    }

    fn timeout(&mut self, now: Now) {
        self.feed(now, sip_proxy::Input::Timeout);
        self.calls_timeout(now);
        self.locator_timeout(now);
        self.proxy_timeout(now);
        if self.unlocks.next_timeout().is_some_and(|at| at <= now.mono) {
            self.unlock(now, |unlocks, world| unlocks.timeout(world));
        }
        if self
            .site
            .location
            .next_timeout()
            .is_some_and(|at| at <= now.mono)
        {
            let changes = self.site.location.expire(now.mono);
            self.bindings_changed(now, changes);
        }
        self.events_timeout(now);
        self.qualify_timeout(now);
    }

    fn media(&mut self, now: Now, event: Event) {
        let leg = match &event {
            Event::Digit { leg, .. }
            | Event::Latched { leg, .. }
            | Event::Silent { leg, .. }
            | Event::PlayDone { leg }
            | Event::DigitsSent { leg, .. }
            | Event::Closed { leg, .. }
            | Event::Stats { leg, .. } => *leg,
        };
        let (number, index) = crate::call::leg_of(leg);
        let (number, index) = self.moved.place(number, index);
        self.run(now, number, CallInput::Media { index, event });
    }

    fn connection_closed(&mut self, now: Now, connection: ConnectionId) {
        self.site.pool.closed(connection);
        self.proxying.connection_closed(connection);
        self.certified.remove(&connection);
        self.feed(now, sip_proxy::Input::ConnectionClosed { connection });
        let changes = self.site.location.connection_closed(connection);
        self.events_connection_closed(connection);
        self.bindings_changed(now, changes);
        let gone: Vec<u64> = self
            .ringing
            .iter()
            .copied()
            .filter(|number| {
                self.calls
                    .get(number)
                    .is_some_and(|call| call.caller.flow.connection == Some(connection))
            })
            .collect();
        for number in gone {
            self.run(now, number, CallInput::CallerGone);
        }
        let mut touched = Vec::new();
        for (number, call) in &mut self.calls {
            if call.connection_closed(now.mono, connection) {
                touched.push(*number);
            }
        }
        for number in touched {
            self.run(now, number, CallInput::Timeout);
        }
    }

    fn reload(
        &mut self,
        now: Now,
        plan: Arc<Plan>,
        directory: Arc<Directory>,
        accounts: Arc<Accounts>,
    ) {
        self.site.plan = plan;
        self.site.directory = directory;
        self.site.accounts = accounts;
        let aors: BTreeSet<String> = self
            .site
            .location
            .iter()
            .map(|(aor, _)| aor.to_owned())
            .collect();
        for aor in aors {
            let user = aor
                .strip_prefix("sip:")
                .and_then(|aor| aor.split('@').next())
                .unwrap_or_default();
            if self.site.party(user).is_none() {
                let changes = self.site.location.revoke(&aor);
                self.bindings_changed(now, changes);
            }
        }
        self.judge_watchers(now);
        self.qualify_all(now);
        let cut: Vec<u64> = self
            .calls
            .iter()
            .filter(|(_, call)| {
                let stays = |party: &Party| self.site.party(&party.user).as_ref() == Some(party);
                !call.parties().all(stays)
            })
            .map(|(number, _)| *number)
            .collect();
        for number in cut {
            self.run(now, number, CallInput::End(EndReason::Revoked));
        }
        self.cut_proxied(now);
        let ringing: Vec<u64> = self.ringing.iter().copied().collect();
        for number in ringing {
            self.run(now, number, CallInput::Reloaded);
        }
    }

    /// The door an address-of-record stands at.
    fn door_of(&self, aor: &str) -> Option<String> {
        let user = aor.strip_prefix("sip:")?.split('@').next()?;
        self.site.party(user)?.door
    }

    /// Feeds the transaction layer and takes what comes out.
    fn feed(&mut self, now: Now, mut input: sip_proxy::Input) {
        self.to_contact(now, &mut input);
        let mut outputs = std::mem::take(&mut self.scratch);
        outputs.extend(self.endpoint.handle(now.mono, input));
        for output in outputs.drain(..) {
            self.transaction_output(now, output);
        }
        self.scratch = outputs;
    }

    /// One input to one call, and its deadline anew.
    pub(crate) fn run(&mut self, now: Now, number: u64, input: CallInput) {
        let Some(call) = self.calls.get_mut(&number) else {
            return;
        };
        call.handle(&mut self.site, now, input);
        self.after(number);
    }

    /// Books a call's deadline and state after it ran; forgets it when nothing of it is left.
    fn after(&mut self, number: u64) {
        self.watch_call(number);
        if let Some(at) = self.wake_of.remove(&number) {
            self.wakes.remove(&(at, number));
        }
        let Some(call) = self.calls.get_mut(&number) else {
            return;
        };
        call.count_engaged(&mut self.site);
        if call.is_ended() && !std::mem::replace(&mut call.progress.uncounted, true) {
            self.counters.answered += u64::from(call.times.answered.is_some());
            let device = call.origin.device.clone();
            self.release(&device);
        }
        let Some(call) = self.calls.get_mut(&number) else {
            return;
        };
        if call.is_over() {
            self.ringing.remove(&number);
            if let Some(call) = self.calls.remove(&number) {
                self.watch_call(number);
                self.invites.remove(&call.caller_tx);
                self.moved.forget(number);
                self.end_ladder(number, call.times.answered.is_some());
            }
            return;
        }
        if call.is_ringing() {
            self.ringing.insert(number);
        } else {
            self.ringing.remove(&number);
        }
        if let Some(at) = call.next_timeout() {
            self.wakes.insert((at, number));
            self.wake_of.insert(number, at);
        }
    }

    /// A call of this device is over for its people.
    fn release(&mut self, device: &str) {
        self.live = self.live.saturating_sub(1);
        if let Some(count) = self.per_device.get_mut(device) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_device.remove(device);
            }
        }
    }

    /// Carries out what calls asked for, until nothing is asked any more.
    fn perform(&mut self, now: Now) {
        while let Some(effect) = self.site.effects.pop_front() {
            match effect {
                Effect::Sip(input) => {
                    self.claim(&input);
                    self.feed(now, input);
                }
                Effect::Open(flow, name) => {
                    if let Some(connection) = flow.connection {
                        self.queue.push_back(Output::Open {
                            connection,
                            transport: flow.transport,
                            local: flow.local,
                            remote: flow.remote,
                            name,
                        });
                    }
                }
                Effect::Location(output) => self.location(now, output),
                Effect::Media(worker, command) => {
                    self.queue.push_back(Output::Media { worker, command });
                }
                Effect::ReturnLease(lease) => self.queue.push_back(Output::ReturnLease(lease)),
                Effect::Unlock(request) => {
                    self.counters.unlocks += 1;
                    self.unlock(now, |unlocks, world| unlocks.request(world, *request));
                }
                Effect::Driven(intent, attempt, outcome) => {
                    self.unlock(now, |unlocks, world| {
                        unlocks.outcome(world, intent, attempt, outcome);
                    });
                }
                Effect::PickUp { by, doors, devices } => self.pick_up(now, by, &doors, &devices),
                Effect::TakeUp { by, call } => self.take_seat(now, by, Some(call)),
                Effect::Replace { by, replaces } => self.replace(now, by, &replaces),
                Effect::Attend(attend) => self.attend(now, *attend),
                Effect::Ended(call) => self.call_ended(now, &call),
                Effect::Cdr(cdr, story) => {
                    self.record_call(now, &cdr);
                    self.queue.push_back(Output::Cdr(cdr));
                    self.queue.push_back(Output::Story(story));
                }
                Effect::Notice(notice) => self.queue.push_back(Output::Notice(notice)),
            }
        }
    }

    /// The log's own line on a call; the CDR has the rest.
    fn record_call(&mut self, now: Now, cdr: &Cdr) {
        let mut entry = self.journal.entry(now.civil, Kind::Call);
        entry.call = Some(cdr.call.clone());
        entry.door.clone_from(&cdr.door);
        entry.actor = Some(format!("device:{}", cdr.caller));
        entry.result = Some(cdr.end.as_str().to_owned());
        let winner = cdr
            .winner
            .as_deref()
            .map(|winner| format!("answered by {winner}"));
        entry.detail = winner;
        let record = self.journal.record(entry);
        self.queue.push_back(Output::Record(record));
    }

    fn call_ended(&mut self, now: Now, id: &str) {
        self.unlock(now, |unlocks, world| unlocks.call_ended(world, id));
    }

    /// The number in a call id of this process.
    fn number_of(&self, id: &str) -> Option<u64> {
        let (epoch, number) = id.split_once('-')?;
        (u32::from_str_radix(epoch, 16).ok()? == self.site.epoch)
            .then(|| number.parse().ok())
            .flatten()
    }

    /// A line in the story of a call.
    fn tell(&mut self, now: Now, id: Option<&str>, line: Line) {
        let number = id.and_then(|id| self.number_of(id));
        if let Some(call) = number.and_then(|number| self.calls.get_mut(&number)) {
            call.note(now, line);
        }
    }
}
