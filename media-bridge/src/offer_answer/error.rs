//! What can be wrong with an offer or answer, and the SIP status that says so.

/// Why an SDP was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// A broken line we need, or a size beyond the bounds.
    #[error("malformed SDP")]
    Malformed,
    /// The body is no SDP at all.
    #[error("not SDP")]
    NotSdp,
    /// No codec in common.
    #[error("no codec in common")]
    NoCommonCodec,
    /// No audio m-line, or only over transports unknown here.
    #[error("no usable audio stream")]
    NoAudio,
    /// The peer wants encrypted media and this leg has none: never answered with plain RTP.
    #[error("secure media not available")]
    SecureRequired,
    /// Nowhere to send: a host name, a multicast group, or an address of the family our sockets have not.
    #[error("unusable media address")]
    Address,
    /// The answer does not fit the offer (RFC 3264 §6).
    #[error("answer does not match the offer")]
    Mismatch,
    /// The peer's offer crossed ours (RFC 3261 §14.2).
    #[error("an offer of ours is pending")]
    Glare,
    /// An answer without an offer, or none to answer.
    #[error("no offer is pending")]
    NothingPending,
}

impl OfferError {
    /// The SIP status of a response refusing the request that carried the SDP (RFC 3261 §21.4, §14.2).
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::NothingPending => 400,
            Self::NotSdp => 415,
            Self::NoCommonCodec
            | Self::NoAudio
            | Self::SecureRequired
            | Self::Address
            | Self::Mismatch => 488,
            Self::Glare => 491,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_status() {
        use OfferError::*;
        let table = [
            (Malformed, 400),
            (NotSdp, 415),
            (NoCommonCodec, 488),
            (NoAudio, 488),
            (SecureRequired, 488),
            (Address, 488),
            (Mismatch, 488),
            (Glare, 491),
            (NothingPending, 400),
        ];
        for (error, status) in table {
            assert_eq!(error.status(), status, "{error}");
        }
    }
}
