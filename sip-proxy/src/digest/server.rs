//! The server's side: stateless challenges, checked answers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::digest::{Algorithm, Ha1};
use crate::message::{HeaderName, Message};

/// How nonces live.
#[derive(Debug, Clone)]
pub struct AuthenticatorConfig {
    /// How long a nonce may be used; after it `stale=true`.
    pub nonce_lifetime: Duration,
    /// Nonces whose counts are remembered; the oldest makes room, and its later use is answered `stale=true`.
    pub max_nonces: usize,
    /// Whether MD5 is offered beside SHA-256.
    pub offer_md5: bool,
}

impl Default for AuthenticatorConfig {
    fn default() -> Self {
        Self {
            nonce_lifetime: Duration::from_secs(300),
            max_nonces: 16_384,
            offer_md5: true,
        }
    }
}

/// What a request's credentials prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthVerdict {
    /// No credentials for our realm: challenge.
    Missing,
    /// Right credentials over a nonce no longer good: challenge with `stale=true`.
    Stale,
    /// Wrong, malformed, or an unknown user: challenge, and count against the source.
    Wrong {
        /// The user name claimed.
        user: String,
    },
    /// Proven.
    Granted {
        /// The account.
        user: String,
        /// By which algorithm.
        algorithm: Algorithm,
    },
}

/// Challenges and checks for one realm.
#[derive(Debug)]
pub struct Authenticator {
    _realm: String,
    _config: AuthenticatorConfig,
}

impl Authenticator {
    /// `key` is at least 32 random octets, `origin` the start of the monotonic clock nonces are stamped with.
    #[must_use]
    pub fn new(
        realm: impl Into<String>,
        _key: [u8; 32],
        _origin: Instant,
        config: AuthenticatorConfig,
    ) -> Self {
        Self {
            _realm: realm.into(),
            _config: config,
        }
    }

    /// Checks a request's Authorization or Proxy-Authorization for our realm.
    pub fn check(
        &mut self,
        _now: Instant,
        _request: &Message,
        _source: SocketAddr,
        _lookup: impl Fn(&str) -> Option<Ha1>,
    ) -> AuthVerdict {
        AuthVerdict::Missing
    }

    /// The challenge header fields, SHA-256 first, then MD5 (RFC 8760 §2.1).
    pub fn challenge(
        &mut self,
        _now: Instant,
        _stale: bool,
        _proxy: bool,
    ) -> Vec<(HeaderName, String)> {
        Vec::new()
    }
}
