//! What a device does before the answer: reliable provisional responses, PRACK, requests in early dialogs.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use sip_proxy::{
    Body, ClientTx, Dialog, HeaderName, Message, Method, OutgoingRequest, OutgoingResponse,
    ServerTx, reliable,
};

use super::ua::{Ua, sdp};

/// See the file.
#[derive(Default)]
pub(crate) struct Rel {
    /// As callee: the next RSeq of its reliable 18x.
    pub(crate) rseq: Option<u32>,
    /// As caller: acknowledges reliable responses.
    pub(crate) prack: bool,
    /// The body of the next PRACK that acknowledges SDP.
    pub(crate) prack_body: Option<Bytes>,
    /// The answer to a late offer went in a PRACK.
    pub(crate) answered: bool,
    /// Early dialogs of its own calls.
    pub(crate) dialogs: BTreeMap<ClientTx, Dialog>,
    /// 101 to 199 as they came.
    pub(crate) heard: Vec<Message>,
}

impl Rel {
    /// Makes a response of the device reliable, where it does so.
    pub(crate) fn number(&mut self, response: &mut OutgoingResponse) {
        if let Some(rseq) = &mut self.rseq {
            let headers = &mut response.headers;
            headers.push((HeaderName::Require, "100rel".to_owned()));
            headers.push((HeaderName::RSeq, rseq.to_string()));
            *rseq += 1;
        }
    }
}

impl Ua {
    /// A 101 to 199 to its INVITE.
    pub(super) fn provisional(&mut self, now: Instant, tx: ClientTx, message: &Message) {
        self.rel.heard.push(message.clone());
        let Some(pending) = self.pending.get(&tx) else {
            return;
        };
        let flow = self.flow();
        let request = &pending.request;
        let dialog = self
            .rel
            .dialogs
            .entry(tx)
            .or_insert_with(|| Dialog::from_response(request, message, flow).unwrap());
        let Some(rseq) = reliable::rseq(message).filter(|_| self.rel.prack) else {
            return;
        };
        let mut prack = dialog.request(Method::Prack);
        let rack = reliable::rack(rseq, message);
        prack.headers.push((HeaderName::RAck, rack));
        if !message.body().is_empty()
            && let Some(bytes) = self.rel.prack_body.take()
        {
            self.rel.answered = true;
            prack.body = Some(Body {
                content_type: "application/sdp".to_owned(),
                bytes,
            });
        }
        self.send(now, prack, 0, false);
    }

    /// A request in the early dialog of its latest outgoing call.
    pub(crate) fn early_within(
        &mut self,
        now: Instant,
        method: Method,
        edit: impl FnOnce(&mut OutgoingRequest),
    ) {
        let contact = self.contact();
        let dialog = self.rel.dialogs.values_mut().last().expect("rings");
        let mut request = dialog.request(method);
        request.contact = Some(contact);
        edit(&mut request);
        self.send(now, request, 0, false);
    }

    /// The transaction of the latest call it is rung by.
    pub(crate) fn rung_by(&self) -> ServerTx {
        let mut calls = self.calls.iter().rev();
        calls.find_map(|call| call.incoming).expect("is rung")
    }

    /// A provisional response in an early dialog of its own, as a proxy that forks behind the contact would pass it on.
    pub(crate) fn fork(
        &mut self,
        now: Instant,
        tag: &str,
        status: u16,
        media: bool,
        rseq: Option<u32>,
    ) {
        let tx = self.rung_by();
        let mut response = OutgoingResponse::new(status)
            .with_to_tag(tag)
            .with_contact(self.contact());
        if media {
            response =
                response.with_body("application/sdp", sdp(self.addr, self.codec, "sendrecv"));
        }
        if let Some(rseq) = rseq {
            response = response
                .with_header(HeaderName::Require, "100rel")
                .with_header(HeaderName::RSeq, rseq.to_string());
        }
        self.respond(now, tx, response);
    }

    /// Sends an INVITE whose ACK will bear the answer.
    pub(crate) fn send_late(&mut self, now: Instant, request: OutgoingRequest) {
        self.send(now, request, 0, true);
    }

    /// Forgets the calls that are over, and what happened in them.
    pub(crate) fn forget(&mut self) {
        self.calls.retain(|call| !call.over);
        self.log.clear();
        self.finals.clear();
        self.provisionals.clear();
        self.answers.clear();
        self.responses.clear();
        self.seen.clear();
        self.rel = Rel::default();
    }

    /// The requests of a method it got.
    pub(crate) fn got(&self, method: &Method) -> Vec<&Message> {
        self.seen
            .iter()
            .filter(|message| message.method() == method)
            .collect()
    }
}
