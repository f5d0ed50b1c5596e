//! Sends every message to Homer. Never waits: what the socket does not take at once, or finds no address, is dropped
//! and counted.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use intercom::Heard;
use tokio::time::Instant;

use super::Counters;
use super::hep::{self, Packet};

/// How long a name's address is used before it is looked up anew.
const LOOK_UP: Duration = Duration::from_secs(60);
/// A look-up that takes longer has failed: messages wait meanwhile, in the trace's bounded queue.
const PATIENCE: Duration = Duration::from_secs(2);

/// The exporter.
pub(super) struct Exporter {
    conf: conf::Hep,
    counters: Arc<Counters>,
    socket: Option<(UdpSocket, SocketAddr)>,
    look_up_at: Instant,
}

impl Exporter {
    pub(super) fn new(conf: conf::Hep, counters: Arc<Counters>) -> Self {
        Self {
            conf,
            counters,
            socket: None,
            look_up_at: Instant::now(),
        }
    }

    pub(super) async fn send(&mut self, heard: &Heard) {
        if self.look_up_at <= Instant::now() {
            self.look_up_at = Instant::now() + LOOK_UP;
            self.look_up().await;
        }
        let Some((socket, collector)) = &self.socket else {
            self.counters.hep_dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let message = &heard.message;
        let redacted;
        let payload = if self.conf.redact {
            redacted = message.redacted();
            redacted.as_bytes()
        } else {
            message.unredacted()
        };
        let flow = &message.flow;
        let (from, to) = if message.sent {
            (flow.local, flow.remote)
        } else {
            (flow.remote, flow.local)
        };
        let packet = Packet {
            at: message.at,
            transport: flow.transport,
            from,
            to,
            id: self.conf.id,
            password: self.conf.password.as_ref().map(conf::Secret::expose),
            correlation: heard.call.as_deref(),
            payload,
        };
        let sent =
            hep::encode(&packet).is_some_and(|octets| socket.send_to(&octets, *collector).is_ok());
        let counter = if sent {
            &self.counters.hep_sent
        } else {
            &self.counters.hep_dropped
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A name that cannot be looked up leaves the address known before.
    async fn look_up(&mut self) {
        let asked = tokio::net::lookup_host(self.conf.address.as_str());
        let found = tokio::time::timeout(PATIENCE, asked).await;
        let address = match found {
            Ok(Ok(mut addresses)) => addresses.next(),
            Ok(Err(_)) | Err(_) => None,
        };
        let Some(address) = address else {
            tracing::warn!(
                collector = self.conf.address,
                "Homer's address is not known"
            );
            return;
        };
        if self
            .socket
            .as_ref()
            .is_some_and(|(_, known)| *known == address)
        {
            return;
        }
        let any: SocketAddr = if address.is_ipv6() {
            (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
        } else {
            (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
        };
        // Not the runtime's kind of socket: that one takes nothing before the runtime has seen it writable.
        let bound = UdpSocket::bind(any).and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        match bound {
            Ok(socket) => self.socket = Some((socket, address)),
            Err(error) => tracing::warn!(%error, "no socket for Homer"),
        }
    }
}
