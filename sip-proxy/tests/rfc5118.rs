//! The 12 IPv6 torture messages of RFC 5118. All but one are valid.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may panic as tests do"
)]

use std::net::{IpAddr, Ipv6Addr};

use bytes::Bytes;
use sip_proxy::message::{Capabilities, Limits, Message, Method};
use sip_proxy::{Host, Uri};

/// The archive's octets on the wire; see vectors/adjustments.txt.
fn wire(archived: &[u8]) -> Bytes {
    let text = String::from_utf8(archived.to_vec()).unwrap();
    assert!(!text.contains('\r'), "the archive has bare LF");
    let mut text = text.replace('\n', "\r\n");
    text = text.replace("Content-Length: 268\r\n", "Content-Length: 251\r\n");
    if !text.contains("\r\n\r\n") {
        text.push_str("\r\n");
    }
    Bytes::from(text)
}

macro_rules! accept {
    ($name:literal) => {
        Message::parse(
            wire(include_bytes!(concat!("vectors/rfc5118/", $name))),
            &Limits::default(),
        )
        .unwrap()
    };
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

fn target(message: &Message) -> Uri {
    message.request_uri().unwrap()
}

#[test]
fn s4_1_a_valid_ipv6_reference_is_accepted() {
    let message = accept!("ipv6-good");
    assert_eq!(
        (target(&message).host(), target(&message).port()),
        (Host::V6(v6("2001:db8::10")), None)
    );
    assert_eq!(message.top_via().host_ip(), ip("2001:db8::9:1"));
}

#[test]
fn s4_2_an_ipv6_address_without_brackets_is_400() {
    let message = accept!("ipv6-bad");
    let registrar = Capabilities {
        methods: vec![Method::Register],
        ..Capabilities::default()
    };
    assert_eq!(registrar.inspect(&message).unwrap_err().status, 400);
}

#[test]
fn s4_3_a_port_within_the_brackets_is_part_of_the_address() {
    let uri = target(&accept!("port-ambiguous"));
    assert_eq!(
        (uri.host(), uri.port()),
        (Host::V6(v6("2001:db8::10:5070")), None)
    );
}

#[test]
fn s4_4_a_port_after_the_brackets_is_the_port() {
    let uri = target(&accept!("port-unambiguous"));
    assert_eq!(
        (uri.host(), uri.port()),
        (Host::V6(v6("2001:db8::10")), Some(5070))
    );
}

#[test]
fn s4_5_received_is_read_with_brackets() {
    assert_eq!(
        accept!("via-received-param-with-delim")
            .top_via()
            .received(),
        ip("2001:db8::9:255")
    );
}

#[test]
fn s4_5_received_is_read_without_brackets() {
    assert_eq!(
        accept!("via-received-param-no-delim").top_via().received(),
        ip("2001:db8::9:255")
    );
}

#[test]
fn s4_6_ipv6_in_a_body_is_carried() {
    let message = accept!("ipv6-in-sdp");
    assert_eq!(message.body().len(), 251);
    assert!(message.body().starts_with(b"v=0\r\n"));
}

#[test]
fn s4_7_vias_of_both_families_are_read() {
    let message = accept!("mult-ip-in-header");
    let hosts: Vec<_> = message.vias().map(|via| via.unwrap().host_ip()).collect();
    assert_eq!(
        hosts,
        [ip("2001:db8::9:1"), ip("192.0.2.1"), ip("2001:db8::9:255")]
    );
    assert_eq!(
        message.vias().nth(2).unwrap().unwrap().received(),
        ip("192.0.2.200")
    );
    assert_eq!(message.top_via().port, Some(6050));
}

#[test]
fn s4_8_a_body_with_both_families_is_carried() {
    // The archive's Content-Length ends within the last line; what is beyond it is not the body's.
    let message = accept!("mult-ip-in-sdp");
    assert_eq!(message.body().len(), 181);
    assert!(message.body().starts_with(b"v=0\r\no=bob"));
}

#[test]
fn s4_9_ipv4_mapped_addresses_are_read() {
    let message = accept!("ipv4-mapped-ipv6");
    assert_eq!(message.top_via().host_ip(), ip("::ffff:192.0.2.10"));
    assert_eq!(message.top_via().port, Some(19823));
    let contacts = message.contacts().unwrap();
    let contact = Uri::parse(contacts.list()[0].name_addr.uri).unwrap();
    assert_eq!(contact.host(), Host::V6(v6("::ffff:192.0.2.2")));
}

#[test]
fn s4_10_three_colons_are_tolerated_as_two() {
    let tolerated = target(&accept!("ipv6-bug-abnf-3-colons"));
    assert_eq!(tolerated.host(), Host::V6(v6("2001:db8::192.0.2.1")));
    assert_eq!(
        tolerated.to_string(),
        "sip:user@[2001:db8:::192.0.2.1]",
        "carried as written"
    );
}

#[test]
fn s4_10_two_colons_are_right() {
    assert_eq!(
        target(&accept!("ipv6-correct-abnf-2-colons")).host(),
        Host::V6(v6("2001:db8::192.0.2.1"))
    );
}
