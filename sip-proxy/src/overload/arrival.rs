//! What a message is, as far as overload control wants to know: read from its first octets, without parsing it.

use memchr::memchr;

/// Header lines looked at.
const LINES: usize = 64;

/// A message that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival<'a> {
    /// Part of something begun: a response, ACK, CANCEL.
    Follows,
    /// A request with a To tag. Whether there is such a dialog, others must know.
    InDialog {
        /// The tag.
        to_tag: &'a str,
    },
    /// A new request.
    New {
        /// Its method.
        method: &'a str,
        /// Of its Call-ID.
        hash: u64,
        /// User part of the Request-URI.
        dialled: &'a str,
        /// User part of From: a hint, no identity.
        from: &'a str,
    },
    /// No SIP, or too odd to be read so quickly.
    Unreadable,
}

/// Reads start line, To, From and Call-ID.
#[must_use]
pub fn arrival(bytes: &[u8]) -> Arrival<'_> {
    let mut lines = Lines(bytes);
    let Some(first) = lines.next() else {
        return Arrival::Unreadable;
    };
    if first.starts_with(b"SIP/2.0 ") {
        return Arrival::Follows;
    }
    let Some(start) = first
        .strip_suffix(b" SIP/2.0")
        .and_then(|start| std::str::from_utf8(start).ok())
    else {
        return Arrival::Unreadable;
    };
    let (method, uri) = start.split_once(' ').unwrap_or((start, ""));
    if matches!(method, "ACK" | "CANCEL") {
        return Arrival::Follows;
    }
    let (mut to, mut from, mut call_id) = (None, "", None);
    for line in lines.take(LINES) {
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = split(line) else {
            continue;
        };
        if name.eq_ignore_ascii_case("to") || name.eq_ignore_ascii_case("t") {
            to.get_or_insert(value);
        } else if name.eq_ignore_ascii_case("from") || name.eq_ignore_ascii_case("f") {
            from = value;
        } else if name.eq_ignore_ascii_case("call-id") || name.eq_ignore_ascii_case("i") {
            call_id.get_or_insert(value);
        }
        if to.is_some() && call_id.is_some() && !from.is_empty() {
            break;
        }
    }
    let (Some(to), Some(call_id)) = (to, call_id) else {
        return Arrival::Unreadable;
    };
    // Behind the address: a display name may say anything.
    let parameters = to.rsplit_once('>').map_or(to, |(_, rest)| rest);
    if let Some((_, tag)) = parameters.split_once(";tag=") {
        let to_tag = tag.split([';', ' ', '\t']).next().unwrap_or_default();
        return Arrival::InDialog { to_tag };
    }
    Arrival::New {
        method,
        hash: hash(call_id.as_bytes()),
        dialled: user(uri),
        from: user(from),
    }
}

/// The user part of the first SIP URI in `text`.
fn user(text: &str) -> &str {
    let rest = text
        .split_once("sip:")
        .or_else(|| text.split_once("sips:"))
        .map_or("", |(_, rest)| rest);
    match rest.split_once('@') {
        Some((user, _)) => user.split([':', ';']).next().unwrap_or_default(),
        None => "",
    }
}

fn split(line: &[u8]) -> Option<(&str, &str)> {
    let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
    Some((name.trim(), value.trim()))
}

/// FNV-1a, mixed so that its low bits are as good as its high ones. An attacker may choose a rank by it: only within the
/// class he is in.
fn hash(bytes: &[u8]) -> u64 {
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (sum ^ (sum >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}

struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr(b'\n', self.0).unwrap_or(self.0.len());
        let line = self.0.get(..end).unwrap_or_default();
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_begun_is_told_from_what_is_new() {
        let request = |method: &str, to: &str| {
            format!(
                "{method} sip:101@elm SIP/2.0\r\nf: \"L\" <sip:lobby@elm>;tag=1\r\nTo: {to}\r\nCall-ID: c1\r\n\r\n"
            )
        };
        for follows in [
            "SIP/2.0 200 OK\r\n".to_owned(),
            request("ACK", "<sip:101@elm>"),
            request("CANCEL", "<sip:101@elm>"),
        ] {
            assert_eq!(arrival(follows.as_bytes()), Arrival::Follows);
        }
        let bye = request("BYE", "\"x;tag=no\" <sip:101@elm;tag=no>;x=y;tag=7.1.f;z");
        assert_eq!(
            arrival(bye.as_bytes()),
            Arrival::InDialog { to_tag: "7.1.f" }
        );
        let invite = request("INVITE", "\";tag=no\" <sip:101@elm;tag=no>");
        let Arrival::New {
            method,
            hash,
            dialled,
            from,
        } = arrival(invite.as_bytes())
        else {
            panic!("an INVITE is new");
        };
        assert_eq!((method, dialled, from), ("INVITE", "101", "lobby"));
        let register = request("REGISTER", "sip:lobby@elm");
        let Arrival::New { hash: other, .. } = arrival(register.as_bytes()) else {
            panic!("a REGISTER is new");
        };
        assert_eq!(hash, other, "by Call-ID alone");
    }

    #[test]
    fn what_cannot_be_read_is_said_so() {
        for bytes in [
            &b""[..],
            b"\r\n\r\n",
            b"\xff\xfe SIP/2.0\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"INVITE sip:a@b SIP/2.0\r\nTo: <sip:a@b>\r\n\r\n",
            b"INVITE sip:a@b SIP/2.0\r\n\r\nTo: x\r\nCall-ID: y\r\n",
        ] {
            assert_eq!(
                arrival(bytes),
                Arrival::Unreadable,
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn call_ids_spread_evenly() {
        let mut counts = [0_u32; 32];
        for n in 0..32_000 {
            counts[(hash(format!("{n}@192.0.2.7").as_bytes()) % 32) as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (700..1_300).contains(count)),
            "{counts:?}"
        );
    }
}
