//! `name-addr` / `addr-spec` with parameters: From, To, Contact, Route and their kin (RFC 3261 §20.10, §25.1).

use std::borrow::Cow;
use std::fmt;

use crate::message::lex;
use crate::message::params::Params;

/// One address: display name, URI and header parameters, read where they stand.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct NameAddr<'a> {
    /// The display name without quotes and escapes.
    pub display: Option<Cow<'a, str>>,
    /// The URI as written, without `<>`.
    pub uri: &'a str,
    /// The header parameters (those of the URI are in the URI).
    pub params: Params<'a>,
}

/// Names and numbers stay out of the log.
impl fmt::Debug for NameAddr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameAddr(***, {:?})", self.params)
    }
}

impl<'a> NameAddr<'a> {
    /// Reads one value of a header (already split at commas).
    ///
    /// # Errors
    /// What is wrong, in words: unbalanced quotes or brackets, a list where one address stands, stray separators,
    /// an address without `<>` that has a `?` or `,` (RFC 3261 §20.10), white space inside the URI.
    pub fn parse(value: &'a str) -> Result<Self, &'static str> {
        let value = lex::trim(value);
        if value.starts_with('"') {
            let (inner, rest) = lex::quoted(value).ok_or("unbalanced quote")?;
            let rest = lex::trim(rest)
                .strip_prefix('<')
                .ok_or("no address after the display name")?;
            return Self::bracketed(Some(unescape(inner)), rest);
        }
        let Some((display, rest)) = value.split_once('<') else {
            return Self::bare(value);
        };
        let display = lex::trim(display);
        // Unquoted names must be tokens (§25.1); phones also send dots, brackets and UTF-8 bare. What could hide a
        // second address or parameter stays refused (RFC 4475 §3.1.2.15).
        if display
            .bytes()
            .any(|byte| matches!(byte, b'"' | b',' | b';' | b'>' | b':'))
        {
            return Err("display name needs quotes");
        }
        let display = (!display.is_empty()).then_some(Cow::Borrowed(display));
        Self::bracketed(display, rest)
    }

    fn bracketed(display: Option<Cow<'a, str>>, rest: &'a str) -> Result<Self, &'static str> {
        let (uri, rest) = rest.split_once('>').ok_or("unbalanced bracket")?;
        check_uri(uri)?;
        Ok(Self {
            display,
            uri,
            params: Params::parse(rest)?,
        })
    }

    fn bare(value: &'a str) -> Result<Self, &'static str> {
        let at = value.find(';').unwrap_or(value.len());
        let (uri, rest) = value.split_at_checked(at).ok_or("malformed address")?;
        let uri = lex::trim(uri);
        check_uri(uri)?;
        if uri.bytes().any(|byte| matches!(byte, b'?' | b',')) {
            return Err("address needs <>");
        }
        Ok(Self {
            display: None,
            uri,
            params: Params::parse(rest)?,
        })
    }

    /// The tag (RFC 3261 §19.3).
    #[must_use]
    pub fn tag(&self) -> Option<&'a str> {
        self.params.get("tag")
    }

    /// A header parameter's value.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.get(name)
    }
}

/// The least a URI of any scheme must be: `scheme:something`, no white space, no bracket or quote.
fn check_uri(uri: &str) -> Result<(), &'static str> {
    let (scheme, rest) = uri.split_once(':').ok_or("no URI scheme")?;
    let well_formed = scheme
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    if !well_formed || rest.is_empty() {
        return Err("malformed URI");
    }
    if rest
        .bytes()
        .any(|byte| byte <= b' ' || matches!(byte, b'<' | b'>' | b'"' | 0x7f))
    {
        return Err("white space or delimiter inside a URI");
    }
    Ok(())
}

/// Takes the backslashes out of a quoted string's inside, and folds out of it.
fn unescape(inner: &str) -> Cow<'_, str> {
    if !inner
        .bytes()
        .any(|byte| matches!(byte, b'\\' | b'\r' | b'\n'))
    {
        return Cow::Borrowed(inner);
    }
    let mut out = String::with_capacity(inner.len());
    let mut escaped = false;
    for c in inner.chars() {
        match c {
            '\\' if !escaped => escaped = true,
            '\r' | '\n' => escaped = false,
            _ => {
                escaped = false;
                out.push(c);
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_name_is_unescaped() {
        let address = NameAddr::parse(r#""J \\\"R" <sip:j@example.com;lr>;tag=1"#).unwrap();
        assert_eq!(address.display.as_deref(), Some(r#"J \"R"#));
        assert_eq!(address.uri, "sip:j@example.com;lr");
        assert_eq!(address.tag(), Some("1"));
    }

    #[test]
    fn without_brackets_parameters_belong_to_the_header() {
        let address = NameAddr::parse("sip:j@example.com;tag=1").unwrap();
        assert_eq!(
            (address.uri, address.tag()),
            ("sip:j@example.com", Some("1"))
        );
    }

    #[test]
    fn any_scheme_is_carried() {
        assert_eq!(
            NameAddr::parse("<isbn:2983792873>;tag=1").unwrap().uri,
            "isbn:2983792873"
        );
    }

    #[test]
    fn what_could_hide_a_second_address_is_refused() {
        for value in [
            r#""Mr. J <sip:j@example.com>"#,
            "Bell, Alexander <sip:a@example.com>",
            "<sip:a@example.com",
            "<sip:a@example.com> <sip:b@example.com>",
            "sip:a@example.com?Route=%3Csip:b%3E",
            "sip:a@example.com, sip:b@example.com",
            "< sip:a@example.com >",
            "<>",
            "",
            "a",
        ] {
            assert!(NameAddr::parse(value).is_err(), "{value}");
        }
    }

    #[test]
    fn an_odd_unquoted_name_from_a_phone_is_read() {
        assert_eq!(
            NameAddr::parse("Tür (Süd) <sip:door@x>")
                .unwrap()
                .display
                .as_deref(),
            Some("Tür (Süd)")
        );
    }
}
