//! One direction between two codecs, driven by packets alone: what comes in is decoded, cut into the other side's
//! packet length and sent in the same wake-up. A gap in the numbers is concealed or rebuilt, a gap in the
//! timestamps alone is silence and is left out.

use std::net::SocketAddr;
use std::time::Instant;

use super::outputs::Buffers;
use super::source::Place;
use super::splice::{Feed, Splice};
use crate::codec::{self, Codec, CodecError, Decode, Encode, MAX_PACKET_MS, Rate};
use crate::leg::{Component, LegConfig, LegId, LegStats};
use crate::rtp::{Header, timestamp_distance};

/// Made-up sound at most, ms: longer gaps are left silent.
const MAX_CONCEALED_MS: usize = 100;

/// A gap in the timestamps up to this is filled with silence so that the rhythm stays; a longer one is skipped.
const MAX_FILLED_MS: usize = 60;

/// Where encoded packets go: the hearing leg's stream.
pub(super) struct Sink<'a> {
    pub(super) leg: LegId,
    pub(super) to: SocketAddr,
    pub(super) splice: &'a mut Splice,
    pub(super) stats: &'a mut LegStats,
    pub(super) buffers: &'a mut Buffers,
}

impl Sink<'_> {
    /// Queues a packet of silence of `units` RTP time.
    pub(super) fn silence(&mut self, now: Instant, feed: Feed, units: u32, payload: &[u8]) {
        let stamp = self.splice.next(now, feed, units);
        self.splice.count(payload.len());
        self.stats.packets_out += 1;
        self.stats.octets_out += payload.len() as u64;
        let parts = [&stamp.header()[..], payload];
        self.buffers
            .send_parts(self.leg, Component::Rtp, self.to, parts);
    }

    /// Encodes one frame and queues it; `units` is its length in RTP time.
    pub(super) fn encode(
        &mut self,
        now: Instant,
        feed: Feed,
        units: u32,
        encoder: &mut dyn Encode,
        pcm: &[i16],
    ) {
        match encoder.encode(pcm, self.buffers.coded()) {
            Ok(0) | Err(_) => self.splice.skip(feed, units),
            Ok(octets) => {
                let stamp = self.splice.next(now, feed, units);
                self.splice.count(octets);
                self.stats.packets_out += 1;
                self.stats.octets_out += octets as u64;
                self.buffers
                    .send_coded(self.leg, Component::Rtp, self.to, stamp.header(), octets);
            }
        }
    }
}

/// What was heard.
pub(super) struct Packet<'a> {
    pub(super) place: Place,
    pub(super) header: &'a Header,
    pub(super) payload: &'a [u8],
    /// The speaker holds a key: nobody shall hear its tone.
    pub(super) muted: bool,
    /// The speaking leg's counts.
    pub(super) stats: &'a mut LegStats,
}

/// Packet length for a leg: what it asked for if the codec can make it, else 20 ms.
pub(super) fn frame_ms(codec: Codec, ptime_ms: u16) -> u16 {
    if codec.can_ptime(ptime_ms) {
        ptime_ms
    } else {
        20
    }
}

/// Decoder, encoder, and the samples between them.
pub(super) struct Transcode {
    from: Codec,
    to: Codec,
    rate: Rate,
    decoder: Box<dyn Decode>,
    encoder: Box<dyn Encode>,
    /// Samples of one packet sent, and its length in RTP units.
    frame: usize,
    units: u32,
    /// Decoded, not yet a full frame; empty between packets when both lengths are equal. Never more than one
    /// frame, one packet and what is made up before it.
    pending: Vec<i16>,
    /// Timestamp that follows without a gap.
    expected: Option<u32>,
    /// Samples of the last packet.
    last: usize,
}

impl std::fmt::Debug for Transcode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transcode")
            .field("from", &self.from)
            .field("to", &self.to)
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

impl Transcode {
    /// Opens both codecs.
    ///
    /// # Errors
    /// What [`codec::decoder`] and [`codec::encoder`] say.
    pub(super) fn open(from: Codec, to: &LegConfig) -> Result<Self, CodecError> {
        let rate = Rate::between(from, to.codec);
        let ms = frame_ms(to.codec, to.ptime_ms);
        let frame = usize::from(ms) * rate.per_ms();
        Ok(Self {
            from,
            to: to.codec,
            rate,
            decoder: codec::decoder(from, rate)?,
            encoder: codec::encoder(to.codec, rate, &to.opus)?,
            frame,
            units: u32::from(ms) * (to.codec.rtp_clock() / 1_000),
            pending: Vec::new(),
            expected: None,
            last: 20 * rate.per_ms(),
        })
    }

    pub(super) fn from(&self) -> Codec {
        self.from
    }

    /// The hearing side reported this much loss.
    pub(super) fn expect_loss(&mut self, percent: u8) {
        self.encoder.expect_loss(percent);
    }

    /// Another stream begins.
    pub(super) fn reset(&mut self) {
        self.decoder.reset();
        self.pending.clear();
        self.expected = None;
    }

    /// One audio packet, in order or not.
    pub(super) fn audio(
        &mut self,
        now: Instant,
        feed: Feed,
        packet: Packet<'_>,
        sink: &mut Sink<'_>,
    ) {
        let Packet {
            place,
            header,
            payload,
            muted,
            stats: heard,
        } = packet;
        let missing = match place {
            Place::First => {
                self.reset();
                0
            }
            Place::Next { missing } => missing,
            Place::Late | Place::Refused => return,
        };
        let gap = match self
            .expected
            .map(|at| timestamp_distance(at, header.timestamp))
        {
            None => 0,
            Some(gap) if gap >= 0 => self.samples(gap.unsigned_abs()),
            Some(gap) => {
                let overlap = self.samples(gap.unsigned_abs());
                if overlap < self.rate.hz() as usize / 2 && overlap >= self.last / 2 {
                    return; // its time was filled while a key was held
                }
                0
            }
        };
        let gap = self.bridge_loss(usize::from(missing), gap, payload, heard);
        self.bridge_silence(now, feed, gap, sink);
        let start = self.pending.len();
        let samples = self.decoder.samples(payload);
        let longest = MAX_PACKET_MS * self.rate.per_ms();
        if samples == 0 || samples > longest {
            heard.dropped_invalid += 1;
            return;
        }
        self.pending.resize(start + samples, 0);
        let room = self.pending.get_mut(start..).unwrap_or_default();
        if self.decoder.decode(payload, room).is_err() {
            self.pending.truncate(start);
            heard.dropped_invalid += 1;
            return;
        }
        if muted {
            room.fill(0);
        }
        self.last = samples;
        let span = self.in_units(samples);
        self.expected = Some(header.timestamp.wrapping_add(span));
        heard.transcoded = true;
        sink.stats.transcoded = true;
        self.flush(now, feed, sink);
    }

    /// `ms` of silence in the place of an event.
    pub(super) fn silence(&mut self, now: Instant, feed: Feed, ms: u32, sink: &mut Sink<'_>) {
        let Some(expected) = self.expected else {
            return;
        };
        let samples = (ms as usize).min(MAX_FILLED_MS) * self.rate.per_ms();
        self.expected = Some(expected.wrapping_add(self.in_units(samples)));
        self.pending.resize(self.pending.len() + samples, 0);
        self.flush(now, feed, sink);
    }

    /// Makes up for `missing` packets within `gap` samples; the samples still to be accounted for.
    fn bridge_loss(
        &mut self,
        missing: usize,
        gap: usize,
        next: &[u8],
        heard: &mut LegStats,
    ) -> usize {
        let ten = 10 * self.rate.per_ms();
        let each = (self.last / ten).clamp(1, MAX_PACKET_MS / 10) * ten;
        let most = (MAX_CONCEALED_MS * self.rate.per_ms() / each).max(1);
        let count = missing.min(gap / each).min(most);
        for nth in 0..count {
            let start = self.pending.len();
            self.pending.resize(start + each, 0);
            let room = self.pending.get_mut(start..).unwrap_or_default();
            // Redundancy rebuilds the packet just before this one only.
            if nth + 1 == count && count == missing && self.decoder.recover(next, room) {
                heard.recovered += 1;
            } else if nth + 1 == count && count == missing {
                heard.concealed += 1;
            } else {
                self.decoder.conceal(room);
                heard.concealed += 1;
            }
        }
        gap - count * each
    }

    /// Silence nobody sent: fills a short one, leaves out a long one.
    fn bridge_silence(&mut self, now: Instant, feed: Feed, gap: usize, sink: &mut Sink<'_>) {
        if gap == 0 {
            return;
        }
        let partial = self.pending.len() % self.frame;
        let to_boundary = if partial == 0 {
            0
        } else {
            self.frame - partial
        };
        let fill = if gap <= MAX_FILLED_MS * self.rate.per_ms() {
            gap
        } else {
            to_boundary.min(gap)
        };
        self.pending.resize(self.pending.len() + fill, 0);
        self.flush(now, feed, sink);
        let left_out = (gap - fill) as u64 * u64::from(self.to.rtp_clock());
        let units = left_out / u64::from(self.rate.hz());
        if units > 0 {
            sink.splice.skip(feed, u32::try_from(units).unwrap_or(0));
        }
    }

    /// Sends every full frame.
    fn flush(&mut self, now: Instant, feed: Feed, sink: &mut Sink<'_>) {
        let mut sent = 0;
        for pcm in self.pending.chunks_exact(self.frame) {
            sink.encode(now, feed, self.units, self.encoder.as_mut(), pcm);
            sent += pcm.len();
        }
        self.pending.drain(..sent);
    }

    /// RTP units of the speaking side as samples.
    fn samples(&self, units: u32) -> usize {
        let samples = u64::from(units) * u64::from(self.rate.hz());
        usize::try_from(samples / u64::from(self.from.rtp_clock())).unwrap_or(0)
    }

    fn in_units(&self, samples: usize) -> u32 {
        let units = samples as u64 * u64::from(self.from.rtp_clock());
        u32::try_from(units / u64::from(self.rate.hz())).unwrap_or(0)
    }
}
