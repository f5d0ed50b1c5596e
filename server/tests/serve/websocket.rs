//! SIP over WebSocket (RFC 7118) through the built binary: who may connect, frames, and calls.

use std::io::{Read, Write};
use std::net::TcpStream;

use sip_proxy::websocket::{self, Event, Opcode, Reader, Role};

use super::calls::{SOON, becomes, phone, sample};
use super::tls::{Authority, free, house};
use super::ua::Ua;
use super::wire::{Octets, Wire, http_head, tls, upgrade};
use super::{Server, options};

const ORIGIN: &str = "https://intercom.example.org";
const MASK: Option<[u8; 4]> = Some([9, 8, 7, 6]);

/// A house with both WebSockets: `ws` and `wss`.
fn house_with_websockets(dir: &std::path::Path, authority: &Authority) -> (Server, String, String) {
    let (ws, wss) = (free(), free());
    let more = format!(
        "[[listen]]\ntransport = \"ws\"\naddress = \"{ws}\"\norigins = [\"{ORIGIN}\"]\n\
         [[listen]]\ntransport = \"wss\"\naddress = \"{wss}\"\ncertificate = \"server.pem\"\nkey = \"server.key\"\n\
         origins = [\"{ORIGIN}\"]\n"
    );
    let (server, _) = house(dir, authority, &more);
    (server, ws, wss)
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// A connection whose upgrade is done.
fn upgraded(address: &str) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(upgrade("").as_bytes()).unwrap();
    let head = http_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

fn next(stream: &mut impl Octets, reader: &mut Reader) -> Option<Event> {
    let mut buffer = [0; 4_096];
    loop {
        if let Some(event) = reader.next().unwrap() {
            return Some(event);
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(count) => reader.push(&buffer[..count]),
        }
    }
}

fn reader() -> Reader {
    Reader::new(Role::Client, 65_536)
}

#[test]
fn who_may_not_connect_is_told_why() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (server, ws, _) = house_with_websockets(dir.path(), &authority);
    let sip = "Sec-WebSocket-Protocol: sip\r\n";
    for (request, status, words) in [
        (upgrade("Origin: https://evil.example\r\n"), 403, "origins"),
        (upgrade("").replace(sip, ""), 400, "sub-protocol"),
        (upgrade("").replace("Version: 13", "Version: 12"), 426, "13"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            426,
            "Upgrade",
        ),
        ("INVITE sip:a SIP/2.0\r\n\r\n".to_owned(), 400, "HTTP"),
        (
            upgrade(&format!("X: {}\r\n", "x".repeat(9_000))),
            431,
            "too long",
        ),
    ] {
        let mut stream = connect(&ws);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains(words), "{answer}");
        assert!(
            !answer.contains("evil"),
            "nothing of the request is repeated"
        );
    }
    let mut allowed = connect(&ws);
    let origin = format!("Origin: {ORIGIN}\r\n");
    allowed.write_all(upgrade(&origin).as_bytes()).unwrap();
    assert!(http_head(&mut allowed).starts_with("HTTP/1.1 101 "));
    becomes(&server, "/metrics", |text| {
        text.contains("doorward_handshakes_failed_total{transport=\"ws\",reason=\"origin\"} 1")
            && text.contains("reason=\"protocol\"} 1")
    });
}

#[test]
fn a_message_in_fragments_around_a_ping_is_answered_in_one_frame() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (_server, ws, _) = house_with_websockets(dir.path(), &authority);
    let (mut stream, mut reader) = (upgraded(&ws), reader());
    let options = options("WS");
    let (one, two) = options.as_bytes().split_at(100);
    let mut first = websocket::frame(Opcode::Binary, one, MASK).to_vec();
    first[0] &= 0x7f;
    let ping = websocket::frame(Opcode::Ping, b"there?", MASK);
    let last = websocket::frame(Opcode::Continuation, two, MASK);
    for octet in [&first[..], &ping, &last].concat() {
        stream.write_all(&[octet]).unwrap();
    }
    // The pong needs no SIP message to be whole.
    let mut buffer = [0; 8];
    stream.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"\x8a\x06there?");
    let Some(Event::Message(answer)) = next(&mut stream, &mut reader) else {
        panic!("no answer");
    };
    assert!(answer.starts_with(b"SIP/2.0 "));
    let via = "Via: SIP/2.0/WS 127.0.0.1:9;branch=z9hG4bKserve-WS;received=127.0.0.1;rport=";
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains(via), "{text}");
    // A double CRLF is a keep-alive here too (RFC 7118 section 6).
    stream
        .write_all(&websocket::frame(Opcode::Text, b"\r\n\r\n", MASK))
        .unwrap();
    let pong = next(&mut stream, &mut reader);
    assert_eq!(pong, Some(Event::Message("\r\n".into())));
    // A close is answered with the same status, and then the connection ends.
    stream
        .write_all(&websocket::frame(
            Opcode::Close,
            &1000_u16.to_be_bytes(),
            MASK,
        ))
        .unwrap();
    assert_eq!(
        next(&mut stream, &mut reader),
        Some(Event::Close(Some(1000)))
    );
    assert_eq!(next(&mut stream, &mut reader), None);
}

#[test]
fn frames_against_the_rules_close_the_connection_with_their_status() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (server, ws, _) = house_with_websockets(dir.path(), &authority);
    for (frame, status) in [
        (
            websocket::frame(Opcode::Text, b"not masked", None).to_vec(),
            1002,
        ),
        (vec![0xc1, 0x80, 0, 0, 0, 0], 1002),
        (vec![0x82, 0xff, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0], 1009),
        (
            websocket::frame(Opcode::Text, &[0xff, 0xfe], MASK).to_vec(),
            1007,
        ),
    ] {
        let (mut stream, mut reader) = (upgraded(&ws), reader());
        stream.write_all(&frame).unwrap();
        assert_eq!(
            next(&mut stream, &mut reader),
            Some(Event::Close(Some(status)))
        );
        assert_eq!(next(&mut stream, &mut reader), None);
    }
    becomes(&server, "/metrics", |text| {
        text.contains("doorward_connections_bad_frames_total{transport=\"ws\"} 4")
    });
}

/// The door calls the desk, which is this phone.
fn rings(server: &Server, mut desk: Ua) {
    let mut door = phone("lobby", server);
    let desk = std::thread::spawn(move || {
        let dialog = desk.take(SOON).expect("no call");
        // Our Contact, by which the browser would come back.
        assert!(
            dialog.remote_target.contains(";transport=ws"),
            "{}",
            dialog.remote_target
        );
        assert!(desk.hung_up(SOON));
    });
    let call = door.call("desk");
    let (status, dialog) = door.answered(&call);
    assert_eq!(status, 200);
    assert_eq!(door.hang_up(&mut dialog.unwrap()), 200);
    desk.join().unwrap();
}

#[test]
fn a_browser_phone_registers_with_no_address_of_its_own_and_is_called_by_its_connection() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (server, ws, wss) = house_with_websockets(dir.path(), &authority);
    let origin = format!("Origin: {ORIGIN}\r\n");
    let stream = tls(&wss, "doorward.local", &authority.client()).unwrap();
    let local = stream.sock.local_addr().unwrap();
    let wire = Wire::websocket(Box::new(stream), &origin);
    let mut desk = Ua::over("desk-1", wire, local, &wss);
    assert_eq!(desk.register(), 200);
    rings(&server, desk);
    let stream = connect(&ws);
    let local = stream.local_addr().unwrap();
    let mut desk = Ua::over("desk-1", Wire::websocket(Box::new(stream), ""), local, &ws);
    assert_eq!(desk.register(), 200);
    rings(&server, desk);
    // With its connection its registration goes: nothing can be opened towards it. The door's two stay.
    becomes(&server, "/metrics", |text| {
        sample(text, "doorward_bindings") == Some(2)
    });
}
