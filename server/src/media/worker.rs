//! One media worker: a thread that owns its bridge and its sockets, and shares nothing.
//!
//! ```text
//!   signalling ──Order (bounded, ring)──▶ ┌──────────── worker ────────────┐ ◀──▶ RTP, RTCP of its legs
//!   signalling ◀─Report (bounded, ring)── │ epoll ─▶ Bridge ─▶ send        │
//!                                         └────────────────────────────────┘
//! ```
//!
//! Packets are forwarded in the wake-up in which they came. Under load the worker naps briefly before it asks
//! the kernel again, so that one wake-up finds several packets: wake-ups, not copies, are what relaying costs.

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use media_bridge::{
    Bridge, Command, Component, Event, Input as BridgeInput, LeaseId, LegId, LegStats,
    Output as BridgeOutput,
};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::{Domain, Protocol, Socket, Type};

use super::leases::{Leases, SlotIndex};
use super::{MediaCounters, Order, Report};
use crate::shell::mailbox::{Mailbox, Post, Waker};

/// Token of the waker; sockets use `slot * 2 + component`.
const WAKER: u64 = u64::MAX;
/// Readiness events taken per wake-up.
const EVENTS: usize = 256;
/// Largest datagram taken: media packets keep to the path's MTU, longer ones are cut off, counted and dropped.
const PACKET: usize = 4096;
/// Orders taken per wake-up, so that a burst of set-ups does not delay packets.
const ORDERS_PER_TURN: usize = 256;
/// Reports that may wait for room in signalling's mailbox before the worker stops reading packets; the kernel
/// then drops datagrams, and no report is ever lost.
const BACKLOG: usize = 1024;
/// How long to sleep before the next wake-up while busy. Relaying 10,000 packets/s (unoptimised build, 2026-11) cost
/// 17 % of a core at 31 µs median latency without naps, 21–25 % with naps of 50–100 µs (each is a wake-up of its
/// own), and 13 % at 185 µs with 250 µs. So a nap is long, and taken only where latency is no longer the scarce thing.
const NAP: Duration = Duration::from_micros(250);
/// Packets within [`WINDOW`] from which on a worker counts as busy: 40,000 a second, some 400 calls.
const BUSY: u32 = 400;
const WINDOW: Duration = Duration::from_millis(10);

/// The bound sockets of one lease.
#[derive(Debug)]
pub(crate) struct SocketPair {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

/// Everything a worker thread owns.
pub(crate) struct Worker {
    bridge: Bridge,
    io: Io,
    orders: Mailbox<Order>,
    waker: Waker,
    stop: bool,
    busy: Busy,
}

/// The worker's sockets and what goes out of it; split from the bridge so that outputs are applied while the
/// bridge is still borrowed by them.
struct Io {
    epoll: Epoll,
    leases: Leases<SocketPair>,
    /// Bounded by the open leases.
    legs: HashMap<LegId, SlotIndex>,
    reports: Post<Report>,
    /// Reports that found signalling's mailbox full; see [`BACKLOG`].
    backlog: VecDeque<Report>,
    counters: Arc<MediaCounters>,
    tally: Tally,
}

/// Counted in plain integers and published once per turn.
#[derive(Default)]
struct Tally {
    received: u64,
    sent: u64,
    send_dropped: u64,
    not_open: u64,
    oversize: u64,
    reports_dropped: u64,
}

impl Worker {
    /// A worker without sockets; they are bound as leases are asked for.
    pub(crate) fn new(
        bridge: Bridge,
        leases: Leases<SocketPair>,
        orders: Mailbox<Order>,
        waker: Waker,
        reports: Post<Report>,
        counters: Arc<MediaCounters>,
    ) -> std::io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&waker, EpollEvent::new(EpollFlags::EPOLLIN, WAKER))?;
        let io = Io {
            epoll,
            leases,
            legs: HashMap::new(),
            reports,
            backlog: VecDeque::new(),
            counters,
            tally: Tally::default(),
        };
        Ok(Self {
            bridge,
            io,
            orders,
            waker,
            stop: false,
            busy: Busy::default(),
        })
    }

    /// Serves until told to stop.
    pub(crate) fn run(mut self) {
        // The default slack of 50 µs would make every nap a fifth longer than meant.
        let _ = nix::sys::prctl::set_timerslack(1_000);
        let mut events = vec![EpollEvent::empty(); EVENTS];
        let mut buffer = vec![0_u8; PACKET].into_boxed_slice();
        while !self.stop {
            let timeout = self.timeout(Instant::now());
            let ready = match self.io.epoll.wait(&mut events, timeout) {
                Ok(count) => events.get(..count).unwrap_or_default(),
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "media worker cannot wait for its sockets");
                    return;
                }
            };
            let now = Instant::now();
            let mut packets = 0;
            for event in ready {
                if event.data() == WAKER {
                    self.take_orders(now);
                } else if self.io.backlog.len() < BACKLOG {
                    packets += self.read(now, event.data(), &mut buffer);
                }
            }
            if self.bridge.next_timeout().is_some_and(|due| due <= now) {
                self.feed(now, BridgeInput::Timeout);
            }
            self.io.grant(now);
            self.io.flush();
            if self.busy.nap(now, packets) {
                std::thread::sleep(NAP);
            }
        }
    }

    fn timeout(&self, now: Instant) -> EpollTimeout {
        let due = [self.bridge.next_timeout(), self.io.leases.next_timeout()]
            .into_iter()
            .flatten()
            .min();
        let backlog = (!self.io.backlog.is_empty()).then(|| now + Duration::from_millis(1));
        crate::shell::epoll_timeout(now, due.into_iter().chain(backlog).min())
    }

    fn take_orders(&mut self, now: Instant) {
        self.waker.acknowledge();
        for _ in 0..ORDERS_PER_TURN {
            let Some(order) = self.orders.take() else {
                return;
            };
            self.order(now, order);
        }
        // More may wait: come back after the packets.
        self.waker.ring();
    }

    fn order(&mut self, now: Instant, order: Order) {
        match order {
            Order::Bridge(command) => {
                if let Command::Open { leg, config, .. } = &command
                    && !self.io.open(*leg, config.lease)
                {
                    tracing::warn!(?leg, "a leg came with a lease that is not free");
                    self.io.report(Report::Event(Event::Closed {
                        leg: *leg,
                        stats: LegStats::default(),
                    }));
                    return;
                }
                self.feed(now, BridgeInput::Command(command));
            }
            Order::Want { ipv6, count } => self.io.leases.want(ipv6, count),
            Order::Return(lease) => self.io.leases.give_back(now, lease),
            Order::Stop => self.stop = true,
        }
    }

    /// Reads one datagram. Readiness is level-triggered: what waits behind it comes with the next wake-up,
    /// without the system call that would only learn that the socket is empty.
    fn read(&mut self, now: Instant, token: u64, buffer: &mut [u8]) -> u32 {
        let (slot, component) = ((token >> 1) as SlotIndex, token & 1);
        let Some(pair) = self.io.leases.sockets(slot) else {
            return 0;
        };
        let (socket, component) = if component == 0 {
            (&pair.rtp, Component::Rtp)
        } else {
            (&pair.rtcp, Component::Rtcp)
        };
        let Ok((length, from)) = socket.recv_from(buffer) else {
            return 0;
        };
        self.io.tally.received += 1;
        let Some(leg) = self.io.leases.leg(slot) else {
            self.io.tally.not_open += 1;
            return 1;
        };
        if length >= PACKET {
            self.io.tally.oversize += 1;
            return 1;
        }
        if let Some(bytes) = buffer.get_mut(..length) {
            let Self { bridge, io, .. } = self;
            for output in bridge.handle(
                now,
                BridgeInput::Packet {
                    leg,
                    component,
                    from,
                    bytes,
                },
            ) {
                io.apply(now, output);
            }
        }
        1
    }

    fn feed(&mut self, now: Instant, input: BridgeInput<'_>) {
        let Self { bridge, io, .. } = self;
        for output in bridge.handle(now, input) {
            io.apply(now, output);
        }
    }
}

impl Io {
    fn apply(&mut self, now: Instant, output: BridgeOutput<'_>) {
        match output {
            BridgeOutput::Send {
                leg,
                component,
                to,
                bytes,
            } => self.send(leg, component, to, bytes),
            BridgeOutput::Event(event) => {
                if let Event::Closed { leg, .. } = event
                    && let Some(slot) = self.legs.remove(&leg)
                {
                    self.leases.close(now, slot);
                }
                self.report(Report::Event(event));
            }
        }
    }

    fn send(&mut self, leg: LegId, component: Component, to: SocketAddr, bytes: &[u8]) {
        let Some(pair) = self
            .legs
            .get(&leg)
            .and_then(|slot| self.leases.sockets(*slot))
        else {
            return;
        };
        let socket = match component {
            Component::Rtp => &pair.rtp,
            Component::Rtcp => &pair.rtcp,
        };
        // A full send buffer or an unreachable peer costs this packet alone: media is never repeated.
        match socket.send_to(bytes, to) {
            Ok(_) => self.tally.sent += 1,
            Err(_) => self.tally.send_dropped += 1,
        }
    }

    fn open(&mut self, leg: LegId, lease: LeaseId) -> bool {
        let Some(slot) = self.leases.open(lease, leg) else {
            return false;
        };
        self.legs.insert(leg, slot);
        true
    }

    /// Gives out what leases are wanted and can be had.
    fn grant(&mut self, now: Instant) {
        let Self {
            epoll,
            leases,
            reports,
            backlog,
            ..
        } = self;
        while let Some(lease) = leases.grant(now, |rtp, slot| bind_pair(epoll, rtp, slot)) {
            if let Err(report) = reports.try_post(Report::Leased(lease)) {
                backlog.push_back(report);
            }
        }
    }

    /// Overflow rule: counts and latches may be lost (dropped and counted), everything else waits in the backlog.
    fn report(&mut self, report: Report) {
        if self.backlog.is_empty() {
            let Err(report) = self.reports.try_post(report) else {
                return;
            };
            self.keep(report);
        } else {
            self.keep(report);
        }
    }

    fn keep(&mut self, report: Report) {
        match report {
            Report::Event(Event::Stats { .. } | Event::Latched { .. }) => {
                self.tally.reports_dropped += 1;
            }
            report => self.backlog.push_back(report),
        }
    }

    /// Posts what waited, publishes the counts.
    fn flush(&mut self) {
        while let Some(report) = self.backlog.pop_front() {
            if let Err(report) = self.reports.try_post(report) {
                self.backlog.push_front(report);
                break;
            }
        }
        let tally = std::mem::take(&mut self.tally);
        let counters = &self.counters;
        for (counter, count) in [
            (&counters.received, tally.received),
            (&counters.sent, tally.sent),
            (&counters.send_dropped, tally.send_dropped),
            (&counters.not_open, tally.not_open),
            (&counters.oversize, tally.oversize),
            (&counters.reports_dropped, tally.reports_dropped),
        ] {
            if count > 0 {
                counter.inc_by(count);
            }
        }
        counters.legs.set(self.legs.len() as i64);
        counters.ports.set(self.leases.bound() as i64);
    }
}

/// Binds the RTP port and the RTCP port above it, and puts both into the epoll set.
fn bind_pair(epoll: &Epoll, rtp: SocketAddr, slot: SlotIndex) -> std::io::Result<SocketPair> {
    let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
    let pair = SocketPair {
        rtp: bind(rtp)?,
        rtcp: bind(rtcp)?,
    };
    let token = u64::from(slot) << 1;
    epoll.add(&pair.rtp, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
    epoll.add(&pair.rtcp, EpollEvent::new(EpollFlags::EPOLLIN, token | 1))?;
    Ok(pair)
}

fn bind(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    // Expedited forwarding (RFC 3246): where the network honours it, voice waits behind nothing. Refused
    // nowhere that matters, so a failure is not a reason to go without the socket.
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        let _ = socket.set_tclass_v6(EXPEDITED);
    } else {
        let _ = socket.set_tos_v4(EXPEDITED);
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

const EXPEDITED: u32 = 0xb8;

/// Decides when to nap: only above [`BUSY`] packets in the last [`WINDOW`].
#[derive(Default)]
struct Busy {
    since: Option<Instant>,
    packets: u32,
    busy: bool,
}

impl Busy {
    fn nap(&mut self, now: Instant, packets: u32) -> bool {
        self.packets += packets;
        let since = *self.since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= WINDOW {
            // After a pause the window is long and the rate low: that is not busy.
            self.busy = u128::from(self.packets) * WINDOW.as_micros()
                >= u128::from(BUSY) * elapsed.as_micros();
            self.since = Some(now);
            self.packets = 0;
        }
        self.busy && packets > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naps_only_while_packets_keep_coming() {
        let mut busy = Busy::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!busy.nap(at(0), 1));
        for ms in 1..=20 {
            busy.nap(at(ms), 80);
        }
        assert!(busy.nap(at(21), 1));
        assert!(
            !busy.nap(at(22), 0),
            "an empty wake-up is not followed by a nap"
        );
        assert!(
            !busy.nap(at(1_000), 1),
            "after a pause the next packet is not delayed"
        );
    }
}
