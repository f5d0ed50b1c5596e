//! What every request is looked at for before anything is done for it (RFC 3261 §8.2.2, §8.2.3).
//!
//! It stands before the login, which §8.2 would have first: these refusals follow from the request alone, say nothing
//! that OPTIONS does not say to anybody, and cost less than a challenge.

use sip_proxy::message::Capabilities;
use sip_proxy::{HeaderName, Message, Method, OutgoingResponse};

use crate::call::{ALLOW, SUPPORTED};

/// What a server of ours understands, for [`refusal`].
pub(super) fn capabilities() -> Capabilities {
    let list = |text: &'static str| {
        text.split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
    };
    Capabilities {
        methods: list(ALLOW).map(Method::from_token).collect(),
        options: list(SUPPORTED).map(str::to_owned).collect(),
        content_types: vec!["application/sdp".to_owned(), "multipart/mixed".to_owned()],
    }
}

/// The refusal of a request that asks for what we do not understand: 501 or 405, 400, 416, 420, 415, 406.
pub(super) fn refusal(capabilities: &Capabilities, message: &Message) -> Option<OutgoingResponse> {
    let verdict = match message.method() {
        // Its body is the session's: the one that cannot be done without.
        Method::Invite => capabilities.inspect(message),
        // Passed on to a device: what must be understood is that device's affair, what a proxy must know is ours.
        Method::Message | Method::Notify => capabilities
            .addressed(message)
            .and_then(|()| capabilities.extensions(message, &HeaderName::ProxyRequire)),
        // Bodies are for whoever serves the method to judge.
        _ => capabilities
            .addressed(message)
            .and_then(|()| capabilities.extensions(message, &HeaderName::Require)),
    };
    verdict.err().map(|refusal| *refusal)
}
