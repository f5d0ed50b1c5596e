//! A building under a virtual clock: doors, phones, the machine between them, its disk, relays and media workers.

pub(crate) mod early;
pub(crate) mod link;
pub(crate) mod names;
pub(crate) mod ua;
pub(crate) mod watches;
pub(crate) mod wires;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dialplan::{Device, Directory, Owner, Person, Plan, Unit};
use intercom::audit::{Decision, Kind, Record};
use intercom::config::{CallLimits, Listener};
use intercom::profile::Reinvite;
use intercom::unlock::{Drive, Outcome};
use intercom::{
    Account, Accounts, B2bua, Cdr, Config, Heard, Input, Ladder, Now, Output, StationProfile, Story,
};
use media_bridge::{Codec, Command, Digit, DigitSource, Event, Lease, LeaseId, LegId, LegStats};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sip_proxy::digest::Ha1;
use sip_proxy::{ConnectionId, Flow, Transport};

use link::{Link, Weather};
use names::Names;
use ua::Ua;
use wires::Wires;

pub(crate) const PLAN: &str = include_str!("plan.kdl");

enum Happening {
    ToServer(usize, Bytes, Option<ConnectionId>),
    ToDevice(usize, Bytes, Option<ConnectionId>),
    Feed(Box<Input>),
}

/// What drivers do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Relay {
    Opens(Duration),
    Refuses,
    Dead,
}

pub(crate) struct Building {
    pub(crate) b2bua: B2bua,
    pub(crate) uas: Vec<Ua>,
    config: Config,
    index: BTreeMap<String, usize>,
    server: SocketAddr,
    pub(crate) wires: Wires,
    origin: Instant,
    pub(crate) now: Instant,
    queue: BTreeMap<(Instant, u64), Happening>,
    serial: u64,
    link: Link,
    next_lease: u64,
    pub(crate) leased: BTreeSet<LeaseId>,
    pub(crate) open_legs: BTreeMap<LegId, LeaseId>,
    workers: BTreeMap<LegId, u16>,
    /// Whose sound a leg hears.
    remotes: BTreeMap<LegId, std::net::IpAddr>,
    silent: Vec<std::net::IpAddr>,
    pub(crate) commands: Vec<Command>,
    pub(crate) records: Vec<Record>,
    committed: BTreeSet<String>,
    pub(crate) drives: Vec<Drive>,
    pub(crate) relay: Relay,
    pub(crate) disk: Option<Duration>,
    pub(crate) cdrs: Vec<Cdr>,
    pub(crate) stories: Vec<Story>,
    pub(crate) ladders: Vec<Ladder>,
    pub(crate) heard: Vec<Heard>,
    pub(crate) violations: Vec<String>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) leases_dry: bool,
    pub(crate) names: Names,
    /// Lines for the log.
    pub(crate) notices: Vec<String>,
    /// What happened beside calls and unlocks.
    pub(crate) events: Vec<intercom::SiteEvent>,
    /// Everything put in and taken out, as a debug print shows it; kept when asked for.
    pub(crate) overheard: Option<String>,
}

pub(crate) const REALM: &str = "elm";
const SERVER: &str = "10.0.0.1:5060";
const SERVER_V6: &str = "[fd00::1]:5060";

fn profile(name: &str, codecs: Vec<Codec>, reinvite: Reinvite) -> (String, Arc<StationProfile>) {
    let profile = StationProfile {
        name: name.to_owned(),
        codecs,
        reinvite,
        ..StationProfile::default()
    };
    (name.to_owned(), Arc::new(profile))
}

pub(crate) fn directory() -> Directory {
    let device = |id: &str, owner: Owner| Device {
        id: id.to_owned(),
        owner,
        label: None,
        revoked: false,
    };
    let person = |id: &str, role: &str, unit: Option<&str>| Person {
        id: id.to_owned(),
        name: id.into(),
        role: role.to_owned(),
        unit: unit.map(str::to_owned),
        numbers: Vec::new(),
        revoked: false,
    };
    Directory::new(
        [Unit {
            id: "101".to_owned(),
            flags: BTreeSet::new(),
        }],
        [
            person("anna", "resident", Some("101")),
            person("petr", "resident", Some("101")),
            person("guest", "guest", Some("101")),
        ],
        [
            device("lobby", Owner::Door("lobby".to_owned())),
            device("garage", Owner::Door("garage".to_owned())),
            device("desk-1", Owner::Desk("desk".to_owned())),
            device("desk-2", Owner::Desk("desk".to_owned())),
            device("panel-101", Owner::Unit("101".to_owned())),
            device("anna-app", Owner::Person("anna".to_owned())),
            device("petr-phone", Owner::Person("petr".to_owned())),
            device("guest-phone", Owner::Person("guest".to_owned())),
        ],
    )
}

pub(crate) const DEVICES: [&str; 8] = [
    "lobby",
    "garage",
    "desk-1",
    "desk-2",
    "panel-101",
    "anna-app",
    "petr-phone",
    "guest-phone",
];

fn accounts() -> Accounts {
    let mut accounts = Accounts::new();
    for device in DEVICES {
        let profile = if device == "lobby" || device == "garage" {
            "door"
        } else {
            "phone"
        };
        accounts.insert(
            device,
            Account {
                ha1: Ha1::of(device, REALM, &format!("pw-{device}"), false),
                device: device.to_owned(),
                profile: profile.to_owned(),
            },
        );
    }
    accounts
}

fn settings(ipv6: bool) -> Config {
    Config {
        site: "elm-court".to_owned(),
        domains: vec!["elm.example".to_owned()],
        realm: REALM.to_owned(),
        nonce_key: [7; 32],
        profiles: BTreeMap::from([
            profile("door", vec![Codec::Pcma, Codec::Pcmu], Reinvite::Never),
            profile(
                "phone",
                vec![Codec::Opus, Codec::G722, Codec::Pcma, Codec::Pcmu],
                Reinvite::Allowed,
            ),
        ]),
        limits: CallLimits {
            max_duration: Duration::from_secs(600),
            ..CallLimits::default()
        },
        media_families: vec![ipv6],
        ..Config::default()
    }
}

impl Building {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        Self::with(seed, weather, |_| {})
    }

    pub(crate) fn with(seed: u64, weather: Weather, edit: impl FnOnce(&mut Config)) -> Self {
        Self::over(seed, weather, Transport::Udp, false, edit)
    }

    /// A building wired for a transport and an address family.
    pub(crate) fn over(
        seed: u64,
        weather: Weather,
        transport: Transport,
        ipv6: bool,
        edit: impl FnOnce(&mut Config),
    ) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "one origin for the virtual clock"
        )]
        let origin = Instant::now();
        let loaded = dialplan::load(PLAN, "plan.kdl", &|_| None);
        let plan = loaded
            .plan
            .unwrap_or_else(|| panic!("plan: {:?}", loaded.diagnostics));
        let plan = Arc::new(plan);
        let accounts = Arc::new(accounts());
        let mut config = settings(ipv6);
        let server: SocketAddr = if ipv6 { SERVER_V6 } else { SERVER }.parse().unwrap();
        config.listeners = vec![Listener {
            transport,
            local: server,
        }];
        edit(&mut config);
        let b2bua = B2bua::new(
            config.clone(),
            Arc::clone(&plan),
            Arc::new(directory()),
            Arc::clone(&accounts),
            Box::new(StdRng::seed_from_u64(seed)),
        );
        let uas: Vec<Ua> = DEVICES
            .iter()
            .enumerate()
            .map(|(index, device)| {
                let last = u8::try_from(index).unwrap() + 1;
                let addr = if ipv6 {
                    SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 1, last.into()], 5060))
                } else {
                    SocketAddr::from(([10, 0, 1, last], 5060))
                };
                let mut ua = Ua::new(
                    device,
                    addr,
                    server,
                    seed.wrapping_mul(31).wrapping_add(index as u64 + 1) % 65_536 + 1,
                );
                ua.transport = transport;
                ua
            })
            .collect();
        let index = DEVICES
            .iter()
            .enumerate()
            .map(|(at, device)| ((*device).to_owned(), at))
            .collect();
        let mut building = Building {
            b2bua,
            uas,
            config,
            index,
            server,
            wires: Wires::default(),
            origin,
            now: origin,
            queue: BTreeMap::new(),
            serial: 0,
            link: Link::new(seed ^ 0x5eed, weather),
            next_lease: 1,
            leased: BTreeSet::new(),
            open_legs: BTreeMap::new(),
            workers: BTreeMap::new(),
            remotes: BTreeMap::new(),
            silent: Vec::new(),
            commands: Vec::new(),
            records: Vec::new(),
            committed: BTreeSet::new(),
            drives: Vec::new(),
            relay: Relay::Opens(Duration::from_millis(120)),
            disk: Some(Duration::from_millis(3)),
            cdrs: Vec::new(),
            stories: Vec::new(),
            ladders: Vec::new(),
            heard: Vec::new(),
            violations: Vec::new(),
            accounts,
            plan,
            leases_dry: false,
            names: Names::default(),
            notices: Vec::new(),
            events: Vec::new(),
            overheard: None,
        };
        building.feed(Input::Timeout);
        building.run(Duration::from_millis(10));
        building
    }

    /// Brings in another plan, made from the building's own by replacing text.
    pub(crate) fn replan(&mut self, edits: &[(&str, &str)]) {
        let mut text = PLAN.to_owned();
        for (old, new) in edits {
            assert!(text.contains(old), "the plan has no {old}");
            text = text.replace(old, new);
        }
        let loaded = dialplan::load(&text, "plan.kdl", &|_| None);
        let plan = loaded
            .plan
            .unwrap_or_else(|| panic!("plan: {:?}", loaded.diagnostics));
        let accounts = Arc::clone(&self.accounts);
        self.feed(Input::Reload {
            plan: plan.into(),
            directory: directory().into(),
            accounts,
        });
    }

    /// A building whose devices have all registered over a good network.
    pub(crate) fn ready(seed: u64) -> Self {
        let mut building = Building::new(seed, Weather::FINE);
        building.register_all();
        building
    }

    pub(crate) fn register_all(&mut self) {
        let weather = std::mem::replace(&mut self.link.weather, Weather::FINE);
        for device in DEVICES {
            let now = self.now;
            self.ua(device).register(now);
            self.flush();
        }
        self.run(Duration::from_millis(50));
        self.link.weather = weather;
        assert_eq!(self.b2bua.bindings(), DEVICES.len(), "all are registered");
    }

    /// The server is killed and starts anew, with its keys but without its registrations.
    pub(crate) fn restart(&mut self) {
        self.b2bua = B2bua::new(
            self.config.clone(),
            Arc::clone(&self.plan),
            Arc::new(directory()),
            Arc::clone(&self.accounts),
            Box::new(StdRng::seed_from_u64(self.serial)),
        );
        self.feed(Input::Timeout);
    }

    /// Somebody outside the house, reached by UDP.
    pub(crate) fn outsider(&mut self, name: &str, addr: &str) -> &mut Ua {
        let (at, addr) = (self.uas.len(), addr.parse().unwrap());
        self.index.insert(name.to_owned(), at);
        self.uas
            .push(Ua::new(name, addr, self.server, 60_000 + at as u64));
        self.uas.last_mut().unwrap()
    }

    pub(crate) fn set_weather(&mut self, weather: Weather) {
        self.link.weather = weather;
    }

    pub(crate) fn ua(&mut self, device: &str) -> &mut Ua {
        let at = self.index[device];
        &mut self.uas[at]
    }

    /// Lets a device do something now.
    pub(crate) fn act(&mut self, device: &str, act: impl FnOnce(&mut Ua, Instant)) {
        let now = self.now;
        act(self.ua(device), now);
        self.flush();
    }

    pub(crate) fn at(&self) -> Duration {
        self.now - self.origin
    }

    fn clocks(&self) -> Now {
        let base: jiff::Timestamp = "2026-11-20T10:00:00Z".parse().unwrap();
        let since = jiff::SignedDuration::try_from(self.at()).unwrap();
        Now {
            mono: self.now,
            civil: base + since,
        }
    }

    fn later(&mut self, after: Duration, what: Happening) {
        self.serial += 1;
        self.queue.insert((self.now + after, self.serial), what);
    }

    pub(crate) fn feed(&mut self, input: Input) {
        let now = self.clocks();
        if let Some(heard) = &mut self.overheard {
            heard.push_str(&format!("{input:?}\n"));
        }
        let outputs: Vec<Output> = self.b2bua.handle(now, input).collect();
        for output in outputs {
            if let Some(heard) = &mut self.overheard {
                heard.push_str(&format!("{output:?}\n"));
            }
            self.output(output);
        }
    }

    fn feed_later(&mut self, after: Duration, input: Input) {
        self.later(after, Happening::Feed(Box::new(input)));
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Transmit { flow, bytes } => {
                let found = self.reach(&flow);
                let Some((at, wire)) = found else {
                    if flow.transport.is_stream() {
                        let failed = Input::TransportFailed { flow, bytes };
                        return self.feed_later(Duration::from_micros(10), failed);
                    }
                    self.violations
                        .push(format!("sent to a stranger {}", flow.remote));
                    return;
                };
                if bytes.starts_with(b"ACK ") && has_credentials(&bytes) {
                    self.violations
                        .push("somebody's credentials were passed on".to_owned());
                }
                if has_action(&bytes) && bytes.starts_with(b"INVITE") && !is_our_own(&bytes) {
                    self.violations
                        .push("an Action header was passed on".to_owned());
                }
                for delay in self.link.carry() {
                    self.later(delay, Happening::ToDevice(at, bytes.clone(), wire));
                }
            }
            Output::Media { worker, command } => self.media(worker, command),
            Output::Record(record) => {
                if let (true, Some(disk)) = (record.durable, self.disk) {
                    if record.entry.kind == Kind::Unlock
                        && record.entry.decision == Some(Decision::Granted)
                    {
                        let intent = record.entry.intent.clone().unwrap();
                        self.committed.insert(intent);
                    }
                    self.feed_later(disk, Input::Recorded { record: record.id });
                }
                self.records.push(record);
            }
            Output::OpenRelay(drive) => {
                if !self.committed.contains(&drive.intent.to_string()) {
                    self.violations
                        .push(format!("relay driven without a recorded Allow: {drive:?}"));
                }
                let (intent, attempt) = (drive.intent, drive.attempt);
                self.drives.push(drive);
                match self.relay {
                    Relay::Opens(after) => {
                        self.feed_later(
                            after,
                            Input::RelayDone {
                                intent,
                                attempt,
                                outcome: Outcome::Opened,
                            },
                        );
                    }
                    Relay::Refuses => {
                        let outcome = Outcome::Refused("401".to_owned());
                        self.feed_later(
                            Duration::from_millis(5),
                            Input::RelayDone {
                                intent,
                                attempt,
                                outcome,
                            },
                        );
                    }
                    Relay::Dead => {}
                }
            }
            Output::WantLeases(want) => self.lease(want),
            Output::Resolve(question) => {
                if let Some(answer) = self.names.answer(&question) {
                    let input = Input::Resolved { question, answer };
                    self.feed_later(Duration::from_millis(2), input);
                }
            }
            // The simulated network finds streams by their far end.
            Output::Open { .. } => {}
            Output::ReturnLease(id) => {
                if !self.leased.remove(&id) {
                    self.violations.push(format!("lease {id:?} returned twice"));
                }
            }
            Output::Cdr(cdr) => self.cdrs.push(*cdr),
            Output::Story(story) => self.stories.push(*story),
            Output::Ladder(ladder) => self.ladders.push(*ladder),
            Output::Heard(heard) => self.heard.push(*heard),
            Output::Notice(notice) => self.notices.push(notice.text),
            Output::Event(event) => self.happened(*event),
            Output::Bindings(_) => {}
        }
    }

    fn lease(&mut self, want: intercom::lease::Want) {
        for _ in 0..want.count {
            if self.leases_dry {
                break;
            }
            let id = LeaseId(self.next_lease);
            let port = u16::try_from(20_000 + (self.next_lease * 2) % 40_000).unwrap();
            self.next_lease += 1;
            let rtp = SocketAddr::new(self.server.ip(), port);
            self.leased.insert(id);
            let lease = Lease {
                id,
                worker: want.worker,
                rtp,
                advertise: rtp.ip(),
            };
            self.feed_later(Duration::from_micros(10), Input::Leased(lease));
        }
    }

    fn happened(&mut self, event: intercom::SiteEvent) {
        self.notices.push(event.to_string());
        self.events.push(event);
    }

    fn media(&mut self, worker: u16, command: Command) {
        self.judge_worker(worker, &command);
        if let Command::Open { leg, config, .. } | Command::Update { leg, config } = &command {
            let remote = config.remote_rtp.ip();
            self.remotes.insert(*leg, remote);
            if self.silent.contains(&remote) && config.direction.receives() {
                self.fall_silent(*leg);
            }
        }
        match &command {
            Command::Open { leg, config, .. } => {
                let before = self.open_legs.insert(*leg, config.lease);
                let twice = before.map(|_| format!("leg {leg:?} opened twice"));
                self.violations.extend(twice);
            }
            Command::Close { leg } => match self.open_legs.remove(leg) {
                Some(lease) => {
                    self.leased.remove(&lease);
                    let stats = LegStats {
                        packets_in: 500,
                        packets_out: 500,
                        ..LegStats::default()
                    };
                    self.feed_later(
                        Duration::from_millis(1),
                        Input::Media(Event::Closed { leg: *leg, stats }),
                    );
                }
                None => self
                    .violations
                    .push(format!("leg {leg:?} closed but not open")),
            },
            Command::SendDigits { leg, order, .. } => {
                let (leg, order) = (*leg, *order);
                self.feed_later(
                    Duration::from_millis(400),
                    Input::Media(Event::DigitsSent { leg, order }),
                );
            }
            _ => {}
        }
        self.commands.push(command);
    }

    /// Both legs of a pair are on one worker, and every word about a leg goes to its own.
    fn judge_worker(&mut self, worker: u16, command: &Command) {
        let legs = match command {
            Command::Open { leg, .. } => {
                self.workers.insert(*leg, worker);
                return;
            }
            Command::Join { a, b } => vec![*a, *b],
            Command::Update { leg, .. }
            | Command::Part { leg }
            | Command::Play { leg, .. }
            | Command::Close { leg } => vec![*leg],
            _ => return,
        };
        for leg in legs {
            if self.workers.get(&leg) != Some(&worker) {
                self.violations.push(format!(
                    "worker {worker} is told {command:?}, which is elsewhere"
                ));
            }
        }
    }

    /// The device a flow leads to, and by which connection.
    fn reach(&mut self, flow: &Flow) -> Option<(usize, Option<ConnectionId>)> {
        let listens = |ua: &Ua| ua.addr == flow.remote;
        if !flow.transport.is_stream() {
            return Some((self.uas.iter().position(listens)?, None));
        }
        if let Some(id) = flow.connection {
            return Some((self.wires.get(id)?.device, Some(id)));
        }
        let at = self.uas.iter().position(listens)?;
        Some((at, Some(self.wires.dial(at, flow.remote))))
    }

    /// A device is gone without a word; the worker hears nothing of it any more.
    pub(crate) fn die(&mut self, device: &str) {
        self.ua(device).dead = true;
        self.ua(device).sent.clear();
        let ip = self.find(device).addr.ip();
        self.silent.push(ip);
        let legs: Vec<LegId> = self
            .remotes
            .iter()
            .filter(|(_, remote)| **remote == ip)
            .map(|(leg, _)| *leg)
            .collect();
        for leg in legs {
            self.fall_silent(leg);
        }
    }

    fn fall_silent(&mut self, leg: LegId) {
        let for_ = Duration::from_secs(30);
        self.feed_later(for_, Input::Media(Event::Silent { leg, for_ }));
    }

    /// Takes a device out of the directory.
    pub(crate) fn revoke(&mut self, device: &str) {
        let all = directory();
        let devices = all.devices().values().filter(|found| found.id != device);
        let directory = Directory::new(
            all.units().values().cloned(),
            all.people().values().cloned(),
            devices.cloned(),
        );
        let (plan, accounts) = (Arc::clone(&self.plan), Arc::clone(&self.accounts));
        self.feed(Input::Reload {
            plan,
            directory: directory.into(),
            accounts,
        });
    }

    /// A datagram from an address of the caller's choosing.
    pub(crate) fn inject(&mut self, from: SocketAddr, text: String) {
        let flow = Flow {
            transport: Transport::Udp,
            local: self.server,
            remote: from,
            connection: None,
        };
        self.feed(Input::Received {
            flow,
            bytes: text.into(),
        });
    }

    /// All connections of a device end, as by a power cut or a NAT that forgot.
    pub(crate) fn cut(&mut self, device: &str) {
        let at = self.index[device];
        for connection in self.wires.close(at) {
            self.feed(Input::ConnectionClosed { connection });
        }
        self.flush();
    }

    /// Carries what devices have sent.
    pub(crate) fn flush(&mut self) {
        for at in 0..self.uas.len() {
            for bytes in std::mem::take(&mut self.uas[at].sent) {
                let stream = self.uas[at].transport.is_stream();
                let ip = self.uas[at].addr.ip();
                let wire = stream.then(|| self.wires.by_device(at, ip).0);
                for delay in self.link.carry() {
                    self.later(delay, Happening::ToServer(at, bytes.clone(), wire));
                }
            }
        }
    }

    /// One moment; `false` when nothing will ever happen.
    fn step(&mut self, until: Instant) -> bool {
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        let server = self.b2bua.next_timeout();
        let devices = self.uas.iter().filter_map(Ua::next_timeout).min();
        let Some(next) = [queued, server, devices]
            .into_iter()
            .flatten()
            .min()
            .filter(|at| *at <= until)
        else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(next);
        let now = self.now;
        if queued.is_some_and(|at| at <= now) {
            let (_, happening) = self.queue.pop_first().unwrap();
            match happening {
                // What was under way when its connection ended is lost.
                Happening::ToServer(_, _, Some(wire)) | Happening::ToDevice(_, _, Some(wire))
                    if self.wires.get(wire).is_none() => {}
                Happening::ToServer(at, bytes, wire) => {
                    let remote = wire.and_then(|wire| self.wires.get(wire));
                    let flow = Flow {
                        transport: self.uas[at].transport,
                        local: self.server,
                        remote: remote.map_or(self.uas[at].addr, |wire| wire.remote),
                        connection: wire,
                    };
                    self.feed(Input::Received { flow, bytes });
                }
                Happening::ToDevice(at, bytes, _) => self.uas[at].receive(now, bytes),
                Happening::Feed(input) => self.feed(*input),
            }
        } else if server.is_some_and(|at| at <= now) {
            self.feed(Input::Timeout);
        } else {
            for ua in &mut self.uas {
                if ua.next_timeout().is_some_and(|at| at <= now) {
                    ua.timeout(now);
                }
            }
        }
        self.flush();
        true
    }

    pub(crate) fn run(&mut self, length: Duration) {
        let until = self.now + length;
        while self.step(until) {}
    }

    /// Runs until a condition holds; panics when it does not within `limit`.
    pub(crate) fn until(&mut self, what: &str, limit: Duration, holds: impl Fn(&Building) -> bool) {
        let end = self.now + limit;
        while !holds(self) {
            if !self.step(end) {
                for story in self.b2bua.stories() {
                    eprintln!("{story}");
                }
                panic!("{what}: not within {limit:?}");
            }
        }
    }

    pub(crate) fn find(&self, device: &str) -> &Ua {
        &self.uas[self.index[device]]
    }

    /// A key press heard by the bridge on the leg of the newest call's caller (0) or of another leg.
    pub(crate) fn press(&mut self, leg: LegId, digit: char) {
        let digit = Digit::new(digit).unwrap();
        self.feed(Input::Media(Event::Digit {
            leg,
            digit,
            duration_ms: 0,
            source: DigitSource::Rtp,
        }));
    }

    /// The two legs joined last: the caller's and the callee's.
    pub(crate) fn joined(&self) -> (LegId, LegId) {
        self.commands
            .iter()
            .rev()
            .find_map(|command| match command {
                Command::Join { a, b } => Some((*a, *b)),
                _ => None,
            })
            .expect("a call is joined")
    }

    /// Whether a leg was opened as one whose keys count.
    pub(crate) fn feeds(&self, leg: LegId) -> bool {
        self.commands
            .iter()
            .any(|command| matches!(command, Command::Open { leg: opened, feeds_keys: true, .. } if *opened == leg))
    }

    /// What was, is over: the next call is told apart from it.
    pub(crate) fn forget(&mut self) {
        self.uas.iter_mut().for_each(Ua::forget);
        self.cdrs.clear();
        self.stories.clear();
        self.ladders.clear();
        self.heard.clear();
        self.records.clear();
        self.commands.clear();
        self.notices.clear();
    }

    /// A device that missed a BYE for good (every copy lost) or hung up a call it forgot knows nothing of the end: only
    /// the machine's own side is judged.
    pub(crate) fn forgive_lost_dialogs(&mut self) {
        for ua in &mut self.uas {
            for call in &mut ua.calls {
                call.over = true;
            }
        }
    }

    /// What must hold when all is over.
    pub(crate) fn check_quiet(&mut self) {
        self.run(Duration::from_secs(120));
        let mut wrong = std::mem::take(&mut self.violations);
        if self.b2bua.held_calls() != 0 {
            wrong.push(format!("{} calls dangle", self.b2bua.held_calls()));
            wrong.extend(self.b2bua.stories().map(ToString::to_string));
        }
        if self.b2bua.live_calls() != 0 || self.b2bua.intents() != 0 {
            wrong.push(format!(
                "{} live calls, {} intents",
                self.b2bua.live_calls(),
                self.b2bua.intents()
            ));
        }
        let stuck = self.b2bua.counters().stuck_deadlines;
        if stuck != 0 {
            wrong.push(format!("{stuck} deadlines stayed in the past"));
        }
        if !self.open_legs.is_empty() {
            wrong.push(format!("open media: {:?}", self.open_legs));
        }
        if self.leased.len() != self.b2bua.free_leases() {
            wrong.push(format!(
                "{} leases out, {} free",
                self.leased.len(),
                self.b2bua.free_leases()
            ));
        }
        for ua in &self.uas {
            if ua.open_calls() != 0 {
                wrong.push(format!(
                    "{}: {} calls open: {:?}",
                    ua.user,
                    ua.open_calls(),
                    ua.log
                ));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

fn has_action(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes)
        .lines()
        .any(|line| line.to_ascii_lowercase().starts_with("action"))
}

fn has_credentials(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes).contains("\r\nAuthorization:")
}

/// Told to a station by us, not bridged from anybody.
fn is_our_own(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(bytes).contains("From: <sip:doorward@")
}
