//! From two audio lines to the configuration of a leg.

use std::net::{IpAddr, SocketAddr};

use super::body::RemoteMedia;
use super::format::{Format, Kind};
use super::write::AudioLine;
use super::{Direction, LegProfile, OfferError};
use crate::leg::{Lease, LegConfig, TelephoneEvent};

/// The peer's direction; an address of zeros means "send me nothing" (RFC 3264 §8.4) whatever `a=` says.
pub(super) fn offered_direction(media: &RemoteMedia) -> Direction {
    let zero = media.address.is_some_and(|a| a.is_unspecified());
    if media.port == 0 {
        Direction::Inactive
    } else if zero {
        media.direction.and(Direction::SendOnly)
    } else {
        media.direction
    }
}

/// Where the peer wants RTP.
pub(super) fn remote_address(
    media: &RemoteMedia,
    lease: &Lease,
    signalling_from: Option<IpAddr>,
) -> Result<IpAddr, OfferError> {
    let address = media
        .address
        .or(signalling_from)
        .ok_or(OfferError::Address)?;
    if address.is_unspecified() {
        return Ok(address);
    }
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    // A socket bound to `::` takes both families.
    let both = matches!(lease.rtp.ip(), IpAddr::V6(v6) if v6.is_unspecified());
    if address.is_multicast() || broadcast || (address.is_ipv4() != lease.rtp.is_ipv4() && !both) {
        return Err(OfferError::Address);
    }
    Ok(address)
}

/// The event format that goes with a codec: on its clock if the peer has it, else the peer's first.
pub(super) fn event_for(media: &RemoteMedia, codec: Kind) -> Option<&Format> {
    let clock = match codec {
        Kind::Audio(codec) => codec.rtp_clock(),
        Kind::Event(clock) => clock,
    };
    let mut events = media
        .formats
        .iter()
        .filter(|f| matches!(f.kind, Kind::Event(_)));
    media
        .formats
        .iter()
        .find(|f| f.kind == Kind::Event(clock))
        .or_else(|| events.next())
}

/// The packet length to send: what the peer wishes if the codec can, else the longest below that it can.
pub(super) fn ptime(codec: Kind, media: &RemoteMedia, own: u16) -> u16 {
    let Kind::Audio(codec) = codec else {
        return own;
    };
    let wish = media
        .ptime
        .unwrap_or(own)
        .min(media.maxptime.unwrap_or(u16::MAX));
    [60, 40, 30, 20, 10]
        .into_iter()
        .find(|ms| *ms <= wish && codec.can_ptime(*ms))
        .unwrap_or(10)
}

/// The leg that `media` of the peer and `audio` of ours make. Codec: the peer's first that we named too.
pub(super) fn config(
    profile: &LegProfile,
    lease: &Lease,
    signalling_from: Option<IpAddr>,
    media: &RemoteMedia,
    audio: &AudioLine,
) -> Result<LegConfig, OfferError> {
    let ours = |kind: Kind| {
        audio
            .formats
            .iter()
            .find(|f| f.kind == kind)
            .map(|f| f.payload)
    };
    // For an answer of ours `audio` holds the one chosen codec; for an answer to us the peer's order decides.
    let mut common = media.formats.iter().filter_map(|f| match f.kind {
        Kind::Audio(codec) => Some((f, codec, ours(f.kind)?)),
        Kind::Event(_) => None,
    });
    let (format, codec, receive_payload) = common.next().ok_or(OfferError::NoCommonCodec)?;
    let alternates = common
        .filter(|(_, c, _)| *c != codec)
        .map(|(_, c, receive)| (receive, c))
        .take(4)
        .collect();
    let on_clock = ours(Kind::Event(codec.rtp_clock())).and_then(|receive| {
        Some((
            media
                .formats
                .iter()
                .find(|f| f.kind == Kind::Event(codec.rtp_clock()))?,
            receive,
        ))
    });
    let any = || {
        media
            .formats
            .iter()
            .filter(|f| matches!(f.kind, Kind::Event(_)))
            .find_map(|f| Some((f, ours(f.kind)?)))
    };
    let telephone_event = on_clock.or_else(any).and_then(|(f, receive)| match f.kind {
        Kind::Event(clock) => Some(TelephoneEvent {
            payload: f.payload,
            receive,
            clock,
        }),
        Kind::Audio(_) => None,
    });

    let address = remote_address(media, lease, signalling_from)?;
    let remote_rtp = SocketAddr::new(address, media.port);
    let rtcp_mux = media.rtcp_mux && audio.rtcp_mux;
    let remote_rtcp = match media.rtcp {
        _ if rtcp_mux => remote_rtp,
        // An address of its own is followed only within the rules for the main one.
        Some((port, None)) => SocketAddr::new(address, port),
        Some((port, Some(other)))
            if other.is_ipv4() == address.is_ipv4() && !other.is_multicast() =>
        {
            SocketAddr::new(other, port)
        }
        _ => SocketAddr::new(address, media.port.saturating_add(1)),
    };
    Ok(LegConfig {
        lease: lease.id,
        remote_rtp,
        remote_rtcp,
        rtcp_mux,
        signalling_from,
        codec,
        send_payload: format.payload,
        receive_payload,
        alternates,
        telephone_event,
        ptime_ms: ptime(Kind::Audio(codec), media, profile.ptime_ms),
        direction: offered_direction(media).reversed().and(audio.direction),
        opus: format.opus,
        clear: profile.clear,
    })
}
