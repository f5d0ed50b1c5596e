//! The caller's early dialog: 180, 183 with SDP and ringback, reliable where the caller takes it (RFC 3262). One To tag
//! and one SDP from the first 183 on: which branch rings or wins is no business of the caller's.

use std::time::{Duration, Instant};

use bytes::Bytes;
use dialplan::Preview;
use media_bridge::tone::Country;
use media_bridge::{Command, Tone};
use sip_proxy::reliable::{self, Due, Provisionals};
use sip_proxy::session_timer::Agreed;
use sip_proxy::{HeaderName, Message, OutgoingResponse, ServerTx};

use super::call::{Call, PROVISIONAL_EVERY, Phase, is_sdp};
use super::offer::{ALLOW, sdp};
use crate::Now;
use crate::cdr::EndReason;
use crate::site::Site;
use crate::story::Line;

/// A visitor does not stand in silence: where no phone rings by then (push, a trunk that takes its time), ringback is
/// heard all the same.
pub(crate) const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// What the caller was told before the answer.
#[derive(Debug)]
pub(crate) struct Opening {
    /// For a caller that takes reliable responses.
    reliable: Option<Provisionals>,
    /// CSeq of the INVITE.
    cseq: u32,
    /// The SDP of the 183.
    sdp: Option<Bytes>,
    /// A PRACK has come for it: the exchange is complete, and the 200 bears no SDP.
    settled: bool,
    /// Somebody answered while a 183 with SDP waits for its PRACK: the 200 waits too (RFC 3262 §3).
    held: bool,
    /// The session timer the 200 will agree to.
    pub(crate) session: Option<Agreed>,
}

impl Opening {
    /// For an INVITE.
    pub(crate) fn new(site: &mut Site, invite: &Message) -> Self {
        let reliable = reliable::takes(invite).then(|| {
            let random = (site.random() >> 32) as u32;
            Provisionals::new(random, &site.config.endpoint.timers)
        });
        Opening {
            reliable,
            cseq: invite.cseq(),
            sdp: None,
            settled: false,
            held: false,
            session: None,
        }
    }

    /// When a reliable response is due again.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.reliable.as_ref()?.next_timeout()
    }

    /// Whether the 2xx must wait; if so it is sent after the PRACK.
    pub(crate) fn hold_success(&mut self) -> bool {
        self.held = self
            .reliable
            .as_ref()
            .is_some_and(Provisionals::holds_success);
        self.held
    }

    /// What the 200 bears when SDP was sent already: that SDP, or nothing once it was acknowledged. `None`: none was sent.
    pub(crate) fn repeated(&self) -> Option<Option<Bytes>> {
        let sdp = self.sdp.clone()?;
        Some((!self.settled).then_some(sdp))
    }

    /// An offer of ours waits for the PRACK that answers it.
    pub(crate) fn awaits_answer(&self) -> bool {
        self.sdp.is_some() && !self.settled
    }
}

impl Call {
    /// A ring step begins: a caller that shows its picture or sound before the answer needs a 183 with SDP for it, and
    /// hears ringback from the bridge.
    pub(crate) fn ring_begins(&mut self, site: &mut Site, now: Now, preview: Preview) {
        let wanted = preview != Preview::None && self.caller.profile.early_media;
        if !wanted || self.opening.sdp.is_some() || self.progress.final_status.is_some() {
            return;
        }
        // RFC 3261 §13.2.1: a first offer of ours must be reliable.
        if self.late_offer && self.opening.reliable.is_none() {
            return self.note(
                now,
                Line::Media("no early media: no offer, and no 100rel".to_owned()),
            );
        }
        let late = self.late_offer;
        let Some(negotiation) = self.caller.negotiation() else {
            return;
        };
        if !late && negotiation.ring_notice() {
            return;
        }
        let body = if late {
            negotiation.offer(None)
        } else {
            match negotiation.answer(None) {
                Ok(body) => body,
                // It is refused when somebody answers, as without early media.
                Err(_) => return,
            }
        };
        self.opening.sdp = Some(body.clone());
        self.send_provisional(site, now, 183, Some(body));
        if !late {
            self.ringback(site);
        }
    }

    /// Opens the caller's media and plays ringback to it.
    fn ringback(&mut self, site: &mut Site) {
        let feeds = self.caller.party.door.is_none();
        self.caller.configure_media(site, feeds);
        if let Some(media) = self.caller.media.as_ref().filter(|media| media.opened) {
            site.media(
                media.lease.worker,
                Command::Play {
                    leg: media.id,
                    tone: Tone::Ringback {
                        country: Country::default(),
                    },
                    repeat: true,
                },
            );
        }
    }

    /// A branch rings: the caller hears it once, and then each minute.
    pub(crate) fn rings(&mut self, site: &mut Site, now: Now) {
        if self.transfer.is_some() {
            return self.target_rings(site, now);
        }
        if self.times.rang.is_none() {
            self.times.rang = Some(now.mono);
            self.provisional(site, now);
        }
    }

    /// A provisional response to the caller (RFC 3261 §13.3.1.1).
    pub(crate) fn provisional(&mut self, site: &mut Site, now: Now) {
        if self.progress.final_status.is_some() {
            self.provisional_at = None;
            return;
        }
        // Said once where it is reliable; else each response says it anew, for any of them may be lost.
        let body = self.opening.sdp.clone();
        let body = body.filter(|_| self.opening.reliable.is_none());
        self.send_provisional(site, now, 180, body);
    }

    fn send_provisional(&mut self, site: &mut Site, now: Now, status: u16, body: Option<Bytes>) {
        let mut response = OutgoingResponse::new(status).with_to_tag(self.caller.local_tag.clone());
        response.contact = Some(site.contact(&self.caller.flow));
        if self.opening.reliable.is_some() {
            // Within the early dialog UPDATE may come (RFC 3311 §5.1).
            response = response.with_header(HeaderName::Allow, ALLOW);
        }
        response.body = body.map(sdp);
        let cseq = self.opening.cseq;
        let response = match &mut self.opening.reliable {
            Some(reliable) => reliable.send(now.mono, cseq, response),
            None => Some(response),
        };
        if let Some(response) = response {
            self.respond_invite(site, now, response);
        }
        self.provisional_at = Some(now.mono + PROVISIONAL_EVERY);
    }

    fn respond_invite(&mut self, site: &mut Site, now: Now, response: OutgoingResponse) {
        let device = self.caller.party.device.clone();
        self.respond(site, now, device, self.caller_tx, "INVITE", response);
    }

    /// What is due towards a caller that waits.
    pub(crate) fn opening_timers(&mut self, site: &mut Site, now: Now) {
        if self.provisional_at.is_some_and(|at| at <= now.mono) {
            self.provisional(site, now);
        }
        if self.progress.final_status.is_some() {
            return;
        }
        let reliable = self.opening.reliable.as_mut();
        match reliable.and_then(|reliable| reliable.timeout(now.mono)) {
            Some(Due::Repeat(response)) => self.respond_invite(site, now, response),
            Some(Due::GivenUp) => {
                self.note(now, Line::Call("no PRACK".to_owned()));
                self.finish(site, now, EndReason::PeerGone, 504);
            }
            None => {}
        }
    }

    /// PRACK of the caller.
    pub(crate) fn prack(&mut self, site: &mut Site, now: Now, tx: ServerTx, message: &Message) {
        let name = self.caller.party.device.clone();
        let taken = match &mut self.opening.reliable {
            Some(reliable) => reliable.acknowledge(now.mono, message),
            None => Err(sip_proxy::Reject::new(481, "No Such Provisional Response")),
        };
        let taken = match taken {
            Ok(taken) => taken,
            Err(refused) => {
                let response = OutgoingResponse::new(refused.status).with_reason(refused.reason);
                return self.respond(site, now, name, tx, "PRACK", response);
            }
        };
        let answers = taken.bore_body && self.late_offer && !self.opening.settled;
        self.opening.settled |= taken.bore_body;
        let response = if answers {
            let negotiation = self.caller.negotiation();
            match negotiation.map(|negotiation| negotiation.receive_answer(message.body())) {
                Some(Ok(())) => OutgoingResponse::new(200),
                _ => OutgoingResponse::new(488),
            }
        } else if message.body().is_empty() {
            OutgoingResponse::new(200)
        } else {
            self.offer_before_answer(site, message)
        };
        let failed = answers && response.status != 200;
        self.respond(site, now, name, tx, "PRACK", response);
        if failed {
            self.note(now, Line::Media("answer in PRACK refused".to_owned()));
            return self.finish(site, now, EndReason::MediaRefused, 488);
        }
        if answers {
            self.ringback(site);
        }
        if let Some(next) = taken.next
            && self.progress.final_status.is_none()
        {
            self.respond_invite(site, now, next);
        }
        if self.opening.held
            && matches!(self.phase, Phase::Talking(_))
            && !self.opening.hold_success()
        {
            self.answer_caller(site, now);
        }
    }

    /// An offer of the caller, in a PRACK or UPDATE, before it was answered (RFC 3262 §5, RFC 3311 §5.2).
    pub(crate) fn offer_before_answer(
        &mut self,
        site: &mut Site,
        message: &Message,
    ) -> OutgoingResponse {
        if !is_sdp(message) {
            return OutgoingResponse::new(415);
        }
        if self.late_offer && self.opening.awaits_answer() {
            return OutgoingResponse::new(491);
        }
        if !self.opening.settled {
            let wait = site.random() % 11;
            return OutgoingResponse::new(500)
                .with_header(HeaderName::RetryAfter, wait.to_string());
        }
        match self.caller.answer_offer(message.body()) {
            Ok(answer) => {
                self.caller
                    .configure_media(site, self.caller.party.door.is_none());
                let mut response = OutgoingResponse::new(200);
                response.body = Some(sdp(answer));
                response
            }
            Err(error) => {
                if let Some(negotiation) = self.caller.negotiation() {
                    negotiation.rollback();
                }
                OutgoingResponse::new(error.status())
            }
        }
    }
}
