//! One connection: its octets ([`Link`]), what is spoken over them, what waits to be written, and its clocks.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use nix::sys::epoll::EpollFlags;
use sip_proxy::websocket::{self, Event, Handshake, Opcode, Reader, Refusal, Role, Verdict};
use sip_proxy::{Flow, Frame, Framer};

use super::StreamLimits;
use super::link::{Failed, Link, Progress};

/// Both ends of a connection and who opened it.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) accepted: bool,
    /// We opened it, or know who is at that address.
    pub(super) known: bool,
}

/// What is spoken over the octets.
pub(super) enum Speech {
    /// SIP, cut by Content-Length.
    Sip(Framer),
    /// A WebSocket that is being asked for, and whose pages may.
    Upgrade(Handshake, Arc<[String]>),
    /// SIP in WebSocket messages.
    WebSocket(Reader),
}

/// Why a connection ends by our will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not SIP, or above a limit.
    Frames,
    /// The WebSocket was refused.
    Upgrade(Refusal),
    /// The peer said good-bye.
    GoodBye,
}

/// Whoever has said something and is nobody yet may be silent for so much longer than before the first message: to be
/// asked for a password and answer. With the default and a sweep that is half a minute.
pub(super) const GRACE: Duration = Duration::from_secs(9);
/// What an entry of the write queue costs besides its octets.
const ENTRY: usize = 64;

pub(super) struct Connection {
    pub(super) link: Link,
    pub(super) flow: Flow,
    pub(super) speech: Speech,
    pub(super) accepted: bool,
    pub(super) connecting: bool,
    /// TLS and WebSocket are done with their beginnings, if there are any.
    pub(super) ready: bool,
    /// Bounded by `StreamLimits::write_queue`.
    outgoing: VecDeque<Bytes>,
    /// Octets of the first entry written already.
    written: usize,
    queued: usize,
    /// What epoll waits for now.
    pub(super) interest: EpollFlags,
    pub(super) heard: bool,
    pub(super) registered: bool,
    /// The peer is somebody: by address, certificate, registration or call.
    pub(super) proven: bool,
    /// When its last whole message came; at first, when it began.
    spoken: Instant,
    /// Since when an unfinished message waits for its rest.
    pub(super) unfinished: Option<Instant>,
    pub(super) since: Instant,
    last: Instant,
    /// When what waits to be written last grew shorter, or began to wait. A peer that talks and never reads must not
    /// keep its connection.
    moved: Instant,
    /// It is over: what comes is not read any more, what waits goes out, until then.
    pub(super) ending: Option<Instant>,
    /// Signalling knows; nothing more may be sent.
    pub(super) told: bool,
}

impl Connection {
    pub(super) fn new(
        link: Link,
        flow: Flow,
        speech: Speech,
        ends: Ends,
        interest: EpollFlags,
        now: Instant,
    ) -> Self {
        let ready = link.session().is_none() && matches!(speech, Speech::Sip(_)) && ends.accepted;
        Self {
            link,
            flow,
            speech,
            accepted: ends.accepted,
            connecting: !ends.accepted,
            ready,
            outgoing: VecDeque::new(),
            written: 0,
            queued: 0,
            interest,
            heard: false,
            registered: false,
            proven: ends.known,
            spoken: now,
            unfinished: None,
            since: now,
            last: now,
            moved: now,
            ending: None,
            told: false,
        }
    }

    /// One SIP message, as it goes over the wire here.
    pub(super) fn frame(&self, message: Bytes) -> Bytes {
        match self.speech {
            Speech::Sip(_) => message,
            Speech::Upgrade(..) | Speech::WebSocket(_) => websocket::message(&message),
        }
    }

    /// Puts octets behind what waits; `false` above the limit.
    pub(super) fn queue(&mut self, octets: Bytes, limit: usize, now: Instant) -> bool {
        if self.queued + octets.len() > limit {
            return false;
        }
        if self.outgoing.is_empty() {
            self.moved = now;
        }
        self.queued += octets.len();
        self.outgoing.push_back(octets);
        true
    }

    /// Whether more waits than may: small answers weigh what they cost us.
    pub(super) fn is_overfull(&self, limit: usize) -> bool {
        self.queued + ENTRY * self.outgoing.len() > limit
    }

    /// Whether anything waits to be written.
    pub(super) fn is_drained(&self) -> bool {
        self.outgoing.is_empty() && !self.link.wants_write()
    }

    /// What was never sent.
    pub(super) fn unsent(&mut self) -> VecDeque<Bytes> {
        std::mem::take(&mut self.outgoing)
    }

    /// Writes as much as the kernel takes. `false` when the connection is broken.
    pub(super) fn flush(&mut self, now: Instant) -> bool {
        loop {
            match self.link.push(|| self.moved = now) {
                Ok(true) => {}
                Ok(false) => return true,
                Err(_) => return false,
            }
            let Some(first) = self.outgoing.front() else {
                return true;
            };
            if self.link.is_handshaking() {
                return true;
            }
            let rest = first.get(self.written..).unwrap_or_default();
            match self.link.write(rest) {
                Ok(count) => {
                    self.last = now;
                    self.moved = now;
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
    }

    /// What epoll has to wait for.
    pub(super) fn wanted(&self) -> EpollFlags {
        let waits = !self.outgoing.is_empty() && !self.link.is_handshaking();
        if self.connecting || waits || self.link.wants_write() {
            EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT
        } else {
            EpollFlags::EPOLLIN
        }
    }

    /// Takes what the socket has; `message` is called for each whole one.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        limits: &StreamLimits,
        now: Instant,
        mut message: impl FnMut(Flow, Bytes),
    ) -> Result<(Progress, Option<Fault>), Failed> {
        let Self {
            link,
            speech,
            flow,
            heard,
            outgoing,
            queued,
            ending,
            last,
            moved,
            ..
        } = self;
        let (mut fault, mut done) = (None, false);
        let mut reply = |octets: Bytes| {
            if outgoing.is_empty() {
                *moved = now;
            }
            *queued += octets.len();
            outgoing.push_back(octets);
        };
        let mut whole = |bytes: Bytes| {
            *heard = true;
            done = true;
            message(*flow, bytes);
        };
        let progress = link.read(buffer, |octets| {
            *last = now;
            if fault.is_none() && ending.is_none() {
                fault = speech.hear(octets, limits, &mut whole, &mut reply).err();
            }
        })?;
        if done {
            self.spoken = now;
        }
        let pending = match &self.speech {
            // A lone CRLF stays in the framer as half of a ping; it is no unfinished message.
            Speech::Sip(framer) => framer.pending() > 2,
            Speech::Upgrade(..) => false,
            Speech::WebSocket(reader) => reader.pending() > 0,
        };
        // Whoever sends message after message is never slow with the one that happens to be cut.
        let begun = self.unfinished.filter(|_| !done);
        self.unfinished = pending.then(|| begun.unwrap_or(now));
        Ok((progress, fault))
    }

    /// Whether it has been silent, unfinished, unheard or on its way out for too long.
    pub(super) fn is_over(&self, limits: &StreamLimits, now: Instant) -> bool {
        let for_long = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        let idle = if self.registered {
            limits.registered_idle
        } else {
            limits.idle
        };
        self.ending.is_some_and(|until| until <= now)
            || (self.connecting && for_long(self.since, limits.connect))
            || (!self.ready && for_long(self.since, limits.handshake))
            || (self.accepted && !self.heard && for_long(self.since, limits.first_message))
            || (!self.proven && for_long(self.spoken, limits.first_message + GRACE))
            || (!self.outgoing.is_empty() && for_long(self.moved, limits.unfinished))
            || self
                .unfinished
                .is_some_and(|since| for_long(since, limits.unfinished))
            || for_long(self.last, idle)
    }
}

/// Whether what we send shows that its peer is served: a request, or an answer to its INVITE that is more than 100.
pub(super) fn serves(message: &[u8]) -> bool {
    let Some(status) = message.strip_prefix(b"SIP/2.0 ") else {
        return true;
    };
    let is_invite = |line: &[u8]| {
        let name = line.get(..5).unwrap_or_default();
        name.eq_ignore_ascii_case(b"CSeq:") && line.trim_ascii_end().ends_with(b" INVITE")
    };
    matches!(status, [b'1' | b'2', ..])
        && !status.starts_with(b"100")
        && message
            .split(|octet| *octet == b'\n')
            .take_while(|line| !matches!(**line, [] | [b'\r']))
            .any(is_invite)
}

impl Speech {
    /// Reads octets. What is to be answered at once, below SIP, goes to `reply`: at most as much as came.
    pub(super) fn hear(
        &mut self,
        octets: &[u8],
        limits: &StreamLimits,
        whole: &mut impl FnMut(Bytes),
        reply: &mut impl FnMut(Bytes),
    ) -> Result<(), Fault> {
        match self {
            Self::Sip(framer) => {
                framer.push(octets);
                let mut ping = false;
                let outcome = loop {
                    match framer.next() {
                        Ok(Some(Frame::Message(bytes))) => whole(bytes),
                        Ok(Some(Frame::KeepAlivePing)) => ping = true,
                        Ok(None) => break Ok(()),
                        Err(_) => break Err(Fault::Frames),
                    }
                };
                if ping {
                    // RFC 5626 §4.4.1: a double CRLF is answered by a single one; several at once need one answer.
                    reply(Bytes::from_static(b"\r\n"));
                }
                outcome
            }
            Self::Upgrade(handshake, origins) => match handshake.push(octets, origins) {
                None => Ok(()),
                Some(Verdict::Refused(refusal)) => {
                    reply(refusal.response());
                    Err(Fault::Upgrade(refusal))
                }
                Some(Verdict::Accepted { response, rest }) => {
                    reply(response);
                    *self =
                        Self::WebSocket(Reader::new(Role::Server, limits.message.message_bytes));
                    self.hear(&rest, limits, whole, reply)
                }
            },
            Self::WebSocket(reader) => {
                reader.push(octets);
                // RFC 6455 §5.5.3: of several pings the newest alone need be answered.
                let mut ping = None;
                let (close, outcome) = loop {
                    match reader.next() {
                        Ok(Some(Event::Message(bytes))) => whole(bytes),
                        Ok(Some(Event::Ping(payload))) => ping = Some(payload),
                        Ok(Some(Event::Pong)) => {}
                        Ok(Some(Event::Close(status))) => {
                            break (Some(status.unwrap_or(1000)), Err(Fault::GoodBye));
                        }
                        Ok(None) => break (None, Ok(())),
                        Err(error) => break (Some(error.status()), Err(Fault::Frames)),
                    }
                };
                if let Some(payload) = ping {
                    reply(websocket::frame(Opcode::Pong, &payload, None));
                }
                if let Some(status) = close {
                    reply(websocket::close(status));
                }
                outcome
            }
        }
    }

    /// Whether SIP may flow.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self, Self::Upgrade(..))
    }
}
