//! The call detail record: one per call that got past authentication.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// The caller hung up.
    CallerHungUp,
    /// The callee hung up.
    CalleeHungUp,
    /// The caller gave up before the answer (CANCEL, or its flow went).
    CallerCancelled,
    /// The plan came to its end without an answer.
    NotAnswered,
    /// Everyone was busy.
    Busy,
    /// The plan knows no route.
    NoRoute,
    /// A limit on calls or duration.
    Limit,
    /// No media came for too long.
    MediaSilent,
    /// A peer no longer knows the dialog, or does not answer.
    PeerGone,
    /// Offer and answer did not meet.
    MediaRefused,
    /// No media port was free.
    NoLease,
    /// A party of the call lost its account.
    Revoked,
    /// The server is shutting down.
    Shutdown,
}

impl EndReason {
    /// The word used in the record and the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EndReason::CallerHungUp => "caller-hung-up",
            EndReason::CalleeHungUp => "callee-hung-up",
            EndReason::CallerCancelled => "caller-cancelled",
            EndReason::NotAnswered => "not-answered",
            EndReason::Busy => "busy",
            EndReason::NoRoute => "no-route",
            EndReason::Limit => "limit",
            EndReason::MediaSilent => "media-silent",
            EndReason::PeerGone => "peer-gone",
            EndReason::MediaRefused => "media-refused",
            EndReason::NoLease => "no-lease",
            EndReason::Revoked => "revoked",
            EndReason::Shutdown => "shutdown",
        }
    }
}

/// A leg's part in the record.
#[derive(Clone, Debug, Serialize)]
pub struct CdrLeg {
    /// Device id.
    pub device: String,
    /// Codec agreed.
    pub codec: Option<String>,
    /// Packets from and to the device.
    pub packets_in: u64,
    /// See `packets_in`.
    pub packets_out: u64,
    /// Packets lost on the way to us.
    pub lost: u64,
    /// Packets from a source other than the locked one.
    pub foreign: u64,
}

/// One line of the step trace.
#[derive(Clone, Debug, Serialize)]
pub struct CdrStep {
    /// Since the INVITE.
    pub at: Duration,
    /// In the words of `explain`.
    pub what: String,
    /// `plan.kdl:12`.
    pub source: String,
}

/// The record.
#[derive(Clone, Debug, Serialize)]
pub struct Cdr {
    /// Call id of the server.
    pub call: String,
    /// The caller's device.
    pub caller: String,
    /// The caller's door, when it is one.
    pub door: Option<String>,
    /// What was dialled, as a class-free string; `None` for numbers.
    pub dialled: Option<String>,
    /// Route name.
    pub route: Option<String>,
    /// Plan version the call began with.
    pub plan: String,
    /// Device that answered.
    pub winner: Option<String>,
    /// INVITE arrived.
    pub started: Timestamp,
    /// INVITE in to first INVITE out.
    pub routed_after: Option<Duration>,
    /// First ringing.
    pub rang_after: Option<Duration>,
    /// Answer.
    pub answered_after: Option<Duration>,
    /// End.
    pub ended_after: Duration,
    /// Why.
    pub end: EndReason,
    /// Final status to the caller.
    pub status: u16,
    /// Intents made in the call.
    pub unlocks: u32,
    /// Caller's leg and the winner's.
    pub legs: Vec<CdrLeg>,
    /// The walk through the plan.
    pub steps: Vec<CdrStep>,
}
