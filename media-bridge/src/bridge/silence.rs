//! Silence in each codec's own words, and how long a payload lasts, without a decoder.

use crate::codec::Codec;

/// 60 ms of L16 at 16 kHz: the longest silent payload.
const LONGEST: usize = 1_920;

static MU_LAW: [u8; LONGEST] = [0xff; LONGEST];
static A_LAW: [u8; LONGEST] = [0xd5; LONGEST];
static LINEAR: [u8; LONGEST] = [0; LONGEST];
/// The code whose step vanishes in both bands: below hearing from any decoder state, with no lasting offset.
static G722: [u8; LONGEST] = [0xfc; LONGEST];
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
        Codec::G722 => bytes.fill(0xfc),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{self, MAX_PACKET_SAMPLES};

    #[test]
    fn silence_is_inaudible_in_every_codec_and_as_long_as_it_says() {
        for codec in Codec::ALL {
            let rate = codec.own_rate();
            let mut decoder = codec::decoder(codec, rate).unwrap();
            let mut pcm = vec![0; MAX_PACKET_SAMPLES];
            for nth in 0..50 {
                let silent = payload(codec, 20);
                assert_eq!(span(codec, silent), codec.rtp_clock() / 50, "{codec:?}");
                let samples = decoder.decode(silent, &mut pcm).unwrap();
                assert_eq!(samples, 20 * rate.per_ms());
                let loudest = pcm.iter().take(samples).map(|s| s.unsigned_abs()).max();
                assert!(
                    loudest <= Some(16),
                    "{codec:?}: {loudest:?} in packet {nth}"
                );
            }
        }
    }

    #[test]
    fn a_muted_payload_is_the_same_silence() {
        for codec in Codec::ALL {
            let mut bytes = [0x42; 160];
            let length = mute(codec, &mut bytes);
            let silent = payload(codec, if codec == Codec::L16 { 5 } else { 20 });
            assert_eq!(&bytes[..length], silent, "{codec:?}");
        }
    }

    #[test]
    fn a_malformed_opus_payload_lasts_no_time() {
        assert_eq!(span(Codec::Opus, &[]), 0);
        assert_eq!(span(Codec::Opus, &[0xff]), 0);
    }
}
