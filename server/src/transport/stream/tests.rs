//! Streams over loopback, turned by hand.

use std::io::{Read as _, Write as _};

use super::*;
use nix::sys::epoll::{EpollCreateFlags, EpollTimeout};

/// A transport with one listener on loopback, turned by hand.
struct Bench {
    epoll: Epoll,
    tcp: Streams,
    address: SocketAddr,
    now: Instant,
    guest: Guest,
}

impl Bench {
    fn new(limits: StreamLimits) -> Self {
        Self::at("127.0.0.1:0", limits)
    }

    fn at(address: &str, limits: StreamLimits) -> Self {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let mut tcp = Streams::new(limits, None);
        let listener = Streams::bind(address.parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = StreamListener {
            socket: listener,
            transport: Transport::Tcp,
            advertise: None,
            access: Access::default(),
        };
        tcp.listen(&epoll, listener).unwrap();
        Self {
            epoll,
            tcp,
            address,
            now: Instant::now(),
            guest: Guest::Stranger,
        }
    }

    /// Serves events until `done` says so; fails after two seconds without any.
    fn turn_until<T>(&mut self, mut done: impl FnMut(&mut Streams) -> Option<T>) -> T {
        loop {
            if let Some(result) = done(&mut self.tcp) {
                return result;
            }
            let mut events = [EpollEvent::empty(); 16];
            let ready = self
                .epoll
                .wait(&mut events, EpollTimeout::from(2_000_u16))
                .unwrap();
            assert!(ready > 0, "nothing happened within two seconds");
            for event in &events[..ready] {
                match token::source(event.data()) {
                    Some(token::Source::StreamListener(index)) => {
                        let guest = self.guest;
                        self.tcp.accept(&self.epoll, index, self.now, |_, _| guest);
                    }
                    Some(token::Source::Connection(id)) => {
                        self.tcp.ready(&self.epoll, id, event.events(), self.now);
                    }
                    _ => {}
                }
            }
        }
    }

    fn connect(&mut self) -> TcpStream {
        let before = self.tcp.counters.of(Transport::Tcp).accepted;
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        self.turn_until(|tcp| (tcp.counters.of(Transport::Tcp).accepted > before).then_some(()));
        stream
    }

    /// Serves the events of one wake-up.
    fn turn(&mut self) {
        let mut turned = false;
        self.turn_until(|_| std::mem::replace(&mut turned, true).then_some(()));
    }

    /// Sends to a peer that reads nothing until something waits in the write queue.
    fn fill(&mut self, peer: &TcpStream) {
        let flow = Flow {
            transport: Transport::Tcp,
            local: self.address,
            remote: peer.local_addr().unwrap(),
            connection: None,
        };
        let chunk = Bytes::from(vec![b'x'; 16 * 1024]);
        // Buffers of a fixed size: the kernel does not grow them while nobody reads.
        let _ = SockRef::from(peer).set_recv_buffer_size(4_096);
        for connection in self.tcp.connections.values() {
            let _ = SockRef::from(&connection.link.socket).set_send_buffer_size(4_096);
        }
        loop {
            while self.tcp.connections.values().all(Connection::is_drained) {
                let sent = self.tcp.send(&self.epoll, flow, chunk.clone(), self.now);
                assert!(sent);
            }
            let mut events = [EpollEvent::empty(); 16];
            let ready = self
                .epoll
                .wait(&mut events, EpollTimeout::from(200_u16))
                .unwrap();
            if ready == 0 {
                return;
            }
            for event in &events[..ready] {
                if let Some(token::Source::Connection(id)) = token::source(event.data()) {
                    self.tcp.ready(&self.epoll, id, event.events(), self.now);
                }
            }
        }
    }

    fn sweep_after(&mut self, time: Duration) {
        self.now += time;
        self.tcp.sweep(&self.epoll, self.now);
    }
}

const OPTIONS: &str = "OPTIONS sip:a@example.org SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKa\r\n\
    From: <sip:b@example.org>;tag=1\r\nTo: <sip:a@example.org>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\
    Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";

fn message(tcp: &mut Streams) -> Option<(Flow, Bytes)> {
    match tcp.next_arrival()? {
        Arrival::Message { flow, bytes } => Some((flow, bytes)),
        Arrival::Closed { connection } => panic!("{connection:?} closed"),
        Arrival::Certified { .. } | Arrival::Unsent { .. } => None,
    }
}

fn closed(stream: &mut TcpStream) -> bool {
    let mut rest = [0; 16];
    matches!(stream.read(&mut rest), Ok(0) | Err(_))
}

#[test]
fn a_silent_connection_is_reaped_and_a_registered_one_is_not() {
    let mut bench = Bench::new(StreamLimits::default());
    let mut silent = bench.connect();
    let mut talking = bench.connect();
    talking.write_all(OPTIONS.as_bytes()).unwrap();
    let connection = bench.turn_until(message).0.connection.unwrap();
    bench.tcp.registered(connection);
    let limits = StreamLimits::default();
    bench.sweep_after(limits.first_message);
    assert_eq!(bench.tcp.live(), 1);
    assert_eq!(bench.tcp.counters.of(Transport::Tcp).reaped, 1);
    assert!(closed(&mut silent));
    bench.sweep_after(limits.idle);
    assert_eq!(bench.tcp.live(), 1);
    bench.sweep_after(limits.registered_idle);
    assert_eq!(bench.tcp.live(), 0);
}

#[test]
fn a_message_never_finished_is_not_waited_for() {
    let mut bench = Bench::new(StreamLimits::default());
    let mut slow = bench.connect();
    slow.write_all(&OPTIONS.as_bytes()[..40]).unwrap();
    bench.turn_until(|tcp| {
        tcp.connections
            .values()
            .any(|connection| connection.unfinished.is_some())
            .then_some(())
    });
    bench.sweep_after(StreamLimits::default().unfinished);
    assert_eq!(bench.tcp.counters.of(Transport::Tcp).reaped, 1);
    assert!(closed(&mut slow));
}

#[test]
fn an_oversized_message_closes_the_connection() {
    let mut bench = Bench::new(StreamLimits::default());
    let mut loud = bench.connect();
    let head = OPTIONS.replace("Content-Length: 0", "Content-Length: 10000000");
    loud.write_all(head.as_bytes()).unwrap();
    bench.turn_until(|tcp| (tcp.counters.of(Transport::Tcp).bad_frames == 1).then_some(()));
    bench.sweep_after(SWEEP);
    assert!(closed(&mut loud));
    assert!(matches!(
        bench.tcp.next_arrival(),
        Some(Arrival::Closed { .. })
    ));
}

#[test]
fn what_came_whole_before_nonsense_is_still_answered() {
    let mut bench = Bench::new(StreamLimits::default());
    let mut peer = bench.connect();
    peer.write_all(format!("{OPTIONS}nonsense\r\n\r\n{OPTIONS}").as_bytes())
        .unwrap();
    let (flow, _) = bench.turn_until(message);
    assert_eq!(bench.tcp.counters.of(Transport::Tcp).bad_frames, 1);
    let answer = Bytes::from_static(b"answer");
    assert!(bench.tcp.send(&bench.epoll, flow, answer, bench.now));
    bench.sweep_after(SWEEP);
    let mut heard = Vec::new();
    peer.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"answer");
    assert!(matches!(
        bench.tcp.next_arrival(),
        Some(Arrival::Closed { .. })
    ));
}

#[test]
fn two_messages_in_one_segment_arrive_one_by_one_and_a_ping_is_answered() {
    let mut bench = Bench::new(StreamLimits::default());
    let mut peer = bench.connect();
    peer.write_all(format!("{OPTIONS}{OPTIONS}\r\n\r\n").as_bytes())
        .unwrap();
    let first = bench.turn_until(message);
    let second = bench.turn_until(message);
    assert_eq!(first.1, OPTIONS.as_bytes());
    assert_eq!(first, second);
    let mut pong = [0; 2];
    peer.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"\r\n");
}

#[test]
fn a_request_goes_out_on_the_connection_its_peer_opened() {
    let mut bench = Bench::new(StreamLimits::default());
    let mut peer = bench.connect();
    let flow = Flow {
        transport: Transport::Tcp,
        local: bench.address,
        remote: peer.local_addr().unwrap(),
        connection: None,
    };
    assert!(bench.tcp.send(
        &bench.epoll,
        flow,
        Bytes::from_static(OPTIONS.as_bytes()),
        bench.now
    ));
    let mut got = vec![0; OPTIONS.len()];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(got, OPTIONS.as_bytes());
    assert_eq!(bench.tcp.counters.of(Transport::Tcp).opened, 0);
}

#[test]
fn a_peer_that_reads_nothing_loses_its_connection_and_no_other() {
    let mut bench = Bench::new(StreamLimits {
        write_queue: 64 * 1024,
        ..StreamLimits::default()
    });
    let peer = bench.connect();
    let other = bench.connect();
    let to = |stream: &TcpStream, address| Flow {
        transport: Transport::Tcp,
        local: address,
        remote: stream.local_addr().unwrap(),
        connection: None,
    };
    let flow = to(&peer, bench.address);
    let chunk = Bytes::from(vec![b'x'; 32 * 1024]);
    let mut sent = 0;
    while bench.tcp.send(&bench.epoll, flow, chunk.clone(), bench.now)
        && bench.tcp.counters.of(Transport::Tcp).opened == 0
    {
        sent += 1;
        assert!(sent < 10_000, "the kernel takes everything");
    }
    assert_eq!(bench.tcp.counters.of(Transport::Tcp).write_overflow, 1);
    assert_eq!(bench.tcp.live(), 1);
    assert!(
        bench
            .tcp
            .send(&bench.epoll, to(&other, bench.address), chunk, bench.now)
    );
}

#[test]
fn answers_below_sip_that_are_never_read_close_the_connection() {
    let mut bench = Bench::new(StreamLimits {
        write_queue: 64 * 1024,
        ..StreamLimits::default()
    });
    let mut peer = bench.connect();
    bench.fill(&peer);
    for _ in 0..1_100 {
        peer.write_all(b"\r\n\r\n").unwrap();
        bench.turn();
        if bench.tcp.live() == 0 {
            break;
        }
    }
    assert_eq!(bench.tcp.live(), 0);
    assert_eq!(bench.tcp.counters.of(Transport::Tcp).write_overflow, 1);
}

#[test]
fn a_peer_that_talks_and_never_reads_is_closed() {
    let mut bench = Bench::new(StreamLimits::default());
    let mut peer = bench.connect();
    peer.write_all(OPTIONS.as_bytes()).unwrap();
    bench.turn_until(message);
    bench.fill(&peer);
    bench.now += StreamLimits::default().unfinished;
    peer.write_all(OPTIONS.as_bytes()).unwrap();
    bench.turn_until(message);
    bench.sweep_after(Duration::ZERO);
    assert_eq!(bench.tcp.live(), 0);
}

#[test]
fn a_peer_whose_messages_run_into_each_other_is_not_slow() {
    let mut bench = Bench::new(StreamLimits::default());
    let mut peer = bench.connect();
    let (begin, rest) = OPTIONS.split_at(40);
    peer.write_all(format!("{OPTIONS}{begin}").as_bytes())
        .unwrap();
    bench.turn_until(message);
    for _ in 0..3 {
        bench.sweep_after(StreamLimits::default().unfinished - SWEEP);
        peer.write_all(format!("{rest}{begin}").as_bytes()).unwrap();
        bench.turn_until(message);
    }
    assert_eq!(bench.tcp.live(), 1);
}

#[test]
fn of_the_pings_of_one_read_the_newest_is_answered() {
    use sip_proxy::websocket::{Opcode, Reader, Role, frame};
    let mut speech = Speech::WebSocket(Reader::new(Role::Server, 65_536));
    let pings: Vec<u8> = (0..100)
        .flat_map(|n| frame(Opcode::Ping, &[n], Some([1, 2, 3, 4])))
        .collect();
    let mut answers = Vec::new();
    let limits = StreamLimits::default();
    let heard = speech.hear(&pings, &limits, &mut |_| {}, &mut |answer| {
        answers.push(answer);
    });
    assert!(heard.is_ok());
    assert_eq!(answers, [frame(Opcode::Pong, &[99], None)]);
}

#[test]
fn a_connection_named_before_it_is_open_carries_its_name_both_ways() {
    let mut bench = Bench::new(StreamLimits::default());
    let far = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = far.local_addr().unwrap();
    let connection = ConnectionId::opened(7);
    let flow = Flow {
        transport: Transport::Tcp,
        local: bench.address,
        remote,
        connection: Some(connection),
    };
    bench.tcp.open(&bench.epoll, flow, None, bench.now);
    let bytes = Bytes::from_static(OPTIONS.as_bytes());
    assert!(bench.tcp.send(&bench.epoll, flow, bytes, bench.now));
    let (mut peer, _) = far.accept().unwrap();
    peer.write_all(OPTIONS.as_bytes()).unwrap();
    assert_eq!(bench.turn_until(message).0, flow);
    let mut got = vec![0; OPTIONS.len()];
    peer.read_exact(&mut got).unwrap();
    drop((peer, far));
    let closed = |tcp: &mut Streams| match tcp.next_arrival()? {
        Arrival::Closed { connection } => Some(connection),
        _ => None,
    };
    assert_eq!(bench.turn_until(closed), connection);
    // Nobody listens there any more: that, too, is a closed connection.
    let again = ConnectionId::opened(8);
    let flow = Flow {
        connection: Some(again),
        ..flow
    };
    bench.tcp.open(&bench.epoll, flow, None, bench.now);
    assert_eq!(bench.turn_until(closed), again);
}

#[test]
fn one_source_cannot_take_all_connections() {
    let mut bench = Bench::new(StreamLimits {
        per_source: 2,
        ..StreamLimits::default()
    });
    let _kept = [bench.connect(), bench.connect()];
    let mut third = TcpStream::connect(bench.address).unwrap();
    third
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    bench.turn_until(|tcp| (tcp.counters.of(Transport::Tcp).refused_source == 1).then_some(()));
    assert!(closed(&mut third));
    assert_eq!(bench.tcp.live(), 2);
}

#[test]
fn strangers_leave_room_for_those_who_come_back() {
    let mut bench = Bench::new(StreamLimits {
        connections: 4,
        ..StreamLimits::default()
    });
    let _kept = [bench.connect(), bench.connect(), bench.connect()];
    let mut fourth = TcpStream::connect(bench.address).unwrap();
    bench.turn_until(|tcp| (tcp.counters.of(Transport::Tcp).refused_limit == 1).then_some(()));
    assert!(closed(&mut fourth));
    bench.guest = Guest::Known;
    let _phone = bench.connect();
    assert_eq!(bench.tcp.live(), 4);
}

#[test]
fn connections_are_counted_by_ipv6_network() {
    let mut bench = Bench::at("[::1]:0", StreamLimits::default());
    let _stream = bench.connect();
    let counted: Vec<_> = bench.tcp.per_source.iter().collect();
    assert_eq!(counted, [(&"::".parse().unwrap(), &1)]);
    bench.tcp.close(1);
    assert!(bench.tcp.per_source.is_empty());
}

#[test]
fn who_has_only_talked_is_closed_and_who_is_served_stays() {
    let mut bench = Bench::new(StreamLimits::default());
    let invite = |status| {
        let head = OPTIONS.replace("OPTIONS sip:a@example.org SIP/2.0", status);
        Bytes::from(head.replace("1 OPTIONS", "1 INVITE"))
    };
    let options = OPTIONS.replace("OPTIONS sip:a@example.org SIP/2.0", "SIP/2.0 200 OK");
    let answers = [
        (Bytes::from(options), false),
        (invite("SIP/2.0 100 Trying"), false),
        (invite("SIP/2.0 401 Unauthorized"), false),
        (invite("SIP/2.0 180 Ringing"), true),
        (invite("SIP/2.0 200 OK"), true),
        (Bytes::from_static(OPTIONS.as_bytes()), true),
    ];
    let mut open = Vec::new();
    for (answer, stays) in answers {
        let mut peer = bench.connect();
        peer.write_all(OPTIONS.as_bytes()).unwrap();
        let flow = bench.turn_until(message).0;
        assert!(bench.tcp.send(&bench.epoll, flow, answer, bench.now));
        open.push((peer, flow.connection.unwrap().0, stays));
    }
    bench.guest = Guest::Known;
    let mut peer = bench.connect();
    peer.write_all(OPTIONS.as_bytes()).unwrap();
    let known = bench.turn_until(message).0.connection.unwrap().0;
    open.push((peer, known, true));
    bench.sweep_after(Duration::from_secs(25));
    assert_eq!(bench.tcp.live(), open.len(), "there is time to answer");
    bench.sweep_after(Duration::from_secs(5));
    for (_, id, stays) in &open {
        assert_eq!(bench.tcp.connections.contains_key(id), *stays, "{id}");
    }
}

/// A TLS server that proves `peer.example`, and what the authority's clients believe.
fn peer() -> (TcpListener, Arc<ServerConfig>, Arc<ClientConfig>) {
    use rustls::pki_types::PrivateKeyDer;
    let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(authority.self_signed(&key).unwrap().der().clone())
        .unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = rcgen::CertificateParams::new(vec!["peer.example".to_owned()]).unwrap();
    let certificate = names.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (listener, Arc::new(server), Arc::new(client))
}

#[test]
fn a_tls_connection_of_ours_is_used_only_when_the_peer_proved_its_name() {
    let (listener, server, client) = peer();
    let remote = listener.local_addr().unwrap();
    // Serves two connections: echoes what comes by the first, sees the second refused.
    let served = std::thread::spawn(move || {
        let mut heard = Vec::new();
        for _ in 0..2 {
            let (socket, _) = listener.accept().unwrap();
            let session = ServerConnection::new(Arc::clone(&server)).unwrap();
            let mut stream = rustls::StreamOwned::new(session, socket);
            let mut bytes = vec![0; OPTIONS.len()];
            let taken = stream
                .read_exact(&mut bytes)
                .and_then(|()| stream.write_all(&bytes));
            heard.push(taken.is_ok());
        }
        heard
    });
    let mut bench = Bench::new(StreamLimits::default());
    bench.tcp.client = Some(client);
    let flow = |n| Flow {
        transport: Transport::Tls,
        local: bench.address,
        remote,
        connection: Some(ConnectionId::opened(n)),
    };
    let [right, wrong, nameless] = [flow(1), flow(2), flow(3)];
    let bytes = Bytes::from_static(OPTIONS.as_bytes());
    let now = bench.now;
    bench
        .tcp
        .open(&bench.epoll, right, Some("peer.example"), now);
    assert!(bench.tcp.send(&bench.epoll, right, bytes.clone(), now));
    let (flow, echoed) = bench.turn_until(message);
    assert_eq!((flow, &echoed), (right, &bytes));
    // Another name at the same address is another connection, and this one proves nothing.
    bench
        .tcp
        .open(&bench.epoll, wrong, Some("other.example"), now);
    assert!(
        bench.tcp.send(&bench.epoll, wrong, bytes.clone(), now),
        "it waits"
    );
    let gone = |tcp: &mut Streams| match tcp.next_arrival()? {
        Arrival::Closed { connection } => Some(connection),
        _ => None,
    };
    while bench.turn_until(gone) != ConnectionId::opened(2) {}
    // Without a name there is nothing to verify, and in clear it never goes.
    bench.tcp.open(&bench.epoll, nameless, None, now);
    assert_eq!(bench.turn_until(gone), ConnectionId::opened(3));
    let unnamed = Flow {
        connection: None,
        ..right
    };
    assert!(!bench.tcp.send(&bench.epoll, unnamed, bytes, now));
    assert_eq!(served.join().unwrap(), [true, false]);
    let failed = (Transport::Tls, "certificate");
    assert_eq!(bench.tcp.counters.failed[&failed], 1);
}

#[test]
fn what_a_refused_connection_was_to_carry_comes_back() {
    let mut bench = Bench::new(StreamLimits::default());
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = gone.local_addr().unwrap();
    drop(gone);
    let flow = Flow {
        transport: Transport::Tcp,
        local: bench.address,
        remote,
        connection: None,
    };
    let bytes = Bytes::from_static(OPTIONS.as_bytes());
    assert!(bench.tcp.send(&bench.epoll, flow, bytes.clone(), bench.now));
    let unsent = |tcp: &mut Streams| match tcp.next_arrival()? {
        Arrival::Unsent { bytes, .. } => Some(bytes),
        _ => None,
    };
    assert_eq!(bench.turn_until(unsent), bytes);
}

#[test]
fn the_defaults_close_an_idle_connection_within_half_a_minute() {
    let limits = StreamLimits::default();
    // A sweep is up to a second late.
    for limit in [
        limits.first_message + super::connection::GRACE,
        limits.handshake,
        limits.unfinished,
        limits.connect,
    ] {
        assert!(limit + SWEEP <= Duration::from_secs(30), "{limit:?}");
    }
}
