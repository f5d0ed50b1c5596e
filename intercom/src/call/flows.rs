//! Several ways to one device: flows of one user agent, tried one after the other (RFC 5626 §5.3), and contacts of lower
//! q, rung when those of higher q have failed (RFC 3261 §16.6).

use sip_proxy::Flow;

use super::branch::BranchState;
use super::call::{Call, Phase};
use super::fork::Fork;
use crate::Now;
use crate::site::{Site, Target};
use crate::story::Line;

/// The contacts of a device that wait for their turn.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    /// Member, device and user agent. Bounded by the contacts an account may have, and the members of a step.
    waiting: Vec<(usize, String, String)>,
}

impl Fork {
    /// Of a device's contacts not yet invited, those of the best q; the others wait until these have failed.
    pub(crate) fn best_group(
        &mut self,
        member: usize,
        device: &str,
        mut targets: Vec<Target>,
    ) -> Vec<Target> {
        targets.retain(|target| !self.invited.contains(&target.key));
        let Some(best) = targets.iter().map(|target| target.q).max() else {
            return targets;
        };
        let waiting = &mut self.deferred.waiting;
        waiting.retain(|(_, one, _)| one != device);
        targets.retain(|target| {
            if target.q < best {
                waiting.push((member, device.to_owned(), target.key.clone()));
            }
            target.q == best
        });
        targets
    }
}

impl Call {
    /// Tries the next flow to the device of branch `at`, whose own has failed: 430, or nothing came by it. `false` when
    /// there is none, or the device was reached already.
    pub(crate) fn next_flow(&mut self, site: &mut Site, now: Now, at: usize) -> bool {
        if !matches!(self.phase, Phase::Ringing(_)) {
            return false;
        }
        let Some(branch) = self.branches.get(at) else {
            return false;
        };
        if !matches!(branch.state, BranchState::Invited) {
            return false;
        }
        let mut tried: Vec<Flow> = branch.tried.clone();
        tried.push(branch.leg.flow);
        let party = branch.leg.party.clone();
        let (member, step) = (branch.member, branch.step);
        let next = site.next_flow(&party.device, &branch.key, &tried, now.mono);
        let Some(target) = next else { return false };
        self.note(
            now,
            Line::Call(format!("{}: flow failed, trying the next", party.device)),
        );
        if !self.invite(site, now, member, party, &target) {
            return false;
        }
        if let Some(fresh) = self.branches.last_mut() {
            fresh.tried = tried;
            fresh.step = step;
        }
        let mut failed = self.branches.swap_remove(at);
        failed.leg.close_media(site);
        true
    }

    /// Rings those contacts of a member that waited behind better ones, all of which have failed; `false` when none did.
    pub(crate) fn next_group(&mut self, site: &mut Site, now: Now, member: usize) -> bool {
        let Phase::Ringing(fork) = &mut self.phase else {
            return false;
        };
        let mut group: Vec<(String, String)> = Vec::new();
        fork.deferred.waiting.retain(|(of, device, key)| {
            if *of == member {
                group.push((device.clone(), key.clone()));
            }
            *of != member
        });
        let mut rung = false;
        let devices: std::collections::BTreeSet<&String> =
            group.iter().map(|(device, _)| device).collect();
        for device in devices {
            let mut targets = site.targets(device, now.mono);
            targets.retain(|target| {
                group
                    .iter()
                    .any(|(of, key)| of == device && *key == target.key)
            });
            let Phase::Ringing(fork) = &mut self.phase else {
                return rung;
            };
            let targets = fork.best_group(member, device, targets);
            rung |= self.invite_all(site, now, member, device, targets) > 0;
        }
        rung
    }
}
