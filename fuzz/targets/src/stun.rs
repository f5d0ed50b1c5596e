//! Any datagram as STUN: read without a panic; an answer is STUN itself and never longer than what it answers by much.

use sip_proxy::stun;

/// One input.
pub fn run(data: &[u8]) {
    for source in ["192.0.2.9:5060", "[2001:db8::9]:5060"] {
        let Ok(source) = source.parse() else { return };
        if let Some(answer) = stun::answer(data, source) {
            assert!(stun::is_stun(data) && stun::is_stun(&answer));
            // Nobody is to be flooded through us.
            assert!(answer.len() <= data.len() + 64, "{} for {}", answer.len(), data.len());
        }
    }
}
