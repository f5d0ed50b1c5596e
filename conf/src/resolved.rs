//! What the rest of the program gets: every key present, cross-checked, with units in the types.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use sip_proxy::Transport;
use sip_proxy::digest::Algorithm;

use crate::error::Located;
use crate::secret::Secret;
use crate::station::Profile;

/// A whole, checked configuration.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The file it came from.
    pub file: PathBuf,
    /// Who we are.
    pub site: Site,
    /// SIP listeners, in the order written; at least one.
    pub listeners: Vec<Listener>,
    /// SIP timers and registration times.
    pub sip: Sip,
    /// Where RTP flows.
    pub media: Media,
    /// The database file.
    pub store: PathBuf,
    /// The plan file.
    pub plan: PathBuf,
    /// Metrics and health; `None` when switched off.
    pub http: Option<SocketAddr>,
    /// What whoever asks for messages of calls must show (`Authorization: Bearer`); `None`: loopback may, others not.
    pub http_token: Option<Secret>,
    /// What bounds the server.
    pub limits: Limits,
    /// Limits of the unlock pipeline.
    pub unlock: Unlock,
    /// The audit writer's queue.
    pub audit: Audit,
    /// SIP messages kept and exported.
    pub trace: crate::trace::Trace,
    /// Subscriptions and publications.
    pub events: crate::events::Events,
    /// Who is asked whether it is there.
    pub qualify: crate::events::Qualify,
    /// Sources that speak for an account without digest (stations that cannot register), by address.
    pub trusted: BTreeMap<IpAddr, String>,
    /// The same by a name in a verified client certificate (a DNS name or URI of its subjectAltName), lower case.
    pub certified: BTreeMap<String, String>,
    /// TLS where we connect to others.
    pub outbound: Outbound,
    /// Peers that carry calls to and from the telephone network, by name.
    pub trunks: BTreeMap<String, pstn::Trunk>,
    /// Name servers; empty: the system's.
    pub dns: Vec<SocketAddr>,
    /// Station connections by door name.
    pub doors: BTreeMap<String, Door>,
    /// Station profiles by name: the built-in ones, and those of `stations.dir`, which win.
    pub stations: BTreeMap<String, Profile>,
}

/// The site and its SIP names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The plan's site name; names the audit chain.
    pub name: String,
    /// SIP domains we are responsible for, lower case; the first is written into our own addresses-of-record.
    pub domains: Vec<String>,
    /// Digest realm. Stored passwords are bound to it.
    pub realm: String,
}

/// One SIP listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What is spoken there.
    pub transport: Transport,
    /// The address to bind.
    pub bind: SocketAddr,
    /// What peers are told (Via, Contact). `None`: the bound address, or, bound to a wildcard, the local address the
    /// kernel routes to the peer from.
    pub advertise: Option<SocketAddr>,
    /// Certificates; always there for TLS and WSS, never for others.
    pub tls: Option<Tls>,
    /// Origins (RFC 6454) whose web pages may connect to a WebSocket, lower case; without any, none may.
    pub origins: Vec<String>,
}

/// The TLS side of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// At least one; a client that names a server gets the first that proves the name, any other the first of all.
    pub certificates: Vec<Certificate>,
    /// Authorities whose clients may prove themselves by certificate; who shows none is still served, and must log in.
    pub client_ca: Option<Located<PathBuf>>,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
}

/// A certificate chain and its key, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// PEM, the server's own certificate first.
    pub chain: Located<PathBuf>,
    /// PEM; may be the same file.
    pub key: Located<PathBuf>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246, for old door stations.
    V1_2,
    /// RFC 8446.
    V1_3,
}

impl TlsVersion {
    /// As written in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

/// TLS where we connect to others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outbound {
    /// Authorities that may vouch for them; `None`: the system's.
    pub roots: Option<Located<PathBuf>>,
    /// Shown to those that ask for one.
    pub certificate: Option<Certificate>,
}

/// Timers and registration times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sip {
    /// RFC 3261 T1, round-trip estimate.
    pub t1: Duration,
    /// RFC 3261 T2, longest retransmission interval of non-INVITE requests and INVITE responses.
    pub t2: Duration,
    /// RFC 3261 T4, longest time a message stays in the network.
    pub t4: Duration,
    /// Shortest registration accepted (else 423).
    pub register_min: Duration,
    /// Given when the device names none.
    pub register_default: Duration,
    /// Longest registration given.
    pub register_max: Duration,
    /// Contacts one address-of-record may have.
    pub contacts_max: usize,
    /// Life of a digest nonce.
    pub nonce_life: Duration,
    /// Session interval offered and granted at most (RFC 4028); zero: none is offered.
    pub session_expires: Duration,
    /// Shortest session interval accepted (else 422).
    pub min_se: Duration,
    /// Algorithms a digest challenge offers, the preferred first; never empty.
    pub digest: Vec<Algorithm>,
    /// Whether a Path is refused (420) when the device does not say that it supports it (RFC 3327).
    pub path_strict: bool,
    /// Service-Route values given to devices (RFC 3608), each a whole name-addr.
    pub service_route: Vec<String>,
    /// Flow-Timer given to devices that keep flows (RFC 5626).
    pub flow_timer: Option<Duration>,
    /// Push notification services that can be asked (RFC 8599); empty judges none.
    pub push_services: Vec<String>,
}

/// RTP addresses, ports and workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Local addresses to bind; at most one per family.
    pub addresses: Vec<MediaAddress>,
    /// Even first port of the range.
    pub port_first: u16,
    /// Last port of the range, odd.
    pub port_last: u16,
    /// Media worker threads; 0 = one per core, at most four.
    pub workers: u16,
    /// A leg that sends nothing for this long is lost.
    pub silence: Duration,
}

/// One RTP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaAddress {
    /// To bind.
    pub bind: IpAddr,
    /// Written into SDP. `None`: as with [`Listener::advertise`].
    pub advertise: Option<IpAddr>,
}

/// Bounds of the server; each has its overflow rule in `conf/doorward.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls at once; beyond it INVITE gets 503.
    pub calls: usize,
    /// Calls at once of one account; beyond it 486.
    pub calls_per_account: usize,
    /// Longest call; then BYE to both.
    pub call_duration: Duration,
    /// Longest time one side of a call is on hold.
    pub hold_duration: Duration,
    /// How often a side without session timer is asked whether it is still in its call; zero: never.
    pub call_probe: Duration,
    /// Registered contacts in all; beyond it REGISTER gets 503.
    pub registrations: usize,
    /// Messages a second from one address that is neither registered nor trusted; beyond it they are dropped unread
    /// and counted.
    pub requests_per_source: u32,
    /// TCP connections in all; beyond it new ones are closed.
    pub connections: usize,
    /// TCP connections from one address.
    pub connections_per_source: usize,
    /// A TLS handshake or WebSocket upgrade that is not done by then ends the connection.
    pub connection_handshake: Duration,
    /// A connection that has sent no whole message by then is closed.
    pub connection_first_message: Duration,
    /// A connection silent for this long is closed; see [`Resolved::registered_idle`] for one with a registration.
    pub connection_idle: Duration,
    /// Largest SIP message in bytes.
    pub message_bytes: usize,
    /// When SIP messages wait longer than this before they are looked at, the least important ones are refused.
    pub queue_delay: Duration,
}

/// Bounds of the unlock pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unlock {
    /// Unlocks a minute of one door; more are refused and alarmed.
    pub per_minute: u32,
    /// Life of an intent, and the end of its driver chain.
    pub intent_life: Duration,
}

/// The audit writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Records that may wait for the disk; then the sender waits.
    pub queue: usize,
    /// Records committed together at most.
    pub batch: usize,
    /// A durable record not on disk after this long has failed, and its unlock is refused.
    pub commit_within: Duration,
}

impl Resolved {
    /// How long a TCP connection that a registration uses may be silent: longer than the longest registration, for a
    /// phone behind NAT is reached only by the connection it opened.
    #[must_use]
    pub fn registered_idle(&self) -> Duration {
        let registration = self.sip.register_max + Duration::from_secs(300);
        registration.max(self.limits.connection_idle)
    }
}

impl Audit {
    /// The longest [`Audit::commit_within`]. The unlock pipeline gives up waiting for its record 2 s after it was
    /// handed over (`intercom::unlock::Config::record_timeout`); the writer must have given up before that, or a
    /// record would be on disk as granted whose unlock was refused. The rest is for the writer's pause between tries.
    pub const LONGEST_COMMIT: Duration = Duration::from_millis(1_500);
}

/// How the server reaches one door's station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// `http://` or `https://`, host, optional port; no path.
    pub url: Option<String>,
    /// User name at the station's HTTP API.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// SHA-256 of the station certificate's DER, for a self-signed one.
    pub tls_pin: Option<[u8; 32]>,
    /// Where phones get a picture of the caller: an `http://` or `https://` URL.
    pub picture: Option<String>,
}
