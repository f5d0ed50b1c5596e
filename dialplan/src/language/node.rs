//! Reading KDL nodes: arguments, properties and children, each fault reported with its span.

use std::collections::BTreeSet;
use std::time::Duration;

use kdl::{KdlEntry, KdlNode, KdlValue};

use crate::diagnostic::{Diagnostic, Level, nearest};
use crate::source::{SourceRef, SourceText, Span};

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// A name as written.
pub(crate) type Name = Spanned<String>;

impl Name {
    /// The parts of a comma list, each with its own span.
    pub(crate) fn list(&self, text: &SourceText) -> Vec<Name> {
        let written = text.text.get(self.span.0..self.span.1).unwrap_or("");
        // A property's span begins with its name.
        let mut from = written.find('"').unwrap_or(0);
        let mut names = Vec::new();
        for part in self.value.split(',') {
            let value = part.trim();
            let found = written.get(from..).and_then(|rest| rest.find(value));
            let span = match found {
                Some(at) if !value.is_empty() => {
                    let start = self.span.0 + from + at;
                    from += at + value.len();
                    (start, start + value.len())
                }
                _ => self.span,
            };
            names.push(Name {
                value: value.to_owned(),
                span,
            });
        }
        names
    }
}

/// A check silenced in place.
#[derive(Debug, Clone)]
pub(crate) struct Allow {
    pub(crate) code: String,
    pub(crate) span: Span,
}

/// Where faults are gathered while reading.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) text: SourceText,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) allows: Vec<Allow>,
}

/// The language's own codes.
pub(crate) mod code {
    /// The text is not KDL.
    pub(crate) const SYNTAX: &str = "L001";
    /// Larger or deeper than a plan may be.
    pub(crate) const LIMIT: &str = "L002";
    /// A word the language does not know.
    pub(crate) const WORD: &str = "L003";
    /// A value of the wrong form.
    pub(crate) const VALUE: &str = "L004";
    /// Something mandatory is missing.
    pub(crate) const MISSING: &str = "L005";
    /// A name given twice.
    pub(crate) const TWICE: &str = "L006";
    /// The language has it, this version does not.
    pub(crate) const UNSUPPORTED: &str = "L007";
}

impl Reader {
    pub(crate) fn new(text: SourceText) -> Self {
        Self {
            text,
            diagnostics: Vec::new(),
            allows: Vec::new(),
        }
    }

    pub(crate) fn at(&self, span: Span) -> SourceRef {
        self.text.at(span)
    }

    pub(crate) fn error(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.push(Diagnostic::new(
            code,
            Level::Error,
            &self.text,
            span,
            message,
        ))
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) -> &mut Diagnostic {
        let last = self.diagnostics.len();
        self.diagnostics.push(diagnostic);
        #[expect(clippy::indexing_slicing, reason = "pushed on the line above")]
        &mut self.diagnostics[last]
    }

    /// Refuses what the language has and this version does not execute.
    pub(crate) fn unsupported(&mut self, span: Span, what: &str) {
        let diagnostic = self.error(
            code::UNSUPPORTED,
            span,
            format!("{what} is not supported by this version"),
        );
        diagnostic.label = "refused rather than ignored".to_owned();
    }

    pub(crate) fn unknown_word<'a>(
        &mut self,
        span: Span,
        what: &str,
        word: &str,
        known: impl IntoIterator<Item = &'a str> + Clone,
    ) {
        let all = known.clone().into_iter().collect::<Vec<_>>().join(", ");
        let hint = nearest(word, known).unwrap_or_else(|| format!("known here: {all}"));
        let diagnostic = self.error(code::WORD, span, format!("unknown {what} \"{word}\""));
        diagnostic.label = format!("no such {what}");
        diagnostic.hint = Some(hint);
    }

    /// A duration such as `20s`, `300ms`, `10m`, `72h`.
    pub(crate) fn duration(&mut self, name: &Name) -> Option<Duration> {
        let parsed = parse_duration(&name.value);
        if parsed.is_none() {
            let message = format!("\"{}\" is not a duration", name.value);
            let diagnostic = self.error(code::VALUE, name.span, message);
            diagnostic.label = "a whole number with ms, s, m or h, at most 31 days".to_owned();
            diagnostic.hint = Some("for example \"20s\" or \"10m\"".to_owned());
        }
        parsed
    }

    /// One of a closed set of words.
    pub(crate) fn choice<T: Clone>(
        &mut self,
        name: &Name,
        what: &str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let found = choices.iter().find(|(word, _)| *word == name.value);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.unknown_word(name.span, what, &name.value, words);
        }
        found.map(|(_, choice)| choice.clone())
    }
}

fn parse_duration(written: &str) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(31 * 86_400);
    let digits = written.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = written.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => number,
        "s" => number.checked_mul(1_000)?,
        "m" => number.checked_mul(60_000)?,
        "h" => number.checked_mul(3_600_000)?,
        _ => return None,
    };
    Some(Duration::from_millis(milliseconds)).filter(|duration| *duration <= LONGEST)
}

/// One node being read: what is not taken when [`Fields::finish`] is called is a fault.
pub(crate) struct Fields<'k> {
    pub(crate) node: &'k KdlNode,
    pub(crate) span: Span,
    arguments: std::vec::IntoIter<&'k KdlEntry>,
    known: BTreeSet<&'static str>,
}

impl<'k> Fields<'k> {
    pub(crate) fn new(node: &'k KdlNode, reader: &mut Reader) -> Self {
        let name = node.name().span();
        let span = (name.offset(), name.offset() + name.len());
        let mut seen = BTreeSet::new();
        for entry in node.entries() {
            if let Some(name) = entry.name().filter(|name| !seen.insert(name.value())) {
                let message = format!("\"{}\" is given twice", name.value());
                reader.error(code::TWICE, span_of(entry), message);
            }
        }
        let arguments: Vec<_> = node
            .entries()
            .iter()
            .filter(|entry| entry.name().is_none())
            .collect();
        Self {
            node,
            span,
            arguments: arguments.into_iter(),
            known: BTreeSet::new(),
        }
    }

    pub(crate) fn word(&self) -> &'k str {
        self.node.name().value()
    }

    /// The next argument, if there is one.
    pub(crate) fn arg(&mut self, reader: &mut Reader) -> Option<Name> {
        let entry = self.arguments.next()?;
        text_of(entry, reader)
    }

    /// The next argument, which must be there.
    pub(crate) fn must_arg(&mut self, reader: &mut Reader, what: &str) -> Option<Name> {
        if let Some(entry) = self.arguments.next() {
            return text_of(entry, reader);
        }
        let message = format!("\"{}\" needs {what}", self.word());
        reader.error(code::MISSING, self.span, message).label = format!("{what} is missing");
        None
    }

    fn entry(&mut self, name: &'static str) -> Option<&'k KdlEntry> {
        self.known.insert(name);
        self.node
            .entries()
            .iter()
            .find(|entry| entry.name().is_some_and(|key| key.value() == name))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        let mut names = self.node.entries().iter().filter_map(KdlEntry::name);
        names.any(|key| key.value() == name)
    }

    /// A property as text; whole numbers are taken as they are written in decimal.
    pub(crate) fn prop(&mut self, reader: &mut Reader, name: &'static str) -> Option<Name> {
        let entry = self.entry(name)?;
        text_of(entry, reader)
    }

    pub(crate) fn must_prop(&mut self, reader: &mut Reader, name: &'static str) -> Option<Name> {
        if !self.has(name) {
            self.known.insert(name);
            let message = format!("\"{}\" needs {name}=", self.word());
            reader.error(code::MISSING, self.span, message).label = format!("{name}= is missing");
            return None;
        }
        self.prop(reader, name)
    }

    pub(crate) fn duration(&mut self, reader: &mut Reader, name: &'static str) -> Option<Duration> {
        let written = self.prop(reader, name)?;
        reader.duration(&written)
    }

    pub(crate) fn flag(&mut self, reader: &mut Reader, name: &'static str) -> bool {
        let Some(entry) = self.entry(name) else {
            return false;
        };
        entry.value().as_bool().unwrap_or_else(|| {
            let message = format!("{name}= is either #true or #false");
            reader.error(code::VALUE, span_of(entry), message).label =
                "not a truth value".to_owned();
            false
        })
    }

    /// A property the language has and this version does not execute.
    pub(crate) fn unsupported(&mut self, reader: &mut Reader, names: &[&'static str]) {
        for name in names {
            if let Some(entry) = self.entry(name) {
                reader.unsupported(span_of(entry), &format!("{name}= on \"{}\"", self.word()));
            }
        }
    }

    /// The children without `allow`, which is taken here.
    pub(crate) fn children(&self, reader: &mut Reader) -> Vec<&'k KdlNode> {
        let Some(document) = self.node.children() else {
            return Vec::new();
        };
        let mut children = Vec::new();
        for node in document.nodes() {
            if node.name().value() == "allow" {
                allow(node, whole(self.node), reader);
            } else {
                children.push(node);
            }
        }
        children
    }

    /// Reports what was not taken; `children` tells whether child nodes were.
    pub(crate) fn finish(mut self, reader: &mut Reader, children: bool) {
        for entry in self.arguments.by_ref() {
            let diagnostic = reader.error(code::WORD, span_of(entry), "one argument too many");
            diagnostic.label = "not expected".to_owned();
        }
        for entry in self.node.entries() {
            if let Some(name) = entry
                .name()
                .filter(|name| !self.known.contains(name.value()))
            {
                reader.unknown_word(
                    span_of(entry),
                    "property",
                    name.value(),
                    self.known.iter().copied(),
                );
            }
        }
        if !children {
            for child in self.children(reader) {
                let message = format!("\"{}\" takes no children", self.word());
                reader.error(code::WORD, name_span(child), message).label =
                    "not expected".to_owned();
            }
        }
    }
}

/// Reads `allow "P003" reason="…"` inside the node whose span is given.
pub(crate) fn allow(node: &KdlNode, span: Span, reader: &mut Reader) {
    let mut fields = Fields::new(node, reader);
    let written = fields.must_arg(reader, "the code of a check");
    let reason = fields.must_prop(reader, "reason");
    fields.finish(reader, false);
    let (Some(written), Some(reason)) = (written, reason) else {
        return;
    };
    if reason.value.trim().is_empty() {
        reader
            .error(code::VALUE, reason.span, "a silenced check needs a reason")
            .label = "empty".to_owned();
    }
    if crate::check::CODES.contains(&written.value.as_str()) {
        reader.allows.push(Allow {
            code: written.value,
            span,
        });
    } else {
        let codes = crate::check::CODES.iter().copied();
        reader.unknown_word(written.span, "check", &written.value, codes);
    }
}

/// The whole node, children included.
pub(crate) fn whole(node: &KdlNode) -> Span {
    let span = node.span();
    (span.offset(), span.offset() + span.len())
}

/// The node's name alone.
pub(crate) fn name_span(node: &KdlNode) -> Span {
    let span = node.name().span();
    (span.offset(), span.offset() + span.len())
}

pub(crate) fn span_of(entry: &KdlEntry) -> Span {
    let span = entry.span();
    (span.offset(), span.offset() + span.len())
}

fn text_of(entry: &KdlEntry, reader: &mut Reader) -> Option<Name> {
    let span = span_of(entry);
    let value = match entry.value() {
        KdlValue::String(text) if text.len() > 1_024 => {
            reader
                .error(code::LIMIT, span, "a text of more than 1,024 bytes")
                .label = "too long".to_owned();
            return None;
        }
        KdlValue::String(text) => text.clone(),
        KdlValue::Integer(number) => number.to_string(),
        KdlValue::Float(_) | KdlValue::Bool(_) | KdlValue::Null => {
            reader
                .error(code::VALUE, span, "a text or a whole number belongs here")
                .label = "of another kind".to_owned();
            return None;
        }
    };
    Some(Name { value, span })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::parse_duration;

    #[test]
    fn durations_have_a_unit_and_a_bound() {
        assert_eq!(parse_duration("20s"), Some(Duration::from_secs(20)));
        assert_eq!(parse_duration("300ms"), Some(Duration::from_millis(300)));
        assert_eq!(parse_duration("72h"), Some(Duration::from_secs(259_200)));
        for wrong in [
            "",
            "20",
            "s",
            "-1s",
            "1.5s",
            "99999999999999999999s",
            "99999h",
            "1d",
        ] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
