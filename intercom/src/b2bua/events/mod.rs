//! Events: who watches whom, and what they are told (RFC 6665); messages, publications, and whether peers are there.
//!
//! ```text
//!   SUBSCRIBE ─► subscribe.rs ─ sight.rs: who may see what ─► Notifier
//!   a call changed ─► lines.rs ─ dirty devices ─┐
//!   a binding changed ──────────────────────────┼─► Notifier ─► documents.rs ─► NOTIFY
//!   PUBLISH ─► publish.rs ──────────────────────┘
//!   MESSAGE ─► message.rs     OPTIONS ─► options.rs     qualify.rs ─► OPTIONS
//! ```
//! A change costs what the watchers of that one entity cost, whatever else goes on in the house: calls are diffed as
//! they run, and only the devices whose lamp changed are looked up.

mod documents;
mod lines;
mod message;
mod options;
mod publish;
mod qualify;
mod sight;
mod subscribe;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use dialplan::Owner;
use sip_proxy::event::{End, Notifier, NotifierCounters, Publications};
use sip_proxy::{BindingChange, ConnectionId, RemovalCause};

use super::{B2bua, Output};
use crate::Now;
use crate::config::EventLimits;
use crate::event::Waiting;
use crate::site::Site;
use crate::transactions::{Owner as TxOwner, Serials};

pub(super) use message::StationRecords;
pub(crate) use options::capabilities;
pub(super) use qualify::Qualify;
pub use qualify::Reading;
use sight::Sight;

/// What can be watched. A door, a desk and a unit are all their devices together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entity {
    Device(String),
    Desk(String),
    Door(String),
    Unit(String),
}

impl Entity {
    /// Its name, which is the user part of its address.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Device(name) | Self::Desk(name) | Self::Door(name) | Self::Unit(name) => name,
        }
    }

    /// The devices it is made of.
    fn devices(&self, site: &Site) -> BTreeSet<String> {
        let mut devices = BTreeSet::new();
        let mut owned = |owner: Owner| {
            let found = site.directory.devices_of(&owner);
            devices.extend(found.map(|device| device.id.clone()));
        };
        match self {
            Self::Device(device) => {
                devices.insert(device.clone());
            }
            Self::Door(door) => owned(Owner::Door(door.clone())),
            Self::Desk(desk) => {
                owned(Owner::Desk(desk.clone()));
                if let Some(desk) = site.plan.desk(desk) {
                    devices.extend(desk.devices.iter().cloned());
                }
            }
            Self::Unit(unit) => {
                let found = site.directory.devices_of_unit(unit);
                devices.extend(found.into_iter().map(|device| device.id.clone()));
            }
        }
        devices
    }

    /// What a device is part of, itself first.
    fn of_device(site: &Site, device: &str) -> Vec<Entity> {
        let mut all = vec![Self::Device(device.to_owned())];
        match site.directory.device(device).map(|device| &device.owner) {
            Some(Owner::Door(door)) => all.push(Self::Door(door.clone())),
            Some(Owner::Desk(desk)) => all.push(Self::Desk(desk.clone())),
            Some(Owner::Unit(unit)) => all.push(Self::Unit(unit.clone())),
            Some(Owner::Person(person)) => {
                let unit = site.directory.person(person).and_then(|p| p.unit.clone());
                all.extend(unit.map(Self::Unit));
            }
            None => {}
        }
        for desk in site.plan.desks_of_device(device) {
            let desk = Self::Desk(desk.to_owned());
            if !all.contains(&desk) {
                all.push(desk);
            }
        }
        all
    }
}

/// A resource of a package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resource {
    Dialog(Entity),
    Presence(Entity),
    /// By account.
    Messages(String),
    /// By account.
    Reg(String),
}

/// What is kept of a subscription beside its dialog.
#[derive(Debug)]
pub(super) struct Watch {
    sight: Sight,
    /// Of the next document.
    version: u32,
    /// Dialogs or contacts in the latest document: those that are gone stand once more in the next. Bounded by what an
    /// entity has at once.
    told: Vec<(String, String)>,
}

/// Bindings lately removed, kept while somebody watches registrations; the oldest is forgotten first.
const REMOVED: usize = 64;

/// The room.
pub(super) struct Events {
    notifier: Notifier<Resource, Watch>,
    publications: Publications<Entity>,
    lines: lines::Lines,
    /// Devices whose state changed while the present input was handled.
    dirty: BTreeSet<String>,
    /// By account. Bounded by the accounts there are.
    waiting: BTreeMap<String, Waiting>,
    /// Account, contact, why.
    removed: VecDeque<(String, String, RemovalCause)>,
    serials: Serials,
    /// SUBSCRIBEs refused: package not served, no right, or no such entity.
    refused: u64,
}

impl Events {
    pub(super) fn new(limits: &EventLimits) -> Self {
        Events {
            notifier: Notifier::new(limits.notifier),
            publications: Publications::new(limits.publications),
            lines: lines::Lines::default(),
            dirty: BTreeSet::new(),
            waiting: BTreeMap::new(),
            removed: VecDeque::new(),
            serials: Serials::new(TxOwner::Notify),
            refused: 0,
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let due = [
            self.notifier.next_timeout(),
            self.publications.next_timeout(),
        ];
        due.into_iter().flatten().min()
    }
}

/// What was counted of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounters {
    /// Subscriptions held.
    pub subscriptions: usize,
    /// Publications held.
    pub publications: usize,
    /// SUBSCRIBEs refused for package, right or name.
    pub refused: u64,
    /// The notifier's own.
    pub notifier: NotifierCounters,
}

impl B2bua {
    /// What was counted of events.
    #[must_use]
    pub fn event_counters(&self) -> EventCounters {
        EventCounters {
            subscriptions: self.events.notifier.len(),
            publications: self.events.publications.len(),
            refused: self.events.refused,
            notifier: *self.events.notifier.counters(),
        }
    }

    /// Something happened in the site that a person or program may want to know of.
    pub(super) fn happened(&mut self, event: crate::SiteEvent) {
        self.queue.push_back(Output::Event(Box::new(event)));
    }

    /// A device registered from another address; of a door's station that is worth an alarm. The log has its own record.
    pub(super) fn binding_moved(&mut self, aor: &str) {
        let Some(party) = self.site.party(user_of(aor)) else {
            return;
        };
        if let Some(door) = party.door {
            let device = party.device;
            let event = crate::SiteEvent::RegistrationMoved { door, device };
            self.happened(event);
        }
    }

    /// A call ran: the devices whose lamp is another now.
    pub(super) fn watch_call(&mut self, number: u64) {
        let call = self.calls.get(&number);
        self.events
            .lines
            .update(number, call, &mut self.events.dirty);
    }

    /// Bindings changed: of which account, and whose devices can be reached.
    pub(super) fn watch_bindings(&mut self, now: Now, changes: &[BindingChange]) {
        self.qualify_bindings(now, changes);
        if self.events.notifier.is_empty() {
            return;
        }
        for change in changes {
            let user = user_of(change.aor()).to_owned();
            match change {
                BindingChange::Added { binding, .. }
                | BindingChange::Refreshed { binding, .. }
                | BindingChange::Moved { binding, .. } => {
                    self.events
                        .notifier
                        .rehome(&user, &binding.contact, binding.flow);
                }
                BindingChange::Removed { binding, why, .. } => {
                    if self.events.removed.len() >= REMOVED {
                        self.events.removed.pop_front();
                    }
                    let gone = (user.clone(), binding.contact.to_string(), *why);
                    self.events.removed.push_back(gone);
                }
            }
            if matches!(change, BindingChange::Refreshed { .. }) {
                continue;
            }
            if let Some(account) = self.site.accounts.get(&user) {
                self.events.dirty.insert(account.device.clone());
            }
            self.events.notifier.changed(now.mono, &Resource::Reg(user));
        }
    }

    /// Messages wait, or wait no more, in the box of an account.
    pub(super) fn messages_waiting(&mut self, now: Now, account: String, waiting: Waiting) {
        if self.site.accounts.get(&account).is_none() {
            return;
        }
        let resource = Resource::Messages(account.clone());
        let before = if waiting == Waiting::default() {
            self.events.waiting.remove(&account)
        } else {
            self.events.waiting.insert(account, waiting)
        };
        if before.unwrap_or_default() != waiting {
            self.events.notifier.changed(now.mono, &resource);
        }
    }

    /// Does what is due.
    pub(super) fn events_timeout(&mut self, now: Now) {
        self.events.notifier.timeout(now.mono);
        for entity in self.events.publications.expire(now.mono) {
            self.events
                .notifier
                .changed(now.mono, &Resource::Presence(entity));
        }
    }

    /// A connection ended.
    pub(super) fn events_connection_closed(&mut self, connection: ConnectionId) {
        self.events.notifier.connection_closed(connection);
    }

    /// The server stops: phones are told to subscribe anew, wherever they then find a server.
    pub(super) fn end_subscriptions(&mut self, now: Now) {
        self.events.notifier.end_all(now.mono, End::Deactivated);
    }

    /// Everybody who watches what changed is told. Once at the end of each input: what changed twice is told once.
    pub(super) fn tell_watchers(&mut self, now: Now) {
        let dirty = std::mem::take(&mut self.events.dirty);
        if !self.events.notifier.is_empty() {
            // A desk whose two phones stop ringing has changed once.
            let entities: BTreeSet<Entity> = dirty
                .iter()
                .flat_map(|device| Entity::of_device(&self.site, device))
                .collect();
            for entity in entities {
                let notifier = &mut self.events.notifier;
                notifier.changed(now.mono, &Resource::Dialog(entity.clone()));
                notifier.changed(now.mono, &Resource::Presence(entity));
            }
        }
        while let Some(notification) = self.events.notifier.next_notification() {
            self.notify(now, notification);
        }
        self.perform(now);
    }
}

/// The user part of an address-of-record of ours.
fn user_of(aor: &str) -> &str {
    aor.strip_prefix("sip:")
        .and_then(|aor| aor.split('@').next())
        .unwrap_or_default()
}
