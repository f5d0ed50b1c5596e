//! SIP, SIPS and TEL URIs (RFC 3261 §19.1, RFC 3966); any other scheme is carried untouched.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::message::UriError;

/// The host of a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    /// A name as written.
    Name(&'a str),
    /// An IPv4 literal.
    V4(Ipv4Addr),
    /// An IPv6 literal.
    V6(Ipv6Addr),
}

/// What kind of URI it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Anything else: to be answered 416 as a Request-URI (RFC 3261 §8.2.2.1).
    Other,
}

type Range = std::ops::Range<usize>;

/// A URI over one copy of its text; [`fmt::Display`] gives that text back unchanged.
///
/// `==` is the comparison of RFC 3261 §19.1.4. It is not transitive, so a URI is no map key: see [`Uri::aor`].
#[derive(Clone)]
pub struct Uri {
    text: Box<str>,
    scheme: Scheme,
    user: Option<Range>,
    password: Option<Range>,
    host: Range,
    port: Option<u16>,
    params: Range,
    headers: Range,
}

impl Uri {
    /// Reads a URI.
    ///
    /// # Errors
    /// [`UriError`] when there is no scheme, or a `sip`, `sips` or `tel` URI breaks its grammar.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let (scheme, _) = text.split_once(':').ok_or(UriError("no scheme"))?;
        let valid = scheme
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
        if !valid
            || text
                .bytes()
                .any(|byte| byte <= b' ' || matches!(byte, 0x7f | b'<' | b'>' | b'"'))
        {
            return Err(UriError("malformed"));
        }
        let start = scheme.len() + 1;
        let kind = match scheme {
            _ if scheme.eq_ignore_ascii_case("sip") => Scheme::Sip,
            _ if scheme.eq_ignore_ascii_case("sips") => Scheme::Sips,
            _ if scheme.eq_ignore_ascii_case("tel") => Scheme::Tel,
            _ => Scheme::Other,
        };
        let end = text.len();
        let mut uri = Self {
            text: text.into(),
            scheme: kind,
            user: None,
            password: None,
            host: end..end,
            port: None,
            params: end..end,
            headers: end..end,
        };
        match kind {
            Scheme::Sip | Scheme::Sips => uri.read_sip(start)?,
            Scheme::Tel => uri.read_tel(start)?,
            Scheme::Other => {}
        }
        Ok(uri)
    }

    /// Builds `sip:user@host:port`. The user part is escaped as needed; an IPv6 host gets its brackets.
    #[must_use]
    pub fn sip(user: Option<&str>, host: &str, port: Option<u16>) -> String {
        let mut text = String::from("sip:");
        if let Some(user) = user {
            escape_user(user, &mut text);
            text.push('@');
        }
        let literal = host.parse::<Ipv6Addr>().is_ok();
        text.push_str(if literal { "[" } else { "" });
        text.push_str(host);
        text.push_str(if literal { "]" } else { "" });
        if let Some(port) = port {
            text.push(':');
            text.push_str(&port.to_string());
        }
        text
    }

    fn read_sip(&mut self, start: usize) -> Result<(), UriError> {
        let text = &*self.text;
        let rest = text.get(start..).unwrap_or("");
        // The user part may hold `;`, `?` and `/` (RFC 4475 §3.1.1.9), the host part no `@`: the last `@` before the
        // headers divides; a `?` only starts the headers after the host.
        let host_at = match rest.find('@') {
            Some(at) => {
                let info = rest.get(..at).unwrap_or("");
                let (user, password) = match info.find(':') {
                    Some(colon) => (start..start + colon, Some(start + colon + 1..start + at)),
                    None => (start..start + at, None),
                };
                if user.is_empty() {
                    return Err(UriError("empty user"));
                }
                check_escapes(info)?;
                (self.user, self.password) = (Some(user), password);
                start + at + 1
            }
            None => start,
        };
        let tail = text.get(host_at..).unwrap_or("");
        let host_len = if tail.starts_with('[') {
            tail.find(']').ok_or(UriError("unbalanced bracket"))? + 1
        } else {
            tail.find([':', ';', '?']).unwrap_or(tail.len())
        };
        let host = tail.get(..host_len).unwrap_or("");
        check_host(host)?;
        self.host = host_at..host_at + host_len;
        let mut at = self.host.end;
        if let Some(port) = text.get(at..).and_then(|rest| rest.strip_prefix(':')) {
            let len = port.find([';', '?']).unwrap_or(port.len());
            let digits = port.get(..len).unwrap_or("");
            let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse().ok().filter(|_| valid);
            self.port = Some(number.ok_or(UriError("malformed port"))?);
            at += 1 + len;
        }
        let tail = text.get(at..).unwrap_or("");
        let question = tail.find('?').map_or(text.len(), |offset| at + offset);
        match tail.bytes().next() {
            None => {}
            Some(b';') => self.params = at + 1..question,
            Some(b'?') => {}
            Some(_) => return Err(UriError("text after the host")),
        }
        if question < text.len() {
            self.headers = question + 1..text.len();
        }
        check_escapes(tail)
    }

    fn read_tel(&mut self, start: usize) -> Result<(), UriError> {
        let rest = self.text.get(start..).unwrap_or("");
        let len = rest.find(';').unwrap_or(rest.len());
        let number = rest.get(..len).unwrap_or("");
        let digits = number.strip_prefix('+').unwrap_or(number);
        let dialled = |byte: u8| {
            byte.is_ascii_hexdigit() || matches!(byte, b'*' | b'#' | b'-' | b'.' | b'(' | b')')
        };
        if !digits
            .bytes()
            .any(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'*' | b'#'))
            || !digits.bytes().all(dialled)
        {
            return Err(UriError("malformed telephone number"));
        }
        self.user = Some(start..start + len);
        if len < rest.len() {
            self.params = start + len + 1..self.text.len();
        }
        Ok(())
    }

    fn piece(&self, range: &Range) -> &str {
        self.text.get(range.clone()).unwrap_or("")
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The user part as written (a `tel` URI's number); see [`Uri::user_unescaped`].
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_ref().map(|range| self.piece(range))
    }

    /// The user part with `%hh` decoded; `None` also when the octets are no UTF-8 or hold a control character
    /// (RFC 4475 §3.1.1.4 accepts `%00`; it names no account).
    #[must_use]
    pub fn user_unescaped(&self) -> Option<String> {
        let octets = unescape(self.user()?);
        String::from_utf8(octets)
            .ok()
            .filter(|user| !user.chars().any(char::is_control))
    }

    /// The password as written. RFC 3261 §19.1.1 advises against it; it is never used to grant anything.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.password.as_ref().map(|range| self.piece(range))
    }

    /// The host; an empty name for `tel` and unknown schemes.
    #[must_use]
    pub fn host(&self) -> Host<'_> {
        let text = self.host_str();
        match crate::message::literal(text) {
            Some(IpAddr::V4(address)) => Host::V4(address),
            Some(IpAddr::V6(address)) => Host::V6(address),
            None => Host::Name(text),
        }
    }

    /// The host as written, an IPv6 literal in its brackets.
    #[must_use]
    pub fn host_str(&self) -> &str {
        self.piece(&self.host)
    }

    /// The port, when written.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The URI parameters in order: (name, value), as written.
    pub fn params(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.piece(&self.params)
            .split(';')
            .filter(|part| !part.is_empty())
            .map(|part| match part.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (part, None),
            })
    }

    /// The value of the first parameter of that name, as written: `Some("")` when it stands without a value. Case and
    /// escapes in the name do not matter (RFC 4475 §3.1.1.3 writes `lr` as `%6C%72`).
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        let name = unescape(name);
        self.params()
            .find(|(found, _)| decoded(found).eq_ignore_ascii_case(&name))
            .map(|(_, value)| value.unwrap_or(""))
    }

    /// As [`Uri::param`], its escapes decoded once.
    #[must_use]
    pub fn param_unescaped(&self, name: &str) -> Option<String> {
        String::from_utf8(unescape(self.param(name)?)).ok()
    }

    /// The headers after `?` in order: (name, value), as written.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.piece(&self.headers)
            .split('&')
            .filter(|part| !part.is_empty())
            .map(|part| part.split_once('=').unwrap_or((part, "")))
    }

    /// A header after `?`, its escapes decoded once.
    #[must_use]
    pub fn header_unescaped(&self, name: &str) -> Option<String> {
        let (_, value) = self
            .headers()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))?;
        String::from_utf8(unescape(value)).ok()
    }

    /// True for a loose route (`;lr`, RFC 3261 §16.12).
    #[must_use]
    pub fn is_loose_route(&self) -> bool {
        self.param("lr").is_some()
    }

    /// The address-of-record as a map key (RFC 3261 §10.3 step 5): scheme, decoded user, host in lower case, port
    /// when written; no password, parameters or headers. `None` when there is no user or host.
    #[must_use]
    pub fn aor(&self) -> Option<String> {
        let user = self.user_unescaped()?;
        let scheme = match self.scheme {
            Scheme::Sip => "sip",
            Scheme::Sips => "sips",
            Scheme::Tel | Scheme::Other => return None,
        };
        let mut key = String::with_capacity(self.text.len());
        key.push_str(scheme);
        key.push(':');
        escape_user(&user, &mut key);
        key.push('@');
        key.push_str(&self.host_str().to_ascii_lowercase());
        if let Some(port) = self.port {
            key.push(':');
            key.push_str(&port.to_string());
        }
        Some(key)
    }

    /// The URI as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The same without parameters and headers that may not stand in a Request-URI (RFC 3261 §19.1.1, table 1):
    /// headers, `method`.
    #[must_use]
    pub fn as_request_uri(&self) -> String {
        let head = self
            .text
            .get(..self.params.start.min(self.headers.start))
            .unwrap_or(&self.text);
        let mut text = head.trim_end_matches([';', '?']).to_owned();
        for (name, value) in self
            .params()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("method"))
        {
            text.push(';');
            text.push_str(name);
            if let Some(value) = value {
                text.push('=');
                text.push_str(value);
            }
        }
        text
    }
}

/// The parameters that must stand in both URIs or in neither (RFC 3261 §19.1.4; `transport` by RFC 5954's reading).
const MUST_MATCH: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

impl PartialEq for Uri {
    fn eq(&self, other: &Self) -> bool {
        if self.scheme != other.scheme {
            return false;
        }
        match self.scheme {
            Scheme::Other => return self.text == other.text,
            Scheme::Tel => return self.equals_tel(other),
            Scheme::Sip | Scheme::Sips => {}
        }
        let plain = |part: Option<&str>| part.map(unescape);
        let host = match (self.host(), other.host()) {
            (Host::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            (a, b) => a == b,
        };
        host && plain(self.user()) == plain(other.user())
            && plain(self.password()) == plain(other.password())
            && self.port == other.port
            && self.params_agree(other)
            && other.params_agree(self)
            && self.headers_agree(other)
            && other.headers_agree(self)
    }
}

impl Uri {
    fn params_agree(&self, other: &Self) -> bool {
        self.params().all(|(name, value)| {
            let mut theirs = other
                .params()
                .filter(|(found, _)| decoded(found).eq_ignore_ascii_case(&decoded(name)))
                .peekable();
            if theirs.peek().is_none() {
                return !MUST_MATCH
                    .iter()
                    .any(|must| name.eq_ignore_ascii_case(must));
            }
            let value = decoded(value.unwrap_or(""));
            theirs.any(|(_, other)| decoded(other.unwrap_or("")).eq_ignore_ascii_case(&value))
        })
    }

    fn headers_agree(&self, other: &Self) -> bool {
        self.headers().all(|(name, value)| {
            other.headers().any(|(theirs, their_value)| {
                decoded(name).eq_ignore_ascii_case(&decoded(theirs))
                    && unescape(value).eq_ignore_ascii_case(&unescape(their_value))
            })
        })
    }

    /// RFC 3966 §4: visual separators do not count.
    fn equals_tel(&self, other: &Self) -> bool {
        let digits = |uri: &Self| -> String {
            let number = uri.user().unwrap_or("");
            number
                .chars()
                .filter(|c| !matches!(c, '-' | '.' | '(' | ')'))
                .map(|c| c.to_ascii_lowercase())
                .collect()
        };
        let count = |uri: &Self| uri.params().count();
        digits(self) == digits(other)
            && count(self) == count(other)
            && self.params().all(|(name, value)| {
                other
                    .param(name)
                    .is_some_and(|theirs| theirs.eq_ignore_ascii_case(value.unwrap_or("")))
            })
    }
}

/// A user part is a name or a number: it stays out of the log.
impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Uri({:?}, ***@{}, {:?})",
            self.scheme,
            self.host_str(),
            self.port
        )
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn check_host(host: &str) -> Result<(), UriError> {
    if host.starts_with('[') {
        return crate::message::literal(host)
            .map(drop)
            .ok_or(UriError("malformed IPv6 address"));
    }
    // `_` is no host character, but names inside buildings carry it.
    let valid = !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    if valid {
        Ok(())
    } else {
        Err(UriError("malformed host"))
    }
}

fn check_escapes(text: &str) -> Result<(), UriError> {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_hexdigit());
            if !(hex(bytes.next()) && hex(bytes.next())) {
                return Err(UriError("malformed escape"));
            }
        }
    }
    Ok(())
}

/// [`unescape`] without a copy where there is nothing to decode.
fn decoded(text: &str) -> std::borrow::Cow<'_, [u8]> {
    if text.contains('%') {
        unescape(text).into()
    } else {
        text.as_bytes().into()
    }
}

/// Decodes `%hh` once; what is no escape stays.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [b'%', high, low, tail @ ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high * 16 + low);
                    tail
                }
                _ => {
                    out.push(b'%');
                    rest.get(1..).unwrap_or(&[])
                }
            },
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
            [] => return out,
        };
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Writes a user part, escaping what `unreserved` and `user-unreserved` (§25.1) leave out.
fn escape_user(user: &str, out: &mut String) {
    use std::fmt::Write as _;
    for byte in user.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte);
        if plain {
            out.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        Uri::parse(text).unwrap()
    }

    #[test]
    fn the_parts_of_a_sip_uri_are_read_and_the_text_kept() {
        let text = "sips:1_unusual;x?y:pw@[2001:db8::10]:5070;transport=tcp;lr?Subject=a%20b&priority=urgent";
        let uri = uri(text);
        assert_eq!(uri.to_string(), text);
        assert_eq!(
            (uri.scheme(), uri.user(), uri.password()),
            (Scheme::Sips, Some("1_unusual;x?y"), Some("pw"))
        );
        assert_eq!(
            (uri.host(), uri.port()),
            (Host::V6("2001:db8::10".parse().unwrap()), Some(5070))
        );
        assert_eq!(
            (uri.param("Transport"), uri.is_loose_route()),
            (Some("tcp"), true)
        );
        assert_eq!(
            uri.headers().collect::<Vec<_>>(),
            [("Subject", "a%20b"), ("priority", "urgent")]
        );
        assert_eq!(
            uri.as_request_uri(),
            "sips:1_unusual;x?y:pw@[2001:db8::10]:5070;transport=tcp;lr"
        );
    }

    #[test]
    fn malformed_uris_are_refused() {
        for text in [
            "",
            "sip:",
            "sip:@a",
            "sip:a b@c",
            "sip:a@[::1",
            "sip:2001:db8::10",
            "sip:a@b:99999",
            "sip:a@b:x",
            "sip:%zz@b",
            "1sip:a",
            "tel:",
            "tel:abcx",
            "<sip:a@b>",
        ] {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_telephone_number_is_compared_without_separators() {
        assert_eq!(uri("tel:+1-201-555-0123"), uri("tel:+12015550123"));
        assert_ne!(uri("tel:7042;phone-context=example.com"), uri("tel:7042"));
    }

    #[test]
    fn uris_are_equal_by_19_1_4() {
        for (a, b) in [
            (
                "sip:%61lice@atlanta.com;transport=TCP",
                "sip:alice@AtlanTa.CoM;Transport=tcp",
            ),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            (
                "sip:carol@chicago.com;security=on",
                "sip:carol@chicago.com;newparam=5",
            ),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
        ] {
            assert_eq!(uri(a), uri(b));
        }
    }

    #[test]
    fn uris_are_unequal_by_19_1_4() {
        for (a, b) in [
            (
                "SIP:ALICE@AtLanTa.CoM;Transport=udp",
                "sip:alice@AtLanTa.CoM;Transport=UDP",
            ),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            (
                "sip:bob@biloxi.com",
                "sip:bob@biloxi.com:6000;transport=tcp",
            ),
            (
                "sip:carol@chicago.com",
                "sip:carol@chicago.com?Subject=next%20meeting",
            ),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            (
                "sip:carol@chicago.com;security=on",
                "sip:carol@chicago.com;security=off",
            ),
        ] {
            assert_ne!(uri(a), uri(b));
        }
    }

    #[test]
    fn an_aor_has_one_spelling() {
        assert_eq!(
            uri("sip:%61lice:pw@Example.COM;x?y=z").aor().as_deref(),
            Some("sip:alice@example.com")
        );
        assert_eq!(
            uri("sip:a%40b@example.com").aor().as_deref(),
            Some("sip:a%40b@example.com")
        );
        assert_eq!(uri("sip:null-%00@example.com").aor(), None);
        assert_eq!(uri("sip:example.com").aor(), None);
    }

    #[test]
    fn a_built_uri_escapes_its_user() {
        assert_eq!(
            Uri::sip(Some("a b@c"), "::1", Some(5060)),
            "sip:a%20b%40c@[::1]:5060"
        );
    }
}
