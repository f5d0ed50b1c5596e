//! Any octets as a WebSocket handshake and as frames, however they are cut: no panic, bounds held, a copy of what was
//! read is read alike.

use bytes::Bytes;
use sip_proxy::websocket::{Event, Handshake, Opcode, Reader, Role, Verdict, frame};

const LIMIT: usize = 256;

fn read(role: Role, data: &[u8], cut: usize) -> (Vec<Event>, bool) {
    let mut reader = Reader::new(role, LIMIT);
    let mut events = Vec::new();
    for piece in data.chunks(cut) {
        reader.push(piece);
        loop {
            match reader.next() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => {
                    assert!((1_000..1_016).contains(&error.status()));
                    assert!(reader.next().is_err(), "an error is for ever");
                    return (events, true);
                }
            }
        }
        assert!(reader.pending() <= 2 * LIMIT + cut + 14);
    }
    (events, false)
}

/// One input.
pub fn run(data: &[u8]) {
    for role in [Role::Server, Role::Client] {
        let whole = read(role, data, data.len().max(1));
        assert_eq!(whole, read(role, data, 3), "however it is cut");
        for event in &whole.0 {
            if let Event::Message(message) = event {
                assert!(message.len() <= LIMIT);
                let again = frame(Opcode::Text, message, None);
                if std::str::from_utf8(message).is_ok() {
                    let read = read(Role::Client, &again, again.len());
                    assert_eq!(read, (vec![Event::Message(Bytes::copy_from_slice(message))], false));
                }
            }
        }
    }
    let mut handshake = Handshake::default();
    let origins = ["https://a.example".to_owned()];
    for piece in data.chunks(5) {
        match handshake.push(piece, &origins) {
            None => {}
            Some(Verdict::Accepted { response, .. }) => {
                assert!(response.starts_with(b"HTTP/1.1 101 "));
                break;
            }
            Some(Verdict::Refused(refusal)) => {
                assert!(refusal.response().starts_with(b"HTTP/1.1 4"));
                break;
            }
        }
    }
}
