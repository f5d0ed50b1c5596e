//! What one server allows its stream peers.

use std::time::Duration;

use sip_proxy::Limits;

/// What one server allows its stream peers.
#[derive(Clone, Debug)]
pub(crate) struct StreamLimits {
    /// Connections in all; further ones are closed at once and counted. The last quarter is not for strangers.
    pub(crate) connections: usize,
    /// Connections from one address (IPv6: from one /64); further ones are closed at once and counted.
    pub(crate) per_source: usize,
    /// A connection of ours that is not there by then has failed; UDP may still do.
    pub(crate) connect: Duration,
    /// TLS handshake and WebSocket upgrade must be done by then.
    pub(crate) handshake: Duration,
    /// An accepted connection that has sent no whole message by then is closed.
    pub(crate) first_message: Duration,
    /// A message begun must be finished by then.
    pub(crate) unfinished: Duration,
    /// A connection without a registration that was silent so long is closed: long enough for a call's quiet.
    pub(crate) idle: Duration,
    /// A connection with one is closed after so long. Longer than the longest registration: a phone behind NAT is
    /// reachable only over the connection it opened.
    pub(crate) registered_idle: Duration,
    /// Bytes waiting for a slow peer; more closes the connection and is counted.
    pub(crate) write_queue: usize,
    /// Limits of one message.
    pub(crate) message: Limits,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            per_source: 256,
            connect: Duration::from_secs(4),
            handshake: Duration::from_secs(10),
            first_message: Duration::from_secs(20),
            unfinished: Duration::from_secs(20),
            idle: Duration::from_secs(900),
            registered_idle: Duration::from_secs(7_500),
            write_queue: 256 * 1024,
            message: Limits::default(),
        }
    }
}
