//! Asks registered contacts and doors by OPTIONS whether they are there.
//!
//! A hint, never a verdict: a call rings whoever has a contact, reachable or not. What it is good for: an alarm when a
//! door falls silent, presence, and the question "since when" before the fitter is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sip_proxy::{BindingChange, ClientTx, HeaderName, Method, OutgoingRequest};

use super::{B2bua, user_of};
use crate::config::QualifyConfig;
use crate::profile::Qualified;
use crate::reach::{History, Reach, Reachability};
use crate::site::Target;
use crate::transactions::{Owner, Serials};
use crate::{Now, SiteEvent};

/// An answer that takes longer counts as none.
const ANSWER: Duration = Duration::from_secs(5);
/// Contacts asked at one moment; the others wait a moment. So a start with ten thousand phones is no burst.
const AT_ONCE: usize = 64;
/// How long they wait.
const MOMENT: Duration = Duration::from_millis(20);

/// One contact of a device: account and URI.
type Key = (String, String);

#[derive(Debug)]
struct Contact {
    reach: Reach,
    every: Duration,
    wake: Instant,
    asked: Option<(ClientTx, Instant)>,
}

#[derive(Debug)]
struct Device {
    name: String,
    door: Option<String>,
    history: History,
    contacts: BTreeMap<String, Contact>,
    /// What was told of it last.
    told: Reachability,
}

impl Device {
    /// As reachable as its best contact.
    fn state(&self) -> Reachability {
        let states = self.contacts.values().map(|contact| contact.reach.state());
        let asked = states.filter(|state| *state != Reachability::Unknown);
        asked.min().unwrap_or_default()
    }

    fn rtt(&self) -> Option<Duration> {
        let rtts = self.contacts.values().filter_map(|c| c.reach.rtt());
        rtts.min()
    }
}

/// What is known of a device, for metrics and lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The device.
    pub device: String,
    /// The door it stands at.
    pub door: Option<String>,
    /// As reachable as its best contact.
    pub state: Reachability,
    /// Its best contact's latest round trip.
    pub rtt: Option<Duration>,
    /// Thousandths of the last 24 hours in which it was there.
    pub permille: Option<u16>,
    /// The same by hour, the oldest first.
    pub hours: Vec<Option<u16>>,
}

/// All that is asked. Bounded by the bindings there are and the fixed contacts of the configuration.
#[derive(Debug)]
pub(crate) struct Qualify {
    config: QualifyConfig,
    devices: BTreeMap<String, Device>,
    wakes: BTreeSet<(Instant, Key)>,
    asked: BTreeMap<ClientTx, Key>,
    serials: Serials,
    started: bool,
}

impl Qualify {
    pub(crate) fn new(config: QualifyConfig) -> Self {
        Qualify {
            config,
            devices: BTreeMap::new(),
            wakes: BTreeSet::new(),
            asked: BTreeMap::new(),
            serials: Serials::new(Owner::Qualify),
            started: false,
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.wakes.first().map(|(at, _)| *at)
    }

    fn contact(&mut self, key: &Key) -> Option<&mut Contact> {
        self.devices.get_mut(&key.0)?.contacts.get_mut(&key.1)
    }

    fn sleep(&mut self, key: &Key, until: Instant) {
        let Some(contact) = self.contact(key) else {
            return;
        };
        let before = std::mem::replace(&mut contact.wake, until);
        self.wakes.remove(&(before, key.clone()));
        self.wakes.insert((until, key.clone()));
    }

    /// A contact is no more; a device without any is not there.
    fn drop_contact(&mut self, now: Instant, key: &Key) {
        let Some(device) = self.devices.get_mut(&key.0) else {
            return;
        };
        if let Some(contact) = device.contacts.remove(&key.1) {
            self.wakes.remove(&(contact.wake, key.clone()));
            if let Some((tx, _)) = contact.asked {
                self.asked.remove(&tx);
            }
        }
        if device.contacts.is_empty() {
            device.history.set(now, false);
        }
    }
}

impl B2bua {
    /// How often a device is asked; `None`: never.
    fn qualify_every(&self, user: &str, door: bool) -> Option<Duration> {
        let config = &self.qualify.config;
        match self.site.profile(user).qualify {
            Qualified::Every(time) => Some(time),
            Qualified::Never => None,
            Qualified::AsConfigured if door => config.doors,
            Qualified::AsConfigured => config.devices,
        }
    }

    /// Bindings came or went.
    pub(super) fn qualify_bindings(&mut self, now: Now, changes: &[BindingChange]) {
        for change in changes {
            match change {
                BindingChange::Added { aor, binding }
                | BindingChange::Refreshed { aor, binding, .. }
                | BindingChange::Moved { aor, binding, .. } => {
                    self.qualify_contact(now, user_of(aor), &binding.contact);
                }
                BindingChange::Removed { aor, binding, .. } => {
                    let key = (user_of(aor).to_owned(), binding.contact.to_string());
                    self.qualify.drop_contact(now.mono, &key);
                    self.judge_device(now, &key.0);
                }
            }
        }
    }

    /// A contact there is; known ones stay as they are.
    fn qualify_contact(&mut self, now: Now, user: &str, contact: &str) {
        let known = self.qualify.devices.get(user);
        if known.is_some_and(|device| device.contacts.contains_key(contact)) {
            return;
        }
        let Some(account) = self.site.accounts.get(user) else {
            return;
        };
        // Registrations are the hot path: who is never asked costs two look-ups.
        let profiles = self.site.config.qualify;
        if profiles.doors.is_none()
            && profiles.devices.is_none()
            && self.site.config.profile(&account.profile).qualify == Qualified::AsConfigured
        {
            return;
        }
        let Some(party) = self.site.party(user) else {
            return;
        };
        let Some(every) = self.qualify_every(user, party.door.is_some()) else {
            return;
        };
        // Spread over the second half of the interval: what registers together is not asked together.
        let millis = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(2);
        let wait = millis / 2 + self.site.random() % (millis / 2);
        let wake = now.mono + Duration::from_millis(wait);
        let device = self
            .qualify
            .devices
            .entry(user.to_owned())
            .or_insert_with(|| Device {
                name: party.device,
                door: party.door,
                history: History::new(now.mono),
                contacts: BTreeMap::new(),
                told: Reachability::Unknown,
            });
        device.contacts.insert(
            contact.to_owned(),
            Contact {
                reach: Reach::default(),
                every,
                wake,
                asked: None,
            },
        );
        let key = (user.to_owned(), contact.to_owned());
        self.qualify.wakes.insert((wake, key));
    }

    /// The fixed contacts of stations that never register, and all bindings there are: at start and after a reload.
    pub(in super::super) fn qualify_all(&mut self, now: Now) {
        self.qualify.started = true;
        let fixed: Vec<(String, String)> = self
            .site
            .config
            .trusted
            .iter()
            .filter_map(|peer| Some((peer.account.clone(), peer.contact.as_ref()?.0.clone())))
            .collect();
        let bound: Vec<(String, String)> = self
            .site
            .location
            .iter()
            .map(|(aor, binding)| (user_of(aor).to_owned(), binding.contact.to_string()))
            .collect();
        for (user, contact) in fixed.into_iter().chain(bound) {
            self.qualify_contact(now, &user, &contact);
        }
        let accounts = std::sync::Arc::clone(&self.site.accounts);
        let gone: Vec<Key> = self
            .qualify
            .devices
            .iter()
            .filter(|(user, _)| accounts.get(user).is_none())
            .flat_map(|(user, device)| {
                let contacts = device.contacts.keys();
                contacts.map(|contact| (user.clone(), contact.clone()))
            })
            .collect();
        for key in &gone {
            self.qualify.drop_contact(now.mono, key);
        }
        self.qualify
            .devices
            .retain(|user, _| accounts.get(user).is_some());
    }

    /// Asks whose time has come, and counts who did not answer.
    pub(in super::super) fn qualify_timeout(&mut self, now: Now) {
        if !self.qualify.started {
            self.qualify_all(now);
        }
        let mut asked = 0;
        while let Some((at, key)) = self.qualify.wakes.first().cloned() {
            if at > now.mono {
                return;
            }
            if asked >= AT_ONCE {
                self.qualify.sleep(&key, now.mono + MOMENT);
                return;
            }
            asked += 1;
            self.qualify_turn(now, &key);
        }
    }

    fn qualify_turn(&mut self, now: Now, key: &Key) {
        let Some(contact) = self.qualify.contact(key) else {
            self.qualify.wakes.retain(|(_, known)| known != key);
            return;
        };
        let every = contact.every;
        if let Some((tx, since)) = contact.asked.take() {
            contact.reach.missed();
            // Once more at once: of a lost datagram nobody need hear.
            let next = if contact.reach.is_doubtful() {
                now.mono
            } else {
                (since + every).max(now.mono + Duration::from_millis(1))
            };
            self.qualify.asked.remove(&tx);
            self.qualify.sleep(key, next);
            self.judge_device(now, &key.0);
            return;
        }
        let target = self
            .qualify
            .devices
            .get(&key.0)
            .map(|device| device.name.clone())
            .map(|device| self.site.targets(&device, now.mono))
            .and_then(|targets| targets.into_iter().find(|target| target.uri == key.1));
        let Some(target) = target else {
            // Gone without a word: the binding's own end will tell, or a reload.
            self.qualify.sleep(key, now.mono + every);
            return;
        };
        let tx = self.qualify.serials.next();
        if let Some(contact) = self.qualify.contact(key) {
            contact.asked = Some((tx, now.mono));
        }
        self.qualify.asked.insert(tx, key.clone());
        self.qualify.sleep(key, now.mono + ANSWER.min(every));
        self.ask_options(&key.0, target, tx);
    }

    fn ask_options(&mut self, user: &str, target: Target, tx: ClientTx) {
        let (random, call) = (self.site.random(), self.site.random());
        let domain = self.site.config.domain();
        let request = OutgoingRequest {
            method: Method::Options,
            uri: target.uri,
            from: format!("<sip:doorward@{domain}>;tag={random:016x}"),
            to: format!("<sip:{user}@{domain}>"),
            call_id: format!("{call:016x}-q@{domain}"),
            cseq: 1,
            max_forwards: 70,
            route: target.route,
            contact: Some(self.site.contact(&target.flow)),
            headers: vec![(HeaderName::Accept, "application/sdp".to_owned())],
            body: None,
        };
        let to = target.flow;
        self.site.sip(sip_proxy::Input::Request { tx, request, to });
    }

    /// An answer, whatever it says.
    pub(in super::super) fn qualify_answered(&mut self, now: Now, tx: ClientTx, status: u16) {
        if status < 200 {
            return;
        }
        let Some(key) = self.qualify.asked.remove(&tx) else {
            return;
        };
        let lag = self.qualify.config.lag;
        let Some(contact) = self.qualify.contact(&key) else {
            return;
        };
        let Some((_, since)) = contact.asked.take() else {
            return;
        };
        let rtt = now.mono.saturating_duration_since(since);
        contact.reach.answered(rtt, lag);
        let next = since + contact.every;
        self.qualify.sleep(&key, next.max(now.mono));
        self.judge_device(now, &key.0);
    }

    /// It could not even be sent: as good as no answer.
    pub(in super::super) fn qualify_failed(&mut self, now: Now, tx: ClientTx) {
        let Some(key) = self.qualify.asked.get(&tx).cloned() else {
            return;
        };
        // The turn that is due then counts it, and does not hammer a dead connection.
        if let Some(contact) = self.qualify.contact(&key)
            && let Some((_, since)) = contact.asked
        {
            let due = since + ANSWER.min(contact.every);
            self.qualify.sleep(&key, due.max(now.mono));
        }
    }

    /// A device's state from its contacts; told when it is another.
    fn judge_device(&mut self, now: Now, user: &str) {
        let Some(device) = self.qualify.devices.get_mut(user) else {
            return;
        };
        let state = device.state();
        let up = matches!(state, Reachability::Reachable | Reachability::Lagging);
        device.history.set(now.mono, up);
        let before = std::mem::replace(&mut device.told, state);
        let first = before == Reachability::Unknown && state == Reachability::Reachable;
        if before == state || state == Reachability::Unknown || first {
            return;
        }
        let (name, door) = (device.name.clone(), device.door.clone());
        let rtt = device.rtt().unwrap_or_default();
        let event = match state {
            Reachability::Unreachable => SiteEvent::DeviceUnreachable {
                device: name.clone(),
                door,
            },
            Reachability::Lagging => SiteEvent::DeviceLagging {
                device: name.clone(),
                door,
                rtt,
            },
            Reachability::Reachable | Reachability::Unknown => SiteEvent::DeviceReachable {
                device: name.clone(),
                door,
                rtt,
            },
        };
        if event.is_alarm() {
            self.log_event(now, &event);
        }
        self.happened(event);
        self.events.dirty.insert(name);
    }

    /// Whether a device was asked and does not answer.
    pub(super) fn is_lost(&self, device: &str) -> bool {
        let user = self.site.accounts.user_of(device);
        user.and_then(|user| self.qualify.devices.get(user))
            .is_some_and(|device| device.state() == Reachability::Unreachable)
    }

    /// Devices by state, of those that are asked.
    #[must_use]
    pub fn reachability_counts(&self) -> [(Reachability, usize); 4] {
        let mut counts = Reachability::ALL.map(|state| (state, 0));
        for device in self.qualify.devices.values() {
            let state = device.state();
            if let Some((_, count)) = counts.iter_mut().find(|(known, _)| *known == state) {
                *count += 1;
            }
        }
        counts
    }

    /// What is known of each device that is asked, by account.
    pub fn reachability(&self, now: Instant) -> impl Iterator<Item = Reading> {
        self.qualify.devices.values().map(move |device| {
            let mut history = device.history.clone();
            history.advance(now);
            Reading {
                device: device.name.clone(),
                door: device.door.clone(),
                state: device.state(),
                rtt: device.rtt(),
                permille: history.permille(),
                hours: history.hours(),
            }
        })
    }
}
