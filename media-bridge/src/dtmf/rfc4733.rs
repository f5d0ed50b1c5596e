//! Telephone events in RTP (RFC 4733): one press in, one digit out, whatever the phone does wrong.
//!
//! ```text
//!   press ──► [M] event d=160 ─ event d=320 ─ … ─ end d=800 ─ end ─ end      (all with the press's timestamp)
//!               │
//!               └─► Press::Started at the first packet that arrives; all the others are the same press
//! ```
//!
//! A press is reported once, **at its first packet**: an unlock must not wait for the finger to leave
//! the key. What identifies a press is its RTP timestamp; the marker bit, the end bit and the
//! number of packets decide nothing, because real phones leave each of them out.

mod sender;

use std::time::{Duration, Instant};

use super::Digit;
use crate::rtp::{sequence_distance, timestamp_distance};

pub use sender::{MAX_QUEUED, Sender, Sending, Tick, UPDATE_MS};

/// A press ends without its end packets after this much silence on the event.
pub const LOST_END: Duration = Duration::from_millis(200);

/// Tolerance, in milliseconds, within which a new timestamp still continues the press before it.
/// One packet time: automatic diallers leave at least 40 ms between two presses.
const CONTINUATION_SLACK_MS: u32 = 20;

/// How many finished presses are remembered against late copies. Older ones fall out.
const REMEMBERED: usize = 4;

/// The four octets of an event payload (RFC 4733 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPayload {
    /// Event code; 0..=15 are the DTMF digits (RFC 4733 §3.2).
    pub event: u8,
    /// The E bit: the press is over.
    pub end: bool,
    /// Power level in -dBm0, 0..=63.
    pub volume: u8,
    /// Duration so far in timestamp units.
    pub duration: u16,
}

impl EventPayload {
    /// Reads the first event of a payload. `None` when it is shorter than four octets.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let &[event, flags, high, low] = payload.first_chunk::<4>()?;
        Some(Self {
            event,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    /// The four octets as sent; the reserved bit is zero.
    #[must_use]
    pub fn octets(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [
            self.event,
            (u8::from(self.end) << 7) | (self.volume & 0x3f),
            high,
            low,
        ]
    }

    /// The digit named, or `None` for the events above 15 (flash, tones, modem signals).
    #[must_use]
    pub fn digit(self) -> Option<Digit> {
        Digit::from_event(self.event)
    }
}

/// Could this payload on a payload type nobody agreed be a telephone event? Phones exist that send
/// them so (four octets, a DTMF code, the reserved bit zero, on a dynamic type).
#[must_use]
pub fn looks_like_event(payload_type: u8, payload: &[u8]) -> bool {
    let dynamic = (96..=127).contains(&payload_type);
    let shape = matches!(payload, &[event, flags, _, _] if event <= 15 && flags & 0x40 == 0);
    dynamic && shape
}

/// One event packet as it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPacket {
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp: the press's identity.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// The payload.
    pub payload: EventPayload,
}

/// What one event packet meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Press {
    /// A new press; how long it has lasted so far, in milliseconds.
    Started {
        /// The key.
        digit: Digit,
        /// Milliseconds so far.
        duration_ms: u32,
    },
    /// More of a press already reported, or a copy of its end.
    Known,
    /// An event that is no digit, or a packet too late to be told apart from an old press.
    Ignored,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    event: u8,
    timestamp: u32,
    duration: u16,
    sequence: u16,
    ended: bool,
    seen: Instant,
}

/// Reads one source's events. Reset it when the source changes: timestamps of two sources say
/// nothing about each other.
#[derive(Debug, Clone, Default)]
pub struct Receiver {
    current: Option<Current>,
    /// Timestamps of finished presses, newest first.
    finished: [Option<u32>; REMEMBERED],
}

impl Receiver {
    /// A receiver that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one event packet; `clock` is the event's RTP clock in Hz.
    pub fn receive(&mut self, now: Instant, clock: u32, packet: EventPacket) -> Press {
        let Some(digit) = packet.payload.digit() else {
            return Press::Ignored;
        };
        if let Some(current) = &mut self.current {
            if current.continues(clock, packet) {
                current.absorb(now, packet);
                return Press::Known;
            }
            if sequence_distance(current.sequence, packet.sequence) <= 0 {
                return Press::Ignored;
            }
        }
        if self.finished.contains(&Some(packet.timestamp)) {
            return Press::Known;
        }
        if let Some(previous) = self.current.take() {
            self.finished.rotate_right(1);
            if let Some(newest) = self.finished.first_mut() {
                *newest = Some(previous.timestamp);
            }
        }
        self.current = Some(Current {
            event: packet.payload.event,
            timestamp: packet.timestamp,
            duration: packet.payload.duration,
            sequence: packet.sequence,
            ended: packet.payload.end,
            seen: now,
        });
        Press::Started {
            digit,
            duration_ms: to_ms(packet.payload.duration, clock),
        }
    }

    /// Is a key held right now? False after its end packet, or [`LOST_END`] after its last packet.
    #[must_use]
    pub fn pressed(&self, now: Instant) -> bool {
        self.current.is_some_and(|current| {
            !current.ended && now.saturating_duration_since(current.seen) < LOST_END
        })
    }
}

impl Current {
    /// Does this packet belong to the press in hand? Three ways:
    /// the same timestamp (the rule); the next segment of a press longer than 65,535 units
    /// (RFC 4733 §2.5.1.3); a phone that moves the timestamp with every packet of one press.
    fn continues(&self, clock: u32, packet: EventPacket) -> bool {
        if packet.payload.event != self.event {
            return false;
        }
        let ahead = timestamp_distance(self.timestamp, packet.timestamp);
        if ahead == 0 {
            return true;
        }
        let slack = clock / 1_000 * CONTINUATION_SLACK_MS;
        let reach = i64::from(self.duration) + i64::from(slack);
        // A press that ended goes on only by further end packets of a phone that moves the timestamp.
        let plausible = !self.ended || packet.payload.end;
        plausible && !packet.marker && ahead > 0 && i64::from(ahead) <= reach
    }

    fn absorb(&mut self, now: Instant, packet: EventPacket) {
        self.ended |= packet.payload.end;
        self.seen = now;
        if timestamp_distance(self.timestamp, packet.timestamp) > 0 {
            self.timestamp = packet.timestamp;
            self.duration = packet.payload.duration;
        }
        self.duration = self.duration.max(packet.payload.duration);
        if sequence_distance(self.sequence, packet.sequence) > 0 {
            self.sequence = packet.sequence;
        }
    }
}

/// Timestamp units to milliseconds, rounded down. A clock of zero counts as 8,000 Hz.
fn to_ms(duration: u16, clock: u32) -> u32 {
    u32::from(duration) * 1_000 / if clock == 0 { 8_000 } else { clock }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "tests need one origin")]
    fn origin() -> Instant {
        Instant::now()
    }

    fn packet(sequence: u16, timestamp: u32, duration: u16, end: bool) -> EventPacket {
        let payload = EventPayload {
            event: 9,
            end,
            volume: 10,
            duration,
        };
        EventPacket {
            sequence,
            timestamp,
            marker: false,
            payload,
        }
    }

    fn presses(clock: u32, packets: &[EventPacket]) -> usize {
        let (now, mut receiver) = (origin(), Receiver::new());
        let started = |packet: &EventPacket| {
            matches!(receiver.receive(now, clock, *packet), Press::Started { .. })
        };
        packets.iter().copied().filter(started).count()
    }

    #[test]
    fn a_press_is_reported_at_its_first_packet_and_once() {
        let (now, mut receiver) = (origin(), Receiver::new());
        let nine = Digit::new('9').unwrap();
        assert_eq!(
            receiver.receive(now, 8_000, packet(1, 1_000, 160, false)),
            Press::Started {
                digit: nine,
                duration_ms: 20
            }
        );
        assert!(receiver.pressed(now));
        for (sequence, duration, end) in [
            (2, 320, false),
            (3, 480, true),
            (4, 480, true),
            (5, 480, true),
        ] {
            assert_eq!(
                receiver.receive(now, 8_000, packet(sequence, 1_000, duration, end)),
                Press::Known
            );
        }
        assert!(!receiver.pressed(now));
    }

    #[test]
    fn end_packets_alone_are_one_press() {
        let ends = [
            packet(1, 1_000, 800, true),
            packet(2, 1_000, 800, true),
            packet(3, 1_000, 800, true),
        ];
        assert_eq!(presses(8_000, &ends), 1);
    }

    #[test]
    fn two_presses_of_one_key_are_two_even_without_marker_and_ends() {
        assert_eq!(
            presses(
                8_000,
                &[packet(1, 1_000, 800, false), packet(2, 2_600, 160, false)]
            ),
            2
        );
        assert_eq!(
            presses(
                48_000,
                &[packet(1, 1_000, 4_800, true), packet(2, 10_600, 960, true)]
            ),
            2
        );
    }

    #[test]
    fn the_second_segment_of_a_very_long_press_is_the_same_press() {
        let long = [
            packet(1, 1_000, 0xffff, false),
            packet(2, 1_000 + 0xffff, 160, false),
        ];
        assert_eq!(presses(8_000, &long), 1);
    }

    #[test]
    fn a_phone_that_moves_the_timestamp_within_a_press_presses_once() {
        let moving = [
            packet(1, 1_000, 160, false),
            packet(2, 1_160, 320, false),
            packet(3, 1_320, 480, true),
            packet(4, 1_480, 480, true),
            packet(5, 1_640, 480, true),
        ];
        assert_eq!(presses(8_000, &moving), 1);
    }

    #[test]
    fn a_copy_of_an_old_end_after_the_next_press_is_not_a_third_press() {
        let mut six = packet(4, 5_000, 160, false);
        six.payload.event = 6;
        let packets = [
            packet(1, 1_000, 160, true),
            six,
            packet(2, 1_000, 160, true),
            packet(5, 1_000, 160, true),
        ];
        assert_eq!(presses(8_000, &packets), 2);
    }

    #[test]
    fn another_key_at_once_is_another_press() {
        let mut six = packet(2, 1_160, 160, false);
        six.payload.event = 6;
        assert_eq!(presses(8_000, &[packet(1, 1_000, 160, false), six]), 2);
    }

    #[test]
    fn a_press_whose_ends_are_lost_ends_by_itself() {
        let (now, mut receiver) = (origin(), Receiver::new());
        let _ = receiver.receive(now, 8_000, packet(1, 1_000, 160, false));
        assert!(!receiver.pressed(now + LOST_END));
    }

    #[test]
    fn flash_and_tones_are_no_digits() {
        let (now, mut receiver) = (origin(), Receiver::new());
        for event in 16..=255 {
            let payload = EventPayload {
                event,
                end: false,
                volume: 0,
                duration: 160,
            };
            let packet = EventPacket {
                sequence: 1,
                timestamp: 1,
                marker: true,
                payload,
            };
            assert_eq!(receiver.receive(now, 8_000, packet), Press::Ignored);
        }
    }

    #[test]
    fn payload_octets_read_back() {
        let payload = EventPayload {
            event: 11,
            end: true,
            volume: 63,
            duration: 0x1234,
        };
        assert_eq!(payload.octets(), [11, 0xbf, 0x12, 0x34]);
        assert_eq!(EventPayload::parse(&payload.octets()), Some(payload));
        assert_eq!(EventPayload::parse(&[11, 0x80, 0]), None);
    }

    #[test]
    fn an_unagreed_event_is_known_by_its_shape() {
        assert!(looks_like_event(101, &[9, 10, 0, 160]));
        assert!(
            !looks_like_event(0, &[9, 10, 0, 160]),
            "a static type is audio"
        );
        assert!(!looks_like_event(101, &[16, 10, 0, 160]));
        assert!(!looks_like_event(101, &[9, 0x40, 0, 160]));
        assert!(!looks_like_event(101, &[9, 10, 0, 160, 0]));
    }
}
