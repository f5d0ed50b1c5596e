//! The message layer (RFC 3261 §7, §20, §25): one buffer, one index over it, values read only when asked for.
//!
//! [`RawMessage`] has split a message, [`Message`] has in addition checked what every element relies on. Writing is
//! [`write_request`] and [`write_response`] for messages of our own, [`Splice`] for those passed on.

mod contact;
mod error;
mod inspect;
mod lex;
mod limits;
mod method;
mod multipart;
mod name;
mod name_addr;
mod params;
mod raw;
mod splice;
mod validate;
mod via;
mod write;

pub use crate::uri::{Host, Uri};
pub use contact::{Contact, Contacts};
pub use error::{HeaderError, Invalid, UriError};
pub use inspect::Capabilities;
pub use limits::Limits;
pub use method::Method;
pub use name::HeaderName;
pub use name_addr::NameAddr;
pub use params::Params;
pub use raw::RawMessage;
pub use splice::Splice;
pub use validate::Message;
pub(crate) use via::ip_of as literal;
pub use via::{BRANCH_COOKIE, Via};

/// A list header's values, split outside quotes and `<>`.
pub(crate) fn split_commas(text: &str) -> impl Iterator<Item = &str> {
    lex::split(text, b',')
}

/// The inside of a quoted string, escapes kept; anything else as it is.
pub(crate) fn unquote(text: &str) -> &str {
    lex::quoted(text).map_or(text, |(inner, _)| inner)
}

pub use write::{
    Body, OutgoingRequest, OutgoingResponse, reason_phrase, write_request, write_response,
};
