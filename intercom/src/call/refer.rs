//! REFER in a dialog (RFC 3515): a phone passes its call on, within what the plan lets it dial.

use sip_proxy::message::reason_phrase;
use sip_proxy::uri::Scheme;
use sip_proxy::{Body, HeaderName, Message, Method, NameAddr, OutgoingResponse, ServerTx, Uri};

use super::call::Call;
use super::transfer::Whither;
use crate::Now;
use crate::site::Site;
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
    replaces: Option<String>,
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
        let name = self.party_name(index);
        let silent = message
            .header(&HeaderName::ReferSub)
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("false"));
        let told = Subscription {
            id: message.cseq(),
            silent,
            last: 0,
        };
        let verdict = self.judge_refer(site, now, index, message);
        let whither = match verdict {
            Ok(whither) => whither,
            Err((status, why)) => {
                self.note(now, Line::Call(format!("transfer refused: {why}")));
                let response = OutgoingResponse::new(status);
                return self.respond(site, now, name, tx, "REFER", response);
            }
        };
        let mut response = OutgoingResponse::new(202);
        if silent {
            response = response.with_header(HeaderName::ReferSub, "false".to_owned());
        }
        response.contact = self.peek(index).map(|leg| site.contact(&leg.flow));
        self.respond(site, now, name.clone(), tx, "REFER", response);
        self.note(now, Line::Call(format!("{name} transfers the call")));
        self.max_forwards = self.max_forwards.saturating_sub(1);
        self.transfer(site, now, index, whither, Some(told));
    }

    /// Whereto a REFER leads, or why it does not.
    fn judge_refer(
        &self,
        site: &Site,
        now: Now,
        index: u16,
        message: &Message,
    ) -> Result<Whither, (u16, &'static str)> {
        if let Some(refused) = self.transfer_refused(index) {
            return Err(refused);
        }
        let refer = refer_to(message).ok_or((400, "Refer-To is missing or unreadable"))?;
        let flow = self.peek(index).map(|leg| leg.flow).ok_or((481, "gone"))?;
        // A number is no domain; whether it may be dialled is the plan's to say.
        if refer.uri.scheme() != Scheme::Tel && !site.is_ours(&refer.uri, &flow) {
            return Err((403, "the target is in a foreign domain"));
        }
        if refer.replaces.is_some() {
            return Err((603, "attended transfer is not served"));
        }
        let dial = refer.uri.user_unescaped().unwrap_or_default();
        if self.joins_doors(index, &dial) {
            return Err((603, "two doors have nothing to say to each other"));
        }
        match self.dialled_by(site, now, index, &dial) {
            Some((run, step @ (Step::Ring(_) | Step::Proxy { .. }))) => {
                Ok(Whither::Plan(run, step))
            }
            Some(_) => Err((603, "the plan rings nobody for it")),
            None => Err((603, "the plan has no route for it")),
        }
    }

    /// NOTIFY: how the transfer goes (RFC 3515 §2.4.4), each status once.
    pub(crate) fn notify_transfer(&mut self, site: &mut Site, now: Now, status: u16) {
        let tx = self.take_tx();
        let Some(transfer) = self.transfer.as_deref_mut() else {
            return;
        };
        let Some(told) = transfer.told.as_mut() else {
            return;
        };
        let over = status >= 200;
        if status <= told.last || transfer.leg.flags.over {
            return;
        }
        told.last = status;
        let (id, silent) = (told.id, told.silent);
        if over {
            transfer.told = None;
        }
        if silent {
            return;
        }
        let leg = &mut transfer.leg;
        let Some(mut request) = leg.request(site, Method::Notify) else {
            return;
        };
        let state = if over {
            "terminated;reason=noresource".to_owned()
        } else {
            format!("active;expires={LASTS}")
        };
        request
            .headers
            .push((HeaderName::Event, format!("refer;id={id}")));
        request.headers.push((HeaderName::SubscriptionState, state));
        let text = format!("SIP/2.0 {status} {}\r\n", reason_phrase(status));
        request.body = Some(Body {
            content_type: SIPFRAG.to_owned(),
            bytes: text.into(),
        });
        let (to, name) = (leg.flow, leg.party.device.clone());
        site.sip(sip_proxy::Input::Request { tx, request, to });
        let what = format!("NOTIFY ({status})");
        self.note(now, Line::Out { to: name, what });
    }
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
    let replaces = uri
        .headers()
        .find(|(name, _)| name.eq_ignore_ascii_case("Replaces"))
        .map(|(_, value)| value.to_owned());
    Some(ReferTo { uri, replaces })
}
