//! `application/pidf+xml` (RFC 3863, with RFC 4480's `on-the-phone`): whether somebody can be reached.

use super::xml::Xml;

/// The longest note shown, characters.
const NOTE: usize = 80;

/// What is said of an entity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Presence {
    /// Can be called now.
    pub(crate) open: bool,
    /// Is in a call.
    pub(crate) on_the_phone: bool,
    /// In its own words.
    pub(crate) note: Option<String>,
}

/// The document.
pub(crate) fn write(entity: &str, presence: &Presence) -> String {
    let mut xml = Xml::new();
    xml.begin(
        "presence",
        &[
            ("xmlns", "urn:ietf:params:xml:ns:pidf"),
            ("xmlns:dm", "urn:ietf:params:xml:ns:pidf:data-model"),
            ("xmlns:rpid", "urn:ietf:params:xml:ns:pidf:rpid"),
            ("entity", entity),
        ],
    );
    xml.begin("tuple", &[("id", "doorward")]);
    xml.begin("status", &[]);
    xml.leaf("basic", &[], if presence.open { "open" } else { "closed" });
    xml.end();
    if presence.open {
        xml.leaf("contact", &[], entity);
    }
    xml.end();
    if let Some(note) = &presence.note {
        xml.leaf("note", &[], note);
    }
    // Elements of other namespaces come last (RFC 3863 §4.4).
    if presence.on_the_phone {
        xml.begin("dm:person", &[("id", "p1")]);
        xml.begin("rpid:activities", &[]);
        xml.empty("rpid:on-the-phone", &[]);
        xml.end().end();
    }
    xml.finish()
}

/// What a published document says: its first `basic`, and a note. `None` when it says neither: then nothing of it counts.
pub(crate) fn read(body: &[u8]) -> Option<(Option<bool>, Option<String>)> {
    let text = std::str::from_utf8(body).ok()?;
    let open = element(text, "basic").and_then(|basic| match basic.trim() {
        basic if basic.eq_ignore_ascii_case("open") => Some(true),
        basic if basic.eq_ignore_ascii_case("closed") => Some(false),
        _ => None,
    });
    let note = element(text, "note")
        .map(|note| unescape(note.trim()))
        .filter(|note| !note.is_empty());
    (open.is_some() || note.is_some()).then_some((open, note))
}

/// The text of the first element of that local name, when it holds nothing but text.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = text;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (tag, content) = after.split_once('>')?;
        rest = content;
        let written = tag.split([' ', '\t', '\r', '\n', '/']).next()?;
        let local = written.rsplit(':').next()?;
        if local == name && !tag.ends_with('/') {
            let (inner, end) = content.split_once('<')?;
            return end.starts_with('/').then_some(inner);
        }
    }
}

/// The five entities back to characters; others stand for nothing. Bounded.
fn unescape(text: &str) -> String {
    let mut out = text.to_owned();
    for (entity, c) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ] {
        out = out.replace(entity, c);
    }
    out.chars().filter(|c| !c.is_control()).take(NOTE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_phone_is_open_and_says_so() {
        let presence = Presence {
            open: true,
            on_the_phone: true,
            note: Some("<lunch>".to_owned()),
        };
        let text = write("sip:anna@x", &presence);
        assert!(text.contains(
            "entity=\"sip:anna@x\"><tuple id=\"doorward\"><status><basic>open</basic></status>"
        ));
        assert!(text.contains(
            "<note>&lt;lunch&gt;</note><dm:person id=\"p1\"><rpid:activities><rpid:on-the-phone/>"
        ));
        let closed = write("sip:anna@x", &Presence::default());
        assert!(closed.contains("<basic>closed</basic>") && !closed.contains("phone/"));
    }

    #[test]
    fn what_was_written_is_read_and_rubbish_is_not() {
        let written = write(
            "sip:anna@x",
            &Presence {
                open: true,
                note: Some("a & b".to_owned()),
                ..Presence::default()
            },
        );
        assert_eq!(
            read(written.as_bytes()),
            Some((Some(true), Some("a & b".to_owned())))
        );
        let other = b"<?xml version='1.0'?>\n<p:presence xmlns:p='x'><p:tuple id='1'><p:status>\n<p:basic>closed</p:basic></p:status></p:tuple></p:presence>";
        assert_eq!(read(other), Some((Some(false), None)));
        for rubbish in [
            &b""[..],
            b"<basic>",
            b"<basic><x/></basic>",
            b"\xff<basic>open</basic>",
            b"<note></note>",
            b"no xml at all",
        ] {
            assert_eq!(read(rubbish), None);
        }
        let long = format!("<note>{}</note>", "x".repeat(5_000));
        assert_eq!(read(long.as_bytes()).unwrap().1.unwrap().len(), NOTE);
    }
}
