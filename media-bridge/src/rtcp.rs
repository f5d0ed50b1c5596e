//! Reports (RFC 3550 §6): a tolerant reader of compound and reduced-size packets (RFC 5506), and a writer of the
//! three things the bridge says: sender report, receiver report, goodbye.

use std::time::Duration;

/// Sender report.
pub const SR: u8 = 200;
/// Receiver report.
pub const RR: u8 = 201;
/// Source description.
pub const SDES: u8 = 202;
/// Goodbye.
pub const BYE: u8 = 203;

/// Holds every compound packet written here.
pub const MAX_WRITTEN_BYTES: usize = 128;

/// One report block (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream reported on.
    pub ssrc: u32,
    /// Loss since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost altogether, 24 bits signed on the wire; negative ones (copies) read as 0.
    pub lost: u32,
    /// Extended highest sequence number.
    pub highest: u32,
    /// Interarrival jitter, RTP units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report; 0 if none came.
    pub last_sr: u32,
    /// Delay since then in 1/65,536 s.
    pub delay: u32,
}

/// The sender's half of a sender report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// NTP time of the report, or any clock of the sender (RFC 3550 §4).
    pub ntp: u64,
    /// The same instant in RTP time.
    pub rtp: u32,
    /// Packets sent, wrapping.
    pub packets: u32,
    /// Payload octets sent, wrapping.
    pub octets: u32,
}

/// What a compound packet says, item by item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// A stream is described by its sender.
    Sender {
        /// The sender.
        ssrc: u32,
        /// Its figures.
        info: SenderInfo,
    },
    /// A stream is described by its receiver.
    Block(ReportBlock),
    /// A stream ended.
    Bye {
        /// Which.
        ssrc: u32,
    },
}

/// Reads a datagram, calling `take` for each item. Unknown packet types are skipped, and a packet that is cut
/// short ends the reading: what came before it counts. The answer is the number of RTCP packets understood.
pub fn read(mut bytes: &[u8], mut take: impl FnMut(Item)) -> usize {
    let mut packets = 0;
    while let Some((&[first, kind, high, low], rest)) = bytes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([high, low])) * 4;
        // Anything else under version 2 is RTP on the wrong port.
        if first >> 6 != 2 || !(192..=223).contains(&kind) {
            break;
        }
        let Some((body, next)) = rest.split_at_checked(length) else {
            break;
        };
        let count = usize::from(first & 0x1f);
        match kind {
            SR => read_report(body, count, true, &mut take),
            RR => read_report(body, count, false, &mut take),
            BYE => {
                for ssrc in body.as_chunks::<4>().0.iter().take(count) {
                    take(Item::Bye {
                        ssrc: u32::from_be_bytes(*ssrc),
                    });
                }
            }
            _ => {}
        }
        packets += 1;
        bytes = next;
    }
    packets
}

fn read_report(body: &[u8], count: usize, sender: bool, take: &mut impl FnMut(Item)) {
    let words = body.as_chunks::<4>().0;
    let mut words = words.iter().map(|word| u32::from_be_bytes(*word));
    let Some(ssrc) = words.next() else { return };
    if sender {
        let (Some(high), Some(low), Some(rtp), Some(packets), Some(octets)) = (
            words.next(),
            words.next(),
            words.next(),
            words.next(),
            words.next(),
        ) else {
            return;
        };
        let ntp = (u64::from(high) << 32) | u64::from(low);
        take(Item::Sender {
            ssrc,
            info: SenderInfo {
                ntp,
                rtp,
                packets,
                octets,
            },
        });
    }
    for _ in 0..count {
        let (Some(ssrc), Some(loss), Some(highest), Some(jitter), Some(last_sr), Some(delay)) = (
            words.next(),
            words.next(),
            words.next(),
            words.next(),
            words.next(),
            words.next(),
        ) else {
            return;
        };
        let [fraction_lost, ..] = loss.to_be_bytes();
        let lost = loss & 0x00ff_ffff;
        let lost = if lost & 0x0080_0000 == 0 { lost } else { 0 };
        take(Item::Block(ReportBlock {
            ssrc,
            fraction_lost,
            lost,
            highest,
            jitter,
            last_sr,
            delay,
        }));
    }
}

/// Writes one compound packet: SR if `sender` is given, else RR; CNAME; BYE at the end of a leg. `cname` is cut at
/// 32 octets. The buffer holds it always; octets used.
pub fn write(
    out: &mut [u8; MAX_WRITTEN_BYTES],
    ssrc: u32,
    sender: Option<SenderInfo>,
    block: Option<ReportBlock>,
    cname: &[u8],
    bye: bool,
) -> usize {
    let mut pen = Pen { out, at: 0 };
    let blocks = u8::from(block.is_some());
    let words = 1 + if sender.is_some() { 5 } else { 0 } + u16::from(blocks) * 6;
    pen.head(if sender.is_some() { SR } else { RR }, blocks, words);
    pen.word(ssrc);
    if let Some(info) = sender {
        let [a, b, c, d, e, f, g, h] = info.ntp.to_be_bytes();
        for octet in [a, b, c, d, e, f, g, h] {
            pen.octet(octet);
        }
        pen.word(info.rtp);
        pen.word(info.packets);
        pen.word(info.octets);
    }
    if let Some(block) = block {
        pen.word(block.ssrc);
        pen.word((u32::from(block.fraction_lost) << 24) | (block.lost & 0x00ff_ffff));
        pen.word(block.highest);
        pen.word(block.jitter);
        pen.word(block.last_sr);
        pen.word(block.delay);
    }
    // One chunk: SSRC, CNAME (1), length, text, then 1 to 4 zeros up to a word (RFC 3550 §6.5).
    let cname = cname.get(..cname.len().min(32)).unwrap_or_default();
    let length = u8::try_from(cname.len()).unwrap_or(0);
    let text_words = u16::from((2 + length) / 4 + 1);
    pen.head(SDES, 1, 1 + text_words);
    pen.word(ssrc);
    pen.octet(1);
    pen.octet(length);
    for &octet in cname {
        pen.octet(octet);
    }
    for _ in (2 + usize::from(length))..usize::from(text_words) * 4 {
        pen.octet(0);
    }
    if bye {
        pen.head(BYE, 1, 1);
        pen.word(ssrc);
    }
    pen.at
}

struct Pen<'a> {
    out: &'a mut [u8; MAX_WRITTEN_BYTES],
    at: usize,
}

impl Pen<'_> {
    fn octet(&mut self, octet: u8) {
        if let Some(place) = self.out.get_mut(self.at) {
            *place = octet;
            self.at += 1;
        }
    }

    fn word(&mut self, word: u32) {
        for octet in word.to_be_bytes() {
            self.octet(octet);
        }
    }

    fn head(&mut self, kind: u8, count: u8, words: u16) {
        let [high, low] = words.to_be_bytes();
        for octet in [0x80 | count, kind, high, low] {
            self.octet(octet);
        }
    }
}

/// A span of time as 32.32 fixed-point seconds, the form of NTP time. The bridge has no civil clock: its NTP
/// times count from its own origin, which RFC 3550 §6.4.1 allows.
#[must_use]
pub fn ntp(since_origin: Duration) -> u64 {
    let fraction = (u64::from(since_origin.subsec_nanos()) << 32) / 1_000_000_000;
    (since_origin.as_secs() << 32) | fraction
}

/// The middle 32 bits of an NTP time: 16.16 seconds.
#[must_use]
pub fn ntp_middle(ntp: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the middle is wanted")]
    let middle = (ntp >> 16) as u32;
    middle
}

/// Round trip from a block about us (RFC 3550 §6.4.1): now − last SR − delay, in 1/65,536 s. `None` if the peer
/// had no report of ours, or its figures are impossible or above a minute.
#[must_use]
pub fn round_trip(now_middle: u32, block: &ReportBlock) -> Option<u32> {
    if block.last_sr == 0 {
        return None;
    }
    let trip = now_middle
        .wrapping_sub(block.last_sr)
        .wrapping_sub(block.delay);
    (trip < 60 << 16).then_some(trip)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 9,
        fraction_lost: 12,
        lost: 345,
        highest: 70_000,
        jitter: 17,
        last_sr: 0x1234_5678,
        delay: 65_536,
    };
    const INFO: SenderInfo = SenderInfo {
        ntp: 0x0102_0304_0506_0708,
        rtp: 160,
        packets: 2,
        octets: 320,
    };

    fn items(bytes: &[u8]) -> (usize, Vec<Item>) {
        let mut items = Vec::new();
        (read(bytes, |item| items.push(item)), items)
    }

    #[test]
    fn a_written_compound_reads_back() {
        for cname_length in 0..=33 {
            let mut out = [0; MAX_WRITTEN_BYTES];
            let cname = vec![b'x'; cname_length];
            let length = write(&mut out, 7, Some(INFO), Some(BLOCK), &cname, true);
            assert_eq!(length % 4, 0);
            let (packets, items) = items(&out[..length]);
            assert_eq!(packets, 3, "cname of {cname_length}");
            assert_eq!(
                items,
                [
                    Item::Sender {
                        ssrc: 7,
                        info: INFO
                    },
                    Item::Block(BLOCK),
                    Item::Bye { ssrc: 7 }
                ]
            );
        }
    }

    #[test]
    fn without_sending_it_is_a_receiver_report() {
        let mut out = [0; MAX_WRITTEN_BYTES];
        let length = write(&mut out, 7, None, None, b"c", false);
        assert_eq!(out[1], RR);
        assert_eq!(items(&out[..length]), (2, vec![]));
    }

    #[test]
    fn a_reduced_size_packet_and_unknown_types_are_taken() {
        let nack = [0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        assert_eq!(items(&nack), (1, vec![]));
    }

    #[test]
    fn rtp_on_the_port_of_reports_is_not_understood() {
        let rtp = [0x80, 0, 0, 2, 0, 0, 0, 160, 0, 0, 0, 1];
        assert_eq!(items(&rtp), (0, vec![]));
    }

    #[test]
    fn every_truncation_is_harmless_and_keeps_what_came_before() {
        let mut out = [0; MAX_WRITTEN_BYTES];
        let length = write(&mut out, 7, Some(INFO), Some(BLOCK), b"name", true);
        for cut in 0..length {
            let (packets, _) = items(&out[..cut]);
            assert!(packets < 3);
        }
        assert_eq!(
            items(&out[..length - 1]).1.len(),
            2,
            "the cut goodbye alone is lost"
        );
    }

    #[test]
    fn a_count_beyond_the_body_invents_no_blocks() {
        let lying = [0x9f, RR, 0, 1, 0, 0, 0, 7];
        assert_eq!(items(&lying), (1, vec![]));
    }

    #[test]
    fn negative_loss_reads_as_none() {
        let mut out = [0; MAX_WRITTEN_BYTES];
        let block = ReportBlock {
            lost: 0x00ff_ffff,
            ..BLOCK
        };
        let length = write(&mut out, 7, None, Some(block), b"", false);
        assert!(matches!(items(&out[..length]).1[0], Item::Block(b) if b.lost == 0));
    }

    #[test]
    fn round_trip_is_now_less_last_report_less_delay() {
        let now = BLOCK.last_sr.wrapping_add(BLOCK.delay).wrapping_add(3_277);
        assert_eq!(round_trip(now, &BLOCK), Some(3_277)); // 50 ms
        assert_eq!(
            round_trip(
                now,
                &ReportBlock {
                    last_sr: 0,
                    ..BLOCK
                }
            ),
            None
        );
        assert_eq!(
            round_trip(BLOCK.last_sr, &BLOCK),
            None,
            "before it was sent"
        );
    }

    #[test]
    fn ntp_time_has_a_binary_fraction() {
        assert_eq!(ntp(Duration::from_millis(2_500)), (2 << 32) | (1 << 31));
        assert_eq!(
            ntp_middle(ntp(Duration::from_millis(2_500))),
            (2 << 16) | (1 << 15)
        );
    }
}
