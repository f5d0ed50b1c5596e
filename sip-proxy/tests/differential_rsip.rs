//! Our reading against rsip's on messages both accept: method, URI, Call-ID, CSeq, tags.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may panic as tests do"
)]

use bytes::Bytes;
use rsip::Headers;
use rsip::prelude::*;
use sip_proxy::message::{Limits, Message};

/// Name and octets of every torture message.
macro_rules! corpus {
    ($($name:literal)+) => {
        &[$(($name, include_bytes!(concat!("vectors/rfc4475/", $name, ".dat")) as &[u8])),+]
    };
}

const TORTURE: &[(&str, &[u8])] = corpus![
    "badaspec" "badbranch" "baddate" "baddn" "badinv01" "badvers" "bcast" "bext01" "bigcode" "clerr" "cparam01"
    "cparam02" "dblreq" "esc01" "esc02" "escnull" "escruri" "insuf" "intmeth" "inv2543" "invut" "longreq" "ltgtruri"
    "lwsdisp" "lwsruri" "lwsstart" "mcl01" "mismatch01" "mismatch02" "mpart01" "multi01" "ncl" "noreason" "novelsc"
    "quotbal" "regaut01" "regbadct" "regescrt" "scalar02" "scalarlg" "sdp01" "semiuri" "transports" "trws" "unkscm"
    "unksm2" "unreason" "wsinv" "zeromf"
];

/// Messages as devices of the field send them.
const FIELD: &[(&str, &str)] = &[
    (
        "door panel INVITE",
        "INVITE sip:101@192.0.2.10 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.20:5060;rport;branch=z9hG4bK1741\r\nMax-Forwards: 70\r\nFrom: \"Front door\" <sip:door@192.0.2.10>;tag=a1\r\nTo: <sip:101@192.0.2.10>\r\nCall-ID: 8f1@192.0.2.20\r\nCSeq: 20 INVITE\r\nContact: <sip:door@192.0.2.20:5060>\r\nContent-Type: application/sdp\r\nContent-Length: 4\r\n\r\nv=0\n",
    ),
    (
        "compact forms",
        "BYE sip:a@b.example SIP/2.0\r\nv: SIP/2.0/TCP c.example;branch=z9hG4bKx\r\nMax-Forwards: 9\r\nf: <sip:c@c.example>;tag=77\r\nt: sip:a@b.example;tag=88\r\ni: abc\r\nCSeq: 2 BYE\r\nl: 0\r\n\r\n",
    ),
    (
        "ringing",
        "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKq;received=192.0.2.9\r\nFrom: <sip:a@x.example>;tag=1\r\nTo: \"Desk, front\" <sip:b@x.example>;tag=2\r\nCall-ID: 1@x\r\nCSeq: 7 INVITE\r\nContent-Length: 0\r\n\r\n",
    ),
];

/// (message, field, why rsip's reading is left out).
fn exclusions() -> Vec<(&'static str, &'static str, &'static str)> {
    include_str!("vectors/rsip_exclusions.txt")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let mut parts = line.splitn(3, " | ");
            (
                parts.next().unwrap(),
                parts.next().unwrap(),
                parts.next().expect("every exclusion has a reason"),
            )
        })
        .collect()
}

/// What rsip makes of each field; `Err` where its typed reader gives up.
type Reading = Vec<(&'static str, Result<String, String>)>;

fn rsip_reading(octets: &[u8]) -> Option<Reading> {
    let message = rsip::SipMessage::try_from(octets).ok()?;
    let headers: &Headers = message.headers();
    let error = |error: rsip::Error| error.to_string();
    let mut reading: Reading = vec![
        (
            "call-id",
            message
                .call_id_header()
                .map(|id| id.value().to_owned())
                .map_err(error),
        ),
        (
            "cseq",
            message
                .cseq_header()
                .map_err(error)
                .and_then(|c| c.typed().map_err(error))
                .map(|c| format!("{} {}", c.seq, c.method)),
        ),
        (
            "from-tag",
            tag(message
                .from_header()
                .map_err(error)
                .and_then(|f| f.typed().map_err(error))
                .map(|f| f.params)),
        ),
        (
            "to-tag",
            tag(message
                .to_header()
                .map_err(error)
                .and_then(|t| t.typed().map_err(error))
                .map(|t| t.params)),
        ),
        ("headers", Ok(headers.iter().count().to_string())),
    ];
    if let rsip::SipMessage::Request(request) = &message {
        reading.push(("method", Ok(request.method.to_string())));
        reading.push(("uri", Ok(request.uri.to_string())));
    }
    Some(reading)
}

fn tag(params: Result<Vec<rsip::Param>, String>) -> Result<String, String> {
    let params = params?;
    let tag = params.iter().find_map(|param| match param {
        rsip::Param::Tag(tag) => Some(tag.value().to_owned()),
        _ => None,
    });
    Ok(tag.unwrap_or_default())
}

fn our_reading(message: &Message, field: &str) -> String {
    match field {
        "call-id" => message.call_id().to_owned(),
        "cseq" => format!("{} {}", message.cseq(), message.method()),
        "from-tag" => message.from_tag().unwrap_or("").to_owned(),
        "to-tag" => message.to_tag().unwrap_or("").to_owned(),
        "headers" => message.all_headers().count().to_string(),
        "method" => message.method().to_string(),
        "uri" => message.uri().to_owned(),
        other => panic!("{other}"),
    }
}

#[test]
fn both_read_the_same() {
    let exclusions = exclusions();
    let mut differences = Vec::new();
    let mut compared = 0;
    let mut used = vec![false; exclusions.len()];
    let field = FIELD.iter().map(|(name, text)| (*name, text.as_bytes()));
    for (name, octets) in TORTURE.iter().copied().chain(field) {
        let Ok(ours) = Message::parse(Bytes::copy_from_slice(octets), &Limits::default()) else {
            continue;
        };
        let Some(theirs) = rsip_reading(octets) else {
            continue;
        };
        compared += 1;
        for (field, reading) in theirs {
            let mine = our_reading(&ours, field);
            if reading.as_ref() == Ok(&mine) {
                continue;
            }
            match exclusions
                .iter()
                .position(|(message, excluded, _)| *message == name && *excluded == field)
            {
                Some(at) => used[at] = true,
                None => differences.push(format!(
                    "{name} | {field} | ours {mine:?}, rsip {reading:?}"
                )),
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(compared >= 17, "only {compared} messages accepted by both");
    let idle: Vec<_> = exclusions
        .iter()
        .zip(used)
        .filter(|(_, used)| !used)
        .map(|(exclusion, _)| exclusion)
        .collect();
    assert!(idle.is_empty(), "exclusions without a difference: {idle:?}");
}
