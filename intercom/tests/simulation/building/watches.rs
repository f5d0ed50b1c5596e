//! A phone as a subscriber: what it watches, and what it was told.

use std::time::Instant;

use sip_proxy::{
    Body, Dialog, HeaderName, Message, Method, OutgoingRequest, OutgoingResponse, ServerTx,
};

use super::ua::Ua;

/// Subscriptions of one phone.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    /// Call-IDs of subscriptions it knows; it answers 481 for others.
    known: Vec<String>,
    /// What it answers a NOTIFY with; 0: nothing at all.
    pub(crate) status: Option<u16>,
    /// Each NOTIFY, in order.
    pub(crate) told: Vec<Message>,
    /// Does not answer OPTIONS.
    pub(crate) deaf: bool,
}

impl Ua {
    /// Subscribes to an event of a user.
    pub(crate) fn subscribe(&mut self, now: Instant, user: &str, event: &str, expires: u32) {
        let mut request = self.fresh(Method::Subscribe, user);
        request.headers.push((HeaderName::Event, event.to_owned()));
        request
            .headers
            .push((HeaderName::Expires, expires.to_string()));
        self.watches.known.push(request.call_id.clone());
        self.send(now, request, 0, false);
    }

    /// Refreshes its latest subscription, or ends it.
    pub(crate) fn resubscribe(&mut self, now: Instant, event: &str, expires: u32) {
        let request = self.refreshing(event, expires);
        self.send(now, request, 0, false);
    }

    /// The refresh of its latest subscription.
    pub(crate) fn refreshing(&mut self, event: &str, expires: u32) -> OutgoingRequest {
        let accepted = self
            .responses
            .iter()
            .rev()
            .find(|response| {
                *response.method() == Method::Subscribe && response.status() == Some(200)
            })
            .expect("a subscription")
            .clone();
        let mut sent = self.fresh(Method::Subscribe, "x");
        sent.cseq = accepted.cseq() + 10;
        let flow = sip_proxy::Flow {
            transport: self.transport,
            local: self.addr,
            remote: self.addr,
            connection: None,
        };
        let mut dialog = Dialog::from_response(&sent, &accepted, flow).unwrap();
        let mut request = dialog.request(Method::Subscribe);
        request.contact = Some(self.contact());
        request.headers.push((HeaderName::Event, event.to_owned()));
        request
            .headers
            .push((HeaderName::Expires, expires.to_string()));
        request
    }

    pub(super) fn notified(&mut self, now: Instant, tx: ServerTx, message: &Message) {
        let known = self
            .watches
            .known
            .iter()
            .any(|call| call == message.call_id());
        if known {
            self.watches.told.push(message.clone());
        }
        match self.watches.status {
            Some(0) => {}
            Some(status) => self.respond(now, tx, OutgoingResponse::new(status)),
            None => {
                let status = if known { 200 } else { 481 };
                self.respond(now, tx, OutgoingResponse::new(status));
            }
        }
    }

    /// The bodies it was told, in order.
    pub(crate) fn documents(&self) -> Vec<String> {
        let told = self.watches.told.iter();
        told.map(|notify| String::from_utf8_lossy(notify.body()).into_owned())
            .collect()
    }

    /// The state in each dialog document: the first dialog's, or `idle`.
    pub(crate) fn lamps(&self) -> Vec<String> {
        let state = |text: &String| {
            let found = text.split_once("<state>").map(|(_, rest)| rest);
            found
                .and_then(|rest| rest.split_once('<'))
                .map_or_else(|| "idle".to_owned(), |(state, _)| state.to_owned())
        };
        self.documents().iter().map(state).collect()
    }

    /// Subscription-State of the latest NOTIFY.
    pub(crate) fn state(&self) -> String {
        let latest = self.watches.told.last().expect("a NOTIFY");
        let state = latest.header(&HeaderName::SubscriptionState);
        state.unwrap_or_default().to_owned()
    }

    /// The latest final response to a request of that method.
    pub(crate) fn answer_to(&self, method: &Method) -> &Message {
        let mut responses = self.responses.iter().rev();
        responses
            .find(|response| response.method() == method)
            .expect("a response")
    }

    /// PUBLISH of a presence document.
    pub(crate) fn publish(&mut self, now: Instant, user: &str, etag: Option<&str>, body: &str) {
        let mut request = self.fresh(Method::Publish, user);
        request
            .headers
            .push((HeaderName::Event, "presence".to_owned()));
        if let Some(etag) = etag {
            request
                .headers
                .push((HeaderName::SipIfMatch, etag.to_owned()));
        }
        if !body.is_empty() {
            request.body = Some(Body {
                content_type: "application/pidf+xml".to_owned(),
                bytes: body.to_owned().into(),
            });
        }
        self.send(now, request, 0, false);
    }

    /// Takes back what it published.
    pub(crate) fn unpublish(&mut self, now: Instant, user: &str, etag: &str) {
        let mut request = self.fresh(Method::Publish, user);
        request.headers.extend([
            (HeaderName::Event, "presence".to_owned()),
            (HeaderName::SipIfMatch, etag.to_owned()),
            (HeaderName::Expires, "0".to_owned()),
        ]);
        self.send(now, request, 0, false);
    }

    /// MESSAGE with a text.
    pub(crate) fn text(&mut self, now: Instant, user: &str, text: &str) {
        let mut request = self.fresh(Method::Message, user);
        request.body = Some(Body {
            content_type: "text/plain".to_owned(),
            bytes: text.to_owned().into(),
        });
        self.send(now, request, 0, false);
    }
}
