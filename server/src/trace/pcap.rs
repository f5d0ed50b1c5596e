//! A call's messages as a pcap file (the classic format, link type `RAW`: the packets begin with their IP header). Pure.
//!
//! Whatever they came by, messages are shown as UDP: headers are ours, addresses, ports and times are the real ones.

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;

/// Magic of a file with times in microseconds, written in our order.
const MAGIC: u32 = 0xa1b2_c3d4;
/// `LINKTYPE_RAW`: IPv4 or IPv6, by the first nibble.
const RAW: u32 = 101;
const SNAP: u32 = 65_535;
const UDP: u8 = 17;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
/// Longer messages are cut: with its headers a packet must fit 65,535 octets.
const LONGEST: usize = 65_535 - IPV6_HEADER - UDP_HEADER;

/// One message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) at: Timestamp,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) payload: &'a [u8],
}

/// The whole file.
pub(crate) fn file<'a>(packets: impl Iterator<Item = Packet<'a>>) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC.to_le_bytes());
    // Version 2.4, times in UTC, of unknown accuracy.
    out.extend_from_slice(&2_u16.to_le_bytes());
    out.extend_from_slice(&4_u16.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&SNAP.to_le_bytes());
    out.extend_from_slice(&RAW.to_le_bytes());
    for packet in packets {
        let octets = ip(&packet);
        let micros = packet.at.as_microsecond();
        let seconds = u32::try_from(micros.div_euclid(1_000_000)).unwrap_or(0);
        let fraction = u32::try_from(micros.rem_euclid(1_000_000)).unwrap_or(0);
        let length = u32::try_from(octets.len()).unwrap_or(SNAP);
        for word in [seconds, fraction, length, length] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&octets);
    }
    out
}

fn ip(packet: &Packet<'_>) -> Vec<u8> {
    let payload = packet.payload.get(..LONGEST).unwrap_or(packet.payload);
    let length = UDP_HEADER + payload.len();
    let mut udp = Vec::with_capacity(length);
    udp.extend_from_slice(&packet.from.port().to_be_bytes());
    udp.extend_from_slice(&packet.to.port().to_be_bytes());
    udp.extend_from_slice(&short(length));
    udp.extend_from_slice(&[0, 0]);
    udp.extend_from_slice(payload);
    let mut out = Vec::with_capacity(IPV6_HEADER + length);
    let pseudo = match (packet.from.ip(), packet.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&[0x45, 0]);
            out.extend_from_slice(&short(IPV4_HEADER + length));
            // No fragments; 64 hops.
            out.extend_from_slice(&[0, 0, 0x40, 0, 64, UDP, 0, 0]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
            let sum = checksum(0, &out);
            if let Some(place) = out.get_mut(10..12) {
                place.copy_from_slice(&sum.to_be_bytes());
            }
            sum_of(&from.octets()) + sum_of(&to.octets())
        }
        (from, to) => {
            let (from, to) = (v6(from), v6(to));
            out.extend_from_slice(&[0x60, 0, 0, 0]);
            out.extend_from_slice(&short(length));
            out.extend_from_slice(&[UDP, 64]);
            out.extend_from_slice(&from);
            out.extend_from_slice(&to);
            sum_of(&from) + sum_of(&to)
        }
    };
    let pseudo = pseudo + u32::from(UDP) + u32::try_from(length).unwrap_or(0);
    // Nought means "not computed" (RFC 768) and is not allowed over IPv6.
    let sum = match checksum(pseudo, &udp) {
        0 => 0xffff,
        sum => sum,
    };
    if let Some(place) = udp.get_mut(6..8) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
    out.extend_from_slice(&udp);
    out
}

fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn sum_of(octets: &[u8]) -> u32 {
    let word = |pair: &[u8]| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    };
    octets.chunks(2).map(word).sum()
}

/// RFC 1071.
fn checksum(start: u32, octets: &[u8]) -> u16 {
    let mut sum = start + sum_of(octets);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(from: &str, to: &str) -> Packet<'static> {
        Packet {
            at: Timestamp::from_microsecond(1_700_000_000_123_456).unwrap(),
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            payload: b"OPTIONS sip:x SIP/2.0\r\n\r\n",
        }
    }

    #[test]
    fn a_packet_has_its_time_addresses_and_sums() {
        let bytes = file(std::iter::once(packet("192.0.2.7:5062", "192.0.2.1:5060")));
        assert_eq!(&bytes[..4], MAGIC.to_le_bytes());
        assert_eq!(&bytes[24..28], 1_700_000_000_u32.to_le_bytes());
        assert_eq!(&bytes[28..32], 123_456_u32.to_le_bytes());
        let ip = &bytes[40..];
        assert_eq!(bytes[32..36], (ip.len() as u32).to_le_bytes());
        assert_eq!(&ip[12..20], [192, 0, 2, 7, 192, 0, 2, 1]);
        assert_eq!(checksum(0, &ip[..20]), 0, "the header's sum");
        let pseudo = sum_of(&ip[12..20]) + u32::from(UDP) + (ip.len() - 20) as u32;
        assert_eq!(checksum(pseudo, &ip[20..]), 0, "UDP's sum");
        assert!(ip.ends_with(b"SIP/2.0\r\n\r\n"));
    }

    #[test]
    fn ipv6_and_messages_of_any_length_fit() {
        static LONG: [u8; 70_000] = [b'x'; 70_000];
        let mut long = packet("[2001:db8::7]:5062", "[2001:db8::1]:5060");
        long.payload = &LONG;
        let bytes = file(std::iter::once(long));
        let ip = &bytes[40..];
        assert_eq!((ip[0], ip[6], ip.len()), (0x60, UDP, 65_535));
        let pseudo = sum_of(&ip[8..40]) + u32::from(UDP) + (ip.len() - 40) as u32;
        assert_eq!(checksum(pseudo, &ip[40..]), 0);
        assert_eq!(file(std::iter::empty()).len(), 24);
    }
}
