//! OPTIONS outside dialogs (RFC 3261 §11.2): what this server can do, to anybody, whoever is asked for.

use sip_proxy::{HeaderName, OutgoingResponse, ServerTx};

use super::B2bua;
use crate::call::{ALLOW, SUPPORTED};
use crate::event::ALLOW_EVENTS;

/// The body types taken (RFC 3261 §20.1).
const ACCEPT: &str = "application/sdp, application/pidf+xml, text/plain";

impl B2bua {
    /// The answer says the same for every user, there or not, and needs no login: it tells nothing of the house. While
    /// the server drains it says so, as an INVITE would hear.
    pub(in super::super) fn options(&mut self, tx: ServerTx) {
        let response = if self.draining {
            OutgoingResponse::new(503).with_header(HeaderName::RetryAfter, "10")
        } else {
            capabilities(OutgoingResponse::new(200))
        };
        self.answer(tx, response);
    }
}

/// Allow, Supported, Accept, Accept-Encoding, Accept-Language and Allow-Events.
pub(crate) fn capabilities(response: OutgoingResponse) -> OutgoingResponse {
    response
        .with_header(HeaderName::Allow, ALLOW)
        .with_header(HeaderName::Supported, SUPPORTED)
        .with_header(HeaderName::Accept, ACCEPT)
        .with_header(HeaderName::AcceptEncoding, "identity")
        .with_header(HeaderName::AcceptLanguage, "en")
        .with_header(HeaderName::AllowEvents, ALLOW_EVENTS)
}
