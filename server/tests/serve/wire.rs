//! What a test phone speaks over: UDP, TLS, WebSocket or secure WebSocket. Blocking, with time-outs.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use sip_proxy::websocket::{self, Event, Opcode, Reader, Role};
use sip_proxy::{Flow, Frame, Framer, Limits, Transport};

/// A connection under TLS.
pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;
/// What TLS clients of a test trust, and are.
pub(crate) type Client = Arc<ClientConfig>;

/// A stream that may be read with a time-out.
pub(crate) trait Octets: Read + Write + Send {
    fn patience(&self, time: Duration);
}

impl Octets for TcpStream {
    fn patience(&self, time: Duration) {
        self.set_read_timeout(Some(time)).unwrap();
    }
}

impl Octets for TlsStream {
    fn patience(&self, time: Duration) {
        self.sock.set_read_timeout(Some(time)).unwrap();
    }
}

/// A phone's way to the server.
pub(crate) enum Wire {
    Udp(UdpSocket),
    Stream(Box<dyn Octets>, Framer),
    WebSocket(Box<dyn Octets>, Reader),
}

/// Connects to a port of the server and finishes the TLS handshake.
pub(crate) fn tls(address: &str, name: &str, config: &Client) -> std::io::Result<TlsStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let session = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = StreamOwned::new(session, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// An upgrade request as a browser makes it, with further header lines.
pub(crate) fn upgrade(more: &str) -> String {
    format!(
        "GET /sip HTTP/1.1\r\nHost: doorward.local\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: sip\r\n{more}\r\n"
    )
}

/// Reads the head of an HTTP response, not an octet more.
pub(crate) fn http_head(stream: &mut dyn Octets) -> String {
    stream.patience(Duration::from_secs(10));
    let mut head = Vec::new();
    let mut octet = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut octet) {
            Ok(1) => head.push(octet[0]),
            other => panic!("{other:?} after {}", String::from_utf8_lossy(&head)),
        }
    }
    String::from_utf8(head).unwrap()
}

impl Wire {
    /// Opens a WebSocket over a stream; the response must be 101.
    pub(crate) fn websocket(mut stream: Box<dyn Octets>, more: &str) -> Self {
        stream.write_all(upgrade(more).as_bytes()).unwrap();
        let head = http_head(&mut *stream);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(head.contains("Sec-WebSocket-Protocol: sip\r\n"));
        Self::WebSocket(stream, Reader::new(Role::Client, 65_536))
    }

    pub(crate) fn stream(stream: Box<dyn Octets>) -> Self {
        Self::Stream(stream, Framer::new(Limits::default()))
    }

    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::Udp(_) => Transport::Udp,
            Self::Stream(..) => Transport::Tls,
            Self::WebSocket(..) => Transport::Wss,
        }
    }

    /// Sends one message.
    pub(crate) fn send(&mut self, bytes: &[u8], to: SocketAddr) {
        // A phone whose way is gone finds out by waiting in vain.
        let _ = match self {
            Self::Udp(socket) => socket.send_to(bytes, to).map(|_| ()),
            Self::Stream(stream, _) => stream.write_all(bytes),
            Self::WebSocket(stream, _) => {
                stream.write_all(&websocket::frame(Opcode::Text, bytes, Some([1, 2, 3, 4])))
            }
        };
    }

    /// The next message within the time.
    pub(crate) fn receive(&mut self, flow: Flow, wait: Duration) -> Option<(Flow, Bytes)> {
        match self {
            Self::Udp(socket) => {
                let mut buffer = vec![0; 65_536];
                socket.set_read_timeout(Some(wait)).unwrap();
                let (length, remote) = socket.recv_from(&mut buffer).ok()?;
                let bytes = Bytes::copy_from_slice(&buffer[..length]);
                Some((Flow { remote, ..flow }, bytes))
            }
            Self::Stream(stream, framer) => loop {
                if let Some(Frame::Message(bytes)) = framer.next().unwrap() {
                    return Some((flow, bytes));
                }
                framer.push(&read(&mut **stream, wait)?);
            },
            Self::WebSocket(stream, reader) => loop {
                if let Some(Event::Message(bytes)) = reader.next().unwrap() {
                    return Some((flow, bytes));
                }
                reader.push(&read(&mut **stream, wait)?);
            },
        }
    }
}

/// What comes within the time; `None` for nothing and for the end.
fn read(stream: &mut dyn Octets, wait: Duration) -> Option<Vec<u8>> {
    let mut buffer = vec![0; 65_536];
    stream.patience(wait);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(count) => return Some(buffer[..count].to_vec()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
