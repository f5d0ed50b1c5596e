//! Messages out of a byte stream (RFC 3261 §18.3, RFC 5626 §3.5.1): TCP and TLS.

use bytes::{Buf, Bytes, BytesMut};

use crate::message::{HeaderName, Limits, RawMessage};

/// What a stream delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// One whole message, for [`Message::parse`](crate::Message::parse).
    Message(Bytes),
    /// A double CRLF between messages: answer with a single CRLF (RFC 5626 §4.4.1).
    KeepAlivePing,
}

/// The stream can no longer be cut into messages: close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A head or a whole message above its limit (413).
    #[error("message above the limit")]
    TooLarge,
    /// A body is announced, but not how long it is (RFC 3261 §18.3; 400).
    #[error("no Content-Length on a stream")]
    NoLength,
    /// A Content-Length that is no number, or two that differ (400).
    #[error("malformed Content-Length")]
    BadLength,
}

/// Cuts a stream into messages. Holds at most one message above what [`Framer::push`] was last given: after an error it takes nothing more.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    limits: Limits,
    /// Octets already searched for the end of the head.
    searched: usize,
    /// The length of the whole message, once its head has been read.
    needed: Option<usize>,
    failed: Option<FrameError>,
}

impl Framer {
    /// An empty framer.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            buffer: BytesMut::new(),
            limits,
            searched: 0,
            needed: None,
            failed: None,
        }
    }

    /// Takes what the socket delivered. Call [`Framer::next`] until it gives `None` before pushing again: that is
    /// what bounds the buffer.
    pub fn push(&mut self, octets: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(octets);
        }
    }

    /// The next frame, or `None` when more octets are needed.
    ///
    /// # Errors
    /// [`FrameError`], then the same for ever: the connection is to be closed.
    #[expect(
        clippy::should_implement_trait,
        reason = "the name of the contract; an iterator could not say `not yet`"
    )]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcome = self.cut();
        if let Err(error) = outcome {
            self.failed = Some(error);
            self.buffer = BytesMut::new();
        }
        outcome
    }

    /// Octets waiting for the rest of their message.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    fn cut(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.needed.is_none() {
            if self.buffer.starts_with(b"\r\n\r\n") {
                self.buffer.advance(4);
                return Ok(Some(Frame::KeepAlivePing));
            }
            // A single CRLF may be a pong, or the first half of a ping whose second half is under way.
            if self.buffer.starts_with(b"\r") && b"\r\n\r\n".starts_with(&self.buffer) {
                return Ok(None);
            }
            let lead = self
                .buffer
                .iter()
                .take_while(|byte| matches!(byte, b'\r' | b'\n'))
                .count();
            if self.searched == 0 {
                self.buffer.advance(lead);
            }
            let Some(head) = self.head_end() else {
                if self.buffer.len() > self.limits.head_bytes {
                    return Err(FrameError::TooLarge);
                }
                return Ok(None);
            };
            self.needed = Some(self.measure(head)?);
        }
        match self.needed {
            Some(needed) if self.buffer.len() >= needed => {
                self.needed = None;
                self.searched = 0;
                // Copied: a slice would keep the whole buffer for as long as somebody keeps the message.
                let message = Bytes::copy_from_slice(self.buffer.get(..needed).unwrap_or(&[]));
                self.buffer.advance(needed);
                if self.buffer.is_empty() {
                    // A silent connection holds no buffer.
                    self.buffer = BytesMut::new();
                }
                Ok(Some(Frame::Message(message)))
            }
            _ => Ok(None),
        }
    }

    /// Where the body starts; looks at every octet once however the stream is cut.
    fn head_end(&mut self) -> Option<usize> {
        while let Some(found) = self
            .buffer
            .get(self.searched..)
            .and_then(|rest| memchr::memchr(b'\n', rest))
        {
            let next = self.searched + found + 1;
            match self.buffer.get(next..) {
                Some([b'\n', ..]) => return Some(next + 1),
                Some([b'\r', b'\n', ..]) => return Some(next + 2),
                // The octets that decide are still to come: search from this LF again.
                Some([] | [b'\r']) => {
                    self.searched = next - 1;
                    return None;
                }
                _ => self.searched = next,
            }
        }
        self.searched = self.buffer.len();
        None
    }

    fn measure(&self, head: usize) -> Result<usize, FrameError> {
        if head > self.limits.head_bytes {
            return Err(FrameError::TooLarge);
        }
        let octets = Bytes::copy_from_slice(self.buffer.get(..head).unwrap_or(&[]));
        let length = content_length(octets, &self.limits)?;
        let whole = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(head));
        whole
            .filter(|whole| *whole <= self.limits.message_bytes)
            .ok_or(FrameError::TooLarge)
    }
}

/// A response whose status line nobody can read is discarded alone (RFC 4475 §3.1.2.19): its fields still say where it
/// ends.
fn unreadable_response(head: &[u8], limits: &Limits) -> Option<RawMessage> {
    let fields = head.get(memchr::memchr(b'\n', head)?..)?;
    if !head.starts_with(b"SIP/") {
        return None;
    }
    let readable = [b"SIP/2.0 200 \r".as_slice(), fields].concat();
    match RawMessage::parse(readable.into(), limits) {
        Ok(raw) => Some(raw),
        Err(invalid) => invalid.raw.map(|raw| *raw),
    }
}

/// The body length a head announces. The head is otherwise left to the message layer to judge.
fn content_length(head: Bytes, limits: &Limits) -> Result<u64, FrameError> {
    let invalid_head = head.clone();
    let raw = match RawMessage::parse(head, limits) {
        Ok(raw) => raw,
        // A body is announced that is not here yet: that is what a lone head looks like. Other mistakes are found
        // again, and answered, when the message is parsed.
        Err(invalid) => match invalid.raw {
            Some(raw) => *raw,
            None => unreadable_response(&invalid_head, limits).ok_or(FrameError::BadLength)?,
        },
    };
    let mut lengths = raw.headers(&HeaderName::ContentLength);
    let Some(first) = lengths.next() else {
        // Without a body devices forget the field; with one, nobody can say where the next message starts.
        return if raw.content_type().is_none() {
            Ok(0)
        } else {
            Err(FrameError::NoLength)
        };
    };
    let number = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse::<u64>().ok())
            .flatten()
    };
    let length = number(first).ok_or(FrameError::BadLength)?;
    if lengths.any(|other| number(other) != Some(length)) {
        return Err(FrameError::BadLength);
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYE: &[u8] = b"BYE sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n";
    const INFO: &[u8] = b"INFO sip:a SIP/2.0\r\nl: 4\r\n\r\nabcd";

    fn framer() -> Framer {
        Framer::new(Limits::default())
    }

    #[test]
    fn two_messages_in_one_read_come_apart() {
        let mut framer = framer();
        framer.push(&[INFO, BYE].concat());
        assert_eq!(
            framer.next(),
            Ok(Some(Frame::Message(Bytes::from_static(INFO))))
        );
        assert_eq!(
            framer.next(),
            Ok(Some(Frame::Message(Bytes::from_static(BYE))))
        );
        assert_eq!(framer.next(), Ok(None));
    }

    #[test]
    fn a_message_does_not_hold_what_came_with_it() {
        let mut framer = framer();
        framer.push(&[INFO, BYE].concat());
        let Ok(Some(Frame::Message(message))) = framer.next() else {
            panic!("no message");
        };
        assert!(message.try_into_mut().is_ok(), "it shares the buffer");
    }

    #[test]
    fn a_message_may_come_octet_by_octet() {
        let mut framer = framer();
        let mut frames = Vec::new();
        for octet in [INFO, BYE].concat() {
            framer.push(&[octet]);
            while let Some(frame) = framer.next().unwrap() {
                frames.push(frame);
            }
        }
        assert_eq!(
            frames,
            [
                Frame::Message(Bytes::from_static(INFO)),
                Frame::Message(Bytes::from_static(BYE))
            ]
        );
    }

    #[test]
    fn a_double_crlf_is_a_ping_and_a_single_one_nothing() {
        let mut framer = framer();
        framer.push(b"\r\n");
        assert_eq!(framer.next(), Ok(None));
        framer.push(b"\r\n");
        assert_eq!(framer.next(), Ok(Some(Frame::KeepAlivePing)));
        framer.push(b"\r\n");
        assert_eq!(framer.next(), Ok(None));
        framer.push(BYE);
        assert_eq!(
            framer.next(),
            Ok(Some(Frame::Message(Bytes::from_static(BYE))))
        );
    }

    #[test]
    fn bare_line_feeds_end_a_head() {
        let mut framer = framer();
        framer.push(b"INFO sip:a SIP/2.0\nl: 2\n\nabBYE");
        assert_eq!(
            framer.next(),
            Ok(Some(Frame::Message(Bytes::from_static(
                b"INFO sip:a SIP/2.0\nl: 2\n\nab"
            ))))
        );
        assert_eq!(framer.pending(), 3);
    }

    #[test]
    fn a_body_without_a_length_ends_the_stream() {
        let mut framer = framer();
        framer.push(b"INFO sip:a SIP/2.0\r\nc: text/plain\r\n\r\nabcd");
        assert_eq!(framer.next(), Err(FrameError::NoLength));
        framer.push(BYE);
        assert_eq!(framer.next(), Err(FrameError::NoLength));
    }

    #[test]
    fn two_lengths_that_differ_end_the_stream() {
        let mut framer = framer();
        framer.push(b"INFO sip:a SIP/2.0\r\nl: 4\r\nContent-Length: 0\r\n\r\nabcd");
        assert_eq!(framer.next(), Err(FrameError::BadLength));
    }

    #[test]
    fn a_response_without_a_readable_status_is_discarded_alone() {
        let bad =
            b"SIP/2.0 4294967301 better not\r\nVia: SIP/2.0/TCP a\r\nContent-Length: 2\r\n\r\nab";
        let mut framer = framer();
        framer.push(&[bad, BYE].concat());
        let frames = [framer.next(), framer.next()];
        let whole = |bytes| Ok(Some(Frame::Message(Bytes::from_static(bytes))));
        assert_eq!(frames, [whole(bad), whole(BYE)]);
    }

    #[test]
    fn an_endless_head_and_an_overlarge_body_end_the_stream() {
        let mut endless = framer();
        endless.push(&[b'a'; 40_000]);
        assert_eq!(endless.next(), Err(FrameError::TooLarge));
        let mut large = framer();
        large.push(b"INFO sip:a SIP/2.0\r\nl: 70000\r\n\r\n");
        assert_eq!(large.next(), Err(FrameError::TooLarge));
    }
}
