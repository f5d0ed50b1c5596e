//! Watchdogs of an answered call: every call ends, whoever falls silent. Sound that stops is told by the media worker;
//! what follows here is for what it cannot hear: a side on hold, and a peer that has gone without a word.
//!
//! | what | bound | ends with |
//! |---|---|---|
//! | no sound | the worker's `silent-after`; a leg on hold is excepted | `media-silent` |
//! | on hold | `max-hold` | `limit` |
//! | no session timer | OPTIONS every `probe`, and at once when its connection ends | `peer-gone` |
//! | session timer | RFC 4028 | `session-expired` |
//! | talk, ringing, parked | `max-duration`, `max-ringing`, `park … for=` | `limit`, `not-answered` |
//! | no ACK, BYE unanswered | 64·T1 (RFC 3261 §13.3.1.4, timer F) | `peer-gone` |

use std::time::{Duration, Instant};

use sip_proxy::{ClientTx, Method};

use super::call::Call;
use super::leg::Leg;
use crate::Now;
use crate::cdr::EndReason;
use crate::site::Site;
use crate::story::Line;

/// A peer whose connection ended is asked after this, so that it may come back by itself.
const AFTER_LOSS: Duration = Duration::from_secs(2);

/// What is known of a leg's life.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// When it is asked next.
    probe_at: Option<Instant>,
    /// The OPTIONS that is out.
    probe: Option<ClientTx>,
    /// It answers no OPTIONS, yet is heard: not asked again.
    mute: bool,
    /// On hold since.
    held_since: Option<Instant>,
}

impl Leg {
    /// The worker would tell if it fell silent.
    fn is_heard(&self) -> bool {
        let media = self.media.as_ref().filter(|media| media.opened);
        let receives = media
            .and_then(|media| media.negotiation.agreed())
            .is_some_and(|agreed| agreed.direction.receives());
        receives && !self.flags.held
    }

    /// Whether it is asked by OPTIONS.
    fn is_probed(&self) -> bool {
        let there = self.dialog.is_some() && !self.flags.over;
        there && self.profile.probe && self.session.is_none() && !self.watch.mute
    }

    /// Its connection is gone: it is asked soon.
    pub(crate) fn suspect(&mut self, now: Instant) {
        self.watch.mute = false;
        self.watch.probe_at = Some(now + AFTER_LOSS);
    }

    /// When something is due.
    pub(crate) fn watch_timeout(&self, max_hold: Duration) -> Option<Instant> {
        let probe = self.watch.probe_at.filter(|_| self.watch.probe.is_none());
        let hold = self.watch.held_since.map(|since| since + max_hold);
        [probe, hold].into_iter().flatten().min()
    }
}

impl Call {
    /// Looks after each leg.
    pub(crate) fn watch(&mut self, site: &mut Site, now: Now) {
        let every = site.config.limits.probe;
        let max_hold = site.config.limits.max_hold;
        self.max_hold = max_hold;
        let mut due = Vec::new();
        let mut held = None;
        for leg in self.established_mut() {
            if leg.flags.held && !leg.flags.over {
                leg.watch.held_since.get_or_insert(now.mono);
            } else {
                leg.watch.held_since = None;
            }
            if leg
                .watch
                .held_since
                .is_some_and(|since| since + max_hold <= now.mono)
            {
                held = Some(leg.index);
            }
            if every.is_zero() || !leg.is_probed() {
                leg.watch.probe_at = None;
                continue;
            }
            let at = *leg.watch.probe_at.get_or_insert(now.mono + every);
            if at <= now.mono && leg.watch.probe.is_none() {
                leg.watch.probe_at = Some(now.mono + every);
                due.push(leg.index);
            }
        }
        if let Some(index) = held {
            let name = self.party_name(index);
            self.note(now, Line::Call(format!("{name}: on hold for too long")));
            return self.finish(site, now, EndReason::Limit, 0);
        }
        for index in due {
            self.probe(site, now, index);
        }
    }

    /// OPTIONS in the dialog of leg `index`.
    fn probe(&mut self, site: &mut Site, now: Now, index: u16) {
        let tx = self.take_tx();
        let Some(leg) = self.leg(index) else { return };
        let Some(request) = leg.request(site, Method::Options) else {
            return;
        };
        leg.watch.probe = Some(tx);
        let (to, name) = (leg.flow, leg.party.device.clone());
        site.sip(sip_proxy::Input::Request { tx, request, to });
        let what = "OPTIONS".to_owned();
        self.note(now, Line::Out { to: name, what });
    }

    /// Whether `tx` is an OPTIONS of ours; if so, judges by its final status (`None`: no response).
    pub(crate) fn probed(
        &mut self,
        site: &mut Site,
        now: Now,
        tx: ClientTx,
        status: Option<u16>,
    ) -> bool {
        let mut legs = self.established_mut();
        let Some(leg) = legs.find(|leg| leg.watch.probe == Some(tx)) else {
            return false;
        };
        if status.is_some_and(|status| status < 200) {
            return true;
        }
        leg.watch.probe = None;
        let index = leg.index;
        // RFC 3261 §12.2.1.2: 408, 481 and silence end the dialog. Some door panels answer no OPTIONS at all; one that
        // is heard has not gone.
        let heard = leg.is_heard();
        leg.watch.mute = status.is_none() && heard;
        drop(legs);
        let name = self.party_name(index);
        match status {
            None if heard => {
                let line = format!("{name}: answers no OPTIONS, but is heard");
                self.note(now, Line::Call(line));
            }
            None | Some(408 | 481) => self.gone(site, now, index),
            // Anything else is a sign of life.
            Some(_) => {}
        }
        true
    }

    /// The peer of leg `index` is not there any more.
    pub(crate) fn gone(&mut self, site: &mut Site, now: Now, index: u16) {
        let name = self.party_name(index);
        self.note(now, Line::Call(format!("{name}: is gone")));
        let transfers = self.transfer.as_deref_mut();
        if let Some(transfer) = transfers.filter(|transfer| transfer.leg.index == index) {
            // The others go on without it.
            transfer.leg.flags.over = true;
            self.transferer_left(site, now, index);
            return;
        }
        self.finish(site, now, EndReason::PeerGone, 0);
    }
}
