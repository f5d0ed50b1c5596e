//! Any text as the value of each header that is read beyond the message layer: no panic, and what is said back is a value.

use std::time::Instant;

use bytes::Bytes;
use sip_proxy::message::{Limits, Message};
use sip_proxy::reliable::{self, Provisionals};
use sip_proxy::session_timer::{self, SessionPolicy};
use sip_proxy::{HeaderName, Method, Timers};

const NAMES: [&str; 32] = [
    "RAck", "RSeq", "Require", "Supported", "Session-Expires", "Min-SE", "Event", "Subscription-State", "Expires",
    "Refer-To", "Referred-By", "Replaces", "Reason", "Diversion", "History-Info", "P-Asserted-Identity", "Privacy",
    "Contact", "Path", "Service-Route", "Route", "Record-Route", "Via", "Content-Type", "Content-Disposition", "Accept",
    "Alert-Info", "Call-Info", "Retry-After", "Date", "Max-Breadth", "Authorization",
];

/// One input: the first octet picks the header, the rest is its value.
#[expect(clippy::disallowed_methods, reason = "an origin for the virtual clock")]
pub fn run(data: &[u8]) {
    let Some((pick, value)) = data.split_first() else { return };
    let name = NAMES[usize::from(*pick) % NAMES.len()];
    let value = String::from_utf8_lossy(value);
    for (line, method) in [("INVITE sip:a@b SIP/2.0", "INVITE"), ("PRACK sip:a@b SIP/2.0", "PRACK"), ("SIP/2.0 183 X", "INVITE")] {
        let text = format!(
            "{line}\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: x\r\n\
             CSeq: 1 {method}\r\n{name}: {value}\r\n\r\nv=0"
        );
        let Ok(message) = Message::parse(Bytes::from(text), &Limits::default()) else { continue };
        let header = HeaderName::from_token(name);
        let _ = message.values(&header).count();
        let _ = (message.contacts(), message.part("application/sdp"), message.reduced_to("application/sdp"));
        let _ = (reliable::rseq(&message), reliable::takes(&message), reliable::demands(&message));
        let mut provisionals = Provisionals::new(1, &Timers::default());
        if *message.method() == Method::Prack {
            let _ = provisionals.acknowledge(Instant::now(), &message);
        }
        let _ = session_timer::answer(SessionPolicy::default(), &message);
        let _ = (session_timer::accept(&message), session_timer::raise(90, &message));
        let _ = sip_proxy::message::Capabilities::default().inspect(&message);
    }
}
