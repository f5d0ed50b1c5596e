//! Legs that change calls: who takes which seat, and where a leg is found afterwards.

use std::collections::BTreeMap;

use dialplan::Owner;
use sip_proxy::ClientTx;

use super::B2bua;
use crate::Now;
use crate::call::{Attend, CallInput, Found, Party, Place, Referred, Replaces, parse_tag};
use crate::cdr::EndReason;

/// Where the legs are that left the call their tag names. Bounded by the seats of live calls, which are limited in each.
#[derive(Debug, Default)]
pub(super) struct Moved {
    legs: BTreeMap<(u64, u16), (u64, u16)>,
    /// Re-INVITEs of ours that were out when the leg moved.
    transactions: BTreeMap<ClientTx, u64>,
}

impl Moved {
    /// Where a leg is now.
    pub(super) fn place(&self, number: u64, index: u16) -> (u64, u16) {
        if self.legs.is_empty() {
            return (number, index);
        }
        let found = self.legs.get(&(number, index)).copied();
        found.unwrap_or((number, index))
    }

    /// The call a transaction is of now.
    pub(super) fn call_of(&self, tx: ClientTx, number: u64) -> u64 {
        if self.transactions.is_empty() {
            return number;
        }
        self.transactions.get(&tx).copied().unwrap_or(number)
    }

    fn insert(&mut self, old: (u64, u16), new: (u64, u16)) {
        for place in self.legs.values_mut().filter(|place| **place == old) {
            *place = new;
        }
        self.legs.insert(old, new);
    }

    /// A call is gone, and its legs with it.
    pub(super) fn forget(&mut self, number: u64) {
        if !self.legs.is_empty() {
            self.legs.retain(|_, (call, _)| *call != number);
        }
        if !self.transactions.is_empty() {
            self.transactions.retain(|_, call| *call != number);
        }
    }
}

/// Who leaves a call.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    /// The caller, who has not been answered.
    Caller,
    /// The other side of this leg.
    FarFrom(u16),
}

/// A leg changes calls: checked, not done yet.
#[derive(Clone, Copy)]
struct Handover {
    from: u64,
    leaving: Leaving,
    to: u64,
    place: Place,
    /// Whose media moves to which worker.
    moves: Option<(Mover, u16)>,
}

#[derive(Clone, Copy)]
enum Mover {
    Guest,
    Home,
}

impl B2bua {
    /// Whether the leg can change calls, and what its media needs for it. Both legs of a call are on one worker.
    fn handover(
        &self,
        from: u64,
        leaving: Leaving,
        to: u64,
        place: Place,
    ) -> Result<Handover, (u16, &'static str)> {
        let gone = (481, "one of the calls is over");
        let (source, target) = (self.calls.get(&from).ok_or(gone)?, self.calls.get(&to));
        let target = target.filter(|target| target.has_seat(place)).ok_or(gone)?;
        if from == to {
            return Err((603, "a call cannot be joined with itself"));
        }
        let (guest, movable) = match leaving {
            // Who was told an SDP already stays where that leads to.
            Leaving::Caller if source.opening.repeated().is_some() => return Err(gone),
            Leaving::Caller => (source.peek(source.caller.index), true),
            Leaving::FarFrom(stays) => {
                let far = source.established().find(|leg| leg.index != stays);
                (far, far.is_some_and(|leg| leg.takes_reinvite()))
            }
        };
        let guest = guest.ok_or(gone)?;
        let ipv6 = guest
            .media
            .as_ref()
            .is_some_and(|media| media.lease.rtp.is_ipv6());
        let (home, home_movable) = target.home(place);
        let moves = match (guest.worker(), home) {
            (Some(there), Some(here)) if there != here => {
                let leases = &self.site.leases;
                if movable && leases.has(here, ipv6) {
                    Some((Mover::Guest, here))
                } else if home_movable && leases.has(there, false) | leases.has(there, true) {
                    Some((Mover::Home, there))
                } else {
                    return Err((488, "the two cannot be joined"));
                }
            }
            _ => None,
        };
        Ok(Handover {
            from,
            leaving,
            to,
            place,
            moves,
        })
    }

    fn hand_over(&mut self, now: Now, handover: Handover) {
        let Handover {
            from,
            leaving,
            to,
            place,
            moves,
        } = handover;
        let site = &mut self.site;
        let Some(index) = self.calls.get_mut(&to).and_then(|call| call.take_leg()) else {
            return;
        };
        let guest = self.calls.get_mut(&from).and_then(|call| match leaving {
            Leaving::Caller => Some(call.leave(site, now)),
            Leaving::FarFrom(stays) => call.release(site, now, stays),
        });
        if let (Some(mut guest), Some(call)) = (guest, self.calls.get_mut(&to)) {
            self.moved.insert((from, guest.leg.index), (to, index));
            if let Some(ours) = &guest.leg.ours {
                self.moved.transactions.insert(ours.tx, to);
            }
            guest.leg.take_number(to, index);
            // Asked for beforehand: there is a port.
            match moves {
                Some((Mover::Guest, worker)) => {
                    guest.leg.relocate(site, to, worker);
                }
                Some((Mover::Home, worker)) => {
                    call.move_home(site, place, worker);
                }
                None => {}
            }
            call.seat(site, now, guest, place);
        }
        for number in [from, to] {
            self.run(now, number, CallInput::Timeout);
        }
    }

    /// The plan's `pickup`: the call that has rung longest.
    pub(super) fn pick_up(&mut self, now: Now, by: u64, doors: &[String], devices: &[String]) {
        let rings = self.ringing.iter().copied().find(|number| {
            *number != by
                && self
                    .calls
                    .get(number)
                    .is_some_and(|call| call.rings_for(doors, devices))
        });
        self.take_seat(now, by, rings);
    }

    /// The caller of `by` becomes the one who answers `call`; its own plan goes on when there is none.
    pub(super) fn take_seat(&mut self, now: Now, by: u64, call: Option<u64>) {
        let handover = call
            .map(|call| self.handover(by, Leaving::Caller, call, Place::Winner))
            .and_then(Result::ok);
        match handover {
            Some(handover) => self.hand_over(now, handover),
            None => self.run(now, by, CallInput::NothingThere),
        }
    }

    /// An INVITE with Replaces.
    pub(super) fn replace(&mut self, now: Now, by: u64, replaces: &Replaces) {
        match self.judge_replaces(by, replaces) {
            Ok(handover) => self.hand_over(now, handover),
            Err((status, why)) => {
                if let Some(call) = self.calls.get_mut(&by) {
                    call.refuse_to_replace(&mut self.site, now, status, why);
                }
                self.run(now, by, CallInput::Timeout);
            }
        }
    }

    /// RFC 3891 §3, and who may.
    fn judge_replaces(
        &self,
        by: u64,
        replaces: &Replaces,
    ) -> Result<Handover, (u16, &'static str)> {
        let none = (481, "there is no such dialog");
        let (number, found) = self.find_dialog(replaces).ok_or(none)?;
        let place = match found {
            Found::Gone => return Err((603, "the dialog is over")),
            Found::Confirmed(_) if replaces.early_only => {
                return Err((486, "the call is answered already"));
            }
            found => found.place().ok_or(none)?,
        };
        let asks = &self.calls.get(&by).ok_or(none)?.origin;
        if !self.may_replace(asks, number, found) {
            return Err((403, "not by this device"));
        }
        self.handover(by, Leaving::Caller, number, place)
    }

    fn find_dialog(&self, replaces: &Replaces) -> Option<(u64, Found)> {
        replaces.tags().into_iter().find_map(|(ours, theirs)| {
            let (number, index) = parse_tag(ours)?;
            let (number, index) = self.moved.place(number, index);
            let call = self.calls.get(&number)?;
            let found = call.dialog(index, &replaces.call_id, ours, theirs)?;
            Some((number, found))
        })
    }

    /// Whoever shares the person, unit or desk of the device whose dialog it is; and of one that rings, whom the plan
    /// lets pick it up.
    fn may_replace(&self, asks: &Party, number: u64, found: Found) -> bool {
        let (Found::Confirmed(index) | Found::Early(index)) = found else {
            return false;
        };
        let Some(call) = self.calls.get(&number) else {
            return false;
        };
        let Some(whose) = call.party(index) else {
            return false;
        };
        if asks.door.is_some() || whose.door.is_some() {
            return false;
        }
        let site = &self.site;
        let owner = |device: &str| site.directory.device(device).map(|device| &device.owner);
        let same_owner = match (owner(&asks.device), owner(&whose.device)) {
            (Some(Owner::Door(_)), _) | (None, _) => false,
            (mine, theirs) => mine == theirs,
        };
        let mut desks = site.plan.desks_of_device(&asks.device);
        let same_desk = desks.any(|desk| {
            let mut theirs = site.plan.desks_of_device(&whose.device);
            theirs.any(|other| other == desk)
        });
        let by_plan = || {
            let caller = crate::site::Site::caller(asks);
            let door = call.caller.party.door.as_deref();
            let rung = [whose.device.as_str()];
            site.plan.may_pick_up(&site.directory, &caller, door, &rung)
        };
        same_owner || same_desk || matches!(found, Found::Early(_)) && by_plan()
    }

    /// REFER with Replaces: the other sides of the two calls are joined, and who transfers leaves both.
    pub(super) fn attend(&mut self, now: Now, attend: Attend) {
        let Attend {
            by,
            referred,
            replaces,
        } = attend;
        match self.judge_attended(by, referred, &replaces) {
            Ok(Attended::Join(handover)) => {
                if let Some(call) = self.calls.get_mut(&by) {
                    call.accept_refer(&mut self.site, now, referred);
                    call.notify_attended(&mut self.site, now, referred);
                }
                self.hand_over(now, handover);
            }
            // Not answered yet: the call is passed on as if its number had been given.
            Ok(Attended::Dial(number, dial)) => {
                self.run(now, number, CallInput::End(EndReason::CallerCancelled));
                if let Some(call) = self.calls.get_mut(&by) {
                    call.transfer_to(&mut self.site, now, referred, &dial);
                }
                self.run(now, by, CallInput::Timeout);
            }
            Err((status, why)) => {
                if let Some(call) = self.calls.get_mut(&by) {
                    call.refuse_refer(&mut self.site, now, referred, status, why);
                }
            }
        }
    }

    fn judge_attended(
        &self,
        by: u64,
        referred: Referred,
        replaces: &Replaces,
    ) -> Result<Attended, (u16, &'static str)> {
        let none = (481, "there is no such dialog");
        let (number, found) = self.find_dialog(replaces).ok_or(none)?;
        let (call, other) = (self.calls.get(&by), self.calls.get(&number));
        let (call, other) = call.zip(other).ok_or(none)?;
        let mine = &call.peek(referred.index).ok_or(none)?.party;
        match found {
            Found::Confirmed(index) if other.party(index) == Some(mine) => {
                if !other.is_talking() {
                    return Err((491, "it is being answered"));
                }
                if call.driving.is_some() || other.driving.is_some() {
                    return Err((491, "a door is being opened"));
                }
                let far = |call: &crate::call::Call, index| {
                    let mut legs = call.established();
                    let far = legs.find(|leg| leg.index != index);
                    far.is_some_and(|leg| leg.party.door.is_some())
                };
                if far(call, referred.index) && far(other, index) {
                    return Err((603, "two doors have nothing to say to each other"));
                }
                let (leaving, place) = (Leaving::FarFrom(index), Place::Leg(referred.index));
                self.handover(number, leaving, by, place)
                    .map(Attended::Join)
            }
            Found::Waiting if other.caller.party == *mine && !other.is_established() => {
                Ok(Attended::Dial(number, other.dial.clone()))
            }
            Found::Gone => Err((603, "the dialog is over")),
            _ => Err((403, "the dialog is somebody else's")),
        }
    }
}

/// What an attended transfer comes to.
enum Attended {
    Join(Handover),
    /// The call of that number still rings; what it dialled.
    Dial(u64, String),
}
