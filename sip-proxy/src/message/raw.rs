//! The header index: one pass over one buffer finds every field; nothing is copied, nothing is interpreted.

use std::fmt;

use bytes::Bytes;
use memchr::{memchr, memchr2};
use smallvec::SmallVec;

use crate::message::error::Invalid;
use crate::message::lex;
use crate::message::limits::Limits;
use crate::message::name::{self, HeaderName, NameId};

/// A piece of the buffer; offsets in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        let narrow = |offset| u32::try_from(offset).unwrap_or(u32::MAX);
        Self {
            start: narrow(start),
            end: narrow(end),
        }
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes
            .get(self.start as usize..self.end as usize)
            .unwrap_or(&[])
    }
}

/// One header field: its whole line (folds and line end included) and, within it, the trimmed value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) id: NameId,
    pub(crate) line: Span,
    pub(crate) value: Span,
    name_end: u32,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Start {
    Request { method: Span, uri: Span },
    Response { status: u16, reason: Span },
}

/// A message split into start line, header fields and body over one buffer. Only syntax has been looked at:
/// whether the mandatory fields are there and make sense is [`Message`](crate::message::Message)'s question.
#[derive(Clone)]
pub struct RawMessage {
    bytes: Bytes,
    start: Start,
    start_line: Span,
    pub(crate) fields: SmallVec<[Field; 20]>,
    body: Span,
    has_nul: bool,
}

/// Names, numbers and credentials stay out of the log: only the shape is printed.
impl fmt::Debug for RawMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shape = f.debug_struct("RawMessage");
        match self.status() {
            Some(status) => shape.field("status", &status),
            None => shape.field("method", &self.method_token().unwrap_or("")),
        };
        shape
            .field("headers", &self.fields.len())
            .field("body", &self.body().len())
            .finish_non_exhaustive()
    }
}

/// A refusal on the way: status and reason, before the message is wrapped up as [`Invalid`].
pub(crate) type Refusal = (u16, &'static str);

impl RawMessage {
    /// Finds start line, fields and body. After a first mistake the scan goes on, so that what can still be read
    /// is there to be answered with.
    ///
    /// # Errors
    /// [`Invalid`] with 413 (size), 400 (syntax, NUL, lone CR, too many fields), 505 (version).
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Self, Invalid> {
        let (raw, refusal) = Self::scan(bytes, limits);
        match refusal {
            None => raw.ok_or(Invalid {
                raw: None,
                status: 400,
                reason: "Empty message",
            }),
            Some((status, reason)) => Err(Invalid {
                raw: raw.map(Box::new),
                status,
                reason,
            }),
        }
    }

    pub(crate) fn scan(bytes: Bytes, limits: &Limits) -> (Option<Self>, Option<Refusal>) {
        if bytes.len() > limits.message_bytes {
            // The head is still read for the 413, but not the body.
            let head = bytes.slice(..limits.head_bytes.min(bytes.len()));
            let (raw, _) = Self::scan_within(head, limits);
            return (raw, Some((413, "Message Too Large")));
        }
        Self::scan_within(bytes, limits)
    }

    fn scan_within(bytes: Bytes, limits: &Limits) -> (Option<Self>, Option<Refusal>) {
        let mut refusal = None;
        // RFC 3261 §7.5: CRLFs before the start line are ignored.
        let lead = bytes
            .iter()
            .position(|byte| !matches!(byte, b'\r' | b'\n'))
            .unwrap_or(bytes.len());
        let Some(line) = line_at(&bytes, lead) else {
            return (None, Some((400, "No start line")));
        };
        let start = match start_line(&bytes, lead, line, limits) {
            Ok(start) => start,
            Err((start, why)) => {
                refusal = Some(why);
                match start {
                    Some(start) => start,
                    None => return (None, refusal),
                }
            }
        };
        let mut raw = Self {
            bytes: Bytes::new(),
            start,
            start_line: Span::new(lead, line.next),
            fields: SmallVec::new(),
            body: Span::default(),
            has_nul: false,
        };
        let body_start = raw.scan_fields(&bytes, line.next, limits, &mut refusal);
        let head = bytes.get(..body_start).unwrap_or(&bytes);
        if std::str::from_utf8(head).is_err() {
            return Self::scan_within(transcoded(&bytes, body_start), limits);
        }
        match check_nul(head) {
            Ok(has_nul) => raw.has_nul = has_nul,
            Err(why) => refusal = refusal.or(Some(why)),
        }
        if body_start > limits.head_bytes && refusal.is_none() {
            refusal = Some((413, "Header Too Large"));
        }
        raw.body = Span::new(body_start, bytes.len());
        raw.bytes = bytes;
        raw.bound_body(&mut refusal);
        (Some(raw), refusal)
    }

    /// Fills the index; returns where the body starts.
    fn scan_fields(
        &mut self,
        bytes: &[u8],
        mut at: usize,
        limits: &Limits,
        refusal: &mut Option<Refusal>,
    ) -> usize {
        loop {
            let Some(mut line) = line_at(bytes, at) else {
                // The empty line is missing: RFC 4475 has no such message, but truncated datagrams look like it.
                refusal.get_or_insert((400, "Header not terminated"));
                return bytes.len();
            };
            if line.end == at {
                return line.next;
            }
            while matches!(bytes.get(line.next), Some(b' ' | b'\t')) {
                let Some(fold) = line_at(bytes, line.next) else {
                    refusal.get_or_insert((400, "Header not terminated"));
                    return bytes.len();
                };
                line = Line {
                    stray_cr: line.stray_cr | fold.stray_cr,
                    ..fold
                };
            }
            if self.fields.len() >= limits.headers {
                refusal.get_or_insert((400, "Too Many Headers"));
                return bytes.len();
            }
            match field_at(bytes, at, line) {
                Ok(field) => self.fields.push(field),
                Err(reason) => {
                    refusal.get_or_insert((400, reason));
                }
            }
            at = line.next;
        }
    }

    /// Cuts the body to Content-Length (RFC 3261 §18.3): what follows it in a datagram is not part of the message.
    fn bound_body(&mut self, refusal: &mut Option<Refusal>) {
        let mut length: Option<u64> = None;
        for value in self.headers(&HeaderName::ContentLength) {
            let Some(one) = lex::number(value) else {
                refusal.get_or_insert((400, "Malformed Content-Length"));
                return;
            };
            if length.is_some_and(|other| other != one) {
                refusal.get_or_insert((400, "Conflicting Content-Length"));
                return;
            }
            length = Some(one);
        }
        let Some(length) = length else { return };
        let there = u64::from(self.body.end - self.body.start);
        if length > there {
            refusal.get_or_insert((400, "Body shorter than Content-Length"));
        } else if let Ok(length) = u32::try_from(length) {
            self.body.end = self.body.start + length;
        }
    }

    /// The buffer as received (leading CRLFs and what followed the body included).
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// True for a request.
    #[must_use]
    pub fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// The method word of a request's start line.
    #[must_use]
    pub fn method_token(&self) -> Option<&str> {
        match self.start {
            Start::Request { method, .. } => Some(self.text(method)),
            Start::Response { .. } => None,
        }
    }

    /// The Request-URI as written; empty for a response.
    #[must_use]
    pub fn uri(&self) -> &str {
        match self.start {
            Start::Request { uri, .. } => self.text(uri),
            Start::Response { .. } => "",
        }
    }

    /// A response's status code, 100 to 699.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.start {
            Start::Request { .. } => None,
            Start::Response { status, .. } => Some(status),
        }
    }

    /// A response's reason phrase, which may be empty; empty for a request.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self.start {
            Start::Request { .. } => "",
            Start::Response { reason, .. } => self.text(reason),
        }
    }

    /// The first field of that name, trimmed; folds are still inside.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        {
            let id = name.id();
            self.fields
                .iter()
                .find(|field| self.has_name(field, id, name))
        }
        .map(|field| self.text(field.value))
    }

    /// The fields of that name, one per line, in order, trimmed; folds are still inside.
    pub fn headers<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a str> + 'a {
        self.fields_of(name).map(|field| self.text(field.value))
    }

    /// The values of a list header over all its lines, split at commas outside quotes and `<>`, empty ones left out.
    pub fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a str> + 'a {
        self.headers(name)
            .flat_map(|line| lex::split(line, b','))
            .filter(|value| !value.is_empty())
    }

    /// All fields in order, for tracing and for carrying unknown ones: name as written, value trimmed.
    pub fn all_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .map(|field| (self.name_of(field), self.text(field.value)))
    }

    /// True when one of that list header's values is `token`, ignoring case (`Supported`, `Require`, `Allow` …).
    #[must_use]
    pub fn has_option(&self, name: &HeaderName, token: &str) -> bool {
        self.values(name)
            .any(|value| value.eq_ignore_ascii_case(token))
    }

    /// The Content-Type's value, parameters included.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.header(&HeaderName::ContentType)
            .filter(|value| !value.is_empty())
    }

    /// The body's octets, bounded by Content-Length.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.body.of(&self.bytes)
    }

    /// The body sharing the message's buffer.
    #[must_use]
    pub fn body_bytes(&self) -> Bytes {
        self.bytes
            .slice(self.body.start as usize..self.body.end as usize)
    }

    /// Every place a NUL stood as a quoted pair, the one place RFC 4475 §3.1.1.2 wants it accepted.
    pub(crate) fn has_nul(&self) -> bool {
        self.has_nul
    }

    pub(crate) fn text(&self, span: Span) -> &str {
        std::str::from_utf8(span.of(&self.bytes)).unwrap_or("")
    }

    /// Where a piece of this message's text stands in its buffer.
    pub(crate) fn locate(&self, piece: &str) -> Span {
        let start = (piece.as_ptr() as usize).wrapping_sub(self.bytes.as_ptr() as usize);
        Span::new(start, start.wrapping_add(piece.len()))
    }

    pub(crate) fn octets(&self, span: Span) -> &[u8] {
        span.of(&self.bytes)
    }

    pub(crate) fn start(&self) -> Start {
        self.start
    }

    /// The start line with its line end.
    pub(crate) fn start_line(&self) -> &[u8] {
        self.octets(self.start_line)
    }

    pub(crate) fn is_named(&self, field: &Field, name: &HeaderName) -> bool {
        self.has_name(field, name.id(), name)
    }

    fn has_name(&self, field: &Field, id: NameId, name: &HeaderName) -> bool {
        field.id == id
            && (id != name::OTHER || self.name_of(field).eq_ignore_ascii_case(name.as_str()))
    }

    pub(crate) fn fields_of<'a>(
        &'a self,
        name: &'a HeaderName,
    ) -> impl Iterator<Item = &'a Field> + 'a {
        self.fields
            .iter()
            .filter(move |field| self.is_named(field, name))
    }

    pub(crate) fn name_of(&self, field: &Field) -> &str {
        self.text(Span {
            start: field.line.start,
            end: field.name_end,
        })
    }
}

/// A line found in the buffer.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// Where it ends, line end excluded.
    end: usize,
    /// Where the next one starts.
    next: usize,
    /// Whether a CR stands in it that ends no line.
    stray_cr: bool,
}

/// The line that starts at `at`. A bare LF ends a line as CRLF does: some door panels send it.
fn line_at(bytes: &[u8], at: usize) -> Option<Line> {
    let mut from = at;
    let mut stray_cr = false;
    loop {
        let found = from + memchr2(b'\r', b'\n', bytes.get(from..)?)?;
        if bytes.get(found) == Some(&b'\n') {
            return Some(Line {
                end: found,
                next: found + 1,
                stray_cr,
            });
        }
        if bytes.get(found + 1) == Some(&b'\n') {
            return Some(Line {
                end: found,
                next: found + 2,
                stray_cr,
            });
        }
        stray_cr = true;
        from = found + 1;
    }
}

fn field_at(
    bytes: &[u8],
    at: usize,
    Line {
        end,
        next,
        stray_cr,
    }: Line,
) -> Result<Field, &'static str> {
    // A CR that ends no line is how headers are smuggled past one parser to the next.
    if stray_cr {
        return Err("CR in header");
    }
    let line = bytes.get(at..end).unwrap_or(&[]);
    let colon = memchr(b':', line).ok_or("Header without colon")?;
    let name = line.get(..colon).unwrap_or(&[]);
    // White space before the colon is grammatical (HCOLON); the name is looked up without it, so that no rule that
    // goes by name can be passed with a blank. Anything else that is no token is refused.
    let name_len = name
        .iter()
        .rposition(|byte| !matches!(byte, b' ' | b'\t'))
        .map_or(0, |last| last + 1);
    let name = name.get(..name_len).unwrap_or(&[]);
    if name.is_empty() || !name.iter().copied().all(lex::is_token_byte) {
        return Err("Malformed header name");
    }
    let value = line.get(colon + 1..).unwrap_or(&[]);
    let lead = value
        .iter()
        .position(|byte| !lex::is_lws(*byte))
        .unwrap_or(value.len());
    let trail = value
        .iter()
        .rposition(|byte| !lex::is_lws(*byte))
        .map_or(lead, |last| last + 1);
    let base = at + colon + 1;
    Ok(Field {
        id: name::id_of(name),
        line: Span::new(at, next),
        value: Span::new(base + lead, base + trail.max(lead)),
        name_end: Span::new(0, at + name_len).end,
    })
}

/// A NUL is taken only as a quoted pair, the one place where RFC 4475 §3.1.1.2 wants it; `true` when there is one.
fn check_nul(head: &[u8]) -> Result<bool, Refusal> {
    let mut found = false;
    for at in memchr::memchr_iter(0, head) {
        if at == 0 || head.get(at - 1) != Some(&b'\\') {
            return Err((400, "NUL in header"));
        }
        found = true;
    }
    Ok(found)
}

type StartOutcome = Result<Start, (Option<Start>, Refusal)>;

fn start_line(
    bytes: &[u8],
    at: usize,
    Line { end, stray_cr, .. }: Line,
    limits: &Limits,
) -> StartOutcome {
    let line = bytes.get(at..end).unwrap_or(&[]);
    if stray_cr {
        return Err((None, (400, "CR in start line")));
    }
    if line
        .get(..8)
        .is_some_and(|head| head.eq_ignore_ascii_case(b"SIP/2.0 "))
    {
        return status_line(line, at, end);
    }
    let bad = |reason| (400, reason);
    let Some(first) = memchr(b' ', line) else {
        return Err((None, bad("Malformed start line")));
    };
    let Some(last) = memchr::memrchr(b' ', line) else {
        return Err((None, bad("Malformed start line")));
    };
    let method = Span::new(at, at + first);
    let uri = Span::new(at + (first + 1).min(last), at + last);
    let start = Start::Request { method, uri };
    let token = method.of(bytes);
    if token.is_empty() || !token.iter().copied().all(lex::is_token_byte) {
        return Err((None, bad("Malformed method")));
    }
    let version = line.get(last + 1..).unwrap_or(&[]);
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        let versioned = version
            .get(..4)
            .is_some_and(|head| head.eq_ignore_ascii_case(b"SIP/"));
        let why = if versioned {
            (505, "Version Not Supported")
        } else {
            bad("Malformed Request-Line")
        };
        return Err((Some(start), why));
    }
    let target = uri.of(bytes);
    if target.len() > limits.uri_bytes {
        return Err((Some(start), (414, "Request-URI Too Long")));
    }
    // Exactly one SP on each side, no white space within, no `<>` (RFC 4475 §3.1.2.7 to §3.1.2.9).
    let delimiter = |byte: &u8| *byte <= b' ' || matches!(byte, b'<' | b'>' | b'"' | 0x7f);
    if target.is_empty() || target.iter().any(delimiter) || !target.contains(&b':') {
        return Err((Some(start), bad("Malformed Request-URI")));
    }
    Ok(start)
}

fn status_line(line: &[u8], at: usize, end: usize) -> StartOutcome {
    let rest = line.get(8..).unwrap_or(&[]);
    let digits = rest.get(..3).unwrap_or(&[]);
    let status = std::str::from_utf8(digits)
        .ok()
        .filter(|_| digits.iter().all(u8::is_ascii_digit));
    let status = status
        .and_then(|text| text.parse().ok())
        .filter(|status| (100..=699).contains(status));
    let separated = matches!(rest.get(3), None | Some(b' '));
    match status {
        // Without a reason phrase some devices also leave out the SP before it.
        Some(status) if separated => {
            let reason = Span::new((at + 12).min(end), end);
            if memchr(0, line).is_some() {
                return Err((None, (400, "Malformed Status-Line")));
            }
            Ok(Start::Response { status, reason })
        }
        _ => Err((None, (400, "Malformed Status-Line"))),
    }
}

/// SIP is UTF-8 (RFC 3261 §7); door stations also send Latin-1 display names. Such a head is transcoded octet by
/// octet, so that the call is answered; only then does the buffer differ from what was received.
fn transcoded(bytes: &[u8], head_end: usize) -> Bytes {
    let (head, body) = bytes.split_at_checked(head_end).unwrap_or((bytes, &[]));
    let mut out = Vec::with_capacity(bytes.len() + 64);
    for chunk in head.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        for byte in chunk.invalid() {
            let mut buffer = [0; 2];
            out.extend_from_slice(char::from(*byte).encode_utf8(&mut buffer).as_bytes());
        }
    }
    out.extend_from_slice(body);
    Bytes::from(out)
}
