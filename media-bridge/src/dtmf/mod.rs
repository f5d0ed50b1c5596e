//! Digits: what they are, how they come (RTP events, INFO bodies), and how one press is counted once.

#![deny(clippy::indexing_slicing)]

mod digit;
mod info;
mod normaliser;
pub mod rfc4733;

pub use digit::{Digit, Digits};
pub use info::parse_info;
pub use normaliser::Normaliser;

/// How a digit came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DigitSource {
    /// RTP event (RFC 4733).
    Rtp,
    /// Body of a SIP INFO request.
    Info,
    /// Tones in the audio.
    InBand,
}
