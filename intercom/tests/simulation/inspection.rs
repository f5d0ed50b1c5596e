//! Requests that ask for what is not understood are refused by the status of RFC 3261 §8.2, before anybody logs in.

use std::time::Duration;

use sip_proxy::{Body, HeaderName, Message, Method, OutgoingRequest};

use crate::building::Building;
use crate::building::ua::Policy;

/// The final answer to a request of the guest's, made as `change` says.
fn answered(seed: u64, change: impl FnOnce(&mut OutgoingRequest)) -> Message {
    let mut building = Building::ready(seed);
    building.act("guest-phone", |ua, now| {
        ua.raw(now, |request| {
            request.method = Method::Options;
            request.uri = "sip:desk-1@elm.example".to_owned();
            request.to = "<sip:desk-1@elm.example>".to_owned();
            change(request);
        });
    });
    building.run(Duration::from_secs(2));
    building
        .find("guest-phone")
        .responses
        .iter()
        .rfind(|response| response.status() >= Some(200))
        .expect("no final answer")
        .clone()
}

fn body(kind: &str) -> Option<Body> {
    Some(Body {
        content_type: kind.to_owned(),
        bytes: "x".into(),
    })
}

#[test]
fn an_unknown_method_is_501_and_the_allowed_ones_are_listed() {
    let response = answered(701, |request| {
        request.method = Method::from_token("BREW");
    });
    assert_eq!(response.status(), Some(501));
    let allow = response.header(&HeaderName::Allow).unwrap_or_default();
    assert!(
        allow.contains("INVITE") && !allow.contains("BREW"),
        "{allow}"
    );
}

#[test]
fn an_unknown_scheme_is_416() {
    let response = answered(702, |request| {
        request.uri = "soap.beep://192.0.2.103".into();
    });
    assert_eq!(response.status(), Some(416));
}

#[test]
fn headers_in_the_request_uri_are_400() {
    let response = answered(703, |request| {
        request.method = Method::Invite;
        request.uri = "sip:desk-1@elm.example?Route=%3Csip:evil.example%3E".into();
    });
    assert_eq!(response.status(), Some(400));
}

#[test]
fn an_unknown_required_extension_is_420_and_named() {
    for method in [Method::Options, Method::Invite, Method::Register] {
        let response = answered(704, |request| {
            request.method = method.clone();
            request
                .headers
                .push((HeaderName::Require, "path, x-walks".into()));
        });
        let unsupported = response.header(&HeaderName::Unsupported);
        assert_eq!(
            (response.status(), unsupported),
            (Some(420), Some("x-walks")),
            "{method:?}"
        );
    }
}

#[test]
fn what_a_proxy_must_know_is_420_for_a_message() {
    let response = answered(705, |request| {
        request.method = Method::Message;
        request
            .headers
            .push((HeaderName::ProxyRequire, "x-walks".into()));
    });
    assert_eq!(
        (response.status(), response.header(&HeaderName::Unsupported)),
        (Some(420), Some("x-walks"))
    );
}

#[test]
fn an_invite_with_an_unknown_body_is_415_and_the_known_ones_are_listed() {
    let response = answered(706, |request| {
        request.method = Method::Invite;
        request.body = body("application/unknownformat");
    });
    assert_eq!(response.status(), Some(415));
    let accept = response.header(&HeaderName::Accept).unwrap_or_default();
    assert!(accept.contains("application/sdp"), "{accept}");
}

#[test]
fn an_invite_with_an_encoded_body_is_415() {
    let response = answered(707, |request| {
        request.method = Method::Invite;
        request.body = body("application/sdp");
        request
            .headers
            .push((HeaderName::ContentEncoding, "gzip".into()));
    });
    assert_eq!(
        (
            response.status(),
            response.header(&HeaderName::AcceptEncoding)
        ),
        (Some(415), Some("identity"))
    );
}

#[test]
fn an_invite_that_accepts_no_session_description_is_406() {
    let response = answered(708, |request| {
        request.method = Method::Invite;
        request
            .headers
            .push((HeaderName::Accept, "text/nobodyKnowsThis".into()));
    });
    assert_eq!(response.status(), Some(406));
}

#[test]
fn an_offer_within_a_multipart_body_rings_like_any_other() {
    let mut building = Building::ready(709);
    building.ua("desk-1").policy = Policy::Ring;
    let sdp = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let parts = format!(
        "--b\r\nContent-Type: application/x-door\r\n\r\n1\r\n--b\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--b--\r\n"
    );
    building.act("guest-phone", |ua, now| {
        ua.raw(now, |request| {
            request.method = Method::Invite;
            request.uri = "sip:desk-1@elm.example".to_owned();
            request.body = Some(Body {
                content_type: "multipart/mixed;boundary=b".to_owned(),
                bytes: parts.into(),
            });
        });
    });
    building.run(Duration::from_secs(1));
    assert_eq!(building.find("desk-1").seen.len(), 1);
    building.run(Duration::from_secs(120));
}
