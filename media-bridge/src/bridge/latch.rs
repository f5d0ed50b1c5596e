//! Whose packets count: a source address locked to what was signalled (no RTP bleed, no mid-call theft).
//!
//! ```text
//!   open ──first valid packet from an admitted source──► locked ──new remote by offer/answer──► open
//! ```
//!
//! Admitted are the signalled address and port; another port of the signalled address, or of the address the
//! signalling comes from (a peer behind NAT): such a port is learnt once. Everybody else is foreign, before the
//! first packet as much as after it.

use std::net::{IpAddr, SocketAddr};

/// One flow's source lock.
#[derive(Debug, Clone)]
pub(super) struct Latch {
    signalled: SocketAddr,
    signalling_from: Option<IpAddr>,
    locked: Option<SocketAddr>,
}

impl Latch {
    /// An open latch.
    pub(super) fn new(signalled: SocketAddr, signalling_from: Option<IpAddr>) -> Self {
        Self {
            signalled,
            signalling_from,
            locked: None,
        }
    }

    /// Takes a new offer/answer; re-opens only if it names another remote. True if it did.
    pub(super) fn update(
        &mut self,
        signalled: SocketAddr,
        signalling_from: Option<IpAddr>,
    ) -> bool {
        let moved = !same(self.signalled, signalled) || self.signalling_from != signalling_from;
        if moved {
            *self = Self::new(signalled, signalling_from);
        }
        moved
    }

    /// May a packet from here count? Changes nothing: a packet that turns out to be rubbish locks nothing.
    #[inline]
    pub(super) fn admits(&self, from: SocketAddr) -> bool {
        match self.locked {
            Some(locked) if same(locked, from) => true,
            // A lock on a learnt port yields to the exact address that was signalled, and to nothing else:
            // a neighbour behind the same NAT may have been first.
            Some(_) => same(self.signalled, from),
            None => {
                let ip = from.ip().to_canonical();
                ip == self.signalled.ip().to_canonical()
                    || self
                        .signalling_from
                        .is_some_and(|known| known.to_canonical() == ip)
            }
        }
    }

    /// Locks to the source of a valid packet that was admitted. True if that is a change.
    #[inline]
    pub(super) fn lock(&mut self, from: SocketAddr) -> bool {
        if self.locked.is_some_and(|locked| same(locked, from)) {
            return false;
        }
        self.locked = Some(from);
        true
    }

    /// Where to send: the locked source (symmetric RTP, RFC 4961), before it the signalled address; `None` while
    /// that is unspecified or has port 0.
    #[inline]
    pub(super) fn destination(&self) -> Option<SocketAddr> {
        let to = self.locked.unwrap_or(self.signalled);
        (!self.signalled.ip().is_unspecified() && to.port() != 0).then_some(to)
    }
}

/// Same address and port, an IPv4 address in IPv6 clothes (dual-stack socket) included.
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn open_admits_the_signalled_address_and_its_other_ports_only() {
        let latch = Latch::new(at("192.0.2.1:4000"), None);
        assert!(latch.admits(at("192.0.2.1:4000")));
        assert!(latch.admits(at("192.0.2.1:61000")));
        assert!(!latch.admits(at("192.0.2.2:4000")));
    }

    #[test]
    fn the_address_signalling_comes_from_counts_as_signalled() {
        let latch = Latch::new(at("10.0.0.5:4000"), Some("198.51.100.7".parse().unwrap()));
        assert!(latch.admits(at("198.51.100.7:33333")));
        assert!(!latch.admits(at("198.51.100.8:33333")));
    }

    #[test]
    fn locked_refuses_another_port_of_the_same_address() {
        let mut latch = Latch::new(at("192.0.2.1:4000"), None);
        assert!(latch.lock(at("192.0.2.1:4000")));
        assert!(!latch.admits(at("192.0.2.1:4002")));
        assert!(
            !latch.lock(at("192.0.2.1:4000")),
            "the same lock again is no news"
        );
    }

    #[test]
    fn a_learnt_port_is_learnt_once_and_yields_to_the_signalled_one_alone() {
        let mut latch = Latch::new(at("192.0.2.1:4000"), None);
        latch.lock(at("192.0.2.1:61000"));
        assert!(!latch.admits(at("192.0.2.1:61001")));
        assert!(latch.admits(at("192.0.2.1:4000")));
        latch.lock(at("192.0.2.1:4000"));
        assert!(!latch.admits(at("192.0.2.1:61000")));
    }

    #[test]
    fn only_a_new_remote_reopens() {
        let mut latch = Latch::new(at("192.0.2.1:4000"), None);
        latch.lock(at("192.0.2.1:61000"));
        assert!(!latch.update(at("192.0.2.1:4000"), None));
        assert_eq!(latch.destination(), Some(at("192.0.2.1:61000")));
        assert!(latch.update(at("192.0.2.9:4000"), None));
        assert!(!latch.admits(at("192.0.2.1:61000")));
        assert_eq!(latch.destination(), Some(at("192.0.2.9:4000")));
    }

    #[test]
    fn a_dual_stack_socket_sees_the_same_peer() {
        let latch = Latch::new(at("192.0.2.1:4000"), None);
        assert!(latch.admits(at("[::ffff:192.0.2.1]:4000")));
    }

    #[test]
    fn nothing_is_sent_to_an_unspecified_address_or_port_zero() {
        assert_eq!(Latch::new(at("0.0.0.0:4000"), None).destination(), None);
        assert_eq!(Latch::new(at("192.0.2.1:0"), None).destination(), None);
    }
}
