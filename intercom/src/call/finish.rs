//! The end: every dialog ACKed, cancelled or hung up with its reason, media closed, and the record written.

use std::time::{Duration, Instant};

use media_bridge::{LegId, LegStats};
use sip_proxy::{ClientTx, Dialog, HeaderName, Message, Method, OutgoingRequest, OutgoingResponse};

use super::branch::GIVEN_UP;
use super::call::{Call, Phase};
use super::leg::Leg;
use super::reason::Cause;
use crate::Now;
use crate::cdr::{Cdr, CdrLeg, CdrStep, Destination, EndReason};
use crate::site::{Effect, Site};
use crate::story::Line;

/// How far the end has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Final status sent to the caller.
    pub(crate) final_status: Option<u16>,
    pub(crate) end: Option<EndReason>,
    /// Why the side that ended it says it did.
    pub(crate) cause: Option<Cause>,
    /// Workers have until then to say what the legs did.
    pub(crate) linger_until: Option<Instant>,
    /// BYE to the caller that must wait for its ACK (RFC 3261 §15).
    pub(crate) bye_on_ack: Option<String>,
    pub(crate) recorded: bool,
    /// The top machine no longer counts it among the live calls.
    pub(crate) uncounted: bool,
    /// The winner's leg after the talk, for the record.
    pub(crate) winner: Option<Box<Leg>>,
}

impl Progress {
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if self.recorded {
            None
        } else {
            self.linger_until
        }
    }
}

/// How long the record waits for the workers' counts.
const LINGER: Duration = Duration::from_secs(2);

impl EndReason {
    /// The Reason header (RFC 3326) told to whom the call is ended.
    pub(crate) fn header(self) -> &'static str {
        match self {
            EndReason::CallerHungUp | EndReason::CalleeHungUp => {
                "Q.850;cause=16;text=\"Normal call clearing\""
            }
            EndReason::CallerCancelled => GIVEN_UP,
            EndReason::NotAnswered => "Q.850;cause=19;text=\"No answer\"",
            EndReason::Busy => "Q.850;cause=17;text=\"User busy\"",
            EndReason::NoRoute => "Q.850;cause=3;text=\"No route\"",
            EndReason::Limit => "SIP;cause=480;text=\"Call limit reached\"",
            EndReason::MediaSilent => "SIP;cause=408;text=\"No media\"",
            EndReason::PeerGone => "SIP;cause=481;text=\"The other side is gone\"",
            EndReason::SessionExpired => "SIP;cause=408;text=\"Session timer expired\"",
            EndReason::MediaRefused => "SIP;cause=488;text=\"Media not acceptable\"",
            EndReason::NoLease => "SIP;cause=503;text=\"No media port\"",
            EndReason::Revoked => "SIP;cause=403;text=\"Account revoked\"",
            EndReason::Shutdown => "SIP;cause=503;text=\"Server stops\"",
            EndReason::Transferred => super::transfer::PASSED_ON,
            EndReason::Refused => "SIP;cause=403;text=\"Refused\"",
        }
    }
}

impl Call {
    /// Ends the call towards everybody. `status` answers a caller that still waits. A second end changes nothing.
    pub(crate) fn finish(&mut self, site: &mut Site, now: Now, reason: EndReason, status: u16) {
        if matches!(self.phase, Phase::Ending) {
            return;
        }
        self.note_trace(now);
        self.note(now, Line::Call(format!("ended: {}", reason.words())));
        self.unpark(site);
        self.dialling.clear();
        if let Some(driving) = &self.driving {
            // The door's leg may go on in another call: what it has not heard of a code must not follow it there.
            driving.take_back(site);
        }
        let phase = std::mem::replace(&mut self.phase, Phase::Ending);
        self.progress.end = Some(reason);
        self.times.ended = Some(now.mono);
        self.provisional_at = None;
        self.cancel_branches(site, now, GIVEN_UP);
        let header = self.reason_header(reason);
        if let Phase::Talking(mut talk) = phase {
            talk.winner.close_media(site);
            let mut winner = talk.winner;
            if !winner.flags.over {
                self.bye(site, now, &mut winner, Some(&header));
            }
            self.progress.winner = Some(Box::new(winner));
        }
        self.transfer_over(site, now, reason);
        if self.progress.final_status.is_none() {
            let status = if status < 300 { 480 } else { status };
            let response = OutgoingResponse::new(status).with_header(HeaderName::Reason, header);
            self.refuse(site, now, response);
        } else if self.progress.final_status == Some(200) && !self.caller.flags.over {
            if self.caller.unacked.is_some() {
                self.progress.bye_on_ack = Some(header);
            } else {
                self.bye_caller(site, now, &header);
            }
        }
        self.caller.close_media(site);
        if let Some(driving) = self.driving.take() {
            let gone = crate::unlock::Outcome::Unreachable("the door's call ended".to_owned());
            site.effects
                .push_back(Effect::Driven(driving.intent, driving.attempt, gone));
        }
        site.effects.push_back(Effect::Ended(self.id.clone()));
        self.progress.linger_until = Some(now.mono + LINGER);
    }

    /// Reason for whom the call is ended: the cause the other side gave, else ours.
    fn reason_header(&self, reason: EndReason) -> String {
        let ours = reason.header();
        let told = self.progress.cause.filter(|_| {
            matches!(
                reason,
                EndReason::CallerHungUp | EndReason::CalleeHungUp | EndReason::CallerCancelled
            )
        });
        told.map_or_else(|| ours.to_owned(), |cause| cause.to_string())
    }

    /// A final refusal to the caller.
    pub(crate) fn refuse(&mut self, site: &mut Site, now: Now, response: OutgoingResponse) {
        self.progress.final_status = Some(response.status);
        let response = response.with_to_tag(self.caller.local_tag.clone());
        self.caller.flags.over = true;
        self.respond(
            site,
            now,
            self.caller.party.device.clone(),
            self.caller_tx,
            "INVITE",
            response,
        );
    }

    /// The ACK the BYE waited for has come, or never will.
    pub(crate) fn bye_after_ack(&mut self, site: &mut Site, now: Now) {
        if let Some(reason) = self.progress.bye_on_ack.take() {
            self.bye_caller(site, now, &reason);
        }
    }

    fn bye_caller(&mut self, site: &mut Site, now: Now, reason: &str) {
        let tx = self.take_tx();
        if let Some(to) = send_bye(site, &mut self.caller, tx, Some(reason)) {
            self.byes.push(tx);
            self.note(
                now,
                Line::Out {
                    to,
                    what: "BYE".to_owned(),
                },
            );
        }
    }

    /// BYE on a leg that is not the caller's.
    pub(crate) fn bye(&mut self, site: &mut Site, now: Now, leg: &mut Leg, reason: Option<&str>) {
        let tx = self.take_tx();
        if let Some(to) = send_bye(site, leg, tx, reason) {
            self.byes.push(tx);
            self.note(
                now,
                Line::Out {
                    to,
                    what: "BYE".to_owned(),
                },
            );
        }
    }

    /// A 2xx that belongs to no dialog we keep: ACKed, and when it made a dialog of its own, hung up.
    pub(crate) fn ack_stray(&mut self, site: &mut Site, invite: ClientTx, message: &Message) {
        let Some((ack, bye, flow)) = self.stray(message) else {
            return;
        };
        site.sip(sip_proxy::Input::Ack {
            request: ack,
            to: flow,
            invite,
        });
        if let Some(bye) = bye {
            let tx = self.take_tx();
            self.byes.push(tx);
            site.sip(sip_proxy::Input::Request {
                tx,
                request: bye,
                to: flow,
            });
        }
    }

    fn stray(
        &mut self,
        message: &Message,
    ) -> Option<(OutgoingRequest, Option<OutgoingRequest>, sip_proxy::Flow)> {
        let (_, index) = super::parse_tag(message.from_tag()?)?;
        let last = self.progress.winner.as_deref();
        let leg = self.peek(index).or(last.filter(|leg| leg.index == index));
        let lost = self.lost.iter().find(|(lost, _)| *lost == index);
        let flow = leg.map(|leg| leg.flow).or(lost.map(|(_, flow)| *flow))?;
        let known = leg
            .and_then(|leg| leg.dialog.as_ref())
            .filter(|dialog| Some(dialog.remote_tag.as_str()) == message.to_tag());
        if let Some(dialog) = known {
            return Some((dialog.ack(message.cseq()), None, flow));
        }
        let sent = OutgoingRequest {
            method: Method::Invite,
            uri: String::new(),
            from: message.header(&HeaderName::From)?.to_owned(),
            to: message.header(&HeaderName::To)?.to_owned(),
            call_id: message.call_id().to_owned(),
            cseq: message.cseq(),
            max_forwards: 70,
            route: Vec::new(),
            contact: Some(String::new()),
            headers: Vec::new(),
            body: None,
        };
        let mut dialog = Dialog::from_response(&sent, message, flow).ok()?;
        // Its early dialog, no longer known, may have used some numbers for PRACKs.
        dialog.local_cseq = dialog.local_cseq.saturating_add(100);
        let ack = dialog.ack(message.cseq());
        let mut bye = dialog.request(Method::Bye);
        bye.headers
            .push((HeaderName::Reason, super::branch::ELSEWHERE.to_owned()));
        Some((ack, Some(bye), flow))
    }

    /// A worker's last word on a leg.
    pub(crate) fn media_closed(&mut self, index: u16, id: LegId, stats: LegStats) {
        let transfer = self.transfer.as_deref_mut();
        let left = transfer.map(|transfer| &mut transfer.leg);
        let last = self.progress.winner.as_deref_mut();
        let leg = [&mut self.caller]
            .into_iter()
            .chain(last)
            .chain(left)
            .chain(&mut self.parted)
            .find(|leg| leg.index == index);
        let media = leg.and_then(|leg| leg.media.as_mut());
        // A leg whose media has moved hears of the old one too.
        if let Some(media) = media.filter(|media| media.id == id) {
            media.stats = stats;
            media.opened = false;
        }
    }

    /// Writes the record once the workers have spoken or their time is up.
    pub(crate) fn settle(&mut self, site: &mut Site, now: Now) {
        if !matches!(self.phase, Phase::Ending) || self.progress.recorded {
            return;
        }
        let open = |leg: &Leg| leg.media.as_ref().is_some_and(|media| media.opened);
        let waits = open(&self.caller)
            || self.progress.winner.as_deref().is_some_and(open)
            || self.parted.iter().any(open);
        if waits
            && self
                .progress
                .linger_until
                .is_some_and(|until| until > now.mono)
        {
            return;
        }
        self.progress.recorded = true;
        self.progress.linger_until = None;
        let cdr = self.cdr(site, now);
        site.effects
            .push_back(Effect::Cdr(Box::new(cdr), Box::new(self.story.clone())));
    }

    fn cause(&self) -> Option<Cause> {
        Cause::of_header(&self.reason_header(self.progress.end?))
    }

    fn cdr(&self, site: &Site, now: Now) -> Cdr {
        let started = self.started.mono;
        let since = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(started));
        let winner = self.progress.winner.as_deref();
        let legs = [&self.caller]
            .into_iter()
            .chain(winner)
            .chain(&self.parted)
            .map(leg_record)
            .collect();
        let mut steps = self.earlier.clone();
        steps.extend(self.run.iter().flat_map(steps_of));
        Cdr {
            call: self.id.clone(),
            caller: self.origin.device.clone(),
            door: self.origin.door.clone(),
            dialled: crate::story::is_name(&self.dial).then(|| self.dial.clone()),
            destination: Destination::of(&self.dial, &self.plan, &site.directory),
            route: self.run.as_ref().map(|run| run.route_name().to_owned()),
            plan: self.plan.version().to_owned(),
            winner: winner.map(|leg| leg.party.device.clone()),
            started: self.started.civil,
            routed_after: since(self.times.routed),
            rang_after: since(self.times.rang),
            answered_after: since(self.times.answered),
            ended_after: since(self.times.ended)
                .unwrap_or_else(|| now.mono.saturating_duration_since(started)),
            end: self.progress.end.unwrap_or(EndReason::NotAnswered),
            status: self.progress.final_status.unwrap_or(0),
            cause: self.cause().map(|cause| cause.to_string()),
            unlocks: self.unlocks,
            legs,
            steps,
        }
    }
}

/// The walk of one run, as the record tells it.
pub(crate) fn steps_of(run: &dialplan::Run) -> impl Iterator<Item = CdrStep> {
    run.trace().iter().map(|line| CdrStep {
        at: line.at_offset,
        what: crate::story::masked(line.what.clone()),
        source: line.source.to_string(),
    })
}

fn leg_record(leg: &Leg) -> CdrLeg {
    let stats = leg
        .media
        .as_ref()
        .map(|media| media.stats)
        .unwrap_or_default();
    CdrLeg {
        device: leg.party.device.clone(),
        codec: leg.codec().map(|codec| codec.name().to_owned()),
        packets_in: stats.packets_in,
        packets_out: stats.packets_out,
        lost: stats.lost,
        foreign: stats.dropped_foreign,
    }
}

pub(super) fn send_bye(
    site: &mut Site,
    leg: &mut Leg,
    tx: ClientTx,
    reason: Option<&str>,
) -> Option<String> {
    let mut request = leg.request(site, Method::Bye)?;
    leg.flags.over = true;
    if let Some(reason) = reason {
        request
            .headers
            .push((HeaderName::Reason, reason.to_owned()));
    }
    site.sip(sip_proxy::Input::Request {
        tx,
        request,
        to: leg.flow,
    });
    Some(leg.party.device.clone())
}
