//! A message as it is stored, sent to whoever asks, and shown: redacted.

use std::net::SocketAddr;

use intercom::ladder::{Ladder, Recorded, find_header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One message of a ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// When.
    pub at: Timestamp,
    /// By us; else received.
    pub sent: bool,
    /// `UDP`, `TCP`, `TLS`, `WS`, `WSS`.
    pub transport: String,
    /// Our address.
    pub local: SocketAddr,
    /// Theirs.
    pub remote: SocketAddr,
    /// Device or door at the other end; empty while nobody has authenticated.
    pub party: String,
    /// Such as `BYE` or `200 INVITE (SDP)`.
    pub summary: String,
    /// The message, redacted.
    pub text: String,
}

/// The messages of one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Call id of the server.
    pub call: String,
    /// Its INVITE arrived.
    pub started: Timestamp,
    /// Messages not kept because there were too many.
    pub dropped: u32,
    /// The messages, oldest first.
    pub rungs: Vec<Rung>,
}

impl Rung {
    /// Redacts a message.
    pub(crate) fn of(message: &Recorded) -> Self {
        let scanned = message.scan();
        let mut summary = match scanned.status {
            Some(status) => format!("{status} {}", scanned.cseq_method),
            None => scanned.method.unwrap_or("(no SIP)").to_owned(),
        };
        if scanned.has_body {
            let kind = find_header(message.unredacted(), "content-type", Some(b'c'));
            let sdp = kind.is_some_and(|kind| kind.starts_with("application/sdp"));
            summary.push_str(if sdp { " (SDP)" } else { " (body)" });
        }
        // A peer may name a method as long as a message.
        let summary = summary
            .chars()
            .filter(|c| !c.is_control())
            .take(40)
            .collect();
        Rung {
            at: message.at,
            sent: message.sent,
            transport: message.flow.transport.as_via().to_owned(),
            local: message.flow.local,
            remote: message.flow.remote,
            party: message.party.to_string(),
            summary,
            text: message.redacted(),
        }
    }

    /// Who sent it, who received it.
    pub(crate) fn ends(&self) -> (SocketAddr, SocketAddr) {
        if self.sent {
            (self.local, self.remote)
        } else {
            (self.remote, self.local)
        }
    }
}

impl Kept {
    /// Redacts a ladder.
    pub(crate) fn of(ladder: &Ladder) -> Self {
        Kept {
            call: ladder.call.to_string(),
            started: ladder.started,
            dropped: ladder.dropped,
            rungs: ladder.messages.iter().map(Rung::of).collect(),
        }
    }
}
