//! What all calls of the site share: configuration, snapshots, location, leases, randomness, and the queue of effects
//! that the top machine carries out after a call has handled its input.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use dialplan::{Caller, Directory, Facts, Owner, Plan};
use media_bridge::{Codec, Command, LeaseId};
use rand::Rng;
use sip_proxy::locate::{self, Destination, Locator, LookupId};
use sip_proxy::{Binding, Flow, Location, Peer, Pool, Transport, Uri};

use crate::accounts::Accounts;
use crate::call::{Attend, Diverted, Party, Replaces};
use crate::cdr::Cdr;
use crate::config::Config;
use crate::lease::Leases;
use crate::profile::StationProfile;
use crate::story::Story;
use crate::{Now, unlock};

/// Before a trunk's name: see [`Site::trunk_user`].
const TRUNK: &str = "trunk:";

/// What a call asks the top machine to do.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Feed the transaction layer.
    Sip(sip_proxy::Input),
    /// Open a connection, whose way out this is.
    Open(Flow, Option<String>),
    /// A question to the DNS, or the servers of a destination.
    Location(locate::Output),
    /// Command a media worker.
    Media(u16, Command),
    /// A lease that was never opened.
    ReturnLease(LeaseId),
    /// A wish to open a door.
    Unlock(Box<unlock::Request>),
    /// A driver's word from inside the house: digits sent on the door's leg, or why not.
    Driven(unlock::IntentId, u8, unlock::Outcome),
    /// The caller of call `by` takes a ringing call.
    PickUp {
        by: u64,
        doors: Vec<String>,
        devices: Vec<String>,
    },
    /// The caller of call `by` takes up a parked call.
    TakeUp { by: u64, call: u64 },
    /// The caller of call `by` takes the place of a dialog.
    Replace { by: u64, replaces: Replaces },
    /// Leg `index` of call `by` asks to be replaced by the other side of a dialog it has with us.
    Attend(Box<Attend>),
    /// The call is over for the people in it.
    Ended(String),
    /// The record of an ended call.
    Cdr(Box<Cdr>, Box<Story>),
    /// Something worth a log line.
    Notice(crate::b2bua::Notice),
}

/// The shared state.
pub(crate) struct Site {
    pub(crate) config: Config,
    pub(crate) plan: Arc<Plan>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) location: Location,
    /// Connections we opened ourselves.
    pub(crate) pool: Pool,
    pub(crate) locator: Locator,
    pub(crate) leases: Leases,
    pub(crate) rng: Box<dyn Rng + Send>,
    /// Bounded by what one input can cause: a call's branches and legs.
    pub(crate) effects: VecDeque<Effect>,
    /// Devices that talk or call, and in how many calls. Bounded by the legs of live calls.
    pub(crate) engaged: BTreeMap<String, u32>,
    /// Calls that lie in a slot. Bounded by the slots of the plan.
    pub(crate) parked: BTreeMap<String, u64>,
    /// Makes call ids of one process differ from those of the next.
    pub(crate) epoch: u32,
}

/// A place a device can be reached at.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) uri: String,
    pub(crate) route: Vec<String>,
    pub(crate) flow: Flow,
    /// The user agent: keeps one that has several flows, or re-registers, from being invited twice.
    pub(crate) key: String,
    /// Preference in thousandths.
    pub(crate) q: u16,
    /// The phones that sent the call on to here.
    pub(crate) diverted: Option<Box<Diverted>>,
}

impl Target {
    fn of(binding: &Binding, datagrams_only: bool) -> Self {
        Target {
            uri: binding.contact.to_string(),
            route: binding.path.iter().map(|value| value.to_string()).collect(),
            flow: way(binding.way(), datagrams_only),
            key: binding.user_agent_key().to_owned(),
            q: binding.q,
            diverted: None,
        }
    }
}

/// The way to a device, by datagrams only where its profile says so.
fn way(flow: Flow, datagrams_only: bool) -> Flow {
    if datagrams_only {
        flow.datagrams_only()
    } else {
        flow
    }
}

impl Site {
    pub(crate) fn sip(&mut self, input: sip_proxy::Input) {
        self.effects.push_back(Effect::Sip(input));
    }

    pub(crate) fn media(&mut self, worker: u16, command: Command) {
        self.effects.push_back(Effect::Media(worker, command));
    }

    pub(crate) fn return_lease(&mut self, lease: LeaseId) {
        self.effects.push_back(Effect::ReturnLease(lease));
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// The way to a peer that did not come to us: by UDP, or on the connection to it, opened now when there is none.
    /// `name` is what a TLS peer must prove. `None` when no listener of ours speaks that transport in that family.
    pub(crate) fn flow_to(
        &mut self,
        transport: Transport,
        remote: SocketAddr,
        name: Option<&str>,
    ) -> Option<Flow> {
        let local = self.config.local_of(transport, remote.is_ipv6())?;
        let mut flow = Flow {
            transport,
            local,
            remote,
            connection: None,
        };
        if transport.is_stream() {
            let name = name.map(str::to_owned);
            let way = self.pool.way(Peer {
                transport,
                remote,
                name: name.clone(),
            });
            flow.connection = Some(way.connection);
            if way.open {
                self.effects.push_back(Effect::Open(flow, name));
            }
        }
        Some(flow)
    }

    /// Looks for the servers of a destination; the result comes as [`Effect::Location`], at once or later.
    pub(crate) fn locate(&mut self, now: Now, id: LookupId, destination: Destination) {
        let input = locate::Input::Locate { id, destination };
        let outputs = self.locator.handle(now.mono, input);
        self.effects.extend(outputs.map(Effect::Location));
    }

    /// What a trunk is called where accounts have their user names: no account's has a colon (RFC 7616 §3.4.2).
    pub(crate) fn trunk_user(name: &str) -> String {
        format!("{TRUNK}{name}")
    }

    /// The trunk behind such a name.
    pub(crate) fn trunk(&self, user: &str) -> Option<&Arc<pstn::Trunk>> {
        self.config.trunks.get(user.strip_prefix(TRUNK)?)
    }

    /// The address-of-record of an account.
    pub(crate) fn aor(&self, user: &str) -> String {
        format!("sip:{user}@{}", self.config.domain())
    }

    /// Whether any profile knows devices that repeat their nonce count.
    pub(crate) fn has_repeaters(&self) -> bool {
        let mut profiles = self.config.profiles.values();
        profiles.any(|profile| profile.repeats_nonce)
    }

    /// Our Contact as seen from a flow.
    pub(crate) fn contact(&self, flow: &Flow) -> String {
        let host = self.config.host_of(flow.local);
        match flow.transport {
            sip_proxy::Transport::Udp => format!("<sip:doorward@{host}>"),
            other => format!("<sip:doorward@{host};transport={}>", other.as_param()),
        }
    }

    /// Whether a URI names this site: one of its domains, or the address or name of the listener it came in by.
    pub(crate) fn is_ours(&self, uri: &Uri, flow: &Flow) -> bool {
        let host = uri.host_str();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let config = &self.config;
        if config
            .domains
            .iter()
            .any(|domain| domain.eq_ignore_ascii_case(host))
        {
            return true;
        }
        let same = |name: &str| {
            let name = name.rsplit_once(':').map_or(name, |(name, _)| name);
            name.trim_start_matches('[')
                .trim_end_matches(']')
                .eq_ignore_ascii_case(host)
        };
        host.parse()
            .is_ok_and(|ip: std::net::IpAddr| ip == flow.local.ip())
            || config.advertise.values().any(|name| same(name))
    }

    /// Who an account is, by the directory as it is now. `None`: unknown or revoked.
    pub(crate) fn party(&self, user: &str) -> Option<Party> {
        if self.trunk(user).is_some() {
            return Some(Party {
                user: user.to_owned(),
                device: user.to_owned(),
                door: None,
            });
        }
        let account = self.accounts.get(user)?;
        let device = self.directory.device(&account.device)?;
        if device.revoked {
            return None;
        }
        let door = match &device.owner {
            Owner::Door(name) => Some(name.clone()),
            Owner::Person(person) => {
                if self
                    .directory
                    .person(person)
                    .is_none_or(|person| person.revoked)
                {
                    return None;
                }
                None
            }
            Owner::Unit(_) | Owner::Desk(_) => None,
        };
        Some(Party {
            user: user.to_owned(),
            device: account.device.clone(),
            door,
        })
    }

    /// The station profile of an account.
    pub(crate) fn profile(&self, user: &str) -> Arc<StationProfile> {
        if self.trunk(user).is_some() {
            // What the telephone network speaks.
            return Arc::new(StationProfile {
                name: "trunk".to_owned(),
                codecs: vec![Codec::Pcma, Codec::Pcmu],
                ..StationProfile::default()
            });
        }
        self.accounts
            .get(user)
            .map(|account| self.config.profile(&account.profile))
            .unwrap_or_default()
    }

    /// The caller as the plan sees it.
    pub(crate) fn caller(party: &Party) -> Caller {
        if let Some(trunk) = party.user.strip_prefix(TRUNK) {
            return Caller::Trunk(trunk.to_owned());
        }
        match &party.door {
            Some(door) => Caller::Door(door.clone()),
            None => Caller::Device(party.device.clone()),
        }
    }

    /// Everywhere a device can be reached now, one place for each user agent of its (RFC 5626 instance): its bindings,
    /// best q first, else its fixed contact. [`Self::next_flow`] knows the other ways to one of them.
    pub(crate) fn targets(&self, device: &str, now: Instant) -> Vec<Target> {
        let Some(user) = self.accounts.user_of(device) else {
            return Vec::new();
        };
        let datagrams_only = self.profile(user).datagrams_only;
        let mut targets: Vec<Target> = Vec::new();
        for binding in self.location.lookup(&self.aor(user), now) {
            // RFC 5626 section 5: all flows of a user agent are one branch; the next is tried when this one fails.
            let known = targets
                .iter()
                .any(|target| target.key == binding.user_agent_key());
            if binding.is_reachable() && !known {
                targets.push(Target::of(binding, datagrams_only));
            }
        }
        if targets.is_empty() {
            let peer = self.config.trusted.iter().find(|peer| peer.account == user);
            if let Some((uri, flow)) = peer.and_then(|peer| peer.contact.clone()) {
                targets.push(Target {
                    key: uri.clone(),
                    q: 1000,
                    uri,
                    route: Vec::new(),
                    flow: way(flow, datagrams_only),
                    diverted: None,
                });
            }
        }
        targets
    }

    /// The next way to the user agent of a target whose flow failed (RFC 5626 section 5.3): another flow of the same
    /// instance, none of those `tried`.
    pub(crate) fn next_flow(
        &self,
        device: &str,
        key: &str,
        tried: &[Flow],
        now: Instant,
    ) -> Option<Target> {
        let user = self.accounts.user_of(device)?;
        let datagrams_only = self.profile(user).datagrams_only;
        self.location
            .lookup(&self.aor(user), now)
            .into_iter()
            .filter(|binding| binding.user_agent_key() == key && binding.is_reachable())
            .map(|binding| Target::of(binding, datagrams_only))
            .find(|target| !tried.contains(&target.flow))
    }

    /// The devices standing at a door.
    pub(crate) fn door_devices(&self, door: &str) -> Vec<String> {
        let owner = Owner::Door(door.to_owned());
        self.directory
            .devices_of(&owner)
            .filter(|device| !device.revoked)
            .map(|device| device.id.clone())
            .collect()
    }

    /// What the plan is told of the world.
    pub(crate) fn facts(&self, now: Now) -> Facts {
        // Whether a device can be rung is found out by ringing it: a device without a binding is
        // `unreachable` for the fork, or waited for when it may join late.
        Facts::at(now.civil)
    }
}
