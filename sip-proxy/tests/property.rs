//! Properties of the message layer: any octets are read without a panic, what is written is read back, and nothing
//! handed in can add a line to what goes out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may panic as tests do"
)]

use bytes::Bytes;
use proptest::prelude::*;
use sip_proxy::message::{
    Contact, HeaderName, Limits, Message, Method, NameAddr, OutgoingRequest, OutgoingResponse, Via,
    write_request, write_response,
};
use sip_proxy::{Body, Frame, Framer, Splice, Uri};

const SEED: &str = "INVITE sip:101@house.example;x=y SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::1]:5060;rport;branch=z9hG4bK1, SIP/2.0/TCP b;branch=z9hG4bK2\r\nv: SIP/2.0/UDP c\r\nMax-Forwards: 70\r\nf: \"A \\\"B\\\"\" <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x@y\r\nCSeq: 20\r\n INVITE\r\nRoute: <sip:p;lr>, <sip:q;lr>\r\nContact: <sip:a@b:5060>;q=0.5\r\nX-Any: ;;,,\r\nl: 4\r\n\r\nabcd";

fn limits() -> Limits {
    Limits::default()
}

/// Reads everything a message offers.
fn touch(message: &Message) {
    let _ = (
        message.request_uri(),
        message.contacts(),
        message.vias().count(),
        message.top_via(),
    );
    let _ = (
        message.from(),
        message.to(),
        message.max_forwards(),
        message.expires(),
        message.body_bytes(),
    );
    for (name, _) in message.all_headers() {
        let name = HeaderName::from_token(name);
        let _ = (
            message.values(&name).count(),
            message.has_option(&name, "x"),
            message.header(&name),
        );
    }
    let _ = format!("{message:?}");
}

/// Text that tries hard to break out of its line.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ -~\r\n\0]{0,40}",
        Just("x\r\nAction: buzz\r\n\r\nINVITE sip:a SIP/2.0".to_owned()),
        Just("x\rEvil: 1\n\tEvil: 2\0".to_owned()),
    ]
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![
        Just(Method::Invite),
        Just(Method::Bye),
        "[A-Z]{1,8}".prop_map(|m| Method::from_token(&m))
    ]
}

fn request() -> impl Strategy<Value = OutgoingRequest> {
    let headers = prop::collection::vec(("[A-Za-z-]{2,12}", "[!-~]{0,20}( [!-~]{1,9})?"), 0..8);
    (
        method(),
        "[a-z0-9]{1,9}",
        "[a-z0-9]{1,16}",
        0..(1_u32 << 31),
        any::<u8>(),
        headers,
        prop::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(
            |(method, user, call_id, cseq, max_forwards, headers, body)| OutgoingRequest {
                method,
                uri: format!("sip:{user}@house.example"),
                from: format!("<sip:{user}@house.example>;tag=f"),
                to: "<sip:101@house.example>".into(),
                call_id,
                cseq,
                max_forwards,
                route: vec!["<sip:edge.example;lr>".into()],
                contact: Some("<sip:192.0.2.1>".into()),
                headers: headers
                    .into_iter()
                    .map(|(name, value)| (HeaderName::Other(format!("X-{name}").into()), value))
                    .collect(),
                body: Some(Body {
                    content_type: "application/octet-stream".into(),
                    bytes: body.into(),
                }),
            },
        )
}

fn lines(bytes: &[u8]) -> usize {
    bytes.windows(2).filter(|pair| pair == b"\r\n").count()
}

/// Every line end is a CRLF and the number of lines is the expected one.
fn check_lines(bytes: &[u8], expected: usize) -> Result<(), TestCaseError> {
    prop_assert_eq!(lines(bytes), expected);
    for octet in [b'\r', b'\n'] {
        prop_assert_eq!(
            bytes.iter().filter(|byte| **byte == octet).count(),
            expected
        );
    }
    prop_assert!(!bytes.contains(&0));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_are_read_without_a_panic(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(message) = Message::parse(octets.into(), &limits()) {
            touch(&message);
        }
    }

    #[test]
    fn a_damaged_message_is_read_without_a_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(b'\r'), Just(b'\n'), Just(0), Just(b'"'), Just(b'<'), Just(b';'), Just(b','), any::<u8>()]), 1..6),
        length in any::<prop::sample::Index>(),
    ) {
        let mut octets = SEED.as_bytes().to_vec();
        for (at, byte) in cuts {
            let at = at.index(octets.len());
            octets[at] = byte;
        }
        for octets in [octets.clone(), octets[..length.index(octets.len())].to_vec()] {
            let source = "192.0.2.1:5060".parse().unwrap();
            match Message::parse(octets.into(), &limits()) {
                Ok(message) => {
                    touch(&message);
                    let spliced = Splice::new(&message).stamp_via(source).push_via("SIP/2.0/UDP z;branch=z9hG4bK0").pop_route().max_forwards(1).finish();
                    prop_assert!(Message::parse(spliced, &limits()).is_ok());
                }
                Err(invalid) => {
                    if let Some(raw) = invalid.raw {
                        let refusal = write_response(&OutgoingResponse::new(invalid.status), &raw, source, None);
                        prop_assert!(!refusal.is_empty());
                    }
                }
            }
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in hostile()) {
        let _ = (Uri::parse(&text), NameAddr::parse(&text), Via::parse(&text), Contact::parse(&text));
        let _ = (sip_proxy::digest::client::realm_of(&text), sip_proxy::digest::client::is_stale(&text));
    }

    #[test]
    fn what_is_written_is_read_back(request in request()) {
        let bytes = write_request(&request, "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1", None);
        let message = Message::parse(bytes, &limits()).unwrap();
        prop_assert_eq!(message.method(), &request.method);
        prop_assert_eq!(message.uri(), &request.uri);
        prop_assert_eq!(message.call_id(), &request.call_id);
        prop_assert_eq!((message.cseq(), message.max_forwards()), (request.cseq, Some(request.max_forwards)));
        prop_assert_eq!(message.header(&HeaderName::From), Some(request.from.as_str()));
        for (name, value) in &request.headers {
            prop_assert!(message.headers(name).any(|found| found == value.trim()));
        }
        prop_assert_eq!(message.body(), &request.body.as_ref().unwrap().bytes[..]);
    }

    #[test]
    fn an_untouched_message_is_passed_on_octet_by_octet(request in request()) {
        let bytes = write_request(&request, "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1", None);
        let message = Message::parse(bytes.clone(), &limits()).unwrap();
        prop_assert_eq!(Splice::new(&message).finish(), bytes);
    }

    #[test]
    fn a_uri_is_printed_as_it_was_read(text in "sips?:([a-z0-9%;?&=+$,/!~*'().:-]{1,12}@)?[a-z0-9.-]{1,12}(:[0-9]{1,4})?(;[a-z]{1,4}(=[a-z0-9]{1,4})?){0,3}") {
        if let Ok(uri) = Uri::parse(&text) {
            prop_assert_eq!(uri.to_string(), text.clone());
            prop_assert_eq!(&uri, &Uri::parse(&text).unwrap());
        }
    }

    #[test]
    fn nothing_handed_in_adds_a_line_to_a_request(text in hostile(), name in hostile()) {
        let request = OutgoingRequest {
            method: Method::Other(text.clone().into()),
            uri: text.clone(),
            from: text.clone(),
            to: text.clone(),
            call_id: text.clone(),
            cseq: 1,
            max_forwards: 70,
            route: vec![text.clone()],
            contact: Some(text.clone()),
            headers: vec![(HeaderName::Other(name.into()), text.clone()), (HeaderName::Subject, text.clone())],
            body: Some(Body { content_type: text.clone(), bytes: Bytes::new() }),
        };
        check_lines(&write_request(&request, &text, Some(&text)), 15)?;
    }

    #[test]
    fn nothing_handed_in_adds_a_line_to_a_response(text in hostile()) {
        let asked = Message::parse(Bytes::from_static(SEED.as_bytes()), &limits()).unwrap();
        let response = OutgoingResponse::new(200)
            .with_reason(text.clone())
            .with_to_tag(text.clone())
            .with_contact(text.clone())
            .with_header(HeaderName::Subject, text.clone())
            .with_body(text.clone(), Bytes::new());
        check_lines(&write_response(&response, &asked, "192.0.2.1:5060".parse().unwrap(), Some(&text)), 14)?;
    }

    #[test]
    fn nothing_handed_in_adds_a_line_to_a_spliced_message(text in hostile()) {
        let asked = Message::parse(Bytes::from_static(SEED.as_bytes()), &limits()).unwrap();
        let spliced = Splice::new(&asked).uri(text.clone()).push_via(text.clone()).push_record_route(text.clone()).set(HeaderName::Contact, text.clone()).add(HeaderName::Subject, text).finish();
        check_lines(&spliced, lines(SEED.as_bytes()) + 3)?;
    }

    #[test]
    fn a_stream_is_cut_alike_however_it_arrives(sizes in prop::collection::vec(1_usize..40, 1..80)) {
        let stream = [SEED.as_bytes(), b"\r\n\r\n", SEED.as_bytes()].concat();
        let mut framer = Framer::new(limits());
        let mut frames = Vec::new();
        let mut rest = &stream[..];
        for size in sizes.into_iter().cycle() {
            let (now, later) = rest.split_at(size.min(rest.len()));
            framer.push(now);
            while let Some(frame) = framer.next().unwrap() {
                frames.push(frame);
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let seed = Frame::Message(Bytes::from_static(SEED.as_bytes()));
        prop_assert_eq!(frames, [seed.clone(), Frame::KeepAlivePing, seed]);
    }
}
