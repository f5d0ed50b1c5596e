//! Call waiting: a phone that is in a call is rung all the same, unless its profile or its desk says not to.

use super::call::Call;
use crate::site::Site;

impl Call {
    /// Whether a device is in a call already and takes no second one.
    pub(crate) fn is_busy(&self, site: &Site, device: &str) -> bool {
        if !site.engaged.contains_key(device) {
            return false;
        }
        let user = site.accounts.user_of(device);
        let by_profile = user.is_some_and(|user| !site.profile(user).call_waiting);
        let mut desks = self.plan.desks();
        by_profile
            || desks.any(|desk| !desk.call_waiting && desk.devices.iter().any(|id| id == device))
    }

    /// Keeps the count of engaged devices: those that called, talk, or wait for a transfer.
    pub(crate) fn count_engaged(&mut self, site: &mut Site) {
        let ended = self.is_ended();
        let legs = || {
            let here = self.established().filter(|leg| !ended && !leg.flags.over);
            here.map(|leg| leg.party.device.as_str())
        };
        if legs().eq(self.engaged.iter().map(String::as_str)) {
            return;
        }
        let now: Vec<String> = legs().map(str::to_owned).collect();
        for device in &now {
            *site.engaged.entry(device.clone()).or_default() += 1;
        }
        for device in std::mem::replace(&mut self.engaged, now) {
            if let Some(count) = site.engaged.get_mut(&device) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    site.engaged.remove(&device);
                }
            }
        }
    }

    /// Whether the ring step has invited this user agent.
    pub(crate) fn is_invited(&self, key: &str) -> bool {
        match &self.phase {
            super::call::Phase::Ringing(fork) => fork.invited.iter().any(|invited| invited == key),
            _ => false,
        }
    }
}
