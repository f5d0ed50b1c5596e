//! The fuzz targets as functions of octets: each panics where a promise is broken. `fuzz/fuzz_targets/` hands them to
//! libFuzzer, `tests/smoke.rs` runs their kept corpora and some seeded mutations of them.
#![allow(
    clippy::disallowed_methods,
    reason = "each target needs one Instant to count from"
)]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is what a target reports with"
)]

macro_rules! targets {
    ($($name:ident)+) => {
        $(pub mod $name;)+
        /// All of them by name; the corpus of each lies in `fuzz/corpus/NAME/`.
        pub const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name::run as fn(&[u8])),)+];
    };
}

targets! {
    b2bua digest dtmf_info endpoint header_families plan registrar rfc4733 rtcp rtp sdp sip_message sip_uri_headers stream
    stun websocket
}
