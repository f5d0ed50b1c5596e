//! Any text as a URI or a structured header value.

use sip_proxy::Uri;
use sip_proxy::message::{Contact, NameAddr, Via};

/// One input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(uri) = Uri::parse(text) {
        assert_eq!(uri.to_string(), text);
        let _ = (uri.host(), uri.aor(), uri.user_unescaped(), uri.as_request_uri());
        let _ = (uri.params().count(), uri.headers().count(), uri == uri.clone());
    }
    if let Ok(address) = NameAddr::parse(text) {
        assert!(!address.uri.is_empty());
        let _ = (address.tag(), address.params.iter().count());
    }
    if let Ok(via) = Via::parse(text) {
        let _ = (via.received(), via.rport(), via.host_ip(), via.rfc3261_branch());
    }
    let _ = Contact::parse(text);
}
