//! REFER in a dialog (RFC 3515): a phone passes its call on, within what the plan lets it dial.

use sip_proxy::message::reason_phrase;
use sip_proxy::uri::Scheme;
use sip_proxy::{
    Body, ClientTx, Flow, HeaderName, Message, Method, NameAddr, OutgoingRequest, OutgoingResponse,
    ServerTx, Uri,
};

use super::call::Call;
use super::leg::Leg;
use super::replaces::Replaces;
use super::transfer::Whither;
use crate::Now;
use crate::cdr::EndReason;
use crate::site::{Effect, Site};
use crate::story::Line;
use dialplan::Step;

/// The subscription a REFER makes: its CSeq is the id (RFC 3515 §2.4.6).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    id: u32,
    /// `Refer-Sub: false` (RFC 4488): nothing is told.
    silent: bool,
    /// The latest status told: none is told twice.
    last: u16,
}

/// Seconds a subscription is said to last; the transfer ends before, by the limits on ringing.
const LASTS: u32 = 600;
const SIPFRAG: &str = "message/sipfrag;version=2.0";

/// What a Refer-To asks for.
struct ReferTo {
    uri: Uri,
    replaces: Option<Replaces>,
}

/// A REFER that was received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Referred {
    /// Whose leg it came on.
    pub(crate) index: u16,
    pub(crate) tx: ServerTx,
    pub(crate) told: Subscription,
}

/// A REFER with Replaces: an attended transfer.
#[derive(Debug)]
pub(crate) struct Attend {
    /// The call it came in.
    pub(crate) by: u64,
    pub(crate) referred: Referred,
    pub(crate) replaces: Replaces,
}

impl Call {
    /// A REFER of leg `index`.
    pub(crate) fn refer(
        &mut self,
        site: &mut Site,
        now: Now,
        index: u16,
        tx: ServerTx,
        message: &Message,
    ) {
        let silent = message
            .header(&HeaderName::ReferSub)
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("false"));
        let told = Subscription {
            id: message.cseq(),
            silent,
            last: 0,
        };
        let referred = Referred { index, tx, told };
        match self.judge_refer(site, index, message) {
            Ok(refer) => match refer.replaces {
                Some(replaces) => {
                    let by = self.number;
                    let attend = Attend {
                        by,
                        referred,
                        replaces,
                    };
                    site.effects.push_back(Effect::Attend(Box::new(attend)));
                }
                None => {
                    let dial = refer.uri.user_unescaped().unwrap_or_default();
                    self.transfer_to(site, now, referred, &dial);
                }
            },
            Err((status, why)) => self.refuse_refer(site, now, referred, status, why),
        }
    }

    /// A REFER that is not followed.
    pub(crate) fn refuse_refer(
        &mut self,
        site: &mut Site,
        now: Now,
        referred: Referred,
        status: u16,
        why: &str,
    ) {
        self.note(now, Line::Call(format!("transfer refused: {why}")));
        let name = self.party_name(referred.index);
        let response = OutgoingResponse::new(status);
        self.respond(site, now, name, referred.tx, "REFER", response);
    }

    /// 202: it is being done.
    pub(crate) fn accept_refer(&mut self, site: &mut Site, now: Now, referred: Referred) {
        let mut response = OutgoingResponse::new(202);
        if referred.told.silent {
            response = response.with_header(HeaderName::ReferSub, "false".to_owned());
        }
        response.contact = self.peek(referred.index).map(|leg| site.contact(&leg.flow));
        let name = self.party_name(referred.index);
        self.respond(site, now, name.clone(), referred.tx, "REFER", response);
        self.note(now, Line::Call(format!("{name} transfers the call")));
        self.max_forwards = self.max_forwards.saturating_sub(1);
    }

    /// The call goes to whatever the plan makes of `dial`, dialled by who transfers.
    pub(crate) fn transfer_to(
        &mut self,
        site: &mut Site,
        now: Now,
        referred: Referred,
        dial: &str,
    ) {
        let index = referred.index;
        let why = if self.joins_doors(index, dial) {
            "two doors have nothing to say to each other"
        } else {
            match self.dialled_by(site, now, index, dial) {
                Some((run, step))
                    if matches!(step, Step::Ring(_) | Step::Proxy { .. } | Step::Park { .. }) =>
                {
                    self.accept_refer(site, now, referred);
                    let whither = Whither::Plan(run, step);
                    return self.transfer(site, now, index, whither, Some(referred.told));
                }
                Some(_) => "the plan rings nobody for it",
                None => "the plan has no route for it",
            }
        };
        self.refuse_refer(site, now, referred, 603, why);
    }

    /// What a REFER asks for, or why it is refused.
    fn judge_refer(
        &self,
        site: &Site,
        index: u16,
        message: &Message,
    ) -> Result<ReferTo, (u16, &'static str)> {
        if let Some(refused) = self.transfer_refused(index) {
            return Err(refused);
        }
        let refer = refer_to(message).ok_or((400, "Refer-To is missing or unreadable"))?;
        let leg = self.peek(index).ok_or((481, "gone"))?;
        if site.trunk(&leg.party.user).is_some() {
            return Err((403, "a trunk transfers nothing"));
        }
        let flow = leg.flow;
        // A number is no domain; whether it may be dialled is the plan's to say.
        if refer.uri.scheme() != Scheme::Tel && !site.is_ours(&refer.uri, &flow) {
            return Err((403, "the target is in a foreign domain"));
        }
        Ok(refer)
    }

    /// NOTIFY to a leg that leaves for another call's sake: it has been done.
    pub(crate) fn notify_attended(&mut self, site: &mut Site, now: Now, referred: Referred) {
        let tx = self.take_tx();
        let mut told = referred.told;
        let Some(leg) = self.leg(referred.index) else {
            return;
        };
        let name = leg.party.device.clone();
        if let Some((request, to)) = notify(site, leg, &mut told, 200) {
            site.sip(sip_proxy::Input::Request { tx, request, to });
            let what = "NOTIFY (200)".to_owned();
            self.note(now, Line::Out { to: name, what });
        }
    }

    /// NOTIFY: how the transfer goes (RFC 3515 §2.4.4), each status once.
    ///
    /// Returns the NOTIFY's transaction, where one was sent.
    pub(crate) fn notify_transfer(
        &mut self,
        site: &mut Site,
        now: Now,
        status: u16,
    ) -> Option<ClientTx> {
        let tx = self.take_tx();
        let transfer = self.transfer.as_deref_mut()?;
        let mut told = transfer.told.take()?;
        let name = transfer.leg.party.device.clone();
        let sent = notify(site, &mut transfer.leg, &mut told, status);
        if status < 200 {
            transfer.told = Some(told);
        }
        let (request, to) = sent?;
        site.sip(sip_proxy::Input::Request { tx, request, to });
        let what = format!("NOTIFY ({status})");
        self.note(now, Line::Out { to: name, what });
        Some(tx)
    }

    /// An INVITE with Replaces (RFC 3891): whether it may is for the top machine to say, which knows all dialogs.
    pub(crate) fn ask_to_replace(&mut self, site: &mut Site, now: Now, value: &str) {
        match Replaces::parse(value) {
            Some(replaces) => {
                let by = self.number;
                site.effects.push_back(Effect::Replace { by, replaces });
            }
            None => self.refuse_to_replace(site, now, 400, "Replaces is unreadable"),
        }
        self.settle(site, now);
    }

    /// The dialog is not replaced.
    pub(crate) fn refuse_to_replace(&mut self, site: &mut Site, now: Now, status: u16, why: &str) {
        self.note(now, Line::Call(format!("replaces nothing: {why}")));
        self.refuse(site, now, OutgoingResponse::new(status));
        self.finish(site, now, EndReason::Refused, status);
    }
}

/// The NOTIFY with this status; `None` when nobody is to be told, or was told of it or what comes after it.
fn notify(
    site: &Site,
    leg: &mut Leg,
    told: &mut Subscription,
    status: u16,
) -> Option<(OutgoingRequest, Flow)> {
    if status <= told.last || leg.flags.over || told.silent {
        return None;
    }
    told.last = status;
    let mut request = leg.request(site, Method::Notify)?;
    let state = if status >= 200 {
        "terminated;reason=noresource".to_owned()
    } else {
        format!("active;expires={LASTS}")
    };
    let event = format!("refer;id={}", told.id);
    request.headers.push((HeaderName::Event, event));
    request.headers.push((HeaderName::SubscriptionState, state));
    let text = format!("SIP/2.0 {status} {}\r\n", reason_phrase(status));
    request.body = Some(Body {
        content_type: SIPFRAG.to_owned(),
        bytes: text.into(),
    });
    Some((request, leg.flow))
}

/// The one Refer-To of a request, when it asks for an INVITE.
fn refer_to(message: &Message) -> Option<ReferTo> {
    let mut values = message.values(&HeaderName::ReferTo);
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    let uri = Uri::parse(NameAddr::parse(value).ok()?.uri).ok()?;
    let other = uri
        .param("method")
        .is_some_and(|method| !method.eq_ignore_ascii_case("INVITE"));
    if other {
        return None;
    }
    let replaces = match uri.header_unescaped("Replaces") {
        Some(value) => Some(Replaces::parse(&value)?),
        None => None,
    };
    Some(ReferTo { uri, replaces })
}
