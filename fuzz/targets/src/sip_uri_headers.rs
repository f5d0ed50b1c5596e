//! Any text as a URI or a structured header value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip_proxy::Uri;
use sip_proxy::message::{Contact, NameAddr, Via};

fuzz_target!(|text: &str| {
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
});
