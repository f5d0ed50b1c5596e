//! Any text as a challenge and as credentials: never granted, never a new line.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use sip_proxy::digest::client::{self, Request, Secret};
use sip_proxy::digest::{AuthVerdict, Authenticator, AuthenticatorConfig, Ha1};
use sip_proxy::message::{Limits, Message};

/// One input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let request = Request { method: "INVITE", uri: "sip:a", cnonce: "c", nc: 1 };
    if let Ok(answer) = client::answer(text, "u", Secret::Password("p"), &request) {
        assert!(!answer.contains(['\r', '\n', '\0']));
    }
    let now = Instant::now();
    let mut server = Authenticator::new("r", [1; 32], now, AuthenticatorConfig::default());
    let raw = format!(
        "INVITE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:a>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nAuthorization: {text}\r\n\r\n"
    );
    if let Ok(message) = Message::parse(Bytes::from(raw), &Limits::default()) {
        let source = SocketAddr::from(([192, 0, 2, 1], 5060));
        let verdict = server.check(now, &message, source, |user| Some(Ha1::of(user, "r", "secret", true)));
        assert!(!matches!(verdict, AuthVerdict::Granted { .. }));
    }
}
