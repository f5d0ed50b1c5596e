//! `confirm="1"`: a leg is answered privately, hears a signal, and wins only by the digit. A voicemail presses none, so
//! it never wins. The caller hears nothing of it, and the others ring on.

use std::time::{Duration, Instant};

use dialplan::RingOutcome;
use media_bridge::{Command, Digit, DigitSource, Tone};
use sip_proxy::{Dialog, OutgoingResponse, ServerTx};

use super::branch::BranchState;
use super::call::{Call, Phase};
use crate::Now;
use crate::site::Site;
use crate::story::Line;

/// How long a private answer may take to confirm; its member's and the step's own time may end it before.
const WITHIN: Duration = Duration::from_secs(20);
/// The signal is repeated at this interval.
const SIGNAL_EVERY: Duration = Duration::from_secs(3);
/// Why an answer without its digit is hung up.
const NOT_CONFIRMED: &str = "SIP;cause=480;text=\"Not confirmed\"";

/// What a private answer waits for.
#[derive(Debug)]
pub(crate) struct Confirm {
    /// The accepting digits; each of them accepts.
    digits: String,
    until: Instant,
    signal_at: Instant,
}

impl Call {
    /// The digits that accept the call for the member of branch `at`.
    pub(crate) fn confirm_digits(&self, at: usize) -> Option<String> {
        let Phase::Ringing(fork) = &self.phase else {
            return None;
        };
        let member = self.branches.get(at)?.member;
        fork.ring.members.get(member)?.confirm.clone()
    }

    /// Branch `at` answered: it is asked to confirm.
    pub(crate) fn ask(
        &mut self,
        site: &mut Site,
        now: Now,
        at: usize,
        dialog: Dialog,
        digits: String,
    ) {
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        branch.leg.dialog = Some(dialog);
        branch.leg.configure_media(site, true);
        branch.state = BranchState::Answered(Box::new(Confirm {
            digits,
            until: now.mono + WITHIN,
            signal_at: now.mono,
        }));
        let name = branch.leg.party.device.clone();
        self.note(
            now,
            Line::Call(format!("{name} has answered and is asked to confirm")),
        );
        self.confirm_timers(site, now);
    }

    /// When a private answer is due for its signal or its end.
    pub(crate) fn confirm_timeout(&self) -> Option<Instant> {
        let due = |state: &BranchState| match state {
            BranchState::Answered(confirm) => Some(confirm.signal_at.min(confirm.until)),
            _ => None,
        };
        self.branches
            .iter()
            .filter_map(|branch| due(&branch.state))
            .min()
    }

    /// Signals again, and hangs up where no digit came.
    pub(crate) fn confirm_timers(&mut self, site: &mut Site, now: Now) {
        let mut late = Vec::new();
        for (at, branch) in self.branches.iter_mut().enumerate() {
            let BranchState::Answered(confirm) = &mut branch.state else {
                continue;
            };
            if confirm.until <= now.mono {
                late.push(at);
            } else if confirm.signal_at <= now.mono {
                confirm.signal_at = now.mono + SIGNAL_EVERY;
                if let Some(media) = branch.leg.media.as_ref().filter(|media| media.opened) {
                    let leg = media.id;
                    site.media(
                        media.lease.worker,
                        Command::Play {
                            leg,
                            tone: Tone::Beep,
                            repeat: false,
                        },
                    );
                }
            }
        }
        for at in late {
            self.unconfirmed(site, now, at, RingOutcome::NoAnswer);
        }
    }

    /// A private answer comes to nothing.
    fn unconfirmed(&mut self, site: &mut Site, now: Now, at: usize, outcome: RingOutcome) {
        let Some(branch) = self.branches.get(at) else {
            return;
        };
        let (step, member) = (branch.step, branch.member);
        let name = branch.leg.party.device.clone();
        self.note(now, Line::Call(format!("{name}: not confirmed")));
        self.cancel_branch(site, now, at, NOT_CONFIRMED);
        self.member_lost(site, now, step, member, outcome);
    }

    /// BYE to a private answer.
    pub(crate) fn hang_up_private(
        &mut self,
        site: &mut Site,
        now: Now,
        at: usize,
        reason: &'static str,
    ) {
        let tx = self.take_tx();
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        branch.state = BranchState::Gone;
        branch.leg.close_media(site);
        if branch.leg.flags.over {
            return;
        }
        if let Some(to) = super::finish::send_bye(site, &mut branch.leg, tx, Some(reason)) {
            self.byes.push(tx);
            let what = "BYE".to_owned();
            self.note(now, Line::Out { to, what });
        }
    }

    /// BYE from a private answer: its person will not have the call.
    pub(crate) fn private_bye(&mut self, site: &mut Site, now: Now, at: usize, tx: ServerTx) {
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        branch.leg.flags.over = true;
        let name = branch.leg.party.device.clone();
        self.respond(site, now, name, tx, "BYE", OutgoingResponse::new(200));
        self.unconfirmed(site, now, at, RingOutcome::Declined);
    }

    /// A key on leg `index`, where that is a private answer; `true` when it is: it means nothing else there.
    pub(crate) fn confirm_key(
        &mut self,
        site: &mut Site,
        now: Now,
        index: u16,
        (digit, source, held): (Digit, DigitSource, Duration),
    ) -> bool {
        let mut branches = self.branches.iter_mut().enumerate();
        let Some((at, branch)) = branches.find(|(_, branch)| branch.leg.index == index) else {
            return false;
        };
        let BranchState::Answered(confirm) = &branch.state else {
            return false;
        };
        let Some(digit) = branch.leg.keys.push_held(now.mono, held, digit, source) else {
            return true;
        };
        let accepts = confirm.digits.contains(digit.label());
        let name = branch.leg.party.device.clone();
        if accepts {
            self.note(now, Line::Call(format!("{name} confirms")));
            self.won(site, now, at);
        } else {
            let line = format!("{name}: key * means nothing before it confirms");
            self.note(now, Line::Call(line));
        }
        true
    }
}
