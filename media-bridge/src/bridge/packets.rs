//! A packet's way through the bridge.

use std::net::SocketAddr;
use std::time::Instant;

use super::leg::{Kind, Leg};
use super::source::Place;
use super::splice::Feed;
use super::transcode::{Packet, Transcode, frame_ms};
use super::{Bridge, silence};
use crate::codec::Codec;
use crate::dtmf::DigitSource;
use crate::dtmf::rfc4733::{self, EventPacket, EventPayload, Press};
use crate::leg::{Component, Event, LegId};
use crate::rtp::{self, Header};

/// Silence packets at most for one event packet; a press that grew by more leaves a gap in the timestamps.
const MAX_FILL: u32 = 3;

impl Bridge {
    pub(super) fn packet(
        &mut self,
        now: Instant,
        leg: LegId,
        component: Component,
        from: SocketAddr,
        bytes: &mut [u8],
    ) {
        let Some(index) = self.legs.index(leg) else {
            self.counters.unknown_leg += 1;
            return;
        };
        if component == Component::Rtcp || rtp::is_rtcp(bytes) {
            self.rtcp_packet(now, index, component, from, bytes);
        } else {
            self.rtp_packet(now, index, from, bytes);
        }
    }

    #[inline]
    fn rtp_packet(&mut self, now: Instant, index: u32, from: SocketAddr, bytes: &mut [u8]) {
        let age = self.age(now);
        let Some(leg) = self.legs.get_mut(index) else {
            return;
        };
        if !leg.rtp.admits(from) {
            leg.stats.dropped_foreign += 1;
            return;
        }
        let Ok(header) = rtp::parse(bytes) else {
            leg.stats.dropped_invalid += 1;
            return;
        };
        let payload = bytes.get(header.payload.clone()).unwrap_or_default();
        let Some(kind) = leg.classify(&header, payload) else {
            leg.stats.dropped_invalid += 1;
            return;
        };
        if leg.rtp.lock(from) {
            // Another socket is another source, whatever SSRC it claims.
            leg.source.retire();
            self.buffers.event(Event::Latched { leg: leg.id, from });
        }
        let place = leg.source.place(now, &header);
        if place == Place::Refused {
            return;
        }
        leg.heard = now;
        leg.silence_told = false;
        leg.stats.packets_in += 1;
        leg.stats.octets_in += payload.len() as u64;
        if place == Place::First {
            self.feeds += 1;
            leg.feed = Feed(self.feeds);
            leg.keys = rfc4733::Receiver::new();
        }
        if !leg.receives() {
            return; // on hold: neither heard nor obeyed
        }
        match kind {
            Kind::Audio(codec) => {
                if codec != leg.spoken {
                    // Relayed and transcoded packets are numbered in different ways.
                    leg.spoken = codec;
                    self.feeds += 1;
                    leg.feed = Feed(self.feeds);
                    if let Some(transcode) = &mut leg.transcode {
                        transcode.reset();
                    }
                }
                let arrival = age.as_micros() * u128::from(codec.rtp_clock()) / 1_000_000;
                #[expect(clippy::cast_possible_truncation, reason = "RTP time wraps")]
                leg.source.time(arrival as u32, header.timestamp);
                self.audio(now, index, codec, place, &header, bytes);
            }
            Kind::Event { clock, agreed } => {
                self.event(now, index, place, &header, clock, agreed, bytes);
            }
            Kind::ComfortNoise => {
                if let Some((leg, partner)) = self.legs.with_partner(index) {
                    partner.splice.swallow(leg.feed, header.sequence);
                }
            }
        }
    }

    /// Relays or transcodes one audio packet to the partner.
    #[inline]
    fn audio(
        &mut self,
        now: Instant,
        index: u32,
        codec: Codec,
        place: Place,
        header: &Header,
        bytes: &mut [u8],
    ) {
        let Some((leg, partner)) = self.legs.with_partner(index) else {
            return;
        };
        if !partner.hears_partner() {
            return;
        }
        let muted = leg.keys.pressed(now);
        if codec != partner.config.codec {
            if !ready_to_transcode(leg, codec, partner) {
                return;
            }
            let Some(transcode) = &mut leg.transcode else {
                return;
            };
            let payload = bytes.get(header.payload.clone()).unwrap_or_default();
            let Some(mut sink) = partner.sink(&mut self.buffers) else {
                return;
            };
            let stats = &mut leg.stats;
            let packet = Packet {
                place,
                header,
                payload,
                muted,
                stats,
            };
            transcode.audio(now, leg.feed, packet, &mut sink);
            return;
        }
        let Some(to) = partner.rtp.destination() else {
            return;
        };
        let payload = bytes.get_mut(header.payload.clone()).unwrap_or_default();
        if payload.is_empty() {
            // A keep-alive of the peer's NAT.
            partner.splice.swallow(leg.feed, header.sequence);
            return;
        }
        let span = silence::span(codec, payload);
        let Some(stamp) = partner.splice.relay(now, leg.feed, header, span) else {
            return;
        };
        let mut end = bytes.len();
        if muted {
            let payload = bytes.get_mut(header.payload.clone()).unwrap_or_default();
            end = header.payload.start + silence::mute(codec, payload);
            if let Some(first) = bytes.first_mut() {
                *first &= !0x20; // the padding is cut off
            }
        }
        stamp.rewrite(bytes);
        let octets = end.min(header.payload.end) - header.payload.start;
        partner.splice.count(octets);
        partner.stats.packets_out += 1;
        partner.stats.octets_out += octets as u64;
        self.buffers
            .send_input(partner.id, Component::Rtp, to, 0..end);
    }

    /// An event packet: a digit for us, silence for the partner.
    #[expect(clippy::too_many_arguments, reason = "one packet's facts, used once")]
    fn event(
        &mut self,
        now: Instant,
        index: u32,
        place: Place,
        header: &Header,
        clock: u32,
        agreed: bool,
        bytes: &[u8],
    ) {
        let Some(leg) = self.legs.get_mut(index) else {
            return;
        };
        let payload = bytes
            .get(header.payload.clone())
            .and_then(EventPayload::parse);
        let Some(payload) = payload else {
            leg.stats.dropped_invalid += 1;
            return;
        };
        let (sequence, timestamp, marker) = (header.sequence, header.timestamp, header.marker);
        let packet = EventPacket {
            sequence,
            timestamp,
            marker,
            payload,
        };
        match leg.keys.receive(now, clock, packet) {
            Press::Started { digit, duration_ms } => {
                leg.filled_ms = 0;
                if !agreed {
                    leg.stats.unagreed_events += 1;
                }
                if leg.feeds_keys {
                    let (leg, source) = (leg.id, DigitSource::Rtp);
                    self.buffers.event(Event::Digit {
                        leg,
                        digit,
                        duration_ms,
                        source,
                    });
                }
            }
            Press::Known | Press::Ignored => {}
        }
        if place == Place::Late {
            return;
        }
        let lasted_ms = u32::from(payload.duration) * 1_000 / clock.max(1);
        self.fill(now, index, header, lasted_ms);
    }

    /// Silence to the partner for the part of a press that is new, so that its stream goes on.
    fn fill(&mut self, now: Instant, index: u32, header: &Header, lasted_ms: u32) {
        let Some((leg, partner)) = self.legs.with_partner(index) else {
            return;
        };
        if !partner.hears_partner() {
            return;
        }
        let new_ms = lasted_ms.saturating_sub(leg.filled_ms);
        let frame = frame_ms(partner.config.codec, partner.config.ptime_ms);
        let frame = if partner.config.codec == Codec::Opus {
            20
        } else {
            frame
        };
        let count = new_ms / u32::from(frame);
        let (sent, skipped) = (count.min(MAX_FILL), count.saturating_sub(MAX_FILL));
        leg.filled_ms += count * u32::from(frame);
        let codec = partner.config.codec;
        let units = u32::from(frame) * (codec.rtp_clock() / 1_000);
        let Some(mut sink) = partner.sink(&mut self.buffers) else {
            return;
        };
        if let Some(transcode) = &mut leg.transcode {
            transcode.silence(now, leg.feed, sent * u32::from(frame), &mut sink);
            return;
        }
        if !sink.splice.fed_by(leg.feed) {
            return;
        }
        let payload = silence::payload(codec, frame);
        for _ in 0..sent {
            sink.silence(now, leg.feed, units, payload);
        }
        sink.splice.skip(leg.feed, skipped * units);
        sink.splice.swallow(leg.feed, header.sequence);
    }

    fn rtcp_packet(
        &mut self,
        now: Instant,
        index: u32,
        component: Component,
        from: SocketAddr,
        bytes: &[u8],
    ) {
        let since_origin = self.age(now);
        let Some(leg) = self.legs.get_mut(index) else {
            return;
        };
        let own = component == Component::Rtcp;
        if !(if own { &leg.rtcp } else { &leg.rtp }).admits(from) {
            leg.stats.dropped_foreign += 1;
            return;
        }
        let ours = leg.splice.ssrc();
        let (packets, loss) = leg
            .reports
            .read(now, since_origin, ours, &leg.source, bytes);
        if packets == 0 {
            leg.stats.dropped_invalid += 1;
            return;
        }
        if own {
            leg.rtcp.lock(from);
        }
        if let (Some(percent), Some((_, partner))) = (loss, self.legs.with_partner(index))
            && let Some(transcode) = &mut partner.transcode
        {
            transcode.expect_loss(percent);
        }
    }
}

/// The transcoder stands, from this leg's codec of the moment: opened anew when the peer switched between agreed
/// codecs. False for a clear channel and when the codecs cannot be opened.
#[inline]
fn ready_to_transcode(leg: &mut Leg, codec: Codec, partner: &Leg) -> bool {
    if leg.config.clear || partner.config.clear {
        return false;
    }
    if leg
        .transcode
        .as_ref()
        .is_none_or(|open| open.from() != codec)
    {
        leg.transcode = Transcode::open(codec, &partner.config).ok().map(Box::new);
    }
    leg.transcode.is_some()
}
