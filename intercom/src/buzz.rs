//! `Action: buzz`: the header that asks a door to open, and the answers to it (docs/action-buzz.md).
//!
//! It is honoured only in a request that is authenticated by itself, and it is never passed on: whatever is bridged or
//! proxied loses every header whose name begins with `Action`.

use std::fmt;

/// Header that carries the verb.
pub const ACTION: &str = "Action";
/// Header of the answer: what became of it.
pub const ACTION_RESULT: &str = "Action-Result";

/// A parsed `Action: buzz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buzz {
    /// `;output=main`; absent means the door's first output.
    pub output: Option<String>,
}

/// Why an `Action` header is not a buzz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuzzError {
    /// Another verb than `buzz`.
    UnknownAction,
    /// More than one `Action` header, or a parameter that does not parse: never guessed at.
    Malformed,
}

/// Longest output name that is looked at; longer ones are malformed.
const OUTPUT_NAME_BYTES: usize = 64;

impl Buzz {
    /// Reads the values of a request's `Action` header fields. `None`: the request has none.
    ///
    /// # Errors
    /// [`BuzzError`] when there is one but it does not ask for exactly one known thing.
    pub fn parse<'a>(mut fields: impl Iterator<Item = &'a str>) -> Option<Result<Self, BuzzError>> {
        let value = fields.next()?;
        if fields.next().is_some() {
            return Some(Err(BuzzError::Malformed));
        }
        Some(Self::parse_value(value))
    }

    fn parse_value(value: &str) -> Result<Self, BuzzError> {
        let mut parts = value.split(';').map(str::trim);
        match parts.next() {
            Some(verb) if verb.eq_ignore_ascii_case("buzz") => {}
            Some(verb) if verb.contains(',') => return Err(BuzzError::Malformed),
            _ => return Err(BuzzError::UnknownAction),
        }
        let mut output = None;
        for parameter in parts {
            let (name, value) = parameter.split_once('=').ok_or(BuzzError::Malformed)?;
            if !name.trim().eq_ignore_ascii_case("output") || output.is_some() {
                return Err(BuzzError::Malformed);
            }
            let value = value.trim();
            let value = value
                .strip_prefix('"')
                .and_then(|v| v.strip_suffix('"'))
                .unwrap_or(value);
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if value.is_empty() || value.len() > OUTPUT_NAME_BYTES || !value.chars().all(plain) {
                return Err(BuzzError::Malformed);
            }
            output = Some(value.to_owned());
        }
        Ok(Self { output })
    }
}

/// What became of a request to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BuzzResult {
    /// The relay acknowledged.
    Opened,
    /// The station was told; it does not acknowledge.
    Sent,
    /// The output is within its pulse: not driven again.
    AlreadyOpen,
    /// No right, or no such door: the same answer, so that nobody without the right learns what exists.
    Denied,
    /// The right is there, the output is not.
    NoOutput,
    /// The station cannot be reached.
    Unreachable,
    /// The intent could not be written to the log: nothing was driven.
    NotRecorded,
    /// The station refused, or answered something else than success.
    Refused,
    /// Every driver of the chain timed out.
    TimedOut,
}

impl BuzzResult {
    /// The SIP status of the answer.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Opened | Self::Sent | Self::AlreadyOpen => 200,
            Self::Denied => 403,
            Self::NoOutput => 404,
            Self::Unreachable => 480,
            Self::NotRecorded => 500,
            Self::Refused => 502,
            Self::TimedOut => 504,
        }
    }

    /// The relay moved, or is taken to have moved.
    #[must_use]
    pub fn is_success(self) -> bool {
        self.status() == 200
    }

    /// The token used in `Action-Result`, the log and the call story.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Sent => "sent",
            Self::AlreadyOpen => "already-open",
            Self::Denied => "denied",
            Self::NoOutput => "no-output",
            Self::Unreachable => "unreachable",
            Self::NotRecorded => "not-recorded",
            Self::Refused => "refused",
            Self::TimedOut => "timed-out",
        }
    }
}

impl fmt::Display for BuzzResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Is this a header name that must not cross from one side to the other?
#[must_use]
pub fn is_action_header(name: &str) -> bool {
    name.get(..ACTION.len())
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case(ACTION))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<Buzz, BuzzError> {
        Buzz::parse([value].into_iter()).unwrap()
    }

    #[test]
    fn value_is_case_insensitive_and_output_optional() {
        assert_eq!(parse(" BuZZ "), Ok(Buzz { output: None }));
        assert_eq!(
            parse("buzz ; Output=\"main\""),
            Ok(Buzz {
                output: Some("main".into())
            })
        );
    }

    #[test]
    fn no_header_is_no_buzz() {
        assert_eq!(Buzz::parse([].into_iter()), None);
    }

    #[test]
    fn anything_doubtful_is_refused() {
        assert_eq!(parse("open"), Err(BuzzError::UnknownAction));
        assert_eq!(parse(""), Err(BuzzError::UnknownAction));
        assert_eq!(parse("buzz, buzz"), Err(BuzzError::Malformed));
        assert_eq!(parse("buzz;output=a;output=b"), Err(BuzzError::Malformed));
        assert_eq!(parse("buzz;output="), Err(BuzzError::Malformed));
        assert_eq!(parse("buzz;door=garage"), Err(BuzzError::Malformed));
        assert_eq!(
            parse(&format!("buzz;output={}", "a".repeat(65))),
            Err(BuzzError::Malformed)
        );
        assert_eq!(
            Buzz::parse(["buzz", "buzz"].into_iter()),
            Some(Err(BuzzError::Malformed))
        );
    }

    #[test]
    fn action_headers_are_known_by_prefix_in_any_case() {
        assert!(is_action_header("action"));
        assert!(is_action_header("Action-Auth"));
        assert!(!is_action_header("Act"));
        assert!(!is_action_header("Contact"));
    }
}
