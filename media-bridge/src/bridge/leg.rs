//! One leg: its lock, the stream it is sent, the stream heard on it, and what is being done to it.

use std::time::{Duration, Instant};

use super::latch::Latch;
use super::outputs::Buffers;
use super::play::Play;
use super::reports::Reports;
use super::source::Source;
use super::splice::{Feed, Splice};
use super::transcode::{Sink, Transcode};
use crate::codec::Codec;
use crate::dtmf::rfc4733;
use crate::leg::{LegConfig, LegId, LegStats};
use crate::offer_answer::Direction;
use crate::rtp::Header;

/// Comfort noise (RFC 3389): valid, and nothing to pass on.
const COMFORT_NOISE: u8 = 13;

/// What a payload type says the packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Audio(Codec),
    Event { clock: u32, agreed: bool },
    ComfortNoise,
}

/// Digits being sent.
#[derive(Debug)]
pub(super) struct DigitsOut {
    pub(super) order: u64,
    pub(super) sender: rfc4733::Sender,
    pub(super) payload_type: u8,
    pub(super) next: Instant,
    pub(super) feed: Feed,
}

/// A leg's state.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) id: LegId,
    pub(super) config: LegConfig,
    pub(super) feeds_keys: bool,
    pub(super) rtp: Latch,
    pub(super) rtcp: Latch,
    pub(super) source: Source,
    pub(super) splice: Splice,
    pub(super) keys: rfc4733::Receiver,
    /// Milliseconds of the press in hand for which the partner was sent silence.
    pub(super) filled_ms: u32,
    /// Slot of the partner.
    pub(super) partner: Option<u32>,
    /// The name under which this leg's audio feeds its partner.
    pub(super) feed: Feed,
    /// The codec of its latest packet: the agreed one, or an alternate.
    pub(super) spoken: Codec,
    /// From this leg to its partner, if their codecs differ.
    pub(super) transcode: Option<Box<Transcode>>,
    pub(super) play: Option<Box<Play>>,
    pub(super) digits: Option<Box<DigitsOut>>,
    pub(super) reports: Reports,
    pub(super) stats: LegStats,
    pub(super) heard: Instant,
    pub(super) silence_told: bool,
    /// The wake-up promised in the deadlines.
    pub(super) wake: Option<Instant>,
}

impl Leg {
    pub(super) fn sends(&self) -> bool {
        matches!(
            self.config.direction,
            Direction::SendRecv | Direction::SendOnly
        )
    }

    pub(super) fn receives(&self) -> bool {
        matches!(
            self.config.direction,
            Direction::SendRecv | Direction::RecvOnly
        )
    }

    /// Does the peer hear its partner now? Not while it is on hold or hears a tone or digits of ours.
    #[inline]
    pub(super) fn hears_partner(&self) -> bool {
        self.play.is_none() && self.digits.is_none() && self.sends()
    }

    /// Sorts a packet by its payload type. Phones exist that send with the type of their own SDP instead of ours,
    /// and events on types nobody agreed: both are taken, nothing else is.
    #[inline]
    pub(super) fn classify(&self, header: &Header, payload: &[u8]) -> Option<Kind> {
        let config = &self.config;
        let payload_type = header.payload_type;
        if payload_type == config.receive_payload {
            return Some(Kind::Audio(config.codec));
        }
        self.classify_other(payload_type, payload)
    }

    fn classify_other(&self, payload_type: u8, payload: &[u8]) -> Option<Kind> {
        let config = &self.config;
        let agreed = config.telephone_event;
        if let Some(event) = agreed
            && event.receive == payload_type
        {
            return Some(Kind::Event {
                clock: event.clock,
                agreed: true,
            });
        }
        if let Some((_, codec)) = config
            .alternates
            .iter()
            .find(|(number, _)| *number == payload_type)
        {
            return Some(Kind::Audio(*codec));
        }
        if payload_type == config.send_payload {
            return Some(Kind::Audio(config.codec));
        }
        if payload_type == COMFORT_NOISE {
            return Some(Kind::ComfortNoise);
        }
        let clock = agreed.map_or(config.codec.rtp_clock(), |event| event.clock);
        let event = agreed.is_some_and(|event| event.payload == payload_type)
            || rfc4733::looks_like_event(payload_type, payload);
        event.then_some(Kind::Event {
            clock,
            agreed: false,
        })
    }

    /// When this leg wants to be looked at next.
    pub(super) fn deadline(&self, silent_after: Duration) -> Instant {
        let mut at = self.reports.next;
        if let Some(play) = &self.play {
            at = at.min(play.next);
        }
        if let Some(digits) = &self.digits {
            at = at.min(digits.next);
        }
        if self.receives() && !self.silence_told {
            at = at.min(self.heard + silent_after);
        }
        at
    }

    /// This leg as the hearing side; `None` while nothing may be sent to it.
    pub(super) fn sink<'a>(&'a mut self, buffers: &'a mut Buffers) -> Option<Sink<'a>> {
        if !self.sends() {
            return None;
        }
        let to = self.rtp.destination()?;
        Some(Sink {
            leg: self.id,
            to,
            splice: &mut self.splice,
            stats: &mut self.stats,
            buffers,
        })
    }

    /// Counts so far.
    pub(super) fn stats(&self) -> LegStats {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds for people")]
        let jitter = self.source.jitter() as f32 * 1_000.0 / self.config.codec.rtp_clock() as f32;
        LegStats {
            lost: self.source.lost(),
            jitter_ms: jitter,
            rtt_ms: self.reports.round_trip_ms(),
            ..self.stats
        }
    }
}
