//! How large a message may be before it is refused unread.

/// Bounds of one message. Over a bound the message is refused with the status named beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Octets of the whole message: over it 413; on a stream the connection is closed.
    pub message_bytes: usize,
    /// Octets of start line and header fields together: over it 413 (on a stream: closed).
    pub head_bytes: usize,
    /// Header field lines: over it 400.
    pub headers: usize,
    /// Via values, however they are spread over lines: over it 400 (a loop, or someone measuring us).
    pub vias: usize,
    /// Octets of the Request-URI: over it 414.
    pub uri_bytes: usize,
    /// Octets of one Call-ID, tag or branch, which we keep as keys: over it 400.
    pub identifier_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 65_536,
            head_bytes: 32_768,
            headers: 200,
            vias: 70,
            uri_bytes: 2_048,
            identifier_bytes: 512,
        }
    }
}
