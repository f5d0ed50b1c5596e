//! Every target over its kept corpus and seeded mutations of it: the same inputs in every run, on a stable compiler.
//! `FUZZ_ROUNDS` asks for more mutations than CI makes; real fuzzing is `cargo fuzz run TARGET` in `fuzz/`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "reads the corpus; a failing test panics"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

/// Mutations of each target; a plan is checked, and a building built, in milliseconds.
const ROUNDS: usize = 4_000;
const SLOW: (&[&str], usize) = (&["b2bua", "plan"], 300);
/// Pieces that make a mutation reach further than single octets do.
const WORDS: [&str; 24] = [
    "\r\n",
    "\r\n\r\n",
    "\r\n ",
    "\0",
    "\u{1}",
    ";",
    ",",
    "<",
    ">",
    "\"",
    "\\",
    "%00",
    "sip:",
    "sips:",
    "tel:",
    "[::1]",
    "@",
    ";tag=",
    ";branch=z9hG4bK",
    "Content-Length: ",
    "4294967296",
    "-1",
    "m=audio 0 RTP/AVP 0\r\n",
    "\u{ff}\u{fe}",
];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("seed-"))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} keeps no seed-*", folder.display());
    files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect()
}

fn mutated(rng: &mut StdRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let pick = |rng: &mut StdRng| corpus[rng.random_range(0..corpus.len())].clone();
    let mut data = pick(rng);
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=data.len());
        let end = (at + rng.random_range(0..16)).min(data.len());
        match rng.random_range(0..7) {
            0 if at < data.len() => data[at] ^= 1 << rng.random_range(0..8),
            1 if at < data.len() => data[at] = rng.random(),
            2 => data.truncate(at),
            3 => drop(data.drain(at..end)),
            4 => drop(data.splice(at..at, WORDS[rng.random_range(0..WORDS.len())].bytes())),
            5 => {
                let copy = data[at..end].to_vec();
                drop(data.splice(at..at, copy));
            }
            _ => {
                let other = pick(rng);
                let from = rng.random_range(0..=other.len());
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
        }
    }
    data
}

fn smoke(target: &str) {
    let (_, run) = fuzz_targets::TARGETS
        .iter()
        .find(|(name, _)| *name == target)
        .unwrap();
    let usual = if SLOW.0.contains(&target) {
        SLOW.1
    } else {
        ROUNDS
    };
    let rounds = std::env::var("FUZZ_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual);
    let corpus = corpus(target);
    let mut rng = StdRng::seed_from_u64(rounds as u64);
    let mutations = (0..rounds).map(|_| mutated(&mut rng, &corpus));
    for data in corpus.iter().cloned().chain(mutations) {
        if catch_unwind(AssertUnwindSafe(|| run(&data))).is_err() {
            panic!("{target} panicked at \"{}\"", data.escape_ascii());
        }
    }
}

macro_rules! smokes {
    ($($name:ident)+) => {
        $(#[test] fn $name() { smoke(stringify!($name)); })+
        #[test]
        fn every_target_is_smoked() {
            let named = [$(stringify!($name)),+];
            assert_eq!(fuzz_targets::TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>(), named);
        }
    };
}

smokes! {
    b2bua digest dtmf_info endpoint header_families plan registrar rfc4733 rtcp rtp sdp sip_message sip_uri_headers stream
    stun websocket
}
