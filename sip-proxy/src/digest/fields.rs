//! The `name=value` list of a challenge or of credentials (RFC 7616 §3.3, §3.4), and lists of challenges (RFC 9110 §11.6.1).

use smallvec::SmallVec;

use crate::message::{split_commas, unquote};

/// One `Digest` challenge or credentials value, read where it stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields<'a>(SmallVec<[(&'a str, &'a str); 12]>);

impl<'a> Fields<'a> {
    /// Reads a header field value that holds exactly one `Digest` value.
    pub(super) fn one(value: &'a str) -> Option<Self> {
        Self::all(value).into_iter().next()
    }

    /// Reads every `Digest` value; other schemes are left out (RFC 4475 §3.3.7).
    pub(super) fn all(value: &'a str) -> SmallVec<[Self; 1]> {
        let mut found = SmallVec::new();
        let mut current: Option<Self> = None;
        for part in split_commas(value).filter(|part| !part.is_empty()) {
            let (scheme, pair) = scheme_of(part);
            if let Some(scheme) = scheme {
                found.extend(current.take());
                current = scheme.eq_ignore_ascii_case("Digest").then(Self::default);
            }
            if let (Some(fields), Some((name, value))) = (current.as_mut(), pair.split_once('=')) {
                fields.0.push((name.trim(), unquote(value.trim())));
            }
        }
        found.extend(current);
        found
    }

    /// A field's value without its quotes, escapes still inside. A field given twice is as good as missing: two
    /// readers could take different ones.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        let mut matching = self
            .0
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name));
        let (_, value) = matching.next()?;
        matching.next().is_none().then_some(*value)
    }
}

/// `Digest realm="x"` -> (`Digest`, `realm="x"`); a later `nonce="y"` has no scheme before it.
fn scheme_of(part: &str) -> (Option<&str>, &str) {
    let word = part
        .find([' ', '\t', '\r', '\n', '=', '"'])
        .unwrap_or(part.len());
    let (first, rest) = part.split_at_checked(word).unwrap_or((part, ""));
    let rest_trimmed = rest.trim_start();
    if rest_trimmed.starts_with('=') {
        (None, part)
    } else {
        (Some(first), rest_trimmed)
    }
}

/// Takes the backslashes out of a quoted value.
pub(super) fn unescape(value: &str) -> String {
    if !value.contains('\\') {
        return value.to_owned();
    }
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

/// Puts a value into quotes. Control characters cannot be carried and become spaces.
pub(super) fn quote(value: &str, out: &mut String) {
    out.push('"');
    if !value
        .bytes()
        .any(|byte| matches!(byte, b'"' | b'\\') || !(b' '..0x7f).contains(&byte))
    {
        out.push_str(value);
        out.push('"');
        return;
    }
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_challenges_in_one_line_come_apart() {
        let all = Fields::all(
            r#"Basic realm="a", Digest realm="b, c", nonce="1", Digest realm = "d" , algorithm=MD5"#,
        );
        assert_eq!(
            all.iter().map(|f| f.get("realm")).collect::<Vec<_>>(),
            [Some("b, c"), Some("d")]
        );
        assert_eq!(all[1].get("Algorithm"), Some("MD5"));
    }

    #[test]
    fn another_scheme_is_not_read() {
        assert!(Fields::one(r#"NoOneKnowsThisScheme opaque-data=here"#).is_none());
        assert!(Fields::one("").is_none());
    }

    #[test]
    fn a_field_given_twice_counts_as_missing() {
        assert_eq!(
            Fields::one("Digest username=a, username=b")
                .unwrap()
                .get("username"),
            None
        );
    }
}
