//! Frames (RFC 6455 section 5): fragments put together, masks enforced, control frames told apart.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest payload of a control frame (5.5).
const CONTROL: usize = 125;

/// What a frame is (5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// More of a message begun.
    Continuation,
    /// UTF-8.
    Text,
    /// Octets.
    Binary,
    /// The end.
    Close,
    /// Are you there?
    Ping,
    /// I am.
    Pong,
}

impl Opcode {
    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn from_bits(bits: u8) -> Option<Self> {
        [
            Self::Continuation,
            Self::Text,
            Self::Binary,
            Self::Close,
            Self::Ping,
            Self::Pong,
        ]
        .into_iter()
        .find(|opcode| opcode.bits() == bits)
    }

    fn is_control(self) -> bool {
        self.bits() >= 8
    }
}

/// Which end reads: a client's frames are masked, a server's never (5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads what a client sent.
    Server,
    /// Reads what a server sent.
    Client,
}

/// What a connection delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// One whole message: one SIP message, or a CRLF keep-alive (RFC 7118 sections 5 and 6).
    Message(Bytes),
    /// To be answered with a pong of the same payload.
    Ping(Bytes),
    /// An answer to a ping, or unasked.
    Pong,
    /// The peer closes, with its status; to be answered with the same, then the connection ends.
    Close(Option<u16>),
}

/// The connection can no longer be read: close it, with [`FrameError::status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A client's frame without mask, or a server's with one (5.1).
    #[error("mask missing or unexpected")]
    Mask,
    /// A reserved bit or opcode (5.2): no extension was agreed on.
    #[error("reserved bit or opcode")]
    Reserved,
    /// A control frame that is fragmented or too long (5.5), or a close of one octet or with a forbidden status (7.4).
    #[error("malformed control frame")]
    Control,
    /// A continuation of nothing, or a message inside another (5.4).
    #[error("fragments out of order")]
    Fragment,
    /// A text message that is no UTF-8 (8.1).
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A message above the limit.
    #[error("message above the limit")]
    TooLarge,
}

impl FrameError {
    /// The status to close with (7.4.1).
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
            _ => 1002,
        }
    }
}

/// One frame's header.
struct Header {
    fin: bool,
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    length: usize,
    /// Octets of the header itself.
    size: usize,
}

/// Puts frames together into messages. Holds at most one message of the limit and one frame above what
/// [`Reader::push`] was last given.
#[derive(Debug)]
pub struct Reader {
    role: Role,
    limit: usize,
    buffer: BytesMut,
    /// The fragments so far, and what the first said they are.
    fragments: BytesMut,
    kind: Option<Opcode>,
    failed: Option<FrameError>,
}

impl Reader {
    /// A reader whose messages have at most `limit` octets.
    #[must_use]
    pub fn new(role: Role, limit: usize) -> Self {
        Self {
            role,
            limit,
            buffer: BytesMut::new(),
            fragments: BytesMut::new(),
            kind: None,
            failed: None,
        }
    }

    /// Takes what the socket delivered. Call [`Reader::next`] until it gives `None` before pushing again: that is what
    /// bounds the buffer.
    pub fn push(&mut self, octets: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(octets);
        }
    }

    /// Octets and fragments waiting for the rest of their message; zero between messages.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.buffer.len() + self.fragments.len() + usize::from(self.kind.is_some())
    }

    /// The next event, or `None` when more octets are needed.
    ///
    /// # Errors
    /// [`FrameError`], then the same for ever: the connection is to be closed.
    #[expect(
        clippy::should_implement_trait,
        reason = "as with the stream's framer: an iterator could not say `not yet`"
    )]
    pub fn next(&mut self) -> Result<Option<Event>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcome = self.read();
        if let Err(error) = outcome {
            self.failed = Some(error);
            self.buffer = BytesMut::new();
            self.fragments = BytesMut::new();
        }
        outcome
    }

    fn read(&mut self) -> Result<Option<Event>, FrameError> {
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            if self.buffer.len() < header.size + header.length {
                return Ok(None);
            }
            self.buffer.advance(header.size);
            let mut payload = self.buffer.split_to(header.length);
            if self.buffer.is_empty() {
                // A silent connection holds no buffer.
                self.buffer = BytesMut::new();
            }
            if let Some(mask) = header.mask {
                for (octet, key) in payload.iter_mut().zip(mask.iter().cycle()) {
                    *octet ^= key;
                }
            }
            match header.opcode {
                Opcode::Ping => return Ok(Some(Event::Ping(payload.freeze()))),
                Opcode::Pong => return Ok(Some(Event::Pong)),
                Opcode::Close => return closing(&payload).map(|status| Some(Event::Close(status))),
                opcode => {
                    if let Some(message) = self.fragment(opcode, header.fin, payload)? {
                        return Ok(Some(Event::Message(message)));
                    }
                }
            }
        }
    }

    /// The next frame's header, once it is whole; everything that can be refused is refused here, before its payload
    /// is waited for.
    fn header(&self) -> Result<Option<Header>, FrameError> {
        let [first, second, rest @ ..] = &self.buffer[..] else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(FrameError::Reserved);
        }
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(FrameError::Reserved)?;
        let (fin, masked) = (first & 0x80 != 0, second & 0x80 != 0);
        if masked != (self.role == Role::Server) {
            return Err(FrameError::Mask);
        }
        let short = usize::from(second & 0x7f);
        if opcode.is_control() && (!fin || short > CONTROL) {
            return Err(FrameError::Control);
        }
        let (length, used) = match (short, rest) {
            (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 2),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                let long = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
                (usize::try_from(long).unwrap_or(usize::MAX), 8)
            }
            (126 | 127, _) => return Ok(None),
            _ => (short, 0),
        };
        if length.saturating_add(self.fragments.len()) > self.limit && !opcode.is_control() {
            return Err(FrameError::TooLarge);
        }
        match (opcode, self.kind) {
            (Opcode::Continuation, None) | (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(FrameError::Fragment);
            }
            _ => {}
        }
        let mask = match (masked, rest.get(used..)) {
            (false, _) => None,
            (true, Some([a, b, c, d, ..])) => Some([*a, *b, *c, *d]),
            (true, _) => return Ok(None),
        };
        let size = 2 + used + if masked { 4 } else { 0 };
        Ok(Some(Header {
            fin,
            opcode,
            mask,
            length,
            size,
        }))
    }

    /// One data frame; the message when it was its last.
    fn fragment(
        &mut self,
        opcode: Opcode,
        fin: bool,
        payload: BytesMut,
    ) -> Result<Option<Bytes>, FrameError> {
        let kind = *self.kind.get_or_insert(opcode);
        if !fin {
            self.fragments.extend_from_slice(&payload);
            return Ok(None);
        }
        let whole = if self.fragments.is_empty() {
            payload
        } else {
            self.fragments.extend_from_slice(&payload);
            self.fragments.split()
        };
        self.kind = None;
        if kind == Opcode::Text && std::str::from_utf8(&whole).is_err() {
            return Err(FrameError::NotUtf8);
        }
        // Copied: a slice would keep the whole buffer for as long as somebody keeps the message.
        Ok(Some(Bytes::copy_from_slice(&whole)))
    }
}

/// The status in a close frame (5.5.1).
fn closing(payload: &[u8]) -> Result<Option<u16>, FrameError> {
    match payload {
        [] => Ok(None),
        [a, b, reason @ ..] => {
            let status = u16::from_be_bytes([*a, *b]);
            let allowed = matches!(status, 1000..=1003 | 1007..=1014 | 3000..=4999);
            if !allowed || std::str::from_utf8(reason).is_err() {
                return Err(FrameError::Control);
            }
            Ok(Some(status))
        }
        _ => Err(FrameError::Control),
    }
}

/// One unfragmented frame. A client masks, with a fresh random key each time (5.3).
#[must_use]
pub fn frame(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) -> Bytes {
    let mut octets = BytesMut::with_capacity(payload.len() + 14);
    octets.put_u8(0x80 | opcode.bits());
    let bit = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        length @ 0..=125 => octets.put_u8(bit | length as u8),
        length => match u16::try_from(length) {
            Ok(length) => {
                octets.put_u8(bit | 126);
                octets.put_u16(length);
            }
            Err(_) => {
                octets.put_u8(bit | 127);
                octets.put_u64(length as u64);
            }
        },
    }
    match mask {
        None => octets.put_slice(payload),
        Some(mask) => {
            octets.put_slice(&mask);
            octets.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
        }
    }
    octets.freeze()
}

/// A message as a server sends it: text where it is UTF-8, which browsers show best, else binary.
#[must_use]
pub fn message(bytes: &[u8]) -> Bytes {
    let opcode = match std::str::from_utf8(bytes) {
        Ok(_) => Opcode::Text,
        Err(_) => Opcode::Binary,
    };
    frame(opcode, bytes, None)
}

/// A server's close frame.
#[must_use]
pub fn close(status: u16) -> Bytes {
    frame(Opcode::Close, &status.to_be_bytes(), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: Option<[u8; 4]> = Some([0x37, 0xfa, 0x21, 0x3d]);

    fn read(octets: &[u8]) -> Result<Vec<Event>, FrameError> {
        let mut reader = Reader::new(Role::Server, 65_536);
        reader.push(octets);
        let mut events = Vec::new();
        while let Some(event) = reader.next()? {
            events.push(event);
        }
        Ok(events)
    }

    fn said(text: &'static str) -> Event {
        Event::Message(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn the_examples_of_rfc_6455_5_7() {
        let masked = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(read(&masked), Ok(vec![said("Hello")]));
        assert_eq!(&frame(Opcode::Text, b"Hello", MASK)[..], masked);
        let single = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        assert_eq!(&message(b"Hello")[..], single);
        let mut client = Reader::new(Role::Client, 100);
        client.push(&[0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f]);
        assert_eq!(client.next(), Ok(Some(said("Hello"))));
        client.push(&[0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        let ping = Event::Ping(Bytes::from_static(b"Hello"));
        assert_eq!(client.next(), Ok(Some(ping)));
        let binary = frame(Opcode::Binary, &[7; 256], None);
        assert_eq!(&binary[..4], [0x82, 0x7e, 0x01, 0x00]);
        let large = frame(Opcode::Binary, &[7; 65_536], None);
        assert_eq!(&large[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_message_may_come_octet_by_octet_and_in_fragments_around_a_ping() {
        let mut first = frame(Opcode::Text, b"INVITE ", MASK).to_vec();
        first[0] &= 0x7f;
        let ping = frame(Opcode::Ping, b"?", MASK);
        let last = frame(Opcode::Continuation, b"sip:a", MASK);
        let mut reader = Reader::new(Role::Server, 100);
        let mut events = Vec::new();
        for octet in [&first[..], &ping, &last].concat() {
            reader.push(&[octet]);
            events.extend(reader.next().unwrap());
        }
        let ping = Event::Ping(Bytes::from_static(b"?"));
        assert_eq!(events, [ping, said("INVITE sip:a")]);
        assert_eq!(reader.pending(), 0);
    }

    #[test]
    fn a_message_does_not_hold_what_came_with_it() {
        let mut reader = Reader::new(Role::Server, 65_536);
        reader.push(&[&frame(Opcode::Text, b"a", MASK)[..], &[0x81]].concat());
        let Ok(Some(Event::Message(message))) = reader.next() else {
            panic!("no message");
        };
        assert!(message.try_into_mut().is_ok(), "it shares the buffer");
    }

    #[test]
    fn a_client_that_does_not_mask_is_closed() {
        assert_eq!(read(&message(b"x")), Err(FrameError::Mask));
        assert_eq!(FrameError::Mask.status(), 1002);
    }

    #[test]
    fn what_no_extension_explains_is_refused() {
        for first in [0xc1, 0xa1, 0x91, 0x83, 0x8b, 0x8f] {
            let mut octets = frame(Opcode::Text, b"x", MASK).to_vec();
            octets[0] = first;
            assert_eq!(read(&octets), Err(FrameError::Reserved), "{first:x}");
        }
    }

    #[test]
    fn fragments_out_of_order_are_refused() {
        let begun = |opcode| {
            let mut octets = frame(opcode, b"x", MASK).to_vec();
            octets[0] &= 0x7f;
            octets
        };
        let alone = frame(Opcode::Continuation, b"x", MASK);
        assert_eq!(read(&alone), Err(FrameError::Fragment));
        let nested = [begun(Opcode::Text), begun(Opcode::Binary)].concat();
        assert_eq!(read(&nested), Err(FrameError::Fragment));
        assert_eq!(read(&begun(Opcode::Ping)), Err(FrameError::Control));
    }

    #[test]
    fn a_message_above_the_limit_is_refused_before_it_is_waited_for() {
        let mut reader = Reader::new(Role::Server, 1_000);
        reader.push(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(reader.next(), Err(FrameError::TooLarge));
        let mut pieces = Reader::new(Role::Server, 1_000);
        let mut piece = frame(Opcode::Binary, &[0; 400], MASK).to_vec();
        piece[0] = 0x02;
        pieces.push(&piece);
        assert_eq!(pieces.next(), Ok(None));
        piece[0] = 0;
        pieces.push(&piece);
        assert_eq!(pieces.next(), Ok(None));
        pieces.push(&piece);
        assert_eq!(pieces.next(), Err(FrameError::TooLarge));
        assert_eq!(FrameError::TooLarge.status(), 1009);
    }

    #[test]
    fn text_is_utf_8_and_binary_anything() {
        assert_eq!(
            read(&frame(Opcode::Text, &[0xff], MASK)),
            Err(FrameError::NotUtf8)
        );
        assert!(read(&frame(Opcode::Binary, &[0xff], MASK)).is_ok());
        assert_eq!(message(&[0xff])[0], 0x82);
    }

    #[test]
    fn a_close_has_its_status_or_none() {
        let close = |payload: &[u8]| read(&frame(Opcode::Close, payload, MASK));
        assert_eq!(close(b""), Ok(vec![Event::Close(None)]));
        assert_eq!(close(&[3, 232]), Ok(vec![Event::Close(Some(1000))]));
        for wrong in [&[3][..], &[3, 237], &[0, 0], &[3, 232, 0xff]] {
            assert_eq!(close(wrong), Err(FrameError::Control), "{wrong:?}");
        }
    }
}
