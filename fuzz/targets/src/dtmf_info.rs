//! Any INFO body under each content type: a key or nothing.

use media_bridge::{Digit, parse_info};

/// One input.
pub fn run(data: &[u8]) {
    for kind in ["application/dtmf", "application/dtmf-relay", "application/telephone-event"] {
        if let Some((digit, duration)) = parse_info(kind, data) {
            assert_eq!(Digit::new(digit.label()), Some(digit));
            assert!(duration.is_none_or(|ms| ms <= 10_000));
        }
    }
    if let Some((kind, body)) = data.split_first_chunk::<16>() {
        let _ = parse_info(&String::from_utf8_lossy(kind), body);
    }
}
