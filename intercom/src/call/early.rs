//! Early dialogs of a branch: each has its own tag, RSeq and offer/answer (RFC 3261 §12.1, RFC 3262 §4, RFC 3311 §5).

use media_bridge::{Negotiation, OfferError};
use sip_proxy::reliable::{self, Arrival, Arrivals};
use sip_proxy::{Dialog, HeaderName, Message, Method, OutgoingResponse, Reject, ServerTx};

use super::branch::{Branch, BranchKind, BranchState};
use super::call::{Call, is_sdp};
use super::offer::{ALLOW, sdp};
use crate::Now;
use crate::site::Site;
use crate::story::Line;

/// Early dialogs kept per branch; a further one rings, but is neither acknowledged nor shown until its 2xx.
pub(crate) const MAX_EARLY: usize = 8;

/// An early dialog.
#[derive(Debug)]
pub(crate) struct Early {
    pub(crate) dialog: Dialog,
    arrivals: Arrivals,
    /// The branch's offer as this dialog answered it.
    pub(crate) negotiation: Option<Negotiation>,
    /// The answer came reliably: from here on offers may be made (RFC 3262 §5).
    settled: bool,
}

impl Branch {
    /// The early dialog a response belongs to, made when it is new.
    fn early(&mut self, message: &Message) -> Option<&mut Early> {
        let tag = message.to_tag().filter(|tag| !tag.is_empty())?;
        let known = |early: &Early| early.dialog.remote_tag == tag;
        if let Some(at) = self.earlies.iter().position(known) {
            return self.earlies.get_mut(at);
        }
        if self.earlies.len() >= MAX_EARLY {
            return None;
        }
        let dialog = Dialog::from_response(&self.request, message, self.leg.flow).ok()?;
        self.earlies.push(Early {
            dialog,
            arrivals: Arrivals::default(),
            negotiation: None,
            settled: false,
        });
        self.earlies.last_mut()
    }

    /// The dialog that a 2xx confirms. Its numbers go on from its early dialog's: a PRACK or UPDATE has used some.
    pub(crate) fn confirmed(&self, message: &Message) -> Result<Dialog, Reject> {
        let mut dialog = Dialog::from_response(&self.request, message, self.leg.flow)?;
        let mut earlies = self.earlies.iter().map(|early| &early.dialog);
        if let Some(early) = earlies.find(|early| early.remote_tag == dialog.remote_tag) {
            dialog.local_cseq = early.local_cseq;
            dialog.remote_cseq = early.remote_cseq;
        }
        Ok(dialog)
    }

    /// Takes the answer of a 2xx: its own, else the one its early dialog has given already (RFC 3262 §5; some phones
    /// leave it out although their 183 was not reliable).
    pub(crate) fn take_answer(&mut self, message: &Message) -> Result<(), OfferError> {
        let early = message
            .to_tag()
            .and_then(|tag| {
                let mut earlies = self.earlies.iter_mut();
                earlies.find(|early| early.dialog.remote_tag == tag)
            })
            .and_then(|early| early.negotiation.take());
        let Some(negotiation) = self.leg.negotiation() else {
            return Ok(());
        };
        if let Some(early) = early {
            *negotiation = early;
            if message.body().is_empty() {
                return Ok(());
            }
        }
        negotiation.receive_answer(message.body())
    }
}

impl Call {
    /// A 101 to 199 of branch `at`.
    pub(crate) fn branch_provisional(
        &mut self,
        site: &mut Site,
        now: Now,
        at: usize,
        message: &Message,
    ) {
        let wanted = reliable::rseq(message);
        let tx = wanted.map(|_| self.take_tx());
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        let pending = branch.leg.media.as_ref().map(|media| &media.negotiation);
        let pending = pending.filter(|_| !message.body().is_empty() && is_sdp(message));
        let mut answered = pending.cloned();
        let (flow, device) = (branch.leg.flow, branch.leg.party.device.clone());
        let contact = site.contact(&flow);
        let mut prack = None;
        let mut shown = false;
        // A trunk's early media is never heard at the door: announcements would be, and whoever they are meant for.
        let may_show = matches!(branch.kind, BranchKind::Device);
        if let Some(early) = branch.early(message) {
            if let (Some(rseq), Some(tx)) = (wanted, tx) {
                if early.arrivals.receive(rseq) != Arrival::Next {
                    return;
                }
                let mut request = early.dialog.request(Method::Prack);
                request.contact = Some(contact);
                let rack = reliable::rack(rseq, message);
                request.headers.push((HeaderName::RAck, rack));
                prack = Some((tx, request));
            }
            if let Some(negotiation) = &mut answered
                && !early.settled
                && negotiation.receive_answer(message.body()).is_ok()
            {
                early.negotiation = answered;
                early.settled = wanted.is_some();
                shown = may_show;
            }
        }
        let first = matches!(branch.state, BranchState::Invited);
        match branch.state {
            BranchState::Invited | BranchState::Ringing if shown => {
                branch.state = BranchState::Preview;
            }
            BranchState::Invited => branch.state = BranchState::Ringing,
            _ => {}
        }
        if let Some((tx, request)) = prack {
            let to = flow;
            site.sip(sip_proxy::Input::Request { tx, request, to });
            let what = "PRACK".to_owned();
            self.note(now, Line::Out { to: device, what });
        }
        if first {
            self.rings(site, now);
        }
    }

    /// A request of branch `at` before its answer.
    pub(crate) fn early_request(
        &mut self,
        site: &mut Site,
        now: Now,
        at: usize,
        tx: ServerTx,
        message: &Message,
    ) {
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        let name = branch.leg.party.device.clone();
        let what = message.method().as_str().to_owned();
        let contact = site.contact(&branch.leg.flow);
        let response = if branch.is_live() {
            branch.early_response(message).with_contact(contact)
        } else {
            OutgoingResponse::new(481)
        };
        self.respond(site, now, name, tx, &what, response);
    }
}

impl Branch {
    fn early_response(&mut self, message: &Message) -> OutgoingResponse {
        let mut earlies = self.earlies.iter_mut();
        let Some(early) = earlies.find(|early| early.dialog.matches(message)) else {
            return OutgoingResponse::new(481);
        };
        if let Err(refused) = early.dialog.receive(message) {
            return OutgoingResponse::new(refused.status);
        }
        let done = || OutgoingResponse::new(200).with_header(HeaderName::Allow, ALLOW);
        match message.method() {
            Method::Update => {}
            Method::Info | Method::Options | Method::Message => return done(),
            // RFC 3261 §15: the callee must not end an early dialog by BYE.
            Method::Bye => return OutgoingResponse::new(481),
            _ => return OutgoingResponse::new(405).with_header(HeaderName::Allow, ALLOW),
        }
        early.dialog.refresh_target(message);
        if message.body().is_empty() {
            return done();
        }
        if !is_sdp(message) {
            return OutgoingResponse::new(415);
        }
        // RFC 3311 §5.2: our offer, in the INVITE, has no reliable answer yet.
        let Some(negotiation) = early.negotiation.as_mut().filter(|_| early.settled) else {
            return OutgoingResponse::new(491);
        };
        let prefer = negotiation.agreed().map(|config| config.codec);
        let answer = negotiation
            .receive_offer(message.body())
            .and_then(|()| negotiation.answer(prefer));
        match answer {
            Ok(answer) => {
                let mut response = done();
                response.body = Some(sdp(answer));
                response
            }
            Err(error) => {
                negotiation.rollback();
                OutgoingResponse::new(error.status())
            }
        }
    }
}
