//! Connections we open: one to each peer, named before it exists (RFC 5923 in spirit).
//!
//! ```text
//!   transport, address, verified name ──▶ Pool ──▶ id of the connection there is, or of a new one to be opened
//!                                           ▲
//!                          closed(id) ──────┘
//! ```
//! The name a TLS peer proved is part of the key: a connection verified as one server is never used for another that
//! happens to stand at the same address.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::transport::{ConnectionId, Transport};

/// Connections remembered. Overflow rule: the oldest is forgotten, and closes by its own idle timer.
const CONNECTIONS: usize = 1_024;

/// Who is at the other end of a connection of ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// The transport spoken.
    pub transport: Transport,
    /// The address connected to.
    pub remote: SocketAddr,
    /// The name its certificate must prove (RFC 5922); always there on TLS, never without.
    pub name: Option<String>,
}

/// A connection to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Its number.
    pub connection: ConnectionId,
    /// It is not open yet: ask for that first.
    pub open: bool,
}

/// The connections we opened, by peer.
#[derive(Debug, Default)]
pub struct Pool {
    by_peer: BTreeMap<Peer, ConnectionId>,
    /// Bounded by [`CONNECTIONS`].
    by_id: BTreeMap<ConnectionId, Peer>,
    order: VecDeque<ConnectionId>,
    opened: u64,
}

impl Pool {
    /// The connection to a peer. With [`Way::open`] set it has just got its number and is to be opened.
    pub fn way(&mut self, peer: Peer) -> Way {
        if let Some(connection) = self.by_peer.get(&peer) {
            return Way {
                connection: *connection,
                open: false,
            };
        }
        self.opened += 1;
        let connection = ConnectionId::opened(self.opened);
        while self.by_id.len() >= CONNECTIONS
            && let Some(oldest) = self.order.pop_front()
        {
            self.forget(oldest);
        }
        self.by_id.insert(connection, peer.clone());
        self.order.push_back(connection);
        self.by_peer.insert(peer, connection);
        Way {
            connection,
            open: true,
        }
    }

    /// A connection is gone, or could not be opened: the next request to its peer opens another.
    pub fn closed(&mut self, connection: ConnectionId) {
        if self.forget(connection) {
            self.order.retain(|id| *id != connection);
        }
    }

    /// Connections remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True without any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn forget(&mut self, connection: ConnectionId) -> bool {
        let Some(peer) = self.by_id.remove(&connection) else {
            return false;
        };
        if self.by_peer.get(&peer) == Some(&connection) {
            self.by_peer.remove(&peer);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(transport: Transport, port: u16, name: Option<&str>) -> Peer {
        Peer {
            transport,
            remote: SocketAddr::from(([192, 0, 2, 1], port)),
            name: name.map(str::to_owned),
        }
    }

    #[test]
    fn a_peer_is_connected_to_once_until_the_connection_closes() {
        let mut pool = Pool::default();
        let first = pool.way(peer(Transport::Tcp, 5060, None));
        assert!(first.open && first.connection.is_opened());
        let again = pool.way(peer(Transport::Tcp, 5060, None));
        assert_eq!((again.connection, again.open), (first.connection, false));
        pool.closed(first.connection);
        let next = pool.way(peer(Transport::Tcp, 5060, None));
        assert!(next.open);
        assert_ne!(next.connection, first.connection, "numbers are not reused");
    }

    #[test]
    fn a_connection_verified_as_one_name_is_not_used_for_another() {
        let mut pool = Pool::default();
        let ways = [
            pool.way(peer(Transport::Tls, 5061, Some("a.example"))),
            pool.way(peer(Transport::Tls, 5061, Some("b.example"))),
            pool.way(peer(Transport::Tcp, 5061, None)),
            pool.way(peer(Transport::Tls, 5062, Some("a.example"))),
        ];
        assert!(ways.iter().all(|way| way.open));
        assert_eq!(pool.len(), 4);
    }

    #[test]
    fn the_oldest_is_forgotten_when_there_are_too_many() {
        let mut pool = Pool::default();
        let first = pool.way(peer(Transport::Tcp, 1, None));
        for port in 2..=u16::try_from(CONNECTIONS).unwrap() + 1 {
            pool.way(peer(Transport::Tcp, port, None));
        }
        assert_eq!(pool.len(), CONNECTIONS);
        let again = pool.way(peer(Transport::Tcp, 1, None));
        assert!(again.open && again.connection != first.connection);
        // What closes late does not take its successor along.
        pool.closed(first.connection);
        assert!(!pool.way(peer(Transport::Tcp, 1, None)).open);
    }
}
