//! Where a thing stands in its file: every decision the plan makes can name its line.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

/// A half-open range of byte offsets in a source text.
pub type Span = (usize, usize);

/// The place of a construct in a file, printed as `plan.kdl:12`.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct SourceRef {
    /// The file's name as it was given to [`load()`](crate::load()), or a holiday file's name.
    pub file: Arc<str>,
    /// Line number, counted from 1.
    pub line: u32,
    /// Start and end byte offset.
    pub span: Span,
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Debug for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One source text with its line starts.
#[derive(Debug, Clone)]
pub struct SourceText {
    /// The file's name.
    pub name: Arc<str>,
    /// The whole text.
    pub text: Arc<str>,
    line_starts: Arc<[usize]>,
}

impl SourceText {
    /// Indexes the lines of `text`.
    #[must_use]
    pub fn new(name: &str, text: &str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            name: name.into(),
            text: text.into(),
            line_starts: starts,
        }
    }

    /// Line number of a byte offset, counted from 1.
    #[must_use]
    pub fn line(&self, offset: usize) -> u32 {
        let before = self.line_starts.partition_point(|start| *start <= offset);
        u32::try_from(before).unwrap_or(u32::MAX).max(1)
    }

    /// Column of a byte offset in characters, counted from 1.
    #[must_use]
    pub fn column(&self, offset: usize) -> u32 {
        let line = self.line(offset) as usize;
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("");
        u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX)
    }

    /// The place of a span in this text.
    #[must_use]
    pub fn at(&self, span: Span) -> SourceRef {
        SourceRef {
            file: Arc::clone(&self.name),
            line: self.line(span.0),
            span,
        }
    }

    /// The span of the first line, trimmed of its line end, that begins at or holds `offset`.
    #[must_use]
    pub fn line_range(&self, offset: usize) -> Range<usize> {
        let line = self.line(offset) as usize;
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let rest = self.text.get(start..).unwrap_or("");
        let end = rest
            .find(['\n', '\r'])
            .map_or(self.text.len(), |n| start + n);
        start..end
    }
}

#[cfg(test)]
mod tests {
    use super::SourceText;

    #[test]
    fn lines_and_columns_count_from_one_and_columns_count_characters() {
        let text = SourceText::new("plan.kdl", "a\nčb\n\nd");
        assert_eq!((text.line(0), text.column(0)), (1, 1));
        assert_eq!((text.line(4), text.column(4)), (2, 2));
        assert_eq!(text.line(6), 3);
        assert_eq!(text.at((7, 8)).to_string(), "plan.kdl:4");
        assert_eq!(text.line(999), 4);
    }
}
