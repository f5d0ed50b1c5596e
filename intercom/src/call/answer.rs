//! The answer: what the caller is told while it rings, the winner, and the media joined.

use dialplan::RingOutcome;
use media_bridge::{Command, Tone};
use sip_proxy::{HeaderName, Message, OutgoingResponse, ServerTx};

use super::branch::BranchState;
use super::call::{Call, Phase};
use super::offer::{ALLOW, SUPPORTED, sdp};
use crate::Now;
use crate::cdr::EndReason;
use crate::site::Site;
use crate::story::Line;

impl Call {
    /// The first 2xx: this branch has won.
    pub(crate) fn win(&mut self, site: &mut Site, now: Now, at: usize, message: &Message) {
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        if site.party(&branch.leg.party.user).as_ref() != Some(&branch.leg.party) {
            // Revoked while it rang, or somebody else's device by now.
            return self.reject_winner(site, now, at, message, EndReason::Revoked.header());
        }
        let Ok(dialog) = branch.confirmed(message) else {
            // A 2xx without tag or Contact cannot be ACKed to anywhere: as if it had not been sent.
            return self.branch_over(site, now, at, RingOutcome::Unreachable);
        };
        if let Err(error) = branch.take_answer(message) {
            self.note(now, Line::Media(format!("answer refused: {error}")));
            let reason = "SIP;cause=488;text=\"Answer not acceptable\"";
            return self.reject_winner(site, now, at, message, reason);
        }
        branch.leg.learn(message);
        branch.leg.accept_timer(now, message);
        let branch = self.take_hop(site, now, at, &dialog);
        let Some(branch) = branch else { return };
        let to = branch.leg.party.device.clone();
        site.sip(sip_proxy::Input::Ack {
            request: dialog.ack(message.cseq()),
            to: branch.leg.flow,
            invite: branch.tx,
        });
        self.note(
            now,
            Line::Out {
                to,
                what: "ACK".to_owned(),
            },
        );
        if let Some(digits) = self.confirm_digits(at) {
            return self.ask(site, now, at, dialog, digits);
        }
        if let Some(branch) = self.branches.get_mut(at) {
            branch.leg.dialog = Some(dialog);
        }
        self.won(site, now, at);
    }

    /// Branch `at`, answered and acknowledged, has the call.
    pub(crate) fn won(&mut self, site: &mut Site, now: Now, at: usize) {
        let branch = self.branches.swap_remove(at);
        self.answered_by(site, now, branch.leg, Some(branch.tx));
    }

    /// A 2xx that must not win: acknowledged, hung up, and for its member as if it had not come.
    fn reject_winner(
        &mut self,
        site: &mut Site,
        now: Now,
        at: usize,
        message: &Message,
        reason: &'static str,
    ) {
        let mut branch = self.branches.swap_remove(at);
        branch.state = BranchState::Ended(reason);
        let (step, member) = (branch.step, branch.member);
        self.lose(site, now, branch, message);
        self.member_lost(site, now, step, member, RingOutcome::Unreachable);
    }

    /// 200 to the caller with the answer to its offer, or with our offer when it made none.
    pub(crate) fn answer_caller(&mut self, site: &mut Site, now: Now) {
        if self.opening.hold_success() {
            return;
        }
        let prefer = match &self.phase {
            Phase::Talking(talk) => talk.winner.codec(),
            _ => None,
        };
        let repeated = self.opening.repeated();
        let late = self.late_offer && repeated.is_none();
        let body = match repeated {
            Some(sdp) => Ok(sdp),
            None => match self.caller.negotiation() {
                Some(negotiation) if late => Ok(Some(negotiation.offer(prefer))),
                Some(negotiation) => negotiation.answer(prefer).map(Some),
                None => return self.finish(site, now, EndReason::MediaRefused, 500),
            },
        };
        let body = match body {
            Ok(body) => body,
            Err(error) => {
                self.note(
                    now,
                    Line::Media(format!("no answer to the caller: {error}")),
                );
                return self.finish(site, now, EndReason::MediaRefused, error.status());
            }
        };
        let mut response = OutgoingResponse::new(200)
            .with_to_tag(self.caller.local_tag.clone())
            .with_header(HeaderName::Allow, ALLOW.to_owned())
            .with_header(HeaderName::Supported, SUPPORTED.to_owned());
        response.contact = Some(site.contact(&self.caller.flow));
        response.body = body.map(sdp);
        let agreed = self.opening.session;
        let response = self.caller.grant_timer(now, agreed, response);
        self.progress.final_status = Some(200);
        self.caller.unacked = Some((self.caller_tx, late));
        self.respond(
            site,
            now,
            self.caller.party.device.clone(),
            self.caller_tx,
            "INVITE",
            response,
        );
        if !late {
            self.join(site, now);
        }
    }

    /// Opens what is not open and joins the two legs.
    pub(crate) fn join(&mut self, site: &mut Site, now: Now) {
        let door = self.door_side().map(|(index, _)| index);
        let Phase::Talking(talk) = &mut self.phase else {
            return;
        };
        let winner = talk.winner.index;
        // doors.md rule 2: the party counts, not who called whom. A door's leg feeds no key map.
        self.caller.configure_media(site, door == Some(winner));
        talk.winner
            .configure_media(site, door == Some(self.caller.index));
        let (Some(a), Some(b)) = (&self.caller.media, &talk.winner.media) else {
            return;
        };
        if !(a.opened && b.opened) {
            // A ring notice (`m=audio 0`) has no audio to join; it rings, and that is all it asked for.
            return self.note(
                now,
                Line::Media("no audio on one side: not joined".to_owned()),
            );
        }
        site.media(a.lease.worker, Command::Join { a: a.id, b: b.id });
        talk.joined = true;
        let codec = |leg: &super::leg::Leg| {
            leg.codec()
                .map_or_else(|| "?".to_owned(), |codec| codec.name().to_owned())
        };
        let line = format!(
            "{} {} <-> {} {}",
            self.caller.party.device,
            codec(&self.caller),
            talk.winner.party.device,
            codec(&talk.winner)
        );
        self.note(now, Line::Media(line));
    }

    /// ACK to a 2xx of ours; of a late offer it bears the answer.
    pub(crate) fn acked(&mut self, site: &mut Site, now: Now, index: u16, message: &Message) {
        self.heard(now, index, message);
        let Some(leg) = self.leg(index) else {
            return;
        };
        let Some((_, wants_answer)) = leg.unacked.take() else {
            return;
        };
        if matches!(self.phase, Phase::Ending) {
            return self.bye_after_ack(site, now);
        }
        if wants_answer {
            self.late_answer(site, now, index, message);
        }
        self.sync_hold(site, now);
    }

    fn late_answer(&mut self, site: &mut Site, now: Now, index: u16, message: &Message) {
        let taken = self
            .leg(index)
            .and_then(super::leg::Leg::negotiation)
            .map(|negotiation| negotiation.receive_answer(message.body()));
        match taken {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                self.note(now, Line::Media(format!("answer in ACK refused: {error}")));
                let joined = matches!(&self.phase, Phase::Talking(talk) if talk.joined);
                if !joined {
                    return self.finish(site, now, EndReason::MediaRefused, 488);
                }
                if let Some(negotiation) = self.leg(index).and_then(super::leg::Leg::negotiation) {
                    negotiation.rollback();
                }
                return;
            }
            None => return,
        }
        let joined = matches!(&self.phase, Phase::Talking(talk) if talk.joined);
        if joined {
            self.media_changed(site, now, index);
        } else {
            self.join(site, now);
        }
    }

    /// No ACK came within 64·T1: the dialog is taken for dead (RFC 3261 §13.3.1.4).
    pub(crate) fn ack_missing(&mut self, site: &mut Site, now: Now, tx: ServerTx) {
        self.note(now, Line::Call("no ACK".to_owned()));
        for leg in self.established_mut() {
            leg.unacked.take_if(|(unacked, _)| *unacked == tx);
        }
        if matches!(self.phase, Phase::Ending) {
            self.bye_after_ack(site, now);
        } else {
            self.finish(site, now, EndReason::PeerGone, 0);
        }
    }

    /// A short signal to a leg: press again, or heard.
    pub(crate) fn beep(&mut self, site: &mut Site, device: &str) {
        let Phase::Talking(talk) = &self.phase else {
            return;
        };
        for leg in [&self.caller, &talk.winner] {
            if leg.party.device == device
                && let Some(media) = &leg.media
            {
                site.media(
                    media.lease.worker,
                    Command::Play {
                        leg: media.id,
                        tone: Tone::Beep,
                        repeat: false,
                    },
                );
            }
        }
    }
}
