//! What the message layer takes and what it refuses, rule by rule.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may panic as tests do"
)]

use bytes::Bytes;
use sip_proxy::message::{HeaderName, Limits, Message, RawMessage};

const VIA: &str = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1";
const FROM: &str = "From: <sip:a@b>;tag=1";
const TO: &str = "To: <sip:c@d>";
const CALL_ID: &str = "Call-ID: x";
const CSEQ: &str = "CSeq: 1 INVITE";

fn text(lines: &[&str], body: &str) -> Bytes {
    let mut text = String::from("INVITE sip:c@d SIP/2.0\r\n");
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    Bytes::from(text + "\r\n" + body)
}

fn with(extra: &[&str]) -> Bytes {
    text(&[&[VIA, FROM, TO, CALL_ID, CSEQ], extra].concat(), "")
}

fn parse(bytes: Bytes) -> Result<Message, u16> {
    Message::parse(bytes, &Limits::default()).map_err(|invalid| invalid.status)
}

fn accepted(bytes: Bytes) -> Message {
    parse(bytes).unwrap()
}

fn refused(bytes: Bytes) -> u16 {
    parse(bytes).unwrap_err()
}

#[test]
fn each_mandatory_field_is_missed() {
    for missing in [VIA, FROM, TO, CALL_ID, CSEQ] {
        let rest: Vec<&str> = [VIA, FROM, TO, CALL_ID, CSEQ]
            .into_iter()
            .filter(|line| *line != missing)
            .collect();
        assert_eq!(refused(text(&rest, "")), 400, "without {missing}");
    }
}

#[test]
fn max_forwards_may_be_missing_but_not_nonsense() {
    assert_eq!(accepted(with(&[])).max_forwards(), None);
    assert_eq!(
        accepted(with(&["Max-Forwards: 300"])).max_forwards(),
        Some(255)
    );
    for value in ["-1", "", "7 7", "x"] {
        assert_eq!(
            refused(with(&[&format!("Max-Forwards: {value}")])),
            400,
            "{value:?}"
        );
    }
}

#[test]
fn a_single_value_field_given_twice_must_agree() {
    for (same, other) in [
        (CALL_ID, "i: y"),
        (CSEQ, "CSeq: 2 INVITE"),
        (FROM, "f: <sip:z@b>;tag=1"),
        (TO, "t: <sip:z@d>"),
    ] {
        assert!(parse(with(&[same])).is_ok(), "{same}");
        assert_eq!(refused(with(&[other])), 400, "{other}");
    }
    assert_eq!(refused(with(&["Content-Length: 0", "l: 1"])), 400);
}

#[test]
fn a_cseq_stays_below_two_to_the_31() {
    let cseq = |value: &str| text(&[VIA, FROM, TO, CALL_ID, &format!("CSeq: {value}")], "");
    assert_eq!(accepted(cseq("2147483647 INVITE")).cseq(), 2_147_483_647);
    for value in [
        "2147483648 INVITE",
        "4294967297 INVITE",
        "-1 INVITE",
        "1",
        "1 INVITE x",
        "INVITE 1",
        "1 BYE",
        "1 invite",
    ] {
        assert_eq!(refused(cseq(value)), 400, "{value}");
    }
}

#[test]
fn white_space_before_the_colon_hides_no_header() {
    let message = accepted(with(&["Action \t: buzz"]));
    assert_eq!(
        message.header(&HeaderName::from_token("action")),
        Some("buzz")
    );
    assert_eq!(refused(with(&["Act ion: buzz"])), 400);
    assert_eq!(refused(with(&["Action\u{a0}: buzz"])), 400);
}

#[test]
fn a_line_without_a_name_is_refused() {
    for line in [": x", "no colon", "\u{7}: x", "Na\0me: x"] {
        assert_eq!(refused(with(&[line])), 400, "{line:?}");
    }
}

#[test]
fn a_fold_before_any_header_is_refused() {
    assert_eq!(
        refused(text(
            &[" folded: nothing", VIA, FROM, TO, CALL_ID, CSEQ],
            ""
        )),
        400
    );
}

#[test]
fn a_carriage_return_within_a_line_is_refused() {
    assert_eq!(refused(with(&["Subject: a\rAction: buzz"])), 400);
    assert_eq!(refused(with(&["Subject: a\r"])), 400);
    assert_eq!(
        refused(Bytes::from("INVITE sip:c\r@d SIP/2.0\r\n\r\n")),
        400
    );
}

#[test]
fn a_nul_is_refused_unless_it_is_a_quoted_pair() {
    assert_eq!(refused(with(&["Subject: a\0b"])), 400);
    assert_eq!(refused(with(&["Subject: \0"])), 400);
    assert!(parse(with(&["Subject: \"a\\\0b\""])).is_ok());
}

#[test]
fn bare_line_feeds_end_lines() {
    let bytes = with(&["Subject: x"]);
    let bare = String::from_utf8(bytes.to_vec())
        .unwrap()
        .replace("\r\n", "\n");
    let message = accepted(Bytes::from(bare));
    assert_eq!(message.header(&HeaderName::Subject), Some("x"));
}

#[test]
fn line_ends_before_the_start_line_are_skipped() {
    let mut bytes = b"\r\n\r\n".to_vec();
    bytes.extend_from_slice(&with(&[]));
    assert_eq!(accepted(Bytes::from(bytes)).call_id(), "x");
}

#[test]
fn a_latin_1_name_from_a_door_panel_is_read() {
    let mut bytes = with(&[]).to_vec();
    let at = bytes.windows(5).position(|five| five == b"From:").unwrap();
    bytes.splice(at + 6..at + 6, *b"\"T\xfcr S\xfcd\" ");
    let message = accepted(Bytes::from(bytes));
    assert_eq!(message.from().display.as_deref(), Some("Tür Süd"));
}

#[test]
fn a_body_in_any_encoding_is_left_alone() {
    let mut bytes = with(&["l: 3"]).to_vec();
    bytes.extend_from_slice(b"\xff\xfe\0 padding");
    assert_eq!(accepted(Bytes::from(bytes)).body(), b"\xff\xfe\0");
}

#[test]
fn a_datagram_without_content_length_has_the_rest_as_body() {
    assert_eq!(
        accepted(text(&[VIA, FROM, TO, CALL_ID, CSEQ], "abc")).body(),
        b"abc"
    );
}

#[test]
fn values_of_list_headers_come_one_by_one_over_all_lines() {
    let message = accepted(with(&[
        "Route: <sip:p;lr>, \"a, b\" <sip:q;lr>",
        "Route:",
        "ROUTE: <sip:r,s>",
    ]));
    let routes: Vec<&str> = message.values(&HeaderName::Route).collect();
    assert_eq!(routes, ["<sip:p;lr>", "\"a, b\" <sip:q;lr>", "<sip:r,s>"]);
    assert_eq!(message.headers(&HeaderName::Route).count(), 3);
}

#[test]
fn option_tags_are_found_in_any_case_over_all_lines() {
    let message = accepted(with(&["Supported: timer,100rel", "k: Replaces"]));
    assert!(message.has_option(&HeaderName::Supported, "replaces"));
    assert!(message.has_option(&HeaderName::Supported, "100REL"));
    assert!(!message.has_option(&HeaderName::Supported, "rel"));
}

#[test]
fn a_message_above_the_limit_is_413_and_can_still_be_answered() {
    let body = "x".repeat(70_000);
    let invalid = Message::parse(
        text(&[VIA, FROM, TO, CALL_ID, CSEQ], &body),
        &Limits::default(),
    )
    .unwrap_err();
    assert_eq!(invalid.status, 413);
    assert_eq!(invalid.raw.unwrap().header(&HeaderName::CallId), Some("x"));
}

#[test]
fn each_limit_has_its_status() {
    let many: Vec<&str> = std::iter::repeat_n("X: y", 200).collect();
    assert_eq!(refused(with(&many)), 400);
    let vias = format!("Via: {}", ["SIP/2.0/UDP a;branch=z9hG4bK1"; 70].join(","));
    assert_eq!(refused(with(&[&vias])), 400);
    let long = "x".repeat(600);
    assert_eq!(
        refused(text(
            &[VIA, FROM, TO, &format!("Call-ID: {long}"), CSEQ],
            ""
        )),
        400
    );
    assert_eq!(
        refused(text(
            &[VIA, &format!("{FROM}{long}"), TO, CALL_ID, CSEQ],
            ""
        )),
        400
    );
    assert_eq!(
        refused(text(
            &[&format!("{VIA}{long}"), FROM, TO, CALL_ID, CSEQ],
            ""
        )),
        400
    );
    let uri = format!("INVITE sip:{} SIP/2.0\r\n\r\n", "x".repeat(3_000));
    assert_eq!(refused(Bytes::from(uri)), 414);
    let head = format!("Subject: {}", "x".repeat(40_000));
    assert_eq!(refused(with(&[&head])), 413);
}

#[test]
fn a_limit_is_configuration() {
    let strict = Limits {
        headers: 3,
        ..Limits::default()
    };
    assert!(Message::parse(with(&[]), &strict).is_err());
}

#[test]
fn a_refused_message_keeps_what_can_be_answered_with() {
    let invalid = Message::parse(with(&["broken line"]), &Limits::default()).unwrap_err();
    let raw: Box<RawMessage> = invalid.raw.unwrap();
    assert_eq!(raw.header(&HeaderName::CSeq), Some("1 INVITE"));
}

#[test]
fn nothing_personal_is_printed() {
    let printed = format!(
        "{:?}",
        accepted(with(&["Authorization: Digest response=\"secret\""]))
    );
    assert!(
        !printed.contains("secret") && !printed.contains("sip:"),
        "{printed}"
    );
}

#[test]
fn a_status_line_may_lack_its_reason_and_nothing_else() {
    let response = |line: &str| {
        let head = [line, VIA, FROM, TO, CALL_ID, CSEQ].join("\r\n");
        parse(Bytes::from(head + "\r\n\r\n"))
            .map(|message| (message.status(), message.reason().to_owned()))
    };
    assert_eq!(response("SIP/2.0 200"), Ok((Some(200), String::new())));
    assert_eq!(
        response("SIP/2.0 486 Busy Here"),
        Ok((Some(486), "Busy Here".into()))
    );
    for line in [
        "SIP/2.0 20",
        "SIP/2.0 2000 OK",
        "SIP/2.0 099 x",
        "SIP/2.0 700 x",
        "SIP/2.0  200 OK",
        "SIP/2.0 200 a\rb",
    ] {
        assert!(response(line).is_err(), "{line:?}");
    }
}
