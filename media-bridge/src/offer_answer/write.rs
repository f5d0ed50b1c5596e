//! Our own SDP, always written in full: one audio line of ours and a port-0 line for each other line of the dialog.

use std::net::IpAddr;

use bytes::Bytes;
use sdp_types::{Attribute, Connection, Media, Origin, Session, Time};
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
    fn rtpmap(&self) -> String {
        match (&self.map, self.kind) {
            (Some(map), _) => map.to_string(),
            (None, Kind::Audio(codec)) => match codec.rtpmap_channels() {
                Some(channels) => format!("{}/{}/{channels}", codec.name(), codec.rtp_clock()),
                None => format!("{}/{}", codec.name(), codec.rtp_clock()),
            },
            (None, Kind::Event(clock)) => format!("telephone-event/{clock}"),
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

/// Writes a session description.
pub(super) fn write(session_id: u64, version: u64, address: IpAddr, lines: &[Line]) -> Bytes {
    let mut session = Session::new(Origin::with_ip_addr(session_id, version, address), "-");
    session.connection = Some(Connection::from_ip_addr(address));
    session.times = vec![Time {
        start_time: 0,
        stop_time: 0,
        repeats: Vec::new(),
    }];
    session.medias = lines.iter().map(media).collect();
    let mut out = Vec::with_capacity(512);
    // Writing into memory cannot fail.
    let _ = session.write(&mut out);
    Bytes::from(out)
}

fn media(line: &Line) -> Media {
    let (media, port, proto, fmt) = match line {
        Line::Refused {
            media,
            proto,
            format,
        } => (media.clone(), 0, proto.clone(), format.clone()),
        Line::Audio(audio) => {
            let payloads: Vec<String> = audio
                .formats
                .iter()
                .map(|f| f.payload.to_string())
                .collect();
            (
                "audio".to_owned(),
                audio.port,
                audio.proto.clone(),
                payloads.join(" "),
            )
        }
    };
    let attributes = match line {
        Line::Refused { .. } => Vec::new(),
        Line::Audio(audio) => attributes(audio),
    };
    Media {
        media,
        port,
        num_ports: None,
        proto,
        fmt,
        media_title: None,
        connections: Vec::new(),
        bandwidths: Vec::new(),
        key: None,
        attributes,
    }
}

fn attributes(audio: &AudioLine) -> Vec<Attribute> {
    let mut out = Vec::with_capacity(audio.formats.len() * 2 + 3);
    let mut add = |name: &str, value: Option<String>| {
        out.push(Attribute {
            attribute: name.to_owned(),
            value,
        });
    };
    for format in &audio.formats {
        add(
            "rtpmap",
            Some(format!("{} {}", format.payload, format.rtpmap())),
        );
        if let Some(fmtp) = format.fmtp() {
            add("fmtp", Some(format!("{} {fmtp}", format.payload)));
        }
    }
    add("ptime", Some(audio.ptime_ms.to_string()));
    if audio.rtcp_mux {
        add("rtcp-mux", None);
    }
    add(audio.direction.attribute(), None);
    out
}
