//! A branch: one INVITE of ours to one contact of one device, until its final response.

use dialplan::RingOutcome;
use sip_proxy::{ClientTx, FailCause, Flow, Message, OutgoingRequest};

use super::call::{Call, Phase};
use super::confirm::Confirm;
use super::early::Early;
use super::leg::Leg;
use super::redirect::Diverted;
use crate::Now;
use crate::cdr::EndReason;
use crate::site::Site;
use crate::story::Line;

/// Where a branch stands. A device of the step that has no contact yet is no branch: it waits in the fork
/// (`Fork::waiting`) and is registered, then invited, when its REGISTER comes.
#[derive(Debug)]
pub(crate) enum BranchState {
    /// INVITE sent.
    Invited,
    /// It rings.
    Ringing,
    /// It rings and one of its early dialogs has given SDP.
    Preview,
    /// Answered privately: who took it must say so by a digit before it wins.
    Answered(Box<Confirm>),
    /// Over for the fork, and why: goes into the CANCEL, and into the BYE of an answer that comes all the same. The final
    /// response is still owed.
    Ended(&'static str),
    /// Nothing is owed any more: taken away after this input.
    Gone,
}

/// What a branch leads to.
#[derive(Debug)]
pub(crate) enum BranchKind {
    /// A device or station of the house.
    Device,
    /// A telephone, through a trunk. What it plays before it answers is never heard at the door.
    Trunk(Box<super::trunk::TrunkBranch>),
}

/// A branch. It lives until its final response, even when the call has long gone on.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) leg: Leg,
    pub(crate) kind: BranchKind,
    /// The ring step and member it belongs to.
    pub(crate) step: u32,
    pub(crate) member: usize,
    pub(crate) tx: ClientTx,
    pub(crate) request: Box<OutgoingRequest>,
    pub(crate) state: BranchState,
    /// Its early dialogs, one a To tag: a proxy behind the contact may fork. Bounded by [`super::early::MAX_EARLY`].
    pub(crate) earlies: Vec<Early>,
    /// The phones that sent the call on to here.
    pub(crate) diverted: Option<Box<Diverted>>,
    /// Min-SE a 422 asked for; 0: none did.
    pub(crate) min_se: u32,
    /// The user agent it goes to, as in [`crate::site::Target::key`].
    pub(crate) key: String,
    /// Flows to it that failed before this one. Bounded by the contacts an account may have.
    pub(crate) tried: Vec<Flow>,
}

/// Losing branches whose contact may still bring answers of further devices; those of more are not hung up by us, and
/// give up by themselves after 64·T1 without an ACK.
const MAX_LOST: usize = 32;
/// The losers of a race.
pub(crate) const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";
/// The step ended, or the caller went.
pub(crate) const GIVEN_UP: &str = "SIP;cause=487;text=\"Call given up\"";

/// What a final refusal says about the member (the closed set of the plan language).
pub(crate) fn outcome_of(status: u16) -> RingOutcome {
    match status {
        486 | 600 => RingOutcome::Busy,
        603 | 607 | 608 => RingOutcome::Declined,
        // It wants the call elsewhere, where the plan does not let it go.
        300..=399 => RingOutcome::Declined,
        // 604 (nowhere) and 606 (media refused) are about the device, not about a person's wish.
        604 | 606 => RingOutcome::Unreachable,
        601..=699 => RingOutcome::Declined,
        _ => RingOutcome::Unreachable,
    }
}

impl Branch {
    /// Whether it can still win.
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.state, BranchState::Ended(_) | BranchState::Gone)
    }

    /// Whether it rings, or rang and was answered.
    pub(crate) fn rang(&self) -> bool {
        matches!(
            self.state,
            BranchState::Ringing | BranchState::Preview | BranchState::Answered(_)
        )
    }
}

impl Call {
    /// A response to the INVITE of branch `at`.
    pub(crate) fn branch_response(
        &mut self,
        site: &mut Site,
        now: Now,
        at: usize,
        message: &Message,
    ) {
        let status = message.status().unwrap_or(0);
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        if status == 100 {
            return;
        }
        let from = branch.leg.party.device.clone();
        let live = branch.is_live();
        self.note(
            now,
            Line::In {
                from,
                what: super::call::summary(message),
            },
        );
        match status {
            101..=199 => self.branch_provisional(site, now, at, message),
            200..=299 => {
                let current = matches!(self.phase, Phase::Ringing(_));
                if live && current {
                    self.branch_answered(site, now, at, message);
                } else {
                    let branch = self.branches.swap_remove(at);
                    self.lose(site, now, branch, message);
                }
            }
            422 if live && self.reoffer_timer(site, now, at, message) => {}
            // RFC 5626 §5.3: the edge proxy has lost the flow; the device may have another.
            430 if self.next_flow(site, now, at) => {}
            300..=399 if live && self.redirected(site, now, at, message) => {}
            _ => self.branch_over(site, now, at, outcome_of(status)),
        }
    }

    /// A 2xx of a branch that can win.
    fn branch_answered(&mut self, site: &mut Site, now: Now, at: usize, message: &Message) {
        match self.branches.get(at).map(|branch| &branch.state) {
            // Another device behind the contact of one that is asked to confirm.
            Some(BranchState::Answered(_)) => {
                let tx = self.branches.get(at).map(|branch| branch.tx);
                if let Some(tx) = tx {
                    self.ack_stray(site, tx, message);
                }
            }
            _ => self.win(site, now, at, message),
        }
    }

    /// 422: the INVITE once more with the interval asked for (RFC 4028 §7.3).
    fn reoffer_timer(&mut self, site: &mut Site, now: Now, at: usize, message: &Message) -> bool {
        let tx = self.take_tx();
        let Some(branch) = self.branches.get_mut(at) else {
            return false;
        };
        let policy = site.config.session;
        let before = branch.min_se.max(policy.min());
        let Some(min) = sip_proxy::session_timer::raise(before, message) else {
            return false;
        };
        let Some(fields) = policy.fields(min) else {
            return false;
        };
        branch.min_se = min;
        branch.tx = tx;
        branch.request.cseq += 1;
        branch
            .request
            .headers
            .retain(|(name, _)| !fields.iter().any(|(field, _)| field == name));
        branch.request.headers.extend(fields);
        let request = (*branch.request).clone();
        let to = branch.leg.flow;
        let device = branch.leg.party.device.clone();
        site.sip(sip_proxy::Input::Request { tx, request, to });
        self.note(
            now,
            Line::Out {
                to: device,
                what: "INVITE (SDP)".to_owned(),
            },
        );
        true
    }

    /// The INVITE of branch `at` came to nothing.
    pub(crate) fn branch_failed(&mut self, site: &mut Site, now: Now, at: usize, cause: FailCause) {
        let Some(branch) = self.branches.get(at) else {
            return;
        };
        let device = branch.leg.party.device.clone();
        self.note(
            now,
            Line::Call(format!("{device}: no response ({cause:?})")),
        );
        if self.next_flow(site, now, at) {
            return;
        }
        self.branch_over(site, now, at, RingOutcome::Unreachable);
    }

    /// Removes a branch and tells the fork.
    pub(crate) fn branch_over(
        &mut self,
        site: &mut Site,
        now: Now,
        at: usize,
        outcome: RingOutcome,
    ) {
        let mut branch = self.branches.swap_remove(at);
        branch.leg.close_media(site);
        if branch.is_live() {
            self.member_lost(site, now, branch.step, branch.member, outcome);
        }
    }

    /// ACKs a 2xx that cannot win and hangs up.
    pub(crate) fn lose(
        &mut self,
        site: &mut Site,
        now: Now,
        mut branch: Branch,
        message: &Message,
    ) {
        branch.leg.close_media(site);
        let reason = match branch.state {
            BranchState::Ended(reason) => reason,
            _ => ELSEWHERE,
        };
        if self.lost.len() < MAX_LOST {
            self.lost.push((branch.leg.index, branch.leg.flow));
        }
        let Ok(dialog) = branch.confirmed(message) else {
            return;
        };
        branch.take_near_hop(site, &dialog);
        site.sip(sip_proxy::Input::Ack {
            request: dialog.ack(message.cseq()),
            to: branch.leg.flow,
            invite: branch.tx,
        });
        branch.leg.dialog = Some(dialog);
        let to = branch.leg.party.device.clone();
        self.note(
            now,
            Line::Out {
                to,
                what: "ACK".to_owned(),
            },
        );
        self.bye(site, now, &mut branch.leg, Some(reason));
    }

    /// Cancels branch `at`; its final response is awaited all the same.
    pub(crate) fn cancel_branch(
        &mut self,
        site: &mut Site,
        now: Now,
        at: usize,
        reason: &'static str,
    ) {
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        if !branch.is_live() {
            return;
        }
        branch.leg.close_media(site);
        if matches!(branch.state, BranchState::Answered(_)) {
            return self.hang_up_private(site, now, at, reason);
        }
        branch.state = BranchState::Ended(reason);
        let to = branch.leg.party.device.clone();
        site.sip(sip_proxy::Input::Cancel {
            tx: branch.tx,
            reason: Some(reason.to_owned()),
        });
        self.note(
            now,
            Line::Out {
                to,
                what: "CANCEL".to_owned(),
            },
        );
    }

    /// Stops ringing whoever has no account any more.
    pub(crate) fn cancel_revoked(&mut self, site: &mut Site, now: Now) {
        for at in 0..self.branches.len() {
            let Some(branch) = self.branches.get(at) else {
                break;
            };
            let stays = site.party(&branch.leg.party.user).as_ref() == Some(&branch.leg.party);
            if stays || !branch.is_live() {
                continue;
            }
            let (step, member) = (branch.step, branch.member);
            self.cancel_branch(site, now, at, EndReason::Revoked.header());
            self.member_lost(site, now, step, member, RingOutcome::Unreachable);
        }
    }

    /// Cancels all live branches.
    pub(crate) fn cancel_branches(&mut self, site: &mut Site, now: Now, reason: &'static str) {
        for at in 0..self.branches.len() {
            self.cancel_branch(site, now, at, reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_map_to_the_plan_s_words() {
        for (status, outcome) in [
            (486, RingOutcome::Busy),
            (600, RingOutcome::Busy),
            (603, RingOutcome::Declined),
            (699, RingOutcome::Declined),
            (606, RingOutcome::Unreachable),
            (404, RingOutcome::Unreachable),
            (480, RingOutcome::Unreachable),
            (408, RingOutcome::Unreachable),
            (503, RingOutcome::Unreachable),
            (302, RingOutcome::Declined),
        ] {
            assert_eq!(outcome_of(status), outcome, "{status}");
        }
    }
}
