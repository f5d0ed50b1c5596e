//! SIP over streams (RFC 3261 §18, RFC 5626, RFC 7118): TCP, TLS, WebSocket and secure WebSocket; listeners, accepted
//! and opened connections, limits and timers. One owner, no lock, no runtime: the signalling thread's epoll set.
//!
//! ```text
//!   socket ◀─▶ link (in clear, or rustls) ◀─▶ speech (SIP by Content-Length, or in WebSocket frames) ──▶ arrivals
//! ```
//! Everything here is bounded: connections in all and per source, bytes waiting to be written, and the time for each
//! step: to connect, to finish TLS and WebSocket handshakes, until the first message, for the rest of a message begun,
//! in silence. A failure ends the connection: nothing is ever tried again in clear text.

mod connection;
mod counters;
mod limits;
mod link;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use sip_proxy::websocket::Handshake;
use sip_proxy::{ConnectionId, Flow, Framer, Transport};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{network, tls, token};
use connection::{Connection, Ends, Fault, Speech, serves};
pub(crate) use counters::{Counters, Counts};
pub(crate) use limits::StreamLimits;
use link::{Failed, Link, Progress};

/// How often timers are looked at, and a listener that ran out of descriptors is tried again.
const SWEEP: Duration = Duration::from_secs(1);
/// A connection that is told good-bye has so long to read it.
const FAREWELL: Duration = Duration::from_secs(2);
/// Connections accepted from one listener per turn, so that a flood cannot keep the loop from the phones.
const ACCEPTS_PER_TURN: usize = 64;
/// Octets taken from one connection per turn: with [`ACCEPTS_PER_TURN`] what a turn may take.
const READ_BUFFER: usize = 16 * 1024;

/// What happened on a connection, for signalling.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// One whole message.
    Message { flow: Flow, bytes: Bytes },
    /// The peer proved to be these names, by a certificate an authority of the listener vouches for.
    Certified {
        connection: ConnectionId,
        names: Vec<String>,
    },
    /// The connection is gone.
    Closed { connection: ConnectionId },
    /// A connection could not be opened, and this was to go over it.
    Unsent { flow: Flow, bytes: Bytes },
}

/// A bound listener and how it is served.
pub(crate) struct StreamListener {
    pub(crate) socket: TcpListener,
    pub(crate) transport: Transport,
    /// What peers are told.
    pub(crate) advertise: Option<SocketAddr>,
    pub(crate) access: Access,
}

/// What a reload may change of a listener: whoever comes from then on meets it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// Always there for TLS and WSS.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Whose web pages may connect.
    pub(crate) origins: Arc<[String]>,
}

/// Who asks for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guest {
    /// Somebody there is trusted, or is or was lately registered.
    Known,
    /// Nobody we know.
    Stranger,
    /// A stranger who has asked for too much already.
    Refused,
}

/// All streams of the signalling thread.
pub(crate) struct Streams {
    limits: StreamLimits,
    listeners: Vec<StreamListener>,
    client: Option<Arc<ClientConfig>>,
    /// Bounded by `StreamLimits::connections`. Ordered, so that sweeps close in a reproducible order.
    connections: BTreeMap<u64, Connection>,
    /// Connection reuse (RFC 5923 in spirit): the newest TCP connection to a remote address. None under TLS: who stands
    /// at an address has not proved to be whoever is meant (the lesson of CVE-2020-15260).
    by_remote: HashMap<SocketAddr, u64>,
    /// By network: see [`network`]. Bounded by the connections.
    per_source: HashMap<IpAddr, usize>,
    next_id: u64,
    next_sweep: Option<Instant>,
    /// Listeners taken out of the epoll set because descriptors ran out.
    paused: Vec<usize>,
    buffer: Box<[u8]>,
    /// What to tell signalling. Bounded: drained after every event, and one event reads a few buffers.
    arrivals: VecDeque<Arrival>,
    pub(crate) counters: Counters,
}

impl Streams {
    pub(crate) fn new(limits: StreamLimits, client: Option<Arc<ClientConfig>>) -> Self {
        Self {
            limits,
            listeners: Vec::new(),
            client,
            connections: BTreeMap::new(),
            by_remote: HashMap::new(),
            per_source: HashMap::new(),
            next_id: 1,
            next_sweep: None,
            paused: Vec::new(),
            buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            arrivals: VecDeque::new(),
            counters: Counters::default(),
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
        listener: StreamListener,
    ) -> std::io::Result<()> {
        let index = self.listeners.len();
        epoll.add(
            &listener.socket,
            EpollEvent::new(EpollFlags::EPOLLIN, token::stream_listener(index)),
        )?;
        // Counted from zero, not from the first event on.
        self.counters.of(listener.transport);
        self.listeners.push(listener);
        Ok(())
    }

    /// New certificates and origins, by listener in the order they were served; connections go on with the old ones.
    pub(crate) fn reload(&mut self, access: Vec<Access>, client: Option<Arc<ClientConfig>>) {
        for (listener, access) in self.listeners.iter_mut().zip(access) {
            listener.access = access;
        }
        self.client = client;
    }

    /// What happened since the last call, oldest first.
    pub(crate) fn next_arrival(&mut self) -> Option<Arrival> {
        self.arrivals.pop_front()
    }

    /// A registration came by this connection: it may stay silent as long as the registration lasts.
    pub(crate) fn registered(&mut self, connection: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&connection.0) {
            connection.registered = true;
            connection.proven = true;
        }
    }

    /// Connections open now, those included that are told good-bye.
    #[cfg(test)]
    pub(crate) fn live(&self) -> usize {
        self.connections.len()
    }

    /// When [`Streams::sweep`] is due.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.next_sweep
    }

    /// A listener is readable. `judge` says who a source is, and whether it may have a TLS handshake done for it now:
    /// that costs us more than it costs the source.
    pub(crate) fn accept(
        &mut self,
        epoll: &Epoll,
        index: usize,
        now: Instant,
        mut judge: impl FnMut(IpAddr, bool) -> Guest,
    ) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listeners.get(index) else {
                return;
            };
            match listener.socket.accept() {
                Ok((stream, remote)) => {
                    let costly = listener.transport.is_secure();
                    let counts = self.counters.of(listener.transport);
                    let (all, limit) = (self.connections.len(), self.limits.connections);
                    let of_source = self.per_source.get(&network(remote.ip()));
                    if all >= limit {
                        counts.refused_limit += 1;
                    } else if of_source.is_some_and(|count| *count >= self.limits.per_source) {
                        counts.refused_source += 1;
                    } else {
                        match judge(remote.ip(), costly) {
                            Guest::Refused => counts.refused_source += 1,
                            // The last quarter is for those who come back.
                            Guest::Stranger if all >= limit - limit / 4 => {
                                counts.refused_limit += 1;
                            }
                            guest => self.admit(epoll, index, stream, (remote, guest), now),
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionAborted | ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    // Out of descriptors: a level-triggered listener would spin, so it pauses until the next sweep.
                    tracing::warn!(%error, "accept failed, pausing the listener");
                    let _ = epoll.delete(&listener.socket);
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
        index: usize,
        stream: TcpStream,
        (remote, guest): (SocketAddr, Guest),
        now: Instant,
    ) {
        let Some(listener) = self.listeners.get(index) else {
            return;
        };
        let transport = listener.transport;
        let Some(local) = listener.advertise.or_else(|| stream.local_addr().ok()) else {
            return;
        };
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        let link = match (transport.is_secure(), &listener.access.tls) {
            (false, _) => Link::plain(stream),
            (true, Some(config)) => match ServerConnection::new(Arc::clone(config)) {
                Ok(session) => Link::tls(stream, session),
                Err(_) => return,
            },
            (true, None) => return,
        };
        let speech = match transport {
            Transport::Ws | Transport::Wss => {
                Speech::Upgrade(Handshake::default(), Arc::clone(&listener.access.origins))
            }
            _ => Speech::Sip(Framer::new(self.limits.message.clone())),
        };
        *self.per_source.entry(network(remote.ip())).or_default() += 1;
        self.counters.of(transport).accepted += 1;
        let id = self.number();
        let ends = Ends {
            local,
            remote,
            accepted: true,
            known: guest == Guest::Known,
        };
        self.insert(epoll, id, transport, (link, speech), ends, now);
    }

    fn number(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn insert(
        &mut self,
        epoll: &Epoll,
        id: u64,
        transport: Transport,
        (link, speech): (Link, Speech),
        ends: Ends,
        now: Instant,
    ) {
        let _ = link.socket.set_nodelay(true);
        // The kernel notices a peer that vanished without a word well before our own idle timer.
        let _ = SockRef::from(&link.socket).set_keepalive(true);
        let interest = if ends.accepted {
            EpollFlags::EPOLLIN
        } else {
            EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT
        };
        let added = epoll.add(
            &link.socket,
            EpollEvent::new(interest, token::connection(id)),
        );
        let flow = Flow {
            transport,
            local: ends.local,
            remote: ends.remote,
            connection: Some(ConnectionId(id)),
        };
        let connection = Connection::new(link, flow, speech, ends, interest, now);
        self.connections.insert(id, connection);
        self.counters.of(transport).open += 1;
        if transport == Transport::Tcp {
            self.by_remote.insert(ends.remote, id);
        }
        self.next_sweep.get_or_insert(now + SWEEP);
        if added.is_err() {
            self.close(id);
        }
    }

    /// Opens a connection a machine has named; `name` is what a TLS peer must prove. A failure, now or later, is an
    /// [`Arrival::Closed`].
    pub(crate) fn open(&mut self, epoll: &Epoll, flow: Flow, name: Option<&str>, now: Instant) {
        let Some(connection) = flow.connection else {
            return;
        };
        if self.connect(epoll, connection.0, flow, name, now).is_none() {
            self.arrivals.push_back(Arrival::Closed { connection });
        }
    }

    /// Sends on the named connection; without one on a TCP connection that reaches the remote address, or on a new
    /// one. `false` when there is no way; the caller reports the flow as failed.
    pub(crate) fn send(&mut self, epoll: &Epoll, flow: Flow, bytes: Bytes, now: Instant) -> bool {
        let known = match flow.connection {
            Some(ConnectionId(id)) => Some(id),
            None if flow.transport == Transport::Tcp => self.by_remote.get(&flow.remote).copied(),
            None => return false,
        };
        let id = match known {
            Some(id) => id,
            None => {
                let id = self.number();
                if self.connect(epoll, id, flow, None, now).is_none() {
                    return false;
                }
                id
            }
        };
        let limit = self.limits.write_queue;
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        // What is meant for TLS never goes out in clear, whoever numbered the flow.
        if connection.flow.transport != flow.transport
            || connection.told
            || !connection.speech.is_open()
        {
            return false;
        }
        connection.proven = connection.proven || serves(&bytes);
        let octets = connection.frame(bytes);
        if !connection.queue(octets, limit, now) {
            self.counters.of(flow.transport).write_overflow += 1;
            self.close(id);
            return false;
        }
        connection.connecting || self.flush(epoll, id, now)
    }

    /// The listener's address stays the flow's local one: it is where the peer can reach us again.
    fn connect(
        &mut self,
        epoll: &Epoll,
        id: u64,
        flow: Flow,
        name: Option<&str>,
        now: Instant,
    ) -> Option<()> {
        if self.connections.len() >= self.limits.connections {
            self.counters.of(flow.transport).refused_limit += 1;
            return None;
        }
        let session = match flow.transport {
            Transport::Tcp => None,
            Transport::Tls => {
                let name = ServerName::try_from(name?.to_owned()).ok()?;
                let config = Arc::clone(self.client.as_ref()?);
                Some(ClientConnection::new(config, name).ok()?)
            }
            Transport::Udp | Transport::Ws | Transport::Wss => return None,
        };
        let domain = Domain::for_address(flow.remote);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).ok()?;
        socket.set_nonblocking(true).ok()?;
        match socket.connect(&flow.remote.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
            Err(_) => return None,
        }
        self.counters.of(flow.transport).opened += 1;
        let link = match session {
            None => Link::plain(socket.into()),
            Some(session) => Link::tls(socket.into(), session),
        };
        let speech = Speech::Sip(Framer::new(self.limits.message.clone()));
        let ends = Ends {
            local: flow.local,
            remote: flow.remote,
            accepted: false,
            known: true,
        };
        self.insert(epoll, id, flow.transport, (link, speech), ends, now);
        Some(())
    }

    /// Writes what waits. `false` when the connection is gone.
    fn flush(&mut self, epoll: &Epoll, id: u64, now: Instant) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        let mut alive = connection.flush(now);
        if alive && connection.told && connection.is_drained() {
            connection.link.finish();
        }
        let wanted = connection.wanted();
        if alive && wanted != connection.interest {
            connection.interest = wanted;
            let mut event = EpollEvent::new(wanted, token::connection(id));
            alive = epoll.modify(&connection.link.socket, &mut event).is_ok();
        }
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
                if connection.link.socket.take_error().ok().flatten().is_some() {
                    self.close(id);
                    return;
                }
                connection.connecting = false;
                connection.ready = connection.link.session().is_none();
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
        let Self {
            connections,
            arrivals,
            buffer,
            limits,
            ..
        } = self;
        let Some(connection) = connections.get_mut(&id) else {
            return;
        };
        // Messages that came with the last octets of a handshake are told after what the handshake proved.
        let told = arrivals.len();
        let outcome = connection.read(buffer, limits, now, |flow, bytes| {
            arrivals.push_back(Arrival::Message { flow, bytes });
        });
        let (progress, fault) = match outcome {
            Ok(read) => read,
            Err(failed) => return self.tls_failed(id, &failed),
        };
        self.begin(id, told);
        match fault {
            None if progress == Progress::Ended => self.close(id),
            None => {
                if self.flush(epoll, id, now) {
                    self.judge_queue(id);
                }
            }
            Some(fault) => self.end(epoll, id, fault, now),
        }
    }

    /// Answers below SIP are queued as they come: whoever asks for them and does not read them is closed here.
    fn judge_queue(&mut self, id: u64) {
        if let Some(connection) = self.connections.get(&id)
            && connection.is_overfull(self.limits.write_queue)
        {
            self.counters.of(connection.flow.transport).write_overflow += 1;
            self.close(id);
        }
    }

    /// Notes that TLS and WebSocket are through, when they are.
    fn begin(&mut self, id: u64, told: usize) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.ready || connection.connecting || connection.link.is_handshaking() {
            return;
        }
        if !connection.speech.is_open() {
            return;
        }
        connection.ready = true;
        let resumed = connection.link.is_resumed();
        let Some(session) = connection.link.session() else {
            return;
        };
        self.counters.handshake(session, resumed);
        let names = tls::proved(session.peer_certificates());
        if connection.accepted && !names.is_empty() {
            connection.proven = true;
            let certified = Arrival::Certified {
                connection: ConnectionId(id),
                names,
            };
            self.arrivals.insert(told, certified);
        }
    }

    fn tls_failed(&mut self, id: u64, failed: &Failed) {
        if let Some(connection) = self.connections.get(&id) {
            let reason = tls::reason(&failed.error);
            let remote = connection.flow.remote;
            tracing::debug!(%remote, error = %failed.error, "TLS failed");
            if failed.handshake {
                let of = connection.flow.transport;
                self.counters.failed(of, reason);
            } else {
                self.counters.of(connection.flow.transport).bad_frames += 1;
            }
        }
        self.close(id);
    }

    /// The end: nothing more is read. A WebSocket is told why and then closed; on a bare stream what came whole before
    /// may still be answered, until the next sweep.
    fn end(&mut self, epoll: &Epoll, id: u64, fault: Fault, now: Instant) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let (transport, remote) = (connection.flow.transport, connection.flow.remote);
        let says_why = !matches!(connection.speech, Speech::Sip(_));
        connection.ending = Some(if says_why { now + FAREWELL } else { now });
        connection.told = says_why;
        match fault {
            Fault::GoodBye => {}
            Fault::Frames => {
                tracing::debug!(%remote, %transport, "not SIP, closing");
                self.counters.of(transport).bad_frames += 1;
            }
            Fault::Upgrade(refusal) => {
                tracing::debug!(%remote, refusal = refusal.as_str(), "WebSocket refused");
                self.counters.failed(transport, refusal.as_str());
            }
        }
        self.forget_remote(id, remote);
        if says_why {
            self.arrivals.push_back(Arrival::Closed {
                connection: ConnectionId(id),
            });
        }
        self.flush(epoll, id, now);
    }

    fn forget_remote(&mut self, id: u64, remote: SocketAddr) {
        if self.by_remote.get(&remote) == Some(&id) {
            self.by_remote.remove(&remote);
        }
    }

    /// Closes what has been silent, unfinished or unheard for too long; wakes paused listeners. Once a second.
    pub(crate) fn sweep(&mut self, epoll: &Epoll, now: Instant) {
        if self.next_sweep.is_none_or(|due| now < due) {
            return;
        }
        for index in std::mem::take(&mut self.paused) {
            if let Some(listener) = self.listeners.get(index) {
                let _ = epoll.add(
                    &listener.socket,
                    EpollEvent::new(EpollFlags::EPOLLIN, token::stream_listener(index)),
                );
            }
        }
        let over: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.is_over(&self.limits, now))
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            if let Some(connection) = self.connections.get(&id)
                && connection.ending.is_none()
            {
                let (transport, unready) = (connection.flow.transport, !connection.ready);
                self.counters.of(transport).reaped += 1;
                if unready && connection.accepted {
                    self.counters.failed(transport, "timeout");
                }
            }
            self.close(id);
        }
        self.next_sweep = (!self.connections.is_empty()).then_some(now + SWEEP);
    }

    /// Closes a connection and reports it.
    pub(crate) fn close(&mut self, id: u64) {
        let Some(mut connection) = self.connections.remove(&id) else {
            return;
        };
        let flow = connection.flow;
        self.counters.of(flow.transport).open -= 1;
        self.forget_remote(id, flow.remote);
        if connection.accepted
            && let Some(count) = self.per_source.get_mut(&network(flow.remote.ip()))
        {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&network(flow.remote.ip()));
            }
        }
        if connection.connecting {
            for bytes in connection.unsent() {
                self.arrivals.push_back(Arrival::Unsent { flow, bytes });
            }
        } else if connection.ready {
            connection.link.finish();
        }
        if !connection.told {
            self.arrivals.push_back(Arrival::Closed {
                connection: ConnectionId(id),
            });
        }
        // Dropping the socket closes the descriptor, which takes it out of the epoll set.
    }
}
