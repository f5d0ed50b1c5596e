//! The opening handshake (RFC 6455 section 4, RFC 7118 section 4): one HTTP request, judged strictly.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use sha1::{Digest as _, Sha1};

/// Octets of a handshake; more are refused with 431.
pub const HANDSHAKE_BYTES: usize = 8_192;
/// Its header fields; more are refused with 431.
const FIELDS: usize = 64;
/// Appended to the key before it is hashed (RFC 6455 section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a handshake is refused. The words are ours: nothing of the request is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// Not an HTTP/1.1 request.
    Malformed,
    /// Above the limits.
    TooLarge,
    /// Not GET.
    Method,
    /// HTTP, but no WebSocket.
    NoUpgrade,
    /// Another version than 13.
    Version,
    /// No `Sec-WebSocket-Key`, or not 16 octets of base64.
    Key,
    /// The sub-protocol `sip` was not asked for (RFC 7118 section 4.1).
    Protocol,
    /// A web page from an origin that is not allowed (RFC 6455 section 10.2).
    Origin,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Malformed,
        Self::TooLarge,
        Self::Method,
        Self::NoUpgrade,
        Self::Version,
        Self::Key,
        Self::Protocol,
        Self::Origin,
    ];

    /// The HTTP status, with its reason phrase.
    #[must_use]
    pub fn status(self) -> (u16, &'static str) {
        match self {
            Self::Malformed | Self::Key | Self::Protocol => (400, "Bad Request"),
            Self::TooLarge => (431, "Request Header Fields Too Large"),
            Self::Method => (405, "Method Not Allowed"),
            Self::NoUpgrade | Self::Version => (426, "Upgrade Required"),
            Self::Origin => (403, "Forbidden"),
        }
    }

    /// One word for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too-large",
            Self::Method => "method",
            Self::NoUpgrade => "no-upgrade",
            Self::Version => "version",
            Self::Key => "key",
            Self::Protocol => "protocol",
            Self::Origin => "origin",
        }
    }

    /// What is wrong and what to do.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Malformed => "This is not an HTTP/1.1 request.",
            Self::TooLarge => "The request is too long.",
            Self::Method => "A WebSocket begins with GET.",
            Self::NoUpgrade => "SIP over WebSocket only: ask for \"Upgrade: websocket\".",
            Self::Version => "WebSocket version 13 only.",
            Self::Key => "Sec-WebSocket-Key is missing or not 16 octets in base64.",
            Self::Protocol => "Ask for the sub-protocol \"sip\" (RFC 7118).",
            Self::Origin => {
                "Pages of this origin may not connect: add it to `origins` of the listener."
            }
        }
    }

    /// The whole HTTP response; then the connection ends.
    #[must_use]
    pub fn response(self) -> Bytes {
        let (status, phrase) = self.status();
        let text = self.text();
        let mut response = format!("HTTP/1.1 {status} {phrase}\r\n");
        if status == 426 {
            response.push_str("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
        }
        if status == 405 {
            response.push_str("Allow: GET\r\n");
        }
        // Writing to a String cannot fail.
        let _ = write!(
            response,
            "Content-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}\n",
            text.len() + 1
        );
        response.into()
    }
}

/// What came of a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Send `response`; `rest` belongs to the frames.
    Accepted {
        /// The 101.
        response: Bytes,
        /// What followed the request.
        rest: Bytes,
    },
    /// Send [`Refusal::response`] and close.
    Refused(Refusal),
}

/// A server's side of a handshake under way.
#[derive(Debug, Default)]
pub struct Handshake {
    /// Bounded by [`HANDSHAKE_BYTES`] and what was last pushed.
    buffer: BytesMut,
    searched: usize,
}

impl Handshake {
    /// Takes octets; `None` when the request is not whole yet. `origins` may connect from web pages: `https://host`,
    /// with `:port` where it is not the scheme's own. Who sends no Origin is no browser, and needs none.
    pub fn push(&mut self, octets: &[u8], origins: &[String]) -> Option<Verdict> {
        self.buffer.extend_from_slice(octets);
        let from = self.searched.saturating_sub(3);
        let end = self
            .buffer
            .get(from..)
            .and_then(|new| memchr::memmem::find(new, b"\r\n\r\n"))
            .map(|at| from + at);
        let Some(end) = end.filter(|end| *end <= HANDSHAKE_BYTES) else {
            self.searched = self.buffer.len();
            let long = self.buffer.len() > HANDSHAKE_BYTES;
            return long.then_some(Verdict::Refused(Refusal::TooLarge));
        };
        let head = self.buffer.split_to(end + 4);
        let head = head.get(..end).unwrap_or_default();
        Some(match judge(head, origins) {
            Ok(response) => Verdict::Accepted {
                response,
                rest: self.buffer.split().freeze(),
            },
            Err(refusal) => Verdict::Refused(refusal),
        })
    }
}

/// The fields that count.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a str>,
    key: Option<&'a str>,
    version: Option<&'a str>,
    origin: Option<&'a str>,
    websocket: bool,
    upgrade: bool,
    sip: bool,
}

fn judge(head: &[u8], origins: &[String]) -> Result<Bytes, Refusal> {
    let head = std::str::from_utf8(head).map_err(|_| Refusal::Malformed)?;
    let mut lines = head.split("\r\n");
    let mut request = lines.next().unwrap_or_default().split(' ');
    let (method, target, version, more) = (
        request.next(),
        request.next(),
        request.next(),
        request.next(),
    );
    if version != Some("HTTP/1.1") || more.is_some() || target.is_none_or(str::is_empty) {
        return Err(Refusal::Malformed);
    }
    if method != Some("GET") {
        return Err(Refusal::Method);
    }
    let fields = read(lines)?;
    if fields.host.is_none() {
        return Err(Refusal::Malformed);
    }
    if !fields.websocket || !fields.upgrade {
        return Err(Refusal::NoUpgrade);
    }
    if fields.version != Some("13") {
        return Err(Refusal::Version);
    }
    let key = fields.key.filter(|key| is_key(key)).ok_or(Refusal::Key)?;
    let allowed = |origin: &str| origins.iter().any(|o| o.eq_ignore_ascii_case(origin));
    if fields.origin.is_some_and(|origin| !allowed(origin)) {
        return Err(Refusal::Origin);
    }
    if !fields.sip {
        return Err(Refusal::Protocol);
    }
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: sip\r\n\r\n",
        accept_key(key)
    )
    .into())
}

fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Fields<'a>, Refusal> {
    let mut fields = Fields::default();
    for (n, line) in lines.enumerate() {
        if n >= FIELDS {
            return Err(Refusal::TooLarge);
        }
        let (name, value) = line.split_once(':').ok_or(Refusal::Malformed)?;
        // White space in or before a name is how requests are smuggled (RFC 9112 section 5.1).
        if name.is_empty() || name.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(Refusal::Malformed);
        }
        let value = value.trim_matches([' ', '\t']);
        if value.bytes().any(|b| b.is_ascii_control() && b != b'\t') {
            return Err(Refusal::Malformed);
        }
        let has = |word: &str| {
            value
                .split(',')
                .any(|item| item.trim().eq_ignore_ascii_case(word))
        };
        let once = |field: &mut Option<&'a str>| match field.replace(value) {
            None => Ok(()),
            Some(_) => Err(Refusal::Malformed),
        };
        match name.to_ascii_lowercase().as_str() {
            "host" => once(&mut fields.host)?,
            "sec-websocket-key" => once(&mut fields.key)?,
            "sec-websocket-version" => once(&mut fields.version)?,
            "origin" => once(&mut fields.origin)?,
            "upgrade" => fields.websocket |= has("websocket"),
            "connection" => fields.upgrade |= has("upgrade"),
            "sec-websocket-protocol" => {
                fields.sip |= value.split(',').any(|item| item.trim() == "sip");
            }
            // A body would be read as frames.
            "content-length" if value != "0" => return Err(Refusal::Malformed),
            "transfer-encoding" => return Err(Refusal::Malformed),
            _ => {}
        }
    }
    Ok(fields)
}

/// 16 octets in base64: 22 characters and two fillers.
fn is_key(key: &str) -> bool {
    let [text @ .., b'=', b'='] = key.as_bytes() else {
        return false;
    };
    text.len() == 22 && text.iter().all(|byte| ALPHABET.contains(byte))
}

/// `Sec-WebSocket-Accept` for a key (4.2.2).
#[must_use]
pub fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(GUID.as_bytes());
    base64(&hash.finalize())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len().div_ceil(3) * 4);
    for chunk in octets.chunks(3) {
        let word = chunk.iter().enumerate().fold(0_u32, |word, (n, octet)| {
            word | u32::from(*octet) << (16 - 8 * n)
        });
        for n in 0..4 {
            let index = (word >> (18 - 6 * n) & 0x3f) as usize;
            let letter = ALPHABET.get(index).copied().unwrap_or_default();
            text.push(if n <= chunk.len() {
                letter as char
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: sip-ws.example.com\r\nUpgrade: websocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Origin: http://www.example.com\r\nSec-WebSocket-Protocol: chat, sip\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn origins() -> Vec<String> {
        vec!["http://www.example.com".to_owned()]
    }

    fn verdict(request: &str) -> Verdict {
        Handshake::default()
            .push(request.as_bytes(), &origins())
            .unwrap()
    }

    fn refused(request: &str) -> Refusal {
        match verdict(request) {
            Verdict::Refused(refusal) => refusal,
            Verdict::Accepted { .. } => panic!("accepted: {request}"),
        }
    }

    #[test]
    fn the_handshake_of_rfc_7118_is_accepted_octet_by_octet() {
        let mut handshake = Handshake::default();
        let (last, first) = REQUEST.as_bytes().split_last().unwrap();
        for octet in first {
            assert_eq!(handshake.push(&[*octet], &origins()), None);
        }
        let Some(Verdict::Accepted { response, rest }) = handshake.push(&[*last, 0x81], &origins())
        else {
            panic!("not accepted");
        };
        let text = std::str::from_utf8(&response).unwrap();
        assert!(text.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
        assert!(text.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(text.contains("Sec-WebSocket-Protocol: sip\r\n"));
        assert_eq!(&rest[..], [0x81]);
    }

    #[test]
    fn a_page_of_another_origin_is_refused_and_who_is_no_browser_is_not() {
        let other = REQUEST.replace("www.example.com", "evil.example.com");
        assert_eq!(refused(&other), Refusal::Origin);
        let null = REQUEST.replace("http://www.example.com", "null");
        assert_eq!(refused(&null), Refusal::Origin);
        let none = REQUEST.replace("Origin: http://www.example.com\r\n", "");
        assert!(matches!(verdict(&none), Verdict::Accepted { .. }));
        let denied = Handshake::default().push(REQUEST.as_bytes(), &[]);
        assert_eq!(denied, Some(Verdict::Refused(Refusal::Origin)));
        let text = Refusal::Origin.response();
        assert!(text.starts_with(b"HTTP/1.1 403 Forbidden\r\n"));
    }

    #[test]
    fn each_thing_missing_has_its_own_refusal() {
        for (from, to, refusal) in [
            ("chat, sip", "chat", Refusal::Protocol),
            ("chat, sip", "SIP", Refusal::Protocol),
            ("Version: 13", "Version: 8", Refusal::Version),
            ("Upgrade: websocket", "Upgrade: h2c", Refusal::NoUpgrade),
            ("keep-alive, Upgrade", "keep-alive", Refusal::NoUpgrade),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ==", Refusal::Key),
            ("Sec-WebSocket-Key", "X", Refusal::Key),
            ("GET", "POST", Refusal::Method),
            ("HTTP/1.1", "HTTP/1.0", Refusal::Malformed),
            ("GET /", "GET  /", Refusal::Malformed),
            ("Host: sip-ws", "Hos : sip-ws", Refusal::Malformed),
            ("Host: sip-ws", "X: sip-ws", Refusal::Malformed),
            ("Host:", "Content-Length: 5\r\nHost:", Refusal::Malformed),
            ("Host:", "Host: a\r\nHost:", Refusal::Malformed),
        ] {
            assert_eq!(refused(&REQUEST.replacen(from, to, 1)), refusal, "{to}");
        }
    }

    #[test]
    fn a_handshake_is_bounded() {
        let mut endless = Handshake::default();
        let line = [b'a'; 1_000];
        let refusal = (0..10).find_map(|_| endless.push(&line, &[]));
        assert_eq!(refusal, Some(Verdict::Refused(Refusal::TooLarge)));
        let many = REQUEST.replace("Host:", &format!("{}Host:", "X: y\r\n".repeat(FIELDS)));
        assert_eq!(refused(&many), Refusal::TooLarge);
    }

    #[test]
    fn a_refusal_is_a_whole_response() {
        for refusal in Refusal::ALL {
            let response = refusal.response();
            let text = std::str::from_utf8(&response).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}", body.len())));
            assert!(head.contains("Connection: close"));
        }
    }
}
