//! The sockets of signalling: UDP listeners, stream listeners and connections, all in one epoll set.

use std::net::{IpAddr, Ipv6Addr};

pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod token;
pub(crate) mod udp;

/// Whose an address is: whoever has an IPv6 address has all of its /64.
pub(crate) fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}
