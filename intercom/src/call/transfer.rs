//! A call passed on: by REFER (RFC 3515) or by a key of the plan. Who transfers stays in the call until the target
//! answers, and gets it back when it does not; whoever waits meanwhile is the call's `caller`, so that ringing the
//! target is an ordinary ring step.
//!
//! ```text
//!   Talking(A, B) ── A transfers ──► Ringing, caller = B, transfer = A ──┬─ answered by C ──► Talking(B, C), A: BYE
//!                                                                        ├─ nobody, A there ► Talking(B, A)
//!                                                                        └─ nobody, A gone ─► Ringing A's device once
//! ```
//!
//! A transfer passes the call and not the right: whoever answers has the rights of the own device.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dialplan::{CallFacts, Member, Preview, Ring, Run, SourceRef, Step, Target};
use media_bridge::Tone;
use sip_proxy::{ClientTx, Flow, HeaderName, Message, Method, OutgoingRequest};

use super::branch::GIVEN_UP;
use super::call::{Call, Phase};
use super::leg::Leg;
use super::refer::Subscription;
use super::talk::Talk;
use crate::Now;
use crate::cdr::EndReason;
use crate::site::Site;
use crate::story::Line;

/// Transfers in one call; a further one is refused.
pub(crate) const MAX_TRANSFERS: u8 = 16;
/// How long a target named by the plan rings (plan-language: keys), and a device that a call comes back to.
const TARGET_RING: Duration = Duration::from_secs(20);
/// To a leg that leaves because the call went on without it.
pub(crate) const PASSED_ON: &str = "SIP;cause=200;text=\"Call transferred\"";

/// A transfer under way.
#[derive(Debug)]
pub(crate) struct Transfer {
    /// Who transfers.
    pub(crate) leg: Leg,
    /// By REFER: who is told how it goes.
    pub(crate) told: Option<Subscription>,
    /// The transferer was the call's caller side, and is again when it gets the call back.
    swapped: bool,
    /// Nobody took the call and the transferer has gone: its device is being rung.
    pub(crate) recall: bool,
    /// It lies in a slot, or did.
    pub(crate) parked: bool,
    /// The two talk on while the target rings.
    joined: bool,
    winner_tx: Option<ClientTx>,
    until: Instant,
    keys: String,
}

/// The BYE to a transferer, until its last NOTIFY is answered.
#[derive(Debug)]
pub(crate) struct Farewell {
    notify: ClientTx,
    tx: ClientTx,
    request: OutgoingRequest,
    to: Flow,
    device: String,
}

/// Whereto.
pub(crate) enum Whither {
    /// What the plan made of a dialled string.
    Plan(Box<Run>, Step),
    /// A ring the plan names itself.
    Ring(Ring),
}

impl Call {
    /// The call leaves leg `index` for somebody else. The other side waits, hearing ringback, unless `joined`.
    pub(crate) fn transfer(
        &mut self,
        site: &mut Site,
        now: Now,
        index: u16,
        whither: Whither,
        told: Option<Subscription>,
    ) {
        let Phase::Talking(talk) = std::mem::replace(&mut self.phase, Phase::Routing) else {
            return;
        };
        let Talk {
            winner,
            winner_tx,
            until,
            keys,
            joined,
        } = *talk;
        let mut leg = winner;
        let swapped = index == self.caller.index;
        if swapped {
            std::mem::swap(&mut self.caller, &mut leg);
        }
        let joined = joined && told.is_none();
        self.transfers = self.transfers.saturating_add(1);
        self.transfer = Some(Box::new(Transfer {
            leg,
            told,
            swapped,
            recall: false,
            parked: false,
            joined,
            winner_tx,
            until,
            keys,
        }));
        if !joined {
            self.let_wait(site, Tone::ringback());
        }
        self.ring_until = now.mono + site.config.limits.max_ringing;
        match whither {
            Whither::Plan(run, step) => {
                let run = self.run.replace(*run);
                self.earlier
                    .extend(run.iter().flat_map(super::finish::steps_of));
                self.trace_seen = 0;
                self.take_step(site, now, step);
            }
            Whither::Ring(ring) => self.ring(site, now, ring),
        }
        // Unless it is done already, or came to nothing: then that was told, and one NOTIFY at once is enough.
        self.notify_transfer(site, now, 100);
    }

    /// Why leg `index` may not transfer now.
    pub(crate) fn transfer_refused(&self, index: u16) -> Option<(u16, &'static str)> {
        let door = self.peek(index).is_none_or(|leg| leg.party.door.is_some());
        if door {
            // Who stands at a door is let in, not connected onwards.
            return Some((403, "a door transfers nothing"));
        }
        if !self.is_talking() {
            return Some((491, "the call is being transferred already"));
        }
        (self.transfers >= MAX_TRANSFERS || self.max_forwards <= 1)
            .then_some((483, "it has been transferred too often"))
    }

    /// The other side of the one that transfers stands at a door, and so would the target.
    pub(crate) fn joins_doors(&self, index: u16, dial: &str) -> bool {
        let Phase::Talking(talk) = &self.phase else {
            return false;
        };
        let other = if index == self.caller.index {
            &talk.winner
        } else {
            &self.caller
        };
        other.party.door.is_some() && self.plan.door(dial).is_some()
    }

    /// `keys … "0" transfer="desk"`.
    pub(crate) fn transfer_by_key(
        &mut self,
        site: &mut Site,
        now: Now,
        index: u16,
        target: &str,
        source: SourceRef,
    ) {
        let name = self.party_name(index);
        let refused = self.transfer_refused(index).map(|(_, why)| why);
        let Phase::Talking(talk) = &self.phase else {
            return;
        };
        let ring = self.target_ring(site, now, &name, (target, &talk.keys), source);
        let why = refused.or(ring.members.is_empty().then_some("nobody is there"));
        if let Some(why) = why {
            self.note(now, Line::Call(format!("transfer refused: {why}")));
            return self.beep(site, &name);
        }
        self.max_forwards -= 1;
        self.transfer(site, now, index, Whither::Ring(ring), None);
    }

    fn target_ring(
        &self,
        site: &Site,
        now: Now,
        by: &str,
        (target, keys): (&str, &str),
        source: SourceRef,
    ) -> Ring {
        let caller = dialplan::Caller::Device(by.to_owned());
        let dial = self.dial.clone();
        let facts = CallFacts { caller, dial };
        let target = (target, TARGET_RING, keys);
        let plan = &self.plan;
        plan.transfer_ring(&site.directory, &site.facts(now), &facts, target, source)
    }

    /// `end "transfer" to="desk"`: the plan's last word is another destination.
    pub(crate) fn end_transfer(&mut self, site: &mut Site, now: Now, to: &str) {
        let source = self.run.as_ref().and_then(|run| run.trace().last());
        let ring = source.map(|line| line.source.clone()).map(|source| {
            let by = self.caller.party.device.clone();
            self.target_ring(site, now, &by, (to, "default"), source)
        });
        match ring {
            Some(ring) if !ring.members.is_empty() => self.ring(site, now, ring),
            _ => self.unanswered(site, now, EndReason::NotAnswered, 480),
        }
    }

    /// The target rings.
    pub(crate) fn target_rings(&mut self, site: &mut Site, now: Now) {
        self.notify_transfer(site, now, 180);
    }

    /// The target has answered: it is the call's other side, and the transferer leaves.
    pub(crate) fn target_answered(&mut self, site: &mut Site, now: Now) {
        let notify = self.notify_transfer(site, now, 200);
        let Some(transfer) = self.transfer.take() else {
            return;
        };
        let mut leg = transfer.leg;
        self.take_leave(site, now, &mut leg, notify);
        self.parted.push(leg);
        self.join(site, now);
        self.sync_hold(site, now);
    }

    /// The transferer leaves a call that goes on; by REFER not before it has heard how the transfer went: a BYE that
    /// overtakes the last NOTIFY, or comes with it, makes phones report a failed transfer.
    pub(crate) fn take_leave(
        &mut self,
        site: &mut Site,
        now: Now,
        leg: &mut Leg,
        notify: Option<ClientTx>,
    ) {
        leg.close_media(site);
        if leg.flags.over {
            return;
        }
        let Some(notify) = notify else {
            return self.bye(site, now, leg, Some(PASSED_ON));
        };
        let Some(mut request) = leg.request(site, Method::Bye) else {
            return;
        };
        leg.flags.over = true;
        request
            .headers
            .push((HeaderName::Reason, PASSED_ON.to_owned()));
        let tx = self.take_tx();
        self.byes.push(tx);
        self.farewells.push(Farewell {
            notify,
            tx,
            request,
            to: leg.flow,
            device: leg.party.device.clone(),
        });
    }

    /// A NOTIFY has its final answer, or none will come: the BYE that waited for it. `true` when it was such a one.
    pub(crate) fn notified(
        &mut self,
        site: &mut Site,
        now: Now,
        notify: ClientTx,
        status: u16,
    ) -> bool {
        let waits = |farewell: &Farewell| farewell.notify == notify;
        let Some(at) = self.farewells.iter().position(waits) else {
            return false;
        };
        if status >= 200 {
            let Farewell {
                tx,
                request,
                to,
                device,
                ..
            } = self.farewells.swap_remove(at);
            site.sip(sip_proxy::Input::Request { tx, request, to });
            let what = "BYE".to_owned();
            self.note(now, Line::Out { to: device, what });
        }
        true
    }

    /// Nobody answered: an ordinary call ends, a transferred one goes back to where it came from.
    pub(crate) fn unanswered(&mut self, site: &mut Site, now: Now, reason: EndReason, status: u16) {
        if self.transfer.is_none() {
            return self.finish(site, now, reason, status);
        }
        self.note_trace(now);
        self.cancel_branches(site, now, GIVEN_UP);
        self.notify_transfer(site, now, status);
        let Some(mut transfer) = self.transfer.take() else {
            return;
        };
        if !transfer.leg.flags.over {
            return self.give_back(site, now, *transfer);
        }
        let device = transfer.leg.party.device.clone();
        if transfer.recall && std::mem::take(&mut transfer.parked) {
            // Who parked it is not there: the plan says what comes after `park`.
            self.transfer = Some(transfer);
            return self.go_on(site, now);
        }
        if transfer.recall {
            self.part_with(site, now, transfer.leg, reason.header());
            return self.finish(site, now, reason, status);
        }
        self.note(now, Line::Call(format!("nobody took it: back to {device}")));
        transfer.recall = true;
        self.transfer = Some(transfer);
        self.let_wait(site, Tone::ringback());
        self.ring_until = now.mono + site.config.limits.max_ringing;
        match self.recall_ring(device) {
            Some(ring) => self.ring(site, now, ring),
            None => self.unanswered(site, now, reason, status),
        }
    }

    /// The one who transferred has the call again.
    fn give_back(&mut self, site: &mut Site, now: Now, transfer: Transfer) {
        let Transfer {
            mut leg,
            swapped,
            joined,
            winner_tx,
            until,
            keys,
            ..
        } = transfer;
        let device = leg.party.device.clone();
        self.note(
            now,
            Line::Call(format!("nobody took it: {device} has it again")),
        );
        if swapped {
            std::mem::swap(&mut self.caller, &mut leg);
        }
        self.phase = Phase::Talking(Box::new(Talk {
            winner: leg,
            winner_tx,
            until,
            keys,
            joined,
        }));
        if joined {
            self.beep(site, &device);
        } else {
            self.join(site, now);
            self.sync_hold(site, now);
        }
    }

    fn recall_ring(&self, device: String) -> Option<Ring> {
        let source = self.run.as_ref()?.trace().last()?.source.clone();
        Some(Ring {
            members: vec![Member {
                selector: device.clone(),
                name: device.clone(),
                target: Target::Device(device),
                after: Duration::ZERO,
                for_: None,
                confirm: None,
                on: Vec::new(),
            }],
            serial: false,
            for_: TARGET_RING,
            join_late: false,
            preview: Preview::None,
            keys: "default".to_owned(),
            auto_answer: false,
            source,
            dropped: Vec::new(),
        })
    }

    /// The transferer hung up: the transfer goes on without it. `true` when it was that leg.
    pub(crate) fn transferer_left(&mut self, site: &mut Site, now: Now, index: u16) -> bool {
        let Some(transfer) = self.transfer.as_deref_mut() else {
            return false;
        };
        if transfer.leg.index != index {
            return false;
        }
        transfer.told = None;
        transfer.leg.session = None;
        transfer.leg.close_media(site);
        let was_joined = std::mem::take(&mut transfer.joined);
        if was_joined {
            self.let_wait(site, Tone::ringback());
        }
        self.note(now, Line::Call("the transfer goes on".to_owned()));
        true
    }

    /// The call ends with a transfer under way.
    pub(crate) fn transfer_over(&mut self, site: &mut Site, now: Now, reason: EndReason) {
        self.notify_transfer(site, now, 487);
        if let Some(transfer) = self.transfer.take() {
            self.part_with(site, now, transfer.leg, reason.header());
        }
    }

    /// A leg leaves a call that goes on.
    pub(crate) fn part_with(
        &mut self,
        site: &mut Site,
        now: Now,
        mut leg: Leg,
        reason: &'static str,
    ) {
        leg.close_media(site);
        if !leg.flags.over {
            self.bye(site, now, &mut leg, Some(reason));
        }
        self.parted.push(leg);
    }

    /// `Referred-By` (RFC 3892) of what a transfer rings: the transferer as we know it, not as it calls itself.
    pub(crate) fn referred_by(&self, site: &Site) -> Option<(HeaderName, String)> {
        let transfer = self.transfer.as_deref()?;
        let user = &transfer.leg.party.user;
        let value = format!("<{}>", site.aor(user));
        (!transfer.recall).then_some((HeaderName::ReferredBy, value))
    }

    /// A 2xx to an INVITE of ours that no leg waits for.
    pub(crate) fn ack_stray_invite(&mut self, site: &mut Site, tx: ClientTx, message: &Message) {
        let success = (200..300).contains(&message.status().unwrap_or(0));
        if success && *message.method() == Method::Invite {
            self.ack_stray(site, tx, message);
        }
    }

    /// What the plan makes of a string that `leg`'s device dials.
    pub(crate) fn dialled_by(
        &self,
        site: &Site,
        now: Now,
        index: u16,
        dial: &str,
    ) -> Option<(Box<Run>, Step)> {
        let facts = CallFacts {
            caller: Site::caller(&self.peek(index)?.party),
            dial: dial.to_owned(),
        };
        let begun = Arc::clone(&self.plan).begin(&site.directory, &site.facts(now), facts);
        begun.ok().map(|(run, step)| (Box::new(run), step))
    }
}
