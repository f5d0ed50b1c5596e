//! ITU-T G.711: 8 bit A-law and µ-law, by table.

use super::conceal::Concealer;
use super::resample::{Down, Up};
use super::{CodecError, Decode, Encode, MAX_PACKET_MS, Rate};

/// Most octets (samples) in one packet.
const MAX_OCTETS: usize = MAX_PACKET_MS * 8;

/// The two laws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// A-law: 13 bit inside, all but the Americas and Japan.
    A,
    /// µ-law: 14 bit inside.
    Mu,
}

/// Table 1a of G.711: seven segments above the linear one, even bits inverted.
const fn expand_a(octet: u8) -> i16 {
    let code = octet ^ 0x55;
    let segment = (code >> 4) & 7;
    let mantissa = ((code & 0x0f) as i16) << 4;
    let magnitude = match segment {
        0 => mantissa + 8,
        _ => (mantissa + 0x108) << (segment - 1),
    };
    if code & 0x80 != 0 {
        magnitude
    } else {
        -magnitude
    }
}

/// Table 2a of G.711: eight segments, all bits inverted, bias 33 of 8,192.
const fn expand_mu(octet: u8) -> i16 {
    let code = !octet;
    let segment = (code >> 4) & 7;
    let magnitude = ((((code & 0x0f) as i16) << 3) + 0x84) << segment;
    if code & 0x80 != 0 {
        0x84 - magnitude
    } else {
        magnitude - 0x84
    }
}

/// `value` is a 12 bit magnitude with its sign as one's complement, which is how the standard rounds.
const fn compress_a(value: i16) -> u8 {
    let mut magnitude = if value < 0 { !value } else { value } as u16;
    let mut segment = 0;
    if magnitude > 15 {
        segment = 1;
        while magnitude > 31 {
            magnitude >>= 1;
            segment += 1;
        }
        magnitude -= 16;
    }
    let code = (segment << 4) | magnitude as u8;
    (if value < 0 { code } else { code | 0x80 }) ^ 0x55
}

/// `value` is a 13 bit magnitude with its sign as one's complement.
const fn compress_mu(value: i16) -> u8 {
    let mut magnitude = (if value < 0 { !value } else { value }) as u16 + 33;
    if magnitude > 0x1fff {
        magnitude = 0x1fff;
    }
    let segment = 10 - magnitude.leading_zeros() as u16;
    let code = ((segment << 4) | ((magnitude >> (segment + 1)) & 0x0f)) as u8;
    !(if value < 0 { code | 0x80 } else { code })
}

const A_TO_LINEAR: [i16; 256] = {
    let (mut table, mut i) = ([0; 256], 0);
    while i < 256 {
        table[i] = expand_a(i as u8);
        i += 1;
    }
    table
};

const MU_TO_LINEAR: [i16; 256] = {
    let (mut table, mut i) = ([0; 256], 0);
    while i < 256 {
        table[i] = expand_mu(i as u8);
        i += 1;
    }
    table
};

/// By the upper 12 bits of the sample.
static LINEAR_TO_A: [u8; 4_096] = {
    let (mut table, mut i) = ([0; 4_096], 0);
    while i < 4_096 {
        table[i] = compress_a(i as i16 - 2_048);
        i += 1;
    }
    table
};

/// By the upper 14 bits of the sample.
static LINEAR_TO_MU: [u8; 16_384] = {
    let (mut table, mut i) = ([0; 16_384], 0);
    while i < 16_384 {
        table[i] = compress_mu(i as i16 - 8_192);
        i += 1;
    }
    table
};

impl Law {
    /// One octet to one sample.
    #[must_use]
    pub fn expand(self, octet: u8) -> i16 {
        let table = match self {
            Self::A => &A_TO_LINEAR,
            Self::Mu => &MU_TO_LINEAR,
        };
        table.get(usize::from(octet)).copied().unwrap_or(0)
    }

    /// One sample to one octet.
    #[must_use]
    pub fn compress(self, sample: i16) -> u8 {
        // The arithmetic shift leaves a one's complement magnitude; the offset makes it an index.
        let entry = match self {
            Self::A => LINEAR_TO_A.get(usize::from(((sample >> 4) + 2_048) as u16)),
            Self::Mu => LINEAR_TO_MU.get(usize::from(((sample >> 2) + 8_192) as u16)),
        };
        entry.copied().unwrap_or(0xff)
    }
}

/// One direction heard, with packet loss concealment.
#[derive(Debug)]
pub struct Decoder {
    law: Law,
    concealer: Concealer,
    up: Option<Box<Wide>>,
}

#[derive(Debug)]
struct Wide {
    up: Up,
    narrow: [i16; MAX_OCTETS],
}

impl Decoder {
    /// Opens a decoder for 8 or 16 kHz.
    ///
    /// # Errors
    /// [`CodecError::Unsupported`] at 48 kHz.
    pub fn new(law: Law, rate: Rate) -> Result<Self, CodecError> {
        let up = match rate {
            Rate::Hz8000 => None,
            Rate::Hz16000 => Some(Box::new(Wide {
                up: Up::default(),
                narrow: [0; MAX_OCTETS],
            })),
            Rate::Hz48000 => return Err(CodecError::Unsupported),
        };
        Ok(Self {
            law,
            concealer: Concealer::new(Rate::Hz8000),
            up,
        })
    }
}

impl Decode for Decoder {
    fn samples(&self, payload: &[u8]) -> usize {
        if payload.len() > MAX_OCTETS {
            0
        } else {
            payload.len() * if self.up.is_some() { 2 } else { 1 }
        }
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        let samples = self.samples(payload);
        if samples == 0 {
            return Err(CodecError::Malformed);
        }
        let out = out.get_mut(..samples).ok_or(CodecError::Short)?;
        let narrow = match &mut self.up {
            None => &mut *out,
            Some(wide) => wide
                .narrow
                .get_mut(..payload.len())
                .ok_or(CodecError::Malformed)?,
        };
        for (sample, octet) in narrow.iter_mut().zip(payload) {
            *sample = self.law.expand(*octet);
        }
        self.concealer.good(narrow);
        if let Some(wide) = &mut self.up {
            let Wide { up, narrow } = &mut **wide;
            up.process(narrow.get(..payload.len()).unwrap_or(&[]), out);
        }
        Ok(samples)
    }

    fn conceal(&mut self, out: &mut [i16]) {
        match &mut self.up {
            None => self.concealer.lost(out),
            Some(wide) => {
                let Wide { up, narrow } = &mut **wide;
                for chunk in out.chunks_mut(MAX_OCTETS) {
                    let narrow = narrow.get_mut(..chunk.len() / 2).unwrap_or(&mut []);
                    self.concealer.lost(narrow);
                    up.process(narrow, chunk);
                }
            }
        }
    }

    fn reset(&mut self) {
        self.concealer.reset();
        if let Some(wide) = &mut self.up {
            wide.up.reset();
        }
    }
}

/// One direction sent.
#[derive(Debug)]
pub struct Encoder {
    law: Law,
    down: Option<Box<Narrow>>,
}

#[derive(Debug)]
struct Narrow {
    down: Down,
    pcm: [i16; MAX_OCTETS],
}

impl Encoder {
    /// Opens an encoder for 8 or 16 kHz.
    ///
    /// # Errors
    /// [`CodecError::Unsupported`] at 48 kHz.
    pub fn new(law: Law, rate: Rate) -> Result<Self, CodecError> {
        let down = match rate {
            Rate::Hz8000 => None,
            Rate::Hz16000 => Some(Box::new(Narrow {
                down: Down::default(),
                pcm: [0; MAX_OCTETS],
            })),
            Rate::Hz48000 => return Err(CodecError::Unsupported),
        };
        Ok(Self { law, down })
    }
}

impl Encode for Encoder {
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let narrow = match &mut self.down {
            None => pcm,
            Some(narrow) => {
                let Narrow { down, pcm: buffer } = &mut **narrow;
                if pcm.len() > 2 * MAX_OCTETS || !pcm.len().is_multiple_of(2) {
                    return Err(CodecError::Unsupported);
                }
                let count = down.process(pcm, buffer);
                buffer.get(..count).unwrap_or(&[])
            }
        };
        let out = out.get_mut(..narrow.len()).ok_or(CodecError::Short)?;
        for (octet, sample) in out.iter_mut().zip(narrow) {
            *octet = self.law.compress(*sample);
        }
        Ok(out.len())
    }

    fn reset(&mut self) {
        if let Some(narrow) = &mut self.down {
            narrow.down.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_of_the_tables() {
        // G.711 table 1a/2a, scaled to 16 bit: ends of the range, the two zeros, first steps, segment ends.
        let a = [
            (0xd5, 8),
            (0x55, -8),
            (0xd4, 24),
            (0xaa, 32_256),
            (0x2a, -32_256),
            (0xc5, 264),
            (0x80, 5_504),
        ];
        for (octet, sample) in a {
            assert_eq!(Law::A.expand(octet), sample, "A {octet:#x}");
        }
        let mu = [
            (0xff, 0),
            (0x7f, 0),
            (0xfe, 8),
            (0x80, 32_124),
            (0x00, -32_124),
            (0xef, 132),
            (0x8f, 16_764),
        ];
        for (octet, sample) in mu {
            assert_eq!(Law::Mu.expand(octet), sample, "mu {octet:#x}");
        }
    }

    #[test]
    fn all_256_octets_round_trip() {
        for octet in 0..=255 {
            assert_eq!(Law::A.compress(Law::A.expand(octet)), octet);
            let back = Law::Mu.compress(Law::Mu.expand(octet));
            // 0x7f is the negative zero, which linear audio has not.
            assert_eq!(back, if octet == 0x7f { 0xff } else { octet });
        }
    }

    #[test]
    fn every_sample_goes_to_a_nearest_level_or_the_next() {
        for law in [Law::A, Law::Mu] {
            for sample in i16::MIN..=i16::MAX {
                let value = i32::from(sample);
                let error = (i32::from(law.expand(law.compress(sample))) - value).abs();
                // Half a step of the segment the value lies in; µ-law clips above 32,124.
                let step = (value.abs() / 16).max(8) + 8;
                assert!(
                    error <= step || value.abs() > 32_124,
                    "{law:?} {sample}: {error}"
                );
            }
        }
    }

    #[test]
    fn compression_is_monotonic() {
        for law in [Law::A, Law::Mu] {
            let mut last = i16::MIN;
            for sample in (i16::MIN..=i16::MAX).step_by(3) {
                let now = law.expand(law.compress(sample));
                assert!(now >= last, "{law:?} at {sample}");
                last = now;
            }
        }
    }

    #[test]
    fn wide_inner_rate_doubles_and_halves() {
        let mut decoder = Decoder::new(Law::A, Rate::Hz16000).unwrap();
        let mut encoder = Encoder::new(Law::A, Rate::Hz16000).unwrap();
        let (mut pcm, mut payload) = ([0; 320], [0; 160]);
        assert_eq!(decoder.samples(&[0xd5; 160]), 320);
        assert_eq!(decoder.decode(&[0xd5; 160], &mut pcm), Ok(320));
        assert_eq!(encoder.encode(&pcm, &mut payload), Ok(160));
        decoder.conceal(&mut pcm);
    }

    #[test]
    fn lengths_out_of_range_are_errors() {
        let mut decoder = Decoder::new(Law::Mu, Rate::Hz8000).unwrap();
        assert_eq!(
            decoder.decode(&[], &mut [0; 160]),
            Err(CodecError::Malformed)
        );
        assert_eq!(
            decoder.decode(&[0; 2_000], &mut [0; 4_000]),
            Err(CodecError::Malformed)
        );
        assert_eq!(
            decoder.decode(&[0; 160], &mut [0; 159]),
            Err(CodecError::Short)
        );
        assert!(Decoder::new(Law::Mu, Rate::Hz48000).is_err());
    }
}
