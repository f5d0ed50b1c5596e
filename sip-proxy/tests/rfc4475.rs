//! The 49 torture messages of RFC 4475, each with the answer that RFC asks for.
//!
//! Where the RFC leaves a choice (refuse, or be liberal), the choice is ours and said beside the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may panic as tests do"
)]

use bytes::Bytes;
use sip_proxy::message::{Capabilities, HeaderName, Limits, Message, Method, NameAddr};
use sip_proxy::uri::Scheme;
use sip_proxy::{Flow, Frame, Framer, Location, Registrar, RegistrarConfig, Transport, Uri};

macro_rules! vector {
    ($name:literal) => {
        Bytes::from_static(include_bytes!(concat!("vectors/rfc4475/", $name, ".dat")))
    };
}

fn accept(bytes: Bytes) -> Message {
    Message::parse(bytes, &Limits::default()).unwrap()
}

/// The status the message layer refuses it with; a response is refused with a status nobody is sent.
fn refused(bytes: Bytes) -> u16 {
    Message::parse(bytes, &Limits::default())
        .unwrap_err()
        .status
}

/// The status a user agent of ours refuses the accepted request with.
fn inspected(message: &Message) -> Option<u16> {
    let methods = [
        "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "MESSAGE",
    ];
    let capabilities = Capabilities {
        methods: methods.into_iter().map(Method::from_token).collect(),
        options: vec![],
        content_types: vec![
            "application/sdp".into(),
            "text/plain".into(),
            "multipart/mixed".into(),
        ],
    };
    capabilities
        .inspect(message)
        .err()
        .map(|refusal| refusal.status)
}

/// The registrar's answer to a REGISTER whose sender has logged in.
fn registered(message: &Message) -> u16 {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests need one Instant to count from"
    )]
    let now = std::time::Instant::now();
    let flow = Flow {
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.50:5060".parse().unwrap(),
        connection: None,
    };
    let mut location = Location::new(10);
    Registrar::new(RegistrarConfig::default())
        .register(&mut location, now, message, flow, "sip:desk@example.org")
        .response
        .status
}

// 3.1.1: valid messages

#[test]
fn wsinv_a_short_tortuous_invite_is_accepted() {
    let message = accept(vector!("wsinv"));
    assert_eq!(message.method(), &Method::Invite);
    assert_eq!((message.cseq(), message.max_forwards()), (9, Some(68)));
    assert_eq!(
        (message.to().uri, message.to_tag()),
        ("sip:vivekg@chair-dnrc.example.com", Some("1918181833n"))
    );
    assert_eq!(message.from().display.as_deref(), Some(r#"J Rosenberg \""#));
    assert_eq!(message.from_tag(), Some("98asjd8"));
    assert_eq!(message.call_id(), "wsinv.ndaksdj@192.0.2.1");
    let vias: Vec<_> = message.vias().map(Result::unwrap).collect();
    let hops: Vec<_> = vias
        .iter()
        .map(|via| (via.protocol, via.host, via.branch()))
        .collect();
    assert_eq!(
        hops,
        [
            ("UDP", "192.0.2.2", Some("390skdjuw")),
            ("TCP", "spindle.example.com", Some("z9hG4bK9ikj8")),
            ("UDP", "192.168.255.111", Some("z9hG4bK30239")),
        ]
    );
    assert_eq!(message.header(&HeaderName::Subject), Some(""));
    let unknown = HeaderName::from_token("UnknownHeaderWithUnusualValue");
    assert_eq!(message.header(&unknown), Some(";;,,;;,;"));
    let contacts = message.contacts().unwrap();
    let contact = &contacts.list()[0];
    assert_eq!(
        contact.name_addr.display.as_deref(),
        Some(r#"Quoted string """#)
    );
    assert_eq!(
        (contact.q, contact.params().get("newparam")),
        (Some(330), Some("newvalue"))
    );
    assert_eq!(message.body().len(), 150);
}

#[test]
fn intmeth_a_wide_range_of_characters_is_accepted() {
    let message = accept(vector!("intmeth"));
    let method = "!interesting-Method0123456789_*+`.%indeed'~";
    assert_eq!(message.method(), &Method::Other(method.into()));
    let uri = message.request_uri().unwrap();
    assert_eq!(
        uri.user(),
        Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*")
    );
    assert_eq!(
        uri.password(),
        Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)")
    );
    assert_eq!(
        message.to().display.as_deref(),
        Some("BEL:\u{7} NUL:\0 DEL:\u{7f}")
    );
    assert_eq!(
        message.from().display.as_deref(),
        Some("token1~` token2'+_ token3*%!.-")
    );
    assert_eq!(
        message.from().param("fromParam''~+*_!.-%"),
        Some("работающий")
    );
    assert_eq!(
        message.call_id(),
        r#"intmeth.word%ZK-!.*_+'@word`~)(><:\/"][?}{"#
    );
    assert_eq!(
        message.header(&HeaderName::from_token("extensionheader-!.%*+_`'~")),
        Some("\u{feff}大停電")
    );
    assert_eq!(inspected(&message), Some(501));
}

#[test]
fn esc01_escapes_are_decoded_once_and_only_where_they_are_escapes() {
    let message = accept(vector!("esc01"));
    let uri = message.request_uri().unwrap();
    assert_eq!(
        uri.user_unescaped().as_deref(),
        Some("sips:user@example.com")
    );
    let to = Uri::parse(message.to().uri).unwrap();
    assert_eq!(to.user_unescaped().as_deref(), Some("user"));
    let contacts = message.contacts().unwrap();
    let contact = Uri::parse(contacts.list()[0].name_addr.uri).unwrap();
    assert!(contact.is_loose_route());
    assert_eq!(contact.param_unescaped("name").as_deref(), Some("value%41"));
}

#[test]
fn escnull_escaped_nulls_are_accepted_and_name_nobody() {
    let message = accept(vector!("escnull"));
    let contacts = message.contacts().unwrap();
    assert_eq!(contacts.list().len(), 2);
    assert_ne!(
        Uri::parse(contacts.list()[0].name_addr.uri),
        Uri::parse(contacts.list()[1].name_addr.uri)
    );
    assert_eq!(Uri::parse(message.to().uri).unwrap().aor(), None);
    assert_eq!(registered(&message), 200);
}

#[test]
fn esc02_a_percent_sign_where_it_is_no_escape_is_itself() {
    let message = accept(vector!("esc02"));
    assert_eq!(message.method().as_str(), "RE%47IST%45R");
    assert_eq!(message.to().display.as_deref(), Some("%Z%45"));
    assert_eq!(message.contacts().unwrap().list().len(), 2);
    assert!(
        message
            .header(&HeaderName::from_token("C%6Fntact"))
            .is_some()
    );
    assert_eq!(inspected(&message), Some(501));
}

#[test]
fn lwsdisp_no_space_between_name_and_bracket_is_accepted() {
    assert_eq!(
        accept(vector!("lwsdisp")).from().display.as_deref(),
        Some("caller")
    );
}

#[test]
fn longreq_long_values_are_accepted() {
    let message = accept(vector!("longreq"));
    assert_eq!(message.method(), &Method::Invite);
    assert_eq!(message.vias().count(), 34);
    assert!(message.vias().all(|via| via.is_ok()));
    assert!(message.call_id().len() > 100);
}

#[test]
fn dblreq_what_follows_the_first_message_is_not_part_of_it() {
    let bytes = vector!("dblreq");
    let message = accept(bytes.clone());
    assert_eq!(
        (message.method(), message.body()),
        (&Method::Register, &[][..])
    );
    // On a stream both are there, the second with blank lines before it.
    let mut framer = Framer::new(Limits::default());
    framer.push(&bytes);
    let Ok(Some(Frame::Message(first))) = framer.next() else {
        panic!("no first message")
    };
    assert_eq!(accept(first).method(), &Method::Register);
    let second = loop {
        match framer.next() {
            Ok(Some(Frame::Message(second))) => break second,
            Ok(Some(Frame::KeepAlivePing)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(accept(second).method(), &Method::Invite);
}

#[test]
fn semiuri_a_semicolon_in_the_user_part_is_no_parameter() {
    let uri = accept(vector!("semiuri")).request_uri().unwrap();
    assert_eq!(uri.user(), Some("user;par=u%40example.net"));
    assert_eq!(
        uri.user_unescaped().as_deref(),
        Some("user;par=u@example.net")
    );
    assert_eq!(uri.params().count(), 0);
}

#[test]
fn transports_unknown_transports_are_accepted() {
    let message = accept(vector!("transports"));
    let known: Vec<_> = message
        .vias()
        .map(|via| via.unwrap().transport().is_some())
        .collect();
    assert_eq!(known, [true, false, true, false, true]);
}

#[test]
fn mpart01_a_binary_multipart_body_is_carried_as_octets() {
    let message = accept(vector!("mpart01"));
    assert_eq!(message.body().len(), 553);
    assert!(message.body().ends_with(b"--7a9cbec02ceef655--\r\n"));
    assert_eq!(inspected(&message), None);
}

#[test]
fn unreason_a_reason_phrase_in_utf8_is_accepted() {
    let message = accept(vector!("unreason"));
    assert_eq!(
        (message.status(), message.reason()),
        (Some(200), "= 2**3 * 5**2 но сто девяносто девять - простое")
    );
}

#[test]
fn noreason_an_empty_reason_phrase_is_accepted() {
    let message = accept(vector!("noreason"));
    assert_eq!((message.status(), message.reason()), (Some(100), ""));
}

// 3.1.2: invalid messages

#[test]
fn badinv01_extraneous_separators_are_400() {
    assert_eq!(refused(vector!("badinv01")), 400);
}

#[test]
fn clerr_a_content_length_larger_than_the_message_is_400() {
    assert_eq!(refused(vector!("clerr")), 400);
}

#[test]
fn ncl_a_negative_content_length_is_400() {
    assert_eq!(refused(vector!("ncl")), 400);
}

#[test]
fn scalar02_overlarge_numbers_in_a_request_are_400() {
    assert_eq!(refused(vector!("scalar02")), 400);
}

#[test]
fn scalarlg_overlarge_numbers_in_a_response_discard_it() {
    let invalid = Message::parse(vector!("scalarlg"), &Limits::default()).unwrap_err();
    assert!(!invalid.raw.unwrap().is_request());
}

#[test]
fn quotbal_an_unbalanced_quote_is_400() {
    assert_eq!(refused(vector!("quotbal")), 400);
}

#[test]
fn ltgtruri_brackets_around_the_request_uri_are_400() {
    assert_eq!(refused(vector!("ltgtruri")), 400);
}

#[test]
fn lwsruri_white_space_in_the_request_uri_is_400() {
    assert_eq!(refused(vector!("lwsruri")), 400);
}

/// The RFC also allows to ignore the extra spaces; refused, because the next element may read another URI.
#[test]
fn lwsstart_several_spaces_in_the_request_line_are_400() {
    assert_eq!(refused(vector!("lwsstart")), 400);
}

/// As for `lwsstart`.
#[test]
fn trws_spaces_after_the_version_are_400() {
    assert_eq!(refused(vector!("trws")), 400);
}

/// The RFC also allows to ignore the headers; refused, because they say what to put into the next request.
#[test]
fn escruri_headers_in_the_request_uri_are_400() {
    assert_eq!(inspected(&accept(vector!("escruri"))), Some(400));
}

/// The RFC allows to refuse or to ignore the Date; ignored, because nothing of ours reads it.
#[test]
fn baddate_a_date_outside_gmt_is_ignored() {
    let message = accept(vector!("baddate"));
    assert!(message.header(&HeaderName::Date).unwrap().ends_with("EST"));
}

#[test]
fn regbadct_a_contact_with_a_question_mark_needs_brackets() {
    let message = accept(vector!("regbadct"));
    assert_eq!(message.contacts().unwrap_err().header, "Contact");
    assert_eq!(registered(&message), 400);
}

/// The RFC also allows to ignore the spaces; refused.
#[test]
fn badaspec_spaces_within_an_addr_spec_are_400() {
    assert_eq!(refused(vector!("badaspec")), 400);
}

/// The RFC also allows to guess the quotes; refused, because a comma may hide a second address.
#[test]
fn baddn_a_comma_in_an_unquoted_display_name_is_400() {
    // See vectors/adjustments.txt.
    let mut bytes = vector!("baddn").to_vec();
    bytes.extend_from_slice(b"\r\n");
    let invalid = Message::parse(Bytes::from(bytes), &Limits::default()).unwrap_err();
    assert_eq!(
        (invalid.status, invalid.reason),
        (400, "display name needs quotes")
    );
}

#[test]
fn badvers_an_unknown_version_is_505() {
    assert_eq!(refused(vector!("badvers")), 505);
}

#[test]
fn mismatch01_a_cseq_of_another_method_is_400() {
    assert_eq!(refused(vector!("mismatch01")), 400);
}

#[test]
fn mismatch02_a_cseq_of_another_method_than_the_unknown_one_is_400() {
    assert_eq!(refused(vector!("mismatch02")), 400);
}

#[test]
fn bigcode_an_overlarge_status_code_is_discarded() {
    assert_eq!(refused(vector!("bigcode")), 400);
}

// 3.2: transaction layer

/// The RFC allows 400 or matching as RFC 2543 does; the message is accepted, and the branch identifies nothing.
#[test]
fn badbranch_a_bare_cookie_is_no_transaction_identifier() {
    let message = accept(vector!("badbranch"));
    assert_eq!(message.top_via().branch(), Some("z9hG4bK"));
    assert_eq!(message.top_via().rfc3261_branch(), None);
}

// 3.3: application layer

#[test]
fn insuf_missing_required_fields_are_400() {
    assert_eq!(refused(vector!("insuf")), 400);
}

#[test]
fn unkscm_an_unknown_scheme_in_the_request_uri_is_416() {
    assert_eq!(inspected(&accept(vector!("unkscm"))), Some(416));
}

#[test]
fn novelsc_a_known_but_atypical_scheme_in_the_request_uri_is_416() {
    assert_eq!(inspected(&accept(vector!("novelsc"))), Some(416));
}

#[test]
fn unksm2_unknown_schemes_in_header_fields_are_carried() {
    let message = accept(vector!("unksm2"));
    assert_eq!(message.to().uri, "isbn:2983792873");
    assert_eq!(message.from().uri, "http://www.example.com");
    let contacts = message.contacts().unwrap();
    assert_eq!(contacts.list()[0].name_addr.uri, "name:John_Smith");
    assert_eq!(
        Uri::parse(message.to().uri).unwrap().scheme(),
        Scheme::Other
    );
}

#[test]
fn bext01_unknown_extensions_are_420_with_the_list() {
    let message = accept(vector!("bext01"));
    let agent = Capabilities {
        methods: vec![Method::Options],
        ..Capabilities::default()
    };
    let refusal = agent.inspect(&message).unwrap_err();
    assert_eq!(refusal.status, 420);
    assert_eq!(
        refusal.headers[0].1,
        "nothingSupportsThis, nothingSupportsThisEither"
    );
    let proxy = agent
        .extensions(&message, &HeaderName::ProxyRequire)
        .unwrap_err();
    assert_eq!(
        (proxy.status, proxy.headers[0].1.as_str()),
        (420, "noProxiesSupportThis, norDoAnyProxiesSupportThis")
    );
}

#[test]
fn invut_an_unknown_content_type_is_415() {
    assert_eq!(inspected(&accept(vector!("invut"))), Some(415));
}

#[test]
fn regaut01_an_unknown_authorization_scheme_counts_as_no_credentials() {
    let message = accept(vector!("regaut01"));
    assert_eq!(
        message.header(&HeaderName::Authorization),
        Some("NoOneKnowsThisScheme opaque-data=here")
    );
    assert_eq!(
        sip_proxy::digest::client::realm_of(message.header(&HeaderName::Authorization).unwrap()),
        None
    );
}

#[test]
fn multi01_several_values_in_single_value_fields_are_400() {
    assert_eq!(refused(vector!("multi01")), 400);
}

#[test]
fn mcl01_several_content_lengths_are_400() {
    assert_eq!(refused(vector!("mcl01")), 400);
}

/// A user agent drops a response with a second Via (RFC 3261 §8.1.3.3); no proxy forwards to the address in it.
#[test]
fn bcast_a_response_with_a_broadcast_via_is_readable_and_not_ours() {
    let message = accept(vector!("bcast"));
    let vias: Vec<_> = message.vias().map(Result::unwrap).collect();
    assert_eq!(vias.len(), 2);
    assert_eq!(vias[1].host_ip(), Some("255.255.255.255".parse().unwrap()));
}

#[test]
fn zeromf_max_forwards_of_zero_is_accepted_by_its_recipient() {
    let message = accept(vector!("zeromf"));
    assert_eq!(message.max_forwards(), Some(0));
    assert_eq!(inspected(&message), None);
}

#[test]
fn cparam01_an_unknown_contact_parameter_is_the_headers() {
    let message = accept(vector!("cparam01"));
    let contacts = message.contacts().unwrap();
    let contact = &contacts.list()[0];
    assert_eq!(contact.name_addr.uri, "sip:+19725552222@gw1.example.net");
    assert!(contact.params().contains("unknownparam"));
    assert_eq!(registered(&message), 200);
}

#[test]
fn cparam02_an_unknown_uri_parameter_is_the_uris() {
    let message = accept(vector!("cparam02"));
    let contacts = message.contacts().unwrap();
    let contact = &contacts.list()[0];
    assert_eq!(
        contact.name_addr.uri,
        "sip:+19725552222@gw1.example.net;unknownparam"
    );
    assert!(!contact.params().contains("unknownparam"));
    assert_eq!(registered(&message), 200);
}

#[test]
fn regescrt_an_escaped_header_in_a_bracketed_contact_is_kept() {
    let message = accept(vector!("regescrt"));
    let contacts = message.contacts().unwrap();
    let uri = Uri::parse(contacts.list()[0].name_addr.uri).unwrap();
    assert_eq!(
        uri.headers().collect::<Vec<_>>(),
        [("Route", "%3Csip:sip.example.com%3E")]
    );
    assert_eq!(registered(&message), 200);
}

#[test]
fn sdp01_an_accept_without_session_descriptions_is_406() {
    assert_eq!(inspected(&accept(vector!("sdp01"))), Some(406));
}

// 3.4: backward compatibility

#[test]
fn inv2543_an_invite_with_rfc_2543_syntax_is_accepted() {
    let message = accept(vector!("inv2543"));
    assert_eq!((message.from_tag(), message.max_forwards()), (None, None));
    assert_eq!(message.top_via().branch(), None);
    assert!(message.body().starts_with(b"v=0"));
    let route = message.values(&HeaderName::RecordRoute).next().unwrap();
    assert_eq!(
        NameAddr::parse(route).unwrap().uri,
        "sip:UserB@example.com;maddr=ss1.example.com"
    );
    assert_eq!(inspected(&message), None);
}
