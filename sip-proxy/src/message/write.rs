//! Messages of our own onto the wire. Whatever text is handed in, the output has the lines we meant and no others.

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::message::lex;
use crate::message::method::Method;
use crate::message::name::HeaderName;
use crate::message::raw::RawMessage;
use crate::message::via::Via;

/// A message body with its type.
#[derive(Clone, PartialEq, Eq)]
pub struct Body {
    /// The Content-Type's value.
    pub content_type: String,
    /// The octets.
    pub bytes: Bytes,
}

/// A request as the transaction user hands it down; the endpoint adds Via and Content-Length.
#[derive(Clone, PartialEq, Eq)]
pub struct OutgoingRequest {
    /// The method.
    pub method: Method,
    /// The Request-URI.
    pub uri: String,
    /// The whole From value, tag included.
    pub from: String,
    /// The whole To value, tag included when there is one.
    pub to: String,
    /// The Call-ID.
    pub call_id: String,
    /// The CSeq number.
    pub cseq: u32,
    /// Max-Forwards; 70 at the start of a way (RFC 3261 §8.1.1.6).
    pub max_forwards: u8,
    /// Route values, first hop first.
    pub route: Vec<String>,
    /// The whole Contact value.
    pub contact: Option<String>,
    /// Further header fields, written in this order.
    pub headers: Vec<(HeaderName, String)>,
    /// The body.
    pub body: Option<Body>,
}

/// A response as the transaction user hands it down; the endpoint copies Via, From, To, Call-ID, CSeq and, where they
/// belong, Record-Route from the request (RFC 3261 §8.2.6.2, §12.1.1).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct OutgoingResponse {
    /// 100 to 699.
    pub status: u16,
    /// A reason phrase other than the usual one.
    pub reason: Option<String>,
    /// The tag to put into To where the request had none.
    pub to_tag: Option<String>,
    /// The whole Contact value.
    pub contact: Option<String>,
    /// Further header fields, written in this order.
    pub headers: Vec<(HeaderName, String)>,
    /// The body.
    pub body: Option<Body>,
    /// Whether the answer follows from the request alone, so that a final one keeps no transaction (RFC 3261 §8.2.7):
    /// the request again comes up again. The To tag is then the endpoint's.
    pub stateless: bool,
}

/// As for messages received, only the shape is printed.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Body({}, {} octets)",
            self.content_type,
            self.bytes.len()
        )
    }
}

impl fmt::Debug for OutgoingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("OutgoingRequest")
            .field("method", &self.method)
            .field("cseq", &self.cseq)
            .field("headers", &names)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OutgoingResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("OutgoingResponse")
            .field("status", &self.status)
            .field("headers", &names)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

impl OutgoingResponse {
    /// A response with nothing but its status.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    /// The same with one more header field.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn with_body(mut self, content_type: impl Into<String>, bytes: Bytes) -> Self {
        self.body = Some(Body {
            content_type: content_type.into(),
            bytes,
        });
        self
    }

    /// The same with a To tag.
    #[must_use]
    pub fn with_to_tag(mut self, tag: impl Into<String>) -> Self {
        self.to_tag = Some(tag.into());
        self
    }

    /// The same with a Contact.
    #[must_use]
    pub fn with_contact(mut self, contact: impl Into<String>) -> Self {
        self.contact = Some(contact.into());
        self
    }

    /// The same, keeping no transaction.
    #[must_use]
    pub fn stateless(mut self) -> Self {
        self.stateless = true;
        self
    }

    /// The same with a reason phrase of its own.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }
}

/// Octets under construction. Every text from outside goes through [`Wire::text`], which lets no CR, LF or NUL by.
#[derive(Debug, Default)]
pub(crate) struct Wire(Vec<u8>);

impl Wire {
    /// Our Contact; by SIPS where the request goes, or came, by SIPS (RFC 3261 §8.1.1.8, 12.1.1).
    fn contact(&mut self, contact: &str, sips: bool) {
        match contact.strip_prefix("<sip:").filter(|_| sips) {
            None => self.header(&HeaderName::Contact, contact),
            Some(rest) => {
                self.raw(b"Contact: <sips:");
                self.text(rest);
                self.raw(b"\r\n");
            }
        }
    }

    pub(crate) fn with_capacity(octets: usize) -> Self {
        Self(Vec::with_capacity(octets))
    }

    /// Text of ours, or octets that were checked.
    pub(crate) fn raw(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    /// Text from anywhere: CR, LF and NUL become spaces, which also unfolds a value copied from a message.
    pub(crate) fn text(&mut self, text: &str) {
        let from = self.0.len();
        self.0.extend_from_slice(text.as_bytes());
        self.blank(from, |byte| matches!(byte, b'\r' | b'\n' | 0));
    }

    /// A URI in a start line: white space would end it.
    fn uri(&mut self, uri: &str) {
        for byte in uri.bytes() {
            if byte <= b' ' || byte == 0x7f {
                self.0.extend_from_slice(b"%20");
            } else {
                self.0.push(byte);
            }
        }
    }

    pub(crate) fn header(&mut self, name: &HeaderName, value: &str) {
        match name {
            HeaderName::Other(token) => self.0.extend(
                token
                    .bytes()
                    .map(|byte| if lex::is_token_byte(byte) { byte } else { b'-' }),
            ),
            known => self.raw(known.as_str().as_bytes()),
        }
        self.raw(b": ");
        self.text(value);
        self.raw(b"\r\n");
    }

    pub(crate) fn number(&mut self, mut number: u64) {
        let mut digits = [0_u8; 20];
        let mut used = 0;
        for slot in digits.iter_mut().rev() {
            *slot = b'0' + u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
            used += 1;
            if number == 0 {
                break;
            }
        }
        self.0.extend(digits.iter().skip(20 - used));
    }

    pub(crate) fn request_line(&mut self, method: &str, uri: &str) {
        for byte in method.bytes() {
            self.0
                .push(if lex::is_token_byte(byte) { byte } else { b'-' });
        }
        self.raw(b" ");
        self.uri(uri);
        self.raw(b" SIP/2.0\r\n");
    }

    /// Replaces octets from `from` on that `unwanted` names by spaces.
    pub(crate) fn blank(&mut self, from: usize, unwanted: impl Fn(u8) -> bool) {
        for byte in self.0.iter_mut().skip(from) {
            if unwanted(*byte) {
                *byte = b' ';
            }
        }
    }

    fn body(&mut self, body: Option<&Body>) {
        if let Some(body) = body {
            self.header(&HeaderName::ContentType, &body.content_type);
        }
        let bytes = body.map_or(&[][..], |body| &body.bytes);
        self.raw(b"Content-Length: ");
        self.number(bytes.len() as u64);
        self.raw(b"\r\n\r\n");
        self.raw(bytes);
    }

    pub(crate) fn finish(self) -> Bytes {
        Bytes::from(self.0)
    }
}

/// Writes a request. `via` is the whole topmost Via value (sent-protocol, sent-by, branch, `rport`), `agent` the User-Agent.
#[must_use]
pub fn write_request(request: &OutgoingRequest, via: &str, agent: Option<&str>) -> Bytes {
    let mut wire =
        Wire::with_capacity(1_024 + request.body.as_ref().map_or(0, |body| body.bytes.len()));
    let method = request.method.as_str();
    wire.request_line(method, &request.uri);
    wire.header(&HeaderName::Via, via);
    wire.raw(b"Max-Forwards: ");
    wire.number(u64::from(request.max_forwards));
    wire.raw(b"\r\n");
    for route in &request.route {
        wire.header(&HeaderName::Route, route);
    }
    wire.header(&HeaderName::From, &request.from);
    wire.header(&HeaderName::To, &request.to);
    wire.header(&HeaderName::CallId, &request.call_id);
    wire.raw(b"CSeq: ");
    wire.number(u64::from(request.cseq));
    wire.raw(b" ");
    wire.text(method);
    wire.raw(b"\r\n");
    if let Some(contact) = &request.contact {
        wire.contact(contact, is_sips(&request.uri));
    }
    for (name, value) in &request.headers {
        wire.header(name, value);
    }
    if let Some(agent) = agent {
        wire.header(&HeaderName::UserAgent, agent);
    }
    wire.body(request.body.as_ref());
    wire.finish()
}

/// Writes the response to `request`, which came from `source`. `server` is the Server field.
///
/// The request may be one that was refused: what it lacks is left out, and nothing is made up for it.
#[must_use]
pub fn write_response(
    response: &OutgoingResponse,
    request: &RawMessage,
    source: SocketAddr,
    server: Option<&str>,
) -> Bytes {
    let mut wire =
        Wire::with_capacity(1_024 + response.body.as_ref().map_or(0, |body| body.bytes.len()));
    wire.raw(b"SIP/2.0 ");
    wire.number(u64::from(response.status));
    wire.raw(b" ");
    wire.text(
        response
            .reason
            .as_deref()
            .unwrap_or_else(|| reason_phrase(response.status)),
    );
    wire.raw(b"\r\n");
    let mut top = true;
    for value in request.values(&HeaderName::Via) {
        if std::mem::take(&mut top) {
            let mut stamped = String::with_capacity(value.len() + 80);
            Via::stamp(value, source, &mut stamped);
            wire.header(&HeaderName::Via, &stamped);
        } else {
            wire.header(&HeaderName::Via, value);
        }
    }
    // RFC 3261 §12.1.1: the responses that make a dialog carry the whole route back.
    if (101..300).contains(&response.status) {
        for line in request.headers(&HeaderName::RecordRoute) {
            wire.header(&HeaderName::RecordRoute, line);
        }
    }
    if let Some(from) = request.header(&HeaderName::From) {
        wire.header(&HeaderName::From, from);
    }
    if let Some(to) = request.header(&HeaderName::To) {
        write_to(&mut wire, to, response.to_tag.as_deref());
    }
    for name in [&HeaderName::CallId, &HeaderName::CSeq] {
        if let Some(value) = request.header(name) {
            wire.header(name, value);
        }
    }
    // RFC 3261 §8.2.6.1: a 100 repeats the Timestamp.
    if response.status == 100
        && let Some(timestamp) = request.header(&HeaderName::Timestamp)
    {
        wire.header(&HeaderName::Timestamp, timestamp);
    }
    if let Some(contact) = &response.contact {
        let dialog = (101..300).contains(&response.status);
        wire.contact(contact, dialog && is_sips(request.uri()));
    }
    for (name, value) in &response.headers {
        wire.header(name, value);
    }
    if let Some(server) = server {
        wire.header(&HeaderName::Server, server);
    }
    wire.body(response.body.as_ref());
    wire.finish()
}

fn is_sips(uri: &str) -> bool {
    uri.get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"))
}

fn write_to(wire: &mut Wire, to: &str, tag: Option<&str>) {
    let tagged =
        crate::message::NameAddr::parse(to).map_or(true, |address| address.tag().is_some());
    match tag {
        Some(tag) if !tagged => {
            wire.raw(b"To: ");
            wire.text(to);
            wire.raw(b";tag=");
            wire.text(tag);
            wire.raw(b"\r\n");
        }
        _ => wire.header(&HeaderName::To, to),
    }
}

/// The usual reason phrase (RFC 3261 §21 and the RFCs of each extension).
#[must_use]
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        199 => "Early Dialog Terminated",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        430 => "Flow Failed",
        439 => "First Hop Lacks Outbound Support",
        440 => "Max-Breadth Exceeded",
        469 => "Bad Info Package",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        580 => "Precondition Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Limits, Message};

    const INVITE: &str = "INVITE sip:c@d SIP/2.0\r\nv: SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bK1\r\nv: SIP/2.0/TCP b;branch=z9hG4bK2\r\nRecord-Route: <sip:p;lr>\r\nf: <sip:a@b>;tag=1\r\nt: sip:c@d\r\ni: x\r\nCSeq: 1 INVITE\r\nTimestamp: 54\r\n\r\n";

    fn written(response: &OutgoingResponse, request: &str) -> String {
        let request = Message::parse(Bytes::from(request.to_owned()), &Limits::default()).unwrap();
        let bytes = write_response(
            response,
            &request,
            "192.0.2.1:1234".parse().unwrap(),
            Some("Doorward"),
        );
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_response_copies_what_8_2_6_2_says() {
        let out = written(
            &OutgoingResponse::new(180)
                .with_to_tag("9")
                .with_contact("<sip:us>"),
            INVITE,
        );
        assert_eq!(
            out,
            "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;received=192.0.2.1;rport=1234\r\nVia: SIP/2.0/TCP b;branch=z9hG4bK2\r\nRecord-Route: <sip:p;lr>\r\nFrom: <sip:a@b>;tag=1\r\nTo: sip:c@d;tag=9\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContact: <sip:us>\r\nServer: Doorward\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn who_is_called_by_sips_answers_with_a_sips_contact() {
        let response = OutgoingResponse::new(200).with_contact("<sip:us;transport=tls>");
        let request = INVITE.replacen("sip:c@d", "SIPS:c@d", 1);
        let contact = |status: u16, request: &str| {
            let mut response = response.clone();
            response.status = status;
            let text = written(&response, request);
            let line = text.lines().find(|line| line.starts_with("Contact"));
            line.map(str::to_owned)
        };
        let secure = Some("Contact: <sips:us;transport=tls>".to_owned());
        let plain = Some("Contact: <sip:us;transport=tls>".to_owned());
        assert_eq!(contact(200, &request), secure);
        assert_eq!(contact(200, INVITE), plain);
        assert_eq!(contact(302, &request), plain, "another's address");
    }

    #[test]
    fn a_100_repeats_the_timestamp_and_no_route() {
        let out = written(&OutgoingResponse::new(100), INVITE);
        assert!(out.contains("\r\nTimestamp: 54\r\n") && !out.contains("Record-Route"));
    }

    #[test]
    fn a_tag_already_there_is_kept() {
        let request = INVITE.replace("t: sip:c@d", "t: <sip:c@d>;tag=old");
        let out = written(&OutgoingResponse::new(200).with_to_tag("new"), &request);
        assert!(out.contains("\r\nTo: <sip:c@d>;tag=old\r\n"));
    }

    #[test]
    fn a_folded_value_goes_out_in_one_line() {
        let request = INVITE.replace("t: sip:c@d", "t: <sip:c@d>\r\n ;x=y");
        assert!(
            written(&OutgoingResponse::new(486), &request).contains("\r\nTo: <sip:c@d>   ;x=y\r\n")
        );
    }

    #[test]
    fn numbers_are_written_in_full() {
        let mut wire = Wire::default();
        wire.number(0);
        wire.raw(b" ");
        wire.number(u64::MAX);
        assert_eq!(wire.finish(), "0 18446744073709551615");
    }
}
