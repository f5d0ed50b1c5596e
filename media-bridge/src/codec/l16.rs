//! Linear 16 bit audio in network order, 16 kHz, mono (RFC 3551 §4.5.11).

use super::conceal::Concealer;
use super::resample::{Down, Up};
use super::{CodecError, Decode, Encode, MAX_PACKET_MS, Rate};

/// Most samples in one packet at 16 kHz.
const MAX_SAMPLES: usize = MAX_PACKET_MS * 16;

/// One direction heard, with packet loss concealment.
#[derive(Debug)]
pub struct Decoder {
    concealer: Concealer,
    wide: Box<[i16; MAX_SAMPLES]>,
    down: Option<Box<Down>>,
}

fn narrow(rate: Rate) -> Result<bool, CodecError> {
    match rate {
        Rate::Hz8000 => Ok(true),
        Rate::Hz16000 => Ok(false),
        Rate::Hz48000 => Err(CodecError::Unsupported),
    }
}

impl Decoder {
    /// Opens a decoder for 8 or 16 kHz.
    ///
    /// # Errors
    /// [`CodecError::Unsupported`] at 48 kHz.
    pub fn new(rate: Rate) -> Result<Self, CodecError> {
        let down = narrow(rate)?.then(Box::default);
        Ok(Self {
            concealer: Concealer::new(Rate::Hz16000),
            wide: Box::new([0; MAX_SAMPLES]),
            down,
        })
    }
}

impl Decode for Decoder {
    fn samples(&self, payload: &[u8]) -> usize {
        let samples = payload.len() / 2;
        if samples > MAX_SAMPLES
            || !payload
                .len()
                .is_multiple_of(if self.down.is_some() { 4 } else { 2 })
        {
            0
        } else if self.down.is_some() {
            samples / 2
        } else {
            samples
        }
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        let samples = self.samples(payload);
        if samples == 0 {
            return Err(CodecError::Malformed);
        }
        let out = out.get_mut(..samples).ok_or(CodecError::Short)?;
        let wide = self
            .wide
            .get_mut(..payload.len() / 2)
            .ok_or(CodecError::Malformed)?;
        for (sample, octets) in wide.iter_mut().zip(payload.chunks_exact(2)) {
            if let [high, low] = octets {
                *sample = i16::from_be_bytes([*high, *low]);
            }
        }
        self.concealer.good(wide);
        match &mut self.down {
            None => out.copy_from_slice(wide),
            Some(down) => {
                down.process(wide, out);
            }
        }
        Ok(samples)
    }

    fn conceal(&mut self, out: &mut [i16]) {
        match &mut self.down {
            None => self.concealer.lost(out),
            Some(down) => {
                for chunk in out.chunks_mut(MAX_SAMPLES / 2) {
                    let wide = self.wide.get_mut(..chunk.len() * 2).unwrap_or(&mut []);
                    self.concealer.lost(wide);
                    down.process(wide, chunk);
                }
            }
        }
    }

    fn reset(&mut self) {
        self.concealer.reset();
        if let Some(down) = &mut self.down {
            down.reset();
        }
    }
}

/// One direction sent.
#[derive(Debug)]
pub struct Encoder {
    up: Option<Box<(Up, [i16; MAX_SAMPLES])>>,
}

impl Encoder {
    /// Opens an encoder for 8 or 16 kHz.
    ///
    /// # Errors
    /// [`CodecError::Unsupported`] at 48 kHz.
    pub fn new(rate: Rate) -> Result<Self, CodecError> {
        Ok(Self {
            up: narrow(rate)?.then(|| Box::new((Up::default(), [0; MAX_SAMPLES]))),
        })
    }
}

impl Encode for Encoder {
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let wide = match &mut self.up {
            None => pcm,
            Some(wide) => {
                let (up, buffer) = &mut **wide;
                if pcm.len() > MAX_SAMPLES / 2 {
                    return Err(CodecError::Unsupported);
                }
                let count = up.process(pcm, buffer);
                buffer.get(..count).unwrap_or(&[])
            }
        };
        let out = out.get_mut(..wide.len() * 2).ok_or(CodecError::Short)?;
        for (octets, sample) in out.chunks_exact_mut(2).zip(wide) {
            octets.copy_from_slice(&sample.to_be_bytes());
        }
        Ok(out.len())
    }

    fn reset(&mut self) {
        if let Some(wide) = &mut self.up {
            wide.0.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_travel_in_network_order_and_come_back() {
        let pcm: Vec<i16> = (0..320).map(|n| n * 100 - 16_000).collect();
        let (mut payload, mut back) = ([0; 640], [0; 320]);
        assert_eq!(
            Encoder::new(Rate::Hz16000)
                .unwrap()
                .encode(&pcm, &mut payload),
            Ok(640)
        );
        assert_eq!(payload[..2], (-16_000_i16).to_be_bytes());
        assert_eq!(
            Decoder::new(Rate::Hz16000)
                .unwrap()
                .decode(&payload, &mut back),
            Ok(320)
        );
        assert_eq!(back[..], pcm[..]);
    }

    #[test]
    fn odd_lengths_are_malformed() {
        let mut decoder = Decoder::new(Rate::Hz16000).unwrap();
        assert_eq!(
            decoder.decode(&[0; 3], &mut [0; 8]),
            Err(CodecError::Malformed)
        );
        assert_eq!(decoder.decode(&[], &mut [0; 8]), Err(CodecError::Malformed));
    }
}
