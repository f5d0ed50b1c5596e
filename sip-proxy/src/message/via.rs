//! Via: the way back (RFC 3261 §20.42, §18.2), with `received` and `rport` (RFC 3581) and IPv6 (RFC 5118 §4.5).

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::message::lex;
use crate::message::params::Params;
use crate::transport::Transport;

/// The magic cookie that marks an RFC 3261 branch (§8.1.1.7).
pub const BRANCH_COOKIE: &str = "z9hG4bK";

/// One Via value, read where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Via<'a> {
    /// The transport word of the sent-protocol, as written; see [`Via::transport`].
    pub protocol: &'a str,
    /// The host of sent-by; an IPv6 literal keeps its brackets.
    pub host: &'a str,
    /// The port of sent-by.
    pub port: Option<u16>,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Reads one Via value; white space may stand around every separator (RFC 4475 §3.1.1.1).
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(value: &'a str) -> Result<Self, &'static str> {
        let value = lex::trim(value);
        let at = lex::find_outside(value, b';').unwrap_or(value.len());
        let (head, params) = value.split_at_checked(at).ok_or("malformed Via")?;
        let params = Params::parse(params)?;
        let mut parts = head.splitn(3, '/');
        let name = lex::trim(parts.next().unwrap_or(""));
        let version = lex::trim(parts.next().unwrap_or(""));
        if !name.eq_ignore_ascii_case("SIP") || version != "2.0" {
            return Err("not a SIP/2.0 Via");
        }
        let rest = lex::trim(parts.next().ok_or("no transport in Via")?);
        let at = rest
            .bytes()
            .position(lex::is_lws)
            .ok_or("no sent-by in Via")?;
        let (protocol, sent_by) = rest.split_at_checked(at).ok_or("malformed Via")?;
        if !lex::is_token(protocol) {
            return Err("malformed transport in Via");
        }
        let (host, port) = sent_by_of(lex::trim(sent_by))?;
        Ok(Self {
            protocol,
            host,
            port,
            params,
        })
    }

    /// The transport, when it is one we speak.
    #[must_use]
    pub fn transport(&self) -> Option<Transport> {
        Transport::from_token(self.protocol)
    }

    /// The branch as written, cookie included.
    #[must_use]
    pub fn branch(&self) -> Option<&'a str> {
        self.params.get("branch")
    }

    /// The branch when it identifies a transaction by itself: it has the cookie and something after it
    /// (RFC 3261 §17.2.3; a bare cookie is no identifier, RFC 4475 §3.2.1).
    #[must_use]
    pub fn rfc3261_branch(&self) -> Option<&'a str> {
        self.branch().filter(|branch| {
            branch.len() > BRANCH_COOKIE.len() && branch.starts_with(BRANCH_COOKIE)
        })
    }

    /// The `received` address, with or without the brackets that RFC 5118 §4.5 asks receivers to tolerate.
    #[must_use]
    pub fn received(&self) -> Option<IpAddr> {
        self.params.get("received").and_then(ip_of)
    }

    /// The port in `rport`, when it has a value.
    #[must_use]
    pub fn rport(&self) -> Option<u16> {
        self.params.get("rport").and_then(|port| port.parse().ok())
    }

    /// True when the sender asks for symmetric response routing (RFC 3581 §3): `rport` is present, value or not.
    #[must_use]
    pub fn wants_rport(&self) -> bool {
        self.params.contains("rport")
    }

    /// The sent-by host as an address, when it is a literal.
    #[must_use]
    pub fn host_ip(&self) -> Option<IpAddr> {
        ip_of(self.host)
    }

    /// This value as a server passes it on or copies it into a response (RFC 3261 §18.2.1, RFC 3581 §4): with
    /// `received` when sent-by is not literally the source address, or when `rport` was asked for, and with
    /// `rport` filled in. Whatever `received` or `rport` value the sender wrote is taken out: only the socket knows.
    pub(crate) fn stamp(value: &str, source: SocketAddr, out: &mut String) {
        let Ok(via) = Via::parse(value) else {
            out.push_str(value);
            return;
        };
        let at = lex::find_outside(value, b';').unwrap_or(value.len());
        out.push_str(lex::trim(value.get(..at).unwrap_or(value)));
        for part in lex::split(via.params.as_str(), b';') {
            let name = lex::trim(part.split('=').next().unwrap_or(""));
            if !(part.is_empty()
                || name.eq_ignore_ascii_case("received")
                || name.eq_ignore_ascii_case("rport"))
            {
                out.push(';');
                out.push_str(part);
            }
        }
        let symmetric = via.wants_rport();
        if symmetric || via.host_ip() != Some(source.ip().to_canonical()) {
            // Writing to a `String` cannot fail.
            let _ = write!(out, ";received={}", source.ip().to_canonical());
        }
        if symmetric {
            let _ = write!(out, ";rport={}", source.port());
        }
    }

    /// Where a response goes on an unreliable transport (RFC 3261 §18.2.2, RFC 3581 §4), read from this value as
    /// received and the packet's source. `maddr` is ignored: it would let a stranger aim our responses.
    #[must_use]
    pub fn response_target(&self, source: SocketAddr) -> SocketAddr {
        if self.wants_rport() {
            return source;
        }
        let default = self.transport().map_or(5060, Transport::default_port);
        SocketAddr::new(source.ip(), self.port.unwrap_or(default))
    }

    /// Where the 400 or 505 to a request goes whose topmost Via breaks the grammar: what follows its sent-by, or its
    /// version, may be nonsense (RFC 4475 §3.1.2.1, §3.1.2.16). `None` when not even the sent-by can be read.
    pub(crate) fn salvaged_target(value: &str, source: SocketAddr) -> Option<SocketAddr> {
        let sent_by = value.split(';').next()?.splitn(3, '/').nth(2)?;
        let (_, sent_by) = lex::trim(sent_by).split_once(|c: char| c.is_ascii_whitespace())?;
        let (_, port) = sent_by_of(lex::trim(sent_by)).ok()?;
        Some(SocketAddr::new(source.ip(), port.unwrap_or(5060)))
    }
}

fn sent_by_of(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, rest) = if text.starts_with('[') {
        let end = text.find(']').ok_or("unbalanced bracket in sent-by")?;
        let (host, rest) = text.split_at_checked(end + 1).ok_or("malformed sent-by")?;
        ip_of(host).ok_or("malformed IPv6 address in sent-by")?;
        (host, lex::trim(rest))
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let (host, rest) = text.split_at_checked(end).ok_or("malformed sent-by")?;
        let host = lex::trim(host);
        // `_` is no host character, but sent-by of field devices carries it.
        if host.is_empty()
            || !host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        {
            return Err("malformed host in sent-by");
        }
        (host, rest)
    };
    if rest.is_empty() {
        return Ok((host, None));
    }
    let port = lex::trim(
        rest.strip_prefix(':')
            .ok_or("text after the host in sent-by")?,
    );
    let port = lex::number(port)
        .and_then(|port| u16::try_from(port).ok())
        .ok_or("malformed port in sent-by")?;
    Ok((host, Some(port)))
}

/// An address literal, IPv6 with or without brackets. RFC 5118 §4.10: the RFC 3261 grammar allows `:::` before an
/// embedded IPv4 address, and receivers are to be liberal about it.
pub(crate) fn ip_of(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(v4) = bare.parse::<Ipv4Addr>() {
        return (bare.len() == text.len()).then_some(IpAddr::V4(v4));
    }
    if let Ok(v6) = bare.parse::<Ipv6Addr>() {
        return Some(IpAddr::V6(v6));
    }
    let (head, tail) = bare.split_once(":::")?;
    tail.parse::<Ipv4Addr>().ok()?;
    let two = [head, "::", tail].concat();
    two.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(value: &str, source: &str) -> String {
        let mut out = String::new();
        Via::stamp(value, source.parse().unwrap(), &mut out);
        out
    }

    #[test]
    fn white_space_may_stand_around_every_separator() {
        let via = Via::parse(
            "SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8",
        )
        .unwrap();
        assert_eq!(
            (via.protocol, via.host, via.port),
            ("TCP", "spindle.example.com", None)
        );
        assert_eq!(via.branch(), Some("z9hG4bK9ikj8"));
    }

    #[test]
    fn an_ipv6_sent_by_has_a_host_and_a_port() {
        let via = Via::parse(
            "SIP/2.0/UDP [2001:db8::9:1]:5070;received=[2001:db8::9:255];branch=z9hG4bKas3",
        )
        .unwrap();
        assert_eq!((via.host, via.port), ("[2001:db8::9:1]", Some(5070)));
        assert_eq!(via.received(), Some("2001:db8::9:255".parse().unwrap()));
    }

    #[test]
    fn three_colons_before_an_embedded_ipv4_address_are_tolerated() {
        assert_eq!(
            ip_of("[2001:db8:::192.0.2.1]"),
            Some("2001:db8::192.0.2.1".parse().unwrap())
        );
        assert_eq!(ip_of("[2001:db8:::1]"), None);
    }

    #[test]
    fn malformed_values_are_refused() {
        for value in [
            "",
            "SIP/2.0/UDP",
            "SIP/3.0/UDP a",
            "SIP/2.0/UDP a;;",
            "SIP/2.0/UDP a:99999",
            "SIP/2.0/UDP [::1",
            "SIP/2.0/UDP a b",
        ] {
            assert!(Via::parse(value).is_err(), "{value}");
        }
    }

    #[test]
    fn rport_is_filled_from_the_socket() {
        assert_eq!(
            stamped(
                "SIP/2.0/UDP 10.1.1.1:4540;rport;branch=z9hG4bKkjshdyff",
                "192.0.2.1:9988"
            ),
            "SIP/2.0/UDP 10.1.1.1:4540;branch=z9hG4bKkjshdyff;received=192.0.2.1;rport=9988"
        );
    }

    #[test]
    fn received_is_added_only_when_sent_by_is_not_the_source() {
        assert_eq!(
            stamped("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1", "192.0.2.1:5060"),
            "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"
        );
        assert_eq!(
            stamped("SIP/2.0/UDP door.example;branch=z9hG4bK1", "192.0.2.1:5060"),
            "SIP/2.0/UDP door.example;branch=z9hG4bK1;received=192.0.2.1"
        );
    }

    #[test]
    fn a_received_written_by_the_sender_does_not_survive() {
        assert_eq!(
            stamped(
                "SIP/2.0/UDP 192.0.2.1;received=10.0.0.1;rport=7;branch=z9hG4bK1",
                "192.0.2.1:5060"
            ),
            "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;received=192.0.2.1;rport=5060"
        );
    }

    #[test]
    fn a_response_goes_to_the_source_port_only_when_rport_was_asked_for() {
        let source: SocketAddr = "192.0.2.1:9988".parse().unwrap();
        let via = Via::parse("SIP/2.0/UDP 10.1.1.1:4540;rport;branch=z9hG4bK1").unwrap();
        assert_eq!(via.response_target(source), source);
        let via = Via::parse("SIP/2.0/UDP 10.1.1.1:4540;branch=z9hG4bK1").unwrap();
        assert_eq!(
            via.response_target(source),
            "192.0.2.1:4540".parse().unwrap()
        );
    }

    #[test]
    fn a_bare_cookie_identifies_nothing() {
        assert_eq!(
            Via::parse("SIP/2.0/UDP a;branch=z9hG4bK")
                .unwrap()
                .rfc3261_branch(),
            None
        );
    }
}
