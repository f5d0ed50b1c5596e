//! Requests in dialogs that pass through. A signed token in the Route, which only this proxy can make, lets them pass.

use sip_proxy::locate::{self, Destination};
use sip_proxy::proxy::{self, Next};
use sip_proxy::{Flow, HeaderName, Message, Method, OutgoingResponse, ServerTx, Transport, Uri};

use super::{B2bua, LINGER, SUBSCRIPTION, WAITING, Waiting};
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
        let Next::Hop(hop) = prepared.next.clone() else {
            return false;
        };
        let message = self
            .edited(message, None)
            .unwrap_or_else(|| message.clone());
        self.within_heard(now, &message, flow);
        let waiting = Waiting {
            tx: Some(tx),
            message,
            flow,
            prepared,
        };
        self.send_within(now, waiting, &hop);
        true
    }

    /// An ACK to a 2xx that passed through; `false` when it is none.
    pub(in super::super) fn proxy_ack(&mut self, now: Now, message: &Message, flow: Flow) -> bool {
        let Ok(prepared) = self.proxying.core.prepare(message) else {
            return false;
        };
        let Next::Hop(hop) = prepared.next.clone() else {
            return false;
        };
        let waiting = Waiting {
            tx: None,
            message: message.clone(),
            flow,
            prepared,
        };
        self.send_within(now, waiting, &hop);
        true
    }

    /// On to the other side's flow; without one (it reconnected, or we restarted) where it is registered now, or where
    /// the next hop is found.
    fn send_within(&mut self, now: Now, waiting: Waiting, hop: &str) {
        let known = self
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
        if let Some((flow, device)) = known {
            let flow = flow.or_else(|| {
                let targets = self.site.targets(&device, now.mono);
                targets.first().map(|target| target.flow)
            });
            if flow.is_some() {
                return self.pass_within(now, waiting, flow);
            }
        }
        let destination = Uri::parse(hop)
            .ok()
            .and_then(|uri| Destination::of(&uri).ok());
        let Some(destination) = destination else {
            return self.pass_within(now, waiting, None);
        };
        if let Some((transport, address)) = destination.address(Transport::Udp) {
            let name = transport.is_secure().then(|| destination.name());
            let flow = self.site.flow_to(transport, address, name.as_deref());
            return self.pass_within(now, waiting, flow);
        }
        if self.proxying.waiting.len() >= WAITING {
            return self.pass_within(now, waiting, None);
        }
        let id = locate::LookupId(self.proxying.lookups.next().0);
        self.proxying.waiting.insert(id, waiting);
        self.site.locate(now, id, destination);
    }

    pub(super) fn pass_within(&mut self, now: Now, waiting: Waiting, flow: Option<Flow>) {
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

/// Whether a NOTIFY is the last of its subscription (RFC 6665 §4.1.3).
fn is_terminated(message: &Message) -> bool {
    message
        .header(&HeaderName::SubscriptionState)
        .is_some_and(|state| {
            let word = state.split(';').next().unwrap_or_default().trim();
            word.eq_ignore_ascii_case("terminated")
        })
}
