//! The established call: requests within the dialogs, hold, and digits.

use std::time::{Duration, Instant};

use dialplan::{Actor, KeyAction, LegState, Method as OpenMethod};
use media_bridge::{Digit, DigitSource, Event, parse_info};
use sip_proxy::{ClientTx, HeaderName, Message, Method, OutgoingResponse, ServerTx};

use super::call::{Call, Phase};
use super::leg::{Leg, OurReinvite, told};
use super::offer::{ALLOW, sdp};
use super::reason::Cause;
use super::refresh::glare_wait;
use crate::Now;
use crate::cdr::EndReason;
use crate::site::{Effect, Site};
use crate::story::Line;
use crate::unlock;

/// What an answered call has beside its caller's leg.
#[derive(Debug)]
pub(crate) struct Talk {
    pub(crate) winner: Leg,
    /// The INVITE of ours that it answered, if one did.
    pub(crate) winner_tx: Option<ClientTx>,
    /// Longest duration.
    pub(crate) until: Instant,
    /// Name of the key map.
    pub(crate) keys: String,
    /// Media is joined.
    pub(crate) joined: bool,
}

/// A body of INFO that asks for a key frame; video is relayed by the bridge, so it is taken and nothing more.
const MEDIA_CONTROL: &str = "application/media_control+xml";
/// A re-INVITE that could not be sent now is looked at again after this.
const HOLD_AGAIN: Duration = Duration::from_secs(2);

impl Call {
    /// A request within one of the dialogs.
    pub(crate) fn request(
        &mut self,
        site: &mut Site,
        now: Now,
        index: u16,
        tx: ServerTx,
        message: &Message,
    ) {
        self.heard(now, index, message);
        let name = self.party_name(index);
        let method = message.method().clone();
        let what = method.as_str().to_owned();
        let private = self.private(index);
        let mut branches = self.branches.iter();
        if private.is_none()
            && let Some(at) = branches.position(|branch| branch.leg.index == index)
        {
            return self.early_request(site, now, at, tx, message);
        }
        let left = self.leg(index).is_none() && self.peek(index).is_some();
        let verdict = match self.leg(index).and_then(|leg| leg.dialog.as_mut()) {
            Some(dialog) if dialog.matches(message) => {
                dialog.receive(message).map_err(|reject| reject.status)
            }
            // It left by a transfer and says good-bye while we do.
            _ if method == Method::Bye && left => Err(200),
            _ => Err(481),
        };
        if let Err(status) = verdict {
            return self.respond(site, now, name, tx, &what, OutgoingResponse::new(status));
        }
        if matches!(self.phase, Phase::Ending) && method != Method::Bye {
            return self.respond(site, now, name, tx, &what, OutgoingResponse::new(481));
        }
        match method {
            Method::Bye => match private {
                Some(at) => self.private_bye(site, now, at, tx),
                None => {
                    if self.progress.end.is_none() {
                        self.progress.cause = Cause::of(message);
                    }
                    self.peer_bye(site, now, index, tx);
                }
            },
            Method::Prack if index == self.caller.index => self.prack(site, now, tx, message),
            Method::Invite | Method::Update => self.reinvited(site, now, index, tx, message),
            Method::Info => self.info(site, now, index, tx, message),
            Method::Refer => self.refer(site, now, index, tx, message),
            Method::Options => {
                let response = crate::b2bua::capabilities(OutgoingResponse::new(200));
                self.respond(site, now, name, tx, &what, response);
            }
            Method::Message => {
                let response =
                    OutgoingResponse::new(200).with_header(HeaderName::Allow, ALLOW.to_owned());
                self.respond(site, now, name, tx, &what, response);
            }
            _ => {
                let response =
                    OutgoingResponse::new(405).with_header(HeaderName::Allow, ALLOW.to_owned());
                self.respond(site, now, name, tx, &what, response);
            }
        }
    }

    fn peer_bye(&mut self, site: &mut Site, now: Now, index: u16, tx: ServerTx) {
        let name = self.party_name(index);
        self.respond(site, now, name, tx, "BYE", OutgoingResponse::new(200));
        if let Some(leg) = self.leg(index) {
            leg.flags.over = true;
            // A BYE instead of the ACK ends the dialog all the same (RFC 3261 §15).
            leg.unacked = None;
        }
        if self.transferer_left(site, now, index) {
            return;
        }
        let answered = self.is_established();
        let reason = match (index == self.caller.index, answered) {
            (true, true) => EndReason::CallerHungUp,
            (true, false) => EndReason::CallerCancelled,
            _ => EndReason::CalleeHungUp,
        };
        self.finish(site, now, reason, 487);
    }

    /// re-INVITE or UPDATE: answered at our side, the other side is told only what concerns it.
    fn reinvited(
        &mut self,
        site: &mut Site,
        now: Now,
        index: u16,
        tx: ServerTx,
        message: &Message,
    ) {
        let name = self.party_name(index);
        let what = message.method().as_str().to_owned();
        let invite = *message.method() == Method::Invite;
        let offers = !message.body().is_empty();
        let contact = self.peek(index).map(|leg| site.contact(&leg.flow));
        let answered = index != self.caller.index || self.progress.final_status.is_some();
        if !answered {
            return self.renewed_early(site, now, tx, message);
        }
        let wait = site.random() % 11;
        let Some(leg) = self.leg(index) else { return };
        if let Some(refusal) = refuse_renewal(leg, invite, offers, wait) {
            return self.respond(site, now, name, tx, &what, refusal);
        }
        let agreed = match sip_proxy::session_timer::answer(site.config.session, message) {
            Ok(agreed) => agreed,
            Err(min) => {
                let response =
                    OutgoingResponse::new(422).with_header(HeaderName::MinSe, min.to_string());
                return self.respond(site, now, name, tx, &what, response);
            }
        };
        let body = if offers {
            if !super::call::is_sdp(message) {
                return self.respond(site, now, name, tx, &what, OutgoingResponse::new(415));
            }
            match leg.answer_offer(message.body()) {
                Ok(answer) => Some(answer),
                Err(error) => {
                    if let Some(negotiation) = leg.negotiation() {
                        negotiation.rollback();
                    }
                    self.note(now, Line::Media(format!("{name}: offer refused: {error}")));
                    return self.respond(
                        site,
                        now,
                        name,
                        tx,
                        &what,
                        OutgoingResponse::new(error.status()),
                    );
                }
            }
        } else if invite {
            leg.reoffer()
        } else {
            None
        };
        if let Some(dialog) = leg.dialog.as_mut() {
            dialog.refresh_target(message);
        }
        if invite {
            leg.unacked = Some((tx, !offers));
        }
        leg.learn(message);
        let held = leg.flags.held;
        let mut response =
            OutgoingResponse::new(200).with_header(HeaderName::Allow, ALLOW.to_owned());
        response.contact = contact;
        response.body = body.map(sdp);
        let response = leg.grant_timer(now, agreed, response);
        self.respond(site, now, name.clone(), tx, &what, response);
        if offers {
            self.note(
                now,
                Line::Media(format!(
                    "{name}: {}",
                    if held { "holds" } else { "media renewed" }
                )),
            );
            self.media_changed(site, now, index);
            self.sync_hold(site, now);
        }
    }

    /// A re-INVITE or UPDATE of the caller before its call is answered.
    fn renewed_early(&mut self, site: &mut Site, now: Now, tx: ServerTx, message: &Message) {
        let name = self.caller.party.device.clone();
        let what = message.method().as_str().to_owned();
        let mut response = if *message.method() == Method::Invite {
            // RFC 3261 §14.2: the first has no final response yet.
            let wait = site.random() % 11;
            OutgoingResponse::new(500).with_header(HeaderName::RetryAfter, wait.to_string())
        } else if message.body().is_empty() {
            OutgoingResponse::new(200)
        } else {
            self.offer_before_answer(site, message)
        };
        if response.status == 200 {
            if let Some(dialog) = self.caller.dialog.as_mut() {
                dialog.refresh_target(message);
            }
            self.caller.learn(message);
            response.contact = Some(site.contact(&self.caller.flow));
            response = response.with_header(HeaderName::Allow, ALLOW.to_owned());
        }
        self.respond(site, now, name, tx, &what, response);
    }

    /// A leg's negotiated form changed.
    pub(crate) fn media_changed(&mut self, site: &mut Site, now: Now, index: u16) {
        let door = self.door_side().map(|(index, _)| index);
        let feeds = door.is_some_and(|door| door != index);
        if let Some(leg) = self.leg(index) {
            if let Some(media) = &leg.media {
                leg.flags.held = media.negotiation.remote_on_hold();
            }
            leg.configure_media(site, feeds);
        }
        self.driving_held(site, index);
        // Audio that comes only now, after a ring notice.
        if matches!(&self.phase, Phase::Talking(talk) if !talk.joined) {
            self.join(site, now);
        }
    }

    /// Brings what each side was told of the other's hold in line with what is. A side that takes no re-INVITE is not
    /// told: the bridge gates its media.
    pub(crate) fn sync_hold(&mut self, site: &mut Site, now: Now) {
        let Phase::Talking(talk) = &self.phase else {
            return;
        };
        let (first, second) = (self.caller.flags.held, talk.winner.flags.held);
        let winner = talk.winner.index;
        let caller = self.caller.index;
        self.tell_hold(site, now, caller, second);
        self.tell_hold(site, now, winner, first);
    }

    fn tell_hold(&mut self, site: &mut Site, now: Now, index: u16, hold: bool) {
        let name = self.party_name(index);
        let tx = self.take_tx_later();
        let Some(leg) = self.leg(index) else { return };
        if leg.flags.told_hold == hold && !leg.flags.renew {
            leg.retry_at = None;
            return;
        }
        if !leg.takes_reinvite() {
            leg.flags.told_hold = hold;
            leg.retry_at = None;
            return;
        }
        if leg.ours.is_some() || leg.retry_at.is_some_and(|at| at > now.mono) {
            return;
        }
        if leg.unacked.is_some() {
            leg.retry_at = Some(now.mono + HOLD_AGAIN);
            return;
        }
        let Some(offer) = leg
            .negotiation()
            .map(|negotiation| negotiation.reoffer(told(hold)))
        else {
            return;
        };
        let Some(mut request) = leg.request(site, Method::Invite) else {
            return;
        };
        request.headers.push((HeaderName::Allow, ALLOW.to_owned()));
        leg.renew_timer(&site.config, &mut request);
        request.body = Some(sdp(offer));
        leg.flags.told_hold = hold;
        let renews = std::mem::take(&mut leg.flags.renew);
        leg.retry_at = None;
        leg.ours = Some(OurReinvite {
            tx,
            renews,
            cseq: request.cseq,
            update: false,
            refresh: false,
        });
        let to = leg.flow;
        self.next_tx = self.next_tx.wrapping_add(1) & super::MAX_TX;
        site.sip(sip_proxy::Input::Request { tx, request, to });
        self.note(
            now,
            Line::Out {
                to: name,
                what: format!("INVITE ({})", if hold { "hold" } else { "resume" }),
            },
        );
    }

    /// The next transaction's number, not yet used.
    fn take_tx_later(&self) -> ClientTx {
        super::client_tx(self.number, self.next_tx)
    }

    /// A response to a re-INVITE of ours, or a further 2xx to the winning INVITE.
    pub(crate) fn dialog_response(
        &mut self,
        site: &mut Site,
        now: Now,
        tx: ClientTx,
        message: &Message,
    ) {
        let status = message.status().unwrap_or(0);
        if status < 200 {
            return;
        }
        let index = match &self.phase {
            Phase::Talking(talk) if talk.winner_tx == Some(tx) => {
                // Another device behind the same contact answered too: its dialog is ACKed and ended.
                if status < 300 {
                    self.ack_stray(site, tx, message);
                }
                return;
            }
            _ => {
                let waits = |leg: &&Leg| leg.ours.as_ref().is_some_and(|ours| ours.tx == tx);
                let found = self.established().find(waits).map(|leg| leg.index);
                let Some(index) = found else {
                    return self.ack_stray_invite(site, tx, message);
                };
                index
            }
        };
        self.heard(now, index, message);
        let owner = self.peek(index).is_some_and(|leg| leg.flags.uac);
        let wait = glare_wait(site, owner);
        let Some(leg) = self.leg(index) else { return };
        let Some(ours) = leg.ours.take() else { return };
        if ours.update || ours.refresh && status >= 300 {
            if let Some(negotiation) = leg.negotiation().filter(|_| !ours.update) {
                negotiation.rollback();
            }
            return self.refreshed(site, now, index, &ours, message);
        }
        match status {
            200..=299 => {
                leg.learn(message);
                if leg.session.is_some() {
                    leg.accept_timer(now, message);
                }
                if let Some(dialog) = leg.dialog.as_mut() {
                    dialog.refresh_target(message);
                    let request = dialog.ack(ours.cseq);
                    site.sip(sip_proxy::Input::Ack {
                        request,
                        to: leg.flow,
                        invite: tx,
                    });
                }
                let taken = leg
                    .negotiation()
                    .map(|negotiation| negotiation.receive_answer(message.body()));
                let name = self.party_name(index);
                self.note(
                    now,
                    Line::Out {
                        to: name.clone(),
                        what: "ACK".to_owned(),
                    },
                );
                if let Some(Err(error)) = taken {
                    self.note(now, Line::Media(format!("{name}: answer refused: {error}")));
                    if let Some(negotiation) = self.leg(index).and_then(Leg::negotiation) {
                        negotiation.rollback();
                    }
                } else {
                    self.media_changed(site, now, index);
                }
            }
            408 | 481 => self.gone(site, now, index),
            491 => {
                if let Some(negotiation) = leg.negotiation() {
                    negotiation.rollback();
                }
                if ours.renews {
                    leg.flags.renew = true;
                } else {
                    leg.flags.told_hold = !leg.flags.told_hold;
                }
                leg.retry_at = Some(now.mono + wait);
            }
            // Its media has moved, and it will not follow.
            _ if ours.renews => self.finish(site, now, EndReason::MediaRefused, 0),
            _ => {
                // The peer will not have it: the change ends at our side.
                if let Some(negotiation) = leg.negotiation() {
                    negotiation.rollback();
                }
            }
        }
    }

    /// A re-INVITE of ours got no response: the peer is gone (RFC 3261 §12.2.1.2).
    pub(crate) fn dialog_failed(&mut self, site: &mut Site, now: Now, tx: ClientTx) {
        let ours = |leg: &&mut Leg| leg.ours.as_ref().is_some_and(|ours| ours.tx == tx);
        let hit = self.established_mut().find(ours).map(|leg| {
            leg.ours = None;
            leg.index
        });
        if let Some(index) = hit {
            self.gone(site, now, index);
        }
    }

    /// INFO: a digit, a request for a key frame, or nothing.
    fn info(&mut self, site: &mut Site, now: Now, index: u16, tx: ServerTx, message: &Message) {
        let name = self.party_name(index);
        let kind = message.content_type().unwrap_or("");
        let bare = kind.split(';').next().unwrap_or("").trim();
        if message.body().is_empty() || bare.eq_ignore_ascii_case(MEDIA_CONTROL) {
            return self.respond(site, now, name, tx, "INFO", OutgoingResponse::new(200));
        }
        let Some((digit, held)) = parse_info(kind, message.body()) else {
            let accept = "application/dtmf-relay, application/dtmf, application/media_control+xml";
            let response =
                OutgoingResponse::new(415).with_header(HeaderName::Accept, accept.to_owned());
            return self.respond(site, now, name, tx, "INFO", response);
        };
        self.respond(site, now, name, tx, "INFO", OutgoingResponse::new(200));
        self.digit(site, now, index, digit, DigitSource::Info, millis(held));
    }

    /// The worker says something of a leg.
    pub(crate) fn media_event(&mut self, site: &mut Site, now: Now, index: u16, event: &Event) {
        match event {
            Event::Digit {
                digit,
                source,
                duration_ms,
                ..
            } => {
                let held = millis(Some(*duration_ms));
                self.digit(site, now, index, *digit, *source, held);
            }
            Event::Latched { .. } => {
                let name = self.party_name(index);
                self.note(now, Line::Media(format!("{name}: first packet")));
            }
            Event::Silent { for_, .. } => {
                let held = self.peek(index).is_some_and(|leg| leg.flags.held);
                if self.is_established() && !held {
                    let name = self.party_name(index);
                    self.note(
                        now,
                        Line::Media(format!("{name}: nothing heard for {} s", for_.as_secs())),
                    );
                    self.finish(site, now, EndReason::MediaSilent, 0);
                }
            }
            Event::DigitsSent { order, .. } => self.digits_sent(site, *order),
            Event::Closed { leg, stats } => self.media_closed(index, *leg, *stats),
            Event::PlayDone { .. } | Event::Stats { .. } => {}
        }
    }

    /// A key press, `held` so long by now. Only a person's joined leg of a call with a door means anything (doors.md
    /// rule 2).
    fn digit(
        &mut self,
        site: &mut Site,
        now: Now,
        index: u16,
        digit: Digit,
        source: DigitSource,
        held: Duration,
    ) {
        let name = self.party_name(index);
        let by = match source {
            DigitSource::Rtp => "RFC 4733",
            DigitSource::Info => "INFO",
            DigitSource::InBand => "in-band",
        };
        if self.confirm_key(site, now, index, (digit, source, held)) {
            return;
        }
        let Phase::Talking(talk) = &self.phase else {
            return self.note(
                now,
                Line::Unlock(format!("{name}: key by {by} before the answer: ignored")),
            );
        };
        let joined = talk.joined;
        let map = talk.keys.clone();
        let Some(leg) = self.leg(index) else { return };
        let Some(digit) = leg.keys.push_held(now.mono, held, digit, source) else {
            return;
        };
        let held = leg.flags.held;
        let Some((door_leg, door)) = self.door_side() else {
            return self.note(
                now,
                Line::Unlock(format!("{name}: key by {by}: no door in this call")),
            );
        };
        if door_leg == index {
            return self.note(
                now,
                Line::Unlock(format!("{name}: key by {by} from the door's side: ignored")),
            );
        }
        if held || !joined {
            return self.note(
                now,
                Line::Unlock(format!("{name}: key by {by} while on hold: ignored")),
            );
        }
        let plan = std::sync::Arc::clone(&self.plan);
        match plan.key(&map, &door, digit.label()) {
            Some(KeyAction::Open {
                door: target,
                output,
                two_step,
                ..
            }) => {
                let line = format!(
                    "{name}: key {} by {by}: open {target}/{output}",
                    digit.label()
                );
                self.note(now, Line::Unlock(line));
                let leg = if target == door {
                    LegState::Answered
                } else {
                    LegState::None
                };
                let evidence = unlock::Evidence::Digit(digit.label());
                let wish = Wish {
                    door: target,
                    output: Some(output),
                    two_step,
                    leg,
                    evidence,
                    reply: None,
                };
                self.wish(site, index, wish);
            }
            Some(KeyAction::Transfer { target, source }) => {
                let line = format!(
                    "{name}: key {} by {by}: transfer to {target}",
                    digit.label()
                );
                self.note(now, Line::Call(line));
                self.transfer_by_key(site, now, index, &target, source);
            }
            Some(KeyAction::Absent) => {
                self.note(
                    now,
                    Line::Unlock(format!(
                        "{name}: key {} by {by}: no such output here",
                        digit.label()
                    )),
                );
            }
            None => self.note(
                now,
                Line::Unlock(format!("{name}: key * by {by}: means nothing")),
            ),
        }
    }

    /// An authenticated `Action: buzz` of leg `index` in this call.
    pub(crate) fn buzz(
        &mut self,
        site: &mut Site,
        now: Now,
        index: u16,
        tx: ServerTx,
        output: Option<String>,
    ) -> bool {
        let Some((door_leg, door)) = self.door_side() else {
            return false;
        };
        // In the call now: one that left it has no right by it any more.
        let there = |leg: &&Leg| leg.index == index && !leg.flags.over;
        let leg = self.established().find(there);
        let held = leg.is_none_or(|leg| leg.flags.held);
        let joined = matches!(&self.phase, Phase::Talking(talk) if talk.joined);
        if door_leg == index || held || !joined {
            return false;
        }
        let name = self.party_name(index);
        self.note(now, Line::Unlock(format!("{name}: Action: buzz")));
        let wish = Wish {
            door,
            output,
            two_step: false,
            leg: LegState::Answered,
            evidence: unlock::Evidence::Buzz,
            reply: Some(tx),
        };
        self.wish(site, index, wish);
        true
    }

    fn wish(&mut self, site: &mut Site, index: u16, wish: Wish) {
        let Some(leg) = self.peek(index) else { return };
        let device = leg.party.device.clone();
        let address = Some(leg.flow.remote.to_string());
        let request = unlock::Request {
            // Rights are judged by the plan and directory of this moment, not of the call's beginning.
            actor: Actor::of_device(&site.plan, &site.directory, &device),
            who: format!("device:{device}"),
            door: wish.door,
            output: wish.output,
            method: OpenMethod::Handset,
            leg: wish.leg,
            call: Some(self.id.clone()),
            address,
            evidence: wish.evidence,
            reply: wish.reply,
            two_step: wish.two_step,
        };
        self.unlocks += 1;
        site.effects.push_back(Effect::Unlock(Box::new(request)));
    }
}

struct Wish {
    door: String,
    output: Option<String>,
    two_step: bool,
    leg: LegState,
    evidence: unlock::Evidence,
    reply: Option<ServerTx>,
}

/// How long a key has been down, where a report says so.
fn millis(held: Option<u32>) -> Duration {
    Duration::from_millis(u64::from(held.unwrap_or(0)))
}

/// Why a re-INVITE or UPDATE of a peer is refused for now: one INVITE, and one offer, at a time (RFC 3261 §14.2,
/// RFC 3311 §5.2). An UPDATE without an offer meets nothing.
fn refuse_renewal(leg: &Leg, invite: bool, offers: bool, wait: u64) -> Option<OutgoingResponse> {
    let glare = leg.ours.as_ref().is_some_and(|ours| !ours.update);
    if glare && (invite || offers) {
        return Some(OutgoingResponse::new(491));
    }
    match leg.unacked {
        // Our offer, in the 2xx to a re-INVITE without one, waits for its answer.
        Some((_, true)) if offers && !invite => Some(OutgoingResponse::new(491)),
        Some(_) if invite || offers => {
            Some(OutgoingResponse::new(500).with_header(HeaderName::RetryAfter, wait.to_string()))
        }
        _ => None,
    }
}
