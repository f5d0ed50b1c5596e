//! SIP over TCP (RFC 3261 §18): listeners, accepted and opened connections, framing, limits and timers.
//!
//! Everything here is bounded: connections in all and per source, bytes waiting to be written, the time until the
//! first byte, the time a message may stay unfinished, and the time a connection may say nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use sip_proxy::{ConnectionId, Flow, Frame, Framer, Limits, Transport};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::token;

/// What one server allows its TCP peers.
#[derive(Clone, Debug)]
pub(crate) struct TcpLimits {
    /// Connections in all; further ones are closed at once and counted.
    pub(crate) connections: usize,
    /// Connections from one address; further ones are closed at once and counted.
    pub(crate) per_source: usize,
    /// A connection that has sent no whole message by then is closed.
    pub(crate) first_message: Duration,
    /// A message begun must be finished by then.
    pub(crate) unfinished: Duration,
    /// A connection without a registration that was silent so long is closed: long enough for a call's quiet.
    pub(crate) idle: Duration,
    /// A connection with one is closed after so long. Longer than the longest registration: a phone behind NAT is
    /// reachable only over the connection it opened.
    pub(crate) registered_idle: Duration,
    /// Bytes waiting for a slow peer; more closes the connection and is counted.
    pub(crate) write_queue: usize,
    /// Limits of one message.
    pub(crate) message: Limits,
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            per_source: 256,
            first_message: Duration::from_secs(30),
            unfinished: Duration::from_secs(20),
            idle: Duration::from_secs(900),
            registered_idle: Duration::from_secs(7_500),
            write_queue: 256 * 1024,
            message: Limits::default(),
        }
    }
}

/// How often timers are looked at, and a listener that ran out of descriptors is tried again.
const SWEEP: Duration = Duration::from_secs(1);
/// Connections accepted from one listener per turn, so that a flood cannot keep the loop from the phones.
const ACCEPTS_PER_TURN: usize = 64;
const READ_BUFFER: usize = 64 * 1024;

/// What happened on a connection, for signalling.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// One whole message.
    Message { flow: Flow, bytes: Bytes },
    /// The connection is gone.
    Closed { connection: ConnectionId },
}

/// Counted since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TcpCounters {
    pub(crate) accepted: u64,
    pub(crate) opened: u64,
    pub(crate) refused_global: u64,
    pub(crate) refused_source: u64,
    pub(crate) reaped: u64,
    pub(crate) bad_frames: u64,
    pub(crate) write_overflow: u64,
}

struct Connection {
    stream: TcpStream,
    flow: Flow,
    framer: Framer,
    accepted: bool,
    connecting: bool,
    /// Bounded by `TcpLimits::write_queue`.
    outgoing: VecDeque<Bytes>,
    /// Bytes of the first entry written already.
    written: usize,
    queued: usize,
    heard: bool,
    registered: bool,
    /// The stream can no longer be cut into messages: what came whole is still answered, the next sweep closes.
    lost: bool,
    /// Since when an unfinished message waits for its rest.
    unfinished: Option<Instant>,
    since: Instant,
    last: Instant,
}

/// All TCP of the signalling thread.
pub(crate) struct Tcp {
    limits: TcpLimits,
    /// Listeners with what peers are told of each.
    listeners: Vec<(TcpListener, Option<SocketAddr>)>,
    /// Bounded by `TcpLimits::connections`. Ordered, so that sweeps close in a reproducible order.
    connections: BTreeMap<u64, Connection>,
    /// Connection reuse (RFC 5923 in spirit): the newest connection to a remote address.
    by_remote: HashMap<SocketAddr, u64>,
    per_source: HashMap<IpAddr, usize>,
    next_id: u64,
    next_sweep: Option<Instant>,
    /// Listeners taken out of the epoll set because descriptors ran out.
    paused: Vec<usize>,
    buffer: Box<[u8]>,
    /// What to tell signalling. Bounded: drained after every event, and one event reads one buffer.
    arrivals: VecDeque<Arrival>,
    pub(crate) counters: TcpCounters,
}

impl Tcp {
    pub(crate) fn new(limits: TcpLimits) -> Self {
        Self {
            limits,
            listeners: Vec::new(),
            connections: BTreeMap::new(),
            by_remote: HashMap::new(),
            per_source: HashMap::new(),
            next_id: 1,
            next_sweep: None,
            paused: Vec::new(),
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            arrivals: VecDeque::new(),
            counters: TcpCounters::default(),
        }
    }

    /// Binds a listening socket without serving it yet.
    pub(crate) fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // A restart must not wait for the old server's connections in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        Ok(socket.into())
    }

    /// Serves a bound listener.
    pub(crate) fn listen(
        &mut self,
        epoll: &Epoll,
        listener: TcpListener,
        advertise: Option<SocketAddr>,
    ) -> std::io::Result<()> {
        let index = self.listeners.len();
        epoll.add(
            &listener,
            EpollEvent::new(EpollFlags::EPOLLIN, token::tcp_listener(index)),
        )?;
        self.listeners.push((listener, advertise));
        Ok(())
    }

    /// What happened since the last call, oldest first.
    pub(crate) fn next_arrival(&mut self) -> Option<Arrival> {
        self.arrivals.pop_front()
    }

    /// A registration came by this connection: it may stay silent as long as the registration lasts.
    pub(crate) fn registered(&mut self, connection: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&connection.0) {
            connection.registered = true;
        }
    }

    /// Connections open now.
    pub(crate) fn live(&self) -> usize {
        self.connections.len()
    }

    /// When [`Tcp::sweep`] is due.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.next_sweep
    }

    /// A listener is readable.
    pub(crate) fn accept(&mut self, epoll: &Epoll, index: usize, now: Instant) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some((listener, advertise)) = self.listeners.get(index) else {
                return;
            };
            let advertise = *advertise;
            match listener.accept() {
                Ok((stream, remote)) => self.admit(epoll, stream, advertise, remote, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionAborted | ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    // Out of descriptors: a level-triggered listener would spin, so it pauses until the next sweep.
                    tracing::warn!(%error, "accept failed, pausing the listener");
                    let _ = epoll.delete(listener);
                    self.paused.push(index);
                    self.next_sweep.get_or_insert(now + SWEEP);
                    return;
                }
            }
        }
    }

    fn admit(
        &mut self,
        epoll: &Epoll,
        stream: TcpStream,
        advertise: Option<SocketAddr>,
        remote: SocketAddr,
        now: Instant,
    ) {
        if self.connections.len() >= self.limits.connections {
            self.counters.refused_global += 1;
            return;
        }
        let source = self.per_source.entry(remote.ip()).or_default();
        if *source >= self.limits.per_source {
            self.counters.refused_source += 1;
            return;
        }
        let Some(local) = advertise.or_else(|| stream.local_addr().ok()) else {
            return;
        };
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        *source += 1;
        self.counters.accepted += 1;
        let id = self.number();
        self.insert(
            epoll,
            id,
            stream,
            Ends {
                local,
                remote,
                accepted: true,
            },
            now,
        );
    }

    fn number(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn insert(&mut self, epoll: &Epoll, id: u64, stream: TcpStream, ends: Ends, now: Instant) {
        let _ = stream.set_nodelay(true);
        // The kernel notices a peer that vanished without a word well before our own idle timer.
        let _ = SockRef::from(&stream).set_keepalive(true);
        let connecting = !ends.accepted;
        let interest = if connecting {
            EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT
        } else {
            EpollFlags::EPOLLIN
        };
        let added = epoll.add(&stream, EpollEvent::new(interest, token::connection(id)));
        let connection = ConnectionId(id);
        let flow = Flow {
            transport: Transport::Tcp,
            local: ends.local,
            remote: ends.remote,
            connection: Some(connection),
        };
        self.connections.insert(
            id,
            Connection {
                stream,
                flow,
                framer: Framer::new(self.limits.message.clone()),
                accepted: ends.accepted,
                connecting,
                outgoing: VecDeque::new(),
                written: 0,
                queued: 0,
                heard: false,
                registered: false,
                lost: false,
                unfinished: None,
                since: now,
                last: now,
            },
        );
        self.by_remote.insert(ends.remote, id);
        self.next_sweep.get_or_insert(now + SWEEP);
        if added.is_err() {
            self.close(id);
        }
    }

    /// Opens a connection a machine has named. A failure, now or later, is an [`Arrival::Closed`].
    pub(crate) fn open(
        &mut self,
        epoll: &Epoll,
        connection: ConnectionId,
        local: SocketAddr,
        remote: SocketAddr,
        now: Instant,
    ) {
        if self
            .connect(epoll, connection.0, local, remote, now)
            .is_none()
        {
            self.arrivals.push_back(Arrival::Closed { connection });
        }
    }

    /// Sends on the named connection, on one that reaches the remote address, or on a new one.
    /// `false` when there is no way; the caller reports the flow as failed.
    pub(crate) fn send(&mut self, epoll: &Epoll, flow: Flow, bytes: Bytes, now: Instant) -> bool {
        let id = match flow.connection {
            Some(ConnectionId(id)) => Some(id),
            None => self.by_remote.get(&flow.remote).copied(),
        };
        let id = match id {
            Some(id) if self.connections.contains_key(&id) => id,
            Some(_) => return false,
            None => {
                let id = self.number();
                if self
                    .connect(epoll, id, flow.local, flow.remote, now)
                    .is_none()
                {
                    return false;
                }
                id
            }
        };
        self.write(epoll, id, bytes, now)
    }

    /// The listener's address stays the flow's local one: it is where the peer can reach us again.
    fn connect(
        &mut self,
        epoll: &Epoll,
        id: u64,
        local: SocketAddr,
        remote: SocketAddr,
        now: Instant,
    ) -> Option<()> {
        if self.connections.len() >= self.limits.connections {
            self.counters.refused_global += 1;
            return None;
        }
        let socket = Socket::new(
            Domain::for_address(remote),
            Type::STREAM,
            Some(Protocol::TCP),
        )
        .ok()?;
        socket.set_nonblocking(true).ok()?;
        match socket.connect(&remote.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
            Err(_) => return None,
        }
        self.counters.opened += 1;
        let ends = Ends {
            local,
            remote,
            accepted: false,
        };
        self.insert(epoll, id, socket.into(), ends, now);
        Some(())
    }

    fn write(&mut self, epoll: &Epoll, id: u64, bytes: Bytes, now: Instant) -> bool {
        let limit = self.limits.write_queue;
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        if connection.queued + bytes.len() > limit {
            self.counters.write_overflow += 1;
            self.close(id);
            return false;
        }
        connection.queued += bytes.len();
        let waiting = !connection.outgoing.is_empty() || connection.connecting;
        connection.outgoing.push_back(bytes);
        waiting || self.flush(epoll, id, now)
    }

    fn flush(&mut self, epoll: &Epoll, id: u64, now: Instant) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        let fine = connection.flush(now);
        let interest = if connection.outgoing.is_empty() {
            EpollFlags::EPOLLIN
        } else {
            EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT
        };
        let armed = epoll.modify(
            &connection.stream,
            &mut EpollEvent::new(interest, token::connection(id)),
        );
        let alive = fine && armed.is_ok();
        if !alive {
            self.close(id);
        }
        alive
    }

    /// A connection is readable, writable or broken.
    pub(crate) fn ready(&mut self, epoll: &Epoll, id: u64, flags: EpollFlags, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if flags.contains(EpollFlags::EPOLLOUT) {
            if connection.connecting {
                if connection.stream.take_error().ok().flatten().is_some() {
                    self.close(id);
                    return;
                }
                connection.connecting = false;
            }
            if !self.flush(epoll, id, now) {
                return;
            }
        }
        if flags.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            self.read(epoll, id, now);
        }
    }

    fn read(&mut self, epoll: &Epoll, id: u64, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let count = match connection.stream.read(&mut self.buffer) {
            Ok(0) => return self.close(id),
            Ok(count) => count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return;
            }
            Err(_) => return self.close(id),
        };
        if connection.lost {
            return;
        }
        connection.last = now;
        connection
            .framer
            .push(self.buffer.get(..count).unwrap_or_default());
        let mut answer_ping = false;
        loop {
            match connection.framer.next() {
                Ok(Some(Frame::Message(bytes))) => {
                    connection.unfinished = None;
                    connection.heard = true;
                    self.arrivals.push_back(Arrival::Message {
                        flow: connection.flow,
                        bytes,
                    });
                }
                Ok(Some(Frame::KeepAlivePing)) => answer_ping = true,
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(remote = %connection.flow.remote, ?error, "stream is not SIP, closing");
                    self.counters.bad_frames += 1;
                    connection.lost = true;
                    return;
                }
            }
        }
        // A lone CRLF stays in the framer as half of a ping; it is no unfinished message.
        connection.unfinished = if connection.framer.pending() <= 2 {
            None
        } else {
            connection.unfinished.or(Some(now))
        };
        if answer_ping {
            // RFC 5626 §4.4.1: a double CRLF is answered by a single one; several at once need one answer.
            self.write(epoll, id, Bytes::from_static(b"\r\n"), now);
        }
    }

    /// Closes what has been silent, unfinished or unheard for too long; wakes paused listeners. Once a second.
    pub(crate) fn sweep(&mut self, epoll: &Epoll, now: Instant) {
        if self.next_sweep.is_none_or(|due| now < due) {
            return;
        }
        for index in std::mem::take(&mut self.paused) {
            if let Some((listener, _)) = self.listeners.get(index) {
                let _ = epoll.add(
                    listener,
                    EpollEvent::new(EpollFlags::EPOLLIN, token::tcp_listener(index)),
                );
            }
        }
        let limits = &self.limits;
        let expired = |connection: &Connection| {
            let silent = now.saturating_duration_since(connection.last);
            let age = now.saturating_duration_since(connection.since);
            silent
                >= if connection.registered {
                    limits.registered_idle
                } else {
                    limits.idle
                }
                || connection.lost
                || (!connection.heard && age >= limits.first_message)
                || (!connection.outgoing.is_empty() && silent >= limits.unfinished)
                || connection
                    .unfinished
                    .is_some_and(|since| now.saturating_duration_since(since) >= limits.unfinished)
        };
        let over: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| expired(connection))
            .map(|(id, _)| *id)
            .collect();
        self.counters.reaped += over.len() as u64;
        for id in over {
            self.close(id);
        }
        self.next_sweep = (!self.connections.is_empty()).then_some(now + SWEEP);
    }

    /// Closes a connection and reports it.
    pub(crate) fn close(&mut self, id: u64) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        let remote = connection.flow.remote;
        if self.by_remote.get(&remote) == Some(&id) {
            self.by_remote.remove(&remote);
        }
        if connection.accepted
            && let Some(count) = self.per_source.get_mut(&remote.ip())
        {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&remote.ip());
            }
        }
        // Dropping the stream closes the descriptor, which takes it out of the epoll set.
        self.arrivals.push_back(Arrival::Closed {
            connection: ConnectionId(id),
        });
    }
}

/// Both ends of a connection and who opened it.
#[derive(Clone, Copy)]
struct Ends {
    local: SocketAddr,
    remote: SocketAddr,
    accepted: bool,
}

impl Connection {
    /// Writes as much as the kernel takes. `false` when the connection is broken.
    fn flush(&mut self, now: Instant) -> bool {
        while let Some(first) = self.outgoing.front() {
            let rest = first.get(self.written..).unwrap_or_default();
            match self.stream.write(rest) {
                Ok(count) => {
                    self.last = now;
                    self.written += count;
                    self.queued = self.queued.saturating_sub(count);
                    if self.written >= first.len() {
                        self.outgoing.pop_front();
                        self.written = 0;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::epoll::{EpollCreateFlags, EpollTimeout};

    /// A transport with one listener on loopback, turned by hand.
    struct Bench {
        epoll: Epoll,
        tcp: Tcp,
        address: SocketAddr,
        now: Instant,
    }

    impl Bench {
        fn new(limits: TcpLimits) -> Self {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
            let mut tcp = Tcp::new(limits);
            let listener = Tcp::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            tcp.listen(&epoll, listener, None).unwrap();
            Self {
                epoll,
                tcp,
                address,
                now: Instant::now(),
            }
        }

        /// Serves events until `done` says so; fails after two seconds without any.
        fn turn_until<T>(&mut self, mut done: impl FnMut(&mut Tcp) -> Option<T>) -> T {
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
                        Some(token::Source::TcpListener(index)) => {
                            self.tcp.accept(&self.epoll, index, self.now);
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
            let before = self.tcp.counters.accepted;
            let stream = TcpStream::connect(self.address).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(2)))
                .unwrap();
            self.turn_until(|tcp| (tcp.counters.accepted > before).then_some(()));
            stream
        }

        fn sweep_after(&mut self, time: Duration) {
            self.now += time;
            self.tcp.sweep(&self.epoll, self.now);
        }
    }

    const OPTIONS: &str = "OPTIONS sip:a@example.org SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKa\r\n\
        From: <sip:b@example.org>;tag=1\r\nTo: <sip:a@example.org>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\
        Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n";

    fn message(tcp: &mut Tcp) -> Option<(Flow, Bytes)> {
        match tcp.next_arrival()? {
            Arrival::Message { flow, bytes } => Some((flow, bytes)),
            Arrival::Closed { connection } => panic!("{connection:?} closed"),
        }
    }

    fn closed(stream: &mut TcpStream) -> bool {
        let mut rest = [0; 16];
        matches!(stream.read(&mut rest), Ok(0) | Err(_))
    }

    #[test]
    fn a_silent_connection_is_reaped_and_a_registered_one_is_not() {
        let mut bench = Bench::new(TcpLimits::default());
        let mut silent = bench.connect();
        let mut talking = bench.connect();
        talking.write_all(OPTIONS.as_bytes()).unwrap();
        let connection = bench.turn_until(message).0.connection.unwrap();
        bench.tcp.registered(connection);
        let limits = TcpLimits::default();
        bench.sweep_after(limits.first_message);
        assert_eq!(bench.tcp.live(), 1);
        assert_eq!(bench.tcp.counters.reaped, 1);
        assert!(closed(&mut silent));
        bench.sweep_after(limits.idle);
        assert_eq!(bench.tcp.live(), 1);
        bench.sweep_after(limits.registered_idle);
        assert_eq!(bench.tcp.live(), 0);
    }

    #[test]
    fn a_message_never_finished_is_not_waited_for() {
        let mut bench = Bench::new(TcpLimits::default());
        let mut slow = bench.connect();
        slow.write_all(&OPTIONS.as_bytes()[..40]).unwrap();
        bench.turn_until(|tcp| {
            tcp.connections
                .values()
                .any(|connection| connection.unfinished.is_some())
                .then_some(())
        });
        bench.sweep_after(TcpLimits::default().unfinished);
        assert_eq!(bench.tcp.counters.reaped, 1);
        assert!(closed(&mut slow));
    }

    #[test]
    fn an_oversized_message_closes_the_connection() {
        let mut bench = Bench::new(TcpLimits::default());
        let mut loud = bench.connect();
        let head = OPTIONS.replace("Content-Length: 0", "Content-Length: 10000000");
        loud.write_all(head.as_bytes()).unwrap();
        bench.turn_until(|tcp| (tcp.counters.bad_frames == 1).then_some(()));
        bench.sweep_after(SWEEP);
        assert!(closed(&mut loud));
        assert!(matches!(
            bench.tcp.next_arrival(),
            Some(Arrival::Closed { .. })
        ));
    }

    #[test]
    fn what_came_whole_before_nonsense_is_still_answered() {
        let mut bench = Bench::new(TcpLimits::default());
        let mut peer = bench.connect();
        peer.write_all(format!("{OPTIONS}nonsense\r\n\r\n{OPTIONS}").as_bytes())
            .unwrap();
        let (flow, _) = bench.turn_until(message);
        assert_eq!(bench.tcp.counters.bad_frames, 1);
        assert!(
            bench
                .tcp
                .send(&bench.epoll, flow, Bytes::from_static(b"answer"), bench.now)
        );
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
        let mut bench = Bench::new(TcpLimits::default());
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
        let mut bench = Bench::new(TcpLimits::default());
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
        assert_eq!(bench.tcp.counters.opened, 0);
    }

    #[test]
    fn a_peer_that_reads_nothing_loses_its_connection_and_no_other() {
        let mut bench = Bench::new(TcpLimits {
            write_queue: 64 * 1024,
            ..TcpLimits::default()
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
            && bench.tcp.counters.opened == 0
        {
            sent += 1;
            assert!(sent < 10_000, "the kernel takes everything");
        }
        assert_eq!(bench.tcp.counters.write_overflow, 1);
        assert_eq!(bench.tcp.live(), 1);
        assert!(
            bench
                .tcp
                .send(&bench.epoll, to(&other, bench.address), chunk, bench.now)
        );
    }

    #[test]
    fn a_connection_named_before_it_is_open_carries_its_name_both_ways() {
        let mut bench = Bench::new(TcpLimits::default());
        let far = TcpListener::bind("127.0.0.1:0").unwrap();
        let remote = far.local_addr().unwrap();
        let connection = ConnectionId::opened(7);
        bench
            .tcp
            .open(&bench.epoll, connection, bench.address, remote, bench.now);
        let flow = Flow {
            transport: Transport::Tcp,
            local: bench.address,
            remote,
            connection: Some(connection),
        };
        let bytes = Bytes::from_static(OPTIONS.as_bytes());
        assert!(bench.tcp.send(&bench.epoll, flow, bytes, bench.now));
        let (mut peer, _) = far.accept().unwrap();
        peer.write_all(OPTIONS.as_bytes()).unwrap();
        assert_eq!(bench.turn_until(message).0, flow);
        let mut got = vec![0; OPTIONS.len()];
        peer.read_exact(&mut got).unwrap();
        drop((peer, far));
        let closed = |tcp: &mut Tcp| match tcp.next_arrival()? {
            Arrival::Closed { connection } => Some(connection),
            Arrival::Message { .. } => None,
        };
        assert_eq!(bench.turn_until(closed), connection);
        // Nobody listens there any more: that, too, is a closed connection.
        let again = ConnectionId::opened(8);
        bench
            .tcp
            .open(&bench.epoll, again, bench.address, remote, bench.now);
        assert_eq!(bench.turn_until(closed), again);
    }

    #[test]
    fn one_source_cannot_take_all_connections() {
        let mut bench = Bench::new(TcpLimits {
            per_source: 2,
            ..TcpLimits::default()
        });
        let _kept = [bench.connect(), bench.connect()];
        let mut third = TcpStream::connect(bench.address).unwrap();
        third
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        bench.turn_until(|tcp| (tcp.counters.refused_source == 1).then_some(()));
        assert!(closed(&mut third));
        assert_eq!(bench.tcp.live(), 2);
    }
}
