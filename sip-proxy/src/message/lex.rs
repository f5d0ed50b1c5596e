//! The characters of RFC 3261 §25.1 and the two searches every list header needs: outside quotes, outside `<>`.

/// Linear white space as it stands in an unfolded value: a fold (CRLF + SP) is white space like any other.
pub(crate) fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The octets of `token`, as a table: every header name goes through it.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let octet = byte as u8;
        table[byte] = octet.is_ascii_alphanumeric()
            || matches!(
                octet,
                b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~'
            );
        byte += 1;
    }
    table
};

/// `token` of §25.1.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

/// A whole, non-empty token.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Without the linear white space at both ends.
pub(crate) fn trim(text: &str) -> &str {
    let lws = |byte: &u8| is_lws(*byte);
    let bytes = text.as_bytes();
    // Almost nothing has white space at its ends.
    if !bytes.first().is_some_and(lws) && !bytes.last().is_some_and(lws) {
        return text;
    }
    let start = bytes.iter().take_while(|byte| lws(byte)).count();
    let end = bytes.len() - bytes.iter().rev().take_while(|byte| lws(byte)).count();
    text.get(start..end).unwrap_or("")
}

/// The offset of the first `wanted` that stands outside quoted strings and outside `<>`.
/// A quote or bracket that is never closed hides the rest.
pub(crate) fn find_outside(text: &str, wanted: u8) -> Option<usize> {
    // Most values have neither before what is looked for.
    let first = memchr::memchr3(wanted, b'"', b'<', text.as_bytes())?;
    if text.as_bytes().get(first) == Some(&wanted) {
        return Some(first);
    }
    let mut quoted = false;
    let mut bracketed = false;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(first) {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
        } else if byte == wanted && !bracketed {
            return Some(at);
        } else {
            match byte {
                b'"' if !bracketed => quoted = true,
                b'<' => bracketed = true,
                b'>' => bracketed = false,
                _ => {}
            }
        }
    }
    None
}

/// Splits at `separator` outside quotes and `<>`; pieces come trimmed, empty ones included.
#[derive(Debug, Clone)]
pub(crate) struct Split<'a> {
    rest: Option<&'a str>,
    separator: u8,
}

/// See [`Split`].
pub(crate) fn split(text: &str, separator: u8) -> Split<'_> {
    Split {
        rest: Some(text),
        separator,
    }
}

impl<'a> Iterator for Split<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        match find_outside(rest, self.separator) {
            Some(at) => {
                self.rest = rest.get(at + 1..);
                rest.get(..at).map(trim)
            }
            None => {
                self.rest = None;
                Some(trim(rest))
            }
        }
    }
}

/// The octets of a quoted string that starts at the first character: (inside, after the closing quote).
pub(crate) fn quoted(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some((inner.get(..at)?, inner.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

/// Decimal digits only, no sign; `None` when there is another character, nothing, or more than a `u64` holds.
pub(crate) fn number(text: &str) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.bytes().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_quotes_or_brackets_does_not_split() {
        let parts: Vec<_> = split(r#""Bell, \" A" <sip:a,b@c>;x, <sip:d>"#, b',').collect();
        assert_eq!(parts, [r#""Bell, \" A" <sip:a,b@c>;x"#, "<sip:d>"]);
    }

    #[test]
    fn a_number_never_wraps() {
        assert_eq!(number("36893488147419103232"), None);
        assert_eq!(number("0009"), Some(9));
        assert_eq!(number("-1"), None);
        assert_eq!(number(""), None);
    }
}
