//! One part of a multipart body (RFC 2046 §5.1, RFC 5621): a session description beside what a trunk or an emergency
//! call adds to it.

use bytes::Bytes;

use super::{HeaderName, Limits, Message, Splice, lex};

/// Parts looked at; further ones are not there.
const MAX_PARTS: usize = 16;
/// Multiparts within multiparts.
const MAX_DEPTH: usize = 3;

impl Message {
    /// The body of that media type: the whole of it, or the first such part of a multipart body.
    #[must_use]
    pub fn part(&self, kind: &str) -> Option<&[u8]> {
        part(self.content_type()?, self.body(), kind, MAX_DEPTH)
    }

    /// This message with the one part as its whole body; `None` when the body is not multipart or has no such part.
    #[must_use]
    pub fn reduced_to(&self, kind: &str) -> Option<Self> {
        if !essence(self.content_type()?)
            .to_ascii_lowercase()
            .starts_with("multipart/")
        {
            return None;
        }
        let part = self.part(kind)?;
        let head = Splice::new(self)
            .set(HeaderName::ContentType, kind)
            .set(HeaderName::ContentLength, part.len().to_string())
            .remove(&HeaderName::ContentDisposition)
            .finish();
        let head = head.get(..head.len().checked_sub(self.body().len())?)?;
        // What was taken once is within the limits still.
        let limits = Limits {
            message_bytes: usize::MAX,
            head_bytes: usize::MAX,
            ..Limits::default()
        };
        Self::parse(Bytes::from([head, part].concat()), &limits).ok()
    }
}

fn essence(content_type: &str) -> &str {
    lex::trim(content_type.split(';').next().unwrap_or(""))
}

fn part<'a>(content_type: &str, body: &'a [u8], kind: &str, depth: usize) -> Option<&'a [u8]> {
    let found = essence(content_type);
    if found.eq_ignore_ascii_case(kind) {
        return Some(body);
    }
    let multipart = found
        .get(..10)
        .is_some_and(|start| start.eq_ignore_ascii_case("multipart/"));
    if !multipart || depth == 0 {
        return None;
    }
    let boundary = boundary(content_type)?;
    parts(body, &boundary).take(MAX_PARTS).find_map(|octets| {
        let (head, inner) = head_and_body(octets);
        let own = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| HeaderName::from_token(name.trim()) == HeaderName::ContentType)
            .map_or("text/plain", |(_, value)| value);
        part(own, inner, kind, depth - 1)
    })
}

/// RFC 2046 §5.1.1: 1 to 70 characters.
fn boundary(content_type: &str) -> Option<String> {
    let boundary = lex::split(content_type, b';').skip(1).find_map(|param| {
        let (name, value) = param.split_once('=')?;
        let value = lex::trim(value);
        lex::trim(name)
            .eq_ignore_ascii_case("boundary")
            .then(|| super::unquote(value).to_owned())
    })?;
    (1..=70).contains(&boundary.len()).then_some(boundary)
}

/// The octets between the delimiter lines, up to the closing one or the end.
fn parts<'a>(body: &'a [u8], boundary: &str) -> impl Iterator<Item = &'a [u8]> {
    let delimiter = format!("--{boundary}").into_bytes();
    let mut rest = next_delimiter(body, &delimiter).map(|(_, after)| after);
    std::iter::from_fn(move || {
        let start = rest?;
        // `--` after the delimiter closes the body.
        if start.starts_with(b"--") {
            return None;
        }
        let line = start.iter().position(|byte| *byte == b'\n')? + 1;
        let start = start.get(line..)?;
        let (end, after) = match next_delimiter(start, &delimiter) {
            Some((end, after)) => (end, Some(after)),
            None => (start.len(), None),
        };
        rest = after;
        let octets = start.get(..end)?;
        let octets = octets.strip_suffix(b"\n").unwrap_or(octets);
        Some(octets.strip_suffix(b"\r").unwrap_or(octets))
    })
}

/// Where the next delimiter line starts, and what follows the delimiter.
fn next_delimiter<'a>(octets: &'a [u8], delimiter: &[u8]) -> Option<(usize, &'a [u8])> {
    memchr::memmem::find_iter(octets, delimiter)
        .find(|at| *at == 0 || octets.get(at - 1) == Some(&b'\n'))
        .and_then(|at| Some((at, octets.get(at + delimiter.len()..)?)))
}

/// A part without an empty line is all body, as one that starts with it.
fn head_and_body(octets: &[u8]) -> (&str, &[u8]) {
    for empty in [b"\r\n".as_slice(), b"\n"] {
        if let Some(body) = octets.strip_prefix(empty) {
            return ("", body);
        }
    }
    for empty in [b"\r\n\r\n".as_slice(), b"\n\n"] {
        if let Some(at) = memchr::memmem::find(octets, empty) {
            let head = octets.get(..at).unwrap_or(&[]);
            let body = octets.get(at + empty.len()..).unwrap_or(&[]);
            return (std::str::from_utf8(head).unwrap_or(""), body);
        }
    }
    ("", octets)
}
