//! Response context: one request's branches and the answer chosen among theirs (RFC 3261 section 16.7).

use std::time::Instant;

use super::challenges;
use crate::endpoint::{self, ClientTx, ServerTx};
use crate::message::{HeaderName, Message, OutgoingResponse};
use crate::transaction::FailCause;

/// The Reason of a CANCEL to the branches that lost (RFC 3326).
const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

/// How one branch ended.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    Response(Message),
    Failed(FailCause),
}

impl Verdict {
    fn status(&self) -> u16 {
        match self {
            Self::Response(message) => message.status().unwrap_or(500),
            Self::Failed(cause) => cause.status(),
        }
    }

    /// Lower is better (16.7 step 6): 6xx before all, then the lowest class; within 4xx what the caller can act on
    /// first, and the mere absence of an answer last.
    fn rank(&self) -> (u16, u16) {
        match self.status() {
            status @ 600.. => (0, status),
            status @ (401 | 407 | 415 | 420 | 484) => (4, status - 400),
            408 => (4, 999),
            status => (status / 100, status),
        }
    }
}

/// What is to be answered.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Forward(Message, Vec<(HeaderName, String)>),
    Own(u16),
}

impl Answer {
    pub(super) fn into_input(self, tx: ServerTx) -> endpoint::Input {
        match self {
            Self::Forward(response, add) => endpoint::Input::ForwardResponse { tx, response, add },
            Self::Own(status) => endpoint::Input::Respond {
                tx,
                response: OutgoingResponse::new(status),
            },
        }
    }
}

/// What follows from a verdict.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) cancel: Vec<ClientTx>,
    pub(super) reason: Option<&'static str>,
    pub(super) answer: Option<Answer>,
}

/// Where the context stands.
#[derive(Debug)]
enum Phase {
    /// Branches are out; the final verdicts so far.
    Collecting(Vec<Verdict>),
    /// A 6xx or the caller's CANCEL ended it; the branches have yet to say so.
    Cancelling(Vec<Verdict>),
    /// A 2xx was passed back; further 2xx pass too.
    Accepted,
    /// Another final was passed back.
    Rejected,
}

/// The context.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) invite: bool,
    /// Timer C, or the end of lingering.
    pub(super) deadline: Option<Instant>,
    pub(super) lingering: bool,
    phase: Phase,
    /// Branches and whether they still owe a final.
    branches: Vec<(ClientTx, bool)>,
}

impl Context {
    pub(super) fn new(invite: bool, clients: Vec<ClientTx>) -> Self {
        Self {
            invite,
            deadline: None,
            lingering: false,
            phase: Phase::Collecting(Vec::new()),
            branches: clients.into_iter().map(|client| (client, true)).collect(),
        }
    }

    pub(super) fn clients(&self) -> impl Iterator<Item = ClientTx> + '_ {
        self.branches.iter().map(|(client, _)| *client)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.branches.iter().all(|(_, pending)| !pending)
    }

    pub(super) fn was_accepted(&self) -> bool {
        matches!(self.phase, Phase::Accepted)
    }

    fn pending(&self) -> Vec<ClientTx> {
        self.branches
            .iter()
            .filter(|(_, pending)| *pending)
            .map(|(client, _)| *client)
            .collect()
    }

    /// Whether a provisional is passed back (step 5): all but 100, until a final was.
    pub(super) fn provisional(&self, client: ClientTx, status: u16) -> bool {
        status > 100
            && self.branches.contains(&(client, true))
            && matches!(self.phase, Phase::Collecting(_) | Phase::Cancelling(_))
    }

    /// The caller's CANCEL, or timer C (16.10, 16.8): the branches to cancel.
    pub(super) fn cancel(&mut self) -> Vec<ClientTx> {
        if !self.invite {
            return Vec::new();
        }
        match std::mem::replace(&mut self.phase, Phase::Rejected) {
            Phase::Collecting(verdicts) => self.phase = Phase::Cancelling(verdicts),
            other => {
                self.phase = other;
                return Vec::new();
            }
        }
        self.pending()
    }

    /// A branch's final response or failure.
    pub(super) fn verdict(&mut self, client: ClientTx, verdict: Verdict) -> Step {
        let status = verdict.status();
        let Some(branch) = self
            .branches
            .iter_mut()
            .find(|(branch, _)| *branch == client)
        else {
            return Step::default();
        };
        let first = std::mem::replace(&mut branch.1, false);
        let success = (200..300).contains(&status);
        match std::mem::replace(&mut self.phase, Phase::Rejected) {
            Phase::Collecting(_) | Phase::Cancelling(_) if success => {
                self.phase = Phase::Accepted;
                let cancel = if self.invite {
                    self.pending()
                } else {
                    Vec::new()
                };
                Step {
                    cancel,
                    reason: Some(ELSEWHERE),
                    answer: passed_on(verdict),
                }
            }
            Phase::Accepted => {
                self.phase = Phase::Accepted;
                let answer = if success && self.invite {
                    passed_on(verdict)
                } else {
                    None
                };
                Step {
                    answer,
                    ..Step::default()
                }
            }
            Phase::Collecting(mut verdicts) if first => {
                verdicts.push(verdict);
                let cancel = if status >= 600 && self.invite {
                    self.pending()
                } else {
                    Vec::new()
                };
                self.phase = if status >= 600 {
                    Phase::Cancelling(verdicts)
                } else {
                    Phase::Collecting(verdicts)
                };
                Step {
                    cancel,
                    answer: self.best(),
                    ..Step::default()
                }
            }
            Phase::Cancelling(mut verdicts) if first => {
                verdicts.push(verdict);
                self.phase = Phase::Cancelling(verdicts);
                Step {
                    answer: self.best(),
                    ..Step::default()
                }
            }
            phase => {
                self.phase = phase;
                Step::default()
            }
        }
    }

    /// Step 6, once every branch has answered.
    fn best(&mut self) -> Option<Answer> {
        if !self.is_settled() {
            return None;
        }
        let (Phase::Collecting(verdicts) | Phase::Cancelling(verdicts)) =
            std::mem::replace(&mut self.phase, Phase::Rejected)
        else {
            return None;
        };
        let best = verdicts
            .iter()
            .enumerate()
            .min_by_key(|(_, verdict)| verdict.rank())
            .map(|(at, _)| at)?;
        let mut add = Vec::new();
        if matches!(verdicts.get(best).map(Verdict::status), Some(401 | 407)) {
            for (at, verdict) in verdicts.iter().enumerate() {
                if let Verdict::Response(message) = verdict
                    && at != best
                    && matches!(message.status(), Some(401 | 407))
                {
                    add.extend(challenges(message));
                }
            }
        }
        match verdicts.into_iter().nth(best)? {
            // One target's overload is not ours: 503 would turn the caller away from this proxy.
            Verdict::Response(message) if message.status() == Some(503) => Some(Answer::Own(500)),
            Verdict::Failed(FailCause::Transport) => Some(Answer::Own(500)),
            Verdict::Failed(FailCause::Timeout) => Some(Answer::Own(408)),
            Verdict::Response(message) => Some(Answer::Forward(message, add)),
        }
    }
}

fn passed_on(verdict: Verdict) -> Option<Answer> {
    match verdict {
        Verdict::Response(message) => Some(Answer::Forward(message, Vec::new())),
        Verdict::Failed(_) => None,
    }
}
