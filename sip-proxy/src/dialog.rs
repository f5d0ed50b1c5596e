//! Dialog: what two user agents remember of each other (RFC 3261 section 12).
//!
//! A value without timers: the call that owns it decides when it begins and ends. It reads received requests for
//! order and target, and writes requests of its own with the right Route, CSeq and tags.

use crate::message::{HeaderName, Message, Method, NameAddr, OutgoingRequest, Uri};
use crate::transport::Flow;

/// A refusal: the status and reason phrase to answer with. Not an error of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// SIP status, 300-699.
    pub status: u16,
    /// Reason phrase.
    pub reason: &'static str,
}

impl Reject {
    /// A refusal with its own words.
    #[must_use]
    pub const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason }
    }
}

/// Routes remembered per dialog; a longer Record-Route is refused (400, or no dialog from a response).
const MAX_ROUTES: usize = 32;

/// One side's state of a dialog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// The peer's tag; empty for an RFC 2543 peer that has none (12.1.1).
    pub remote_tag: String,
    /// Our name-addr, without tag.
    pub local: String,
    /// The peer's name-addr, without tag.
    pub remote: String,
    /// The peer's Contact URI.
    pub remote_target: String,
    /// Route values in the order we send them.
    pub route_set: Vec<String>,
    /// CSeq of our latest request.
    pub local_cseq: u32,
    /// CSeq of the peer's latest request.
    pub remote_cseq: Option<u32>,
    /// Where the peer's message that made the dialog came from.
    pub flow: Flow,
    /// Whether it was set up by a sips Request-URI over TLS (12.1).
    pub secure: bool,
}

impl Dialog {
    /// The UAS's dialog from the request that creates it (12.1.1); `local_tag` is the tag our response carries.
    ///
    /// # Errors
    /// 400 when Contact is missing, or Contact or Record-Route malformed or too long. An RFC 2543 element, known by its
    /// From without a tag, needs no Contact (RFC 4475 §3.4.1): it is reached by what its From says.
    pub fn from_request(request: &Message, local_tag: &str, flow: Flow) -> Result<Self, Reject> {
        let from = request.from();
        let old = || from.tag().is_none().then(|| from.uri.to_owned());
        let target = contact_uri(request)?.or_else(old);
        Ok(Self {
            call_id: request.call_id().to_owned(),
            local_tag: local_tag.to_owned(),
            remote_tag: from.tag().unwrap_or_default().to_owned(),
            local: address(&request.to()),
            remote: address(&from),
            remote_target: target.ok_or(Reject::new(400, "Missing Contact"))?,
            route_set: record_routes(request)?,
            local_cseq: 0,
            remote_cseq: Some(request.cseq()),
            flow,
            secure: flow.transport.is_secure() && is_sips(request.uri()),
        })
    }

    /// The UAC's dialog from a 101-299 with a To tag (12.1.2); `sent` is our request.
    ///
    /// # Errors
    /// 400 when the response has no tag, or its Contact or Record-Route is malformed.
    pub fn from_response(
        sent: &OutgoingRequest,
        response: &Message,
        flow: Flow,
    ) -> Result<Self, Reject> {
        let to = response.to();
        let mut route_set = record_routes(response)?;
        route_set.reverse();
        // Some door panels leave Contact out of a 180; the request's own URI is then the best target known.
        let target = contact_uri(response)?.unwrap_or_else(|| sent.uri.clone());
        Ok(Self {
            call_id: response.call_id().to_owned(),
            local_tag: response.from_tag().unwrap_or_default().to_owned(),
            remote_tag: to
                .tag()
                .ok_or(Reject::new(400, "Missing To Tag"))?
                .to_owned(),
            local: address(&response.from()),
            remote: address(&to),
            remote_target: target,
            route_set,
            local_cseq: sent.cseq,
            remote_cseq: None,
            flow,
            secure: flow.transport.is_secure() && is_sips(&sent.uri),
        })
    }

    /// A request within the dialog (12.2.1.1). Counts CSeq up, except for ACK and CANCEL, which take the number of
    /// their INVITE: see [`Self::ack`].
    #[must_use]
    pub fn request(&mut self, method: Method) -> OutgoingRequest {
        if !matches!(method, Method::Ack | Method::Cancel) {
            self.local_cseq = self.local_cseq.saturating_add(1);
        }
        self.write(method, self.local_cseq)
    }

    /// The ACK for the 2xx to our INVITE with this CSeq (13.2.2.4).
    #[must_use]
    pub fn ack(&self, invite_cseq: u32) -> OutgoingRequest {
        self.write(Method::Ack, invite_cseq)
    }

    fn write(&self, method: Method, cseq: u32) -> OutgoingRequest {
        let (uri, route) = self.routed();
        OutgoingRequest {
            method,
            uri,
            from: tagged(&self.local, &self.local_tag),
            to: tagged(&self.remote, &self.remote_tag),
            call_id: self.call_id.clone(),
            cseq,
            max_forwards: 70,
            route,
            contact: None,
            headers: Vec::new(),
            body: None,
        }
    }

    /// Request-URI and Route: as they are for a loose first route, exchanged for a strict one.
    fn routed(&self) -> (String, Vec<String>) {
        match self.route_set.split_first() {
            Some((first, rest)) if !is_loose(first) => {
                let mut route = rest.to_vec();
                route.push(format!("<{}>", self.remote_target));
                (uri_of(first).to_owned(), route)
            }
            _ => (self.remote_target.clone(), self.route_set.clone()),
        }
    }

    /// The URI the next request goes to by RFC 3263: the first route or the remote target.
    #[must_use]
    pub fn next_hop(&self) -> &str {
        self.route_set
            .first()
            .map_or(self.remote_target.as_str(), |first| uri_of(first))
    }

    /// Checks and takes the order number of a request of the peer (12.2.2). ACK and CANCEL carry their INVITE's
    /// number and always pass.
    ///
    /// # Errors
    /// 500 for a number not above the latest one.
    pub fn receive(&mut self, request: &Message) -> Result<(), Reject> {
        if matches!(request.method(), Method::Ack | Method::Cancel) {
            return Ok(());
        }
        let cseq = request.cseq();
        if self.remote_cseq.is_some_and(|last| cseq <= last) {
            return Err(Reject::new(500, "CSeq Out of Order"));
        }
        self.remote_cseq = Some(cseq);
        Ok(())
    }

    /// Takes the Contact of a target refresh request or of its 2xx (12.2.1.2, 12.2.2); a message without one, or
    /// with an unreadable one, changes nothing.
    pub fn refresh_target(&mut self, message: &Message) {
        if let Ok(Some(uri)) = contact_uri(message) {
            self.remote_target = uri;
        }
    }

    /// Whether a message belongs here: Call-ID and both tags (12.2.2), whichever side wrote From.
    #[must_use]
    pub fn matches(&self, message: &Message) -> bool {
        if message.call_id() != self.call_id {
            return false;
        }
        let from = message.from_tag().unwrap_or_default();
        let to = message.to_tag().unwrap_or_default();
        let (ours, theirs) = if message.is_request() {
            (to, from)
        } else {
            (from, to)
        };
        ours == self.local_tag && theirs == self.remote_tag
    }
}

/// `"Name" <uri>`, without parameters: the tag is kept apart and other parameters belong to the message they came in.
fn address(name_addr: &NameAddr<'_>) -> String {
    let mut out = String::with_capacity(name_addr.uri.len() + 32);
    if let Some(display) = &name_addr.display {
        out.push('"');
        for c in display.chars() {
            if matches!(c, '"' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push_str("\" ");
    }
    out.push('<');
    out.push_str(name_addr.uri);
    out.push('>');
    out
}

fn tagged(address: &str, tag: &str) -> String {
    if tag.is_empty() {
        address.to_owned()
    } else {
        format!("{address};tag={tag}")
    }
}

fn record_routes(message: &Message) -> Result<Vec<String>, Reject> {
    let mut routes = Vec::new();
    for value in message.values(&HeaderName::RecordRoute) {
        if routes.len() == MAX_ROUTES || NameAddr::parse(value).is_err() {
            return Err(Reject::new(400, "Bad Record-Route"));
        }
        routes.push(value.to_owned());
    }
    Ok(routes)
}

fn contact_uri(message: &Message) -> Result<Option<String>, Reject> {
    let Some(value) = message.values(&HeaderName::Contact).next() else {
        return Ok(None);
    };
    match NameAddr::parse(value) {
        Ok(contact) => Ok(Some(contact.uri.to_owned())),
        Err(_) => Err(Reject::new(400, "Bad Contact")),
    }
}

/// The URI inside a Route value.
pub(crate) fn uri_of(route: &str) -> &str {
    NameAddr::parse(route).map_or(route, |addr| addr.uri)
}

/// Whether a Route value is a loose router's: its URI has the `lr` parameter (19.1.1).
pub(crate) fn is_loose(route: &str) -> bool {
    Uri::parse(uri_of(route)).is_ok_and(|uri| uri.param("lr").is_some())
}

fn is_sips(uri: &str) -> bool {
    uri.get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::transport::Transport;

    fn flow() -> Flow {
        Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "192.0.2.9:5060".parse().unwrap(),
            connection: None,
        }
    }

    /// A message of one call: `start` line, tags, CSeq and further lines.
    fn message(start: &str, tags: (&str, &str), cseq: &str, lines: &str) -> Message {
        let to = if tags.1.is_empty() {
            String::new()
        } else {
            format!(";tag={}", tags.1)
        };
        let text = format!(
            "{start}\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nFrom: \"Front \\\"A\\\"\" <sip:door@x>;tag={}\r\n\
             To: <sip:desk@x>{to}\r\nCall-ID: c\r\nCSeq: {cseq}\r\n{lines}Content-Length: 0\r\n\r\n",
            tags.0
        );
        Message::parse(Bytes::from(text), &Default::default()).unwrap()
    }

    fn invite(lines: &str) -> Message {
        message("INVITE sip:desk@x SIP/2.0", ("f", ""), "7 INVITE", lines)
    }

    fn uas(lines: &str) -> Dialog {
        Dialog::from_request(&invite(lines), "ours", flow()).unwrap()
    }

    const CONTACT: &str = "Contact: <sip:door@192.0.2.9:5070>\r\n";

    #[test]
    fn a_uas_dialog_has_the_routes_in_order_and_the_peer_as_target() {
        let mut dialog = uas(&format!(
            "{CONTACT}Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\n"
        ));
        let bye = dialog.request(Method::Bye);
        assert_eq!((bye.uri.as_str(), bye.cseq), ("sip:door@192.0.2.9:5070", 1));
        assert_eq!(bye.route, ["<sip:p1;lr>", "<sip:p2;lr>"]);
        assert_eq!(bye.from, "<sip:desk@x>;tag=ours");
        assert_eq!(bye.to, "\"Front \\\"A\\\"\" <sip:door@x>;tag=f");
        assert_eq!(dialog.next_hop(), "sip:p1;lr");
    }

    #[test]
    fn a_uac_dialog_has_the_routes_reversed_and_goes_on_counting() {
        let sent = OutgoingRequest {
            method: Method::Invite,
            uri: "sip:desk@x".into(),
            from: "<sip:door@x>;tag=f".into(),
            to: "<sip:desk@x>".into(),
            call_id: "c".into(),
            cseq: 7,
            max_forwards: 70,
            route: Vec::new(),
            contact: None,
            headers: Vec::new(),
            body: None,
        };
        let ok = message(
            "SIP/2.0 200 OK",
            ("f", "t"),
            "7 INVITE",
            &format!("{CONTACT}Record-Route: <sip:p2;lr>, <sip:p1;lr>\r\n"),
        );
        let mut dialog = Dialog::from_response(&sent, &ok, flow()).unwrap();
        assert_eq!(dialog.route_set, ["<sip:p1;lr>", "<sip:p2;lr>"]);
        assert_eq!(
            (
                dialog.ack(7).cseq,
                dialog.request(Method::Info).cseq,
                dialog.ack(7).cseq
            ),
            (7, 8, 7)
        );
        assert!(dialog.matches(&ok));
        let bare = message("SIP/2.0 180 Ringing", ("f", "t"), "7 INVITE", "");
        assert_eq!(
            Dialog::from_response(&sent, &bare, flow())
                .unwrap()
                .remote_target,
            "sip:desk@x"
        );
        let untagged = message("SIP/2.0 200 OK", ("f", ""), "7 INVITE", CONTACT);
        assert!(Dialog::from_response(&sent, &untagged, flow()).is_err());
    }

    #[test]
    fn a_strict_first_route_takes_the_request_uris_place() {
        let mut dialog = uas(&format!(
            "{CONTACT}Record-Route: <sip:strict>, <sip:p2;lr>\r\n"
        ));
        let bye = dialog.request(Method::Bye);
        assert_eq!(bye.uri, "sip:strict");
        assert_eq!(bye.route, ["<sip:p2;lr>", "<sip:door@192.0.2.9:5070>"]);
    }

    #[test]
    fn a_request_without_or_with_a_broken_contact_makes_no_dialog() {
        assert_eq!(
            Dialog::from_request(&invite(""), "ours", flow())
                .unwrap_err()
                .status,
            400
        );
        let broken = invite("Contact: <sip:a\r\n");
        assert_eq!(
            Dialog::from_request(&broken, "ours", flow())
                .unwrap_err()
                .status,
            400
        );
        let long = format!(
            "{CONTACT}{}",
            "Record-Route: <sip:p;lr>\r\n".repeat(MAX_ROUTES + 1)
        );
        assert_eq!(
            Dialog::from_request(&invite(&long), "ours", flow())
                .unwrap_err()
                .status,
            400
        );
    }

    #[test]
    fn an_rfc_2543_request_needs_no_contact() {
        let text = "INVITE sip:desk@x SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9\r\nFrom: <sip:door@x>\r\n\
                    To: <sip:desk@x>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n\r\n";
        let invite = Message::parse(Bytes::from(text), &Default::default()).unwrap();
        let mut dialog = Dialog::from_request(&invite, "ours", flow()).unwrap();
        let bye = dialog.request(Method::Bye);
        assert_eq!(
            (bye.uri.as_str(), bye.to.as_str()),
            ("sip:door@x", "<sip:door@x>")
        );
    }

    #[test]
    fn the_peers_numbers_must_grow() {
        let mut dialog = uas(CONTACT);
        let at = |cseq: &str| message("INFO sip:desk@x SIP/2.0", ("f", "ours"), cseq, "");
        assert_eq!(dialog.receive(&at("7 INFO")).unwrap_err().status, 500);
        assert_eq!(dialog.receive(&at("9 INFO")), Ok(()));
        assert!(dialog.receive(&at("8 INFO")).is_err());
        let ack = message("ACK sip:desk@x SIP/2.0", ("f", "ours"), "7 ACK", "");
        assert_eq!(dialog.receive(&ack), Ok(()));
    }

    #[test]
    fn a_target_refresh_takes_the_new_contact_only() {
        let mut dialog = uas(CONTACT);
        dialog.refresh_target(&message(
            "INVITE sip:desk@x SIP/2.0",
            ("f", "ours"),
            "8 INVITE",
            "Contact: <sip:new@y>\r\n",
        ));
        assert_eq!(dialog.remote_target, "sip:new@y");
        dialog.refresh_target(&message(
            "INVITE sip:desk@x SIP/2.0",
            ("f", "ours"),
            "9 INVITE",
            "",
        ));
        assert_eq!(dialog.remote_target, "sip:new@y");
    }

    #[test]
    fn a_dialog_is_matched_by_call_id_and_both_tags() {
        let dialog = uas(CONTACT);
        let with = |tags| message("BYE sip:desk@x SIP/2.0", tags, "8 BYE", "");
        assert!(dialog.matches(&with(("f", "ours"))));
        assert!(!dialog.matches(&with(("f", "guess"))));
        assert!(!dialog.matches(&with(("other", "ours"))));
    }
}
