//! Event notification (RFC 6665), the notifier's side, and publication of event state (RFC 3903).
//!
//! ```text
//!   SUBSCRIBE ─► Notifier ─┬─► Subscription ─► Notify ─► the owner writes the body ─► NOTIFY
//!   changed(resource) ─────┘      (one NOTIFY under way, the rest waits as one)
//!   PUBLISH ───► Publications ─► what is published for a resource now
//! ```
//!
//! Deliberately absent: what a package's documents say, who may subscribe to what, and any resource's meaning. A resource
//! is whatever the owner uses as a key.

mod notifier;
mod publication;
mod subscription;

pub use notifier::{
    Notification, Notifier, NotifierConfig, NotifierCounters, Request, SubscriptionId,
};
pub use publication::{PublicationConfig, Publications, Published};
pub use subscription::{Act, End, Input, Pace, State, Subscription};

use crate::message::{HeaderName, Message, Params};

/// The Event field: a package and an optional id (RFC 6665 section 8.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The package, templates included: `dialog`, `presence.winfo`.
    pub package: &'a str,
    /// Tells two subscriptions of one dialog apart; repeated in each NOTIFY.
    pub id: Option<&'a str>,
}

/// The longest event id taken: it is kept per subscription and written into each NOTIFY.
const EVENT_ID: usize = 64;

impl<'a> Event<'a> {
    /// The Event of a message; `None` when it is missing or malformed.
    #[must_use]
    pub fn of(message: &'a Message) -> Option<Self> {
        let value = message.header(&HeaderName::Event)?.trim();
        let (package, params) = match value.find(';') {
            Some(at) => value.split_at_checked(at)?,
            None => (value, ""),
        };
        let package = package.trim();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
        if package.is_empty() || !package.bytes().all(plain) {
            return None;
        }
        let id = Params::parse(params).ok()?.get("id");
        if id.is_some_and(|id| id.is_empty() || id.len() > EVENT_ID || !id.bytes().all(plain)) {
            return None;
        }
        Some(Self { package, id })
    }
}

/// Whether the body type is among those a request accepts; without an Accept field it is (RFC 6665 section 3.1.3: each
/// package names a default).
#[must_use]
pub fn accepts(request: &Message, content_type: &str) -> bool {
    let mut ranges = request.values(&HeaderName::Accept).peekable();
    if ranges.peek().is_none() {
        return true;
    }
    let (kind, _) = content_type.split_once('/').unwrap_or((content_type, ""));
    ranges.any(|range| {
        let range = range.split(';').next().unwrap_or("").trim();
        range == "*/*"
            || range.eq_ignore_ascii_case(content_type)
            || range
                .strip_suffix("/*")
                .is_some_and(|range| range.eq_ignore_ascii_case(kind))
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn subscribe(lines: &str) -> Message {
        let text = format!(
            "SUBSCRIBE sip:desk@x SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=1\r\n\
             To: <sip:desk@x>\r\nCall-ID: c\r\nCSeq: 1 SUBSCRIBE\r\n{lines}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &Default::default()).unwrap()
    }

    #[test]
    fn an_event_has_a_package_and_an_id() {
        for (line, event) in [
            ("Event: dialog\r\n", Some(("dialog", None))),
            ("o: dialog ; id=7;sla\r\n", Some(("dialog", Some("7")))),
            ("Event: a.winfo\r\n", Some(("a.winfo", None))),
            ("Event: ;id=7\r\n", None),
            ("Event: dialog;id=\"a b\"\r\n", None),
            ("Event: di alog\r\n", None),
            ("", None),
        ] {
            let message = subscribe(line);
            let found = Event::of(&message).map(|event| (event.package, event.id));
            assert_eq!(found, event, "{line}");
        }
        let long = subscribe(&format!(
            "Event: dialog;id={}\r\n",
            "a".repeat(EVENT_ID + 1)
        ));
        assert_eq!(Event::of(&long), None);
    }

    #[test]
    fn accept_is_a_list_of_ranges() {
        for (line, taken) in [
            ("", true),
            ("Accept: application/dialog-info+xml\r\n", true),
            ("Accept: text/plain, application/*;q=0.5\r\n", true),
            ("Accept: */*\r\n", true),
            ("Accept: application/pidf+xml\r\n", false),
        ] {
            let taken_now = accepts(&subscribe(line), "application/dialog-info+xml");
            assert_eq!(taken_now, taken, "{line}");
        }
    }
}
