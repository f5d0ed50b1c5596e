//! Requests above what a datagram carries whole (RFC 3261 section 18.1.1): by TCP, and back to UDP when nobody takes
//! them there.
//!
//! ```text
//!   request by UDP ──▶ above 1300 octets? ──no──▶ UDP
//!                            │ yes
//!                            ▼
//!     datagrams only, or refused TCP lately? ──yes──▶ UDP
//!                            │ no
//!                            ▼
//!                           TCP ──unreachable before any response──▶ UDP, and remembered
//! ```
//! The branch stays the same on both ways, so that a peer that had the request all the same sees it come again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Endpoint;
use super::slab::Slot;
use crate::transport::{ConnectionId, Flow, Transport};

/// Above this a datagram is likely to be fragmented (18.1.1).
const LARGE_DATAGRAM: usize = 1300;
/// Who refused TCP is not tried by it again for so long.
const REFUSED: Duration = Duration::from_secs(600);
/// Peers remembered for that. Overflow rule: all are forgotten, and cost one refused connection again.
const PEERS: usize = 1_024;

/// Peers that refused TCP, until when.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<SocketAddr, Instant>);

/// What goes out by UDP when TCP fails.
#[derive(Debug)]
pub(super) struct Datagram {
    flow: Flow,
    bytes: Bytes,
}

impl Endpoint {
    /// Writes a request for the way it goes.
    pub(super) fn write_for(
        &mut self,
        now: Instant,
        to: Flow,
        write: impl Fn(&Self, Flow) -> Bytes,
    ) -> (Flow, Bytes, Option<Box<Datagram>>) {
        let datagrams_only = to.is_datagrams_only();
        let to = to.plain();
        let bytes = write(self, to);
        if to.transport != Transport::Udp || bytes.len() <= LARGE_DATAGRAM {
            return (to, bytes, None);
        }
        self.counters.large_datagrams += 1;
        let refused = self.refusals.0.get(&to.remote);
        if datagrams_only || refused.is_some_and(|until| *until > now) {
            return (to, bytes, None);
        }
        self.counters.large_by_tcp += 1;
        let stream = Flow {
            transport: Transport::Tcp,
            ..to
        };
        let large = write(self, stream);
        let datagram = Datagram { flow: to, bytes };
        (stream, large, Some(Box::new(datagram)))
    }

    /// A request could not be delivered by TCP: again by UDP, if that is where it came from and nobody answered yet.
    /// `false` leaves the failure to the transaction.
    pub(super) fn fall_back(&mut self, now: Instant, slot: Slot) -> bool {
        let Some(client) = self.clients.get_mut(slot) else {
            return false;
        };
        let Some(datagram) = client.datagram.take() else {
            return false;
        };
        if !client.is_unanswered() {
            return false;
        }
        client.restart(datagram.flow);
        if self.refusals.0.len() >= PEERS {
            self.refusals.0.clear();
        }
        self.refusals.0.insert(datagram.flow.remote, now + REFUSED);
        self.counters.large_back_to_udp += 1;
        self.start(now, slot, datagram.bytes);
        true
    }
}

impl Flow {
    /// This flow, never left for TCP however long a request is: for a device that has no TCP, or that NAT lets us reach
    /// by its datagrams alone. Of no meaning on a stream.
    #[must_use]
    pub fn datagrams_only(self) -> Self {
        if self.transport == Transport::Udp {
            Self {
                connection: Some(ConnectionId::DATAGRAMS),
                ..self
            }
        } else {
            self
        }
    }

    fn is_datagrams_only(self) -> bool {
        self.connection == Some(ConnectionId::DATAGRAMS)
    }

    /// The flow as the shell knows it.
    pub(super) fn plain(self) -> Self {
        Self {
            connection: self.connection.filter(|_| !self.is_datagrams_only()),
            ..self
        }
    }
}
