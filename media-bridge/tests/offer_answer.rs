//! Offer and answer by the sections of RFC 3264, and the devices of the field.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use media_bridge::offer_answer::{Direction, LegProfile, Negotiation, OfferError};
use media_bridge::{Codec, Lease, LeaseId, offer_nothing, reject_all};

fn lease() -> Lease {
    Lease {
        id: LeaseId(7),
        worker: 0,
        rtp: "192.0.2.1:40000".parse().unwrap(),
        advertise: "192.0.2.1".parse().unwrap(),
    }
}

fn negotiation() -> Negotiation {
    Negotiation::new(LegProfile::default(), lease(), 4711)
}

fn only(codecs: &[Codec]) -> Negotiation {
    Negotiation::new(
        LegProfile {
            codecs: codecs.to_vec(),
            ..LegProfile::default()
        },
        lease(),
        4711,
    )
}

fn sdp(media: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 198.51.100.5\r\ns=-\r\nc=IN IP4 198.51.100.5\r\nt=0 0\r\n{media}"
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn m_lines(sdp: &str) -> Vec<&str> {
    sdp.lines().filter(|l| l.starts_with("m=")).collect()
}

fn version(sdp: &str) -> u64 {
    sdp.lines()
        .find(|l| l.starts_with("o="))
        .unwrap()
        .split(' ')
        .nth(2)
        .unwrap()
        .parse()
        .unwrap()
}

/// Answers an offer and returns our SDP.
fn answered(n: &mut Negotiation, offer: &str) -> String {
    n.receive_offer(offer.as_bytes()).unwrap();
    text(&n.answer(None).unwrap())
}

const PCMA: &str = "m=audio 4000 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";

// ---- §5: the offer

#[test]
fn our_offer_names_every_codec_and_an_event_clock_for_each() {
    let offer = text(&negotiation().offer(None));
    assert_eq!(m_lines(&offer), ["m=audio 40000 RTP/AVP 111 9 8 0 110 101"]);
    for line in [
        "o=- 4711 1 IN IP4 192.0.2.1",
        "c=IN IP4 192.0.2.1",
        "t=0 0",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 useinbandfec=1;stereo=0;sprop-stereo=0",
        "a=rtpmap:9 G722/8000",
        "a=rtpmap:110 telephone-event/48000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:20",
        "a=sendrecv",
    ] {
        assert!(offer.lines().any(|l| l == line), "{line} in\n{offer}");
    }
    assert!(offer.ends_with("\r\n") && !offer.contains("\r\n\r\n"));
}

#[test]
fn the_preferred_codec_is_offered_first() {
    let offer = text(&negotiation().offer(Some(Codec::Pcma)));
    assert_eq!(m_lines(&offer), ["m=audio 40000 RTP/AVP 8 111 9 0 101 110"]);
    let offer = text(&only(&[Codec::Pcmu]).offer(Some(Codec::Opus)));
    assert_eq!(
        m_lines(&offer),
        ["m=audio 40000 RTP/AVP 0 101"],
        "what the profile forbids is never offered"
    );
}

#[test]
fn an_ipv6_lease_writes_ip6() {
    let lease = Lease {
        rtp: "[2001:db8::1]:40000".parse().unwrap(),
        advertise: "2001:db8::1".parse().unwrap(),
        ..lease()
    };
    let mut n = Negotiation::new(LegProfile::default(), lease, 1);
    assert!(text(&n.offer(None)).contains("c=IN IP6 2001:db8::1\r\n"));
    n.receive_answer(b"v=0\r\nc=IN IP6 2001:db8::2\r\nm=audio 4000 RTP/AVP 8\r\n")
        .unwrap();
    assert_eq!(
        n.agreed().unwrap().remote_rtp,
        "[2001:db8::2]:4000".parse().unwrap()
    );
    let v4 = "v=0\r\nc=IN IP4 198.51.100.5\r\nm=audio 4000 RTP/AVP 8\r\n";
    assert_eq!(
        n.receive_offer(v4.as_bytes()),
        Err(OfferError::Address),
        "no socket of ours reaches it"
    );
}

// ---- §6: the answer

#[test]
fn the_offerers_first_allowed_codec_is_taken_unless_another_is_preferred() {
    let offer = sdp("m=audio 4000 RTP/AVP 18 0 8 9\r\n");
    let mut n = negotiation();
    let ours = answered(&mut n, &offer);
    assert_eq!(m_lines(&ours), ["m=audio 40000 RTP/AVP 0"]);
    assert_eq!(n.agreed().unwrap().codec, Codec::Pcmu);
    let mut n = negotiation();
    n.receive_offer(offer.as_bytes()).unwrap();
    assert_eq!(n.offered_codecs(), [Codec::Pcmu, Codec::Pcma, Codec::G722]);
    assert_eq!(
        m_lines(&text(&n.answer(Some(Codec::G722)).unwrap())),
        ["m=audio 40000 RTP/AVP 9"]
    );
    let mut n = negotiation();
    n.receive_offer(offer.as_bytes()).unwrap();
    n.answer(Some(Codec::Opus)).unwrap();
    assert_eq!(
        n.agreed().unwrap().codec,
        Codec::Pcmu,
        "preferred but not offered"
    );
}

#[test]
fn dynamic_numbers_are_the_offerers() {
    let mut n = negotiation();
    let ours = answered(
        &mut n,
        &sdp(
            "m=audio 4000 RTP/AVP 96 97 98\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 maxaveragebitrate=16000;usedtx=1\r\na=rtpmap:97 telephone-event/8000\r\na=rtpmap:98 telephone-event/48000\r\n",
        ),
    );
    assert_eq!(m_lines(&ours), ["m=audio 40000 RTP/AVP 96 98"]);
    let agreed = n.agreed().unwrap();
    assert_eq!(
        (agreed.codec, agreed.send_payload, agreed.receive_payload),
        (Codec::Opus, 96, 96)
    );
    assert_eq!(agreed.opus.max_bitrate, 16_000);
    assert!(agreed.opus.dtx && !agreed.opus.fec);
    let event = agreed.telephone_event.unwrap();
    assert_eq!(
        (event.payload, event.receive, event.clock),
        (98, 98, 48_000)
    );
}

#[test]
fn without_an_event_on_the_codecs_clock_the_offered_one_is_taken() {
    let mut n = negotiation();
    answered(
        &mut n,
        &sdp(
            "m=audio 4000 RTP/AVP 96 101\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n",
        ),
    );
    assert_eq!(n.agreed().unwrap().telephone_event.unwrap().clock, 8_000);
    let mut n = Negotiation::new(
        LegProfile {
            telephone_event: false,
            ..LegProfile::default()
        },
        lease(),
        1,
    );
    assert_eq!(
        m_lines(&answered(&mut n, &sdp(PCMA))),
        ["m=audio 40000 RTP/AVP 8"]
    );
    assert_eq!(n.agreed().unwrap().telephone_event, None);
}

#[test]
fn every_m_line_is_answered_in_order_and_the_unwanted_ones_with_port_0() {
    let offer = sdp(
        "m=video 5000 RTP/AVP 96 97\r\na=rtpmap:96 H264/90000\r\na=sendonly\r\nm=audio 4000 RTP/AVP 8\r\nm=application 6000 UDP/BFCP *\r\nm=audio 4100 RTP/AVP 0\r\nm=text 0 RTP/AVP 98\r\n",
    );
    assert_eq!(
        m_lines(&answered(&mut negotiation(), &offer)),
        [
            "m=video 0 RTP/AVP 96",
            "m=audio 40000 RTP/AVP 8",
            "m=application 0 UDP/BFCP *",
            "m=audio 0 RTP/AVP 0",
            "m=text 0 RTP/AVP 98"
        ]
    );
}

#[test]
fn directions_are_mirrored_from_either_level() {
    for (offered, answered_as, ours) in [
        ("sendonly", "recvonly", Direction::RecvOnly),
        ("recvonly", "sendonly", Direction::SendOnly),
        ("inactive", "inactive", Direction::Inactive),
        ("sendrecv", "sendrecv", Direction::SendRecv),
    ] {
        let mut n = negotiation();
        let sdp = answered(&mut n, &sdp(&format!("{PCMA}a={offered}\r\n")));
        assert!(sdp.contains(&format!("a={answered_as}\r\n")));
        assert_eq!(n.agreed().unwrap().direction, ours);
        assert_eq!(
            n.remote_on_hold(),
            matches!(offered, "sendonly" | "inactive")
        );
    }
}

#[test]
fn ptime_follows_the_peer_within_the_codec() {
    let ptime = |media: &str| {
        let mut n = negotiation();
        answered(&mut n, &sdp(media));
        n.agreed().unwrap().ptime_ms
    };
    assert_eq!(ptime("m=audio 4000 RTP/AVP 8\r\n"), 20);
    assert_eq!(ptime("m=audio 4000 RTP/AVP 8\r\na=ptime:30\r\n"), 30);
    assert_eq!(
        ptime("m=audio 4000 RTP/AVP 8\r\na=ptime:40\r\na=maxptime:20\r\n"),
        20
    );
    assert_eq!(
        ptime("m=audio 4000 RTP/AVP 8\r\na=ptime:9999\r\n"),
        20,
        "no length at all"
    );
    let opus = "m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\na=ptime:30\r\n";
    assert_eq!(ptime(opus), 20, "Opus has no 30 ms frame");
}

#[test]
fn avpf_is_answered_as_avpf_and_mux_as_mux() {
    let mut n = negotiation();
    let ours = answered(
        &mut n,
        &sdp("m=audio 4000 RTP/AVPF 8\r\na=rtcp-mux\r\na=rtcp-fb:* nack\r\n"),
    );
    assert_eq!(m_lines(&ours), ["m=audio 40000 RTP/AVPF 8"]);
    assert!(ours.contains("a=rtcp-mux\r\n"));
    assert_eq!(
        n.agreed().unwrap().remote_rtcp,
        n.agreed().unwrap().remote_rtp
    );
    assert!(n.agreed().unwrap().rtcp_mux);
}

#[test]
fn rtcp_goes_one_port_up_or_where_the_peer_says() {
    let rtcp = |extra: &str| {
        let mut n = negotiation();
        answered(&mut n, &sdp(&format!("{PCMA}{extra}")));
        n.agreed().unwrap().remote_rtcp.to_string()
    };
    assert_eq!(rtcp(""), "198.51.100.5:4001");
    assert_eq!(rtcp("a=rtcp:4500\r\n"), "198.51.100.5:4500");
    assert_eq!(
        rtcp("a=rtcp:4500 IN IP4 198.51.100.6\r\n"),
        "198.51.100.6:4500"
    );
    assert_eq!(
        rtcp("a=rtcp:4500 IN IP4 224.0.0.1\r\n"),
        "198.51.100.5:4001",
        "never to a group"
    );
}

// ---- §6.1, §7: the answer to us

#[test]
fn each_side_has_its_own_payload_numbers() {
    let mut n = negotiation();
    n.offer(None);
    n.receive_answer(
        sdp("m=audio 4000 RTP/AVP 96 100 8\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\na=rtpmap:100 telephone-event/48000\r\n").as_bytes(),
    )
    .unwrap();
    let agreed = n.agreed().unwrap();
    assert_eq!(
        (agreed.codec, agreed.send_payload, agreed.receive_payload),
        (Codec::Opus, 96, 111)
    );
    assert!(agreed.opus.fec);
    let event = agreed.telephone_event.unwrap();
    assert_eq!((event.payload, event.receive), (100, 110));
    assert_eq!(
        agreed.alternates[..],
        [(8, Codec::Pcma)],
        "it may switch to what it kept"
    );
}

#[test]
fn an_answer_that_does_not_fit_changes_nothing() {
    let mut n = negotiation();
    n.offer(None);
    n.receive_answer(sdp(PCMA).as_bytes()).unwrap();
    let before = n.agreed().cloned();
    for (answer, error) in [
        (sdp("m=video 4000 RTP/AVP 8\r\n"), OfferError::Mismatch),
        (sdp(""), OfferError::Mismatch),
        (
            sdp("m=audio 4000 RTP/AVP 18\r\n"),
            OfferError::NoCommonCodec,
        ),
        (
            sdp("m=audio 4000 RTP/SAVP 8\r\n"),
            OfferError::SecureRequired,
        ),
        ("hello".to_owned(), OfferError::NotSdp),
    ] {
        n.reoffer(Direction::SendOnly);
        assert_eq!(n.receive_answer(answer.as_bytes()), Err(error));
        assert_eq!(n.agreed().cloned(), before);
    }
    n.reoffer(Direction::SendRecv);
    n.receive_answer(sdp(PCMA).as_bytes()).unwrap();
}

#[test]
fn an_answer_without_offer_is_refused_and_a_repeated_one_taken() {
    let mut n = negotiation();
    assert_eq!(
        n.receive_answer(sdp(PCMA).as_bytes()),
        Err(OfferError::NothingPending)
    );
    assert_eq!(n.answer(None), Err(OfferError::NothingPending));
    n.offer(None);
    n.receive_answer(sdp(PCMA).as_bytes()).unwrap();
    n.receive_answer(sdp(PCMA).as_bytes()).unwrap();
    n.receive_answer(sdp("m=audio 4444 RTP/AVP 0\r\n").as_bytes())
        .unwrap();
    assert_eq!(
        n.agreed().unwrap().codec,
        Codec::Pcmu,
        "the 200 corrects what the 183 said"
    );
}

// ---- §8: changes within the dialog

#[test]
fn hold_and_resume_by_the_peer() {
    let mut n = negotiation();
    answered(&mut n, &sdp(PCMA));
    let held = answered(&mut n, &sdp(&format!("{PCMA}a=sendonly\r\n")));
    assert!(held.contains("a=recvonly"));
    assert!(n.remote_on_hold());
    assert_eq!(n.agreed().unwrap().direction, Direction::RecvOnly);
    let resumed = answered(&mut n, &sdp(PCMA));
    assert!(resumed.contains("a=sendrecv") && !n.remote_on_hold());
    assert_eq!(version(&resumed), 3);
}

#[test]
fn hold_by_zero_address_means_send_nothing() {
    let mut n = negotiation();
    answered(&mut n, &sdp(PCMA));
    let held = answered(
        &mut n,
        &sdp(PCMA).replace("c=IN IP4 198.51.100.5", "c=IN IP4 0.0.0.0"),
    );
    assert!(held.contains("a=recvonly"));
    assert!(n.remote_on_hold());
    assert!(n.agreed().unwrap().remote_rtp.ip().is_unspecified());
    assert!(!n.agreed().unwrap().direction.sends());
}

#[test]
fn hold_and_resume_by_us_keep_codec_and_numbers() {
    let mut n = negotiation();
    answered(
        &mut n,
        &sdp(
            "m=audio 4000 RTP/AVP 96 101\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:101 telephone-event/48000\r\nm=video 5000 RTP/AVP 97\r\n",
        ),
    );
    let hold = text(&n.reoffer(Direction::SendOnly));
    assert!(hold.contains("a=sendonly"));
    let lines = m_lines(&hold);
    assert_eq!(
        lines[0], "m=audio 40000 RTP/AVP 96 9 8 0 101 97",
        "96 and 101 keep meaning what they meant"
    );
    assert_eq!(
        lines[1], "m=video 0 RTP/AVP 97",
        "the refused line stays in its place"
    );
    n.receive_answer(sdp("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\na=recvonly\r\nm=video 0 RTP/AVP 97\r\n").as_bytes()).unwrap();
    assert_eq!(n.agreed().unwrap().direction, Direction::SendOnly);
    // While we hold, an offer of sendrecv does not end our hold.
    assert!(
        answered(
            &mut n,
            &sdp("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n")
        )
        .contains("a=sendonly")
    );
    n.reoffer(Direction::SendRecv);
    n.receive_answer(sdp("m=audio 4000 RTP/AVP 96\r\na=rtpmap:96 opus/48000/2\r\n").as_bytes())
        .unwrap();
    assert_eq!(n.agreed().unwrap().direction, Direction::SendRecv);
}

#[test]
fn the_version_moves_only_when_something_changed() {
    let mut n = negotiation();
    let first = answered(&mut n, &sdp(PCMA));
    let again = answered(&mut n, &sdp(PCMA));
    assert_eq!(first, again, "the same offer gets the same answer");
    assert_eq!(version(&first), 1);
    let hold = text(&n.reoffer(Direction::SendOnly));
    assert_eq!(version(&hold), 2);
    assert_eq!(text(&n.reoffer(Direction::SendOnly)), hold);
    n.rollback();
    assert_eq!(text(&n.current_local().unwrap()), first);
    assert_eq!(
        version(&text(&n.reoffer(Direction::Inactive))),
        3,
        "a number once used never comes again"
    );
}

#[test]
fn rollback_forgets_the_pending_offer() {
    let mut n = negotiation();
    answered(&mut n, &sdp(PCMA));
    let before = n.agreed().cloned();
    n.receive_offer(sdp("m=audio 9999 RTP/AVP 0\r\n").as_bytes())
        .unwrap();
    n.rollback();
    assert_eq!(n.agreed().cloned(), before);
    assert_eq!(n.answer(None), Err(OfferError::NothingPending));
}

#[test]
fn a_stream_taken_away_and_given_back_keeps_its_place() {
    let mut n = negotiation();
    answered(&mut n, &sdp(PCMA));
    assert_eq!(
        m_lines(&answered(&mut n, &sdp("m=audio 0 RTP/AVP 8\r\n"))),
        ["m=audio 0 RTP/AVP 8"]
    );
    assert_eq!(n.agreed().unwrap().direction, Direction::Inactive);
    assert!(n.remote_on_hold());
    assert_eq!(
        m_lines(&answered(&mut n, &sdp(PCMA))),
        ["m=audio 40000 RTP/AVP 8 101"]
    );
    assert_eq!(n.agreed().unwrap().direction, Direction::SendRecv);
}

#[test]
fn crossing_offers_are_glare() {
    let mut n = negotiation();
    answered(&mut n, &sdp(PCMA));
    n.reoffer(Direction::SendOnly);
    assert_eq!(
        n.receive_offer(sdp(PCMA).as_bytes()),
        Err(OfferError::Glare)
    );
    n.receive_answer(sdp(PCMA).as_bytes()).unwrap();
}

#[test]
fn late_offer_both_ways() {
    // Theirs without SDP: our offer in the 200, their answer in the ACK.
    let mut n = negotiation();
    n.offer(Some(Codec::Pcma));
    assert!(n.awaits_answer());
    n.receive_answer(sdp(PCMA).as_bytes()).unwrap();
    assert_eq!(n.agreed().unwrap().codec, Codec::Pcma);
    // Ours without SDP: their offer in the 200, our answer in the ACK.
    let mut n = negotiation();
    n.receive_offer(sdp(PCMA).as_bytes()).unwrap();
    assert!(n.must_answer());
    n.answer(None).unwrap();
    assert_eq!(n.agreed().unwrap().codec, Codec::Pcma);
}

// ---- refusals

#[test]
fn secure_offers_are_refused_never_answered_plain() {
    for proto in [
        "RTP/SAVP",
        "RTP/SAVPF",
        "UDP/TLS/RTP/SAVPF",
        "UDP/TLS/RTP/SAVP",
    ] {
        let mut n = negotiation();
        let refused = n
            .receive_offer(sdp(&format!("m=audio 4000 {proto} 8\r\n")).as_bytes())
            .unwrap_err();
        assert_eq!(
            (refused, refused.status()),
            (OfferError::SecureRequired, 488)
        );
        assert_eq!(n.answer(None), Err(OfferError::NothingPending));
    }
    // Both offered: the peer allows plain.
    let mut n = negotiation();
    let ours = answered(
        &mut n,
        &sdp("m=audio 4000 RTP/SAVP 8\r\nm=audio 4002 RTP/AVP 8\r\n"),
    );
    assert_eq!(
        m_lines(&ours),
        ["m=audio 0 RTP/SAVP 8", "m=audio 40000 RTP/AVP 8"]
    );
}

#[test]
fn what_cannot_be_spoken_or_reached_is_488() {
    for (offer, error) in [
        (
            sdp("m=audio 4000 RTP/AVP 18\r\n"),
            OfferError::NoCommonCodec,
        ),
        (sdp("m=video 4000 RTP/AVP 96\r\n"), OfferError::NoAudio),
        (sdp("m=audio 4000 TCP/RTP/AVP 8\r\n"), OfferError::NoAudio),
        (
            sdp(PCMA).replace("c=IN IP4 198.51.100.5", "c=IN IP4 224.2.3.4/127"),
            OfferError::Address,
        ),
        (
            sdp(PCMA).replace("c=IN IP4 198.51.100.5", "c=IN IP4 door.example"),
            OfferError::Address,
        ),
        (
            sdp(PCMA).replace("c=IN IP4 198.51.100.5", "c=IN IP4 255.255.255.255"),
            OfferError::Address,
        ),
    ] {
        let refused = negotiation().receive_offer(offer.as_bytes()).unwrap_err();
        assert_eq!((refused, refused.status()), (error, 488), "{offer}");
    }
}

#[test]
fn behind_nat_the_signalling_source_stands_in() {
    let mut n = negotiation();
    n.set_signalling_source(Some("203.0.113.9".parse().unwrap()));
    answered(
        &mut n,
        "v=0\r\nm=audio 4000 RTP/AVP 8\r\nc=IN IP4 door.local\r\n",
    );
    assert_eq!(
        n.agreed().unwrap().remote_rtp,
        "203.0.113.9:4000".parse().unwrap()
    );
    assert_eq!(
        n.agreed().unwrap().signalling_from,
        Some("203.0.113.9".parse().unwrap())
    );
}

#[test]
fn a_ring_notice_is_no_error() {
    let mut n = negotiation();
    n.receive_offer(sdp("m=audio 0 RTP/AVP 0\r\n").as_bytes())
        .unwrap();
    assert!(n.ring_notice());
    assert_eq!(
        m_lines(&text(&n.answer(None).unwrap())),
        ["m=audio 0 RTP/AVP 0"]
    );
    assert_eq!(n.agreed(), None);
    assert!(n.ring_notice());
}

// ---- devices

struct Device {
    name: &'static str,
    offer: &'static [u8],
    codec: Codec,
    event: Option<u32>,
    lines: usize,
}

const DEVICES: &[Device] = &[
    Device {
        name: "2N-like door with video",
        offer: include_bytes!("vectors/sdp/2n.sdp"),
        codec: Codec::G722,
        event: Some(8_000),
        lines: 2,
    },
    Device {
        name: "baresip-like",
        offer: include_bytes!("vectors/sdp/baresip.sdp"),
        codec: Codec::Opus,
        event: Some(48_000),
        lines: 1,
    },
    Device {
        name: "linphone-like",
        offer: include_bytes!("vectors/sdp/linphone.sdp"),
        codec: Codec::Opus,
        event: Some(48_000),
        lines: 2,
    },
    Device {
        name: "Dahua-like with vendor PCM",
        offer: include_bytes!("vectors/sdp/vto.sdp"),
        codec: Codec::Pcmu,
        event: Some(8_000),
        lines: 2,
    },
    Device {
        name: "Chromium-like over plain AVPF",
        offer: include_bytes!("vectors/sdp/chromium-plain.sdp"),
        codec: Codec::Opus,
        event: Some(48_000),
        lines: 1,
    },
    Device {
        name: "desk handset",
        offer: include_bytes!("vectors/sdp/handset.sdp"),
        codec: Codec::G722,
        event: Some(8_000),
        lines: 1,
    },
    Device {
        name: "old panel: bare LF, Latin-1, no s= t= c=",
        offer: include_bytes!("vectors/sdp/panel.sdp"),
        codec: Codec::Pcma,
        event: None,
        lines: 1,
    },
];

#[test]
fn devices_of_the_field_get_a_fitting_answer() {
    for device in DEVICES {
        let mut n = negotiation();
        n.receive_offer(device.offer)
            .unwrap_or_else(|e| panic!("{}: {e}", device.name));
        let ours = text(&n.answer(None).unwrap());
        let agreed = n.agreed().unwrap();
        assert_eq!(agreed.codec, device.codec, "{}", device.name);
        assert_eq!(
            agreed.telephone_event.map(|t| t.clock),
            device.event,
            "{}",
            device.name
        );
        assert_eq!(m_lines(&ours).len(), device.lines, "{}", device.name);
    }
}

#[test]
fn a_browsers_secure_offer_is_refused() {
    let offer = include_bytes!("vectors/sdp/chromium.sdp");
    assert_eq!(
        negotiation().receive_offer(offer),
        Err(OfferError::SecureRequired)
    );
}

#[test]
fn two_of_us_agree_whoever_offers() {
    for codec in [
        Codec::Opus,
        Codec::G722,
        Codec::Pcma,
        Codec::Pcmu,
        Codec::L16,
    ] {
        let (mut a, mut b) = (only(&[codec]), only(&[Codec::Pcmu, Codec::L16, codec]));
        let offer = a.offer(None);
        b.receive_offer(&offer).unwrap();
        let answer = b.answer(None).unwrap();
        a.receive_answer(&answer).unwrap();
        for n in [&a, &b] {
            let agreed = n.agreed().unwrap();
            assert_eq!(agreed.codec, codec);
            assert_eq!(agreed.telephone_event.unwrap().clock, codec.rtp_clock());
            assert_eq!(agreed.direction, Direction::SendRecv);
        }
    }
}

#[test]
fn a_wholesale_refusal_names_every_line_with_port_0() {
    let offer = sdp(
        "m=audio 40000 RTP/AVP 8 0\r\nm=video 40002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\nm=application 9 TCP/MSRP *\r\n",
    );
    let ours = [192, 0, 2, 1].into();
    let answer = text(&reject_all(offer.as_bytes(), ours, 7).unwrap());
    assert_eq!(
        m_lines(&answer),
        [
            "m=audio 0 RTP/AVP 8",
            "m=video 0 RTP/AVP 96",
            "m=application 0 TCP/MSRP *"
        ]
    );
    assert_eq!(reject_all(b"hello", ours, 7), Err(OfferError::NotSdp));
}

#[test]
fn an_offer_of_nothing_has_no_line_and_can_be_answered() {
    let offer = offer_nothing([192, 0, 2, 1].into(), 7);
    assert!(m_lines(&text(&offer)).is_empty());
    let mut peer = negotiation();
    peer.receive_offer(&offer).unwrap();
    assert!(m_lines(&text(&peer.answer(None).unwrap())).is_empty());
}
