//! Payload formats: `a=rtpmap` and `a=fmtp` of one m-line, and the numbers a dialog has bound to them.

use smallvec::SmallVec;

use crate::codec::Codec;
use crate::leg::OpusParams;

/// Formats read of one m-line; what comes after is not looked at.
pub(super) const MAX_FORMATS: usize = 64;

/// Longest encoding name taken from a peer, octets.
const MAX_NAME: usize = 32;

/// What a payload type carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Audio.
    Audio(Codec),
    /// RFC 4733 events on this clock, Hz.
    Event(u32),
}

/// One payload type of a peer that means something to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) payload: u8,
    pub(super) kind: Kind,
    /// `NAME/clock[/channels]` as the peer wrote it, to be repeated in the answer; `None` for a static type
    /// without rtpmap.
    pub(super) map: Option<Box<str>>,
    pub(super) opus: OpusParams,
}

/// Reads the format list of an m-line. `attributes` yields (name, value) pairs in order; `ours` is what the numbers
/// meant in our offer, for answers that leave the rtpmap out.
pub(super) fn read_formats<'a>(
    fmt: &str,
    attributes: &(impl Iterator<Item = (&'a str, &'a str)> + Clone),
    ours: &[(u8, Kind)],
) -> SmallVec<[Format; 8]> {
    let mut formats: SmallVec<[Format; 8]> = SmallVec::new();
    for token in fmt.split_ascii_whitespace().take(MAX_FORMATS) {
        let Ok(payload) = token.parse::<u8>() else {
            continue;
        };
        if payload > 127 || formats.iter().any(|f| f.payload == payload) {
            continue;
        }
        let map = attributes
            .clone()
            .filter(|(name, _)| *name == "rtpmap")
            .find_map(|(_, value)| value_of(value, payload));
        let kind = match map {
            Some(map) => read_map(map),
            None => unmapped(payload, ours),
        };
        let Some(kind) = kind else { continue };
        let mut opus = OpusParams {
            fec: false,
            ..OpusParams::default()
        };
        // A payload may have several fmtp lines; their parameters add up.
        for (name, value) in attributes.clone() {
            if let ("fmtp", Some(params)) = (name, value_of(value, payload)) {
                read_opus(params, &mut opus);
            }
        }
        formats.push(Format {
            payload,
            kind,
            map: map.map(Box::from),
            opus,
        });
    }
    formats
}

/// The rest of `<payload> rest`, if it is about this payload.
fn value_of(value: &str, payload: u8) -> Option<&str> {
    let (number, rest) = value
        .trim_start()
        .split_once(|c: char| c.is_ascii_whitespace())?;
    (number.parse::<u8>().ok()? == payload).then_some(rest.trim())
}

/// A number without rtpmap: what it meant in our offer, else its static meaning (RFC 3551 §6). 101 alone, with no
/// more than an fmtp, is how sloppy stacks offer telephone events.
fn unmapped(payload: u8, ours: &[(u8, Kind)]) -> Option<Kind> {
    let in_offer = ours
        .iter()
        .find(|(number, _)| *number == payload)
        .map(|(_, kind)| *kind);
    let fixed = || {
        Codec::ALL
            .into_iter()
            .find(|c| c.static_payload() == Some(payload))
    };
    in_offer
        .or_else(|| fixed().map(Kind::Audio))
        .or_else(|| (payload == 101).then_some(Kind::Event(8_000)))
}

fn read_map(map: &str) -> Option<Kind> {
    let mut parts = map.split('/').map(str::trim);
    let name = parts.next()?;
    let clock: u32 = parts.next()?.parse().ok()?;
    let channels = match parts.next() {
        Some(number) => number.parse::<u32>().ok()?,
        None => 1,
    };
    if name.len() > MAX_NAME {
        return None;
    }
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    let codec = if is("opus") && clock == 48_000 {
        // RFC 7587 §7 demands /2; some stacks leave it out. The stream itself says how many there are.
        Codec::Opus
    } else if channels != 1 {
        return None;
    } else if is("PCMU") && clock == 8_000 {
        Codec::Pcmu
    } else if is("PCMA") && clock == 8_000 {
        Codec::Pcma
    } else if is("G722") && matches!(clock, 8_000 | 16_000) {
        // Some devices write the true sample rate; all count in 8,000 on the wire.
        Codec::G722
    } else if (is("L16") || is("PCM")) && clock == 16_000 {
        // `PCM/16000` is what some door panels call L16.
        Codec::L16
    } else if is("telephone-event") && (8_000..=192_000).contains(&clock) {
        return Some(Kind::Event(clock));
    } else {
        return None;
    };
    Some(Kind::Audio(codec))
}

/// RFC 7587 §6.1. Unknown parameters and values that are no numbers count as absent.
fn read_opus(params: &str, opus: &mut OpusParams) {
    for parameter in params.split(';') {
        let Some((key, value)) = parameter.split_once('=') else {
            continue;
        };
        let Ok(value) = value.trim().parse::<u32>() else {
            continue;
        };
        match key.trim().to_ascii_lowercase().as_str() {
            "useinbandfec" => opus.fec = value == 1,
            "usedtx" => opus.dtx = value == 1,
            "stereo" => opus.stereo = value == 1,
            "maxaveragebitrate" => opus.max_bitrate = value.clamp(6_000, 510_000),
            "maxplaybackrate" => opus.max_playback_rate = value.clamp(8_000, 48_000),
            _ => {}
        }
    }
}

/// The payload numbers of a dialog: once a number means a format it keeps meaning it (RFC 3264 §8.3.2).
#[derive(Clone, Debug, Default)]
pub(super) struct Payloads {
    // Bounded by the number of kinds: five codecs and the event clocks in use.
    bound: SmallVec<[(Kind, u8); 8]>,
}

impl Payloads {
    /// The number to offer for a format: the one in use, else the customary one, else the first free dynamic one.
    pub(super) fn number(&mut self, kind: Kind) -> u8 {
        if let Some((_, payload)) = self.bound.iter().find(|(k, _)| *k == kind) {
            return *payload;
        }
        let usual = match kind {
            Kind::Audio(Codec::Opus) => 111,
            Kind::Audio(Codec::L16) => 118,
            Kind::Audio(codec) => codec.static_payload().unwrap_or(119),
            Kind::Event(8_000) => 101,
            Kind::Event(48_000) => 110,
            Kind::Event(_) => 113,
        };
        let free = |n: &u8| !self.bound.iter().any(|(_, payload)| payload == n);
        let payload = std::iter::once(usual)
            .chain(96..=127)
            .find(free)
            .unwrap_or(usual);
        self.bind(kind, payload);
        payload
    }

    /// The peer uses this number for this format: so shall we.
    pub(super) fn bind(&mut self, kind: Kind, payload: u8) {
        self.bound.retain(|(k, p)| *k != kind && *p != payload);
        // The oldest goes first; more clocks than this no honest peer has.
        if self.bound.len() >= 16 {
            self.bound.remove(0);
        }
        self.bound.push((kind, payload));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fmt: &str, attributes: &[(&str, &str)]) -> Vec<(u8, Kind)> {
        read_formats(fmt, &attributes.iter().copied(), &[])
            .iter()
            .map(|f| (f.payload, f.kind))
            .collect()
    }

    #[test]
    fn static_payloads_need_no_rtpmap() {
        let audio = |c| Kind::Audio(c);
        assert_eq!(
            read("0 8 9 18", &[]),
            [
                (0, audio(Codec::Pcmu)),
                (8, audio(Codec::Pcma)),
                (9, audio(Codec::G722))
            ]
        );
    }

    #[test]
    fn numbers_without_rtpmap_mean_what_they_meant_in_our_offer() {
        let ours = [(111, Kind::Audio(Codec::Opus)), (110, Kind::Event(48_000))];
        let none = std::iter::empty();
        let kinds: Vec<_> = read_formats("111 110 112", &none, &ours)
            .iter()
            .map(|f| f.kind)
            .collect();
        assert_eq!(kinds, [ours[0].1, ours[1].1]);
        assert_eq!(read("101", &[]), [(101, Kind::Event(8_000))]);
    }

    #[test]
    fn an_rtpmap_overrides_the_static_meaning() {
        assert_eq!(
            read("0", &[("rtpmap", "0 PCMA/8000")]),
            [(0, Kind::Audio(Codec::Pcma))]
        );
        assert_eq!(read("8", &[("rtpmap", "8 VENDOR/8000")]), []);
    }

    #[test]
    fn names_are_case_insensitive_and_clocks_count() {
        let map = [
            ("rtpmap", "96 OPUS/48000/2"),
            ("rtpmap", "97 pcmu/16000"),
            ("rtpmap", "98 g722/16000"),
        ];
        assert_eq!(
            read("96 97 98", &map),
            [
                (96, Kind::Audio(Codec::Opus)),
                (98, Kind::Audio(Codec::G722))
            ]
        );
    }

    #[test]
    fn vendor_pcm_is_l16() {
        assert_eq!(
            read("97", &[("rtpmap", "97 PCM/16000")]),
            [(97, Kind::Audio(Codec::L16))]
        );
        assert_eq!(
            read("97", &[("rtpmap", "97 L16/16000/2")]),
            [],
            "stereo is not spoken here"
        );
    }

    #[test]
    fn several_fmtp_lines_of_one_payload_add_up() {
        let lines = [
            ("rtpmap", "96 opus/48000/2"),
            ("fmtp", "96 useinbandfec=1; stereo=1"),
            ("fmtp", "96 maxaveragebitrate=20000;usedtx=1;cbr=x"),
            ("fmtp", "97 useinbandfec=0"),
        ];
        let formats = read_formats("96", &lines.into_iter(), &[]);
        let opus = formats[0].opus;
        assert!(opus.fec && opus.stereo && opus.dtx);
        assert_eq!(opus.max_bitrate, 20_000);
    }

    #[test]
    fn garbage_formats_are_passed_over() {
        let map = [
            ("rtpmap", "96"),
            ("rtpmap", "x y/z"),
            ("rtpmap", "97 opus/99999999999"),
        ];
        assert_eq!(
            read("96 97 300 * -1 0 0", &map),
            [(0, Kind::Audio(Codec::Pcmu))]
        );
    }

    #[test]
    fn numbers_stay_bound_and_never_collide() {
        let mut payloads = Payloads::default();
        payloads.bind(Kind::Audio(Codec::Opus), 101);
        assert_eq!(payloads.number(Kind::Audio(Codec::Opus)), 101);
        let event = payloads.number(Kind::Event(8_000));
        assert_ne!(event, 101, "101 means Opus in this dialog");
        assert_eq!(payloads.number(Kind::Event(8_000)), event);
    }
}
