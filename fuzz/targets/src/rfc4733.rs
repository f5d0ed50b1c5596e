//! Any events in any order: no panic; a press is reported at most once per packet, and a copy of one never again.

use std::time::{Duration, Instant};

use media_bridge::dtmf::rfc4733::{EventPacket, EventPayload, Press, Receiver, looks_like_event};
use media_bridge::{Digit, DigitSource, Normaliser};

/// One input.
pub fn run(data: &[u8]) {
    let _ = looks_like_event(data.first().copied().unwrap_or_default(), data);
    let mut now = Instant::now();
    let (mut receiver, mut normaliser) = (Receiver::new(), Normaliser::new());
    for piece in data.chunks_exact(12) {
        let &[s0, s1, t0, t1, t2, t3, flags, wait, ref payload @ ..] = piece else { return };
        let Some(payload) = EventPayload::parse(payload) else { return };
        assert_eq!(EventPayload::parse(&payload.octets()), Some(payload));
        now += Duration::from_millis(u64::from(wait) * 10);
        let packet = EventPacket {
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            marker: flags & 1 != 0,
            payload,
        };
        let clock = [8_000, 16_000, 48_000, 0, u32::MAX][usize::from(flags >> 1) % 5];
        let press = receiver.receive(now, clock, packet);
        if let Press::Started { digit, .. } = press {
            assert_eq!(Some(digit), payload.digit());
            assert_eq!(Digit::from_event(digit.event()), Some(digit));
            let _ = normaliser.push(now, digit, DigitSource::Rtp);
        }
        let copy = receiver.receive(now, clock, packet);
        assert!(!matches!(copy, Press::Started { .. }), "a copied packet is no second press");
        let _ = receiver.pressed(now);
    }
}
