//! The stream heard on a leg: which SSRC counts, what its sequence numbers say, and the figures RTCP reports
//! about it (RFC 3550 §A.1, §A.3, §A.8).

use std::time::{Duration, Instant};

use crate::rtp::{Header, sequence_distance};

/// A new SSRC waits until the old one was silent this long.
pub(super) const SSRC_SILENCE: Duration = Duration::from_millis(500);

/// Steps forward that still are loss and not a restart (RFC 3550 §A.1 `MAX_DROPOUT`).
const MAX_DROPOUT: i32 = 3_000;

/// Steps back that still are reordering and not a restart: as many as the window of copies remembers.
const MAX_MISORDER: i32 = 63;

/// What a packet is within its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The first packet of a stream: a new SSRC, or the old one restarted. Nothing before it matters.
    First,
    /// Newer than all before; `missing` numbers were left out.
    Next {
        /// Packets between the last and this.
        missing: u16,
    },
    /// Older than the newest, not seen before.
    Late,
    /// Does not count: a copy, or not (yet) the stream we listen to.
    Refused,
}

/// One stream.
#[derive(Debug, Clone)]
struct Stream {
    ssrc: u32,
    /// Extended highest sequence number: 65,536 × wraps + number.
    highest: u32,
    first: u32,
    received: u32,
    /// Bit n set: `highest - n` was seen.
    window: u64,
    heard: Instant,
    transit: Option<u32>,
    /// Jitter in RTP units, times 16 (RFC 3550 §A.8).
    jitter_16: u32,
    expected_before: u32,
    received_before: u32,
}

/// A possible successor: its next packet must carry this number.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    ssrc: u32,
    next: u16,
}

/// Loss and jitter of the stream for a report block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reception {
    pub(super) ssrc: u32,
    pub(super) fraction_lost: u8,
    pub(super) lost: u32,
    pub(super) highest: u32,
    pub(super) jitter: u32,
}

/// Everything a leg hears.
#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    stream: Option<Stream>,
    candidate: Option<Candidate>,
    /// Packets lost in streams that ended.
    lost_before: u64,
    last_jitter_16: u32,
}

impl Source {
    /// Judges one packet from the locked address.
    #[inline]
    pub(super) fn place(&mut self, now: Instant, header: &Header) -> Place {
        let Some(stream) = &mut self.stream else {
            self.begin(now, header);
            return Place::First;
        };
        if stream.ssrc != header.ssrc {
            return self.prove(now, header);
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low 16 bits are the number"
        )]
        let ahead = sequence_distance(stream.highest as u16, header.sequence);
        if ahead > 0 && ahead <= MAX_DROPOUT {
            let step = ahead.unsigned_abs();
            stream.highest = stream.highest.wrapping_add(step);
            stream.window = stream.window.checked_shl(step).unwrap_or(0) | 1;
            stream.received = stream.received.wrapping_add(1);
            stream.heard = now;
            self.candidate = None;
            return Place::Next {
                missing: u16::try_from(step - 1).unwrap_or(0),
            };
        }
        if (-MAX_MISORDER..=0).contains(&ahead) {
            let bit = 1_u64 << ahead.unsigned_abs();
            if stream.window & bit != 0 {
                return Place::Refused;
            }
            stream.window |= bit;
            stream.received = stream.received.wrapping_add(1);
            stream.heard = now;
            return Place::Late;
        }
        self.prove(now, header)
    }

    /// Two packets in sequence make a new stream, once the old one is silent. The same goes for the old SSRC with
    /// numbers far off: whoever forges packets knows the SSRC sooner than the numbers.
    #[cold]
    fn prove(&mut self, now: Instant, header: &Header) -> Place {
        let speaking = self
            .stream
            .as_ref()
            .is_some_and(|stream| now.saturating_duration_since(stream.heard) < SSRC_SILENCE);
        if speaking {
            self.candidate = None;
            return Place::Refused;
        }
        let proven = self
            .candidate
            .is_some_and(|c| c.ssrc == header.ssrc && c.next == header.sequence);
        if proven {
            self.begin(now, header);
            return Place::First;
        }
        self.candidate = Some(Candidate {
            ssrc: header.ssrc,
            next: header.sequence.wrapping_add(1),
        });
        Place::Refused
    }

    fn begin(&mut self, now: Instant, header: &Header) {
        self.retire();
        let number = u32::from(header.sequence);
        self.candidate = None;
        self.stream = Some(Stream {
            ssrc: header.ssrc,
            highest: number,
            first: number,
            received: 1,
            window: 1,
            heard: now,
            transit: None,
            jitter_16: 0,
            expected_before: 0,
            received_before: 0,
        });
    }

    /// The remote changed: whoever speaks next is the stream.
    pub(super) fn retire(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.lost_before += u64::from(stream.lost());
            self.last_jitter_16 = stream.jitter_16;
        }
        self.candidate = None;
    }

    /// Takes the arrival of an audio packet into the jitter; `arrival` in RTP units. Event packets share one
    /// timestamp and would count as jitter: they are left out.
    #[inline]
    pub(super) fn time(&mut self, arrival: u32, timestamp: u32) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(before) = stream.transit {
            let change = transit.wrapping_sub(before).cast_signed().unsigned_abs();
            // A step of more than 2^20 units is a new timeline, not jitter.
            if change < 1 << 20 {
                let decay = (stream.jitter_16 + 8) >> 4;
                stream.jitter_16 = stream
                    .jitter_16
                    .saturating_add(change)
                    .saturating_sub(decay);
            }
        }
        stream.transit = Some(transit);
    }

    /// Is this the stream listened to?
    pub(super) fn is(&self, ssrc: u32) -> bool {
        self.stream
            .as_ref()
            .is_some_and(|stream| stream.ssrc == ssrc)
    }

    /// Packets lost in the leg's life.
    pub(super) fn lost(&self) -> u64 {
        self.lost_before
            + self
                .stream
                .as_ref()
                .map_or(0, |stream| u64::from(stream.lost()))
    }

    /// Jitter in RTP units.
    pub(super) fn jitter(&self) -> u32 {
        self.stream
            .as_ref()
            .map_or(self.last_jitter_16, |stream| stream.jitter_16)
            >> 4
    }

    /// A report block's figures; the fraction is since the last call.
    pub(super) fn report(&mut self) -> Option<Reception> {
        let stream = self.stream.as_mut()?;
        let expected = stream.expected();
        let expected_now = expected.wrapping_sub(stream.expected_before);
        let received_now = stream.received.wrapping_sub(stream.received_before);
        stream.expected_before = expected;
        stream.received_before = stream.received;
        let missing = expected_now.saturating_sub(received_now);
        let fraction = (u64::from(missing) << 8)
            .checked_div(u64::from(expected_now))
            .unwrap_or(0);
        Some(Reception {
            ssrc: stream.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            lost: stream.lost().min(0x7f_ffff),
            highest: stream.highest,
            jitter: stream.jitter_16 >> 4,
        })
    }
}

impl Stream {
    fn expected(&self) -> u32 {
        self.highest.wrapping_sub(self.first).wrapping_add(1)
    }

    fn lost(&self) -> u32 {
        self.expected().saturating_sub(self.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "tests need one origin")]
    fn origin() -> Instant {
        Instant::now()
    }

    fn packet(ssrc: u32, sequence: u16) -> Header {
        Header {
            marker: false,
            payload_type: 0,
            sequence,
            timestamp: 0,
            ssrc,
            payload: 12..12,
        }
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn order_gap_late_and_copy_are_told_apart_over_the_wrap() {
        let (now, mut source) = (origin(), Source::default());
        assert_eq!(source.place(now, &packet(1, 0xfffe)), Place::First);
        assert_eq!(
            source.place(now, &packet(1, 0xffff)),
            Place::Next { missing: 0 }
        );
        assert_eq!(source.place(now, &packet(1, 2)), Place::Next { missing: 2 });
        assert_eq!(source.place(now, &packet(1, 1)), Place::Late);
        assert_eq!(source.place(now, &packet(1, 1)), Place::Refused);
        assert_eq!(source.place(now, &packet(1, 2)), Place::Refused);
        assert_eq!(source.lost(), 1, "number 0 never came");
        assert_eq!(source.report().unwrap().highest, 65_538);
    }

    #[test]
    fn a_new_ssrc_takes_over_after_silence_and_two_in_sequence_only() {
        let (now, mut source) = (origin(), Source::default());
        source.place(now, &packet(1, 10));
        for n in 0..5 {
            assert_eq!(source.place(now + 400 * MS, &packet(2, n)), Place::Refused);
        }
        let later = now + 500 * MS;
        assert_eq!(source.place(later, &packet(2, 70)), Place::Refused);
        assert_eq!(
            source.place(later, &packet(2, 72)),
            Place::Refused,
            "not in sequence"
        );
        assert_eq!(
            source.place(later, &packet(3, 73)),
            Place::Refused,
            "another SSRC"
        );
        assert_eq!(source.place(later, &packet(3, 74)), Place::First);
        assert!(source.is(3));
    }

    #[test]
    fn the_old_ssrc_speaking_again_ends_the_candidacy() {
        let (now, mut source) = (origin(), Source::default());
        source.place(now, &packet(1, 10));
        source.place(now + 600 * MS, &packet(2, 70));
        source.place(now + 610 * MS, &packet(1, 11));
        assert_eq!(source.place(now + 620 * MS, &packet(2, 71)), Place::Refused);
        assert!(source.is(1));
    }

    #[test]
    fn a_restart_of_the_numbers_needs_silence_and_two_in_sequence() {
        let (now, mut source) = (origin(), Source::default());
        source.place(now, &packet(1, 100));
        for n in 0..5 {
            assert_eq!(
                source.place(now, &packet(1, 20_000 + n)),
                Place::Refused,
                "the old one speaks"
            );
        }
        let later = now + 500 * MS;
        assert_eq!(source.place(later, &packet(1, 30_000)), Place::Refused);
        assert_eq!(
            source.place(later, &packet(1, 30_002)),
            Place::Refused,
            "not in sequence"
        );
        assert_eq!(source.place(later, &packet(1, 30_003)), Place::First);
    }

    #[test]
    fn fraction_lost_is_of_the_interval() {
        let (now, mut source) = (origin(), Source::default());
        source.place(now, &packet(1, 0));
        source.place(now, &packet(1, 3));
        assert_eq!(source.report().unwrap().fraction_lost, 128);
        source.place(now, &packet(1, 4));
        let report = source.report().unwrap();
        assert_eq!((report.fraction_lost, report.lost), (0, 2));
    }

    #[test]
    fn jitter_converges_on_the_mean_deviation() {
        let (now, mut source) = (origin(), Source::default());
        source.place(now, &packet(1, 0));
        for n in 0..200_u32 {
            source.time(n * 160 + if n % 2 == 0 { 0 } else { 40 }, n * 160);
        }
        assert!((35..=41).contains(&source.jitter()), "{}", source.jitter());
    }
}
