//! What two parties hear of each other: SDP offers and answers are settled here, and participants are joined packet by packet.
//!
//! A leg is one media stream of one SIP dialog. Signalling settles it with a [`Negotiation`], hands the resulting
//! [`LegConfig`] to a bridge as a [`Command`], and learns what happened on it as [`Event`]s.
//!
//! ```text
//!   SDP of the door ─► Negotiation ─► LegConfig ─┐                      ┌─ LegConfig ◄─ Negotiation ◄─ SDP of the desk
//!                                                ▼                      ▼
//!   RTP of the door ──► leg A ─[ decode ]─► PCM at one inner rate ─[ encode ]─► leg B ──► RTP of the desk
//!                         │    same codec: relayed untouched, renumbered          │
//!                         └─► digits (RFC 4733, INFO) ─► Normaliser ─► Event::Digit
//! ```
//!
//! Deliberately absent: sockets, clocks, files, threads, locks, unseeded randomness, and every word about calls, doors
//! or rights. SIP messages never come here; their bodies do, and nothing else in the house reads SDP.

#![forbid(unsafe_code)]

pub mod bridge;
pub mod codec;
pub mod dtmf;
pub mod leg;
pub mod offer_answer;
pub mod rtcp;
pub mod rtp;
pub mod tone;

pub use bridge::{Bridge, BridgeConfig, Input, Output, Outputs, Prompt};
pub use codec::Codec;
pub use dtmf::{Digit, DigitSource, Digits, Normaliser, parse_info};
pub use leg::{
    Command, Component, Event, Lease, LeaseId, LegConfig, LegId, LegStats, OpusParams, Pacing,
    TelephoneEvent, Tone,
};
pub use offer_answer::{Direction, LegProfile, Negotiation, OfferError, offer_nothing, reject_all};
