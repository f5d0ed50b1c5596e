//! What a user agent server looks at before it acts on a request (RFC 3261 §8.2.1 to §8.2.3).

use crate::message::method::Method;
use crate::message::name::HeaderName;
use crate::message::validate::Message;
use crate::message::write::OutgoingResponse;
use crate::uri::Scheme;

/// What an element understands; a request that needs more is refused with the status its RFC names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Methods, for Allow.
    pub methods: Vec<Method>,
    /// Option tags, for Supported.
    pub options: Vec<String>,
    /// Body types without parameters, for Accept.
    pub content_types: Vec<String>,
}

impl Capabilities {
    /// Inspects a request in the order of §8.2: method, Request-URI, Require, body, Accept.
    ///
    /// # Errors
    /// The refusal, complete but for its tag: 501 or 405 with Allow, 400, 416, 420 with Unsupported, 415 with Accept or
    /// Accept-Encoding, 406; it follows from the request alone and so keeps no transaction (§8.2.7). A CANCEL or ACK is
    /// never refused for its Require (§8.2.2.3).
    pub fn inspect(&self, request: &Message) -> Result<(), Box<OutgoingResponse>> {
        self.first_fault(request).map_err(|mut refusal| {
            refusal.stateless = true;
            refusal
        })
    }

    fn first_fault(&self, request: &Message) -> Result<(), Box<OutgoingResponse>> {
        self.method(request)?;
        self.addressed(request)?;
        if !matches!(request.method(), Method::Ack | Method::Cancel) {
            self.extensions(request, &HeaderName::Require)?;
        }
        self.body(request)?;
        self.accept(request)
    }

    fn method(&self, request: &Message) -> Result<(), Box<OutgoingResponse>> {
        if self.methods.contains(request.method()) {
            return Ok(());
        }
        let status = if request.method().is_known() {
            405
        } else {
            501
        };
        Err(Box::new(
            OutgoingResponse::new(status).with_header(HeaderName::Allow, self.allow()),
        ))
    }

    /// Checks the Request-URI alone.
    ///
    /// # Errors
    /// 400 for one that cannot be read or has headers, 416 for a scheme that is neither SIP's nor a telephone number's.
    pub fn addressed(&self, request: &Message) -> Result<(), Box<OutgoingResponse>> {
        let refuse = |status, reason| {
            let mut refusal = OutgoingResponse::new(status).with_reason(reason);
            refusal.stateless = true;
            Err(Box::new(refusal))
        };
        match request.request_uri() {
            Err(_) => refuse(400, "Malformed Request-URI"),
            Ok(uri) if uri.scheme() == Scheme::Other => refuse(416, "Unsupported URI Scheme"),
            // §19.1.1, table 1: no headers in a Request-URI.
            Ok(uri) if uri.headers().next().is_some() => refuse(400, "Headers in Request-URI"),
            Ok(_) => Ok(()),
        }
    }

    /// Checks Require (user agents) or Proxy-Require (proxies, §16.3 step 5) alone.
    ///
    /// # Errors
    /// 420 with Unsupported.
    pub fn extensions(
        &self,
        request: &Message,
        name: &HeaderName,
    ) -> Result<(), Box<OutgoingResponse>> {
        let known = |tag: &str| {
            self.options
                .iter()
                .any(|option| option.eq_ignore_ascii_case(tag))
        };
        let unknown: Vec<&str> = request.values(name).filter(|tag| !known(tag)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let mut refusal =
            OutgoingResponse::new(420).with_header(HeaderName::Unsupported, unknown.join(", "));
        refusal.stateless = true;
        Err(Box::new(refusal))
    }

    fn body(&self, request: &Message) -> Result<(), Box<OutgoingResponse>> {
        if request.body().is_empty() {
            return Ok(());
        }
        let encoding = request
            .header(&HeaderName::ContentEncoding)
            .filter(|value| !value.eq_ignore_ascii_case("identity"));
        if encoding.is_some() {
            return Err(Box::new(
                OutgoingResponse::new(415).with_header(HeaderName::AcceptEncoding, "identity"),
            ));
        }
        // §20.11, §13.2.1: `handling=optional` lets a body be left aside.
        let optional = request
            .header(&HeaderName::ContentDisposition)
            .is_some_and(|value| {
                value
                    .to_ascii_lowercase()
                    .replace(' ', "")
                    .contains("handling=optional")
            });
        let known = request
            .content_type()
            .is_some_and(|value| self.takes(value));
        if known || optional {
            return Ok(());
        }
        Err(Box::new(OutgoingResponse::new(415).with_header(
            HeaderName::Accept,
            self.content_types.join(", "),
        )))
    }

    /// An INVITE whose Accept leaves no session description we could answer with: 406 (RFC 4475 §3.3.15).
    fn accept(&self, request: &Message) -> Result<(), Box<OutgoingResponse>> {
        if *request.method() != Method::Invite || request.header(&HeaderName::Accept).is_none() {
            return Ok(());
        }
        let wanted = |range: &str| {
            let range = essence(range);
            let (kind, sub) = range.split_once('/').unwrap_or((range, ""));
            kind == "*"
                || (kind.eq_ignore_ascii_case("application")
                    && (sub == "*" || sub.eq_ignore_ascii_case("sdp")))
        };
        if request.values(&HeaderName::Accept).any(wanted) {
            Ok(())
        } else {
            Err(Box::new(OutgoingResponse::new(406)))
        }
    }

    fn takes(&self, content_type: &str) -> bool {
        self.content_types
            .iter()
            .any(|known| known.eq_ignore_ascii_case(essence(content_type)))
    }

    /// The Allow value.
    #[must_use]
    pub fn allow(&self) -> String {
        self.methods
            .iter()
            .map(Method::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The Supported value.
    #[must_use]
    pub fn supported(&self) -> String {
        self.options.join(", ")
    }
}

/// A media type without its parameters.
fn essence(value: &str) -> &str {
    value.split(';').next().unwrap_or("").trim()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::Limits;

    fn inspect(line: &str, extra: &str, body: &str) -> Result<(), Box<OutgoingResponse>> {
        let method = line.split(' ').next().unwrap();
        let text = format!(
            "{line} SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\n{extra}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let message = Message::parse(Bytes::from(text), &Limits::default()).unwrap();
        let capabilities = Capabilities {
            methods: vec![Method::Invite, Method::Ack],
            options: vec!["timer".into()],
            content_types: vec!["application/sdp".into()],
        };
        capabilities.inspect(&message)
    }

    fn status(line: &str, extra: &str, body: &str) -> u16 {
        inspect(line, extra, body).unwrap_err().status
    }

    #[test]
    fn a_request_within_our_means_passes() {
        assert_eq!(
            inspect(
                "INVITE sip:a@b",
                "Require: Timer\r\nc: application/sdp;x=y\r\nAccept: application/*\r\n",
                "v=0"
            ),
            Ok(())
        );
    }

    #[test]
    fn an_unknown_method_is_501_and_a_known_one_not_served_405() {
        assert_eq!(status("BREW sip:a@b", "", ""), 501);
        assert_eq!(status("BYE sip:a@b", "", ""), 405);
    }

    #[test]
    fn the_request_uri_is_looked_at() {
        assert_eq!(status("INVITE soap.beep://a", "", ""), 416);
        assert_eq!(status("INVITE sip:2001:db8::10", "", ""), 400);
        assert_eq!(status("INVITE sip:a@b?Route=%3Csip:c%3E", "", ""), 400);
    }

    #[test]
    fn unknown_options_are_listed_but_never_for_an_ack() {
        let refusal = inspect("INVITE sip:a@b", "Require: timer, x, y\r\n", "").unwrap_err();
        assert_eq!(
            refusal.headers,
            [(HeaderName::Unsupported, "x, y".to_owned())]
        );
        assert_eq!(inspect("ACK sip:a@b", "Require: x\r\n", ""), Ok(()));
    }

    #[test]
    fn an_unknown_body_is_415_unless_optional() {
        assert_eq!(status("INVITE sip:a@b", "c: text/plain\r\n", "x"), 415);
        assert_eq!(
            status("INVITE sip:a@b", "c: application/sdp\r\ne: gzip\r\n", "x"),
            415
        );
        assert_eq!(
            inspect(
                "INVITE sip:a@b",
                "c: text/plain\r\nContent-Disposition: x; handling=optional\r\n",
                "x"
            ),
            Ok(())
        );
    }
}
