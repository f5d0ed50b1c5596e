//! Codecs: one [`Decode`] per direction heard, one [`Encode`] per direction sent, both at one inner sample rate.
//!
//! The inner rate of a pair is the lower of the two codecs' own ([`Rate::between`]), so G.711 ↔ Opus never
//! leaves 8 kHz. All buffers are the caller's; after construction nothing allocates.

mod conceal;
pub mod g711;
pub mod g722;
pub mod l16;
pub mod opus;
pub mod resample;

use crate::leg::OpusParams;

/// Longest packet any codec here may carry, ms (Opus: RFC 6716 §2.1.4).
pub const MAX_PACKET_MS: usize = 120;

/// Samples in the longest packet at 48 kHz: a buffer of this size takes every decoded packet.
pub const MAX_PACKET_SAMPLES: usize = MAX_PACKET_MS * 48;

/// Octets that hold every encoded packet up to 60 ms: L16 at 16 kHz is the largest.
pub const MAX_PACKET_OCTETS: usize = 60 * 16 * 2;

/// The codecs spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// RFC 6716, RTP form RFC 7587.
    Opus,
    /// ITU-T G.722 at 64 kbit/s.
    G722,
    /// ITU-T G.711 A-law.
    Pcma,
    /// ITU-T G.711 µ-law.
    Pcmu,
    /// Linear 16 bit, 16 kHz, mono (RFC 3551 §4.5.11).
    L16,
}

impl Codec {
    /// Every codec, best sounding first.
    pub const ALL: [Codec; 5] = [
        Codec::Opus,
        Codec::G722,
        Codec::Pcma,
        Codec::Pcmu,
        Codec::L16,
    ];

    /// Encoding name as in `a=rtpmap`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::G722 => "G722",
            Self::Pcma => "PCMA",
            Self::Pcmu => "PCMU",
            Self::L16 => "L16",
        }
    }

    /// RTP clock, Hz. That of G.722 is 8,000 although it samples at 16,000 (RFC 3551 §4.5.2: an old error kept).
    #[must_use]
    pub fn rtp_clock(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::G722 | Self::Pcma | Self::Pcmu => 8_000,
            Self::L16 => 16_000,
        }
    }

    /// Channel count written in `a=rtpmap`; Opus says 2 always (RFC 7587 §7).
    #[must_use]
    pub fn rtpmap_channels(self) -> Option<u32> {
        matches!(self, Self::Opus).then_some(2)
    }

    /// The rate at which the codec itself works best.
    #[must_use]
    pub fn own_rate(self) -> Rate {
        match self {
            Self::Opus => Rate::Hz48000,
            Self::G722 | Self::L16 => Rate::Hz16000,
            Self::Pcma | Self::Pcmu => Rate::Hz8000,
        }
    }

    /// Payload type fixed by RFC 3551 §6.
    #[must_use]
    pub fn static_payload(self) -> Option<u8> {
        match self {
            Self::Pcmu => Some(0),
            Self::Pcma => Some(8),
            Self::G722 => Some(9),
            Self::Opus | Self::L16 => None,
        }
    }

    /// Packet lengths the encoder can make. Opus has no 30 ms frame.
    #[must_use]
    pub fn can_ptime(self, ptime_ms: u16) -> bool {
        match self {
            Self::Opus => matches!(ptime_ms, 10 | 20 | 40 | 60),
            _ => matches!(ptime_ms, 10 | 20 | 30 | 40 | 60),
        }
    }
}

/// Sample rate of linear audio between a decoder and an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rate {
    /// Telephone band.
    Hz8000,
    /// Wide band.
    Hz16000,
    /// Full band.
    Hz48000,
}

impl Rate {
    /// Samples per second.
    #[must_use]
    pub fn hz(self) -> u32 {
        match self {
            Self::Hz8000 => 8_000,
            Self::Hz16000 => 16_000,
            Self::Hz48000 => 48_000,
        }
    }

    /// Samples per millisecond.
    #[must_use]
    pub fn per_ms(self) -> usize {
        match self {
            Self::Hz8000 => 8,
            Self::Hz16000 => 16,
            Self::Hz48000 => 48,
        }
    }

    /// The rate to transcode at between two codecs: the lower of their own, for more carries nothing and costs.
    #[must_use]
    pub fn between(a: Codec, b: Codec) -> Self {
        a.own_rate().min(b.own_rate())
    }
}

/// Why a codec did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The payload is no packet of this codec.
    #[error("malformed payload")]
    Malformed,
    /// The output buffer is too short.
    #[error("output buffer too short")]
    Short,
    /// The codec does not work at this rate, or cannot make frames of this length.
    #[error("unsupported rate or frame length")]
    Unsupported,
    /// The codec library refused.
    #[error("codec library failed")]
    Library,
}

/// Turns the payloads of one stream into linear audio. Mono.
pub trait Decode: Send {
    /// Samples that `payload` will decode to at the inner rate, 0 if it is malformed.
    fn samples(&self, payload: &[u8]) -> usize;

    /// Decodes one payload; the number of samples written.
    ///
    /// # Errors
    /// [`CodecError::Malformed`] and [`CodecError::Short`]; the state is then as before or as after a lost packet.
    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError>;

    /// Makes up for a packet that will not come by filling the whole of `out` (a multiple of 10 ms, at most 120 ms).
    fn conceal(&mut self, out: &mut [i16]);

    /// Rebuilds a lost packet from the redundancy in the one after it (Opus in-band FEC) by filling the whole of
    /// `out`; conceals where there is none. `true` if there was redundancy. Follow it by `decode(next)`.
    fn recover(&mut self, next: &[u8], out: &mut [i16]) -> bool {
        let _ = next;
        self.conceal(out);
        false
    }

    /// Forgets the stream: the next payload belongs to another source.
    fn reset(&mut self);
}

/// Turns linear audio into the payloads of one stream. Mono.
pub trait Encode: Send {
    /// Encodes one frame (a packet length the codec allows, at the inner rate); octets written. Zero octets:
    /// nothing needs sending (discontinuous transmission).
    ///
    /// # Errors
    /// [`CodecError::Unsupported`] for a frame length the codec has not, [`CodecError::Short`].
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, CodecError>;

    /// Tells how much the peer loses, percent, so that redundancy can be weighed against quality.
    fn expect_loss(&mut self, percent: u8) {
        let _ = percent;
    }

    /// Forgets the stream: what follows has nothing to do with what was.
    fn reset(&mut self);
}

/// Opens a decoder whose output is at `rate`.
///
/// # Errors
/// [`CodecError::Unsupported`] for G.711, G.722 or L16 at 48 kHz; [`CodecError::Library`] if libopus has no memory.
pub fn decoder(codec: Codec, rate: Rate) -> Result<Box<dyn Decode>, CodecError> {
    Ok(match codec {
        Codec::Opus => Box::new(opus::Decoder::new(rate)?),
        Codec::G722 => Box::new(g722::Decoder::new(rate)?),
        Codec::Pcma => Box::new(g711::Decoder::new(g711::Law::A, rate)?),
        Codec::Pcmu => Box::new(g711::Decoder::new(g711::Law::Mu, rate)?),
        Codec::L16 => Box::new(l16::Decoder::new(rate)?),
    })
}

/// Opens an encoder whose input is at `rate`. `params` matter to Opus only.
///
/// # Errors
/// As [`decoder`].
pub fn encoder(
    codec: Codec,
    rate: Rate,
    params: &OpusParams,
) -> Result<Box<dyn Encode>, CodecError> {
    Ok(match codec {
        Codec::Opus => Box::new(opus::Encoder::new(rate, params)?),
        Codec::G722 => Box::new(g722::Encoder::new(rate)?),
        Codec::Pcma => Box::new(g711::Encoder::new(g711::Law::A, rate)?),
        Codec::Pcmu => Box::new(g711::Encoder::new(g711::Law::Mu, rate)?),
        Codec::L16 => Box::new(l16::Encoder::new(rate)?),
    })
}
