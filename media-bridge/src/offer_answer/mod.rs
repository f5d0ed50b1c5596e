//! Offer and answer (RFC 3264) for the audio of one SIP dialog leg; the SDP around it is RFC 8866.
//!
//! ```text
//!                 offer / reoffer                     receive_offer
//!   OfferSent ◄──────────────────────  Settled  ──────────────────────► OfferReceived
//!       │                                ▲  ▲                                 │
//!       └── receive_answer, rollback ────┘  └──────── answer, rollback ───────┘
//! ```
//!
//! Nothing is changed by an offer until its answer: a refused one leaves what was agreed. Only plain RTP is agreed
//! here; a line that demands SRTP is refused as a whole, never answered with less.

#![deny(clippy::indexing_slicing)]

mod body;
mod direction;
mod error;
mod format;
mod settle;
mod write;

use std::net::IpAddr;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::codec::Codec;
use crate::leg::{Lease, LegConfig};
use body::{RemoteMedia, Transport};
use format::{Kind, Payloads};
use write::{AudioLine, Line, LocalFormat};

pub use direction::Direction;
pub use error::OfferError;

/// What a leg may speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegProfile {
    /// Codecs, preferred first. An empty list means the default one: an offer must name something.
    pub codecs: Vec<Codec>,
    /// Offer and accept RFC 4733 digits.
    pub telephone_event: bool,
    /// Packet length we like to receive, and send unless the peer says otherwise, ms.
    pub ptime_ms: u16,
    /// The device takes re-INVITEs; if not, hold ends at our side.
    pub reinvite: bool,
    /// Offer RTP and RTCP on one port (RFC 5761). Accepted from a peer in any case.
    pub rtcp_mux: bool,
    /// A clear channel: copied to [`LegConfig::clear`].
    pub clear: bool,
}

impl Default for LegProfile {
    fn default() -> Self {
        Self {
            codecs: vec![Codec::Opus, Codec::G722, Codec::Pcma, Codec::Pcmu],
            telephone_event: true,
            ptime_ms: 20,
            reinvite: true,
            rtcp_mux: false,
            clear: false,
        }
    }
}

/// Our side of an exchange, in force or on its way.
#[derive(Clone, Debug)]
struct Local {
    lines: Vec<Line>,
    sdp: Bytes,
    direction: Direction,
}

#[derive(Clone, Debug)]
enum Phase {
    Settled,
    OfferSent(Local),
    OfferReceived(Vec<RemoteMedia>),
}

/// The offer/answer state of one SIP dialog leg.
#[derive(Clone, Debug)]
pub struct Negotiation {
    profile: LegProfile,
    lease: Lease,
    session_id: u64,
    /// Highest `o=` version sent.
    version: u64,
    payloads: Payloads,
    signalling_from: Option<IpAddr>,
    phase: Phase,
    /// What we said last and the peer took.
    local: Option<Local>,
    /// The last exchange was our offer: a second answer to it is a repetition or a correction.
    offered_last: bool,
    remote: Vec<RemoteMedia>,
    agreed: Option<LegConfig>,
}

impl Negotiation {
    /// A leg that has said nothing yet. `origin_session_id` must be unique per host (RFC 8866 §5.2).
    #[must_use]
    pub fn new(mut profile: LegProfile, lease: Lease, origin_session_id: u64) -> Self {
        if profile.codecs.is_empty() {
            profile.codecs = LegProfile::default().codecs;
        }
        Self {
            profile,
            lease,
            session_id: origin_session_id,
            version: 0,
            payloads: Payloads::default(),
            signalling_from: None,
            phase: Phase::Settled,
            local: None,
            offered_last: false,
            remote: Vec::new(),
            agreed: None,
        }
    }

    /// The leg's media goes to other sockets: what is agreed stays, the peer learns of them by the next SDP of ours.
    pub fn move_to(&mut self, lease: Lease) {
        self.lease = lease;
        if let Some(agreed) = &mut self.agreed {
            agreed.lease = lease.id;
        }
    }

    /// Where the peer's signalling comes from, when it sits behind NAT: goes into [`LegConfig::signalling_from`],
    /// and stands in for an address the SDP does not give. Set it before the peer's SDP is received.
    pub fn set_signalling_source(&mut self, from: Option<IpAddr>) {
        self.signalling_from = from;
    }

    /// Our offer: for an INVITE of ours, or in the 2xx to an INVITE without one. `prefer` comes first, so that two
    /// legs can end up with the same codec and be relayed untouched. Within a dialog the direction stays as it is.
    /// A pending offer of the peer is dropped.
    pub fn offer(&mut self, prefer: Option<Codec>) -> Bytes {
        let direction = self
            .local
            .as_ref()
            .map_or(Direction::SendRecv, |l| l.direction);
        self.make_offer(prefer, direction)
    }

    /// A new offer within the dialog: hold, resume, or the same again (session refresh). The agreed codec stays first.
    pub fn reoffer(&mut self, direction: Direction) -> Bytes {
        self.make_offer(self.agreed.as_ref().map(|a| a.codec), direction)
    }

    /// Takes an offer and keeps it pending until [`Self::answer`].
    ///
    /// # Errors
    /// What is wrong with it; nothing changed then.
    pub fn receive_offer(&mut self, sdp: &[u8]) -> Result<(), OfferError> {
        if matches!(self.phase, Phase::OfferSent(_)) {
            return Err(OfferError::Glare);
        }
        let remote = body::read(sdp, &[])?;
        if let Some(index) = self.audio_line(&remote)? {
            let media = remote.get(index).ok_or(OfferError::NoAudio)?;
            settle::remote_address(media, &self.lease, self.signalling_from)?;
        }
        self.phase = Phase::OfferReceived(remote);
        Ok(())
    }

    /// Answers the pending offer and makes it effective. `prefer` if both sides can, else the offerer's first
    /// codec that the profile allows. An offer without live audio ([`Self::ring_notice`]) is answered in kind.
    ///
    /// # Errors
    /// No offer is pending, or nothing in it can be used; it stays pending then.
    pub fn answer(&mut self, prefer: Option<Codec>) -> Result<Bytes, OfferError> {
        let Phase::OfferReceived(remote) = &self.phase else {
            return Err(OfferError::NothingPending);
        };
        let remote = remote.clone();
        let wish = self
            .local
            .as_ref()
            .map_or(Direction::SendRecv, |l| l.direction);
        let chosen = self.audio_line(&remote)?;
        let mut lines = refused(&remote);
        let mut config = None;
        if let Some((index, media)) = chosen.and_then(|i| Some((i, remote.get(i)?))) {
            let codec = self
                .choose(media, prefer)
                .ok_or(OfferError::NoCommonCodec)?;
            let event = self.event_for(media, codec.kind);
            let direction = settle::offered_direction(media).reversed().and(wish);
            let formats: SmallVec<[LocalFormat; 8]> = std::iter::once(codec)
                .chain(event)
                .map(|f| LocalFormat {
                    payload: f.payload,
                    kind: f.kind,
                    map: f.map.clone(),
                })
                .collect();
            let audio = AudioLine {
                proto: media.proto.clone(),
                port: self.lease.rtp.port(),
                formats,
                direction,
                ptime_ms: settle::ptime(codec.kind, media, self.profile.ptime_ms),
                rtcp_mux: media.rtcp_mux,
            };
            config = Some(settle::config(
                &self.profile,
                &self.lease,
                self.signalling_from,
                media,
                &audio,
            )?);
            for f in &audio.formats {
                self.payloads.bind(f.kind, f.payload);
            }
            if let Some(slot) = lines.get_mut(index) {
                *slot = Line::Audio(audio);
            }
        }
        let sdp = self.write(&lines);
        self.local = Some(Local {
            lines,
            sdp: sdp.clone(),
            direction: wish,
        });
        self.offered_last = false;
        self.settle(remote, config);
        Ok(sdp)
    }

    /// Takes the answer to our offer and makes both effective. The same answer again (183, then 200) is taken
    /// too, and a differing one as a correction.
    ///
    /// # Errors
    /// What is wrong with it; the state before the offer is back then.
    pub fn receive_answer(&mut self, sdp: &[u8]) -> Result<(), OfferError> {
        let local = match std::mem::replace(&mut self.phase, Phase::Settled) {
            Phase::OfferSent(local) => local,
            Phase::Settled if self.offered_last => {
                self.local.clone().ok_or(OfferError::NothingPending)?
            }
            other => {
                self.phase = other;
                return Err(OfferError::NothingPending);
            }
        };
        let ours: SmallVec<[(u8, Kind); 8]> = local
            .lines
            .iter()
            .filter_map(|l| match l {
                Line::Audio(audio) => Some(audio.formats.iter().map(|f| (f.payload, f.kind))),
                Line::Refused { .. } => None,
            })
            .flatten()
            .collect();
        let remote = body::read(sdp, &ours)?;
        let index = local.lines.iter().position(|l| matches!(l, Line::Audio(_)));
        let (Some(media), Some(Line::Audio(audio))) = (
            index.and_then(|i| remote.get(i)),
            index.and_then(|i| local.lines.get(i)),
        ) else {
            return Err(OfferError::Mismatch);
        };
        if !media.is_audio() {
            return Err(OfferError::Mismatch);
        }
        let config = if media.port == 0 {
            if self.agreed.is_none() {
                return Err(OfferError::NoAudio);
            }
            None
        } else {
            match media.transport {
                Transport::Plain => {}
                Transport::Secure => return Err(OfferError::SecureRequired),
                Transport::Other => return Err(OfferError::Mismatch),
            }
            Some(settle::config(
                &self.profile,
                &self.lease,
                self.signalling_from,
                media,
                audio,
            )?)
        };
        self.local = Some(local);
        self.offered_last = true;
        self.settle(remote, config);
        Ok(())
    }

    /// The pending offer, ours or the peer's, came to nothing (RFC 3261 §14.1): back to what was agreed.
    pub fn rollback(&mut self) {
        self.phase = Phase::Settled;
    }

    /// What is agreed; `None` before the first answer, and after one without live audio.
    #[must_use]
    pub fn agreed(&self) -> Option<&LegConfig> {
        self.agreed.as_ref()
    }

    /// Codecs the pending (else the last) SDP of the peer and our profile have in common, the peer's order.
    #[must_use]
    pub fn offered_codecs(&self) -> Vec<Codec> {
        let remote = match &self.phase {
            Phase::OfferReceived(remote) => remote,
            _ => &self.remote,
        };
        let Ok(Some(index)) = self.audio_line(remote) else {
            return Vec::new();
        };
        let mut codecs = Vec::new();
        for format in remote.get(index).map_or(&[][..], |m| m.formats.as_slice()) {
            if let Kind::Audio(codec) = format.kind
                && self.profile.codecs.contains(&codec)
                && !codecs.contains(&codec)
            {
                codecs.push(codec);
            }
        }
        codecs
    }

    /// The peer wants to hear nothing: `a=sendonly`, `a=inactive`, or an address of zeros.
    #[must_use]
    pub fn remote_on_hold(&self) -> bool {
        let remote = match &self.phase {
            Phase::OfferReceived(remote) => remote,
            _ => &self.remote,
        };
        let Ok(Some(index)) = self.audio_line(remote) else {
            return self.agreed.is_some();
        };
        remote
            .get(index)
            .is_some_and(|m| !settle::offered_direction(m).receives())
    }

    /// The peer's pending (else last) SDP has no live audio line (`m=audio 0`): doors send such as a ring notice.
    #[must_use]
    pub fn ring_notice(&self) -> bool {
        match &self.phase {
            Phase::OfferReceived(remote) => matches!(self.audio_line(remote), Ok(None)),
            _ => self.local.is_some() && matches!(self.audio_line(&self.remote), Ok(None)),
        }
    }

    /// An offer of ours waits for its answer.
    #[must_use]
    pub fn awaits_answer(&self) -> bool {
        matches!(self.phase, Phase::OfferSent(_))
    }

    /// An offer of the peer waits for ours.
    #[must_use]
    pub fn must_answer(&self) -> bool {
        matches!(self.phase, Phase::OfferReceived(_))
    }

    /// The SDP of ours in force (or, before the first answer, on its way), for repeating it unchanged (same `o=`
    /// version).
    #[must_use]
    pub fn current_local(&self) -> Option<Bytes> {
        match (&self.local, &self.phase) {
            (Some(local), _) | (None, Phase::OfferSent(local)) => Some(local.sdp.clone()),
            (None, _) => None,
        }
    }

    fn settle(&mut self, remote: Vec<RemoteMedia>, config: Option<LegConfig>) {
        self.phase = Phase::Settled;
        self.remote = remote;
        self.agreed = match (config, self.agreed.take()) {
            (Some(config), _) => Some(config),
            // The stream was taken away within the dialog (RFC 3264 §8.2); it may come back, so the leg stays.
            (None, Some(old)) => Some(LegConfig {
                direction: Direction::Inactive,
                ..old
            }),
            (None, None) => None,
        };
    }

    fn make_offer(&mut self, prefer: Option<Codec>, direction: Direction) -> Bytes {
        let mut codecs: SmallVec<[Codec; 8]> = SmallVec::new();
        for codec in prefer
            .into_iter()
            .chain(self.profile.codecs.iter().copied())
        {
            if self.profile.codecs.contains(&codec) && !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        let mut kinds: SmallVec<[Kind; 12]> = codecs.iter().map(|c| Kind::Audio(*c)).collect();
        if self.profile.telephone_event {
            // One event clock per audio clock, as RFC 4733 §2.1 wants it; the digit then needs no rescaling.
            for clock in codecs.iter().map(|c| c.rtp_clock()) {
                if !kinds.contains(&Kind::Event(clock)) {
                    kinds.push(Kind::Event(clock));
                }
            }
        }
        let formats = kinds
            .into_iter()
            .map(|kind| LocalFormat {
                payload: self.payloads.number(kind),
                kind,
                map: None,
            })
            .collect();
        let mut lines = self
            .local
            .as_ref()
            .map_or_else(Vec::new, |l| l.lines.clone());
        let index = lines
            .iter()
            .position(|l| matches!(l, Line::Audio(_)))
            .or_else(|| lines.iter().position(|l| matches!(l, Line::Refused { media, .. } if media.eq_ignore_ascii_case("audio"))));
        let proto = match index.and_then(|i| lines.get(i)) {
            Some(Line::Audio(audio)) => audio.proto.clone(),
            _ => "RTP/AVP".to_owned(),
        };
        let audio = Line::Audio(AudioLine {
            proto,
            port: self.lease.rtp.port(),
            formats,
            direction,
            ptime_ms: self.profile.ptime_ms,
            rtcp_mux: self.profile.rtcp_mux || self.agreed.as_ref().is_some_and(|a| a.rtcp_mux),
        });
        match index.and_then(|i| lines.get_mut(i)) {
            Some(slot) => *slot = audio,
            None => lines.push(audio),
        }
        let sdp = self.write(&lines);
        self.phase = Phase::OfferSent(Local {
            lines,
            sdp: sdp.clone(),
            direction,
        });
        sdp
    }

    /// Writes lines; the `o=` version goes up by one unless exactly this was said last (RFC 3264 §8).
    fn write(&mut self, lines: &[Line]) -> Bytes {
        let last = match (&self.phase, &self.local) {
            (Phase::OfferSent(local), _) | (_, Some(local)) => Some(local),
            _ => None,
        };
        if let Some(last) = last
            && last.lines == lines
        {
            return last.sdp.clone();
        }
        self.version = self.version.saturating_add(1);
        write::write(self.session_id, self.version, self.lease.advertise, lines)
    }

    /// The audio line to use; `None` if every audio line is dead (port 0), or there is no line at all.
    fn audio_line(&self, remote: &[RemoteMedia]) -> Result<Option<usize>, OfferError> {
        let live = || {
            remote
                .iter()
                .enumerate()
                .filter(|(_, m)| m.is_audio() && m.port != 0)
        };
        let usable =
            |m: &RemoteMedia| m.transport == Transport::Plain && self.choose(m, None).is_some();
        // The line in use stays the one in use.
        let current = self
            .local
            .as_ref()
            .and_then(|l| l.lines.iter().position(|l| matches!(l, Line::Audio(_))));
        if let Some((index, _)) = live().find(|(i, m)| Some(*i) == current && usable(m)) {
            return Ok(Some(index));
        }
        if let Some((index, _)) = live().find(|(_, m)| usable(m)) {
            return Ok(Some(index));
        }
        if live().any(|(_, m)| m.transport == Transport::Plain) {
            Err(OfferError::NoCommonCodec)
        } else if live().any(|(_, m)| m.transport == Transport::Secure) {
            Err(OfferError::SecureRequired)
        } else if live().next().is_some()
            || remote.iter().any(|m| m.port != 0) && !remote.iter().any(RemoteMedia::is_audio)
        {
            Err(OfferError::NoAudio)
        } else {
            Ok(None)
        }
    }

    fn choose<'a>(
        &self,
        media: &'a RemoteMedia,
        prefer: Option<Codec>,
    ) -> Option<&'a format::Format> {
        let allowed = |codec: Codec| self.profile.codecs.contains(&codec);
        let wanted = prefer.filter(|c| allowed(*c)).map(Kind::Audio);
        let mut usable = media
            .formats
            .iter()
            .filter(|f| matches!(f.kind, Kind::Audio(c) if allowed(c)));
        media
            .formats
            .iter()
            .find(|f| Some(f.kind) == wanted)
            .or_else(|| usable.next())
    }

    /// The event format that goes with a codec: on its clock if offered, else the first one offered.
    fn event_for<'a>(&self, media: &'a RemoteMedia, codec: Kind) -> Option<&'a format::Format> {
        if !self.profile.telephone_event {
            return None;
        }
        settle::event_for(media, codec)
    }
}

/// An answer to `offer` that refuses every m-line: port 0, same order (RFC 3264 §6). For a request that wants an answer
/// but gets no media. `address` is ours; `session_id` must be unique per host (RFC 8866 §5.2).
///
/// # Errors
/// The offer cannot be read.
pub fn reject_all(offer: &[u8], address: IpAddr, session_id: u64) -> Result<Bytes, OfferError> {
    let remote = body::read(offer, &[])?;
    let lines = refused(&remote);
    Ok(write::write(session_id, 1, address, &lines))
}

/// An offer without m-lines: what a 2xx to an INVITE without an offer must bear when no media is wanted.
#[must_use]
pub fn offer_nothing(address: IpAddr, session_id: u64) -> Bytes {
    write::write(session_id, 1, address, &[])
}

/// All lines of an offer refused, in order (RFC 3264 §6).
fn refused(remote: &[RemoteMedia]) -> Vec<Line> {
    remote
        .iter()
        .map(|m| Line::Refused {
            media: m.media.clone(),
            proto: m.proto.clone(),
            format: m.first_format.clone(),
        })
        .collect()
}
