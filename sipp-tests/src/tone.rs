//! How much of a recording is one tone.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// A mono recording.
#[derive(Debug)]
pub struct Recording {
    /// Samples in -1..1.
    pub samples: Vec<f64>,
    /// Samples a second.
    pub rate: u32,
}

/// What was measured over the frames that are not silent.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Seconds that were not silent.
    pub seconds: f64,
    /// Part of the energy that is the tone, 0..1; the median over frames of 200 ms.
    pub share: f64,
}

/// Frames quieter than this (RMS, full scale 1) are silence.
const FLOOR: f64 = 0.003;

impl Recording {
    /// Reads a 16-bit PCM WAV; a header that was never completed (writer killed) is tolerated.
    pub fn read(file: &Path) -> Result<Self> {
        let raw = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        let word = |at: usize| {
            raw.get(at..at + 4)
                .map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        };
        let half = |at: usize| {
            raw.get(at..at + 2)
                .map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
        };
        if raw.get(..4) != Some(b"RIFF") {
            bail!("{} is not a WAV file", file.display());
        }
        let (mut at, mut rate, mut channels) = (12, 8_000, 1);
        while at + 8 <= raw.len() {
            let (name, size) = (&raw[at..at + 4], word(at + 4) as usize);
            if name == b"fmt " {
                channels = usize::from(half(at + 10)).max(1);
                rate = word(at + 12);
            }
            if name == b"data" {
                let end = if size == 0 {
                    raw.len()
                } else {
                    (at + 8 + size).min(raw.len())
                };
                let frames = raw[at + 8..end].chunks_exact(2 * channels);
                let sample =
                    |frame: &[u8]| f64::from(i16::from_le_bytes([frame[0], frame[1]])) / 32_768.0;
                return Ok(Self {
                    samples: frames.map(sample).collect(),
                    rate,
                });
            }
            at += 8 + size + (size & 1);
        }
        bail!("{} holds no samples", file.display())
    }

    /// Measures the tone of `frequency` Hz.
    pub fn measure(&self, frequency: f64) -> Measured {
        let length = self.rate as usize / 5;
        let mut shares: Vec<f64> = self
            .samples
            .chunks_exact(length.max(1))
            .filter(|frame| {
                frame.iter().map(|x| x * x).sum::<f64>() > FLOOR * FLOOR * length as f64
            })
            .map(|frame| share(frame, frequency / f64::from(self.rate)))
            .collect();
        shares.sort_by(f64::total_cmp);
        let share = shares.get(shares.len() / 2).copied().unwrap_or(0.0);
        Measured {
            seconds: shares.len() as f64 / 5.0,
            share,
        }
    }
}

/// The part of a frame's energy that a sine of `cycles` per sample explains: of a pure one, all.
fn share(frame: &[f64], cycles: f64) -> f64 {
    let (mut re, mut im, mut energy) = (0.0, 0.0, 0.0);
    for (n, x) in frame.iter().enumerate() {
        let angle = std::f64::consts::TAU * cycles * n as f64;
        re += x * angle.cos();
        im += x * angle.sin();
        energy += x * x;
    }
    if energy == 0.0 {
        0.0
    } else {
        2.0 * (re * re + im * im) / (frame.len() as f64 * energy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pure_tone_is_all_tone_and_no_other() {
        let samples = (0..16_000)
            .map(|n| 0.3 * (std::f64::consts::TAU * 440.0 * f64::from(n) / 8_000.0).sin())
            .collect();
        let recording = Recording {
            samples,
            rate: 8_000,
        };
        assert!(recording.measure(440.0).share > 0.99);
        assert!(recording.measure(1_000.0).share < 0.01);
        assert!((recording.measure(440.0).seconds - 2.0).abs() < 0.21);
    }

    #[test]
    fn silence_has_no_tone() {
        let recording = Recording {
            samples: vec![0.0; 8_000],
            rate: 8_000,
        };
        assert_eq!(recording.measure(440.0).seconds, 0.0);
    }
}
