//! The built binary's demo: a whole call over real sockets, seen only by what it prints.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that starts the built binary"
)]

use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command
        .arg("demo")
        .arg("--exit-after-call")
        .args(arguments)
        .output()
        .unwrap()
}

/// The line that begins with `start`.
fn line<'a>(text: &'a str, start: &str) -> &'a str {
    text.lines()
        .map(str::trim)
        .find(|line| line.starts_with(start))
        .unwrap_or_else(|| panic!("no `{start}` in\n{text}"))
}

fn milliseconds(line: &str) -> f64 {
    let words: Vec<&str> = line.split_whitespace().collect();
    let unit = words.iter().position(|word| *word == "ms").unwrap();
    words[unit - 1].parse().unwrap()
}

#[test]
fn the_demo_call_rings_talks_in_two_codecs_opens_and_is_logged() {
    let output = demo(&["--listen", "127.0.0.1:0"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for step in [
        "INVITE (SDP)",
        "180 INVITE",
        "200 INVITE (SDP)",
        "key 9",
        "recorded, driving by http",
        "opened",
        "BYE",
    ] {
        assert!(text.contains(step), "`{step}` is not in the story:\n{text}");
    }
    assert!(text.contains("PCMU <-> desk-1 opus"), "{text}");
    assert!(line(&text, "Audit chain").contains("verified"));
    // The product's bars, with room for a busy machine: a ring within 150 ms, the relay within a second of the key.
    assert!(
        milliseconds(line(&text, "INVITE → desk has it")) <= 150.0,
        "{text}"
    );
    assert!(
        milliseconds(line(&text, "digit 9 → relay")) <= 1_000.0,
        "{text}"
    );
}

#[test]
fn a_taken_port_is_named_and_another_used() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = demo(&["--listen", &address]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains(&format!("{address} is taken; listening on 127.0.0.1:")),
        "{text}"
    );
}
