//! Passing a message on with a few lines changed (RFC 3261 §16.6, §16.7): every other octet is copied as it came.

use std::net::SocketAddr;

use bytes::Bytes;

use crate::message::lex;
use crate::message::name::HeaderName;
use crate::message::raw::{Field, RawMessage, Start};
use crate::message::validate::Message;
use crate::message::via::Via;
use crate::message::write::Wire;

/// Edits to one message, applied in one copy by [`Splice::finish`].
#[derive(Debug)]
pub struct Splice<'m> {
    message: &'m RawMessage,
    uri: Option<String>,
    /// Lines put directly after the start line, first one first.
    top: Vec<(HeaderName, String)>,
    /// Lines put after the last header.
    bottom: Vec<(HeaderName, String)>,
    /// New text for a field, by its place in the index; `None` takes the line out.
    changed: Vec<(usize, Option<String>)>,
}

impl<'m> Splice<'m> {
    /// Starts from `message` unchanged.
    #[must_use]
    pub fn new(message: &'m Message) -> Self {
        Self {
            message,
            uri: None,
            top: Vec::new(),
            bottom: Vec::new(),
            changed: Vec::new(),
        }
    }

    /// Replaces the Request-URI (RFC 3261 §16.6 step 2). No effect on a response.
    #[must_use]
    pub fn uri(mut self, uri: impl Into<String>) -> Self {
        self.uri = Some(uri.into());
        self
    }

    /// Puts a Via above the others (step 8). Do this after [`Splice::stamp_via`].
    #[must_use]
    pub fn push_via(self, value: impl Into<String>) -> Self {
        self.push(HeaderName::Via, value)
    }

    /// Puts a Record-Route above the others (step 4).
    #[must_use]
    pub fn push_record_route(self, value: impl Into<String>) -> Self {
        self.push(HeaderName::RecordRoute, value)
    }

    /// Puts a Route above the others.
    #[must_use]
    pub fn push_route(self, value: impl Into<String>) -> Self {
        self.push(HeaderName::Route, value)
    }

    /// Puts a line directly after the start line, above those put there before.
    #[must_use]
    pub fn push(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.top.insert(0, (name, value.into()));
        self
    }

    /// Appends a line after the last header.
    #[must_use]
    pub fn add(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.bottom.push((name, value.into()));
        self
    }

    /// Takes out the topmost Via value (RFC 3261 §16.7 step 3).
    #[must_use]
    pub fn pop_via(self) -> Self {
        self.pop(&HeaderName::Via)
    }

    /// Takes out the topmost Route value (§16.4).
    #[must_use]
    pub fn pop_route(self) -> Self {
        self.pop(&HeaderName::Route)
    }

    /// Takes out the first value of a list header as it stands after earlier edits; those pushed are not touched.
    #[must_use]
    pub fn pop(mut self, name: &HeaderName) -> Self {
        let Some((at, text)) = self.first(name) else {
            return self;
        };
        let rest = lex::find_outside(&text, b',')
            .and_then(|comma| text.get(comma + 1..))
            .map(lex::trim);
        let rest = rest.filter(|rest| !rest.is_empty()).map(str::to_owned);
        self.change(at, rest);
        self
    }

    /// Fills `received` and `rport` of the topmost Via from the packet's source (RFC 3261 §18.2.1, RFC 3581 §4).
    #[must_use]
    pub fn stamp_via(mut self, source: SocketAddr) -> Self {
        let Some((at, text)) = self.first(&HeaderName::Via) else {
            return self;
        };
        let comma = lex::find_outside(&text, b',').unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(comma).unwrap_or((&text, ""));
        let mut stamped = String::with_capacity(text.len() + 80);
        Via::stamp(value, source, &mut stamped);
        stamped.push_str(rest);
        self.change(at, Some(stamped));
        self
    }

    /// Writes Max-Forwards, whether there was one or not (§16.6 step 3).
    #[must_use]
    pub fn max_forwards(self, hops: u8) -> Self {
        self.set(HeaderName::MaxForwards, hops.to_string())
    }

    /// Replaces the first field of that name, takes out the others; adds it when there is none.
    #[must_use]
    pub fn set(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        match self.first(&name) {
            Some((at, _)) => {
                self = self.remove(&name);
                self.change(at, Some(value.into()));
                self
            }
            None => self.push(name, value),
        }
    }

    /// Takes out every field of that name that came with the message.
    #[must_use]
    pub fn remove(mut self, name: &HeaderName) -> Self {
        let places: Vec<usize> = self.places(name).map(|(at, _)| at).collect();
        for at in places {
            self.change(at, None);
        }
        self
    }

    /// Writes the result. Octets after the body (a datagram's padding) and CRLFs before the start line are left out;
    /// a NUL accepted as a quoted pair goes out as a space.
    #[must_use]
    pub fn finish(self) -> Bytes {
        let message = self.message;
        let extra: usize = self
            .top
            .iter()
            .chain(&self.bottom)
            .map(|(_, value)| value.len() + 32)
            .sum();
        let mut wire = Wire::with_capacity(message.bytes().len() + extra + 128);
        self.start_line(&mut wire);
        for (name, value) in &self.top {
            wire.header(name, value);
        }
        for (at, field) in message.fields.iter().enumerate() {
            match self
                .changed
                .iter()
                .rev()
                .find(|(changed, _)| *changed == at)
            {
                None => wire.raw(message.octets(field.line)),
                Some((_, Some(value))) => {
                    wire.raw(message.name_of(field).as_bytes());
                    wire.raw(b": ");
                    wire.text(value);
                    wire.raw(b"\r\n");
                }
                Some((_, None)) => {}
            }
        }
        for (name, value) in &self.bottom {
            wire.header(name, value);
        }
        if message.has_nul() {
            wire.blank(0, |byte| byte == 0);
        }
        wire.raw(b"\r\n");
        wire.raw(message.body());
        wire.finish()
    }

    fn start_line(&self, wire: &mut Wire) {
        match (&self.uri, self.message.start()) {
            (Some(uri), Start::Request { .. }) => {
                wire.request_line(self.message.method_token().unwrap_or(""), uri);
            }
            _ => wire.raw(self.message.start_line()),
        }
    }

    fn places<'s>(&'s self, name: &'s HeaderName) -> impl Iterator<Item = (usize, &'s Field)> + 's {
        self.message
            .fields
            .iter()
            .enumerate()
            .filter(|(_, field)| self.message.is_named(field, name))
    }

    /// The first field of that name still there: its place and text after earlier edits.
    fn first(&self, name: &HeaderName) -> Option<(usize, String)> {
        for (at, field) in self.places(name) {
            match self
                .changed
                .iter()
                .rev()
                .find(|(changed, _)| *changed == at)
            {
                None => {
                    let text = self.message.text(field.value);
                    if !text.is_empty() {
                        return Some((at, text.to_owned()));
                    }
                }
                Some((_, Some(text))) => return Some((at, text.clone())),
                Some((_, None)) => {}
            }
        }
        None
    }

    fn change(&mut self, at: usize, text: Option<String>) {
        self.changed.retain(|(changed, _)| *changed != at);
        self.changed.push((at, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Limits;

    const TEXT: &str = "INVITE sip:c@d SIP/2.0\r\nVIA : SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bK1, SIP/2.0/TCP b;branch=z9hG4bK2\r\nmax-forwards:70\r\nRecord-Route: <sip:p;lr>\r\nRoute: <sip:us;lr>\r\nRoute: <sip:q;lr>\r\nf: <sip:a@b>;tag=1\r\nTo:\r\n <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nX-Odd:   ;;,  \r\n\r\nbody";

    fn message(text: &str) -> Message {
        Message::parse(Bytes::from(text.to_owned()), &Limits::default()).unwrap()
    }

    fn spliced(edit: impl FnOnce(Splice<'_>) -> Splice<'_>) -> String {
        let message = message(TEXT);
        String::from_utf8(edit(Splice::new(&message)).finish().to_vec()).unwrap()
    }

    #[test]
    fn without_edits_every_octet_stays() {
        assert_eq!(spliced(|splice| splice), TEXT);
    }

    #[test]
    fn a_request_passed_on_changes_only_the_lines_named() {
        let out = spliced(|splice| {
            splice
                .uri("sip:c@10.0.0.9:5062")
                .stamp_via("192.0.2.1:1234".parse().unwrap())
                .pop_route()
                .push_record_route("<sip:us;lr>")
                .push_via("SIP/2.0/UDP us;branch=z9hG4bK0")
                .max_forwards(69)
        });
        let expected = TEXT
            .replace(
                "INVITE sip:c@d SIP/2.0\r\n",
                "INVITE sip:c@10.0.0.9:5062 SIP/2.0\r\nVia: SIP/2.0/UDP us;branch=z9hG4bK0\r\nRecord-Route: <sip:us;lr>\r\n",
            )
            .replace("VIA : SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bK1, ", "VIA: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;received=192.0.2.1;rport=1234, ")
            .replace("max-forwards:70", "max-forwards: 69")
            .replace("Route: <sip:us;lr>\r\nRoute", "Route");
        assert_eq!(out, expected);
    }

    #[test]
    fn vias_are_popped_value_by_value() {
        assert!(
            spliced(|splice| splice.pop_via())
                .contains("\r\nVIA: SIP/2.0/TCP b;branch=z9hG4bK2\r\n")
        );
        assert!(!spliced(|splice| splice.pop_via().pop_via()).contains("VIA"));
    }

    #[test]
    fn a_field_is_set_once_or_added() {
        let out = spliced(|splice| {
            splice
                .set(HeaderName::Route, "<sip:r>")
                .set(HeaderName::Subject, "s")
                .add(HeaderName::Priority, "p")
        });
        assert_eq!(out.matches("Route: <sip:r>").count(), 1);
        assert!(!out.contains("<sip:q;lr>"));
        assert!(out.starts_with("INVITE sip:c@d SIP/2.0\r\nSubject: s\r\n"));
        assert!(out.ends_with("\r\nPriority: p\r\n\r\nbody"));
    }

    #[test]
    fn a_header_is_removed_in_every_spelling() {
        assert!(
            !spliced(|splice| splice.remove(&HeaderName::from_token("x-odd"))).contains("X-Odd")
        );
        assert!(!spliced(|splice| splice.remove(&HeaderName::From)).contains("\nf:"));
    }

    #[test]
    fn padding_and_a_quoted_nul_do_not_go_out() {
        let text = TEXT.replace("X-Odd:   ;;,  ", "l: 4\r\nX-Odd: \"\\\0\"") + "\0padding";
        let out = Splice::new(&message(&text)).finish();
        assert!(out.ends_with(b"X-Odd: \"\\ \"\r\n\r\nbody"));
    }
}
