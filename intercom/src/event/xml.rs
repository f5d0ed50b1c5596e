//! XML of our own: elements in the order they are written, everything from outside escaped.

use std::fmt::Write as _;

/// A document under construction.
#[derive(Debug)]
pub(super) struct Xml {
    text: String,
    open: Vec<&'static str>,
}

impl Xml {
    /// With its declaration. XML 1.0: what old phones read.
    pub(super) fn new() -> Self {
        let mut text = String::with_capacity(512);
        text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        Xml {
            text,
            open: Vec::new(),
        }
    }

    /// Begins an element; [`Self::end`] closes it.
    pub(super) fn begin(&mut self, name: &'static str, attributes: &[(&str, &str)]) -> &mut Self {
        self.tag(name, attributes);
        self.text.push('>');
        self.open.push(name);
        self
    }

    /// Closes the latest element begun.
    pub(super) fn end(&mut self) -> &mut Self {
        if let Some(name) = self.open.pop() {
            let _ = write!(self.text, "</{name}>");
        }
        self
    }

    /// An element with text.
    pub(super) fn leaf(
        &mut self,
        name: &'static str,
        attributes: &[(&str, &str)],
        text: &str,
    ) -> &mut Self {
        self.begin(name, attributes);
        escape(text, &mut self.text);
        self.end()
    }

    /// An element without content.
    pub(super) fn empty(&mut self, name: &'static str, attributes: &[(&str, &str)]) -> &mut Self {
        self.tag(name, attributes);
        self.text.push_str("/>");
        self
    }

    fn tag(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.text.push('<');
        self.text.push_str(name);
        for (key, value) in attributes {
            let _ = write!(self.text, " {key}=\"");
            escape(value, &mut self.text);
            self.text.push('"');
        }
    }

    /// The document; what is still open is closed.
    pub(super) fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.end();
        }
        self.text.push('\n');
        self.text
    }
}

/// Text and attribute values: the five characters that mean something, and nothing XML 1.0 §2.2 forbids.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // A line break in an attribute would be read as a space anyway; control characters have no form at all.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_element_nor_its_attribute() {
        let mut xml = Xml::new();
        xml.begin("a", &[("b", "\"><evil/>\r\n\0")]);
        xml.leaf("c", &[], "</c>&lt;\u{1}é");
        let text = xml.finish();
        assert_eq!(
            text,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <a b=\"&quot;&gt;&lt;evil/&gt;   \"><c>&lt;/c&gt;&amp;lt; é</c></a>\n"
        );
    }
}
