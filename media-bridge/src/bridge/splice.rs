//! The one stream a leg is sent: whatever feeds it, SSRC and sequence go on and timestamps follow real time.

use std::time::Instant;

use crate::rtp::{Header, Stamp, sequence_distance, timestamp_distance};

/// Who feeds a leg. A new value for every join, every new stream of the partner, every tone: a change is where
/// the numbers must be joined anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Feed(pub(super) u64);

/// A leg's outgoing numbers.
#[derive(Debug, Clone)]
pub(super) struct Splice {
    ssrc: u32,
    clock: u32,
    payload_type: u8,
    /// Newest sequence number and latest timestamp used.
    sequence: u16,
    timestamp: u32,
    /// Length of the newest packet and of silence left out after it, RTP units.
    span: u32,
    sent_at: Option<Instant>,
    feed: Option<Feed>,
    /// Added to a relayed packet's own numbers.
    sequence_offset: u16,
    timestamp_offset: u32,
    /// First number of the partner that the offset is good for; an older packet would collide.
    floor: u16,
    marker_due: bool,
    /// For sender reports.
    pub(super) packets: u64,
    pub(super) octets: u64,
}

impl Splice {
    pub(super) fn new(ssrc: u32, sequence: u16, timestamp: u32, clock: u32, payload: u8) -> Self {
        Self {
            ssrc,
            clock,
            payload_type: payload,
            sequence,
            timestamp,
            span: 0,
            sent_at: None,
            feed: None,
            sequence_offset: 0,
            timestamp_offset: 0,
            floor: 0,
            marker_due: true,
            packets: 0,
            octets: 0,
        }
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Another codec was agreed.
    pub(super) fn retune(&mut self, clock: u32, payload: u8) {
        if self.clock != clock || self.payload_type != payload {
            self.clock = clock;
            self.payload_type = payload;
            self.feed = None;
        }
    }

    /// Numbers for a relayed packet of length `span`; `None` if it must not be sent: older than the last switch,
    /// or its time was filled already.
    #[inline]
    pub(super) fn relay(
        &mut self,
        now: Instant,
        feed: Feed,
        header: &Header,
        span: u32,
    ) -> Option<Stamp> {
        if self.feed != Some(feed) {
            let resume = self.resume_at(now);
            self.feed = Some(feed);
            self.sequence_offset = self.sequence.wrapping_add(1).wrapping_sub(header.sequence);
            self.timestamp_offset = resume.wrapping_sub(header.timestamp);
            self.floor = header.sequence;
            self.marker_due = true;
        } else if sequence_distance(self.floor, header.sequence) < 0 {
            // Long calls: the floor trails behind so that half a circle later it does not refuse the new.
            return None;
        }
        let sequence = header.sequence.wrapping_add(self.sequence_offset);
        let mut timestamp = header.timestamp.wrapping_add(self.timestamp_offset);
        if sequence_distance(self.sequence, sequence) <= 0 {
            // Reordered: keeps its own place, moves nothing.
            return Some(self.stamp(false, sequence, timestamp));
        }
        if let Some(sent_at) = self.sent_at {
            let ahead = timestamp_distance(self.timestamp, timestamp);
            let half_second = (self.clock / 2).cast_signed();
            if ahead <= 0 && ahead > -half_second {
                self.swallow(feed, header.sequence);
                return None;
            }
            let elapsed = self.units(now.saturating_duration_since(sent_at).as_micros());
            let plausible = i64::from(elapsed) + i64::from(self.clock) * 2;
            if ahead <= 0 || i64::from(ahead) > plausible {
                // The partner's clock was set anew: the peer must not notice.
                let resume = self.resume_at(now);
                self.timestamp_offset = resume.wrapping_sub(header.timestamp);
                timestamp = resume;
                self.marker_due = true;
            }
        }
        if sequence_distance(self.floor, header.sequence) > 16_384 {
            self.floor = header.sequence.wrapping_sub(8_192);
        }
        self.sequence = sequence;
        self.timestamp = timestamp;
        self.span = span;
        self.sent_at = Some(now);
        let marker = std::mem::take(&mut self.marker_due) || header.marker;
        Some(self.stamp(marker, sequence, timestamp))
    }

    /// A packet of the partner was not passed on: the numbers close up, so that the peer conceals nothing.
    pub(super) fn swallow(&mut self, feed: Feed, sequence: u16) {
        if self.feed == Some(feed) {
            self.sequence_offset = self.sequence.wrapping_sub(sequence);
            self.floor = sequence.wrapping_add(1);
        }
    }

    /// Numbers for a packet made here, following the last without a gap; after a change of feed at real time.
    pub(super) fn next(&mut self, now: Instant, feed: Feed, span: u32) -> Stamp {
        self.timestamp = if self.feed == Some(feed) {
            self.timestamp.wrapping_add(self.span)
        } else {
            self.marker_due = true;
            self.feed = Some(feed);
            self.resume_at(now)
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.span = span;
        self.sent_at = Some(now);
        let marker = std::mem::take(&mut self.marker_due);
        self.stamp(marker, self.sequence, self.timestamp)
    }

    /// Leaves out `units` of silence before the next packet made here; it opens a talk spurt.
    pub(super) fn skip(&mut self, feed: Feed, units: u32) {
        if units > 0 && self.feed == Some(feed) {
            self.span = self.span.wrapping_add(units);
            self.marker_due = true;
        }
    }

    /// Numbers for a further packet of an event: its own sequence number, the timestamp of the event's start.
    /// The instant remembered stays that of the start, which the timestamp belongs to.
    pub(super) fn again(&mut self, span: u32) -> Stamp {
        self.sequence = self.sequence.wrapping_add(1);
        self.span = span;
        self.stamp(false, self.sequence, self.timestamp)
    }

    /// Was the newest packet of this feed?
    pub(super) fn fed_by(&self, feed: Feed) -> bool {
        self.feed == Some(feed)
    }

    /// The next packet is of another feed, whoever sends it.
    pub(super) fn cut(&mut self) {
        self.feed = None;
    }

    /// The RTP time of an instant, for sender reports.
    pub(super) fn time_at(&self, now: Instant) -> u32 {
        let elapsed = self
            .sent_at
            .map_or(0, |at| now.saturating_duration_since(at).as_micros());
        self.timestamp.wrapping_add(self.units(elapsed))
    }

    /// Counts a packet for sender reports.
    #[inline]
    pub(super) fn count(&mut self, octets: usize) {
        self.packets += 1;
        self.octets += octets as u64;
    }

    fn resume_at(&self, now: Instant) -> u32 {
        let Some(sent_at) = self.sent_at else {
            return self.timestamp;
        };
        let elapsed = self.units(now.saturating_duration_since(sent_at).as_micros());
        self.timestamp.wrapping_add(elapsed.max(self.span).max(1))
    }

    #[expect(clippy::cast_possible_truncation, reason = "RTP time wraps")]
    fn units(&self, micros: u128) -> u32 {
        (micros as u64)
            .wrapping_mul(u64::from(self.clock))
            .wrapping_div(1_000_000) as u32
    }

    #[inline]
    fn stamp(&self, marker: bool, sequence: u16, timestamp: u32) -> Stamp {
        Stamp {
            marker,
            payload_type: self.payload_type,
            sequence,
            timestamp,
            ssrc: self.ssrc,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[expect(clippy::disallowed_methods, reason = "tests need one origin")]
    fn origin() -> Instant {
        Instant::now()
    }

    fn packet(sequence: u16, timestamp: u32) -> Header {
        Header {
            marker: false,
            payload_type: 0,
            sequence,
            timestamp,
            ssrc: 1,
            payload: 12..172,
        }
    }

    const TICK: Duration = Duration::from_millis(20);

    fn numbers(stamp: Stamp) -> (bool, u16, u32) {
        (stamp.marker, stamp.sequence, stamp.timestamp)
    }

    #[test]
    fn a_switch_of_source_is_no_jump() {
        let (now, mut splice) = (origin(), Splice::new(7, 65_535, 1_000, 8_000, 0));
        let first = splice
            .relay(now, Feed(1), &packet(500, 80_000), 160)
            .unwrap();
        assert_eq!(numbers(first), (true, 0, 1_000));
        let second = splice
            .relay(now + TICK, Feed(1), &packet(501, 80_160), 160)
            .unwrap();
        assert_eq!(numbers(second), (false, 1, 1_160));
        let other = splice
            .relay(now + 3 * TICK, Feed(2), &packet(9, 5), 160)
            .unwrap();
        assert_eq!(
            numbers(other),
            (true, 2, 1_480),
            "two ticks of real time later"
        );
    }

    #[test]
    fn loss_and_reordering_of_the_partner_stay_visible() {
        let (now, mut splice) = (origin(), Splice::new(7, 0, 0, 8_000, 0));
        splice.relay(now, Feed(1), &packet(10, 0), 160);
        let after_gap = splice.relay(now, Feed(1), &packet(13, 480), 160).unwrap();
        assert_eq!(numbers(after_gap), (false, 4, 480));
        let late = splice.relay(now, Feed(1), &packet(12, 320), 160).unwrap();
        assert_eq!(numbers(late), (false, 3, 320));
    }

    #[test]
    fn swallowed_packets_leave_no_gap_and_their_elders_no_trace() {
        let (now, mut splice) = (origin(), Splice::new(7, 0, 0, 8_000, 0));
        splice.relay(now, Feed(1), &packet(10, 0), 160);
        splice.swallow(Feed(1), 11);
        splice.swallow(Feed(1), 12);
        assert_eq!(splice.relay(now, Feed(1), &packet(11, 160), 160), None);
        let next = splice
            .relay(now + 3 * TICK, Feed(1), &packet(13, 480), 160)
            .unwrap();
        assert_eq!(numbers(next), (false, 2, 480));
    }

    #[test]
    fn a_partner_setting_its_clock_anew_is_not_noticed() {
        let (now, mut splice) = (origin(), Splice::new(7, 0, 100, 8_000, 0));
        splice.relay(now, Feed(1), &packet(10, 1_000_000), 160);
        let next = splice
            .relay(now + TICK, Feed(1), &packet(11, 50), 160)
            .unwrap();
        assert_eq!(numbers(next), (true, 2, 260));
        let forth = splice
            .relay(now + 2 * TICK, Feed(1), &packet(12, 900_000), 160)
            .unwrap();
        assert_eq!(numbers(forth), (true, 3, 420));
    }

    #[test]
    fn a_long_call_outlives_the_sequence_circle() {
        let (mut now, mut splice) = (origin(), Splice::new(7, 0, 0, 8_000, 0));
        for n in 0..200_000_u32 {
            #[expect(clippy::cast_possible_truncation, reason = "wraps")]
            let header = packet(n as u16, n.wrapping_mul(160));
            assert!(
                splice.relay(now, Feed(1), &header, 160).is_some(),
                "packet {n}"
            );
            now += TICK;
        }
    }

    #[test]
    fn packets_made_here_follow_each_other_and_silence_is_skipped() {
        let (now, mut splice) = (origin(), Splice::new(7, 0, 0, 8_000, 0));
        assert_eq!(numbers(splice.next(now, Feed(1), 160)), (true, 1, 0));
        assert_eq!(numbers(splice.next(now, Feed(1), 160)), (false, 2, 160));
        splice.skip(Feed(1), 800);
        assert_eq!(numbers(splice.next(now, Feed(1), 160)), (true, 3, 1_120));
    }

    #[test]
    fn live_audio_after_a_tone_goes_on_at_real_time() {
        let (now, mut splice) = (origin(), Splice::new(7, 0, 0, 8_000, 0));
        splice.next(now, Feed(1), 160);
        let live = splice
            .relay(now + 5 * TICK, Feed(2), &packet(99, 77), 160)
            .unwrap();
        assert_eq!(numbers(live), (true, 2, 800));
    }
}
