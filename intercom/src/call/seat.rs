//! A leg that changes calls: who picks up, takes a parked call up, replaces a dialog (RFC 3891) or is handed over by an
//! attended transfer leaves the call it came by and takes a seat in another.
//!
//! ```text
//!   call N (dials *8)          call T (lobby rings the desk)          attended: call Y (A, C), call X (B, A)
//!   caller ──guest──────────► winner; branches: CANCEL                  C ──guest──► takes A's seat in X
//!   ends "in another call"     200 to both, joined                      Y ends; A: BYE in both
//! ```

use dialplan::RingOutcome;
use sip_proxy::session_timer::Agreed;
use sip_proxy::{ClientTx, HeaderName, OutgoingResponse, ServerTx};

use super::call::{Call, Phase};
use super::leg::Leg;
use super::offer::{ALLOW, SUPPORTED};
use super::talk::Talk;
use super::transfer::PASSED_ON;
use super::watchdog::Watch;
use crate::Now;
use crate::cdr::EndReason;
use crate::site::Site;
use crate::story::Line;

/// A leg on its way from one call to another.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) leg: Leg,
    /// Its INVITE, when that has had no answer.
    pub(crate) invite: Option<Unanswered>,
}

/// An INVITE that waits for its 200.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unanswered {
    tx: ServerTx,
    /// It made no offer.
    late: bool,
    /// The session timer the 200 will agree to.
    session: Option<Agreed>,
}

/// The seat a guest takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Of whoever would have answered.
    Winner,
    /// Of this leg, which leaves.
    Leg(u16),
}

impl Call {
    /// The caller, not answered yet, leaves for another call; this one is over.
    pub(crate) fn leave(&mut self, site: &mut Site, now: Now) -> Guest {
        let husk = self.caller.husk();
        let leg = std::mem::replace(&mut self.caller, husk);
        let invite = Some(Unanswered {
            tx: self.caller_tx,
            late: self.late_offer,
            session: self.opening.session,
        });
        self.progress.final_status = Some(200);
        self.finish(site, now, EndReason::Transferred, 0);
        Guest { leg, invite }
    }

    /// The other side of leg `stays` leaves for another call; `stays` is hung up, and this call is over.
    pub(crate) fn release(&mut self, site: &mut Site, now: Now, stays: u16) -> Option<Guest> {
        let Phase::Talking(talk) = &mut self.phase else {
            return None;
        };
        let far = if stays == self.caller.index {
            &mut talk.winner
        } else {
            &mut self.caller
        };
        let husk = far.husk();
        let leg = std::mem::replace(far, husk);
        self.finish(site, now, EndReason::Transferred, 0);
        Some(Guest { leg, invite: None })
    }

    /// Whether a guest can take that seat now.
    pub(crate) fn has_seat(&self, place: Place) -> bool {
        let room =
            self.transfers < super::transfer::MAX_TRANSFERS && self.next_leg < super::MAX_LEGS;
        let open = match place {
            Place::Winner => matches!(self.phase, Phase::Ringing(_) | Phase::Parked(_)),
            Place::Leg(index) => self.is_talking() && self.peek(index).is_some(),
        };
        room && open
    }

    /// The worker of the call's media, and whether it can be left: the side that stays takes a re-INVITE.
    pub(crate) fn home(&self, place: Place) -> (Option<u16>, bool) {
        let stays = match (&self.phase, place) {
            (Phase::Talking(talk), Place::Leg(index)) if index == self.caller.index => &talk.winner,
            _ => &self.caller,
        };
        let movable = matches!(place, Place::Leg(_)) && stays.takes_reinvite();
        (stays.worker(), movable)
    }

    /// Moves the side that stays to another worker.
    pub(crate) fn move_home(&mut self, site: &mut Site, place: Place, worker: u16) -> bool {
        let number = self.number;
        let stays = match (&mut self.phase, place) {
            (Phase::Talking(talk), Place::Leg(index)) if index == self.caller.index => {
                &mut talk.winner
            }
            _ => &mut self.caller,
        };
        stays.relocate(site, number, worker)
    }

    /// The guest sits down; returns its number here. [`Call::has_seat`] was asked before, and its media is on this
    /// call's worker.
    pub(crate) fn seat(&mut self, site: &mut Site, now: Now, mut guest: Guest, place: Place) {
        let name = guest.leg.party.device.clone();
        self.transfers = self.transfers.saturating_add(1);
        let index = guest.leg.index;
        if let Some(invite) = guest.invite {
            let prefer = self.preferred(place, &mut guest.leg);
            if let Err(status) = self.admit(site, now, &mut guest.leg, invite, prefer) {
                self.note(now, Line::Call(format!("{name}: not let in ({status})")));
                guest.leg.close_media(site);
                guest.leg.flags.over = true;
                self.parted.push(guest.leg);
                return;
            }
        }
        match place {
            Place::Winner => {
                self.note(now, Line::Call(format!("{name} takes the call")));
                self.answered_by(site, now, guest.leg, None);
            }
            Place::Leg(old) => {
                self.note(
                    now,
                    Line::Call(format!(
                        "{name} takes the place of {}",
                        self.party_name(old)
                    )),
                );
                self.replace(site, now, old, guest.leg);
            }
        }
        let joined = matches!(&self.phase, Phase::Talking(talk) if talk.joined);
        if joined && self.leg(index).is_some_and(|leg| leg.flags.renew) {
            self.sync_hold(site, now);
        }
    }

    fn preferred(&mut self, place: Place, guest: &mut Leg) -> Option<media_bridge::Codec> {
        let other = match (&self.phase, place) {
            (Phase::Talking(talk), Place::Leg(index)) if index == self.caller.index => {
                talk.winner.codec()
            }
            _ => self.caller.codec(),
        };
        other.or_else(|| {
            let offered = guest.negotiation()?.offered_codecs();
            let wanted = self.caller.negotiation()?.offered_codecs();
            wanted.into_iter().find(|codec| offered.contains(codec))
        })
    }

    /// 200 to the guest's INVITE.
    fn admit(
        &mut self,
        site: &mut Site,
        now: Now,
        leg: &mut Leg,
        invite: Unanswered,
        prefer: Option<media_bridge::Codec>,
    ) -> Result<(), u16> {
        let name = leg.party.device.clone();
        let Unanswered { tx, late, session } = invite;
        let body = match leg.negotiation() {
            Some(negotiation) if late => Ok(negotiation.offer(prefer)),
            Some(negotiation) => negotiation.answer(prefer).map_err(|error| error.status()),
            None => Err(500),
        };
        let response = match &body {
            Ok(body) => OutgoingResponse::new(200)
                .with_header(HeaderName::Allow, ALLOW.to_owned())
                .with_header(HeaderName::Supported, SUPPORTED.to_owned())
                .with_body("application/sdp", body.clone()),
            Err(status) => OutgoingResponse::new(*status),
        };
        let mut response = response.with_to_tag(leg.local_tag.clone());
        response.contact = Some(site.contact(&leg.flow));
        if body.is_ok() {
            leg.unacked = Some((tx, late));
            response = leg.grant_timer(now, session, response);
        }
        self.respond(site, now, name, tx, "INVITE", response);
        body.map(|_| ())
    }

    /// A leg has answered, or sat down where one was to answer: it is the other side from here on.
    pub(crate) fn answered_by(
        &mut self,
        site: &mut Site,
        now: Now,
        winner: Leg,
        winner_tx: Option<ClientTx>,
    ) {
        self.cancel_losers(site, now);
        let keys = match &self.phase {
            Phase::Ringing(fork) => fork.ring.keys.clone(),
            _ => "default".to_owned(),
        };
        let line = format!("{} has answered", winner.party.device);
        self.note(now, Line::Call(line));
        if let Some(run) = self.run.as_mut() {
            // What the plan says after an answer does not concern this call any more.
            let _ = run.next(&site.directory, &site.facts(now), RingOutcome::Answered);
        }
        self.note_trace(now);
        let answered = *self.times.answered.get_or_insert(now.mono);
        self.provisional_at = None;
        self.dialling.clear();
        self.unpark(site);
        self.phase = Phase::Talking(Box::new(Talk {
            winner,
            winner_tx,
            until: answered + site.config.limits.max_duration,
            keys,
            joined: false,
        }));
        if self.transfer.is_some() {
            self.target_answered(site, now);
        } else {
            self.answer_caller(site, now);
        }
    }

    /// `new` takes the place of leg `old`, which is hung up.
    fn replace(&mut self, site: &mut Site, now: Now, old: u16, new: Leg) {
        let Phase::Talking(talk) = &mut self.phase else {
            return;
        };
        talk.joined = false;
        let slot = if old == self.caller.index {
            &mut self.caller
        } else {
            &mut talk.winner
        };
        let gone = std::mem::replace(slot, new);
        self.part_with(site, now, gone, PASSED_ON);
        self.join(site, now);
        self.sync_hold(site, now);
    }
}

impl Leg {
    /// The leg is in another call now. Media that is open keeps the name the worker knows.
    pub(crate) fn take_number(&mut self, call: u64, index: u16) {
        self.index = index;
        // An OPTIONS that is out is the old call's, which does not wait for it any more.
        self.watch = Watch::default();
        if let Some(media) = self.media.as_mut().filter(|media| !media.opened) {
            media.id = super::leg_id(call, index);
        }
    }

    /// What stays in a call for the record when the leg has left for another.
    fn husk(&self) -> Leg {
        let mut husk = Leg::new(
            self.index,
            self.party.clone(),
            self.profile.clone(),
            self.flow,
            self.local_tag.clone(),
            None,
        );
        husk.flags.over = true;
        husk
    }

    /// Moves the leg's media to another worker: a new lease, and where the peer knows the old one a re-INVITE to come.
    /// `false` when no port is free there; nothing changed then.
    pub(crate) fn relocate(&mut self, site: &mut Site, call: u64, worker: u16) -> bool {
        let Some(media) = self.media.as_ref() else {
            return true;
        };
        if media.lease.worker == worker {
            return true;
        }
        let ipv6 = media.lease.rtp.is_ipv6();
        let advertise = media.lease.advertise;
        let Some(mut lease) = site.leases.take(Some(worker), ipv6) else {
            return false;
        };
        if lease.advertise.is_unspecified() {
            lease.advertise = advertise;
        }
        let told = media.negotiation.agreed().is_some();
        self.close_media_for_move(site);
        if let Some(media) = self.media.as_mut() {
            media.id = super::leg_id(call, self.index);
            media.lease = lease;
            media.negotiation.move_to(lease);
            media.opened = false;
            media.closed = false;
        }
        self.flags.renew = told;
        true
    }

    fn close_media_for_move(&mut self, site: &mut Site) {
        let Some(media) = self.media.as_ref() else {
            return;
        };
        let worker = media.lease.worker;
        if media.opened {
            site.media(worker, media_bridge::Command::Close { leg: media.id });
        } else {
            site.return_lease(media.lease.id);
        }
    }
}
