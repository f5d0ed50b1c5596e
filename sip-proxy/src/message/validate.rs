//! From a split message to one that can be relied on: the mandatory fields are there, once, and readable.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use crate::message::contact::{Contacts, delta_seconds};
use crate::message::error::{HeaderError, Invalid, UriError};
use crate::message::lex;
use crate::message::limits::Limits;
use crate::message::method::Method;
use crate::message::name::HeaderName;
use crate::message::name_addr::NameAddr;
use crate::message::raw::{RawMessage, Refusal, Span};
use crate::message::via::Via;
use crate::uri::Uri;

/// A checked message. Cloning shares it.
///
/// Checked are: Via, From, To, Call-ID and CSeq present and well-formed (RFC 3261 §8.1.1), CSeq below 2^31 and of the
/// request's method, single-value fields not given twice with different values (RFC 4475 §3.3.8), the limits. A missing Max-Forwards is
/// accepted (RFC 2543 elements and many door panels), everything else is read when asked for.
#[derive(Debug, Clone)]
pub struct Message(Arc<Checked>);

#[derive(Debug)]
struct Checked {
    raw: RawMessage,
    method: Method,
    cseq: u32,
    from_tag: Option<Span>,
    to_tag: Option<Span>,
}

/// Fields of which a message has one. Two with the same value are taken as one: some proxies repeat them.
const SINGLE: &[HeaderName] = &[
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::From,
    HeaderName::To,
    HeaderName::MaxForwards,
    HeaderName::ContentType,
    HeaderName::Expires,
];

impl Deref for Message {
    type Target = RawMessage;

    fn deref(&self) -> &RawMessage {
        &self.0.raw
    }
}

impl Message {
    /// Reads and checks one message: one datagram, or one frame of a stream.
    ///
    /// # Errors
    /// [`Invalid`] says what to answer: 400, 413, 414 or 505. Nothing in it is to be trusted.
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Self, Invalid> {
        let (raw, refusal) = RawMessage::scan(bytes, limits);
        let invalid = |raw: Option<RawMessage>, (status, reason): Refusal| Invalid {
            raw: raw.map(Box::new),
            status,
            reason,
        };
        let raw = match (raw, refusal) {
            (Some(raw), None) => raw,
            (raw, Some(refusal)) => return Err(invalid(raw, refusal)),
            (None, None) => return Err(invalid(None, (400, "Empty message"))),
        };
        match check(&raw, limits) {
            Ok(Facts {
                method,
                cseq,
                from_tag,
                to_tag,
            }) => Ok(Self(Arc::new(Checked {
                raw,
                method,
                cseq,
                from_tag,
                to_tag,
            }))),
            Err(refusal) => Err(invalid(Some(raw), refusal)),
        }
    }

    /// A request's method, or the CSeq method of a response.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.0.method
    }

    /// The Request-URI read.
    ///
    /// # Errors
    /// [`UriError`] for a response, or a URI of a known scheme that cannot be read. An unknown scheme is no error.
    pub fn request_uri(&self) -> Result<Uri, UriError> {
        Uri::parse(self.uri())
    }

    /// The Call-ID.
    #[must_use]
    pub fn call_id(&self) -> &str {
        self.header(&HeaderName::CallId).unwrap_or("")
    }

    /// The CSeq number, below 2^31.
    #[must_use]
    pub fn cseq(&self) -> u32 {
        self.0.cseq
    }

    /// From.
    #[must_use]
    pub fn from(&self) -> NameAddr<'_> {
        self.header(&HeaderName::From)
            .and_then(|value| NameAddr::parse(value).ok())
            .unwrap_or_default()
    }

    /// To.
    #[must_use]
    pub fn to(&self) -> NameAddr<'_> {
        self.header(&HeaderName::To)
            .and_then(|value| NameAddr::parse(value).ok())
            .unwrap_or_default()
    }

    /// From's tag; RFC 2543 elements send none.
    #[must_use]
    pub fn from_tag(&self) -> Option<&str> {
        self.0.from_tag.map(|span| self.text(span))
    }

    /// To's tag.
    #[must_use]
    pub fn to_tag(&self) -> Option<&str> {
        self.0.to_tag.map(|span| self.text(span))
    }

    /// The topmost Via.
    #[must_use]
    pub fn top_via(&self) -> Via<'_> {
        self.values(&HeaderName::Via)
            .next()
            .and_then(|value| Via::parse(value).ok())
            .unwrap_or_default()
    }

    /// All Vias from the top. Only the first is known to be well-formed.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, HeaderError>> {
        self.values(&HeaderName::Via).map(|value| {
            Via::parse(value).map_err(|reason| HeaderError {
                header: "Via",
                reason,
            })
        })
    }

    /// The Contacts over all lines.
    ///
    /// # Errors
    /// [`HeaderError`] when one cannot be read, or `*` stands beside another.
    pub fn contacts(&self) -> Result<Contacts<'_>, HeaderError> {
        Contacts::collect(self.values(&HeaderName::Contact))
    }

    /// Max-Forwards; a number above 255 counts as 255 (RFC 4475 §3.1.2.4), a missing one is `None`.
    #[must_use]
    pub fn max_forwards(&self) -> Option<u8> {
        let hops = self
            .header(&HeaderName::MaxForwards)
            .and_then(lex::number)?;
        Some(u8::try_from(hops).unwrap_or(u8::MAX))
    }

    /// Expires in seconds, capped at `u32::MAX`; `None` when missing or no number (RFC 3261 §10.2.1.1: then ignored).
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.header(&HeaderName::Expires).and_then(delta_seconds)
    }
}

/// What a message is asked for again and again, found once.
struct Facts {
    method: Method,
    cseq: u32,
    from_tag: Option<Span>,
    to_tag: Option<Span>,
}

fn check(raw: &RawMessage, limits: &Limits) -> Result<Facts, Refusal> {
    let bad = |reason| Err((400, reason));
    single_values(raw)?;
    let mut vias = 0;
    for value in raw.values(&HeaderName::Via) {
        vias += 1;
        if vias == 1 {
            let via = Via::parse(value).map_err(|reason| (400, reason))?;
            if via
                .branch()
                .is_some_and(|branch| branch.len() > limits.identifier_bytes)
            {
                return bad("Branch too long");
            }
        }
    }
    match vias {
        0 => return bad("Missing Via"),
        _ if vias > limits.vias => return bad("Too many Vias"),
        _ => {}
    }
    let call_id = raw.header(&HeaderName::CallId).unwrap_or("");
    if call_id.is_empty() || call_id.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return bad("Missing or malformed Call-ID");
    }
    if call_id.len() > limits.identifier_bytes {
        return bad("Call-ID too long");
    }
    let from_tag = address(raw, &HeaderName::From, limits)?;
    let to_tag = address(raw, &HeaderName::To, limits)?;
    if raw
        .header(&HeaderName::MaxForwards)
        .is_some_and(|value| value.is_empty() || !value.bytes().all(|b| b.is_ascii_digit()))
    {
        return bad("Malformed Max-Forwards");
    }
    let (method, cseq) = cseq(raw)?;
    Ok(Facts {
        method,
        cseq,
        from_tag,
        to_tag,
    })
}

/// One pass over the index: a known name seen twice is compared only when it is one of [`SINGLE`].
fn single_values(raw: &RawMessage) -> Result<(), Refusal> {
    let mut seen = [0_u64; 4];
    for field in &raw.fields {
        let bit = 1 << (field.id % 64);
        let Some(word) = seen.get_mut(usize::from(field.id / 64)) else {
            continue;
        };
        if *word & bit == 0 {
            *word |= bit;
            continue;
        }
        let Some(name) = SINGLE.iter().find(|name| name.id() == field.id) else {
            continue;
        };
        if raw.header(name) != Some(raw.text(field.value)) {
            return Err((400, "Conflicting single-value header"));
        }
    }
    Ok(())
}

fn address(raw: &RawMessage, name: &HeaderName, limits: &Limits) -> Result<Option<Span>, Refusal> {
    let Some(value) = raw.header(name) else {
        return Err((400, "Missing From or To"));
    };
    let address = NameAddr::parse(value).map_err(|reason| (400, reason))?;
    match address.tag() {
        Some(tag) if tag.len() > limits.identifier_bytes => Err((400, "Tag too long")),
        Some(tag) if !lex::is_token(tag) => Err((400, "Malformed tag")),
        tag => Ok(tag.map(|tag| raw.locate(tag))),
    }
}

fn cseq(raw: &RawMessage) -> Result<(Method, u32), Refusal> {
    let value = raw.header(&HeaderName::CSeq).ok_or((400, "Missing CSeq"))?;
    let mut words = value
        .split(|c: char| c.is_ascii() && lex::is_lws(c as u8))
        .filter(|word| !word.is_empty());
    let (Some(number), Some(method), None) = (words.next(), words.next(), words.next()) else {
        return Err((400, "Malformed CSeq"));
    };
    // RFC 3261 §8.1.1.5: less than 2^31.
    let number = lex::number(number)
        .filter(|n| *n < 1 << 31)
        .and_then(|n| u32::try_from(n).ok());
    let number = number.ok_or((400, "Malformed CSeq"))?;
    if !lex::is_token(method) {
        return Err((400, "Malformed CSeq"));
    }
    if raw.method_token().is_some_and(|token| token != method) {
        return Err((400, "CSeq method does not match"));
    }
    Ok((Method::from_token(method), number))
}
