//! Which connections signalling has heard of: the end of any other is no news to it, and costs it nothing.

use std::collections::HashSet;

use sip_proxy::ConnectionId;

/// Connections something was fed from. Bounded by the connections open: each is told closed once.
#[derive(Debug, Default)]
pub(super) struct Speakers(HashSet<ConnectionId>);

impl Speakers {
    /// Something from this connection is fed.
    pub(super) fn heard(&mut self, connection: Option<ConnectionId>) {
        self.0.extend(connection);
    }

    /// It is gone; whether signalling has to be told. What it asked for itself, it waits for.
    pub(super) fn gone(&mut self, connection: ConnectionId) -> bool {
        self.0.remove(&connection) || connection.is_opened()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_connection_that_said_nothing_is_no_news() {
        let mut speakers = Speakers::default();
        speakers.heard(Some(ConnectionId(1)));
        speakers.heard(None);
        assert!(!speakers.gone(ConnectionId(2)));
        assert!(speakers.gone(ConnectionId(1)));
        assert!(!speakers.gone(ConnectionId(1)));
        assert!(speakers.gone(ConnectionId::opened(2)));
        assert!(speakers.0.is_empty());
    }
}
