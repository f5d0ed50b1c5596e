//! Any body as offer and as answer: no panic, an answer has the offer's m-lines, and what we write we can read.

use media_bridge::offer_answer::{Direction, LegProfile, Negotiation};
use media_bridge::{Codec, Lease, LeaseId};

fn negotiation() -> Negotiation {
    let lease = Lease {
        id: LeaseId(1),
        worker: 0,
        rtp: ([192, 0, 2, 1], 40_000).into(),
        advertise: [192, 0, 2, 1].into(),
    };
    let profile = LegProfile { codecs: Codec::ALL.to_vec(), ..LegProfile::default() };
    Negotiation::new(profile, lease, 1)
}

/// How many m-lines we wrote.
fn lines(sdp: &[u8]) -> usize {
    sdp.split(|b| *b == b'\n').filter(|l| l.starts_with(b"m=")).count()
}

/// One input.
pub fn run(data: &[u8]) {
    let mut callee = negotiation();
    if callee.receive_offer(data).is_ok() {
        let answer = callee.answer(None).expect("a taken offer is answered");
        assert!(!answer.contains(&0) && answer.starts_with(b"v=0\r\n"));
        let offered = data
            .split(|b| matches!(b, b'\r' | b'\n'))
            .filter(|l| {
                let text: Vec<u8> = l.iter().copied().filter(|b| *b != 0).collect();
                text.trim_ascii().starts_with(b"m=")
            })
            .count();
        // Exotic blanks before m= may make one more of ours, never one less.
        assert!(lines(&answer) >= offered);
        let hold = callee.reoffer(Direction::SendOnly);
        negotiation().receive_offer(&hold).expect("our own offer");
        callee.rollback();
    }
    let mut caller = negotiation();
    let _ = caller.offer(None);
    if caller.receive_answer(data).is_ok() {
        assert!(caller.agreed().is_some());
    }
}
