//! Any header fields in REGISTERs: no panic, bindings within their bounds, the answer a whole message, everything expires.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_proxy::message::{Limits, write_response};
use sip_proxy::{Flow, Location, Message, Registrar, RegistrarConfig, Transport};

const CONTACTS: usize = 3;
const CAPACITY: usize = 5;

/// One input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut now = Instant::now();
    let mut location = Location::new(CAPACITY);
    let config = RegistrarConfig { max_contacts: CONTACTS, ..RegistrarConfig::default() };
    let mut registrar = Registrar::new(config);
    let limits = Limits::default();
    for (n, lines) in text.split('\u{1}').enumerate() {
        let raw = format!(
            "REGISTER sip:b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK{n}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\n\
             Call-ID: {}\r\nCSeq: {n} REGISTER\r\n{lines}\r\n\r\n",
            n % 2
        );
        let Ok(message) = Message::parse(Bytes::from(raw), &limits) else { continue };
        let flow = Flow {
            transport: Transport::Udp,
            local: ([192, 0, 2, 1], 5060).into(),
            remote: ([192, 0, 2, 9], 5060).into(),
            connection: None,
        };
        let aor = ["sip:a@b", "sip:c@b", "sip:d@b"][n % 3];
        let registered = registrar.register(&mut location, now, &message, flow, aor);
        assert!((200..600).contains(&registered.response.status));
        assert!(registered.response.status < 300 || registered.changes.is_empty());
        assert!(location.len() <= CAPACITY && location.iter().count() == location.len());
        assert!(location.lookup(aor, now).len() <= CONTACTS);
        let status = registered.response.status;
        let sent = write_response(&registered.response.with_to_tag("t"), &message, flow.remote, None);
        if sent.len() <= limits.message_bytes {
            let answer = Message::parse(sent, &limits).expect("our answer is a message");
            assert_eq!(answer.status().is_some_and(|status| status < 300), status < 300);
        }
        now += Duration::from_secs(30);
        let _ = location.expire(now);
    }
    while let Some(at) = location.next_timeout() {
        let _ = location.expire(at);
    }
    assert!(location.is_empty());
}
