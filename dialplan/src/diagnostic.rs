//! What is wrong with a plan, where, and how to mend it.

use std::fmt;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity};
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use crate::source::{SourceRef, SourceText, Span};

/// How grave it is: a plan with an error is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth mending.
    Warn,
    /// The plan is refused.
    Error,
}

/// One finding. Codes are stable: `L…` for the language, `P…` for the checks.
#[derive(Clone)]
pub struct Diagnostic {
    /// `P001`, `L003`.
    pub code: &'static str,
    /// How grave it is.
    pub level: Level,
    /// One sentence.
    pub message: String,
    /// Byte offsets in the text.
    pub span: Span,
    /// A few words at the caret.
    pub label: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The file it is about.
    pub text: SourceText,
}

impl Diagnostic {
    pub(crate) fn new(
        code: &'static str,
        level: Level,
        text: &SourceText,
        span: Span,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            level,
            message: message.into(),
            span: clamp(text, span),
            label: String::new(),
            hint: None,
            text: text.clone(),
        }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn hint_opt(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// Whether it keeps the plan from being served.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.level == Level::Error
    }

    /// File and line.
    #[must_use]
    pub fn source(&self) -> SourceRef {
        self.text.at(self.span)
    }
}

/// Keeps a span inside its text and on character borders, whatever the parser reported.
fn clamp(text: &SourceText, (start, end): Span) -> Span {
    let body = &text.text;
    let mut start = start.min(body.len());
    while !body.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = end.clamp(start, body.len());
    while !body.is_char_boundary(end) {
        end += 1;
    }
    (start, end)
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Warn => "warning",
            Level::Error => "error",
        };
        write!(
            f,
            "{}: {level}[{}]: {}",
            self.source(),
            self.code,
            self.message
        )
    }
}

impl fmt::Debug for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Diagnostic", 9)?;
        out.serialize_field("code", self.code)?;
        out.serialize_field("level", &self.level)?;
        out.serialize_field("message", &self.message)?;
        out.serialize_field("file", &*self.text.name)?;
        out.serialize_field("line", &self.text.line(self.span.0))?;
        out.serialize_field("column", &self.text.column(self.span.0))?;
        out.serialize_field("span", &self.span)?;
        out.serialize_field("label", &self.label)?;
        out.serialize_field("hint", &self.hint)?;
        out.end()
    }
}

/// The same finding in the shape miette draws.
#[derive(Debug)]
struct Drawn<'a> {
    diagnostic: &'a Diagnostic,
    source: NamedSource<String>,
}

impl fmt::Display for Drawn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Drawn<'_> {}

impl miette::Diagnostic for Drawn<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.diagnostic.code))
    }

    fn severity(&self) -> Option<Severity> {
        Some(match self.diagnostic.level {
            Level::Warn => Severity::Warning,
            Level::Error => Severity::Error,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let hint = self.diagnostic.hint.as_ref()?;
        Some(Box::new(hint))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (start, end) = self.diagnostic.span;
        let label = match self.diagnostic.label.as_str() {
            "" => None,
            label => Some(label.to_owned()),
        };
        Some(Box::new(std::iter::once(LabeledSpan::new(
            label,
            start,
            end - start,
        ))))
    }
}

/// Draws the findings for a person: file, line, caret, label, hint. Without `colour` the text holds
/// no escape sequence.
#[must_use]
pub fn render(diagnostics: &[Diagnostic], colour: bool) -> String {
    let theme = if colour {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let drawing = GraphicalReportHandler::new_themed(theme)
        .with_links(false)
        .with_width(100);
    let mut out = String::new();
    for diagnostic in diagnostics {
        let name = &*diagnostic.text.name;
        let source = NamedSource::new(name, excerpt_safe(diagnostic));
        let drawn = Drawn { diagnostic, source };
        if drawing.render_report(&mut out, &drawn).is_err() {
            out.push_str(&diagnostic.to_string());
        }
        out.push('\n');
    }
    out
}

/// Control characters other than tab and line ends must not reach a terminal.
fn excerpt_safe(diagnostic: &Diagnostic) -> String {
    let body = &diagnostic.text.text;
    let risky = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if body.chars().any(risky) {
        // One byte for one byte, so that spans stay true.
        body.chars()
            .flat_map(|c| {
                let width = if risky(c) { c.len_utf8() } else { 1 };
                std::iter::repeat_n(if risky(c) { '?' } else { c }, width)
            })
            .collect()
    } else {
        body.to_string()
    }
}

/// The nearest of the known names, if it is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let limit = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| format!("did you mean \"{name}\"?"))
}

#[cfg(test)]
mod tests {
    use super::{Diagnostic, Level, nearest, render};
    use crate::source::SourceText;

    #[test]
    fn spans_outside_the_text_or_inside_a_character_are_moved_in() {
        let text = SourceText::new("plan.kdl", "é");
        let diagnostic = Diagnostic::new("L001", Level::Error, &text, (1, 900), "broken");
        assert_eq!(diagnostic.span, (0, 2));
        assert!(!render(&[diagnostic], false).contains('\u{1b}'));
    }

    #[test]
    fn control_characters_of_the_file_do_not_reach_the_terminal() {
        let text = SourceText::new("plan.kdl", "a \u{1b}[31m b");
        let diagnostic = Diagnostic::new("L001", Level::Error, &text, (0, 1), "broken");
        assert!(!render(&[diagnostic], false).contains('\u{1b}'));
    }

    #[test]
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        let known = ["lobby", "garage"];
        assert_eq!(
            nearest("loby", known).as_deref(),
            Some("did you mean \"lobby\"?")
        );
        assert_eq!(nearest("attic", known), None);
    }
}
