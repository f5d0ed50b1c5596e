//! Requests in dialogs that pass through. A signed token in the Route, which only this proxy can make, lets them pass.

use sip_proxy::proxy::{self, Next};
use sip_proxy::{Flow, HeaderName, Message, Method, OutgoingResponse, ServerTx, Uri};

use super::{B2bua, LINGER, SUBSCRIPTION, Waiting};
use crate::Now;
use crate::cdr::EndReason;

impl B2bua {
    /// A request in a dialog; `false` when it is none that passes through.
    pub(in super::super) fn proxy_within(
        &mut self,
        now: Now,
        tx: ServerTx,
        message: &Message,
        flow: Flow,
    ) -> bool {
        let known = self.proxying.knows(message);
        let prepared = match self.proxying.core.prepare(message) {
            Ok(prepared) => prepared,
            Err(refusal) if known => {
                self.answer(tx, *refusal);
                return true;
            }
            Err(_) => return false,
        };
        if !matches!(prepared.next, Next::Hop(_)) {
            return false;
        }
        // The token outlives a right: who was revoked may still hang up and nothing else.
        if *message.method() != Method::Bye && self.is_revoked(message.call_id()) {
            self.answer(tx, OutgoingResponse::new(403));
            return true;
        }
        let Some(message) = self.edited(message, None) else {
            self.answer(tx, OutgoingResponse::new(400));
            return true;
        };
        self.within_heard(now, &message, flow);
        let waiting = Waiting {
            tx: Some(tx),
            message,
            flow,
            prepared,
        };
        self.send_within(now, waiting);
        true
    }

    /// An ACK to a 2xx that passed through; `false` when it is none. It bears the credentials of its INVITE (RFC 3261
    /// §13.2.2.4), which are for us alone.
    pub(in super::super) fn proxy_ack(&mut self, now: Now, message: &Message, flow: Flow) -> bool {
        let Ok(prepared) = self.proxying.core.prepare(message) else {
            return false;
        };
        if !matches!(prepared.next, Next::Hop(_)) {
            return false;
        }
        let Some(message) = self.edited(message, None) else {
            return true;
        };
        let waiting = Waiting {
            tx: None,
            message,
            flow,
            prepared,
        };
        self.send_within(now, waiting);
        true
    }

    /// On to the other side's flow; without one (it reconnected, or we restarted) where it is registered now, and
    /// nowhere else: a token tells that its bearer was once in a dialog, not whom it may reach.
    fn send_within(&mut self, now: Now, waiting: Waiting) {
        let side = self
            .proxying
            .dialogs
            .get(waiting.message.call_id())
            .map(|dialog| {
                let side = if waiting.message.from_tag() == Some(&dialog.caller_tag) {
                    &dialog.callee
                } else {
                    &dialog.caller
                };
                (side.flow, side.device.clone())
            });
        let flow = match side {
            Some((flow, device)) => flow.or_else(|| {
                let targets = self.site.targets(&device, now.mono);
                targets.first().map(|target| target.flow)
            }),
            None => self.registered_peer(&waiting),
        };
        self.pass_within(now, waiting, flow);
    }

    /// The way to the phone that a request names in a dialog we no longer hold: it must be one of the house, no door,
    /// and so must the sender.
    fn registered_peer(&self, waiting: &Waiting) -> Option<Flow> {
        let uri = waiting.prepared.uri.as_deref();
        let uri = uri.unwrap_or_else(|| waiting.message.uri());
        let named = Uri::parse(uri).ok()?;
        let (mut sender, mut way) = (false, None);
        for (aor, binding) in self.site.location.iter() {
            let source = waiting.flow.remote.ip();
            let speaks = binding.source == source;
            let is_named = way.is_none()
                && Uri::parse(&binding.contact).is_ok_and(|contact| same_place(&contact, &named));
            if !speaks && !is_named {
                continue;
            }
            let party = self.site.party(super::super::gruu::user_of(aor));
            if party.is_none_or(|party| party.door.is_some()) {
                continue;
            }
            sender |= speaks;
            if is_named {
                way = Some(binding.way());
            }
        }
        way.filter(|_| sender)
    }

    /// Whether a side of a dialog has lost its account.
    fn is_revoked(&self, call_id: &str) -> bool {
        let gone = |device: &str| {
            let user = self.site.accounts.user_of(device);
            user.is_none_or(|user| self.site.party(user).is_none())
        };
        self.proxying
            .dialogs
            .get(call_id)
            .is_some_and(|dialog| gone(&dialog.caller.device) || gone(&dialog.callee.device))
    }

    /// Who is revoked leaves the calls that pass through: what rings is cancelled, what is talked ends for us, and
    /// nothing but BYE passes any more. The media is direct, so the phones themselves hang up.
    pub(in super::super) fn cut_proxied(&mut self, now: Now) {
        let cut: Vec<String> = self
            .proxying
            .dialogs
            .keys()
            .filter(|call_id| self.is_revoked(call_id))
            .cloned()
            .collect();
        for call_id in cut {
            let ringing: Vec<ServerTx> = self
                .proxying
                .invites
                .iter()
                .filter(|(_, held)| **held == call_id)
                .map(|(tx, _)| *tx)
                .collect();
            self.proxied_call_over(now, &call_id, EndReason::Revoked, 403);
            for tx in ringing {
                self.proxy(now, proxy::Input::Cancelled { tx });
            }
        }
    }

    fn pass_within(&mut self, now: Now, waiting: Waiting, flow: Option<Flow>) {
        let Waiting {
            tx,
            message,
            flow: from,
            prepared,
        } = waiting;
        let Some(to) = flow else {
            if let Some(tx) = tx {
                self.answer(tx, OutgoingResponse::new(480));
            }
            return;
        };
        let target = proxy::Target {
            uri: None,
            path: Vec::new(),
            flow: to,
        };
        let input = match tx {
            Some(tx) => proxy::Input::Request {
                tx,
                message,
                flow: from,
                prepared,
                targets: vec![target],
            },
            None => proxy::Input::Ack {
                message,
                flow: from,
                prepared,
                target,
            },
        };
        self.proxy(now, input);
    }

    /// What a request in a dialog says of the dialog: where its sender is, and whether it is over.
    fn within_heard(&mut self, now: Now, message: &Message, flow: Flow) {
        let call_id = message.call_id();
        let Some(dialog) = self.proxying.dialogs.get_mut(call_id) else {
            return;
        };
        let by_caller = message.from_tag() == Some(&dialog.caller_tag);
        let side = if by_caller {
            &mut dialog.caller
        } else {
            &mut dialog.callee
        };
        // A stream's address is proven by the connection; a datagram's only by having been there before.
        if side.flow.is_none() && (flow.transport.is_stream() || dialog.tried.contains(&flow)) {
            side.flow = Some(flow);
        }
        let device = side.device.clone();
        if let Some(record) = &mut dialog.record {
            record.heard(now, &device, message);
        }
        match message.method() {
            Method::Bye => {
                let end = if by_caller {
                    EndReason::CallerHungUp
                } else {
                    EndReason::CalleeHungUp
                };
                let call_id = call_id.to_owned();
                self.proxied_call_over(now, &call_id, end, 200);
                self.proxying.keep(&call_id, now.mono + LINGER);
            }
            Method::Notify if is_terminated(message) => {
                let call_id = call_id.to_owned();
                self.proxying.keep(&call_id, now.mono + LINGER);
            }
            Method::Notify | Method::Subscribe if dialog.record.is_none() => {
                let call_id = call_id.to_owned();
                self.proxying.keep(&call_id, now.mono + SUBSCRIPTION);
            }
            _ => {}
        }
    }
}

/// Whether two URIs lead to the same user at the same host and port (RFC 3261 §19.1.4, parameters apart).
fn same_place(contact: &Uri, named: &Uri) -> bool {
    contact.user_unescaped() == named.user_unescaped()
        && contact.host_str().eq_ignore_ascii_case(named.host_str())
        && contact.port() == named.port()
}

/// Whether a NOTIFY is the last of its subscription (RFC 6665 §4.1.3).
fn is_terminated(message: &Message) -> bool {
    message
        .header(&HeaderName::SubscriptionState)
        .is_some_and(|state| {
            let word = state.split(';').next().unwrap_or_default().trim();
            word.eq_ignore_ascii_case("terminated")
        })
}
