//! The grammar of RFC 3261 §25 that requests of the field make use of, clause by clause: compact forms, folding, lists,
//! display names, URIs of every kind, unknown words, bodies; and what must never get out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may panic as tests do"
)]

use bytes::Bytes;
use sip_proxy::message::{
    HeaderName, Limits, Message, Method, OutgoingRequest, OutgoingResponse, Splice, write_request,
    write_response,
};
use sip_proxy::uri::Scheme;
use sip_proxy::{Body, Host, Uri};

fn parse(text: &str) -> Message {
    Message::parse(Bytes::from(text.to_owned()), &Limits::default()).unwrap()
}

/// `lines` are header lines; a body follows its empty line.
fn request(lines: &str) -> Message {
    let end = if lines.contains("\r\n\r\n") {
        ""
    } else {
        "\r\n"
    };
    parse(&format!(
        "INVITE sip:c@d SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
         To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n{lines}{end}"
    ))
}

fn outgoing(headers: Vec<(HeaderName, String)>) -> OutgoingRequest {
    OutgoingRequest {
        method: Method::Invite,
        uri: "sip:c@d".into(),
        from: "<sip:a@b>;tag=1".into(),
        to: "<sip:c@d>".into(),
        call_id: "x".into(),
        cseq: 1,
        max_forwards: 70,
        route: Vec::new(),
        contact: None,
        headers,
        body: None,
    }
}

const VIA: &str = "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1";

#[test]
fn every_compact_form_is_its_long_name() {
    for (compact, long) in [
        ("a", "Accept-Contact"),
        ("b", "Referred-By"),
        ("c", "Content-Type"),
        ("d", "Request-Disposition"),
        ("e", "Content-Encoding"),
        ("f", "From"),
        ("i", "Call-ID"),
        ("j", "Reject-Contact"),
        ("k", "Supported"),
        ("l", "Content-Length"),
        ("m", "Contact"),
        ("o", "Event"),
        ("r", "Refer-To"),
        ("s", "Subject"),
        ("t", "To"),
        ("u", "Allow-Events"),
        ("v", "Via"),
        ("x", "Session-Expires"),
    ] {
        for name in [compact.to_owned(), compact.to_uppercase()] {
            assert_eq!(
                HeaderName::from_token(&name),
                HeaderName::from_token(long),
                "{name}"
            );
        }
    }
}

#[test]
fn a_message_in_compact_forms_only_is_read() {
    let message = parse(
        "INVITE sip:c@d SIP/2.0\r\nv: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nf: <sip:a@b>;tag=1\r\nt: <sip:c@d>\r\n\
         i: x\r\nCSeq: 1 INVITE\r\nm: <sip:a@192.0.2.1>\r\nc: text/plain\r\nl: 2\r\n\r\nab",
    );
    assert_eq!(message.from_tag(), Some("1"));
    assert_eq!(message.contacts().unwrap().list().len(), 1);
    assert_eq!((message.call_id(), message.body()), ("x", &b"ab"[..]));
}

#[test]
fn a_folded_value_is_one_value_and_is_written_on_one_line() {
    let message =
        request("Subject: one\r\n two\r\n\tthree\r\nRoute: <sip:p;lr>,\r\n <sip:q;lr>\r\n");
    let subject = message.header(&HeaderName::Subject).unwrap();
    let words: Vec<&str> = subject.split_whitespace().collect();
    assert_eq!(words, ["one", "two", "three"]);
    assert_eq!(message.values(&HeaderName::Route).count(), 2);
    let copied = outgoing(vec![(HeaderName::Subject, subject.to_owned())]);
    let written = write_request(&copied, VIA, None);
    let text = String::from_utf8(written.to_vec()).unwrap();
    let lines: Vec<&str> = text
        .split("\r\n")
        .filter(|line| line.starts_with("Subject"))
        .collect();
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].contains("one") && lines[0].contains("three"),
        "{lines:?}"
    );
}

#[test]
fn display_names_are_tokens_quoted_strings_and_escapes() {
    for (value, name) in [
        ("<sip:a@b>", None),
        ("Front Door <sip:a@b>", Some("Front Door")),
        ("\"Front, Door\" <sip:a@b>", Some("Front, Door")),
        ("\"a \\\"b\\\" \\\\c\" <sip:a@b>", Some("a \"b\" \\c")),
        ("\"\" <sip:a@b>", Some("")),
        ("\"<sip:evil@x>\" <sip:a@b>", Some("<sip:evil@x>")),
    ] {
        let message = parse(&format!(
            "INVITE sip:c@d SIP/2.0\r\nVia: {VIA}\r\nFrom: {value};tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n"
        ));
        let from = message.from();
        assert_eq!(
            (from.display.as_deref(), from.uri),
            (name, "sip:a@b"),
            "{value}"
        );
        assert_eq!(message.from_tag(), Some("1"), "{value}");
    }
}

#[test]
fn a_telephone_number_is_read_without_its_punctuation_being_lost() {
    let uri = Uri::parse("tel:+420-601-234-567;phone-context=example.com").unwrap();
    assert_eq!(uri.scheme(), Scheme::Tel);
    assert_eq!(
        uri.to_string(),
        "tel:+420-601-234-567;phone-context=example.com"
    );
    assert_eq!(uri.param("phone-context"), Some("example.com"));
    // RFC 3966 section 4: visual separators do not count.
    assert_eq!(
        uri,
        Uri::parse("tel:+420601234567;phone-context=example.com").unwrap()
    );
    assert_ne!(
        uri,
        Uri::parse("tel:+420601234568;phone-context=example.com").unwrap()
    );
}

#[test]
fn sips_is_a_scheme_of_its_own() {
    let uri = Uri::parse("sips:a@b").unwrap();
    assert_eq!(uri.scheme(), Scheme::Sips);
    assert_ne!(uri, Uri::parse("sip:a@b").unwrap());
}

#[test]
fn an_ipv6_literal_is_an_address_wherever_it_stands() {
    let uri = Uri::parse("sip:a@[2001:db8::9]:5070;transport=tcp").unwrap();
    assert_eq!(uri.host(), Host::V6("2001:db8::9".parse().unwrap()));
    assert_eq!(
        (uri.port(), uri.param("transport")),
        (Some(5070), Some("tcp"))
    );
    let message = parse(
        "OPTIONS sip:[2001:db8::9] SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::1]:5062;branch=z9hG4bK1\r\n\
         From: <sip:a@[2001:db8::1]>;tag=1\r\nTo: <sip:[2001:db8::9]>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\
         Contact: <sip:a@[2001:db8::1]:5062>\r\n\r\n",
    );
    assert_eq!(message.top_via().port, Some(5062));
    let source = "[2001:db8::1]:40000".parse().unwrap();
    let written = write_response(&OutgoingResponse::new(200), &message, source, None);
    let text = String::from_utf8(written.to_vec()).unwrap();
    assert!(
        text.contains("Via: SIP/2.0/UDP [2001:db8::1]:5062;branch=z9hG4bK1\r\n"),
        "{text}"
    );
}

#[test]
fn unknown_methods_headers_and_schemes_are_carried_untouched() {
    let text = "BREW coffee://pot SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <isbn:1>;tag=1\r\n\
                To: <http://x>\r\nCall-ID: x\r\nCSeq: 1 BREW\r\nX-Sugar:  two ;;,, lumps\r\nMax-Forwards: 70\r\n\
                Content-Type: x/y\r\nContent-Length: 4\r\n\r\n\0\r\n?";
    let mut octets = text.as_bytes().to_vec();
    octets.pop();
    octets.push(0xff);
    let message = Message::parse(Bytes::from(octets.clone()), &Limits::default()).unwrap();
    assert_eq!(message.method().as_str(), "BREW");
    assert_eq!(message.request_uri().unwrap().scheme(), Scheme::Other);
    assert_eq!(
        message.header(&HeaderName::from_token("x-sugar")),
        Some("two ;;,, lumps")
    );
    assert_eq!(message.body(), b"\0\r\n\xff");
    // Passed on, all but the edits is as it came.
    let passed = Splice::new(&message)
        .push_via("SIP/2.0/TCP p;branch=z9hG4bK2")
        .max_forwards(69)
        .finish();
    let mut wanted =
        String::from_utf8_lossy(&octets).replace("Max-Forwards: 70", "Max-Forwards: 69");
    let via = wanted.find("Via").unwrap();
    wanted.insert_str(via, "Via: SIP/2.0/TCP p;branch=z9hG4bK2\r\n");
    assert_eq!(String::from_utf8_lossy(&passed), wanted);
}

fn multipart(boundary: &str, body: &str) -> Message {
    request(&format!(
        "Content-Type: multipart/mixed;boundary={boundary}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn strip(message: &Message, kind: &str) -> Option<String> {
    message
        .part(kind)
        .map(|part| String::from_utf8(part.to_vec()).unwrap())
}

#[test]
fn a_session_description_is_found_in_a_multipart_body() {
    let body = "preamble\r\n--b1\r\nContent-Type: application/isup;version=x\r\n\r\n\u{1}\u{2}\r\n\
                --b1\r\nc: application/sdp\r\nContent-Disposition: session\r\n\r\nv=0\r\ns=-\r\n\r\n--b1--\r\nepilogue";
    for boundary in ["b1", "\"b1\""] {
        let message = multipart(boundary, body);
        assert_eq!(
            strip(&message, "application/sdp").as_deref(),
            Some("v=0\r\ns=-\r\n")
        );
        let alone = message.reduced_to("application/sdp").unwrap();
        assert_eq!(alone.content_type(), Some("application/sdp"));
        assert_eq!(alone.body(), b"v=0\r\ns=-\r\n");
        assert_eq!(alone.call_id(), message.call_id());
    }
}

#[test]
fn a_multipart_within_a_multipart_is_looked_into_and_not_for_ever() {
    let nest = |depth: usize| {
        let mut body = "v=0\r\n".to_owned();
        let mut kind = "application/sdp".to_owned();
        for n in 0..depth {
            body = format!("--n{n}\r\nContent-Type: {kind}\r\n\r\n{body}\r\n--n{n}--\r\n");
            kind = format!("multipart/alternative; boundary=n{n}");
        }
        let text = format!(
            "Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        strip(&request(&text), "application/sdp")
    };
    assert_eq!(nest(2).as_deref(), Some("v=0\r\n"));
    assert_eq!(nest(9), None);
}

#[test]
fn a_broken_multipart_has_no_parts_and_is_no_fault() {
    for body in [
        "",
        "--b1",
        "--b1\r\n",
        "--b1--",
        "b1\r\n--b2\r\n\r\nx",
        "--b1\r\nContent-Type: application/sdp",
    ] {
        assert_eq!(
            strip(&multipart("b1", body), "application/sdp"),
            None,
            "{body}"
        );
    }
    assert_eq!(
        strip(&multipart("", "--\r\n\r\nx"), "application/sdp"),
        None
    );
    let plain = request("Content-Type: application/sdp\r\nContent-Length: 3\r\n\r\nv=0");
    assert!(plain.reduced_to("application/sdp").is_none());
}

#[test]
fn no_line_end_or_nul_that_came_in_goes_out() {
    let hostile = "x\r\nAction: buzz\nEvil: 1\0\r";
    let mut request = outgoing(vec![
        (HeaderName::Subject, hostile.to_owned()),
        (HeaderName::from_token("X-\r\nAction"), hostile.to_owned()),
    ]);
    request.uri = format!("sip:{hostile}@d");
    request.from = format!("\"{hostile}\" <sip:a@b>;tag=1");
    request.call_id = hostile.to_owned();
    request.route = vec![hostile.to_owned()];
    request.contact = Some(hostile.to_owned());
    request.body = Some(Body {
        content_type: hostile.to_owned(),
        bytes: Bytes::new(),
    });
    let written = write_request(&request, VIA, Some(hostile));
    let text = String::from_utf8(written.to_vec()).unwrap();
    assert!(!text.contains('\0'));
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{text:?}");
    let names: Vec<&str> = text
        .split("\r\n")
        .filter_map(|line| line.split(':').next())
        .collect();
    assert!(
        !names
            .iter()
            .any(|name| name.starts_with("Action") || name.starts_with("Evil")),
        "{text}"
    );
}
