//! Every SIP message of a call, both sides of the B2BUA, in a ring bounded by octets.
//!
//! ```text
//!   Received, Transmit ──▶ Call-ID ──known──▶ the call's ladder ──over──▶ Output::Ladder
//!                              │ no
//!                              ▼
//!                       unclaimed: an INVITE and its challenge, until a call of that Call-ID begins
//! ```
//! Messages are kept as they were on the wire and can be read only redacted ([`Recorded::redacted`]). Keeping one costs
//! a reference to its octets, not a copy.

mod redact;
mod ring;
mod scan;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use sip_proxy::Flow;

pub use redact::redacted;
pub(crate) use ring::Ladders;
pub use scan::{Scanned, find_header, scan};

/// One message on the wire.
#[derive(Clone)]
pub struct Recorded {
    /// When it was received or sent.
    pub at: Timestamp,
    /// Sent by us; else received.
    pub sent: bool,
    /// Between whom.
    pub flow: Flow,
    /// Device or door at the other end; empty while nobody has authenticated.
    pub party: Arc<str>,
    bytes: Bytes,
}

impl Recorded {
    /// A message as it is on the wire.
    #[must_use]
    pub fn new(at: Timestamp, sent: bool, flow: Flow, party: Arc<str>, bytes: Bytes) -> Self {
        Recorded {
            at,
            sent,
            flow,
            party,
            bytes,
        }
    }

    /// Its text without credentials, digits, keys, names and numbers.
    #[must_use]
    pub fn redacted(&self) -> String {
        redacted(&self.bytes)
    }

    /// What can be read without parsing.
    #[must_use]
    pub fn scan(&self) -> Scanned<'_> {
        scan(&self.bytes)
    }

    /// The octets, for whoever was told to show them unredacted. Nothing but the HEP export with `redact = false` is.
    #[must_use]
    pub fn unredacted(&self) -> &Bytes {
        &self.bytes
    }
}

/// Messages hold names, numbers, credentials and codes: their length is shown.
impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("at", &self.at)
            .field("sent", &self.sent)
            .field("flow", &self.flow)
            .field("octets", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// The messages of one call, oldest first.
#[derive(Clone, Debug)]
pub struct Ladder {
    /// Call id of the server.
    pub call: Arc<str>,
    /// The call's INVITE arrived.
    pub started: Timestamp,
    /// The messages.
    pub messages: Vec<Recorded>,
    /// Messages not kept because the call had too many.
    pub dropped: u32,
    /// Somebody answered.
    pub answered: bool,
}

/// A message that passed the server, with the call it belongs to: told while [`crate::Input::Tap`] is on.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The message.
    pub message: Recorded,
    /// Call id of the server; `None` for what belongs to no call.
    pub call: Option<Arc<str>>,
}
