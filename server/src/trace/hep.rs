//! HEP version 3 (Homer Encapsulation Protocol): one SIP message and where it passed, as chunks of
//! `vendor (0), type, length, value`, all in network order. Pure.
//!
//! ```text
//!   "HEP3" total │ 1 family │ 2 protocol │ 3..6 addresses │ 7, 8 ports │ 9, 10 time │ 11 what │ 12 agent │ …
//! ```

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use sip_proxy::Transport;

/// IPv4, IPv6 in chunk 1 (`AF_INET`, `AF_INET6` of most systems, which is what the format means by them).
const FAMILY_V4: u8 = 2;
const FAMILY_V6: u8 = 10;
/// IP protocol numbers in chunk 2.
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
/// Chunk 11: the payload is SIP.
const SIP: u8 = 1;

/// What a packet tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) at: Timestamp,
    pub(crate) transport: Transport,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    /// Capture agent id.
    pub(crate) id: u32,
    pub(crate) password: Option<&'a str>,
    /// What ties the two sides of a call together.
    pub(crate) correlation: Option<&'a str>,
    pub(crate) payload: &'a [u8],
}

/// The packet as sent. `None` when it would not fit its own length field.
pub(crate) fn encode(packet: &Packet<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(packet.payload.len() + 160);
    out.extend_from_slice(b"HEP3\0\0");
    let protocol = if packet.transport.is_stream() {
        PROTOCOL_TCP
    } else {
        PROTOCOL_UDP
    };
    match (packet.from.ip(), packet.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            chunk(&mut out, 1, &[FAMILY_V4])?;
            chunk(&mut out, 2, &[protocol])?;
            chunk(&mut out, 3, &from.octets())?;
            chunk(&mut out, 4, &to.octets())?;
        }
        (from, to) => {
            chunk(&mut out, 1, &[FAMILY_V6])?;
            chunk(&mut out, 2, &[protocol])?;
            chunk(&mut out, 5, &v6(from))?;
            chunk(&mut out, 6, &v6(to))?;
        }
    }
    chunk(&mut out, 7, &packet.from.port().to_be_bytes())?;
    chunk(&mut out, 8, &packet.to.port().to_be_bytes())?;
    let micros = packet.at.as_microsecond();
    let seconds = u32::try_from(micros.div_euclid(1_000_000)).unwrap_or(0);
    let fraction = u32::try_from(micros.rem_euclid(1_000_000)).unwrap_or(0);
    chunk(&mut out, 9, &seconds.to_be_bytes())?;
    chunk(&mut out, 10, &fraction.to_be_bytes())?;
    chunk(&mut out, 11, &[SIP])?;
    chunk(&mut out, 12, &packet.id.to_be_bytes())?;
    if let Some(password) = packet.password {
        chunk(&mut out, 14, password.as_bytes())?;
    }
    chunk(&mut out, 15, packet.payload)?;
    if let Some(correlation) = packet.correlation {
        chunk(&mut out, 17, correlation.as_bytes())?;
    }
    let total = u16::try_from(out.len()).ok()?.to_be_bytes();
    out.get_mut(4..6)?.copy_from_slice(&total);
    Some(out)
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The length counts the chunk's own six octets.
fn chunk(out: &mut Vec<u8>, kind: u16, value: &[u8]) -> Option<()> {
    let length = u16::try_from(value.len() + 6).ok()?;
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(from: &str, to: &str, payload: &'static [u8]) -> Packet<'static> {
        Packet {
            at: Timestamp::from_microsecond(1_700_000_000_123_456).unwrap(),
            transport: Transport::Udp,
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            id: 2_001,
            password: None,
            correlation: None,
            payload,
        }
    }

    /// Chunks by type; the frame is checked on the way.
    fn chunks(bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
        assert_eq!(&bytes[..4], b"HEP3");
        assert_eq!(
            usize::from(u16::from_be_bytes([bytes[4], bytes[5]])),
            bytes.len()
        );
        let (mut rest, mut found) = (&bytes[6..], Vec::new());
        while !rest.is_empty() {
            assert_eq!(&rest[..2], [0, 0], "generic vendor");
            let kind = u16::from_be_bytes([rest[2], rest[3]]);
            let length = usize::from(u16::from_be_bytes([rest[4], rest[5]]));
            found.push((kind, rest[6..length].to_vec()));
            rest = &rest[length..];
        }
        found
    }

    fn chunk_of(bytes: &[u8], kind: u16) -> Option<Vec<u8>> {
        let found = chunks(bytes).into_iter().find(|(k, _)| *k == kind);
        found.map(|(_, value)| value)
    }

    #[test]
    fn an_ipv4_datagram_has_every_mandatory_chunk() {
        let bytes = encode(&packet("192.0.2.7:5062", "192.0.2.1:5060", b"OPTIONS")).unwrap();
        for (kind, value) in [
            (1, vec![2]),
            (2, vec![17]),
            (3, vec![192, 0, 2, 7]),
            (4, vec![192, 0, 2, 1]),
            (7, 5_062_u16.to_be_bytes().to_vec()),
            (8, 5_060_u16.to_be_bytes().to_vec()),
            (9, 1_700_000_000_u32.to_be_bytes().to_vec()),
            (10, 123_456_u32.to_be_bytes().to_vec()),
            (11, vec![1]),
            (12, 2_001_u32.to_be_bytes().to_vec()),
            (15, b"OPTIONS".to_vec()),
        ] {
            assert_eq!(chunk_of(&bytes, kind), Some(value), "chunk {kind}");
        }
        for absent in [5, 6, 14, 17] {
            assert_eq!(chunk_of(&bytes, absent), None, "chunk {absent}");
        }
    }

    #[test]
    fn ipv6_and_streams_say_so() {
        let mut packet = packet("[2001:db8::7]:5062", "[2001:db8::1]:5061", b"x");
        packet.transport = Transport::Tls;
        let bytes = encode(&packet).unwrap();
        assert_eq!(chunk_of(&bytes, 1), Some(vec![10]));
        assert_eq!(chunk_of(&bytes, 2), Some(vec![6]));
        assert_eq!(chunk_of(&bytes, 5).unwrap().len(), 16);
        assert_eq!(chunk_of(&bytes, 6).unwrap()[15], 1);
        assert_eq!(chunk_of(&bytes, 3), None);
    }

    #[test]
    fn key_and_correlation_are_chunks_of_their_own() {
        let mut packet = packet("192.0.2.7:5062", "192.0.2.1:5060", b"x");
        (packet.password, packet.correlation) = (Some("key"), Some("7f3a-1"));
        let bytes = encode(&packet).unwrap();
        assert_eq!(chunk_of(&bytes, 14), Some(b"key".to_vec()));
        assert_eq!(chunk_of(&bytes, 17), Some(b"7f3a-1".to_vec()));
    }

    #[test]
    fn what_does_not_fit_is_not_sent() {
        static LONG: [u8; 65_536] = [b'x'; 65_536];
        assert!(encode(&packet("192.0.2.7:1", "192.0.2.1:2", &LONG)).is_none());
        assert!(encode(&packet("192.0.2.7:1", "192.0.2.1:2", &LONG[..65_500])).is_none());
        assert!(encode(&packet("192.0.2.7:1", "192.0.2.1:2", &LONG[..60_000])).is_some());
    }
}
