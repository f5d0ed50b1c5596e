//! Our own SDP, always written in full: one audio line of ours and a port-0 line for each other line of the dialog.

use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Direction;
use super::format::Kind;
use crate::codec::Codec;

/// One m-line of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a handful of lines per dialog, mostly the large one"
)]
pub(super) enum Line {
    /// The audio line, with its transport (`RTP/AVP` or `RTP/AVPF`).
    Audio(AudioLine),
    /// Refused or ended: port 0, kept so that the lines stay in order (RFC 3264 §6, §8.2).
    Refused {
        media: String,
        proto: String,
        format: String,
    },
}

/// What our audio line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AudioLine {
    pub(super) proto: String,
    pub(super) port: u16,
    pub(super) formats: SmallVec<[LocalFormat; 8]>,
    pub(super) direction: Direction,
    pub(super) ptime_ms: u16,
    pub(super) rtcp_mux: bool,
}

/// One payload type of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocalFormat {
    pub(super) payload: u8,
    pub(super) kind: Kind,
    /// The rtpmap of the peer, repeated in an answer.
    pub(super) map: Option<Box<str>>,
}

impl LocalFormat {
    fn rtpmap(&self, out: &mut String) {
        match (&self.map, self.kind) {
            (Some(map), _) => text(out, map),
            (None, Kind::Audio(codec)) => {
                put(out, format_args!("{}/{}", codec.name(), codec.rtp_clock()));
                if let Some(channels) = codec.rtpmap_channels() {
                    put(out, format_args!("/{channels}"));
                }
            }
            (None, Kind::Event(clock)) => put(out, format_args!("telephone-event/{clock}")),
        }
    }

    fn fmtp(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Audio(Codec::Opus) => Some("useinbandfec=1;stereo=0;sprop-stereo=0"),
            Kind::Audio(_) => None,
            Kind::Event(_) => Some("0-15"),
        }
    }
}

/// Writes a session description (RFC 8866 §5). By hand, for it is a tenth of what a call costs signalling.
pub(super) fn write(session_id: u64, version: u64, address: IpAddr, lines: &[Line]) -> Bytes {
    let mut out = String::with_capacity(512);
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    put(
        &mut out,
        format_args!(
            "v=0\r\no=- {session_id} {version} IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n"
        ),
    );
    for line in lines {
        match line {
            Line::Refused {
                media,
                proto,
                format,
            } => {
                out.push_str("m=");
                text(&mut out, media);
                out.push_str(" 0 ");
                text(&mut out, proto);
                out.push(' ');
                text(&mut out, format);
                out.push_str("\r\n");
            }
            Line::Audio(audio) => write_audio(&mut out, audio),
        }
    }
    Bytes::from(out)
}

fn write_audio(out: &mut String, audio: &AudioLine) {
    put(out, format_args!("m=audio {} ", audio.port));
    text(out, &audio.proto);
    for format in &audio.formats {
        put(out, format_args!(" {}", format.payload));
    }
    out.push_str("\r\n");
    for format in &audio.formats {
        put(out, format_args!("a=rtpmap:{} ", format.payload));
        format.rtpmap(out);
        out.push_str("\r\n");
        if let Some(fmtp) = format.fmtp() {
            put(out, format_args!("a=fmtp:{} {fmtp}\r\n", format.payload));
        }
    }
    put(out, format_args!("a=ptime:{}\r\n", audio.ptime_ms));
    if audio.rtcp_mux {
        out.push_str("a=rtcp-mux\r\n");
    }
    put(out, format_args!("a={}\r\n", audio.direction.attribute()));
}

fn put(out: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing into memory cannot fail.
    let _ = out.write_fmt(what);
}

/// Words of the peer, repeated in an answer: never with an end of line in them.
fn text(out: &mut String, words: &str) {
    out.extend(words.chars().filter(|c| !c.is_control()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audio() -> AudioLine {
        let format = |payload, kind, map: Option<&str>| LocalFormat {
            payload,
            kind,
            map: map.map(Into::into),
        };
        AudioLine {
            proto: "RTP/AVP".to_owned(),
            port: 30_000,
            formats: SmallVec::from_vec(vec![
                format(96, Kind::Audio(Codec::Opus), None),
                format(8, Kind::Audio(Codec::Pcma), Some("PCMA/8000")),
                format(101, Kind::Event(8_000), None),
            ]),
            direction: Direction::SendRecv,
            ptime_ms: 20,
            rtcp_mux: true,
        }
    }

    #[test]
    fn what_is_written_is_what_a_reader_of_rfc_8866_reads_and_writes() {
        for address in ["192.0.2.1", "2001:db8::1"] {
            let refused = Line::Refused {
                media: "video".to_owned(),
                proto: "RTP/AVP".to_owned(),
                format: "97".to_owned(),
            };
            let lines = [Line::Audio(audio()), refused];
            let written = write(7, 2, address.parse().unwrap(), &lines);
            let read = sdp_types::Session::parse(&written).unwrap();
            let mut again = Vec::new();
            read.write(&mut again).unwrap();
            assert_eq!(
                String::from_utf8(again).unwrap(),
                String::from_utf8_lossy(&written)
            );
            assert_eq!(read.medias.len(), 2);
        }
    }

    #[test]
    fn words_of_the_peer_end_no_line() {
        let refused = Line::Refused {
            media: "video\r\na=sendonly".to_owned(),
            proto: "RTP/AVP".to_owned(),
            format: "97\n".to_owned(),
        };
        let written = write(7, 2, "192.0.2.1".parse().unwrap(), &[refused]);
        assert!(written.ends_with(b"m=videoa=sendonly 0 RTP/AVP 97\r\n"));
    }
}
