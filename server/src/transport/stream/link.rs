//! The octets of one connection: a socket, in clear or under TLS.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use rustls::{Connection, HandshakeKind};

/// Plaintext rustls may hold encrypted but unsent; the rest waits in the connection's own queue, which is the bound.
const ENCRYPTED: usize = 32 * 1024;
/// TLS records taken from the socket in one turn.
const RECORDS: usize = 8;

/// A socket, perhaps under TLS.
pub(super) struct Link {
    pub(super) socket: TcpStream,
    tls: Option<Box<Connection>>,
}

/// How far a read went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// More may come.
    Open,
    /// The peer has ended, or the connection broke.
    Ended,
}

/// Why a TLS session ends.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: rustls::Error,
    /// Before it had begun.
    pub(super) handshake: bool,
}

impl Link {
    pub(super) fn plain(socket: TcpStream) -> Self {
        Self { socket, tls: None }
    }

    pub(super) fn tls(socket: TcpStream, session: impl Into<Connection>) -> Self {
        let mut session: Connection = session.into();
        session.set_buffer_limit(Some(ENCRYPTED));
        Self {
            socket,
            tls: Some(Box::new(session)),
        }
    }

    /// The TLS session.
    pub(super) fn session(&self) -> Option<&Connection> {
        self.tls.as_deref()
    }

    /// A handshake is under way: nothing can be written yet.
    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// The peer came back with a session it had before.
    pub(super) fn is_resumed(&self) -> bool {
        self.tls
            .as_ref()
            .is_some_and(|tls| tls.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    /// Octets of TLS wait for the socket.
    pub(super) fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Takes what the socket has, through `buffer`, and hands on what is for the layer above.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<Progress, Failed> {
        let Some(tls) = &mut self.tls else {
            return Ok(match self.socket.read(buffer) {
                Ok(0) => Progress::Ended,
                Ok(count) => {
                    take(buffer.get(..count).unwrap_or_default());
                    Progress::Open
                }
                Err(error) if is_later(&error) => Progress::Open,
                Err(_) => Progress::Ended,
            });
        };
        for _ in 0..RECORDS {
            match tls.read_tls(&mut self.socket) {
                Ok(0) => return Ok(Progress::Ended),
                Ok(_) => {}
                Err(error) if is_later(&error) => return Ok(Progress::Open),
                Err(_) => return Ok(Progress::Ended),
            }
            let handshake = tls.is_handshaking();
            if let Err(error) = tls.process_new_packets() {
                // The alert that says why; nothing waits for it to arrive.
                let _ = tls.write_tls(&mut self.socket);
                return Err(Failed { error, handshake });
            }
            loop {
                match tls.reader().read(buffer) {
                    // close_notify: the peer says nothing more.
                    Ok(0) => return Ok(Progress::Ended),
                    Ok(count) => take(buffer.get(..count).unwrap_or_default()),
                    Err(_) => break,
                }
            }
        }
        Ok(Progress::Open)
    }

    /// Takes octets for the peer; `WouldBlock` when there is no room now.
    pub(super) fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        match &mut self.tls {
            None => self.socket.write(octets),
            Some(tls) => match tls.writer().write(octets)? {
                0 => Err(ErrorKind::WouldBlock.into()),
                count => Ok(count),
            },
        }
    }

    /// Hands the socket what TLS has to say; true when nothing is left. `moved` is called when some of it went.
    pub(super) fn push(&mut self, mut moved: impl FnMut()) -> std::io::Result<bool> {
        let Some(tls) = &mut self.tls else {
            return Ok(true);
        };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => moved(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Says that nothing more will be written.
    pub(super) fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = tls.write_tls(&mut self.socket);
        }
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}

fn is_later(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
