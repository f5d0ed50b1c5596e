//! Why a header field, a URI or a whole message was refused.

use crate::message::RawMessage;

/// A header field value that cannot be read. The status to answer with is always 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {header}: {reason}")]
pub struct HeaderError {
    /// The header field's name.
    pub header: &'static str,
    /// What is wrong, fit for a reason phrase: it never quotes the input.
    pub reason: &'static str,
}

/// A URI that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed URI: {0}")]
pub struct UriError(pub &'static str);

/// A message refused by the message layer: enough to count it and, for a request, to answer it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{status} {reason}")]
pub struct Invalid {
    /// What could be read, when at least a start line could. A response (or an ACK) is never answered, only dropped.
    pub raw: Option<Box<RawMessage>>,
    /// The SIP status to answer with: 400, 413, 414, 505.
    pub status: u16,
    /// A reason phrase that says what is wrong and never quotes the input.
    pub reason: &'static str,
}
