//! What was counted since start, by transport.

use std::collections::BTreeMap;

use rustls::{Connection, ProtocolVersion};
use sip_proxy::Transport;

/// Of one transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Open now.
    pub(crate) open: usize,
    pub(crate) accepted: u64,
    pub(crate) opened: u64,
    pub(crate) refused_limit: u64,
    pub(crate) refused_source: u64,
    pub(crate) reaped: u64,
    pub(crate) bad_frames: u64,
    pub(crate) write_overflow: u64,
}

/// How a TLS session came to be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Session {
    /// `1.3`.
    pub(crate) version: &'static str,
    /// The key exchange: `X25519MLKEM768`; `resumed` without one.
    pub(crate) group: String,
}

/// Bounded: by the transports, the reasons of `tls::reason` and `Refusal`, the versions and groups rustls has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) by_transport: BTreeMap<Transport, Counts>,
    /// TLS handshakes and WebSocket upgrades that failed, by reason.
    pub(crate) failed: BTreeMap<(Transport, &'static str), u64>,
    pub(crate) sessions: BTreeMap<Session, u64>,
}

impl Counters {
    pub(super) fn of(&mut self, transport: Transport) -> &mut Counts {
        self.by_transport.entry(transport).or_default()
    }

    pub(super) fn failed(&mut self, transport: Transport, reason: &'static str) {
        *self.failed.entry((transport, reason)).or_default() += 1;
    }

    pub(super) fn handshake(&mut self, session: &Connection, resumed: bool) {
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "1.3",
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "other",
        };
        let group = session
            .negotiated_key_exchange_group()
            .filter(|_| !resumed)
            .map_or_else(
                || "resumed".to_owned(),
                |group| format!("{:?}", group.name()),
            );
        *self.sessions.entry(Session { version, group }).or_default() += 1;
    }
}
