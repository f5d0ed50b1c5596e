//! SIP over UDP (RFC 3261 §18): one socket per listener, read in batches until it is empty.

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

/// Datagrams taken by one system call.
pub(crate) const BATCH: usize = 32;
/// The largest UDP datagram. The pages of a buffer become resident only when a datagram that long arrives.
const DATAGRAM: usize = 65_536;
/// Kernel receive buffer asked for: the re-register storm after a power cut has to wait somewhere.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// No datagram is taken to have waited longer: then the clock was set.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What became of a datagram handed to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Taken by the kernel.
    Yes,
    /// The socket's send buffer is full: dropped and counted, SIP's own timers repeat it.
    Dropped,
    /// There is no way to that address; the transaction should hear of it (RFC 3261 §18.4).
    Failed,
}

/// A bound socket nobody reads yet; may travel to the thread that will.
pub(crate) struct BoundUdp {
    socket: UdpSocket,
    local: SocketAddr,
    advertise: Option<SocketAddr>,
}

/// A UDP socket with the buffers of its batched receive. Made and used by one thread.
pub(crate) struct UdpListener {
    socket: UdpSocket,
    local: SocketAddr,
    facing: Facing,
    buffers: Vec<u8>,
    /// One per socket, never shared between address families: the kernel shortens the address length in place.
    headers: MultiHeaders<SockaddrStorage>,
    /// Datagrams the kernel had no room for, since the socket was made, and how many were told of.
    lost: u32,
    told: u32,
}

impl BoundUdp {
    /// Binds `address`, alone: on Linux both `SO_REUSEPORT` and (for UDP) `SO_REUSEADDR` would let a second
    /// process of the same user silently take our datagrams, and UDP has no `TIME_WAIT` that would need either.
    /// `advertise` is what peers are told instead.
    pub(crate) fn bind(
        address: SocketAddr,
        advertise: Option<SocketAddr>,
    ) -> std::io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        // A smaller buffer than asked for (net.core.rmem_max) is still a working one.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        // Without them, how long a datagram waited and whether some were lost is not known, and nothing is shed for it.
        let _ = setsockopt(&socket, sockopt::ReceiveTimestampns, &true);
        let _ = setsockopt(&socket, sockopt::RxqOvfl, &1);
        let _ = socket.set_send_buffer_size(RECEIVE_BUFFER);
        socket.bind(&address.into())?;
        let socket = UdpSocket::from(socket);
        let local = socket.local_addr()?;
        Ok(Self {
            socket,
            local,
            advertise,
        })
    }

    /// The bound address.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Gets ready to read, on the thread that calls.
    pub(crate) fn serve(self) -> UdpListener {
        UdpListener {
            socket: self.socket,
            local: self.local,
            facing: Facing::new(self.local, self.advertise),
            buffers: vec![0; BATCH * DATAGRAM],
            headers: headers(),
            lost: 0,
            told: 0,
        }
    }
}

impl UdpListener {
    /// The bound address.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Our address as this peer should see it.
    pub(crate) fn facing(&mut self, peer: SocketAddr) -> SocketAddr {
        self.facing.towards(peer)
    }

    /// Whether a flow with this local address is ours.
    pub(crate) fn serves(&self, local: SocketAddr) -> bool {
        self.facing.is(local)
    }

    /// Datagrams the kernel had no room for since the last time this was asked.
    pub(crate) fn take_lost(&mut self) -> u32 {
        let lost = self.lost.wrapping_sub(self.told);
        self.told = self.lost;
        lost
    }

    /// Takes at most one batch and hands each datagram to `deliver`, with how long it waited where the kernel says so.
    /// Returns true when there may be more.
    pub(crate) fn receive(
        &mut self,
        mut deliver: impl FnMut(SocketAddr, &[u8], Option<Duration>),
    ) -> bool {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = self
            .buffers
            .chunks_mut(DATAGRAM)
            .map(|chunk| [IoSliceMut::new(chunk)])
            .collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = match recvmmsg(
            self.socket.as_raw_fd(),
            &mut self.headers,
            slices.iter_mut(),
            flags,
            None,
        ) {
            Ok(received) => received,
            // A previous send's ICMP error surfaces here; it says nothing about what waits behind it.
            Err(Errno::ECONNREFUSED | Errno::EINTR) => return true,
            Err(_) => return false,
        };
        // The kernel's stamps are of the civil clock; a step of it makes one batch wrong.
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let (mut count, mut cut) = (0, false);
        for message in received {
            count += 1;
            let mut waited = None;
            match message.cmsgs() {
                Ok(notes) => {
                    for note in notes {
                        match note {
                            ControlMessageOwned::ScmTimestampns(at) => {
                                let wait = now.saturating_sub(Duration::from(at));
                                waited = Some(wait.min(LONGEST_WAIT));
                            }
                            ControlMessageOwned::RxqOvfl(lost) => self.lost = lost,
                            _ => {}
                        }
                    }
                }
                Err(_) => cut = true,
            }
            if let Some(from) = message.address.as_ref().and_then(socket_address) {
                deliver(from, message.iovs().next().unwrap_or_default(), waited);
            }
        }
        if cut {
            // The kernel shortens the room for its notes to what it used; the note on lost datagrams comes only when
            // there are some, and then with every datagram.
            self.headers = headers();
        }
        count == BATCH
    }

    /// Sends one datagram.
    pub(crate) fn send(&self, to: SocketAddr, bytes: &[u8]) -> Sent {
        match self.socket.send_to(bytes, to) {
            Ok(_) => Sent::Yes,
            Err(error) => match error.kind() {
                std::io::ErrorKind::WouldBlock => Sent::Dropped,
                // An ICMP error of an earlier datagram, reported on this one: try once more.
                std::io::ErrorKind::ConnectionRefused => match self.socket.send_to(bytes, to) {
                    Ok(_) => Sent::Yes,
                    Err(_) => Sent::Failed,
                },
                _ => Sent::Failed,
            },
        }
    }
}

/// Room for a batch and the kernel's notes on each datagram: when it came, how many were lost.
fn headers() -> MultiHeaders<SockaddrStorage> {
    MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(TimeSpec, u32)))
}

/// What peers are told of a listener's address. Bound to the wildcard there is one for each peer: where the
/// kernel would send from.
struct Facing {
    bound: SocketAddr,
    advertise: Option<SocketAddr>,
    /// By peer. Overflow rule: emptied when full; asking the kernel again costs three system calls.
    routes: HashMap<IpAddr, IpAddr>,
}

const ROUTES: usize = 4_096;

impl Facing {
    fn new(bound: SocketAddr, advertise: Option<SocketAddr>) -> Self {
        Self {
            bound,
            advertise,
            routes: HashMap::new(),
        }
    }

    fn towards(&mut self, peer: SocketAddr) -> SocketAddr {
        if let Some(advertise) = self.advertise {
            return advertise;
        }
        if !self.bound.ip().is_unspecified() {
            return self.bound;
        }
        if self.routes.len() >= ROUTES {
            self.routes.clear();
        }
        let bound = self.bound;
        let local = *self
            .routes
            .entry(peer.ip())
            .or_insert_with(|| source_towards(peer.ip()).unwrap_or(bound.ip()));
        SocketAddr::new(local, bound.port())
    }

    fn is(&self, local: SocketAddr) -> bool {
        self.advertise == Some(local)
            || self.bound == local
            || (self.bound.ip().is_unspecified()
                && self.bound.port() == local.port()
                && self.bound.is_ipv6() == local.is_ipv6())
    }
}

/// The address this machine goes out from, as far as its routes say; the loopback address where there is no way out.
pub(crate) fn way_out(ipv6: bool) -> IpAddr {
    let (out, none): (IpAddr, IpAddr) = if ipv6 {
        (
            Ipv6Addr::new(0x2001, 0x0db8, 0, 0, 0, 0, 0, 1).into(),
            Ipv6Addr::LOCALHOST.into(),
        )
    } else {
        (
            Ipv4Addr::new(192, 0, 2, 1).into(),
            Ipv4Addr::LOCALHOST.into(),
        )
    };
    source_towards(out).unwrap_or(none)
}

/// The address the kernel would send from to reach `peer`. No packet is sent.
fn source_towards(peer: IpAddr) -> Option<IpAddr> {
    let any: SocketAddr = if peer.is_ipv6() {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    }
    .parse()
    .ok()?;
    let probe = UdpSocket::bind(any).ok()?;
    probe.connect(SocketAddr::new(peer, 9)).ok()?;
    probe.local_addr().ok().map(|local| local.ip())
}

impl AsFd for UdpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        Some(SocketAddr::new(v4.ip().into(), v4.port()))
    } else {
        address
            .as_sockaddr_in6()
            .map(|v6| SocketAddr::new(v6.ip().into(), v6.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_readable(listener: &UdpListener) {
        use nix::poll::{PollFd, PollFlags, poll};
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        assert_eq!(
            poll(&mut fds, 2_000_u16).unwrap(),
            1,
            "nothing arrived within two seconds"
        );
    }

    fn loopback(address: &str) {
        let mut listener = BoundUdp::bind(address.parse().unwrap(), None)
            .unwrap()
            .serve();
        let peer = BoundUdp::bind(address.parse().unwrap(), None)
            .unwrap()
            .serve();
        for index in 0..40_u8 {
            assert_eq!(peer.send(listener.local(), &[index; 3]), Sent::Yes);
        }
        wait_readable(&listener);
        let mut seen = Vec::new();
        while listener.receive(|from, bytes, waited| {
            assert!(waited.is_some_and(|waited| waited < Duration::from_secs(5)));
            assert_eq!(from, peer.local());
            seen.push(bytes.to_vec());
        }) {}
        assert_eq!(
            seen,
            (0..40_u8).map(|index| vec![index; 3]).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_burst_arrives_whole_and_in_order_over_ipv4() {
        loopback("127.0.0.1:0");
    }

    #[test]
    fn a_burst_arrives_whole_and_in_order_over_ipv6() {
        loopback("[::1]:0");
    }

    #[test]
    fn datagrams_the_kernel_had_no_room_for_are_counted_once_and_the_rest_still_has_its_time() {
        let mut listener = BoundUdp::bind("127.0.0.1:0".parse().unwrap(), None)
            .unwrap()
            .serve();
        setsockopt(&listener.socket, sockopt::RcvBuf, &16_384).unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut lost = 0;
        for round in 0..3 {
            for _ in 0..200 {
                peer.send_to(&[7; 900], listener.local()).unwrap();
            }
            wait_readable(&listener);
            let (mut seen, mut timed) = (0, 0);
            while listener.receive(|_, bytes, waited| {
                assert_eq!(bytes.len(), 900);
                seen += 1;
                timed += usize::from(waited.is_some());
            }) {}
            // The first that tells of a loss finds no room to tell it, and is read without its time.
            assert!(
                seen > 0 && (timed == seen || round <= 1),
                "{round}: {timed} of {seen}"
            );
            lost += listener.take_lost();
        }
        assert!(lost > 200, "{lost}");
        assert_eq!(listener.take_lost(), 0);
    }

    #[test]
    fn a_second_listener_on_the_same_address_is_refused() {
        let first = BoundUdp::bind("127.0.0.1:0".parse().unwrap(), None).unwrap();
        assert!(BoundUdp::bind(first.local(), None).is_err());
    }

    #[test]
    fn a_wildcard_listener_tells_each_peer_the_address_it_is_reached_at() {
        let mut listener = BoundUdp::bind("0.0.0.0:0".parse().unwrap(), None)
            .unwrap()
            .serve();
        let port = listener.local().port();
        let expected: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
        assert_eq!(listener.facing("127.0.0.1:5062".parse().unwrap()), expected);
        assert!(listener.serves(expected));
        let advertise = Some("192.0.2.9:5060".parse().unwrap());
        let mut natted = BoundUdp::bind("0.0.0.0:0".parse().unwrap(), advertise)
            .unwrap()
            .serve();
        assert_eq!(
            Some(natted.facing("127.0.0.1:5062".parse().unwrap())),
            advertise
        );
    }
}
