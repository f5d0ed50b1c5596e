//! Offer and answer (RFC 3264) for one audio stream per SIP dialog.

mod error;

use bytes::Bytes;
use std::net::IpAddr;

use crate::codec::Codec;
use crate::leg::{Lease, LegConfig};

pub use error::OfferError;

/// Who sends (RFC 3264 §5.1), from the side that states it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Both.
    #[default]
    SendRecv,
    /// The stating side alone.
    SendOnly,
    /// The other side alone.
    RecvOnly,
    /// Nobody.
    Inactive,
}

/// What a leg may speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegProfile {
    /// Codecs, preferred first.
    pub codecs: Vec<Codec>,
    /// Offer and accept RFC 4733 digits.
    pub telephone_event: bool,
    /// Packet length we like to receive, ms.
    pub ptime_ms: u16,
    /// The device takes re-INVITEs; if not, hold ends at our side.
    pub reinvite: bool,
    /// Offer RTP and RTCP on one port (RFC 5761). Accepted from a peer in any case.
    pub rtcp_mux: bool,
    /// A clear channel: copied to [`LegConfig::clear`].
    pub clear: bool,
}

impl Default for LegProfile {
    fn default() -> Self {
        Self {
            codecs: vec![Codec::Opus, Codec::G722, Codec::Pcma, Codec::Pcmu],
            telephone_event: true,
            ptime_ms: 20,
            reinvite: true,
            rtcp_mux: false,
            clear: false,
        }
    }
}

/// The offer/answer state of one SIP dialog leg.
#[derive(Clone, Debug)]
pub struct Negotiation {
    profile: LegProfile,
    lease: Lease,
    origin: u64,
    agreed: Option<LegConfig>,
    local: Option<Bytes>,
}

impl Negotiation {
    /// A leg that has said nothing yet. `origin_session_id` must be unique per host (RFC 8866 §5.2).
    #[must_use]
    pub fn new(profile: LegProfile, lease: Lease, origin_session_id: u64) -> Self {
        Self {
            profile,
            lease,
            origin: origin_session_id,
            agreed: None,
            local: None,
        }
    }

    /// Where the peer's signalling comes from, when it sits behind NAT: goes into [`LegConfig::signalling_from`].
    pub fn set_signalling_source(&mut self, from: Option<IpAddr>) {
        let _ = from;
    }

    /// Our offer: for an INVITE of ours, or in the 2xx to an INVITE without one. `prefer` comes first, so that two
    /// legs can end up with the same codec and be relayed untouched.
    pub fn offer(&mut self, prefer: Option<Codec>) -> Bytes {
        let _ = (prefer, &self.profile, &self.lease, self.origin);
        Bytes::new()
    }

    /// Takes an offer and keeps it pending until [`Self::answer`].
    ///
    /// # Errors
    /// What is wrong with it; nothing changed then.
    pub fn receive_offer(&mut self, sdp: &[u8]) -> Result<(), OfferError> {
        let _ = sdp;
        Ok(())
    }

    /// Answers the pending offer and makes it effective. `prefer` if both sides can, else the offerer's first
    /// codec that the profile allows.
    ///
    /// # Errors
    /// No offer is pending, or no codec is common.
    pub fn answer(&mut self, prefer: Option<Codec>) -> Result<Bytes, OfferError> {
        let _ = prefer;
        Ok(Bytes::new())
    }

    /// Takes the answer to our offer and makes both effective.
    ///
    /// # Errors
    /// What is wrong with it; the state before the offer is back then.
    pub fn receive_answer(&mut self, sdp: &[u8]) -> Result<(), OfferError> {
        let _ = sdp;
        Ok(())
    }

    /// A new offer within the dialog: hold, resume, or the same again (session refresh).
    pub fn reoffer(&mut self, direction: Direction) -> Bytes {
        let _ = direction;
        Bytes::new()
    }

    /// The pending offer came to nothing (RFC 3261 §14.1): back to what was agreed.
    pub fn rollback(&mut self) {}

    /// What is agreed.
    #[must_use]
    pub fn agreed(&self) -> Option<&LegConfig> {
        self.agreed.as_ref()
    }

    /// Codecs the pending (else the last) offer of the peer and our profile have in common, offerer's order.
    #[must_use]
    pub fn offered_codecs(&self) -> Vec<Codec> {
        Vec::new()
    }

    /// The peer wants to hear nothing, or gave no address to send to.
    #[must_use]
    pub fn remote_on_hold(&self) -> bool {
        false
    }

    /// The peer's offer has no live audio (`m=audio 0`): a ring notice of a door, to be treated as an event.
    #[must_use]
    pub fn ring_notice(&self) -> bool {
        false
    }

    /// The last SDP we sent, for repeating it unchanged (same `o=` version).
    #[must_use]
    pub fn current_local(&self) -> Option<Bytes> {
        self.local.clone()
    }
}
