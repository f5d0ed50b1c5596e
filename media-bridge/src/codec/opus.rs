//! Opus (RFC 6716) by libopus, opened at the inner rate, so that no resampler is needed beside it.

use super::{CodecError, Decode, Encode, MAX_PACKET_OCTETS, Rate};
use crate::leg::OpusParams;

/// What we send at most unless the peer asked for less, bit/s. Below about 20 kbit/s libopus sends no FEC.
const BITRATE: u32 = 24_000;

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
        if next.is_empty() || self.inner.decode(next, out, true).is_err() {
            self.conceal(out);
            return false;
        }
        true
    }

    fn reset(&mut self) {
        let _ = self.inner.reset_state();
    }
}

/// One direction sent.
#[derive(Debug)]
pub struct Encoder {
    inner: ::opus::Encoder,
    rate: Rate,
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
        let limit = out.len().min(MAX_PACKET_OCTETS);
        let out = out.get_mut(..limit).ok_or(CodecError::Short)?;
        self.inner.encode(pcm, out).map_err(|_| CodecError::Short)
    }

    fn expect_loss(&mut self, percent: u8) {
        let _ = self
            .inner
            .set_packet_loss_perc(i32::from(percent.clamp(10, 30)));
    }

    fn reset(&mut self) {
        let _ = self.inner.reset_state();
    }
}
