//! RFC 3903 section 6: the order in which an event state compositor judges a PUBLISH.

use std::time::{Duration, Instant};

use bytes::Bytes;
use sip_proxy::event::{PublicationConfig, Publications, Published};
use sip_proxy::{HeaderName, Limits, Message};

const PIDF: &str = "application/pidf+xml";

struct Bench {
    publications: Publications<&'static str>,
    now: Instant,
    serial: u64,
}

impl Bench {
    fn new(config: PublicationConfig) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "one origin for the virtual clock"
        )]
        let now = Instant::now();
        Bench {
            publications: Publications::new(config),
            now,
            serial: 0,
        }
    }

    #[allow(clippy::unwrap_used, reason = "a fixture")]
    fn publish(&mut self, resource: &'static str, lines: &str, body: &str) -> Published {
        self.serial += 1;
        let text = format!(
            "PUBLISH sip:anna@x SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:anna@x>;tag=f\r\n\
             To: <sip:anna@x>\r\nCall-ID: c\r\nCSeq: 1 PUBLISH\r\nEvent: presence\r\n{lines}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let message = Message::parse(Bytes::from(text), &Limits::default()).unwrap();
        self.publications
            .publish(self.now, &resource, &message, PIDF, self.serial)
    }

    fn latest(&self) -> Option<&str> {
        let body = self.publications.latest(&"anna", self.now)?;
        std::str::from_utf8(body).ok()
    }
}

fn etag(published: &Published) -> String {
    let headers = &published.response.headers;
    let tag = headers
        .iter()
        .find(|(name, _)| *name == HeaderName::SipETag);
    tag.map(|(_, value)| value.clone()).unwrap_or_default()
}

const TYPE: &str = "Content-Type: application/pidf+xml\r\n";

#[test]
fn initial_refresh_modify_and_remove() {
    let mut bench = Bench::new(PublicationConfig::default());
    let first = bench.publish("anna", TYPE, "<a/>");
    assert_eq!((first.response.status, first.changed), (200, true));
    assert_eq!(bench.latest(), Some("<a/>"));
    let tag = etag(&first);
    let refreshed = bench.publish("anna", &format!("SIP-If-Match: {tag}\r\n"), "");
    assert_eq!((refreshed.response.status, refreshed.changed), (200, false));
    assert_ne!(etag(&refreshed), tag, "each success has a tag of its own");
    let tag = etag(&refreshed);
    let modified = bench.publish("anna", &format!("{TYPE}SIP-If-Match: {tag}\r\n"), "<b/>");
    assert!(modified.changed);
    assert_eq!(bench.latest(), Some("<b/>"));
    let tag = etag(&modified);
    let removed = bench.publish(
        "anna",
        &format!("SIP-If-Match: {tag}\r\nExpires: 0\r\n"),
        "",
    );
    assert_eq!((removed.response.status, removed.changed), (200, true));
    assert!(bench.publications.is_empty());
}

#[test]
fn an_unknown_tag_is_412() {
    let mut bench = Bench::new(PublicationConfig::default());
    let unknown = bench.publish("anna", "SIP-If-Match: x\r\n", "");
    assert_eq!((unknown.response.status, unknown.changed), (412, false));
    let first = etag(&bench.publish("anna", TYPE, "<a/>"));
    bench.publish("anna", &format!("SIP-If-Match: {first}\r\n"), "");
    let old = bench.publish("anna", &format!("SIP-If-Match: {first}\r\n"), "");
    assert_eq!(old.response.status, 412, "the tag before the last");
    let other = bench.publish("petr", &format!("SIP-If-Match: {first}\r\n"), "");
    assert_eq!(other.response.status, 412, "somebody else's");
}

#[test]
fn malformed_and_foreign_bodies_are_refused() {
    let mut bench = Bench::new(PublicationConfig {
        max_body: 16,
        ..PublicationConfig::default()
    });
    assert_eq!(bench.publish("anna", "", "").response.status, 400);
    let plain = bench.publish("anna", "Content-Type: text/plain\r\n", "x");
    assert_eq!(plain.response.status, 415);
    let long = bench.publish("anna", TYPE, "<aaaaaaaaaaaaaaaaaaaa/>");
    assert_eq!(long.response.status, 413);
    let brief = bench.publish("anna", &format!("{TYPE}Expires: 5\r\n"), "<a/>");
    assert_eq!(brief.response.status, 423);
    let two = bench.publish("anna", "SIP-If-Match: a\r\nSIP-If-Match: b\r\n", "");
    assert_eq!(two.response.status, 400);
    assert!(bench.publications.is_empty());
}

#[test]
fn what_is_not_refreshed_ends() {
    let mut bench = Bench::new(PublicationConfig::default());
    bench.publish("anna", &format!("{TYPE}Expires: 90\r\n"), "<a/>");
    let due = bench.publications.next_timeout().unwrap();
    assert_eq!(due, bench.now + Duration::from_secs(90));
    bench.now = due;
    assert_eq!(bench.latest(), None);
    assert_eq!(bench.publications.expire(due), ["anna"]);
    assert!(bench.publications.is_empty());
    assert_eq!(bench.publications.next_timeout(), None);
}

#[test]
fn tables_are_bounded() {
    let mut bench = Bench::new(PublicationConfig {
        max: 2,
        max_per_resource: 2,
        ..PublicationConfig::default()
    });
    for body in ["<a/>", "<b/>", "<c/>"] {
        assert_eq!(bench.publish("anna", TYPE, body).response.status, 200);
    }
    assert_eq!(bench.publications.len(), 2, "the oldest went");
    assert_eq!(bench.publish("petr", TYPE, "<a/>").response.status, 503);
}
