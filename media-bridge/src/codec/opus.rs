//! Opus (RFC 6716) by libopus, opened at the inner rate, so that no resampler is needed beside it.

use super::{CodecError, Decode, Encode, MAX_PACKET_OCTETS, Rate};
use crate::leg::OpusParams;

/// What we send at most unless the peer asked for less, bit/s. Below about 20 kbit/s libopus sends no FEC.
const BITRATE: u32 = 24_000;
/// Room asked of the caller, octets: libopus fits any frame into what it gets, at the cost of the sound. A 60 ms
/// frame has 180 on average and peaks at about twice that.
const MIN_ROOM: usize = 400;

/// One direction heard.
#[derive(Debug)]
pub struct Decoder {
    inner: ::opus::Decoder,
    rate: Rate,
}

impl Decoder {
    /// Opens a mono decoder; stereo packets come out mixed down.
    ///
    /// # Errors
    /// [`CodecError::Library`].
    pub fn new(rate: Rate) -> Result<Self, CodecError> {
        let inner = ::opus::Decoder::new(rate.hz(), ::opus::Channels::Mono)
            .map_err(|_| CodecError::Library)?;
        Ok(Self { inner, rate })
    }
}

impl Decode for Decoder {
    fn samples(&self, payload: &[u8]) -> usize {
        ::opus::packet::get_nb_samples(payload, self.rate.hz()).unwrap_or(0)
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        // An empty payload would make libopus conceal: that is asked for by name only.
        let samples = self.samples(payload);
        if samples == 0 {
            return Err(CodecError::Malformed);
        }
        if samples > out.len() {
            return Err(CodecError::Short);
        }
        self.inner
            .decode(payload, out, false)
            .map_err(|_| CodecError::Malformed)
    }

    fn conceal(&mut self, out: &mut [i16]) {
        if self.inner.decode(&[], out, false).is_err() {
            out.fill(0);
        }
    }

    fn recover(&mut self, next: &[u8], out: &mut [i16]) -> bool {
        let redundant = carries_fec(next);
        // Without redundancy libopus conceals by itself.
        if next.is_empty() || self.inner.decode(next, out, true).is_err() {
            self.conceal(out);
            return false;
        }
        redundant
    }

    fn reset(&mut self) {
        let _ = self.inner.reset_state();
    }
}

/// Whether a packet repeats the one before it: the LBRR flag after the voice activity flags of its first SILK frame
/// (RFC 6716 §4.2.3, §4.2.4; the flags are even chances and so stand as plain bits at the front).
fn carries_fec(packet: &[u8]) -> bool {
    let [toc, rest @ ..] = packet else {
        return false;
    };
    let config = toc >> 3;
    if config >= 16 {
        // CELT alone has none.
        return false;
    }
    // Number of 20 ms SILK frames, for each of which there is an activity flag.
    let frames = match (config, config % 4) {
        (12.., _) | (_, 0 | 1) => 1,
        (_, 2) => 2,
        _ => 3,
    };
    let first = match toc & 3 {
        0 | 1 => rest.first(),
        // A length of one or two octets comes first.
        2 => rest.get(if rest.first().is_some_and(|l| *l >= 252) {
            2
        } else {
            1
        }),
        // Any number of frames: what we send never is.
        _ => return true,
    };
    first.is_some_and(|octet| (octet >> (7 - frames)) & 1 == 1)
}

/// One direction sent.
#[derive(Debug)]
pub struct Encoder {
    inner: ::opus::Encoder,
    rate: Rate,
    fec: bool,
    dtx: bool,
}

impl Encoder {
    /// Opens a mono speech encoder: complexity 5 (half the time of 9 at no audible loss for speech), in-band FEC
    /// for the 10 % loss that makes libopus add it.
    ///
    /// # Errors
    /// [`CodecError::Library`].
    pub fn new(rate: Rate, params: &OpusParams) -> Result<Self, CodecError> {
        let open = || -> Result<::opus::Encoder, ::opus::Error> {
            let mut inner =
                ::opus::Encoder::new(rate.hz(), ::opus::Channels::Mono, ::opus::Application::Voip)?;
            let bitrate = params.max_bitrate.clamp(6_000, BITRATE);
            inner.set_bitrate(::opus::Bitrate::Bits(
                i32::try_from(bitrate).unwrap_or(24_000),
            ))?;
            inner.set_complexity(5)?;
            inner.set_inband_fec(params.fec)?;
            inner.set_packet_loss_perc(if params.fec { 10 } else { 0 })?;
            inner.set_dtx(params.dtx)?;
            Ok(inner)
        };
        Ok(Self {
            inner: open().map_err(|_| CodecError::Library)?,
            rate,
            fec: params.fec,
            dtx: params.dtx,
        })
    }
}

impl Encode for Encoder {
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let per_ms = self.rate.per_ms();
        if !matches!(pcm.len().checked_div(per_ms), Some(10 | 20 | 40 | 60))
            || !pcm.len().is_multiple_of(per_ms)
        {
            return Err(CodecError::Unsupported);
        }
        if out.len() < MIN_ROOM {
            return Err(CodecError::Short);
        }
        let limit = out.len().min(MAX_PACKET_OCTETS);
        let out = out.get_mut(..limit).ok_or(CodecError::Short)?;
        let octets = self
            .inner
            .encode(pcm, out)
            .map_err(|_| CodecError::Library)?;
        // One or two octets say "still silent": the peer conceals to the same effect.
        Ok(if self.dtx && octets <= 2 { 0 } else { octets })
    }

    fn expect_loss(&mut self, percent: u8) {
        // Below 10 % libopus drops FEC at our bit rate; above 30 % nothing is left for the speech itself.
        if self.fec {
            let percent = i32::from(percent.clamp(10, 30));
            let _ = self.inner.set_packet_loss_perc(percent);
        }
    }

    fn reset(&mut self) {
        let _ = self.inner.reset_state();
    }
}
