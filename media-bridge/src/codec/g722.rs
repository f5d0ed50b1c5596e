//! ITU-T G.722 at 64 kbit/s: 7 kHz audio, 16 kHz sampled, two ADPCM sub-bands.
//!
//! ```text
//!   16 kHz ─► QMF ─┬─ low  band, 8 kHz ─► 6 bit ADPCM ─┐
//!                  └─ high band, 8 kHz ─► 2 bit ADPCM ─┴─► one octet per two samples
//! ```
//!
//! Blocks and signals carry the names of the Recommendation (§3, §6): all arithmetic is the 16 bit fixed point laid
//! down there, so that a decoder follows any encoder bit by bit.

use super::conceal::Concealer;
use super::resample::{Down, Up};
use super::{CodecError, Decode, Encode, MAX_PACKET_MS, Rate};

/// Most octets in one packet.
const MAX_OCTETS: usize = MAX_PACKET_MS * 8;
/// Most samples in one packet at 16 kHz.
const MAX_SAMPLES: usize = MAX_OCTETS * 2;

/// Table 11: the halves of the 24 QMF coefficients.
const QMF: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];
/// Table 14: decision levels of the 6 bit quantiser.
const Q6: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023,
    1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// Table 15: 4 bit inverse quantiser, by code.
const QM4: [i32; 16] = [
    0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584,
    1200, 0,
];
/// Table 17: 6 bit inverse quantiser, by code.
const QM6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232,
    -9360, -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776,
    -2400, -2032, -1688, -1360, -1040, -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280,
    11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776,
    2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
/// Table 21: 2 bit inverse quantiser, by code.
const QM2: [i32; 4] = [-7408, -1616, 7408, 1616];
/// Log scale factor steps of the low band, by 4 bit code (W_L through RL42).
const WL: [i32; 16] = [
    -60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60,
];
/// Log scale factor steps of the high band, by code (W_H through RH2).
const WH: [i32; 4] = [798, -214, 798, -214];
/// Table 18: fraction of the inverse logarithm.
const ILB: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];

fn at(table: &[i32], index: usize) -> i32 {
    table.get(index).copied().unwrap_or(0)
}

fn saturate(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

/// One sub-band: adaptive predictor and quantiser scale, alike in both directions.
#[derive(Clone, Debug)]
struct Band {
    /// Predictor output and its all-zero part.
    s: i32,
    sz: i32,
    /// Reconstructed signal, newest first.
    r: [i32; 2],
    /// Partly reconstructed signal.
    p: [i32; 2],
    /// Pole coefficients.
    a: [i32; 2],
    /// Zero coefficients and the differences they weigh.
    b: [i32; 6],
    d: [i32; 6],
    /// Log scale factor and scale factor.
    nb: i32,
    det: i32,
}

impl Band {
    fn new(det: i32) -> Self {
        Self {
            s: 0,
            sz: 0,
            r: [0; 2],
            p: [0; 2],
            a: [0; 2],
            b: [0; 6],
            d: [0; 6],
            nb: 0,
            det,
        }
    }

    /// LOGSC and SCALE: `shift` is 8 in the low band, 10 in the high one.
    fn rescale(&mut self, step: i32, limit: i32, shift: i32) {
        self.nb = (((self.nb * 127) >> 7) + step).clamp(0, limit);
        let fraction = at(&ILB, ((self.nb >> 6) & 31) as usize);
        let down = shift - (self.nb >> 11);
        let scale = if down < 0 {
            fraction << -down
        } else {
            fraction >> down
        };
        self.det = scale << 2;
    }

    /// Block 4: takes the quantised difference and predicts the next sample.
    fn adapt(&mut self, d: i32) {
        let r = saturate(self.s + d);
        let p = saturate(self.sz + d);
        let [r1, _] = self.r;
        let [p1, p2] = self.p;
        let [a1, a2] = self.a;
        let same = |x: i32, y: i32| (x < 0) == (y < 0);

        // UPPOL2, UPPOL1
        let wd = saturate(a1 << 2);
        let wd = if same(p, p1) { saturate(-wd) } else { wd };
        let towards = if same(p, p2) { 128 } else { -128 };
        let ap2 = (towards + (wd >> 7) + ((a2 * 32_512) >> 15)).clamp(-12_288, 12_288);
        let step = if same(p, p1) { 192 } else { -192 };
        let bound = 15_360 - ap2;
        let ap1 = (step + ((a1 * 32_640) >> 15)).clamp(-bound, bound);

        // UPZERO, with the delay line moved in the same pass; FILTEZ
        let step = if d == 0 { 0 } else { 128 };
        let (mut newer, mut sz) = (d, 0);
        for (b, slot) in self.b.iter_mut().zip(self.d.iter_mut()) {
            let older = *slot;
            *b = saturate((if same(d, older) { step } else { -step }) + ((*b * 32_640) >> 15));
            *slot = newer;
            sz += (*b * saturate(newer << 1)) >> 15;
            newer = older;
        }

        // FILTEP, PREDIC
        let sp = saturate(((ap1 * saturate(r << 1)) >> 15) + ((ap2 * saturate(r1 << 1)) >> 15));
        self.sz = saturate(sz);
        self.s = saturate(sp + self.sz);
        self.r = [r, r1];
        self.p = [p, p1];
        self.a = [ap1, ap2];
    }

    /// Low band after a 6 bit code: the predictor sees its upper 4 bits only, so that a decoder which got fewer
    /// bits stays in step.
    fn adapt_low(&mut self, code: u8) {
        let code = usize::from(code >> 2);
        let d = (self.det * at(&QM4, code)) >> 15;
        self.rescale(at(&WL, code), 18_432, 8);
        self.adapt(d);
    }

    /// High band after a 2 bit code.
    fn adapt_high(&mut self, code: u8) {
        let code = usize::from(code);
        let d = (self.det * at(&QM2, code)) >> 15;
        self.rescale(at(&WH, code), 22_528, 10);
        self.adapt(d);
    }
}

#[derive(Clone, Debug)]
struct Bands {
    low: Band,
    high: Band,
    /// QMF delay line, oldest first.
    x: [i32; 24],
}

impl Bands {
    fn new() -> Self {
        Self {
            low: Band::new(32),
            high: Band::new(8),
            x: [0; 24],
        }
    }

    /// Shifts two samples in; the sums over the even and the odd taps.
    fn qmf(&mut self, first: i32, second: i32) -> (i32, i32) {
        self.x.copy_within(2.., 0);
        if let Some([a, b]) = self.x.last_chunk_mut() {
            (*a, *b) = (first, second);
        }
        let (mut even, mut odd) = (0, 0);
        for ((pair, forward), backward) in self.x.chunks_exact(2).zip(QMF).zip(QMF.iter().rev()) {
            if let [a, b] = pair {
                even += a * forward;
                odd += b * backward;
            }
        }
        (even, odd)
    }

    fn decode(&mut self, octet: u8) -> [i16; 2] {
        let (low, high) = (octet & 0x3f, octet >> 6);
        let limit = |value: i32| value.clamp(-16_384, 16_383);
        let rl = limit(self.low.s + ((self.low.det * at(&QM6, usize::from(low))) >> 15));
        self.low.adapt_low(low);
        let rh = limit(self.high.s + ((self.high.det * at(&QM2, usize::from(high))) >> 15));
        self.high.adapt_high(high);
        let (even, odd) = self.qmf(rl + rh, rl - rh);
        [saturate(odd >> 11) as i16, saturate(even >> 11) as i16]
    }

    fn encode(&mut self, pair: [i16; 2]) -> u8 {
        let [first, second] = pair;
        let (even, odd) = self.qmf(i32::from(first), i32::from(second));
        let (xl, xh) = ((odd + even) >> 14, (odd - even) >> 14);

        // QUANTL: the number of decision levels at or below the magnitude.
        let el = saturate(xl - self.low.s);
        let magnitude = if el < 0 { !el } else { el };
        let det = self.low.det;
        let level = Q6.partition_point(|q| magnitude >= (q * det) >> 12) as u8;
        // Table 16: codes fall from 63 (62 for the two smallest) and, for negatives, from 31.
        let low = match (el < 0, level) {
            (false, _) => 61 - level,
            (true, 0 | 1) => 63 - level,
            (true, _) => 33 - level,
        };
        self.low.adapt_low(low);

        let eh = saturate(xh - self.high.s);
        let magnitude = if eh < 0 { !eh } else { eh };
        let outer = magnitude >= (564 * self.high.det) >> 12;
        let high = match (eh < 0, outer) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (false, false) => 3,
        };
        self.high.adapt_high(high);
        (high << 6) | low
    }
}

/// One direction heard, with packet loss concealment.
#[derive(Debug)]
pub struct Decoder {
    bands: Bands,
    concealer: Concealer,
    down: Option<Box<Narrow>>,
}

#[derive(Debug)]
struct Narrow {
    down: Down,
    wide: [i16; MAX_SAMPLES],
}

impl Decoder {
    /// Opens a decoder for 8 or 16 kHz.
    ///
    /// # Errors
    /// [`CodecError::Unsupported`] at 48 kHz.
    pub fn new(rate: Rate) -> Result<Self, CodecError> {
        let down = match rate {
            Rate::Hz16000 => None,
            Rate::Hz8000 => Some(Box::new(Narrow {
                down: Down::default(),
                wide: [0; MAX_SAMPLES],
            })),
            Rate::Hz48000 => return Err(CodecError::Unsupported),
        };
        Ok(Self {
            bands: Bands::new(),
            concealer: Concealer::new(Rate::Hz16000),
            down,
        })
    }
}

impl Decode for Decoder {
    fn samples(&self, payload: &[u8]) -> usize {
        if payload.len() > MAX_OCTETS {
            0
        } else {
            payload.len() * if self.down.is_some() { 1 } else { 2 }
        }
    }

    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        let samples = self.samples(payload);
        if samples == 0 {
            return Err(CodecError::Malformed);
        }
        let out = out.get_mut(..samples).ok_or(CodecError::Short)?;
        let wide = match &mut self.down {
            None => &mut *out,
            Some(narrow) => narrow
                .wide
                .get_mut(..payload.len() * 2)
                .ok_or(CodecError::Malformed)?,
        };
        for (pair, octet) in wide.chunks_exact_mut(2).zip(payload) {
            pair.copy_from_slice(&self.bands.decode(*octet));
        }
        self.concealer.good(wide);
        if let Some(narrow) = &mut self.down {
            let Narrow { down, wide } = &mut **narrow;
            down.process(wide.get(..payload.len() * 2).unwrap_or(&[]), out);
        }
        Ok(samples)
    }

    fn conceal(&mut self, out: &mut [i16]) {
        match &mut self.down {
            None => self.concealer.lost(out),
            Some(narrow) => {
                let Narrow { down, wide } = &mut **narrow;
                for chunk in out.chunks_mut(MAX_OCTETS) {
                    let wide = wide.get_mut(..chunk.len() * 2).unwrap_or(&mut []);
                    self.concealer.lost(wide);
                    down.process(wide, chunk);
                }
            }
        }
    }

    fn reset(&mut self) {
        self.bands = Bands::new();
        self.concealer.reset();
        if let Some(narrow) = &mut self.down {
            narrow.down.reset();
        }
    }
}

/// One direction sent.
#[derive(Debug)]
pub struct Encoder {
    bands: Bands,
    up: Option<Box<Wide>>,
}

#[derive(Debug)]
struct Wide {
    up: Up,
    pcm: [i16; MAX_SAMPLES],
}

impl Encoder {
    /// Opens an encoder for 8 or 16 kHz.
    ///
    /// # Errors
    /// [`CodecError::Unsupported`] at 48 kHz.
    pub fn new(rate: Rate) -> Result<Self, CodecError> {
        let up = match rate {
            Rate::Hz16000 => None,
            Rate::Hz8000 => Some(Box::new(Wide {
                up: Up::default(),
                pcm: [0; MAX_SAMPLES],
            })),
            Rate::Hz48000 => return Err(CodecError::Unsupported),
        };
        Ok(Self {
            bands: Bands::new(),
            up,
        })
    }
}

impl Encode for Encoder {
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let wide = match &mut self.up {
            None => pcm,
            Some(wide) => {
                let Wide { up, pcm: buffer } = &mut **wide;
                if pcm.len() > MAX_OCTETS {
                    return Err(CodecError::Unsupported);
                }
                let count = up.process(pcm, buffer);
                buffer.get(..count).unwrap_or(&[])
            }
        };
        if !wide.len().is_multiple_of(2) {
            return Err(CodecError::Unsupported);
        }
        let out = out.get_mut(..wide.len() / 2).ok_or(CodecError::Short)?;
        for (octet, pair) in out.iter_mut().zip(wide.chunks_exact(2)) {
            if let [first, second] = pair {
                *octet = self.bands.encode([*first, *second]);
            }
        }
        Ok(out.len())
    }

    fn reset(&mut self) {
        self.bands = Bands::new();
        if let Some(wide) = &mut self.up {
            wide.up.reset();
        }
    }
}
