//! The few words of a message that say where it belongs, read without parsing it: cheap enough for every message.

use memchr::memchr;

/// Header lines looked at: what stands behind so many belongs to no call of ours.
const LINES: usize = 64;

/// What was found. Anything may be missing: the octets come from the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned<'a> {
    /// Method of a request; `None` for a response, or for what is no SIP.
    pub method: Option<&'a str>,
    /// Status of a response.
    pub status: Option<u16>,
    /// Value of Call-ID.
    pub call_id: &'a [u8],
    /// Method in CSeq.
    pub cseq_method: &'a str,
    /// Number in CSeq.
    pub cseq: u32,
    /// The body's length is not zero.
    pub has_body: bool,
}

impl<'a> Scanned<'a> {
    /// The method a message is about: a request's own, a response's in CSeq.
    #[must_use]
    pub fn about(&self) -> &'a str {
        self.method.unwrap_or(self.cseq_method)
    }
}

/// Reads start line, Call-ID and CSeq.
#[must_use]
pub fn scan(bytes: &[u8]) -> Scanned<'_> {
    let mut found = Scanned::default();
    let mut lines = Lines(bytes);
    let Some(first) = lines.next() else {
        return found;
    };
    if let Some(rest) = first.strip_prefix(b"SIP/2.0 ") {
        found.status = rest
            .get(..3)
            .and_then(text)
            .and_then(|digits| digits.parse().ok());
    } else if first.ends_with(b" SIP/2.0") {
        found.method = first.split(|byte| *byte == b' ').next().and_then(text);
    }
    let (mut call_id, mut cseq) = (false, false);
    for line in lines.by_ref().take(LINES) {
        if line.is_empty() {
            break;
        }
        if !call_id && let Some(value) = header(line, b"call-id", Some(b'i')) {
            (found.call_id, call_id) = (value, true);
        } else if !cseq && let Some(value) = header(line, b"cseq", None) {
            let mut words = value
                .split(|byte| matches!(byte, b' ' | b'\t'))
                .filter(|word| !word.is_empty())
                .filter_map(text);
            found.cseq = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            found.cseq_method = words.next().unwrap_or_default();
            cseq = true;
        }
        if call_id && cseq {
            break;
        }
    }
    found.has_body = !bytes.ends_with(b"\r\n\r\n") && !bytes.ends_with(b"\n\n");
    found
}

/// The value of the first header of this name (lower case) or its compact form.
#[must_use]
pub fn find_header<'a>(bytes: &'a [u8], name: &str, compact: Option<u8>) -> Option<&'a str> {
    let lines = Lines(bytes).skip(1).take(LINES);
    lines
        .take_while(|line| !line.is_empty())
        .find_map(|line| header(line, name.as_bytes(), compact))
        .and_then(text)
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// The value of a line with this header name (lower case), or its compact form.
fn header<'a>(line: &'a [u8], name: &[u8], compact: Option<u8>) -> Option<&'a [u8]> {
    let long = line
        .get(..name.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(name));
    let rest = if long {
        line.get(name.len()..)?
    } else if compact
        .is_some_and(|compact| line.first().map(u8::to_ascii_lowercase) == Some(compact))
    {
        line.get(1..)?
    } else {
        return None;
    };
    rest.trim_ascii_start()
        .strip_prefix(b":")
        .map(<[u8]>::trim_ascii)
}

/// Lines without their ends.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr(b'\n', self.0).unwrap_or(self.0.len());
        let line = self.0.get(..end).unwrap_or_default();
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_and_a_response_say_where_they_belong() {
        let invite = b"INVITE sip:101@x SIP/2.0\r\nVia: SIP/2.0/UDP a\r\ni : abc@x\r\nf: \"A;tag=no\" <sip:a@x>;tag=7.1.f\r\n\
            CSeq: 12  INVITE\r\nContent-Length: 2\r\n\r\nhi";
        let found = scan(invite);
        assert_eq!(found.method, Some("INVITE"));
        assert_eq!(
            (found.call_id, found.cseq, found.cseq_method),
            (&b"abc@x"[..], 12, "INVITE")
        );
        assert!(found.has_body);
        let from = find_header(invite, "from", Some(b'f'));
        assert_eq!(from, Some("\"A;tag=no\" <sip:a@x>;tag=7.1.f"));
        let ringing =
            b"SIP/2.0 180 Ringing\r\nCSEQ: 1 INVITE\r\nCALL-ID: c\r\nContent-Length: 0\r\n\r\n";
        let found = scan(ringing);
        assert_eq!((found.status, found.about()), (Some(180), "INVITE"));
        assert_eq!((found.call_id, found.has_body), (&b"c"[..], false));
    }

    #[test]
    fn nothing_is_found_in_what_is_no_sip() {
        for bytes in [
            &b""[..],
            b"\r\n\r\n",
            b"\x00\x01\x02",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"SIP/2.0 \xff\xff\xff\r\n",
            b"INVITE",
        ] {
            let found = scan(bytes);
            assert_eq!((found.method, found.status), (None, None));
        }
        let behind = format!(
            "INVITE x SIP/2.0\r\n{}Call-ID: c\r\n\r\n",
            "X: y\r\n".repeat(LINES)
        );
        assert!(scan(behind.as_bytes()).call_id.is_empty());
    }
}
