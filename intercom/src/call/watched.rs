//! A call as those see it who watch its doors, desks and phones (RFC 4235).

use sha2::{Digest, Sha256};

use super::branch::BranchState;
use super::call::{Call, Phase};
use super::leg::Leg;
use crate::event::dialog_info::DialogState;

/// A leg and what a watcher may be told of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched<'a> {
    pub(crate) leg: &'a Leg,
    pub(crate) state: DialogState,
    /// This side made the call.
    pub(crate) initiator: bool,
}

/// A dialog as it is shown to watchers, and named by their Replaces (RFC 3891): names of our own, good for taking the call
/// over and for nothing else. The real Call-ID and tags would let whoever shares the phone's address speak in its dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) call_id: String,
    /// The watched phone's tag.
    pub(crate) local_tag: String,
    /// Ours: names call and leg like every tag of ours, see [`super::parse_tag`].
    pub(crate) remote_tag: String,
}

impl Call {
    /// The legs that ring or talk now, the caller's first.
    pub(crate) fn watched(&self) -> impl Iterator<Item = Watched<'_>> {
        let over = matches!(self.phase, Phase::Ending);
        let waits = if self.is_established() {
            DialogState::Confirmed
        } else if self.times.rang.is_some() {
            DialogState::Early
        } else {
            DialogState::Trying
        };
        let established = self.established().map(move |leg| Watched {
            leg,
            state: waits,
            initiator: leg.index == 0,
        });
        let branches = self.branches.iter().filter_map(|branch| {
            let state = match branch.state {
                BranchState::Invited => DialogState::Trying,
                // Answered privately, until the digit: for everybody else it still rings.
                BranchState::Ringing | BranchState::Preview | BranchState::Answered(_) => {
                    DialogState::Early
                }
                BranchState::Ended(_) | BranchState::Gone => return None,
            };
            Some(Watched {
                leg: &branch.leg,
                state,
                initiator: false,
            })
        });
        established.chain(branches).filter(move |_| !over)
    }

    /// Whether a Replaces header names this leg's dialog as it is shown; the tag that is ours first.
    pub(super) fn is_shown_as(&self, leg: &Leg, call_id: &str, ours: &str, theirs: &str) -> bool {
        // What is shown is made of digits of its own: the costly comparison is for those that look like it.
        if !call_id.ends_with(&self.id) {
            return false;
        }
        let shown = self.shown(leg);
        shown.call_id == call_id && shown.remote_tag == ours && shown.local_tag == theirs
    }

    /// How a leg's dialog is shown to watchers.
    pub(crate) fn shown(&self, leg: &Leg) -> Shown {
        let name = |what: &str| {
            let mut hash = Sha256::new();
            for part in [what, self.id.as_str(), leg.local_tag.as_str()] {
                hash.update(part.as_bytes());
                hash.update([0]);
            }
            hash.finalize()
                .iter()
                .take(8)
                .fold(0, |all, byte| (all << 8) | u64::from(*byte))
        };
        Shown {
            call_id: format!("{:016x}-{}", name("call-id"), self.id),
            local_tag: format!("{:016x}", name("local-tag")),
            remote_tag: super::tag(self.number, leg.index, name("remote-tag")),
        }
    }
}
