//! Header field parameters: `;name`, `;name=token`, `;name="quoted"` (RFC 3261 §25.1 `generic-param`).

use crate::message::lex;

/// The parameters of one header field value, read where they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Params<'a>(&'a str);

impl<'a> Params<'a> {
    /// Checks `;a;b=c` (or an empty string). A stray separator is refused: RFC 4475 §3.1.2.1.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &'a str) -> Result<Self, &'static str> {
        let text = lex::trim(text);
        if text.is_empty() {
            return Ok(Self(""));
        }
        let inner = text.strip_prefix(';').ok_or("text after the address")?;
        for part in lex::split(inner, b';') {
            let (name, value) = halves(part);
            if !lex::is_token(name) {
                return Err("empty or malformed parameter");
            }
            match value {
                Some(value) if value.starts_with('"') => match lex::quoted(value) {
                    Some((_, "")) => {}
                    _ => return Err("unbalanced quote"),
                },
                Some(value)
                    if value
                        .bytes()
                        .any(|byte| lex::is_lws(byte) || byte == b'"' || byte == b',') =>
                {
                    return Err("malformed parameter value");
                }
                _ => {}
            }
        }
        Ok(Self(inner))
    }

    /// The parameters in order: name as written, value without its quotes (escapes still inside).
    pub fn iter(self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
        lex::split(self.0, b';')
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (name, value) = halves(part);
                (
                    name,
                    value.map(|value| lex::quoted(value).map_or(value, |(inner, _)| inner)),
                )
            })
    }

    /// The first parameter of that name: `Some(None)` when it stands without a value.
    #[must_use]
    pub fn find(self, name: &str) -> Option<Option<&'a str>> {
        self.iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The value of the first parameter of that name.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.find(name).flatten()
    }

    /// True when the parameter stands there, with or without a value.
    #[must_use]
    pub fn contains(self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The text after the first `;`, as written.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

fn halves(part: &str) -> (&str, Option<&str>) {
    match lex::find_outside(part, b'=') {
        Some(at) => (
            lex::trim(part.get(..at).unwrap_or("")),
            part.get(at + 1..).map(lex::trim),
        ),
        None => (part, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_without_quotes_and_spaces() {
        let params = Params::parse(r#" ; Tag = abc ;lr;x="a;b\"c""#).unwrap();
        assert_eq!(params.get("tag"), Some("abc"));
        assert_eq!(params.find("LR"), Some(None));
        assert_eq!(params.get("x"), Some(r#"a;b\"c"#));
        assert!(!params.contains("y"));
    }

    #[test]
    fn stray_separators_are_refused() {
        for text in [";;", ";a;", ";=b", "a", r#";a="b"#, ";a=b c"] {
            assert!(Params::parse(text).is_err(), "{text}");
        }
    }
}
