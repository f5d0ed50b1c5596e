//! The words signalling and the bridge have in common: legs, leases, what is asked of a leg and what it tells.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::codec::Codec;
use crate::dtmf::{Digit, DigitSource, Digits};
use crate::offer_answer::Direction;
use crate::tone::Country;

/// One media stream of one SIP dialog; the number is chosen by signalling and unique for the process's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(pub u64);

/// A leased pair of sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// A bound RTP/RTCP socket pair that a media worker lent to signalling in advance, so that an SDP needs no round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Names the pair.
    pub id: LeaseId,
    /// The worker that owns the sockets; both legs of a call must live on the same one.
    pub worker: u16,
    /// Where the RTP socket is bound (even port); the RTCP socket is one port above.
    pub rtp: SocketAddr,
    /// The address written into SDP; differs from the bound one behind a 1:1 NAT or when bound to the wildcard.
    pub advertise: IpAddr,
}

/// The two flows of a leg (RFC 3550 §11). With rtcp-mux (RFC 5761) both arrive as [`Component::Rtp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// Media.
    Rtp,
    /// Reports.
    Rtcp,
}

/// Digits as RTP events (RFC 4733) on a leg: the agreed payload types and clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// Payload type to send with (the peer's choice).
    pub payload: u8,
    /// Payload type the peer sends with (our choice).
    pub receive: u8,
    /// RTP clock of the durations, Hz; equals the clock of the codec unless the peer offered no such pairing.
    pub clock: u32,
}

/// What an Opus leg agreed to (RFC 7587 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpusParams {
    /// The peer can use in-band FEC, so it pays to send it.
    pub fec: bool,
    /// The peer asked for discontinuous transmission.
    pub dtx: bool,
    /// The peer prefers stereo. We send mono all the same, which every decoder takes.
    pub stereo: bool,
    /// Upper bound for our encoder, bit/s (`maxaveragebitrate`), 6,000 to 510,000.
    pub max_bitrate: u32,
    /// Highest sample rate worth sending, Hz (`maxplaybackrate`).
    pub max_playback_rate: u32,
}

impl Default for OpusParams {
    fn default() -> Self {
        Self {
            fec: true,
            dtx: false,
            stereo: false,
            max_bitrate: 510_000,
            max_playback_rate: 48_000,
        }
    }
}

/// Everything a bridge must know to carry one leg: the outcome of an offer and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegConfig {
    /// Our sockets.
    pub lease: LeaseId,
    /// Where the peer wants RTP. An unspecified address (`0.0.0.0`, `::`) means: send nothing.
    pub remote_rtp: SocketAddr,
    /// Where the peer wants RTCP (RFC 3605 `a=rtcp`, else RTP port + 1; with mux the RTP address).
    pub remote_rtcp: SocketAddr,
    /// RTP and RTCP share one port in both directions (RFC 5761).
    pub rtcp_mux: bool,
    /// Where the peer's signalling comes from, if that says more than its SDP (a peer behind NAT): the latch
    /// takes this address as signalled and learns the port once.
    pub signalling_from: Option<IpAddr>,
    /// The codec both directions use.
    pub codec: Codec,
    /// Payload type to send with.
    pub send_payload: u8,
    /// Payload type the peer sends with.
    pub receive_payload: u8,
    /// Other payload types the peer may switch to without asking (it kept several codecs in its answer).
    pub alternates: SmallVec<[(u8, Codec); 4]>,
    /// RFC 4733 digits, if agreed.
    pub telephone_event: Option<TelephoneEvent>,
    /// Packet length to send, ms.
    pub ptime_ms: u16,
    /// Seen from us: `SendOnly` = we send, the peer does not.
    pub direction: Direction,
    /// Opus parameters of the peer; meaningless for other codecs.
    pub opus: OpusParams,
    /// A clear channel (text telephone, lift): never transcode, denoise or mix.
    pub clear: bool,
}

/// What the bridge plays towards a leg in place of its partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tone {
    /// The other side rings.
    Ringback {
        /// Whose cadence.
        country: Country,
    },
    /// The other side is busy.
    Busy {
        /// Whose cadence.
        country: Country,
    },
    /// No way to the other side (also: reorder tone).
    Congestion {
        /// Whose cadence.
        country: Country,
    },
    /// One short signal: a request was heard.
    Beep,
    /// The call is kept for somebody: held or parked.
    Hold,
    /// A recording, by name; the bridge was given it at construction. An unknown name plays nothing and is done at once.
    Prompt(Arc<str>),
}

impl Tone {
    /// Ringback as most of Europe hears it.
    #[must_use]
    pub fn ringback() -> Self {
        let country = Country::default();
        Self::Ringback { country }
    }
}

/// Lengths of generated digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// Length of each tone, ms.
    pub tone_ms: u16,
    /// Silence between two tones, ms.
    pub gap_ms: u16,
}

impl Default for Pacing {
    /// 100 ms on, 100 ms off: above the 40 ms/40 ms floor of Q.24, and what door panels hear reliably.
    fn default() -> Self {
        Self {
            tone_ms: 100,
            gap_ms: 100,
        }
    }
}

/// What signalling asks of a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Starts a leg.
    Open {
        /// The leg.
        leg: LegId,
        /// Its negotiated form.
        config: LegConfig,
        /// Digits heard on this leg are commands to us (reported), not only tones for the partner.
        feeds_keys: bool,
    },
    /// A later offer/answer changed a leg. SSRC and sequence go on without a jump.
    Update {
        /// The leg.
        leg: LegId,
        /// Its new form.
        config: LegConfig,
    },
    /// Joins two legs; whatever either was joined to or playing is ended first.
    Join {
        /// One leg.
        a: LegId,
        /// The other.
        b: LegId,
    },
    /// Takes a leg out of its pair; both stay open.
    Part {
        /// The leg.
        leg: LegId,
    },
    /// Plays towards a leg. It hears nothing else meanwhile.
    Play {
        /// The leg.
        leg: LegId,
        /// What.
        tone: Tone,
        /// Over and over until stopped; else once (a cadence once through) and [`Event::PlayDone`].
        repeat: bool,
    },
    /// Ends what is playing.
    StopPlay {
        /// The leg.
        leg: LegId,
    },
    /// Sends digits to a leg by RFC 4733.
    SendDigits {
        /// The leg.
        leg: LegId,
        /// Names this order in [`Event::DigitsSent`] and [`Command::StopDigits`]. Digits that join others on their way
        /// make one order with them, of the later name.
        order: u64,
        /// Characters 0-9 * # A-D; others are skipped.
        digits: Digits,
        /// Lengths.
        pacing: Pacing,
    },
    /// Takes an order of digits back: what has not been sent yet never is, and nothing is told of it. One that is
    /// through, or was joined by a later one, stays as it is.
    StopDigits {
        /// The leg.
        leg: LegId,
        /// Which order.
        order: u64,
    },
    /// Keeps digits heard on this leg from its partner (an unlock code is nobody else's business).
    MuteDigits {
        /// The leg.
        leg: LegId,
        /// On or off.
        muted: bool,
    },
    /// Ends a leg; its counts come back as [`Event::Closed`].
    Close {
        /// The leg.
        leg: LegId,
    },
}

/// What a bridge tells signalling.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A digit was pressed on a leg; once per press. Comes at the press's first packet: an unlock does not wait
    /// for the finger to leave the key.
    Digit {
        /// The leg.
        leg: LegId,
        /// Which.
        digit: Digit,
        /// How long so far, ms.
        duration_ms: u32,
        /// How it came.
        source: DigitSource,
    },
    /// The first packet of the peer was taken; its source is locked from here on.
    Latched {
        /// The leg.
        leg: LegId,
        /// The source.
        from: SocketAddr,
    },
    /// Nothing was heard from the peer for this long although it should send.
    Silent {
        /// The leg.
        leg: LegId,
        /// Since when.
        for_: Duration,
    },
    /// A tone or prompt ended by itself.
    PlayDone {
        /// The leg.
        leg: LegId,
    },
    /// All digits asked for were sent.
    DigitsSent {
        /// The leg.
        leg: LegId,
        /// Which order.
        order: u64,
    },
    /// A leg is gone; the last word about it.
    Closed {
        /// The leg.
        leg: LegId,
        /// What it did.
        stats: LegStats,
    },
    /// Interim counts.
    Stats {
        /// The leg.
        leg: LegId,
        /// So far.
        stats: LegStats,
    },
}

/// What a leg did, for the CDR and the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LegStats {
    /// RTP packets taken from the peer.
    pub packets_in: u64,
    /// RTP packets sent to the peer.
    pub packets_out: u64,
    /// RTP payload octets taken.
    pub octets_in: u64,
    /// RTP payload octets sent.
    pub octets_out: u64,
    /// Packets expected and never seen (RFC 3550 §A.3).
    pub lost: u64,
    /// Interarrival jitter, ms (RFC 3550 §A.8).
    pub jitter_ms: f32,
    /// Round trip by RTCP, ms.
    pub rtt_ms: Option<f32>,
    /// Packets that did not come from the locked source.
    pub dropped_foreign: u64,
    /// Packets that were no valid RTP, or of no agreed payload type.
    pub dropped_invalid: u64,
    /// Presses that came on a payload type nobody agreed to; taken, but worth a warning.
    pub unagreed_events: u64,
    /// Frames made up because packets were missing.
    pub concealed: u64,
    /// Frames rebuilt from the redundancy of the following packet.
    pub recovered: u64,
    /// Some packet of this leg was decoded and encoded anew.
    pub transcoded: bool,
}
