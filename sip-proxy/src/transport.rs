//! Which way a message travelled: the transport of a Via, and the flow (RFC 5626 §1) bytes came in on or go out on.

use std::fmt;
use std::net::SocketAddr;

/// A SIP transport (RFC 3261 §18, RFC 7118 for WebSocket).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams; the only transport on which transactions retransmit.
    Udp,
    /// A TCP stream.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// SIP over WebSocket, no TLS.
    Ws,
    /// SIP over WebSocket in TLS.
    Wss,
}

impl Transport {
    /// The word written in a Via's sent-protocol.
    #[must_use]
    pub fn as_via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// Its name in configuration and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// The word written in a URI's `transport=` parameter: `ws` for both WebSockets (RFC 7118 section 5.2), `tls` as
    /// everybody writes it though RFC 3261 deprecates it.
    #[must_use]
    pub fn as_param(self) -> &'static str {
        match self {
            Self::Wss => "ws",
            other => other.as_str(),
        }
    }

    /// Reads a Via's or a URI parameter's transport, whatever its case; `None` for one we do not speak.
    #[must_use]
    pub fn from_token(token: &str) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls, Self::Ws, Self::Wss]
            .into_iter()
            .find(|transport| transport.as_via().eq_ignore_ascii_case(token))
    }

    /// True where the transport itself delivers reliably and in order (RFC 3261 §17: no retransmission timers).
    #[must_use]
    pub fn is_stream(self) -> bool {
        self != Self::Udp
    }

    /// True where the hop is encrypted.
    #[must_use]
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// The port used when none is written (RFC 3261 §19.1.2, RFC 7118 §5).
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_via())
    }
}

/// One stream connection; numbers are never reused. The shell numbers those it accepts and those it opens because a
/// flow named none; a machine that wants a connection of its own numbers it itself, from another range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// Set in the numbers that machines give.
    const OPENED: u64 = 1 << 63;

    /// No connection, but a mark on a UDP flow: [`Flow::datagrams_only`].
    pub(crate) const DATAGRAMS: Self = Self(0);

    /// The `n`th connection a machine asks for.
    #[must_use]
    pub fn opened(n: u64) -> Self {
        Self(n | Self::OPENED)
    }

    /// True for a connection a machine asked for.
    #[must_use]
    pub fn is_opened(self) -> bool {
        self.0 & Self::OPENED != 0
    }
}

/// The way between us and a peer: enough to send back the way a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The transport spoken.
    pub transport: Transport,
    /// Our address on this flow.
    pub local: SocketAddr,
    /// The peer's address as seen by the socket, which is the only one to be believed.
    pub remote: SocketAddr,
    /// The stream connection; `None` on UDP (but for [`Flow::datagrams_only`]), or on a stream when the shell is to find
    /// or open one.
    pub connection: Option<ConnectionId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_is_read_in_any_case() {
        assert_eq!(Transport::from_token("tLs"), Some(Transport::Tls));
        assert_eq!(Transport::from_token("SCTP"), None);
    }

    #[test]
    fn only_udp_is_not_a_stream() {
        assert!(!Transport::Udp.is_stream());
        assert!(Transport::Ws.is_stream());
        assert!(Transport::Wss.is_secure() && !Transport::Tcp.is_secure());
    }
}
