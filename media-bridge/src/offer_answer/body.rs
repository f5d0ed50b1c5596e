//! A peer's SDP (RFC 8866) as the few facts an answer needs.
//!
//! Real devices break the letter in many ways: bare LF, Latin-1 names, no `s=` or `t=`, no `c=` at session level,
//! doubled lines. [`tidy`] keeps the lines that matter in the shape the syntax crate accepts, and drops the rest.

use std::net::{IpAddr, Ipv4Addr};

use smallvec::SmallVec;

use super::format::{Format, Kind, read_formats};
use super::{Direction, OfferError};

/// Longest body read, octets; a SIP message is no longer either.
pub(super) const MAX_BODY: usize = 65_536;
/// Most m-lines read; an SDP with more is refused.
pub(super) const MAX_MEDIA: usize = 32;
/// Most lines kept of a body; an SDP with more is refused.
const MAX_LINES: usize = 2_048;
/// Longest media, transport or format token of an m-line, octets.
const MAX_TOKEN: usize = 64;

/// How an m-line wants its media carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// `RTP/AVP` or `RTP/AVPF`.
    Plain,
    /// Anything with `SAVP`: SRTP by SDES or DTLS.
    Secure,
    /// Not RTP.
    Other,
}

/// One m-line of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RemoteMedia {
    pub(super) media: String,
    pub(super) proto: String,
    /// First format token, which a refused line repeats.
    pub(super) first_format: String,
    pub(super) port: u16,
    pub(super) transport: Transport,
    /// Literal address of the line, else of the session, else of the origin.
    pub(super) address: Option<IpAddr>,
    pub(super) direction: Direction,
    /// Empty unless this is audio.
    pub(super) formats: SmallVec<[Format; 8]>,
    pub(super) ptime: Option<u16>,
    pub(super) maxptime: Option<u16>,
    pub(super) rtcp: Option<(u16, Option<IpAddr>)>,
    pub(super) rtcp_mux: bool,
}

impl RemoteMedia {
    pub(super) fn is_audio(&self) -> bool {
        self.media.eq_ignore_ascii_case("audio")
    }
}

/// Reads a peer's SDP; for an answer, `ours` says what the numbers of our offer mean.
pub(super) fn read(body: &[u8], ours: &[(u8, Kind)]) -> Result<Vec<RemoteMedia>, OfferError> {
    let (text, origin) = tidy(body)?;
    let session = sdp_types::Session::parse(text.as_bytes()).map_err(|_| OfferError::Malformed)?;
    let fallback = session.connection.as_ref().map_or(origin, address_of);
    let common: Vec<(&str, &str)> = pairs(&session.attributes).collect();
    let direction = common
        .iter()
        .find_map(|(name, _)| direction_of(name))
        .unwrap_or_default();
    let media = session.medias.iter().map(|m| {
        let own = || pairs(&m.attributes);
        let number = |key: &str| {
            own()
                .chain(common.iter().copied())
                .find(|(name, _)| *name == key)
                .and_then(|(_, v)| millis(v))
        };
        let is_audio = m.media.eq_ignore_ascii_case("audio");
        RemoteMedia {
            media: m.media.clone(),
            proto: m.proto.clone(),
            first_format: m.fmt.split(' ').next().unwrap_or("0").to_owned(),
            port: m.port,
            transport: transport_of(&m.proto),
            address: m.connections.first().map_or(fallback, address_of),
            direction: own()
                .find_map(|(name, _)| direction_of(name))
                .unwrap_or(direction),
            formats: if is_audio {
                read_formats(&m.fmt, &own(), ours)
            } else {
                SmallVec::new()
            },
            ptime: number("ptime"),
            maxptime: number("maxptime"),
            rtcp: own()
                .find(|(name, _)| *name == "rtcp")
                .and_then(|(_, v)| rtcp_of(v)),
            rtcp_mux: own().any(|(name, _)| name == "rtcp-mux"),
        }
    });
    Ok(media.collect())
}

fn pairs(attributes: &[sdp_types::Attribute]) -> impl Iterator<Item = (&str, &str)> + Clone {
    attributes
        .iter()
        .map(|a| (a.attribute.as_str(), a.value.as_deref().unwrap_or("")))
}

/// The lines we use, re-ended by CRLF, and the address of the origin line.
fn tidy(body: &[u8]) -> Result<(String, Option<IpAddr>), OfferError> {
    if body.len() > MAX_BODY {
        return Err(OfferError::Malformed);
    }
    let mut out = String::with_capacity(body.len() + 16);
    out.push_str("v=0\r\n");
    let (mut origin, mut media, mut kept, mut version, mut connection) =
        (None, 0_usize, 0_usize, false, false);
    for raw in body.split(|b| matches!(b, b'\r' | b'\n')) {
        let line = text_of(raw);
        let Some((key, value)) = line.trim().split_once('=') else {
            continue;
        };
        let value = value.trim();
        match key {
            "v" if value == "0" => {
                version = true;
                continue;
            }
            "v" => return Err(OfferError::Malformed),
            "o" => {
                origin = origin.or_else(|| literal(value.rsplit(' ').next().unwrap_or("")));
                continue;
            }
            "m" => {
                media += 1;
                connection = false;
                push_media(&mut out, value)?;
            }
            // A second c= of the same level would be a list of multicast groups; the first one counts.
            "c" if !connection => {
                let mut parts = value.split_ascii_whitespace();
                let (Some("IN"), Some(family @ ("IP4" | "IP6")), Some(address), None) =
                    (parts.next(), parts.next(), parts.next(), parts.next())
                else {
                    continue;
                };
                connection = true;
                out.extend(["c=IN ", family, " ", address, "\r\n"]);
            }
            "a" if !value.is_empty() && !value.starts_with(':') => {
                out.extend(["a=", value, "\r\n"]);
            }
            // s= t= b= i= k= and others: nothing is decided by them.
            _ => continue,
        }
        kept += 1;
        if media > MAX_MEDIA || kept > MAX_LINES {
            return Err(OfferError::Malformed);
        }
    }
    if !version && media == 0 {
        return Err(OfferError::NotSdp);
    }
    Ok((out, origin))
}

/// UTF-8, or else Latin-1; NUL dropped.
fn text_of(raw: &[u8]) -> String {
    let text = match std::str::from_utf8(raw) {
        Ok(text) => text.to_owned(),
        Err(_) => raw.iter().map(|b| char::from(*b)).collect(),
    };
    if text.contains('\0') {
        text.replace('\0', "")
    } else {
        text
    }
}

/// Writes an m-line with single spaces; a line without formats (seen with port 0) gets one.
fn push_media(out: &mut String, value: &str) -> Result<(), OfferError> {
    let mut parts = value.split_ascii_whitespace();
    let (Some(media), Some(port), Some(proto)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(OfferError::Malformed);
    };
    let number = port.split('/').next().unwrap_or("");
    if number.parse::<u16>().is_err() || media.len() > MAX_TOKEN || proto.len() > MAX_TOKEN {
        return Err(OfferError::Malformed);
    }
    out.extend(["m=", media, " ", number, " ", proto]);
    let mut any = false;
    for format in parts
        .filter(|f| f.len() <= MAX_TOKEN)
        .take(super::format::MAX_FORMATS)
    {
        any = true;
        out.extend([" ", format]);
    }
    out.push_str(if any { "\r\n" } else { " 0\r\n" });
    Ok(())
}

fn transport_of(proto: &str) -> Transport {
    let upper = proto.to_ascii_uppercase();
    match upper.as_str() {
        "RTP/AVP" | "RTP/AVPF" => Transport::Plain,
        other if other.contains("SAVP") => Transport::Secure,
        _ => Transport::Other,
    }
}

fn direction_of(attribute: &str) -> Option<Direction> {
    match attribute {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

fn address_of(connection: &sdp_types::Connection) -> Option<IpAddr> {
    literal(
        connection
            .connection_address
            .split('/')
            .next()
            .unwrap_or(""),
    )
}

fn literal(text: &str) -> Option<IpAddr> {
    match text.parse::<IpAddr>() {
        // An IPv4 peer written through a v6 socket: our v4 socket reaches it.
        Ok(IpAddr::V6(v6)) => Some(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)),
        Ok(v4) => Some(v4),
        // The old way to hold, and stacks that write nothing better: "0" and "0.0.0.0" alike.
        Err(_) if text == "0" => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        Err(_) => None,
    }
}

/// `a=ptime:20`, also `20.0` as some stacks print it.
fn millis(value: &str) -> Option<u16> {
    let whole = value.trim().split('.').next()?;
    whole
        .parse::<u16>()
        .ok()
        .filter(|ms| (1..=1_000).contains(ms))
}

/// RFC 3605: `port [IN IP4 address]`.
fn rtcp_of(value: &str) -> Option<(u16, Option<IpAddr>)> {
    let mut parts = value.split_ascii_whitespace();
    let port = parts.next()?.parse().ok().filter(|p| *p != 0)?;
    Some((port, parts.nth(2).and_then(literal)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(body: &str) -> RemoteMedia {
        read(body.as_bytes(), &[]).unwrap().remove(0)
    }

    #[test]
    fn media_level_address_and_direction_win_over_the_session() {
        let m = one(
            "v=0\r\nc=IN IP4 10.0.0.1\r\na=recvonly\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 10.0.0.2\r\na=sendonly\r\n",
        );
        assert_eq!(m.address, Some("10.0.0.2".parse().unwrap()));
        assert_eq!(m.direction, Direction::SendOnly);
        let m = one("v=0\r\nc=IN IP4 10.0.0.1\r\na=recvonly\r\nm=audio 4000 RTP/AVP 0\r\n");
        assert_eq!(m.address, Some("10.0.0.1".parse().unwrap()));
        assert_eq!(m.direction, Direction::RecvOnly);
    }

    #[test]
    fn missing_lines_bare_lf_latin1_and_junk_are_borne() {
        let mut body = b"v=0\no=T\xfcr 1 1 IN IP4 10.0.0.3\ns=Haust\xfcr\njunk\n=\nm=audio  4000   RTP/AVP 8\na=X\xfc:1\n".to_vec();
        body.push(0);
        let m = read(&body, &[]).unwrap().remove(0);
        assert_eq!(m.port, 4000);
        assert_eq!(
            m.address,
            Some("10.0.0.3".parse().unwrap()),
            "no c= anywhere: the origin says where"
        );
        let again = one("m=audio 4000 RTP/AVP 8\n");
        assert_eq!(again.formats.len(), 1, "even v= may be missing");
    }

    #[test]
    fn what_is_no_sdp_is_told_apart_from_broken_sdp() {
        assert_eq!(read(b"", &[]), Err(OfferError::NotSdp));
        assert_eq!(read(b"<xml/>", &[]), Err(OfferError::NotSdp));
        assert_eq!(
            read(b"v=1\r\nm=audio 4000 RTP/AVP 0\r\n", &[]),
            Err(OfferError::Malformed)
        );
        assert_eq!(
            read(b"v=0\r\nm=audio 70000 RTP/AVP 0\r\n", &[]),
            Err(OfferError::Malformed)
        );
        assert_eq!(read(b"v=0\r\nm=audio\r\n", &[]), Err(OfferError::Malformed));
    }

    #[test]
    fn sizes_are_bounded() {
        let many = format!(
            "v=0\r\n{}",
            "m=audio 4000 RTP/AVP 0\r\n".repeat(MAX_MEDIA + 1)
        );
        assert_eq!(read(many.as_bytes(), &[]), Err(OfferError::Malformed));
        let lines = format!(
            "v=0\r\nm=audio 4000 RTP/AVP 0\r\n{}",
            "a=x\r\n".repeat(MAX_LINES)
        );
        assert_eq!(read(lines.as_bytes(), &[]), Err(OfferError::Malformed));
        let long = format!("v=0\r\na={}\r\n", "x".repeat(MAX_BODY));
        assert_eq!(read(long.as_bytes(), &[]), Err(OfferError::Malformed));
        let formats = format!(
            "v=0\r\nm=audio 4000 RTP/AVP {}\r\n",
            "18 ".repeat(500) + "0"
        );
        assert!(
            one(&formats).formats.is_empty(),
            "formats beyond the bound are not looked at"
        );
    }

    #[test]
    fn rtcp_attribute_gives_port_and_address() {
        let m = one(
            "v=0\r\nm=audio 4000 RTP/AVP 0\r\na=rtcp:53020 IN IP4 126.16.64.4\r\na=rtcp-mux\r\n",
        );
        assert_eq!(m.rtcp, Some((53020, Some("126.16.64.4".parse().unwrap()))));
        assert!(m.rtcp_mux);
        assert_eq!(
            one("v=0\r\nm=audio 4000 RTP/AVP 0\r\na=rtcp:53020\r\n").rtcp,
            Some((53020, None))
        );
    }

    #[test]
    fn multicast_ttl_suffix_is_no_part_of_the_address() {
        let m = one("v=0\r\nc=IN IP4 224.2.1.1/127/3\r\nm=audio 4000/2 RTP/AVP 0\r\n");
        assert_eq!(m.address, Some("224.2.1.1".parse().unwrap()));
        assert_eq!(m.port, 4000);
    }
}
