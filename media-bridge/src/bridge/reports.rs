//! A leg's RTCP: reports sent at random times, reports heard (RFC 3550 §6).

use std::time::{Duration, Instant};

use super::leg::Leg;
use super::outputs::Buffers;
use super::source::Source;
use crate::leg::Component;
use crate::rtcp::{self, Item, MAX_WRITTEN_BYTES, ReportBlock, SenderInfo};

/// What a leg keeps between reports.
#[derive(Debug, Clone)]
pub(super) struct Reports {
    pub(super) next: Instant,
    /// Random for each leg (RFC 7022 §4.2): it tells nobody who or where we are.
    cname: [u8; 16],
    packets_reported: u64,
    last_sr: u32,
    last_sr_at: Option<Instant>,
    /// In 1/65,536 s.
    round_trip: Option<u32>,
}

impl Reports {
    /// `name` is random.
    pub(super) fn new(first: Instant, name: u64) -> Self {
        let mut cname = [0; 16];
        for (nth, octet) in cname.iter_mut().enumerate() {
            let nibble = u8::try_from((name >> (nth * 4)) & 0xf).unwrap_or(0);
            *octet = if nibble < 10 {
                b'0' + nibble
            } else {
                b'a' + nibble - 10
            };
        }
        Self {
            next: first,
            cname,
            packets_reported: 0,
            last_sr: 0,
            last_sr_at: None,
            round_trip: None,
        }
    }

    pub(super) fn round_trip_ms(&self) -> Option<f32> {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds for people")]
        self.round_trip.map(|trip| trip as f32 * 1_000.0 / 65_536.0)
    }

    /// Takes a report; the percentage of our stream that its peer lost, if it says so.
    pub(super) fn read(
        &mut self,
        now: Instant,
        since_origin: Duration,
        ours: u32,
        source: &Source,
        bytes: &[u8],
    ) -> (usize, Option<u8>) {
        let mut loss = None;
        let packets = rtcp::read(bytes, |item| match item {
            Item::Sender { ssrc, info } if source.is(ssrc) => {
                self.last_sr = rtcp::ntp_middle(info.ntp);
                self.last_sr_at = Some(now);
            }
            Item::Block(block) if block.ssrc == ours => {
                let middle = rtcp::ntp_middle(rtcp::ntp(since_origin));
                self.round_trip = rtcp::round_trip(middle, &block).or(self.round_trip);
                let percent = u32::from(block.fraction_lost) * 100 / 256;
                loss = Some(u8::try_from(percent).unwrap_or(100));
            }
            // A goodbye changes nothing: signalling ends legs, and another stream must prove itself anyway.
            Item::Sender { .. } | Item::Block(_) | Item::Bye { .. } => {}
        });
        (packets, loss)
    }
}

impl Leg {
    /// Queues a report, the last one with a goodbye.
    pub(super) fn report(
        &mut self,
        now: Instant,
        since_origin: Duration,
        bye: bool,
        buffers: &mut Buffers,
    ) {
        let mux = self.config.rtcp_mux;
        let (component, latch) = if mux {
            (Component::Rtp, &self.rtp)
        } else {
            (Component::Rtcp, &self.rtcp)
        };
        let Some(to) = latch.destination() else {
            return;
        };
        let sent = self.splice.packets;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the counters wrap on the wire"
        )]
        let info = (sent != self.reports.packets_reported).then(|| SenderInfo {
            ntp: rtcp::ntp(since_origin),
            rtp: self.splice.time_at(now),
            packets: sent as u32,
            octets: self.splice.octets as u32,
        });
        self.reports.packets_reported = sent;
        let delay = self.reports.last_sr_at.map_or(0, |at| {
            let since = rtcp::ntp(now.saturating_duration_since(at));
            rtcp::ntp_middle(since)
        });
        let block = self.source.report().map(|heard| ReportBlock {
            ssrc: heard.ssrc,
            fraction_lost: heard.fraction_lost,
            lost: heard.lost,
            highest: heard.highest,
            jitter: heard.jitter,
            last_sr: self.reports.last_sr,
            delay,
        });
        let mut packet = [0; MAX_WRITTEN_BYTES];
        let ssrc = self.splice.ssrc();
        let length = rtcp::write(&mut packet, ssrc, info, block, &self.reports.cname, bye);
        let packet = packet.get(..length).unwrap_or_default();
        buffers.send_parts(self.id, component, to, [packet, &[]]);
    }
}
