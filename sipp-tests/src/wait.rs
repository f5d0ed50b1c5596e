//! Waiting for what happens, with a deadline.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::scenario::Transport;

/// Asks `done` until it says yes. Polled every 5 ms: what is waited for lies in other processes, which cannot signal us.
pub fn until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !done() {
        if Instant::now() >= deadline {
            bail!("waited {} s for {what}", limit.as_secs_f32());
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Ok(())
}

/// Is somebody bound to this address? Read from the kernel's table, so that nothing is sent.
pub fn is_bound(address: SocketAddr, transport: Transport) -> bool {
    let (table, hex) = match (transport, address) {
        (Transport::Udp, SocketAddr::V4(_)) => ("/proc/net/udp", hex(&address)),
        (Transport::Udp, SocketAddr::V6(_)) => ("/proc/net/udp6", hex(&address)),
        (Transport::Tcp, SocketAddr::V4(_)) => ("/proc/net/tcp", hex(&address)),
        (Transport::Tcp, SocketAddr::V6(_)) => ("/proc/net/tcp6", hex(&address)),
    };
    let listening = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(hex.as_str())
            && (transport == Transport::Udp || fields.nth(1) == Some("0A"))
    };
    std::fs::read_to_string(table)
        .unwrap_or_default()
        .lines()
        .any(listening)
}

/// An address as the kernel's socket tables print it: words in host byte order.
fn hex(address: &SocketAddr) -> String {
    let octets = match address {
        SocketAddr::V4(v4) => v4.ip().octets().to_vec(),
        SocketAddr::V6(v6) => v6.ip().octets().to_vec(),
    };
    let mut text = String::new();
    for word in octets.chunks_exact(4) {
        for byte in word.iter().rev() {
            text.push_str(&format!("{byte:02X}"));
        }
    }
    format!("{text}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_kernel_does() {
        assert_eq!(hex(&"127.0.1.2:5060".parse().unwrap()), "0201007F:13C4");
        assert_eq!(
            hex(&"[::1]:5060".parse().unwrap()),
            "00000000000000000000000001000000:13C4"
        );
    }

    #[test]
    fn a_bound_socket_is_seen() {
        let socket = std::net::UdpSocket::bind("127.0.77.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        assert!(is_bound(address, Transport::Udp));
        drop(socket);
        assert!(!is_bound(address, Transport::Udp));
    }
}
