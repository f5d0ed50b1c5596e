//! `Action: buzz` received: authenticated by itself, judged, answered with what became of it; never routed.

use bytes::Bytes;
use dialplan::{Actor, LegState, Method};
use media_bridge::OfferError;
use sip_proxy::{Dialog, Flow, HeaderName, Message, Method as Verb, OutgoingResponse, ServerTx};

use super::B2bua;
use crate::Now;
use crate::buzz::{Buzz, BuzzError};
use crate::call::{Party, is_sdp, unsupported_options};
use crate::site::Effect;
use crate::unlock::{Evidence, Request};

/// An INVITE that was a buzz, until its ACK.
pub(super) struct BuzzInvite {
    dialog: Dialog,
    /// The body of a 2xx: no media is ever made.
    nothing: Bytes,
}

impl B2bua {
    /// A buzz on an authenticated leg of a call.
    pub(super) fn buzz_in_call(
        &mut self,
        now: Now,
        tx: ServerTx,
        number: u64,
        index: u16,
        action: Result<Buzz, BuzzError>,
    ) {
        let Ok(buzz) = action else {
            return self.answer(tx, OutgoingResponse::new(400));
        };
        let taken = match self.calls.get_mut(&number) {
            Some(call) => call.buzz(&mut self.site, now, index, tx, buzz.output),
            None => false,
        };
        if !taken {
            // Ringing, on hold, the door's own leg, or no door in the call: the same answer as without the right.
            self.answer(tx, OutgoingResponse::new(403));
        }
    }

    /// A buzz by MESSAGE or INVITE to the door's address.
    #[expect(
        clippy::too_many_arguments,
        reason = "one request and what was learnt of it"
    )]
    pub(super) fn buzz_outside(
        &mut self,
        _now: Now,
        tx: ServerTx,
        message: &Message,
        flow: &Flow,
        party: &Party,
        dial: &str,
        action: Result<Buzz, BuzzError>,
    ) {
        let Ok(buzz) = action else {
            return self.answer(tx, OutgoingResponse::new(400));
        };
        let unsupported = unsupported_options(message);
        if !unsupported.is_empty() {
            let response =
                OutgoingResponse::new(420).with_header(HeaderName::Unsupported, unsupported);
            return self.answer(tx, response);
        }
        // A door that does not exist is denied by the policy, in the same words as one without the right.
        let door = self
            .site
            .party(dial)
            .and_then(|party| party.door)
            .or_else(|| self.site.plan.door(dial).map(|door| door.name.clone()))
            // Whatever else was dialled goes into the log only when it is not somebody's number.
            .unwrap_or_else(|| {
                let name = crate::story::is_name(dial);
                if name {
                    dial.to_owned()
                } else {
                    "?".to_owned()
                }
            });
        let leg = self.relation(&party.device, &door);
        if *message.method() == Verb::Invite {
            match self.buzz_invite(message, flow) {
                Ok(invite) => {
                    self.buzz_invites.insert(tx, invite);
                }
                Err(status) => return self.answer(tx, OutgoingResponse::new(status)),
            }
        }
        let request = Request {
            actor: Actor::of_device(&self.site.plan, &self.site.directory, &party.device),
            who: format!("device:{}", party.device),
            door,
            output: buzz.output,
            method: Method::Handset,
            leg,
            call: None,
            address: Some(flow.remote.to_string()),
            evidence: Evidence::Buzz,
            reply: Some(tx),
            two_step: false,
        };
        self.site
            .effects
            .push_back(Effect::Unlock(Box::new(request)));
    }

    /// The dialog an INVITE with a buzz makes, and the refusal of its media (RFC 3264 §6).
    fn buzz_invite(&mut self, message: &Message, flow: &Flow) -> Result<BuzzInvite, u16> {
        let tag = format!("{:016x}", self.site.random());
        let dialog = Dialog::from_request(message, &tag, *flow).map_err(|reject| reject.status)?;
        let (address, origin) = (flow.local.ip().to_canonical(), self.site.random() >> 2);
        let nothing = if message.body().is_empty() {
            media_bridge::offer_nothing(address, origin)
        } else if is_sdp(message) {
            media_bridge::reject_all(message.body(), address, origin).map_err(OfferError::status)?
        } else {
            return Err(415);
        };
        Ok(BuzzInvite { dialog, nothing })
    }

    /// What a device is to a door at this moment: party to an answered call, rung by it, or nothing.
    fn relation(&self, device: &str, door: &str) -> LegState {
        let mut rung = false;
        for call in self.calls.values() {
            match call.relation(device, door) {
                LegState::Answered => return LegState::Answered,
                LegState::Rung => rung = true,
                LegState::None => {}
            }
        }
        if rung { LegState::Rung } else { LegState::None }
    }

    /// Answers a buzz.
    pub(super) fn answer_buzz(&mut self, tx: ServerTx, result: crate::buzz::BuzzResult) {
        let status = result.status();
        let mut response = OutgoingResponse::new(status);
        if result.is_success() {
            let name = HeaderName::Other(crate::buzz::ACTION_RESULT.into());
            response = response.with_header(name, result.as_str());
        }
        if let Some(invite) = self.buzz_invites.get(&tx) {
            response = response.with_to_tag(invite.dialog.local_tag.clone());
            response.contact = Some(self.site.contact(&invite.dialog.flow));
            if status < 300 {
                response = response.with_body("application/sdp", invite.nothing.clone());
            } else {
                self.buzz_invites.remove(&tx);
            }
        }
        self.answer(tx, response);
    }

    /// An INVITE with a buzz got its final answer elsewhere: no dialog comes of it.
    pub(super) fn forget_buzz(&mut self, tx: ServerTx) {
        self.buzz_invites.remove(&tx);
    }

    /// The dialog an INVITE with a buzz made ends with its ACK.
    pub(super) fn end_buzz_dialog(&mut self, tx: ServerTx) -> bool {
        let Some(BuzzInvite { mut dialog, .. }) = self.buzz_invites.remove(&tx) else {
            return false;
        };
        let request = dialog.request(Verb::Bye);
        let to = dialog.flow;
        let tx = self.station_tx();
        self.site.sip(sip_proxy::Input::Request { tx, request, to });
        true
    }
}
