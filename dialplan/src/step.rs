//! What the plan tells the call to do next.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::directory::Redacted;
use crate::source::SourceRef;

/// The next thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Ring these members, then say how it went with [`crate::Run::next`].
    Ring(Ring),
    /// The route is over and nobody talks.
    End(End),
    /// Take over the call that rings, the longest-ringing first; when there is none, [`crate::Run::go_on`].
    Pickup {
        /// From any of these doors.
        doors: Vec<String>,
        /// Or ringing at any of these devices.
        devices: Vec<String>,
        /// Where the step stands in the plan.
        source: SourceRef,
    },
    /// A transferred call: lay it down in a free slot. A call of one's own: take up the one in the slot dialled. When
    /// its time is up, or there is none, [`crate::Run::go_on`].
    Park {
        /// The slots.
        slots: Slots,
        /// The slot that was dialled, if it was one.
        slot: Option<String>,
        /// How long a call stays there.
        for_: Duration,
        /// Where the step stands in the plan.
        source: SourceRef,
    },
    /// Hand the call to the stateful proxy; the plan is over.
    Proxy {
        /// Whom the dialled string named.
        target: Target,
    },
    /// A member answered and the plan has nothing more to say.
    Done,
}

/// One ring step with its members chosen and filtered.
#[derive(Debug, Clone, PartialEq)]
pub struct Ring {
    /// Whom to ring; never empty.
    pub members: Vec<Member>,
    /// One after the other in this order, each for its own `for_`; a member that is busy, declines
    /// or fails makes room for the next at once.
    pub serial: bool,
    /// The longest the step lasts.
    pub for_: Duration,
    /// A device of the set that registers while the step lasts joins it.
    pub join_late: bool,
    /// What the members are shown before they answer.
    pub preview: Preview,
    /// Name of the key map of the answering leg.
    pub keys: String,
    /// Ask the members' phones to answer by themselves.
    pub auto_answer: bool,
    /// Where the step stands in the plan.
    pub source: SourceRef,
    /// Members left out, and why: [`RingOutcome::Unreachable`] or [`RingOutcome::Blocked`].
    pub dropped: Vec<(String, RingOutcome)>,
}

/// The numbers that hold parked calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Slots {
    first: u32,
    last: u32,
    width: usize,
}

impl Slots {
    pub(crate) fn new(first: u32, last: u32, width: usize) -> Self {
        Self { first, last, width }
    }

    /// All of them in order, as they are dialled.
    pub fn iter(self) -> impl Iterator<Item = String> {
        (self.first..=self.last).map(move |slot| format!("{slot:0width$}", width = self.width))
    }

    /// Whether a dialled string is one.
    #[must_use]
    pub fn contains(self, dial: &str) -> bool {
        dial.len() == self.width
            && dial.bytes().all(|b| b.is_ascii_digit())
            && dial
                .parse()
                .is_ok_and(|slot: u32| (self.first..=self.last).contains(&slot))
    }
}

impl fmt::Display for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.width;
        write!(f, "{:0width$}", self.first)?;
        if self.last > self.first {
            write!(f, "-{:0width$}", self.last)?;
        }
        Ok(())
    }
}

/// What members are shown before they answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preview {
    /// Nothing.
    #[default]
    None,
    /// The door's picture.
    Video,
    /// The door's sound.
    Audio,
}

/// One device, door or number of a ring step.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// What people call it: `desk-1`, `anna.mobile`, a masked number.
    pub name: String,
    /// The word of the plan that brought it in: `desk`, `@unit`.
    pub selector: String,
    /// What to ring.
    pub target: Target,
    /// How long after the step began it starts to ring.
    pub after: Duration,
    /// How long it rings; `None` as long as the step lasts.
    pub for_: Option<Duration>,
    /// The digits that accept the call (trunk members).
    pub confirm: Option<String>,
    /// What an outcome of this member means; what is not listed means [`MemberRule::Stay`].
    pub on: Vec<(RingOutcome, MemberRule)>,
}

/// What the outcome of one member does to the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberRule {
    /// The others ring on.
    Stay,
    /// The step ends with that outcome.
    Next,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A SIP account.
    Device(String),
    /// A door's station.
    Door(String),
    /// A telephone number by the trunks named, in that order.
    Number {
        /// E.164.
        number: Redacted,
        /// Trunk names, tried in this order.
        via: Vec<String>,
    },
}

/// How a ring step, or one member of it, went. In the order in which a step's outcome is chosen
/// from those of its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RingOutcome {
    /// A member took the call.
    Answered,
    /// A person refused it.
    Declined,
    /// In another call.
    Busy,
    /// It rang to the end.
    NoAnswer,
    /// The wake-up could not be delivered.
    PushFailed,
    /// No binding, or the device did not react.
    Unreachable,
    /// Quiet hours.
    Blocked,
}

impl RingOutcome {
    /// All of them in order.
    pub const ALL: [Self; 7] = [
        Self::Answered,
        Self::Declined,
        Self::Busy,
        Self::NoAnswer,
        Self::PushFailed,
        Self::Unreachable,
        Self::Blocked,
    ];

    /// The word the plan uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Declined => "declined",
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::PushFailed => "push-failed",
            Self::Unreachable => "unreachable",
            Self::Blocked => "blocked",
        }
    }

    /// Reads the word the plan uses.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
    }
}

impl fmt::Display for RingOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a route ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Record a message (the call is answered for it).
    Message {
        /// Whose box: a unit id, or a name of the plan.
        mailbox: String,
    },
    /// Log the missed call.
    Log,
    /// Hang up.
    Hangup,
    /// Refuse as busy.
    Busy,
    /// Start the route again after `every` by [`crate::Run::retry`], which says `Log` once `up_to` has passed.
    Retry {
        /// The pause.
        every: Duration,
        /// Counted from the route's first step.
        up_to: Duration,
    },
    /// Hand the call to another destination.
    Transfer {
        /// The destination as the plan names it.
        to: String,
    },
}

impl End {
    /// The status an unanswered call is refused with (RFC 3261 section 21.4.18, 21.4.24).
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Busy => 486,
            Self::Message { .. }
            | Self::Log
            | Self::Hangup
            | Self::Retry { .. }
            | Self::Transfer { .. } => 480,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message { mailbox } => write!(f, "end message box {mailbox}"),
            Self::Log => f.write_str("end log"),
            Self::Hangup => f.write_str("end hangup"),
            Self::Busy => f.write_str("end busy"),
            Self::Retry { every, up_to } => {
                write!(
                    f,
                    "end retry every {} s up to {} s",
                    every.as_secs(),
                    up_to.as_secs()
                )
            }
            Self::Transfer { to } => write!(f, "end transfer to {to}"),
        }
    }
}

/// How urgent a route is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// An ordinary visit.
    #[default]
    Normal,
    /// Rings through quiet hours that except `high`.
    High,
    /// A lift's alarm: pre-empts quiet hours and call limits.
    Lift,
    /// An emergency call: pre-empts quiet hours and call limits.
    Emergency,
}
