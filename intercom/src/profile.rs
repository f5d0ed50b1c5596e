//! Station profiles: what signalling must know of a kind of phone or door station. Plain data,
//! filled by `conf` from `conf/stations/*.toml`; no code branches on a brand.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use media_bridge::{Codec, Pacing};
use zeroize::Zeroizing;

/// How far a station takes a re-INVITE or UPDATE of ours inside a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reinvite {
    /// An ordinary phone: hold of the other side is bridged to it by a re-INVITE.
    #[default]
    Allowed,
    /// Many cheap door stations drop the call on one: all changes end at our side.
    Never,
}

/// How a station sends and takes digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DtmfMethod {
    /// RFC 4733 telephone-event in the media, INFO accepted besides.
    #[default]
    Rtp,
    /// SIP INFO only: telephone-event is not offered.
    Info,
    /// Tones in the audio; as RFC 4733 where the station agrees to telephone-event all the same.
    InBand,
}

/// The header set that makes a handset answer by itself; they differ by maker.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AutoAnswer {
    /// Header lines added to the INVITE when a step says `auto-answer=#true`.
    pub headers: Vec<(String, String)>,
}

/// Whether a device is asked by OPTIONS if it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Qualified {
    /// As [`crate::config::QualifyConfig`] says for doors and for others.
    #[default]
    AsConfigured,
    /// This often.
    Every(Duration),
    /// Never: it does not take OPTIONS well.
    Never,
}

/// What signalling needs of a station or phone profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StationProfile {
    /// Profile name, as in `conf/stations/NAME.toml`.
    pub name: String,
    /// Codecs in the order we offer them.
    pub codecs: Vec<Codec>,
    /// Way of digits.
    pub dtmf: DtmfMethod,
    /// Packet time offered, milliseconds.
    pub ptime_ms: u16,
    /// Whether a re-INVITE of ours may be sent.
    pub reinvite: Reinvite,
    /// The station's own limit for ringing; `None` when it has none.
    pub ring_limit: Option<Duration>,
    /// Whether the station plays a 183 with SDP (ringback from our bridge) while it waits.
    pub early_media: bool,
    /// Auto-answer headers of this handset.
    pub auto_answer: AutoAnswer,
    /// Header lines added to a call from a door: how this handset is told to ring otherwise (`Alert-Info`).
    pub door_call: Vec<(String, String)>,
    /// It speaks UDP and nothing else: a request too long for one datagram is sent as one all the same.
    pub datagrams_only: bool,
    /// Whether it is asked if it is there.
    pub qualify: Qualified,
    /// It answers challenges with a nonce count it has used before (RFC 7616 §3.4): that passes from the address that used
    /// it, but for a request that unlocks.
    pub repeats_nonce: bool,
    /// It is rung although it is in a call; else that is `busy`.
    pub call_waiting: bool,
    /// It is asked by OPTIONS whether it is still in the call, where no session timer is agreed.
    pub probe: bool,
}

impl Default for StationProfile {
    /// The `generic` profile: an RFC-abiding phone.
    fn default() -> Self {
        StationProfile {
            name: "generic".to_owned(),
            codecs: vec![Codec::Opus, Codec::G722, Codec::Pcma, Codec::Pcmu],
            dtmf: DtmfMethod::Rtp,
            ptime_ms: 20,
            reinvite: Reinvite::Allowed,
            ring_limit: None,
            early_media: false,
            auto_answer: AutoAnswer::default(),
            door_call: Vec::new(),
            datagrams_only: false,
            qualify: Qualified::default(),
            repeats_nonce: false,
            call_waiting: true,
            probe: true,
        }
    }
}

/// How a station wants digits from us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigitsOut {
    /// The way.
    pub method: DtmfMethod,
    /// Lengths of tone and gap.
    pub pacing: Pacing,
    /// What closes a code (2N: `*`), when the code does not end in it already.
    pub terminator: String,
}

impl Default for DigitsOut {
    fn default() -> Self {
        DigitsOut {
            method: DtmfMethod::Rtp,
            pacing: Pacing::default(),
            terminator: String::new(),
        }
    }
}

/// By which request a station is told to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BuzzBy {
    /// `INFO` within its call where there is one, else `MESSAGE`.
    #[default]
    Info,
    /// `MESSAGE` to its contact.
    Message,
    /// `INVITE` to its contact; a 2xx is acknowledged and hung up.
    Invite,
}

/// How a station is told to open by SIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuzzOut {
    /// The request.
    pub by: BuzzBy,
    /// Header name.
    pub header: String,
    /// Header value; `{output}` is replaced by the output's name.
    pub value: String,
}

impl Default for BuzzOut {
    fn default() -> Self {
        BuzzOut {
            by: BuzzBy::Info,
            header: crate::buzz::ACTION.to_owned(),
            value: "buzz;output={output}".to_owned(),
        }
    }
}

/// What a door station takes from us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StationOut {
    /// Digits.
    pub digits: DigitsOut,
    /// `Action: buzz`.
    pub buzz: BuzzOut,
    /// What its MESSAGEs mean: a phrase found in the body, in any case, and our word for it (`tamper`).
    pub message_events: Vec<(String, String)>,
}

/// A password towards a station. Debug prints `***`; overwritten when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Password(Zeroizing::new(text.into()))
    }

    /// The text, for the one place that hashes it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Who we are to the station of one door, should it challenge `Action: buzz`. Given to nobody else: whoever registers
/// as the door from another address and asks for it gets nothing to guess passwords from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StationLogin {
    /// User name.
    pub user: String,
    /// Its password.
    pub password: Password,
    /// The realm it is good for; `None`: the first one that this door's station names while the server runs.
    pub realm: Option<String>,
    /// The station's addresses, beside those of a trusted peer at this door; a challenge from elsewhere is not
    /// answered.
    pub peers: Vec<IpAddr>,
}

/// How the stations are spoken to: see [`crate::Input::Stations`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stations {
    /// By profile name; a profile not named takes RFC 4733 digits and our own header.
    pub out: BTreeMap<String, StationOut>,
    /// By door.
    pub logins: BTreeMap<String, StationLogin>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        assert_eq!(format!("{:?}", Password::new("swordfish")), "***");
    }
}
