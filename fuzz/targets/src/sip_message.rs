//! Any datagram and any stream: read, passed on and answered without a panic; what is passed on is still a message.

use bytes::Bytes;
use sip_proxy::message::{Capabilities, HeaderName, Limits, Message, OutgoingResponse, Splice, write_response};
use sip_proxy::{Frame, Framer};

/// One input.
pub fn run(data: &[u8]) {
    let limits = Limits::default();
    let source = std::net::SocketAddr::from(([192, 0, 2, 1], 5060));
    match Message::parse(Bytes::copy_from_slice(data), &limits) {
        Ok(message) => {
            let _ = (message.contacts(), message.vias().count(), message.request_uri());
            let _ = Capabilities::default().inspect(&message);
            for (name, _) in message.all_headers() {
                let _ = message.values(&HeaderName::from_token(name)).count();
            }
            let spliced = Splice::new(&message)
                .stamp_via(source)
                .push_via("SIP/2.0/UDP a;branch=z9hG4bK1")
                .max_forwards(1)
                .pop_route()
                .finish();
            assert!(!spliced.iter().take(spliced.len() - message.body().len()).any(|byte| *byte == 0));
            assert!(spliced.len() > limits.message_bytes || Message::parse(spliced, &limits).is_ok());
        }
        Err(invalid) => {
            if let Some(raw) = invalid.raw {
                let _ = write_response(&OutgoingResponse::new(invalid.status), &raw, source, None);
            }
        }
    }
    let mut framer = Framer::new(limits.clone());
    for piece in data.chunks(7) {
        framer.push(piece);
        while let Ok(Some(frame)) = framer.next() {
            if let Frame::Message(bytes) = frame {
                assert!(bytes.len() <= limits.message_bytes);
            }
        }
    }
}
