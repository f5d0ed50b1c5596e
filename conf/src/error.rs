//! What is wrong with a file, where, and what to do about it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One fault, with its place.
///
/// Printed as
/// ```text
/// error: unknown key `addres` in `listen`
///   --> conf/doorward.toml:7:1
///    |
///  7 | addres = "0.0.0.0:5060"
///    | ^^^^^^ did you mean `address`?
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The file as it was named to us.
    pub file: PathBuf,
    /// Line, from 1; 0 when the fault has no place in the file.
    pub line: usize,
    /// Column in characters, from 1; 0 when the fault has no place in the file.
    pub column: usize,
    /// The key concerned, dotted from the top: `door.lobby.url`; empty when no key is to blame.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
    /// The line itself, and how many characters the caret underlines.
    snippet: Option<(String, usize)>,
}

impl Error {
    /// A fault of a whole file.
    pub(crate) fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            key: String::new(),
            message: message.into(),
            hint: None,
            snippet: None,
        }
    }

    /// With the next step.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        let Some((line, width)) = &self.snippet else {
            write!(f, "\n  --> {}", self.file.display())?;
            return self
                .hint
                .iter()
                .try_for_each(|hint| write!(f, "\n  = {hint}"));
        };
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let indent: String = line
            .chars()
            .take(self.column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let carets = "^".repeat(*width);
        write!(
            f,
            "\n {gutter}--> {}:{}:{}",
            self.file.display(),
            self.line,
            self.column
        )?;
        write!(
            f,
            "\n {gutter} |\n {number} | {line}\n {gutter} | {indent}{carets}"
        )?;
        self.hint.iter().try_for_each(|hint| write!(f, " {hint}"))
    }
}

/// Everything found wrong in one pass; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(pub Vec<Error>);

impl std::error::Error for Errors {}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("\n\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl From<Error> for Errors {
    fn from(error: Error) -> Self {
        Self(vec![error])
    }
}

/// A file's text, to name places in.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) file: PathBuf,
    pub(crate) text: Arc<str>,
}

impl Source {
    pub(crate) fn new(file: &Path, text: &str) -> Self {
        Self {
            file: file.to_owned(),
            text: text.into(),
        }
    }

    /// A fault at `span` (bytes of the text; clamped to it). What it underlines ends with the line.
    pub(crate) fn error(
        &self,
        span: &Range<usize>,
        key: impl Into<String>,
        message: impl Into<String>,
    ) -> Error {
        let start = floor(&self.text, span.start);
        let end = floor(&self.text, span.end).max(start);
        let before = self.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = self
            .text
            .get(line_start..)
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default();
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        let marked = self
            .text
            .get(start..end)
            .unwrap_or_default()
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .count();
        let line = without_secret(line);
        let room = line.chars().count().saturating_sub(column - 1);
        Error {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column,
            key: key.into(),
            message: message.into(),
            hint: None,
            snippet: Some((line, marked.min(room).max(1))),
        }
    }
}

/// A line that may set a password (rightly spelt or not) is shown without it.
fn without_secret(line: &str) -> String {
    match line.split_once('=') {
        Some((key, _))
            if ["pas", "secret"]
                .iter()
                .any(|word| key.to_lowercase().contains(word)) =>
        {
            format!("{key}= ***")
        }
        _ => line.to_owned(),
    }
}

/// A value with its place in the file, for faults found later: a certificate that does not load.
#[derive(Clone, Debug)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    source: Source,
    span: Range<usize>,
    key: String,
}

impl<T> Located<T> {
    pub(crate) fn new(value: T, source: &Source, span: Range<usize>, key: &str) -> Self {
        Self {
            value,
            source: source.clone(),
            span,
            key: key.to_owned(),
        }
    }

    /// What is wrong with it, in its place.
    #[must_use]
    pub fn fault(&self, message: impl fmt::Display, hint: impl Into<String>) -> Error {
        let message = format!("`{}`: {message}", self.key);
        self.source
            .error(&self.span, self.key.as_str(), message)
            .hint(hint)
    }
}

/// The place does not count.
impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Located<T> {}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_span() {
        let source = Source::new(Path::new("a.toml"), "x = 1\n\ty = \"čtyři\" # four\n");
        let error = source
            .error(&(11..20), "y", "`y` must be a number")
            .hint("write `y = 4`");
        assert_eq!((error.line, error.column), (2, 6));
        assert_eq!(
            error.to_string(),
            "error: `y` must be a number\n  --> a.toml:2:6\n   |\n 2 | \ty = \"čtyři\" # four\n   | \t    ^^^^^^^ write `y = 4`"
        );
    }

    #[test]
    fn a_password_is_not_shown_even_under_a_mistyped_key() {
        let source = Source::new(Path::new("a.toml"), "pasword = \"swordfish\"\n");
        let shown = source.error(&(0..7), "", "unknown key").to_string();
        assert!(
            shown.contains("pasword = ***") && !shown.contains("swordfish"),
            "{shown}"
        );
        let shown = source.error(&(10..21), "", "too short").to_string();
        assert!(!shown.contains("swordfish"), "{shown}");
    }

    #[test]
    fn a_span_outside_the_text_or_inside_a_character_is_clamped() {
        let source = Source::new(Path::new("a.toml"), "é");
        assert_eq!(source.error(&(1..900), "", "m").column, 1);
        assert_eq!(source.error(&(900..901), "", "m").column, 2);
        assert_eq!(
            Source::new(Path::new("e"), "").error(&(0..0), "", "m").line,
            1
        );
    }
}
