//! What goes into the pipeline and what comes out of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use dialplan::{Actor, DriverKind, LegState, Method};
use sip_proxy::ServerTx;

use super::IntentId;
use crate::audit::Record;
use crate::buzz::BuzzResult;

/// What the wish to open was recognised by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A key of the plan's key map, by RFC 4733 or INFO, on the actor's own joined leg.
    Digit(char),
    /// An authenticated `Action: buzz`.
    Buzz,
    /// The HTTP API.
    Api,
}

impl Evidence {
    /// The word used in the log.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Digit(_) => "digit",
            Self::Buzz => "action-buzz",
            Self::Api => "api",
        }
    }
}

/// A wish to open a door: who, what, by which way. The caller has authenticated the actor; nothing here comes from a
/// header that anybody could write.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whose rights count.
    pub actor: Actor,
    /// The actor as the log names it, `device:desk-1`.
    pub who: String,
    /// The door.
    pub door: String,
    /// The output; `None` is the door's first.
    pub output: Option<String>,
    /// By which way.
    pub method: Method,
    /// The actor's relation to the door at this moment.
    pub leg: LegState,
    /// The call it came in, if any.
    pub call: Option<String>,
    /// Signalling address of the leg.
    pub address: Option<String>,
    /// What it was recognised by.
    pub evidence: Evidence,
    /// The request to answer when it is decided; digits have none.
    pub reply: Option<ServerTx>,
    /// The key asks for a second press even if the output does not.
    pub two_step: bool,
}

/// One driver of an output's chain, to be tried now. Debug leaves out the values of the options: codes are among them.
#[derive(Clone, PartialEq, Eq)]
pub struct Drive {
    /// The intent it serves.
    pub intent: IntentId,
    /// Which try; given back with the outcome, so that a late one is recognised.
    pub attempt: u8,
    /// The door.
    pub door: String,
    /// The output.
    pub output: String,
    /// By what.
    pub driver: DriverKind,
    /// The output's own settings from the plan (`switch`, `code` …).
    pub options: BTreeMap<String, String>,
    /// How long the relay is held.
    pub pulse: Duration,
    /// The call whose legs a driver may use.
    pub call: Option<String>,
    /// After this long the attempt counts as timed out.
    pub timeout: Duration,
}

impl fmt::Debug for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drive")
            .field("intent", &self.intent)
            .field("attempt", &self.attempt)
            .field("door", &self.door)
            .field("output", &self.output)
            .field("driver", &self.driver)
            .field("options", &self.options.keys())
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

/// What a driver says of its attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The station acknowledged.
    Opened,
    /// The station was told; it acknowledges nothing.
    Sent,
    /// The station answered, but not with success.
    Refused(String),
    /// The station could not be reached.
    Unreachable(String),
    /// No answer in time.
    TimedOut,
}

/// A request's end.
#[derive(Clone, Debug)]
pub struct Done {
    /// The request, with whom to answer.
    pub request: Request,
    /// The output concerned, where one was found.
    pub output: Option<String>,
    /// The intent, if it was granted.
    pub intent: Option<IntentId>,
    /// What became of it.
    pub result: BuzzResult,
    /// The rule that decided, `plan.kdl:12`.
    pub rule: Option<String>,
    /// The driver that acted last.
    pub driver: Option<&'static str>,
    /// Why, in words, for the call story.
    pub detail: Option<String>,
    /// From the request to its end.
    pub latency: Duration,
}

/// What the pipeline wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Commit this record.
    Record(Record),
    /// Try this driver. Emitted only after the commit of the granted record.
    Drive(Drive),
    /// Ask the actor to press again (two-step).
    Again {
        /// The first request.
        request: Request,
    },
    /// The request has its answer.
    Done(Box<Done>),
}
