//! One leg: a SIP dialog of ours with a device, and its media as an id and a negotiation.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use media_bridge::{
    Codec, Command, Direction, Lease, LegId, LegProfile, LegStats, Negotiation, Normaliser,
    OfferError,
};
use sip_proxy::uri::Host;
use sip_proxy::{
    ClientTx, Dialog, Flow, HeaderName, Message, Method, OutgoingRequest, ServerTx, SessionTimer,
    Uri,
};

use super::watchdog::Watch;
use crate::profile::{DtmfMethod, Reinvite, StationProfile};
use crate::site::Site;

/// Who is at the other end of a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Party {
    /// Account user name: how it is addressed.
    pub(crate) user: String,
    /// Directory device id: who it is.
    pub(crate) device: String,
    /// The door it stands at; `None` for a person's, a unit's or a desk's device.
    pub(crate) door: Option<String>,
}

/// The media of a leg.
#[derive(Debug)]
pub(crate) struct LegMedia {
    pub(crate) id: LegId,
    pub(crate) lease: Lease,
    pub(crate) negotiation: Negotiation,
    /// `Open` was sent: from here on the worker gives the last word with `Closed`.
    pub(crate) opened: bool,
    pub(crate) closed: bool,
    pub(crate) stats: LegStats,
}

/// A re-INVITE or UPDATE of ours that has no final answer yet.
#[derive(Debug)]
pub(crate) struct OurReinvite {
    pub(crate) tx: ClientTx,
    pub(crate) cseq: u32,
    /// By UPDATE, without an offer: a session refresh that meets nobody's offer (RFC 3311 §5.1).
    pub(crate) update: bool,
    /// It is sent for the session timer, and changes nothing.
    pub(crate) refresh: bool,
    /// It tells the peer where its media has moved.
    pub(crate) renews: bool,
}

/// Facts about a leg that fit in one word each.
#[derive(Debug, Default)]
pub(crate) struct LegFlags {
    /// The peer put us on hold.
    pub(crate) held: bool,
    /// We told the peer that the other side holds.
    pub(crate) told_hold: bool,
    /// BYE sent or received: the dialog is over.
    pub(crate) over: bool,
    /// The media has moved to other sockets, which the peer must be told.
    pub(crate) renew: bool,
    /// The dialog is by an INVITE of ours: its Call-ID too.
    pub(crate) uac: bool,
    /// Wishes that nobody is told who it is (RFC 3323).
    pub(crate) private: bool,
    /// The peer's latest `Allow` names UPDATE (RFC 3311 §5.1).
    pub(crate) takes_update: bool,
}

/// A leg. The caller's is a UAS dialog, a branch's a UAC one; after the answer they behave alike.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) index: u16,
    pub(crate) party: Party,
    pub(crate) profile: Arc<StationProfile>,
    pub(crate) flow: Flow,
    pub(crate) local_tag: String,
    pub(crate) dialog: Option<Dialog>,
    pub(crate) media: Option<LegMedia>,
    pub(crate) keys: Normaliser,
    pub(crate) ours: Option<OurReinvite>,
    /// When to try a re-INVITE again after 491 (RFC 3261 §14.1).
    pub(crate) retry_at: Option<Instant>,
    /// Their re-INVITE (or first INVITE) that we answered 2xx and whose ACK has not come; `true`: the ACK bears
    /// the answer to our offer.
    pub(crate) unacked: Option<(ServerTx, bool)>,
    /// The session timer of this side (RFC 4028); the other side has its own.
    pub(crate) session: Option<SessionTimer>,
    pub(crate) watch: Watch,
    pub(crate) flags: LegFlags,
}

impl Leg {
    /// A leg without media.
    pub(crate) fn new(
        index: u16,
        party: Party,
        profile: Arc<StationProfile>,
        flow: Flow,
        local_tag: String,
        dialog: Option<Dialog>,
    ) -> Self {
        let flags = LegFlags {
            uac: dialog.is_none(),
            ..LegFlags::default()
        };
        Leg {
            index,
            party,
            profile,
            flow,
            local_tag,
            dialog,
            media: None,
            keys: Normaliser::new(),
            ours: None,
            retry_at: None,
            unacked: None,
            session: None,
            watch: Watch::default(),
            flags,
        }
    }

    /// Takes a lease and makes the leg's media; `false` when no port is free.
    pub(crate) fn lease_media(&mut self, site: &mut Site, call: u64, worker: Option<u16>) -> bool {
        let Some(mut lease) = site
            .leases
            .take(worker, self.flow.remote.is_ipv6() && !mapped(&self.flow))
        else {
            return false;
        };
        // Bound to the wildcard: media is reached where this peer's signalling reaches us.
        if lease.advertise.is_unspecified() {
            lease.advertise = self.flow.local.ip();
        }
        let origin = site.random();
        self.media = Some(LegMedia {
            id: super::leg_id(call, self.index),
            lease,
            negotiation: Negotiation::new(leg_profile(&self.profile), lease, origin >> 2),
            opened: false,
            closed: false,
            stats: LegStats::default(),
        });
        true
    }

    /// The worker this leg's media is on.
    pub(crate) fn worker(&self) -> Option<u16> {
        self.media.as_ref().map(|media| media.lease.worker)
    }

    /// The negotiation, when the leg has media.
    pub(crate) fn negotiation(&mut self) -> Option<&mut Negotiation> {
        self.media.as_mut().map(|media| &mut media.negotiation)
    }

    /// The codec agreed.
    pub(crate) fn codec(&self) -> Option<Codec> {
        self.media
            .as_ref()?
            .negotiation
            .agreed()
            .map(|config| config.codec)
    }

    /// Sends the agreed configuration to the worker: `Open` the first time, `Update` later.
    pub(crate) fn configure_media(&mut self, site: &mut Site, feeds_keys: bool) {
        let Some(media) = self.media.as_mut() else {
            return;
        };
        let Some(config) = media.negotiation.agreed().cloned() else {
            return;
        };
        let mut config = config;
        config.signalling_from = Some(self.flow.remote.ip());
        let command = if media.opened {
            Command::Update {
                leg: media.id,
                config,
            }
        } else {
            media.opened = true;
            Command::Open {
                leg: media.id,
                config,
                feeds_keys,
            }
        };
        site.media(media.lease.worker, command);
    }

    /// Ends the media: an opened leg is closed by its worker, an unused lease goes straight back.
    pub(crate) fn close_media(&mut self, site: &mut Site) {
        let Some(media) = self.media.as_mut() else {
            return;
        };
        if media.closed {
            return;
        }
        if media.opened {
            media.closed = true;
            site.media(media.lease.worker, Command::Close { leg: media.id });
        } else {
            site.return_lease(media.lease.id);
            self.media = None;
        }
    }

    /// Whether re-INVITEs may be sent to this leg.
    pub(crate) fn takes_reinvite(&self) -> bool {
        self.profile.reinvite == Reinvite::Allowed
    }

    /// Our offer within the dialog: what the peer was told of the other side's hold stays as it is.
    pub(crate) fn reoffer(&mut self) -> Option<Bytes> {
        let direction = told(self.flags.told_hold);
        let negotiation = self.negotiation()?;
        Some(negotiation.reoffer(direction))
    }

    /// Reads an offer and makes the answer in one go.
    pub(crate) fn answer_offer(&mut self, sdp: &[u8]) -> Result<Bytes, OfferError> {
        let Some(media) = self.media.as_mut() else {
            return Err(OfferError::NoAudio);
        };
        let prefer = media.negotiation.agreed().map(|config| config.codec);
        media.negotiation.receive_offer(sdp)?;
        let answer = media.negotiation.answer(prefer)?;
        self.flags.held = media.negotiation.remote_on_hold();
        Ok(answer)
    }

    /// The connection is gone. A new one goes to the dialog's next hop, not to the port the peer happened to connect
    /// from; a host name is left to whoever resolves it: then the old address stays.
    pub(crate) fn lose_connection(&mut self) {
        self.flow.connection = None;
        let Some(uri) = self
            .dialog
            .as_ref()
            .and_then(|dialog| Uri::parse(dialog.next_hop()).ok())
        else {
            return;
        };
        let ip: std::net::IpAddr = match uri.host() {
            Host::V4(ip) => ip.into(),
            Host::V6(ip) => ip.into(),
            Host::Name(_) => return,
        };
        let secure = self.flow.transport.is_secure();
        let port = uri.port().unwrap_or(if secure { 5061 } else { 5060 });
        self.flow.remote = std::net::SocketAddr::new(ip, port);
    }

    /// Remembers what the peer says it takes.
    pub(crate) fn learn(&mut self, message: &Message) {
        let mut allow = message.values(&HeaderName::Allow).peekable();
        if allow.peek().is_some() {
            self.flags.takes_update = allow.any(|method| method == "UPDATE");
        }
    }

    /// A request in the dialog, with our Contact.
    pub(crate) fn request(&mut self, site: &Site, method: Method) -> Option<OutgoingRequest> {
        let mut request = self.dialog.as_mut()?.request(method);
        request.contact = Some(site.contact(&self.flow));
        Some(request)
    }
}

/// What a side is told of the other's hold.
pub(crate) fn told(hold: bool) -> Direction {
    if hold {
        Direction::SendOnly
    } else {
        Direction::SendRecv
    }
}

fn mapped(flow: &Flow) -> bool {
    matches!(flow.remote.ip(), std::net::IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

/// What offer/answer needs of a station profile.
pub(crate) fn leg_profile(profile: &StationProfile) -> LegProfile {
    LegProfile {
        codecs: profile.codecs.clone(),
        telephone_event: profile.dtmf == DtmfMethod::Rtp,
        ptime_ms: profile.ptime_ms,
        reinvite: profile.reinvite == Reinvite::Allowed,
        ..LegProfile::default()
    }
}
