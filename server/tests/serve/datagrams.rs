//! UDP through the built binary: STUN keep-alives on the SIP port, and requests too long for a datagram.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, UdpSocket};

use super::calls::{SOON, becomes, move_in, phone, sample};
use super::serve;
use super::ua::Ua;
use super::wire::Wire;

#[test]
fn a_stun_keep_alive_on_the_sip_port_tells_a_phone_its_address() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend([7; 12]);
    socket.send_to(&request, &server.sip).unwrap();
    let mut answer = [0; 128];
    let length = socket.recv(&mut answer).unwrap();
    assert_eq!(
        (length, &answer[..2], &answer[8..20]),
        (32, &[1, 1][..], &[7; 12][..])
    );
    let port = u16::from_be_bytes([answer[26], answer[27]]) ^ 0x2112;
    assert_eq!(port, socket.local_addr().unwrap().port());
    // A flood of them is answered up to a rate, whoever sends it.
    for _ in 0..500 {
        socket.send_to(&request, &server.sip).unwrap();
    }
    let text = becomes(&server, "/metrics", |text| {
        sample(text, "doorward_udp_received_total") >= Some(501)
    });
    let answered = sample(&text, "doorward_stun_answered_total").unwrap();
    assert!((1..=250).contains(&answered), "{answered} of 501");
}

/// A desk phone whose Contact is so long that its INVITE is no datagram any more.
fn desk_with_a_long_contact(server: &super::Server, udp: UdpSocket) -> Ua {
    let local = udp.local_addr().unwrap();
    let contact = format!("<sip:desk-1@{local};x={}>", "x".repeat(1_200));
    let mut desk = Ua::over("desk-1", Wire::Udp(udp), local, &server.sip).with_contact(contact);
    assert_eq!(desk.register(), 200);
    desk
}

/// The same port by UDP and by TCP.
fn both() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}

#[test]
fn a_long_invite_goes_by_tcp_to_a_phone_that_listens_there() {
    let dir = tempfile::tempdir().unwrap();
    move_in(dir.path());
    let server = serve(dir.path());
    let (udp, tcp) = both();
    let _desk = desk_with_a_long_contact(&server, udp);
    let mut door = phone("lobby", &server);
    let _call = door.call("desk");
    tcp.set_nonblocking(true).unwrap();
    let deadline = std::time::Instant::now() + SOON;
    let mut stream = loop {
        match tcp.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(std::time::Instant::now() < deadline, "nobody connects");
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    };
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut head = [0; 1_024 * 2];
    stream.read_exact(&mut head[..1_400]).unwrap();
    let text = String::from_utf8_lossy(&head);
    assert!(text.starts_with("INVITE sip:desk-1@"), "{text}");
    assert!(text.contains("\r\nVia: SIP/2.0/TCP "), "{text}");
}

#[test]
fn where_tcp_is_refused_a_long_invite_goes_by_udp() {
    let dir = tempfile::tempdir().unwrap();
    move_in(dir.path());
    let server = serve(dir.path());
    let (udp, tcp) = both();
    drop(tcp);
    let mut desk = desk_with_a_long_contact(&server, udp);
    let mut door = phone("lobby", &server);
    let desk = std::thread::spawn(move || {
        desk.take(SOON).expect("no call");
        assert!(desk.hung_up(SOON));
    });
    let call = door.call("desk");
    let (status, dialog) = door.answered(&call);
    assert_eq!(status, 200);
    assert_eq!(door.hang_up(&mut dialog.unwrap()), 200);
    desk.join().unwrap();
    becomes(&server, "/metrics", |text| {
        sample(text, "doorward_sip_large_back_to_udp_total") == Some(1)
    });
}
