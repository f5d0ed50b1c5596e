//! What can be wrong with an offer or answer, and the SIP status that says so.

/// Why an SDP was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Not SDP, or beyond the bounds.
    #[error("malformed SDP")]
    Malformed,
    /// The body is no SDP at all.
    #[error("not SDP")]
    NotSdp,
    /// No codec in common.
    #[error("no codec in common")]
    NoCommonCodec,
    /// No audio m-line we can use.
    #[error("no usable audio stream")]
    NoAudio,
    /// The peer wants encrypted media and this leg cannot (never answered by plain RTP).
    #[error("secure media not available")]
    SecureRequired,
    /// The answer does not fit the offer (RFC 3264 §6).
    #[error("answer does not match the offer")]
    Mismatch,
    /// An offer is pending already, or none is (RFC 3261 §14, RFC 6337).
    #[error("no offer to answer, or one already pending")]
    WrongState,
}

impl OfferError {
    /// The SIP status of a response refusing the offer (RFC 3261 §21.4).
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::NotSdp => 415,
            Self::NoCommonCodec | Self::NoAudio | Self::SecureRequired | Self::Mismatch => 488,
            Self::WrongState => 491,
        }
    }
}
