//! The B2BUA's resolved configuration: plain data, filled by `conf`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sip_proxy::{Flow, Transport};

use crate::profile::StationProfile;

/// A peer known by its address instead of a registration: a door station that calls directly.
#[derive(Clone, Debug)]
pub struct TrustedPeer {
    /// Source address of its requests; the port does not count.
    pub address: IpAddr,
    /// The account it is.
    pub account: String,
    /// Where it can be called, when it does not register: contact URI and flow.
    pub contact: Option<(String, Flow)>,
}

/// Where we can be reached, and from where we go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What is spoken there.
    pub transport: Transport,
    /// The address as peers are told.
    pub local: SocketAddr,
}

/// Limits on calls.
#[derive(Clone, Debug)]
pub struct CallLimits {
    /// Calls at once; the next one gets 503 with Retry-After.
    pub max_calls: usize,
    /// Calls at once per device as caller; the next one gets 486.
    pub max_calls_per_device: usize,
    /// Calls beyond `max_calls` for routes with priority `lift` or `emergency`, which the limits do not refuse.
    pub reserved_calls: usize,
    /// Such calls beyond `max_calls_per_device`, per device.
    pub reserved_per_device: usize,
    /// Longest established call; then both sides get BYE.
    pub max_duration: Duration,
    /// Longest time one side is on hold: its silence ends nothing.
    pub max_hold: Duration,
    /// How often a side without session timer is asked by OPTIONS whether it is still in the call; zero: never.
    pub probe: Duration,
    /// Longest time a caller waits for an answer, whatever the plan says.
    pub max_ringing: Duration,
    /// Branches rung at once in one call; further contacts are left out and noted.
    pub max_branches: usize,
    /// Ladder entries kept per call.
    pub story_entries: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        CallLimits {
            max_calls: 2_000,
            max_calls_per_device: 4,
            reserved_calls: 64,
            reserved_per_device: 2,
            max_duration: Duration::from_secs(3_600),
            max_hold: Duration::from_secs(1_800),
            probe: Duration::from_secs(90),
            max_ringing: Duration::from_secs(600),
            max_branches: 32,
            story_entries: 200,
        }
    }
}

/// Registration limits, seconds and contacts per address-of-record.
#[derive(Clone, Debug)]
pub struct RegistrationLimits {
    /// Shorter is refused with 423 (RFC 3261 §10.3).
    pub min_expires: u32,
    /// Longer is shortened.
    pub max_expires: u32,
    /// When the request names none.
    pub default_expires: u32,
    /// Contacts per address-of-record.
    pub max_contacts: usize,
    /// Contacts in all; beyond it REGISTER gets 503.
    pub max_bindings: usize,
    /// Whether a Path is refused (420) when the device does not say that it supports it (RFC 3327 §5.3).
    pub strict_path: bool,
    /// Service-Route values given to devices (RFC 3608), each a whole name-addr.
    pub service_route: Vec<String>,
    /// Flow-Timer in seconds given to devices that keep flows (RFC 5626 §5.4).
    pub flow_timer: Option<u32>,
    /// Push notification services that can be asked (RFC 8599); empty judges none.
    pub push: Vec<String>,
}

impl Default for RegistrationLimits {
    fn default() -> Self {
        RegistrationLimits {
            min_expires: 60,
            max_expires: 7_200,
            default_expires: 3_600,
            max_contacts: 8,
            max_bindings: 50_000,
            strict_path: false,
            service_route: Vec::new(),
            flow_timer: None,
            push: Vec::new(),
        }
    }
}

/// Bounds and times of subscriptions and publications.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventLimits {
    /// Of subscriptions (RFC 6665).
    pub notifier: sip_proxy::event::NotifierConfig,
    /// Of published presence (RFC 3903).
    pub publications: sip_proxy::event::PublicationConfig,
}

/// Who is asked by OPTIONS whether it is there, and how often. A station profile may say otherwise.
#[derive(Clone, Copy, Debug)]
pub struct QualifyConfig {
    /// Stations at doors; `None`: not asked.
    pub doors: Option<Duration>,
    /// Other devices.
    pub devices: Option<Duration>,
    /// A longer round trip, twice in a row, is `lagging`.
    pub lag: Duration,
}

impl Default for QualifyConfig {
    /// Nobody is asked.
    fn default() -> Self {
        QualifyConfig {
            doors: None,
            devices: None,
            lag: Duration::from_millis(500),
        }
    }
}

/// Everything the [`crate::B2bua`] is told at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the site; names the audit chain.
    pub site: String,
    /// The site's SIP domains; the first one is written in From and To. An IP literal in a
    /// request means the authenticated account's site.
    pub domains: Vec<String>,
    /// Digest realm.
    pub realm: String,
    /// Key of the nonce HMAC; random at each start is right.
    pub nonce_key: [u8; 32],
    /// Life of a nonce.
    pub nonce_life: Duration,
    /// Key of temporary GRUUs (RFC 5627); the same after a restart. `None`: no GRUUs are given.
    pub gruu_key: Option<[u8; 32]>,
    /// What a challenge offers, the preferred first.
    pub digest: Vec<sip_proxy::digest::Algorithm>,
    /// Limits of the unlock pipeline.
    pub unlock: crate::unlock::Config,
    /// The latest civil time in the log: a clock before it is not trusted.
    pub high_water: Option<Timestamp>,
    /// Peers known by address.
    pub trusted: Vec<TrustedPeer>,
    /// Makes the Record-Route tokens of what passes through: kept over a restart, or dialogs set up before are refused.
    pub proxy_key: [u8; 32],
    /// Peers that carry calls to and from the telephone network, by name.
    pub trunks: BTreeMap<String, Arc<pstn::Trunk>>,
    /// Accounts of peers known by a name in their verified client certificate, lower case.
    pub certified: BTreeMap<String, String>,
    /// Advertised `host:port` of a listener, where it differs from the socket's address.
    pub advertise: BTreeMap<SocketAddr, String>,
    /// Our listeners; without any, nothing goes out but to who came to us.
    pub listeners: Vec<Listener>,
    /// Where a picture of a door's caller is to be had, by door: goes into Call-Info of what its calls ring.
    pub pictures: BTreeMap<String, String>,
    /// Call limits.
    pub limits: CallLimits,
    /// Session timers (RFC 4028).
    pub session: sip_proxy::SessionPolicy,
    /// Registration limits.
    pub registration: RegistrationLimits,
    /// Limits of subscriptions and publications.
    pub events: EventLimits,
    /// Who is asked whether it is there.
    pub qualify: QualifyConfig,
    /// Station profiles by name.
    pub profiles: BTreeMap<String, Arc<StationProfile>>,
    /// The transaction layer's settings.
    pub endpoint: sip_proxy::EndpointConfig,
    /// Number of media workers.
    pub media_workers: u16,
    /// Families media sockets exist for: `false` IPv4, `true` IPv6.
    pub media_families: Vec<bool>,
    /// Free leases kept per worker and family.
    pub leases_kept: usize,
    /// Octets of SIP messages kept for the ladders of calls; 0 keeps none.
    pub ladder_octets: usize,
}

impl Default for Config {
    /// One media worker on IPv4, the domain `doorward.invalid`, and a nonce key of zeros that must be replaced.
    fn default() -> Self {
        Config {
            site: "site".to_owned(),
            domains: vec!["doorward.invalid".to_owned()],
            realm: "doorward".to_owned(),
            nonce_key: [0; 32],
            nonce_life: Duration::from_secs(300),
            gruu_key: None,
            digest: sip_proxy::digest::AuthenticatorConfig::default().algorithms,
            unlock: crate::unlock::Config::default(),
            high_water: None,
            trusted: Vec::new(),
            proxy_key: [0; 32],
            trunks: BTreeMap::new(),
            certified: BTreeMap::new(),
            advertise: BTreeMap::new(),
            listeners: Vec::new(),
            pictures: BTreeMap::new(),
            limits: CallLimits::default(),
            session: sip_proxy::SessionPolicy::default(),
            registration: RegistrationLimits::default(),
            events: EventLimits::default(),
            qualify: QualifyConfig::default(),
            profiles: BTreeMap::new(),
            endpoint: sip_proxy::EndpointConfig::default(),
            media_workers: 1,
            media_families: vec![false],
            leases_kept: 64,
            ladder_octets: 8 * 1024 * 1024,
        }
    }
}

impl Config {
    /// The profile of a name, `generic` when unknown.
    pub fn profile(&self, name: &str) -> Arc<StationProfile> {
        self.profiles.get(name).cloned().unwrap_or_default()
    }

    /// The domain written in From and To.
    pub fn domain(&self) -> &str {
        self.domains
            .first()
            .map_or("doorward.invalid", String::as_str)
    }

    /// The account of a peer known by its source address.
    pub fn trusted_account(&self, source: IpAddr) -> Option<&str> {
        self.trusted
            .iter()
            .find(|peer| peer.address == source)
            .map(|peer| peer.account.as_str())
    }

    /// The trunk whose requests come from this address.
    pub fn trunk_at(&self, source: IpAddr) -> Option<&Arc<pstn::Trunk>> {
        let source = source.to_canonical();
        self.trunks
            .values()
            .find(|trunk| trunk.addresses.contains(&source))
    }

    /// Our address on the way out by this transport: a listener's that speaks it, so that the peer can come back. A
    /// stream without one is told of the UDP address: what answers us comes on the connection itself.
    #[must_use]
    pub fn local_of(&self, transport: Transport, ipv6: bool) -> Option<SocketAddr> {
        let of = |wanted: Transport| {
            self.listeners
                .iter()
                .find(|listener| listener.transport == wanted && listener.local.is_ipv6() == ipv6)
                .map(|listener| listener.local)
        };
        match transport {
            Transport::Udp => of(Transport::Udp),
            // Nobody is called by WebSocket: browsers do not listen (RFC 7118 section 3).
            Transport::Ws | Transport::Wss => None,
            other => of(other).or_else(|| of(Transport::Udp)),
        }
    }

    /// `host:port` to write for a listener.
    pub fn host_of(&self, local: SocketAddr) -> String {
        self.advertise
            .get(&local)
            .cloned()
            .unwrap_or_else(|| local.to_string())
    }
}
