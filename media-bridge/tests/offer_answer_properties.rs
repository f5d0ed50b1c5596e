//! What holds for every SDP.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use media_bridge::offer_answer::{Direction, LegProfile, Negotiation};
use media_bridge::{Codec, Lease, LeaseId, parse_info, reject_all};
use proptest::prelude::*;

fn negotiation() -> Negotiation {
    let lease = Lease {
        id: LeaseId(1),
        worker: 0,
        rtp: "192.0.2.1:40000".parse().unwrap(),
        advertise: "192.0.2.1".parse().unwrap(),
    };
    Negotiation::new(
        LegProfile {
            codecs: Codec::ALL.to_vec(),
            ..LegProfile::default()
        },
        lease,
        1,
    )
}

/// Lines an SDP might have, well-formed or not.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("v=0".to_owned()),
        Just("s=-".to_owned()),
        Just("t=0 0".to_owned()),
        "o=[ -~]{0,40}",
        prop_oneof![
            Just("10.0.0.1"),
            Just("0.0.0.0"),
            Just("::1"),
            Just("224.0.0.1/1"),
            Just("host")
        ]
        .prop_map(|a| format!("c=IN IP{} {a}", if a.contains(':') { 6 } else { 4 })),
        media_line(),
        (
            96_u8..100,
            prop_oneof![
                Just("opus/48000/2"),
                Just("L16/16000"),
                Just("telephone-event/8000"),
                Just("x/y")
            ]
        )
            .prop_map(|(pt, map)| format!("a=rtpmap:{pt} {map}")),
        "a=(fmtp|ptime|maxptime|rtcp|rtcp-mux|sendonly|inactive|rtpmap)(:[ -~]{0,20})?",
        "[ -~]{0,30}",
    ]
}

fn media_line() -> impl Strategy<Value = String> {
    let media = prop_oneof![4 => Just("audio"), 1 => Just("video"), 1 => Just("application")];
    let proto = prop_oneof![4 => Just("RTP/AVP"), 1 => Just("RTP/AVPF"), 1 => Just("RTP/SAVP"), 1 => Just("UDP/BFCP")];
    let formats = proptest::collection::vec(
        prop_oneof![Just("0"), Just("8"), Just("96"), Just("97"), Just("*")],
        1..6,
    );
    (
        media,
        prop_oneof![Just(0_u16), any::<u16>()],
        proto,
        formats,
    )
        .prop_map(|(media, port, proto, formats)| {
            format!("m={media} {port} {proto} {}", formats.join(" "))
        })
}

fn m_lines(sdp: &[u8]) -> Vec<(String, u16, String)> {
    String::from_utf8_lossy(sdp)
        .lines()
        .filter_map(|l| l.strip_prefix("m="))
        .map(|l| {
            let parts: Vec<&str> = l.split_whitespace().collect();
            (
                parts[0].to_owned(),
                parts[1].parse().unwrap(),
                parts[2].to_owned(),
            )
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut n = negotiation();
        if n.receive_offer(&bytes).is_ok() {
            let _ = n.answer(None);
        }
        n.offer(None);
        let _ = n.receive_answer(&bytes);
        for kind in ["application/dtmf", "application/dtmf-relay", "application/telephone-event"] {
            let _ = parse_info(kind, &bytes);
        }
    }

    #[test]
    fn an_answer_has_the_offers_m_lines(lines in proptest::collection::vec(line(), 0..30), prefer in 0..6_usize) {
        let offer = format!("v=0\r\n{}\r\n", lines.join("\r\n"));
        let mut n = negotiation();
        if n.receive_offer(offer.as_bytes()).is_ok() {
            let answer = n.answer(Codec::ALL.get(prefer).copied()).unwrap();
            let (offered, answered) = (m_lines_lenient(&offer), m_lines(&answer));
            prop_assert_eq!(answered.len(), offered.len());
            let mut live = 0;
            for ((media, port, proto), (ours, our_port, our_proto)) in offered.iter().zip(&answered) {
                prop_assert_eq!((media, proto), (ours, our_proto));
                prop_assert!(*our_port == 0 || *port != 0, "a dead line stays dead");
                live += usize::from(*our_port != 0);
            }
            prop_assert_eq!(live, usize::from(n.agreed().is_some()));
            // What we write we can read, and a hold of it keeps the number of lines.
            let hold = n.reoffer(Direction::SendOnly);
            prop_assert!(m_lines(&hold).len() >= answered.len());
            negotiation().receive_offer(&hold).unwrap();
        } else {
            prop_assert!(n.agreed().is_none() && n.current_local().is_none());
        }
    }

    #[test]
    fn a_wholesale_refusal_has_the_offers_m_lines_and_no_port(lines in proptest::collection::vec(line(), 0..30)) {
        let offer = format!("v=0\r\n{}\r\n", lines.join("\r\n"));
        let readable = negotiation_reads(&offer);
        match reject_all(offer.as_bytes(), [10, 0, 0, 1].into(), 7) {
            Ok(answer) => {
                let (offered, answered) = (m_lines_lenient(&offer), m_lines(&answer));
                prop_assert_eq!(answered.len(), offered.len());
                for ((media, _, proto), (ours, port, our_proto)) in offered.iter().zip(&answered) {
                    prop_assert_eq!((media, proto, 0), (ours, our_proto, *port));
                }
            }
            Err(_) => prop_assert!(!readable, "what can be answered can be refused"),
        }
    }

    #[test]
    fn bytes_flipped_in_a_real_offer_never_panic(at in 0..700_usize, with in any::<u8>()) {
        let mut offer = include_bytes!("vectors/sdp/2n.sdp").to_vec();
        if let Some(byte) = offer.get_mut(at) {
            *byte = with;
        }
        let mut n = negotiation();
        if n.receive_offer(&offer).is_ok() {
            let _ = n.answer(None);
        }
    }
}

/// The m-lines of a generated offer, which may be preceded by blanks.
fn m_lines_lenient(sdp: &str) -> Vec<(String, u16, String)> {
    let tidy: Vec<&str> = sdp
        .lines()
        .map(str::trim)
        .filter(|l| l.starts_with("m=") && l.len() > 2)
        .collect();
    m_lines(tidy.join("\n").as_bytes())
}

fn negotiation_reads(offer: &str) -> bool {
    negotiation().receive_offer(offer.as_bytes()).is_ok()
}
