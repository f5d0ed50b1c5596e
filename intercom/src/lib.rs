//! Carries each call from the door to an opened relay or a refusal: a B2BUA that follows the plan, checks every unlock
//! by policy, and says what it did in a log that cannot be changed unseen.
//!
//! ```text
//!   datagrams ─► sip_proxy::Endpoint ─► B2bua ─┬─► Registrar, Location        (who is where)
//!                                              ├─► Call ─► Fork ─► Branch …   (who rings, who wins)
//!                                              │     └─► Leg: Dialog + Negotiation ─► Media commands ─► workers
//!                                              └─► Unlocks ─► Record ─► disk ─► Recorded ─► OpenRelay ─► relay
//! ```
//!
//! Deliberately absent: sockets, clocks, files, threads, SQL, HTTP; any reading of SDP (only `media-bridge` does that);
//! any identity taken from a `From` header; any header passed from one side of a call to the other; any way to a relay
//! that does not pass a committed record.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod audit;
pub mod b2bua;
pub mod buzz;
mod call;
pub mod cdr;
pub mod config;
pub mod event;
mod happening;
pub mod ladder;
pub mod lease;
mod penalty;
pub mod profile;
pub mod reach;
mod site;
pub mod story;
mod transactions;
pub mod unlock;

use std::time::Instant;

pub use accounts::{Account, Accounts};
pub use b2bua::{B2bua, Counters, EventCounters, Input, Notice, Output, Outputs, Reading};
pub use cdr::{Cdr, Destination, EndReason};
pub use config::Config;
pub use happening::SiteEvent;
pub use ladder::{Heard, Ladder};
pub use profile::StationProfile;
pub use story::Story;

/// The two clocks, read together by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic: timers, SIP, media.
    pub mono: Instant,
    /// Civil: calendars, records.
    pub civil: jiff::Timestamp,
}
