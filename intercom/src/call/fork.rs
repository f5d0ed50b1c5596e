//! A ring step: its members, parallel, serial or in waves; the step fails only when no member can still answer.

use std::time::Instant;

use dialplan::{Member, MemberRule, Ring, RingOutcome, Target};

use super::branch::{ELSEWHERE, GIVEN_UP};
use super::call::{Call, Phase};
use super::flows::Deferred;
use crate::Now;
use crate::site::Site;
use crate::story::Line;

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberState {
    /// Rings later: at the time named, or (serial) when those before it are through.
    Waiting { at: Option<Instant> },
    /// Has branches; gives up at the time named.
    Ringing { until: Option<Instant> },
    /// Through.
    Done(RingOutcome),
}

/// A ring step under way.
#[derive(Debug)]
pub(crate) struct Fork {
    pub(crate) step: u32,
    pub(crate) ring: Ring,
    pub(crate) ends: Instant,
    pub(crate) members: Vec<MemberState>,
    /// Best outcome so far of each member's ended branches.
    pub(crate) worst: Vec<Option<RingOutcome>>,
    /// Contacts invited in this step, by instance where the device has one; a device that registers anew is not invited
    /// twice. Bounded by `max_branches`.
    pub(crate) invited: Vec<String>,
    /// Devices without a contact that may join late: their member and name. Bounded by the step's members.
    pub(crate) waiting: Vec<(usize, String)>,
    /// Contacts that wait behind better ones.
    pub(crate) deferred: Deferred,
}

impl Fork {
    /// A step that begins now.
    pub(crate) fn new(step: u32, ring: Ring, now: Instant) -> Self {
        let members = ring
            .members
            .iter()
            .enumerate()
            .map(|(index, member)| MemberState::Waiting {
                at: (!ring.serial || index == 0).then(|| now + member.after),
            })
            .collect();
        Fork {
            step,
            ends: now + ring.for_,
            worst: vec![None; ring.members.len()],
            ring,
            members,
            invited: Vec::new(),
            waiting: Vec::new(),
            deferred: Deferred::default(),
        }
    }

    /// The next member, branch or step deadline.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let members = self.members.iter().filter_map(|member| match member {
            MemberState::Waiting { at } => *at,
            MemberState::Ringing { until } => *until,
            MemberState::Done(_) => None,
        });
        members.chain([self.ends]).min()
    }

    /// What the step comes to when it ends now: the first of the plan's list that any member had.
    pub(crate) fn outcome(&self) -> RingOutcome {
        self.members
            .iter()
            .filter_map(|member| match member {
                MemberState::Done(outcome) => Some(*outcome),
                MemberState::Waiting { .. } | MemberState::Ringing { .. } => None,
            })
            .chain(self.ring.dropped.iter().map(|(_, outcome)| *outcome))
            .min()
            .unwrap_or(RingOutcome::Unreachable)
    }

    /// Whether a member rings now.
    pub(crate) fn rings(&self, member: usize) -> bool {
        matches!(self.members.get(member), Some(MemberState::Ringing { .. }))
    }

    fn is_through(&self) -> bool {
        self.members
            .iter()
            .all(|member| matches!(member, MemberState::Done(_)))
    }
}

/// What is due in a fork.
enum Due {
    Start(usize),
    GiveUp(usize),
    Over,
}

impl Call {
    fn fork(&mut self) -> Option<&mut Fork> {
        match &mut self.phase {
            Phase::Ringing(fork) => Some(fork),
            _ => None,
        }
    }

    /// Starts members whose time has come, ends those whose time is up, and the step when nobody is left.
    pub(crate) fn fork_timers(&mut self, site: &mut Site, now: Now) {
        // Each round changes a member's state for good, or ends the step.
        while let Some(due) = self.fork_due(now.mono) {
            match due {
                Due::Start(member) => self.start_member(site, now, member),
                Due::GiveUp(member) => self.give_up(site, now, member),
                Due::Over => {
                    self.step_over(site, now, None);
                    return;
                }
            }
        }
    }

    fn fork_due(&mut self, now: Instant) -> Option<Due> {
        let fork = self.fork()?;
        if fork.ends <= now || fork.is_through() {
            return Some(Due::Over);
        }
        // Serial: who rings holds up the start of the next, and nothing else: one before it may have joined late.
        let mut busy = false;
        for (index, member) in fork.members.iter().enumerate() {
            match member {
                MemberState::Waiting { at: Some(at) } if *at <= now => {
                    return Some(Due::Start(index));
                }
                MemberState::Ringing { until: Some(until) } if *until <= now => {
                    return Some(Due::GiveUp(index));
                }
                MemberState::Waiting { at: None } if !busy => return Some(Due::Start(index)),
                MemberState::Waiting { .. } | MemberState::Ringing { .. } => busy = true,
                MemberState::Done(_) => {}
            }
        }
        None
    }

    fn start_member(&mut self, site: &mut Site, now: Now, index: usize) {
        let Some(fork) = self.fork() else { return };
        let serial = fork.ring.serial;
        let ends = fork.ends;
        let waiting = fork
            .members
            .iter()
            .filter(|member| matches!(member, MemberState::Waiting { .. }))
            .count();
        let Some(member) = fork.ring.members.get(index).cloned() else {
            return;
        };
        // Serial members without a time of their own share what is left of the step.
        let share = (serial && waiting > 1).then(|| {
            ends.saturating_duration_since(now.mono) / u32::try_from(waiting).unwrap_or(u32::MAX)
        });
        let until = member.for_.or(share).map(|length| now.mono + length);
        if let Some(state) = fork.members.get_mut(index) {
            *state = MemberState::Ringing { until };
        }
        let rung = self.ring_member(site, now, index, &member);
        if rung == 0 {
            self.note(
                now,
                Line::Call(format!("{}: cannot be reached", member.name)),
            );
            let outcome = self.worst(index).unwrap_or(RingOutcome::Unreachable);
            self.member_done(index, outcome);
            self.member_rule(site, now, index, outcome);
        }
    }

    /// Invites every contact of a member that this step has not invited yet; returns how many.
    fn ring_member(&mut self, site: &mut Site, now: Now, index: usize, member: &Member) -> usize {
        let devices = match &member.target {
            Target::Device(device) => vec![device.clone()],
            Target::Door(door) => site.door_devices(door),
            Target::Number { number, via } => {
                return self.ring_number(site, now, index, number, via);
            }
        };
        let mut rung = 0;
        for device in devices {
            if device == self.caller.party.device {
                self.note(now, Line::Call(format!("{device}: is the caller")));
                continue;
            }
            if self.is_busy(site, &device) {
                self.note(
                    now,
                    Line::Call(format!("{device}: busy, takes no second call")),
                );
                if let Some(worst) = self.fork().and_then(|fork| fork.worst.get_mut(index)) {
                    *worst = Some(RingOutcome::Busy);
                }
                continue;
            }
            let mut targets = site.targets(&device, now.mono);
            if let Some((of, key)) = &self.user_agent
                && *of == device
            {
                targets.retain(|target| target.key == *key);
            }
            let Some(fork) = self.fork() else { return rung };
            let entry = (index, device.clone());
            if targets.is_empty() && fork.ring.join_late && !fork.waiting.contains(&entry) {
                fork.waiting.push(entry);
            }
            let targets = fork.best_group(index, &device, targets);
            rung += self.invite_all(site, now, index, &device, targets);
        }
        rung
    }

    /// Invites these contacts of a device; returns how many.
    pub(crate) fn invite_all(
        &mut self,
        site: &mut Site,
        now: Now,
        index: usize,
        device: &str,
        targets: Vec<crate::site::Target>,
    ) -> usize {
        let user = site.accounts.user_of(device).map(str::to_owned);
        let Some(party) = user.and_then(|user| site.party(&user)) else {
            return 0;
        };
        let mut rung = 0;
        for target in targets {
            let Some(fork) = self.fork() else { return rung };
            if fork.invited.len() >= site.config.limits.max_branches {
                self.note(
                    now,
                    Line::Call(format!("{device}: too many branches, left out")),
                );
                continue;
            }
            fork.invited.push(target.key.clone());
            if self.invite(site, now, index, party.clone(), &target) {
                rung += 1;
            }
        }
        rung
    }

    /// A member's time is up.
    fn give_up(&mut self, site: &mut Site, now: Now, index: usize) {
        let Some(step) = self.fork().map(|fork| fork.step) else {
            return;
        };
        let mut rang = false;
        for at in 0..self.branches.len() {
            let Some(branch) = self.branches.get(at) else {
                break;
            };
            if branch.step == step && branch.member == index {
                rang |= branch.rang();
                self.cancel_branch(site, now, at, GIVEN_UP);
            }
        }
        let outcome = if rang {
            RingOutcome::NoAnswer
        } else {
            RingOutcome::Unreachable
        };
        let outcome = self
            .worst(index)
            .map_or(outcome, |worst| worst.min(outcome));
        self.member_done(index, outcome);
        self.member_rule(site, now, index, outcome);
    }

    fn worst(&mut self, index: usize) -> Option<RingOutcome> {
        self.fork()?.worst.get(index).copied().flatten()
    }

    fn member_done(&mut self, index: usize, outcome: RingOutcome) {
        if let Some(state) = self.fork().and_then(|fork| fork.members.get_mut(index)) {
            *state = MemberState::Done(outcome);
        }
    }

    /// `on "…" next` of a member ends the step with its outcome.
    fn member_rule(&mut self, site: &mut Site, now: Now, index: usize, outcome: RingOutcome) {
        let next = self
            .fork()
            .and_then(|fork| fork.ring.members.get(index))
            .is_some_and(|member| {
                member
                    .on
                    .iter()
                    .any(|(on, rule)| *on == outcome && *rule == MemberRule::Next)
            });
        if next {
            self.step_over(site, now, Some(outcome));
        }
    }

    /// A branch of `member` ended without an answer.
    pub(crate) fn member_lost(
        &mut self,
        site: &mut Site,
        now: Now,
        step: u32,
        index: usize,
        outcome: RingOutcome,
    ) {
        let alive = self
            .branches
            .iter()
            .any(|branch| branch.step == step && branch.member == index && branch.is_live());
        let Some(fork) = self.fork() else { return };
        if fork.step != step
            || !matches!(fork.members.get(index), Some(MemberState::Ringing { .. }))
        {
            return;
        }
        let Some(worst) = fork.worst.get_mut(index) else {
            return;
        };
        let outcome = worst.map_or(outcome, |before| before.min(outcome));
        *worst = Some(outcome);
        // RFC 3261 §16.6: contacts of lower q have their turn, unless a person said no.
        if alive || outcome != RingOutcome::Declined && self.next_group(site, now, index) {
            return;
        }
        self.member_done(index, outcome);
        self.member_rule(site, now, index, outcome);
    }

    /// A device registered: if the step lets it join late, its new contacts ring now.
    pub(crate) fn late_join(&mut self, site: &mut Site, now: Now, device: &str) {
        let Some(fork) = self.fork() else { return };
        if !fork.ring.join_late {
            return;
        }
        let joins = |index: usize| {
            let state = fork.members.get(index);
            matches!(
                state,
                Some(MemberState::Ringing { .. } | MemberState::Done(RingOutcome::Unreachable))
            )
        };
        let waits = |(_, waiting): &&(usize, String)| waiting == device;
        let waiting = fork.waiting.iter().find(waits).map(|(index, _)| *index);
        // A device that rings already may have come by one more contact.
        let another = || {
            let target = Target::Device(device.to_owned());
            let mut members = fork.ring.members.iter();
            members.position(|member| member.target == target)
        };
        let index = waiting.or_else(another).filter(|index| joins(*index));
        fork.waiting.retain(|(_, waiting)| waiting != device);
        let Some(index) = index else { return };
        let Some(member) = fork.ring.members.get(index).cloned() else {
            return;
        };
        let until = member.for_.map(|length| now.mono + length);
        if self.ring_member(site, now, index, &member) > 0 {
            self.note(now, Line::Call(format!("{device}: joins late")));
            if let Some(state) = self.fork().and_then(|fork| fork.members.get_mut(index))
                && matches!(state, MemberState::Done(_))
            {
                *state = MemberState::Ringing { until };
            }
        }
    }

    /// The step ends without an answer: everybody is cancelled and the plan says what comes next.
    pub(crate) fn step_over(&mut self, site: &mut Site, now: Now, outcome: Option<RingOutcome>) {
        let Some(fork) = self.fork() else { return };
        let step = fork.step;
        let mut rang: Vec<usize> = Vec::new();
        for at in 0..self.branches.len() {
            let Some(branch) = self.branches.get(at) else {
                break;
            };
            if branch.step != step {
                continue;
            }
            if branch.rang() {
                rang.push(branch.member);
            }
            self.cancel_branch(site, now, at, GIVEN_UP);
        }
        let Some(fork) = self.fork() else { return };
        for (index, state) in fork.members.iter_mut().enumerate() {
            if matches!(state, MemberState::Ringing { .. }) {
                let now = if rang.contains(&index) {
                    RingOutcome::NoAnswer
                } else {
                    RingOutcome::Unreachable
                };
                let before = fork.worst.get(index).copied().flatten();
                *state = MemberState::Done(before.map_or(now, |before| before.min(now)));
            }
        }
        let outcome = outcome.unwrap_or_else(|| fork.outcome());
        self.next_step(site, now, outcome);
    }

    /// All branches but the winner's are told that somebody else took the call.
    pub(crate) fn cancel_losers(&mut self, site: &mut Site, now: Now) {
        self.cancel_branches(site, now, ELSEWHERE);
    }
}
