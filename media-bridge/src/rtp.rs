//! RTP headers (RFC 3550 §5.1): a checked view on the way in, in-place rewriting on the way out.
//!
//! Parsing is `rtp-rs`, which refuses every truncated header, extension or padding; this file only
//! flattens its answer into plain numbers, so that the buffer is free to be rewritten afterwards.

use std::ops::Range;

/// Length of the fixed header in octets (RFC 3550 §5.1).
pub const HEADER_BYTES: usize = 12;

/// The largest RTP packet the bridge writes itself: 60 ms of L16 at 16 kHz, with its header.
pub const MAX_PACKET_BYTES: usize = HEADER_BYTES + 1_920;

/// What the bridge reads from one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The marker bit: for audio the first packet of a talk spurt (RFC 3551 §4.1).
    pub marker: bool,
    /// Payload type, 0..=127.
    pub payload_type: u8,
    /// Sequence number, wrapping.
    pub sequence: u16,
    /// Timestamp in units of the payload's RTP clock, wrapping.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Where the payload lies, without CSRC list, extension and padding.
    pub payload: Range<usize>,
}

/// Why a datagram is not RTP. Nothing more is told apart: each is dropped and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RTP packet")]
pub struct NotRtp;

/// Reads one datagram.
///
/// # Errors
/// [`NotRtp`] on a short datagram, another version than 2, or a CSRC list, extension or padding
/// that does not fit.
#[inline]
pub fn parse(bytes: &[u8]) -> Result<Header, NotRtp> {
    let reader = rtp_rs::RtpReader::new(bytes).map_err(|_| NotRtp)?;
    let start = reader.payload_offset();
    let end = start + reader.payload().len();
    Ok(Header {
        marker: reader.mark(),
        payload_type: reader.payload_type(),
        sequence: reader.sequence_number().into(),
        timestamp: reader.timestamp(),
        ssrc: reader.ssrc(),
        payload: start..end,
    })
}

/// Tells RTCP from RTP on one port by the second octet (RFC 5761 §4): 192..=223 is RTCP.
#[must_use]
#[inline]
pub fn is_rtcp(bytes: &[u8]) -> bool {
    matches!(bytes.get(1), Some(192..=223))
}

/// The five fields a leg owns in each packet it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Marker bit.
    pub marker: bool,
    /// Payload type, 0..=127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in the leg's RTP clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl Stamp {
    /// Octets 1 to 11 of the header; octet 0 (version, padding, extension, CSRC count) is the packet's own.
    #[inline]
    fn octets(self) -> [u8; HEADER_BYTES - 1] {
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [c0, c1, c2, c3] = self.ssrc.to_be_bytes();
        let second = (u8::from(self.marker) << 7) | (self.payload_type & 0x7f);
        [second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3]
    }

    /// Overwrites these fields in a packet that [`parse`] accepted; a shorter buffer stays as it is.
    #[inline]
    pub fn rewrite(self, packet: &mut [u8]) {
        if let Some(field) = packet.get_mut(1..HEADER_BYTES) {
            field.copy_from_slice(&self.octets());
        }
    }

    /// The whole fixed header of a packet without padding, extension or CSRC list.
    #[must_use]
    #[inline]
    pub fn header(self) -> [u8; HEADER_BYTES] {
        let mut header = [0x80; HEADER_BYTES];
        self.rewrite(&mut header);
        header
    }
}

/// Signed distance from `from` to `to` on the 16-bit circle: positive when `to` is newer.
#[must_use]
#[inline]
pub fn sequence_distance(from: u16, to: u16) -> i32 {
    i32::from(to.wrapping_sub(from).cast_signed())
}

/// Signed distance from `from` to `to` on the 32-bit circle: positive when `to` is later.
#[must_use]
#[inline]
pub fn timestamp_distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        marker: true,
        payload_type: 111,
        sequence: 0xfffe,
        timestamp: 0xdead_beef,
        ssrc: 7,
    };

    #[test]
    fn written_header_reads_back() {
        let mut packet = STAMP.header().to_vec();
        packet.extend_from_slice(&[1, 2, 3]);
        let header = parse(&packet).unwrap();
        assert_eq!(
            header,
            Header {
                marker: true,
                payload_type: 111,
                sequence: 0xfffe,
                timestamp: 0xdead_beef,
                ssrc: 7,
                payload: 12..15
            }
        );
    }

    #[test]
    fn rewriting_keeps_csrc_extension_and_padding() {
        let mut packet = vec![0xb1, 0x00, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]; // P, X, one CSRC
        packet.extend_from_slice(&[9, 9, 9, 9]); // CSRC
        packet.extend_from_slice(&[0xbe, 0xde, 0, 1, 5, 5, 5, 5]); // extension
        packet.extend_from_slice(&[42, 43, 0, 2]); // payload, padding of two
        assert_eq!(parse(&packet).unwrap().payload, 24..26);
        STAMP.rewrite(&mut packet);
        let header = parse(&packet).unwrap();
        assert_eq!((header.ssrc, header.payload), (7, 24..26));
        assert_eq!(packet[0], 0xb1);
        assert_eq!(
            &packet[12..],
            &[9, 9, 9, 9, 0xbe, 0xde, 0, 1, 5, 5, 5, 5, 42, 43, 0, 2]
        );
    }

    #[test]
    fn padding_longer_than_the_packet_is_refused() {
        let mut packet = STAMP.header().to_vec();
        packet[0] |= 0x20;
        packet.push(9);
        assert_eq!(parse(&packet), Err(NotRtp));
    }

    #[test]
    fn every_truncation_of_an_extended_packet_is_an_error_or_a_packet_never_a_panic() {
        let mut packet = vec![0xb3, 0x00, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        packet.extend_from_slice(&[7; 40]);
        for length in 0..packet.len() {
            if let Ok(header) = parse(&packet[..length]) {
                assert!(header.payload.end <= length);
            }
        }
    }

    #[test]
    fn rtcp_is_told_by_its_packet_type() {
        assert!(is_rtcp(&[0x80, 200]));
        assert!(is_rtcp(&[0x81, 201]));
        assert!(!is_rtcp(&[0x80, 0x80 | 96]));
        assert!(!is_rtcp(&[0x80, 0]));
        assert!(!is_rtcp(&[0x80]));
    }

    #[test]
    fn distances_wrap() {
        assert_eq!(sequence_distance(0xffff, 1), 2);
        assert_eq!(sequence_distance(1, 0xffff), -2);
        assert_eq!(timestamp_distance(u32::MAX, 159), 160);
    }
}
