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
    /// A session timer ran out: nobody refreshed it.
    SessionExpired,
    /// Offer and answer did not meet.
    MediaRefused,
    /// No media port was free.
    NoLease,
    /// A party of the call lost its account.
    Revoked,
    /// The server is shutting down.
    Shutdown,
    /// It went on in another call: picked up, taken up, or transferred.
    Transferred,
    /// What it asked for was refused.
    Refused,
}

impl EndReason {
    /// All of them.
    pub const ALL: [EndReason; 16] = [
        EndReason::CallerHungUp,
        EndReason::CalleeHungUp,
        EndReason::CallerCancelled,
        EndReason::NotAnswered,
        EndReason::Busy,
        EndReason::NoRoute,
        EndReason::Limit,
        EndReason::MediaSilent,
        EndReason::PeerGone,
        EndReason::SessionExpired,
        EndReason::MediaRefused,
        EndReason::NoLease,
        EndReason::Revoked,
        EndReason::Shutdown,
        EndReason::Transferred,
        EndReason::Refused,
    ];

    /// What the call story says.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            EndReason::CallerHungUp => "the caller hung up",
            EndReason::CalleeHungUp => "the called side hung up",
            EndReason::CallerCancelled => "the caller gave up before an answer",
            EndReason::NotAnswered => "nobody answered",
            EndReason::Busy => "everybody was busy",
            EndReason::NoRoute => "the plan has no route for it",
            EndReason::Limit => "it reached a limit on calls or their length",
            EndReason::MediaSilent => "no sound came from one side any more",
            EndReason::PeerGone => "one side did not answer any more",
            EndReason::SessionExpired => "one side did not refresh its session any more",
            EndReason::MediaRefused => "its media, extensions or hops could not be served",
            EndReason::NoLease => "no media port was free",
            EndReason::Revoked => "an account in it was revoked",
            EndReason::Shutdown => "the server stops",
            EndReason::Transferred => "it went on in another call",
            EndReason::Refused => "what it asked for was refused",
        }
    }

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
            EndReason::SessionExpired => "session-expired",
            EndReason::MediaRefused => "media-refused",
            EndReason::NoLease => "no-lease",
            EndReason::Revoked => "revoked",
            EndReason::Shutdown => "shutdown",
            EndReason::Transferred => "transferred",
            EndReason::Refused => "refused",
        }
    }
}

/// What kind of thing was dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Destination {
    /// A unit.
    Unit,
    /// A desk.
    Desk,
    /// A door.
    Door,
    /// A device or a person.
    Device,
    /// A telephone number.
    Number,
    /// Something the plan alone knows.
    Other,
}

impl Destination {
    /// As in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Destination::Unit => "unit",
            Destination::Desk => "desk",
            Destination::Door => "door",
            Destination::Device => "device",
            Destination::Number => "number",
            Destination::Other => "other",
        }
    }

    /// By plan and directory as they are.
    pub(crate) fn of(dial: &str, plan: &dialplan::Plan, directory: &dialplan::Directory) -> Self {
        if directory.unit(dial).is_some() {
            Destination::Unit
        } else if plan.desk(dial).is_some() {
            Destination::Desk
        } else if plan.door(dial).is_some() {
            Destination::Door
        } else if directory.device(dial).is_some() || directory.person(dial).is_some() {
            Destination::Device
        } else if !crate::story::is_name(dial) {
            Destination::Number
        } else {
            Destination::Other
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
    /// What kind of thing was dialled.
    pub destination: Destination,
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
    /// Cause (RFC 3326): of the side that ended it where it said one, else ours. `Q.850;cause=16`.
    pub cause: Option<String>,
    /// Intents made in the call.
    pub unlocks: u32,
    /// Caller's leg and the winner's.
    pub legs: Vec<CdrLeg>,
    /// The walk through the plan.
    pub steps: Vec<CdrStep>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_words_of_its_own_and_a_machine_form_as_in_the_record() {
        let words: std::collections::BTreeSet<_> =
            EndReason::ALL.iter().map(|reason| reason.words()).collect();
        assert_eq!(words.len(), EndReason::ALL.len());
        for reason in EndReason::ALL {
            let written = serde_json::to_string(&reason).unwrap();
            assert_eq!(written, format!("\"{}\"", reason.as_str()));
            assert!(!reason.words().contains('-'));
        }
    }
}
