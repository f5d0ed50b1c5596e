//! A branch: one INVITE of ours to one contact of one device, until its final response.

use bytes::Bytes;
use dialplan::RingOutcome;
use sip_proxy::{ClientTx, Dialog, FailCause, Message, OutgoingRequest};

use super::call::{Call, Phase};
use super::leg::Leg;
use crate::Now;
use crate::cdr::EndReason;
use crate::site::Site;
use crate::story::Line;

/// Where a branch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BranchState {
    /// INVITE sent.
    Invited,
    /// It rings.
    Ringing,
    /// CANCEL sent, or held back until a provisional comes; its final response is still owed.
    Cancelling,
}

/// A branch. It lives until its final response, even when the call has long gone on.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) leg: Leg,
    /// The ring step and member it belongs to.
    pub(crate) step: u32,
    pub(crate) member: usize,
    pub(crate) tx: ClientTx,
    pub(crate) request: Box<OutgoingRequest>,
    pub(crate) state: BranchState,
    /// The answer of its latest 18x, with the tag of that early dialog: a 2xx may leave it out.
    pub(crate) early: Option<(String, Bytes)>,
    /// Why it was cancelled; goes into the BYE of a late answer too.
    pub(crate) reason: Option<&'static str>,
}

/// The losers of a race.
pub(crate) const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";
/// The step ended, or the caller went.
pub(crate) const GIVEN_UP: &str = "SIP;cause=487;text=\"Call given up\"";

/// What a final refusal says about the member (the closed set of the plan language).
pub(crate) fn outcome_of(status: u16) -> RingOutcome {
    match status {
        486 | 600 => RingOutcome::Busy,
        603 | 607 | 608 => RingOutcome::Declined,
        // 604 (nowhere) and 606 (media refused) are about the device, not about a person's wish.
        604 | 606 => RingOutcome::Unreachable,
        601..=699 => RingOutcome::Declined,
        _ => RingOutcome::Unreachable,
    }
}

impl Branch {
    /// The answer a 2xx brings: its own, else the one its early dialog has given already (RFC 3262 §5; some phones
    /// leave it out although their 183 was not reliable).
    pub(crate) fn answer(&self, message: &Message) -> Bytes {
        match &self.early {
            Some((tag, early))
                if message.body().is_empty() && message.to_tag() == Some(tag.as_str()) =>
            {
                early.clone()
            }
            _ => message.body_bytes(),
        }
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
        let state = branch.state;
        self.note(
            now,
            Line::In {
                from,
                what: super::call::summary(message),
            },
        );
        match status {
            101..=199 => {
                self.early_answer(at, message);
                if state == BranchState::Invited {
                    if let Some(branch) = self.branches.get_mut(at) {
                        branch.state = BranchState::Ringing;
                    }
                    self.rings(site, now);
                }
            }
            200..=299 => {
                let current = matches!(self.phase, Phase::Ringing(_));
                if state == BranchState::Cancelling || !current {
                    let branch = self.branches.swap_remove(at);
                    self.lose(site, now, branch, message);
                } else {
                    self.win(site, now, at, message);
                }
            }
            _ => self.branch_over(site, now, at, outcome_of(status)),
        }
    }

    /// Keeps the answer of an early dialog. It is made effective by the 2xx alone: what an early branch plays is heard by
    /// nobody.
    fn early_answer(&mut self, at: usize, message: &Message) {
        if let (Some(branch), Some(tag)) = (self.branches.get_mut(at), message.to_tag())
            && !message.body().is_empty()
            && super::call::is_sdp(message)
        {
            branch.early = Some((tag.to_owned(), message.body_bytes()));
        }
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
        if branch.state != BranchState::Cancelling {
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
        let reason = branch.reason.unwrap_or(ELSEWHERE);
        let Ok(dialog) = Dialog::from_response(&branch.request, message, branch.leg.flow) else {
            return;
        };
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
        if branch.state == BranchState::Cancelling {
            return;
        }
        branch.state = BranchState::Cancelling;
        branch.reason = Some(reason);
        branch.leg.close_media(site);
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
            if stays || branch.state == BranchState::Cancelling {
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
            (302, RingOutcome::Unreachable),
        ] {
            assert_eq!(outcome_of(status), outcome, "{status}");
        }
    }
}
