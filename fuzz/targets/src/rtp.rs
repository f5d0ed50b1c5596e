//! Any datagrams on the media ports of a joined pair, one leg relayed and one transcoded: no panic, nothing of a foreign
//! source passes, and what leaves for a peer is RTP from us.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use media_bridge::rtp::{self, HEADER_BYTES, Stamp};
use media_bridge::{
    Bridge, BridgeConfig, Codec, Command, Component, Direction, Input, LeaseId, LegConfig, LegId, OpusParams, Output,
    TelephoneEvent,
};
use rand::SeedableRng;

fn home(leg: u64, port: u16) -> SocketAddr {
    let octet = u8::try_from(leg).unwrap_or(255);
    SocketAddr::from(([192, 0, 2, octet], port))
}

fn config(leg: u64, codec: Codec) -> LegConfig {
    let payload = codec.static_payload().unwrap_or(111);
    LegConfig {
        lease: LeaseId(leg),
        remote_rtp: home(leg, 4_000),
        remote_rtcp: home(leg, 4_001),
        rtcp_mux: false,
        signalling_from: None,
        codec,
        send_payload: payload,
        receive_payload: payload,
        alternates: [(9, Codec::G722)].into_iter().collect(),
        telephone_event: Some(TelephoneEvent { payload: 101, receive: 101, clock: 8_000 }),
        ptime_ms: 20,
        direction: Direction::SendRecv,
        opus: OpusParams::default(),
        clear: false,
    }
}

fn headers(data: &[u8]) {
    let _ = rtp::is_rtcp(data);
    let Ok(header) = rtp::parse(data) else { return };
    assert!(header.payload.start >= HEADER_BYTES && header.payload.end <= data.len());
    let mut copy = data.to_vec();
    let stamp = Stamp { marker: true, payload_type: 96, sequence: 1, timestamp: 2, ssrc: 3 };
    stamp.rewrite(&mut copy);
    let again = rtp::parse(&copy).expect("rewritten it is still RTP");
    assert_eq!((again.ssrc, again.payload), (3, header.payload));
}

/// One input.
pub fn run(data: &[u8]) {
    headers(data);
    let mut now = Instant::now();
    let rng = rand::rngs::StdRng::seed_from_u64(1);
    let mut bridge = Bridge::new(BridgeConfig::default(), Box::new(rng));
    for (leg, codec) in [(1, Codec::Pcmu), (2, Codec::Pcmu), (3, Codec::Pcma), (4, Codec::G722)] {
        let open = Command::Open { leg: LegId(leg), config: config(leg, codec), feeds_keys: true };
        bridge.handle(now, Input::Command(open)).for_each(drop);
    }
    for (a, b) in [(1, 2), (3, 4)] {
        let join = Command::Join { a: LegId(a), b: LegId(b) };
        bridge.handle(now, Input::Command(join)).for_each(drop);
    }
    // Each piece: where it comes in, how long, its octets.
    let mut rest = data;
    while let Some((&[way, length], tail)) = rest.split_first_chunk::<2>() {
        let (piece, tail) = tail.split_at(usize::from(length).min(tail.len()));
        rest = tail;
        let leg = u64::from(way & 3) + 1;
        let (component, port) = if way & 4 == 0 { (Component::Rtp, 4_000) } else { (Component::Rtcp, 4_001) };
        let foreign = way & 8 != 0;
        let from = if foreign { home(leg + 100, port) } else { home(leg, port) };
        now += Duration::from_millis(u64::from(way >> 4) * 5);
        let mut bytes = piece.to_vec();
        let input = Input::Packet { leg: LegId(leg), component, from, bytes: &mut bytes };
        for output in bridge.handle(now, input) {
            if let Output::Send { component, to, bytes, .. } = output {
                assert!(!foreign, "a stranger was relayed");
                assert!(to.port() == 4_000 || to.port() == 4_001);
                assert!(component == Component::Rtcp || rtp::parse(bytes).is_ok());
            }
        }
        if bridge.next_timeout().is_some_and(|at| at <= now) {
            bridge.handle(now, Input::Timeout).for_each(drop);
        }
    }
}
