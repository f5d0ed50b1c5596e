//! The sending side: digits become event packets on a leg's own clock (RFC 4733 §2.5.1).

use std::collections::VecDeque;

use super::EventPayload;
use crate::dtmf::Digit;

/// Distance of two event packets, ms. 20 ms keeps the stream's usual rhythm; RFC 4733 §2.5.1.2 allows any.
pub const UPDATE_MS: u16 = 20;

/// End packets of each press: the first and two copies (RFC 4733 §2.5.1.4).
const END_PACKETS: u8 = 3;

/// Digits waiting on one leg at most; what is beyond is dropped.
pub const MAX_QUEUED: usize = 64;

/// One packet to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sending {
    /// First packet of a press: marker bit, and a timestamp of its own; all others repeat that timestamp.
    pub first: bool,
    /// The payload.
    pub payload: EventPayload,
}

/// What a tick of the sender brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// Send this.
    Packet(Sending),
    /// A gap between two presses.
    Quiet,
    /// Nothing is left.
    Done,
}

/// Makes the event packets of a string of digits, one tick each [`UPDATE_MS`].
///
/// ```text
///   ms      0    20    40    60    80    100   120   140      200
///           M,20  40    60    80   E,100  E     E     -  …     M,20      (tone 100 ms, gap 100 ms)
/// ```
#[derive(Debug, Clone)]
pub struct Sender {
    queue: VecDeque<Digit>,
    clock: u32,
    tone_ms: u16,
    gap_ms: u16,
    /// Of the digit at the front.
    elapsed_ms: u16,
    ends: u8,
}

impl Sender {
    /// A sender for a leg whose events have this clock. A tone lasts at least 40 ms (ITU-T Q.24) and at most what
    /// 16 bits hold; a gap leaves room for the copies of the end.
    #[must_use]
    pub fn new(clock: u32, tone_ms: u16, gap_ms: u16) -> Self {
        let clock = clock.max(1_000);
        let longest = u16::try_from(65_535 / (clock / 1_000)).unwrap_or(u16::MAX);
        let whole = |ms: u16| ms.div_ceil(UPDATE_MS).saturating_mul(UPDATE_MS);
        Self {
            queue: VecDeque::new(),
            clock,
            tone_ms: whole(tone_ms.clamp(40, (longest - UPDATE_MS).min(5_000))),
            gap_ms: whole(gap_ms.clamp(60, 5_000)),
            elapsed_ms: 0,
            ends: 0,
        }
    }

    /// Appends a digit; false if the queue is full.
    pub fn push(&mut self, digit: Digit) -> bool {
        let room = self.queue.len() < MAX_QUEUED;
        if room {
            self.queue.push_back(digit);
        }
        room
    }

    /// The packet of this tick.
    pub fn tick(&mut self) -> Tick {
        let Some(&digit) = self.queue.front() else {
            return Tick::Done;
        };
        let first = self.elapsed_ms == 0;
        self.elapsed_ms += UPDATE_MS;
        if self.elapsed_ms >= self.tone_ms && self.ends < END_PACKETS {
            self.ends += 1;
            return Tick::Packet(self.packet(digit, false, true));
        }
        if self.elapsed_ms < self.tone_ms {
            return Tick::Packet(self.packet(digit, first, false));
        }
        if self.elapsed_ms >= self.tone_ms + self.gap_ms {
            self.queue.pop_front();
            (self.elapsed_ms, self.ends) = (0, 0);
            // The gap's last tick belongs to nobody: the next press starts with the next one.
        }
        if self.queue.is_empty() {
            Tick::Done
        } else {
            Tick::Quiet
        }
    }

    /// The clock its durations count in, Hz.
    #[must_use]
    pub fn clock(&self) -> u32 {
        self.clock
    }

    /// How long the press has lasted, in units of that clock.
    #[must_use]
    pub fn span(&self) -> u32 {
        u32::from(self.elapsed_ms.min(self.tone_ms)) * (self.clock / 1_000)
    }

    fn packet(&self, digit: Digit, first: bool, end: bool) -> Sending {
        let duration = u16::try_from(self.span()).unwrap_or(u16::MAX);
        Sending {
            first,
            payload: EventPayload {
                event: digit.event(),
                end,
                volume: 10,
                duration,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::dtmf::rfc4733::{EventPacket, Press, Receiver};

    #[expect(clippy::disallowed_methods, reason = "tests need one origin")]
    fn presses(clock: u32, packets: &[EventPacket]) -> usize {
        let (now, mut receiver) = (Instant::now(), Receiver::new());
        let started = |packet: &&EventPacket| {
            matches!(
                receiver.receive(now, clock, **packet),
                Press::Started { .. }
            )
        };
        packets.iter().filter(started).count()
    }

    fn played(sender: &mut Sender) -> Vec<Option<Sending>> {
        let mut ticks = Vec::new();
        for _ in 0..1_000 {
            match sender.tick() {
                Tick::Packet(packet) => ticks.push(Some(packet)),
                Tick::Quiet => ticks.push(None),
                Tick::Done => return ticks,
            }
        }
        panic!("the sender never ends");
    }

    #[test]
    fn sent_presses_have_a_marker_a_growing_duration_three_ends_and_a_gap() {
        let mut sender = Sender::new(48_000, 100, 100);
        for key in ['1', '#'] {
            assert!(sender.push(Digit::new(key).unwrap()));
        }
        let ticks = played(&mut sender);
        let first: Vec<_> = ticks.iter().take(7).flatten().collect();
        let durations: Vec<_> = first
            .iter()
            .map(|sending| sending.payload.duration)
            .collect();
        assert_eq!(durations, [960, 1_920, 2_880, 3_840, 4_800, 4_800, 4_800]);
        assert_eq!(
            first.iter().filter(|sending| sending.payload.end).count(),
            3
        );
        let starts: Vec<_> = (0..)
            .zip(&ticks)
            .filter(|(_, tick)| tick.is_some_and(|t| t.first))
            .map(|(at, _)| at)
            .collect();
        assert_eq!(starts, [0, 10], "200 ms apart");
    }

    #[test]
    fn what_is_sent_is_received_as_so_many_presses() {
        for clock in [8_000, 16_000, 48_000] {
            let mut sender = Sender::new(clock, 40, 0);
            (0..5).for_each(|_| assert!(sender.push(Digit::new('5').unwrap())));
            let (mut timestamp, mut packets) = (0, Vec::new());
            for (sequence, tick) in (0..).zip(played(&mut sender)) {
                let Some(sending) = tick else { continue };
                if sending.first {
                    timestamp = u32::from(sequence) * clock / 50;
                }
                packets.push(EventPacket {
                    sequence,
                    timestamp,
                    marker: sending.first,
                    payload: sending.payload,
                });
            }
            assert_eq!(presses(clock, &packets), 5, "at {clock} Hz");
            packets.iter_mut().for_each(|packet| packet.marker = false);
            assert_eq!(presses(clock, &packets), 5, "without marker at {clock} Hz");
        }
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut sender = Sender::new(8_000, 100, 100);
        let taken = (0..100)
            .filter(|_| sender.push(Digit::new('1').unwrap()))
            .count();
        assert_eq!(taken, MAX_QUEUED);
    }
}
