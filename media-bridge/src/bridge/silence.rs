//! Silence in each codec's own words, and how long a payload lasts, without a decoder.

use crate::codec::Codec;

/// 60 ms of L16 at 16 kHz: the longest silent payload.
const LONGEST: usize = 1_920;

static MU_LAW: [u8; LONGEST] = [0xff; LONGEST];
static A_LAW: [u8; LONGEST] = [0xd5; LONGEST];
static LINEAR: [u8; LONGEST] = [0; LONGEST];
/// Smallest step up in the low band and none in the high one: below hearing from any decoder state.
static G722: [u8; LONGEST] = [0xfa; LONGEST];
/// Full-band CELT, 20 ms, mono, coded silence.
static OPUS: [u8; 3] = [0xf8, 0xff, 0xfe];

/// A payload of `ms` milliseconds of silence, at most 60; for Opus always 20 ms.
pub(super) fn payload(codec: Codec, ms: u16) -> &'static [u8] {
    let ms = usize::from(ms.min(60));
    let (bytes, length): (&'static [u8], usize) = match codec {
        Codec::Pcmu => (&MU_LAW, ms * 8),
        Codec::Pcma => (&A_LAW, ms * 8),
        Codec::G722 => (&G722, ms * 8),
        Codec::L16 => (&LINEAR, ms * 32),
        Codec::Opus => (&OPUS, OPUS.len()),
    };
    bytes.get(..length).unwrap_or_default()
}

/// Silences a payload in place; how many of its octets are left to send.
pub(super) fn mute(codec: Codec, bytes: &mut [u8]) -> usize {
    match codec {
        Codec::Pcmu => bytes.fill(0xff),
        Codec::Pcma => bytes.fill(0xd5),
        Codec::G722 => bytes.fill(0xfa),
        Codec::L16 => bytes.fill(0),
        Codec::Opus => {
            let Some(head) = bytes.get_mut(..OPUS.len()) else {
                return bytes.len();
            };
            head.copy_from_slice(&OPUS);
            return OPUS.len();
        }
    }
    bytes.len()
}

/// How long a payload lasts in units of its RTP clock; 0 if it is no packet of the codec.
#[inline]
pub(super) fn span(codec: Codec, payload: &[u8]) -> u32 {
    let units = match codec {
        Codec::Pcmu | Codec::Pcma | Codec::G722 => payload.len(),
        Codec::L16 => payload.len() / 2,
        Codec::Opus => ::opus::packet::get_nb_samples(payload, 48_000).unwrap_or(0),
    };
    u32::try_from(units).unwrap_or(0)
}
