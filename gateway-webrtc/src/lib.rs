//! A browser or app (ICE, DTLS-SRTP) as one more media participant.
//!
//! What it deliberately does not do: sockets, certificates on disk, SDP (that is `media-bridge`'s), signalling.
//!
//! ```text
//!   browser --STUN/DTLS/SRTP--> [ this room ] --RTP--> media-bridge
//! ```
//!
//! The room is laid so that its one arrow, to `media-bridge`, is fixed; apps reach this version by SIP with Opus.
#![forbid(unsafe_code)]
