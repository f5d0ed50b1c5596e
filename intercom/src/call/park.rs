//! A parked call: a visitor laid down in a numbered slot, until somebody dials it or its time is up.

use std::time::{Duration, Instant};

use dialplan::Slots;
use media_bridge::{Command, Tone};

use super::call::{Call, Phase};
use crate::Now;
use crate::cdr::EndReason;
use crate::site::{Effect, Site};
use crate::story::Line;

/// Where it lies, and until when.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) slot: String,
    pub(crate) until: Instant,
}

impl Call {
    /// The plan's `park`: a transferred call lies down, one's own takes up what lies in the slot dialled.
    pub(crate) fn park(
        &mut self,
        site: &mut Site,
        now: Now,
        slots: Slots,
        slot: Option<String>,
        for_: Duration,
    ) {
        if self.transfer.is_none() {
            let found = slot.and_then(|slot| site.parked.get(&slot).copied());
            return match found {
                Some(call) => site.effects.push_back(Effect::TakeUp {
                    by: self.number,
                    call,
                }),
                None => {
                    self.note(now, Line::Call("nothing is parked there".to_owned()));
                    self.go_on(site, now);
                }
            };
        }
        let free = |slot: &String| !site.parked.contains_key(slot);
        let slot = match slot {
            Some(slot) => Some(slot).filter(free),
            None => slots.iter().find(free),
        };
        let Some(slot) = slot else {
            self.note(now, Line::Call("no free slot to park in".to_owned()));
            return self.unanswered(site, now, EndReason::Busy, 486);
        };
        self.note(now, Line::Call(format!("parked in {slot}")));
        site.parked.insert(slot.clone(), self.number);
        let notify = self.notify_transfer(site, now, 200);
        if let Some(mut transfer) = self.transfer.take() {
            self.take_leave(site, now, &mut transfer.leg, notify);
            transfer.told = None;
            transfer.leg.session = None;
            transfer.parked = true;
            self.transfer = Some(transfer);
        }
        self.let_wait(site, Tone::Hold);
        let until = now.mono + for_;
        self.phase = Phase::Parked(Box::new(Parked { slot, until }));
    }

    /// Nobody has taken it up: back to who parked it.
    pub(crate) fn park_over(&mut self, site: &mut Site, now: Now) {
        self.note(now, Line::Call("nobody took it up".to_owned()));
        self.unpark(site);
        self.phase = Phase::Routing;
        self.unanswered(site, now, EndReason::NotAnswered, 480);
    }

    /// The slot is free again.
    pub(crate) fn unpark(&mut self, site: &mut Site) {
        if let Phase::Parked(parked) = &self.phase {
            site.parked.remove(&parked.slot);
        }
    }

    /// What the plan says after a pickup or park that came to nothing.
    pub(crate) fn go_on(&mut self, site: &mut Site, now: Now) {
        let directory = std::sync::Arc::clone(&site.directory);
        let facts = site.facts(now);
        self.phase = Phase::Routing;
        let Some(run) = self.run.as_mut() else {
            return self.unanswered(site, now, EndReason::NotAnswered, 480);
        };
        let step = run.go_on(&directory, &facts);
        self.take_step(site, now, step);
    }

    /// The side that waits hears this instead of the other.
    pub(crate) fn let_wait(&mut self, site: &mut Site, tone: Tone) {
        let Some(media) = self.caller.media.as_ref().filter(|media| media.opened) else {
            return;
        };
        let (worker, leg) = (media.lease.worker, media.id);
        site.media(worker, Command::Part { leg });
        let repeat = true;
        site.media(worker, Command::Play { leg, tone, repeat });
    }
}
