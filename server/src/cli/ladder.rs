//! A call's messages drawn as a ladder, as text, or as a pcap file.

use crate::trace::pcap::{self, Packet};
use crate::trace::{Kept, Rung};

/// Columns a side of the ladder takes.
const WIDTH: usize = 22;
/// Sides drawn; what further ones say stands in the last column with its name.
const SIDES: usize = 6;

/// The ladder: one column for each side, doorward's first after the caller's.
pub(super) fn drawn(kept: &Kept) -> Vec<String> {
    let mut sides: Vec<String> = Vec::new();
    for rung in &kept.rungs {
        let side = side(rung);
        if !sides.contains(&side) && sides.len() < SIDES {
            sides.push(side);
        }
    }
    if sides.is_empty() {
        return vec!["no messages were kept".to_owned()];
    }
    // The caller, us, everybody else.
    let columns: Vec<&str> = sides
        .iter()
        .take(1)
        .map(String::as_str)
        .chain(["doorward"])
        .chain(sides.iter().skip(1).map(String::as_str))
        .collect();
    let mut lines = vec![head(&columns)];
    for rung in &kept.rungs {
        let at = offset(kept, rung);
        let place = sides.iter().position(|known| *known == side(rung));
        let other = match place {
            Some(0) => 0,
            Some(place) => place + 1,
            None => columns.len() - 1,
        };
        lines.push(format!("{at} s  {}", arrow(rung, other, columns.len())));
    }
    if kept.dropped > 0 {
        lines.push(format!("          …  {} messages not kept", kept.dropped));
    }
    lines
}

/// Since the call's INVITE; what came before it, the challenge, is negative.
fn offset(kept: &Kept, rung: &Rung) -> String {
    let millis = rung.at.duration_since(kept.started).as_millis();
    // Through whole milliseconds, so that nothing is "-0.000".
    format!("{:>9.3}", millis as f64 / 1_000.0)
}

fn side(rung: &Rung) -> String {
    if rung.party.is_empty() {
        rung.remote.to_string()
    } else {
        rung.party.clone()
    }
}

fn head(columns: &[&str]) -> String {
    let cells: Vec<String> = columns
        .iter()
        .map(|name| {
            let name: String = name.chars().take(WIDTH - 1).collect();
            format!("{name:<WIDTH$}")
        })
        .collect();
    format!("             {}", cells.concat())
        .trim_end()
        .to_owned()
}

/// `|<--- 180 INVITE -----|`, between our column (1) and the other's. It passes over those between them.
fn arrow(rung: &Rung, other: usize, columns: usize) -> String {
    let (left, right) = (other.min(1), other.max(1));
    let rightwards = rung.sent == (other > 1);
    let span = (right - left) * WIDTH - 1;
    let text: String = rung.summary.chars().take(span - 4).collect();
    let dashes = span - 3 - text.chars().count();
    let (before, after) = ("-".repeat(dashes / 2), "-".repeat(dashes - dashes / 2));
    let body = if rightwards {
        format!("{before} {text} {after}>")
    } else {
        format!("<{before} {text} {after}")
    };
    let lines = |count: usize| format!("|{}", " ".repeat(WIDTH - 1)).repeat(count);
    format!("{}|{body}{}|", lines(left), lines(columns - 1 - right))
}

/// The messages themselves, redacted.
pub(super) fn messages(kept: &Kept) -> Vec<String> {
    let mut lines = Vec::new();
    for rung in &kept.rungs {
        let (from, to) = rung.ends();
        let at = offset(kept, rung);
        lines.push(format!("{at} s  {} {from} -> {to}", rung.transport));
        lines.extend(rung.text.lines().map(|line| format!("    {line}")));
        lines.push(String::new());
    }
    lines
}

/// A pcap file of the redacted messages.
pub(super) fn capture(kept: &Kept) -> Vec<u8> {
    pcap::file(kept.rungs.iter().map(|rung| {
        let (from, to) = rung.ends();
        Packet {
            at: rung.at,
            from,
            to,
            payload: rung.text.as_bytes(),
        }
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;

    fn rung(ms: u64, party: &str, sent: bool, summary: &str) -> Rung {
        Rung {
            at: Timestamp::UNIX_EPOCH + Duration::from_millis(ms),
            sent,
            transport: "UDP".to_owned(),
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "192.0.2.7:5060".parse().unwrap(),
            party: party.to_owned(),
            summary: summary.to_owned(),
            text: "BYE sip:x SIP/2.0\r\n\r\n".to_owned(),
        }
    }

    #[test]
    fn a_ladder_has_an_arrow_for_every_message_in_its_columns() {
        let kept = Kept {
            call: "c".to_owned(),
            started: Timestamp::UNIX_EPOCH,
            dropped: 2,
            rungs: vec![
                rung(0, "lobby", false, "INVITE (SDP)"),
                rung(1, "desk-1", true, "INVITE (SDP)"),
                rung(2, "desk-2", true, "INVITE (SDP)"),
                rung(90, "desk-1", false, "180 INVITE"),
                rung(91, "lobby", true, "180 INVITE"),
                rung(200, "desk-2", false, "486 INVITE"),
            ],
        };
        let expected =
            "             lobby                 doorward              desk-1                desk-2
    0.000 s  |--- INVITE (SDP) --->|                     |                     |
    0.001 s  |                     |--- INVITE (SDP) --->|                     |
    0.002 s  |                     |-------------- INVITE (SDP) -------------->|
    0.090 s  |                     |<---- 180 INVITE ----|                     |
    0.091 s  |<---- 180 INVITE ----|                     |                     |
    0.200 s  |                     |<--------------- 486 INVITE ---------------|
          …  2 messages not kept";
        let drawn_now = drawn(&kept).join("\n");
        assert_eq!(drawn_now, expected);
        assert!(messages(&kept)[0].contains("UDP 192.0.2.7:5060 -> 192.0.2.1:5060"));
        assert_eq!(
            drawn(&Kept {
                rungs: Vec::new(),
                ..kept
            }),
            ["no messages were kept"]
        );
    }
}
