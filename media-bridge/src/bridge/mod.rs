//! The top machine: legs opened, latched, joined packet by packet, and closed.
//!
//! ```text
//!               ┌───────────────────────── Bridge (one per worker) ─────────────────────────┐
//!  Packet(A) ─► │ latch ─► source ─┬─ audio ─► relay (renumber in place) ──► splice of B ─► │ ─► Send(B)
//!               │  (whose?) (which │           or transcode (decode, encode)       ▲        │
//!               │           SSRC?) └─ event ─► RFC 4733 receiver ─► Event::Digit   │        │ ─► Event
//!  Timeout   ─► │ deadlines ─► tones and prompts, digits out, reports ─────────────┘        │
//!               └───────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The splice is the one place that writes a leg's SSRC, sequence number and timestamp; whatever feeds it
//! (the partner, a tone, digits) the peer sees one stream without a jump. No clock drives live audio: it
//! leaves in the wake-up in which it came. Only what has no packet to drive it — tones, digits, reports — has deadlines.
//!
//! Deliberately absent: a jitter buffer (the receiving phone has one), locks, and allocation per packet.

mod commands;
mod deadlines;
mod latch;
mod leg;
mod legs;
mod outputs;
mod packets;
mod play;
mod reports;
mod silence;
mod source;
mod splice;
mod transcode;
mod wakeups;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::codec::Rate;
use crate::leg::{Command, Component, LegId};

pub use outputs::{Output, Outputs};

/// A recording that can be played as [`Tone::Prompt`](crate::leg::Tone::Prompt).
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Sample rate; 8 or 16 kHz is what telephones can use.
    pub rate: Rate,
    /// Mono samples.
    pub pcm: Arc<[i16]>,
}

/// What a bridge is given once.
#[derive(Clone, Debug)]
pub struct BridgeConfig {
    /// Legs at most; an `Open` beyond it is answered by `Closed` at once.
    pub max_legs: usize,
    /// `Silent` is reported when a peer that should send was not heard for this long.
    pub silent_after: Duration,
    /// Mean distance of two RTCP reports of a leg; each is drawn from 0.5 to 1.5 times it (RFC 3550 §6.3.1).
    pub report_interval: Duration,
    /// Send `Stats` with every report.
    pub interim_stats: bool,
    /// Recordings by name.
    pub prompts: Arc<BTreeMap<Arc<str>, Prompt>>,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self {
            max_legs: 4_000,
            silent_after: Duration::from_secs(30),
            report_interval: Duration::from_secs(5),
            interim_stats: false,
            prompts: Arc::default(),
        }
    }
}

/// What happens to a bridge.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram came in on a leg's socket. The buffer is rewritten in place when it is relayed.
    Packet {
        /// Whose socket.
        leg: LegId,
        /// Which of its two.
        component: Component,
        /// Source address.
        from: SocketAddr,
        /// The datagram.
        bytes: &'a mut [u8],
    },
    /// Signalling wants something.
    Command(Command),
    /// The instant told by [`Bridge::next_timeout`] has come. Early or needless ones do no harm.
    Timeout,
}

/// What the bridge as a whole refused; per-leg counts are in [`LegStats`](crate::leg::LegStats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets for a leg that is not (or no longer) open.
    pub unknown_leg: u64,
    /// Commands naming a leg that is not open.
    pub misdirected_commands: u64,
    /// Legs refused because the table was full.
    pub refused_full: u64,
    /// Pairs that cannot be carried: a clear channel between two codecs.
    pub refused_pairs: u64,
}

/// Joins legs. See the module's picture.
pub struct Bridge {
    config: BridgeConfig,
    rng: Box<dyn rand::Rng + Send>,
    counters: Counters,
    legs: legs::Legs,
    deadlines: deadlines::Deadlines,
    buffers: outputs::Buffers,
    /// Room for one frame of a tone: 60 ms at 48 kHz.
    pcm: Box<[i16]>,
    /// The last feed named.
    feeds: u64,
    /// Zero of RTCP's NTP time and of arrival times: the first instant seen.
    origin: Option<Instant>,
}

/// A worker thread owns its bridge.
const _: fn() = || {
    fn sendable<T: Send>() {}
    sendable::<Bridge>();
};

impl std::fmt::Debug for Bridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bridge")
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Bridge {
    /// An empty bridge. `rng` gives SSRCs, first sequence numbers and timestamps, and report times;
    #[must_use]
    pub fn new(config: BridgeConfig, rng: Box<dyn rand::Rng + Send>) -> Self {
        Self {
            legs: legs::Legs::new(config.max_legs),
            config,
            rng,
            counters: Counters::default(),
            deadlines: deadlines::Deadlines::default(),
            buffers: outputs::Buffers::default(),
            pcm: vec![0; 60 * 48].into_boxed_slice(),
            feeds: 0,
            origin: None,
        }
    }

    /// Takes one input; what follows from it must be drained before the next.
    pub fn handle<'a>(&'a mut self, now: Instant, input: Input<'a>) -> Outputs<'a> {
        self.buffers.clear();
        self.origin.get_or_insert(now);
        match input {
            Input::Packet {
                leg,
                component,
                from,
                bytes,
            } => {
                self.packet(now, leg, component, from, bytes);
                self.buffers.drain(bytes)
            }
            Input::Command(command) => {
                self.command(now, command);
                self.buffers.drain(&[])
            }
            Input::Timeout => {
                self.timeout(now);
                self.buffers.drain(&[])
            }
        }
    }

    /// Time since the first input.
    fn age(&self, now: Instant) -> Duration {
        self.origin.map_or(Duration::ZERO, |origin| {
            now.saturating_duration_since(origin)
        })
    }

    /// When [`Input::Timeout`] is due next; `None` while no leg is open. May be earlier than needed, and may have
    /// passed when more legs were due than one timeout looks after.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// What was refused so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Legs open.
    #[must_use]
    pub fn open_legs(&self) -> usize {
        self.legs.len()
    }

    /// A leg's counts so far.
    #[must_use]
    pub fn stats(&self, leg: LegId) -> Option<crate::leg::LegStats> {
        self.legs.get(self.legs.index(leg)?).map(leg::Leg::stats)
    }
}
