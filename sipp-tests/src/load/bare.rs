//! The floor of the machine: a loop that only receives and sends, in a thread whose CPU time is known.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// A thread that forwards between pairs of sockets.
#[derive(Debug)]
pub struct Bare {
    stop: Arc<AtomicBool>,
    spent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
    /// Where each pair listens: first side, second side.
    pub addresses: Vec<(SocketAddr, SocketAddr)>,
}

impl Bare {
    /// Starts forwarding; each pair is `(first peer, second peer)`.
    pub fn start(peers: &[(SocketAddr, SocketAddr)]) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::empty())?;
        let (mut sockets, mut addresses) = (Vec::new(), Vec::new());
        for (first, second) in peers {
            let pair = [
                UdpSocket::bind((first.ip(), 0))?,
                UdpSocket::bind((second.ip(), 0))?,
            ];
            addresses.push((pair[0].local_addr()?, pair[1].local_addr()?));
            for (socket, peer) in pair.into_iter().zip([first, second]) {
                socket.set_nonblocking(true)?;
                socket.connect(peer)?;
                epoll.add(
                    &socket,
                    EpollEvent::new(EpollFlags::EPOLLIN, sockets.len() as u64),
                )?;
                sockets.push(socket);
            }
        }
        let (stop, spent) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, time) = (Arc::clone(&stop), Arc::clone(&spent));
        let thread = std::thread::Builder::new()
            .name("bare".into())
            .spawn(move || {
                forward(&epoll, &sockets, &stopped);
                time.store(thread_time(), Ordering::Release);
            })?;
        Ok(Self {
            stop,
            spent,
            thread: Some(thread),
            addresses,
        })
    }

    /// Ends it; gives the CPU time it took.
    pub fn finish(mut self) -> Result<Duration> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().context("finished twice")?;
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("the bare loop died"))?;
        Ok(Duration::from_nanos(self.spent.load(Ordering::Acquire)))
    }
}

fn forward(epoll: &Epoll, sockets: &[UdpSocket], stop: &AtomicBool) {
    let mut events = [EpollEvent::empty(); 64];
    let mut packet = [0; 1_500];
    while !stop.load(Ordering::Acquire) {
        let ready = epoll
            .wait(&mut events, EpollTimeout::from(50_u8))
            .unwrap_or(0);
        for event in &events[..ready] {
            let index = event.data() as usize;
            while let Ok(n) = sockets[index].recv(&mut packet) {
                // A peer that has gone is not this loop's business.
                let _ = sockets[index ^ 1].send(&packet[..n]);
            }
        }
    }
}

/// CPU time of the calling thread in ns.
fn thread_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace()
        .next()
        .and_then(|ns| ns.parse().ok())
        .unwrap_or(0)
}
