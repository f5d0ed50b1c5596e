//! Which devices are in which calls, and whose state changed: the index behind busy lamps.

use std::collections::{BTreeMap, BTreeSet};

use crate::call::Call;
use crate::event::dialog_info::DialogState;

/// A leg as it was last seen.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    index: u16,
    device: String,
    state: DialogState,
}

/// The index. Bounded by the calls there are.
#[derive(Debug, Default)]
pub(super) struct Lines {
    by_call: BTreeMap<u64, Vec<Seen>>,
    by_device: BTreeMap<String, BTreeSet<u64>>,
}

impl Lines {
    /// Looks at a call that ran (`None`: it is gone) and adds the devices that changed to `dirty`. Nothing is allocated
    /// when nothing did.
    pub(super) fn update(
        &mut self,
        number: u64,
        call: Option<&Call>,
        dirty: &mut BTreeSet<String>,
    ) {
        let old = self.by_call.get(&number).map_or(&[][..], Vec::as_slice);
        let legs = || call.into_iter().flat_map(Call::watched);
        let same = |seen: &Seen, leg: &crate::call::Watched<'_>| {
            seen.index == leg.leg.index
                && seen.state == leg.state
                && seen.device == leg.leg.party.device
        };
        let mut now = legs();
        let unchanged = old
            .iter()
            .all(|seen| now.next().is_some_and(|leg| same(seen, &leg)))
            && now.next().is_none();
        if unchanged {
            return;
        }
        let new: Vec<Seen> = legs()
            .map(|leg| Seen {
                index: leg.leg.index,
                device: leg.leg.party.device.clone(),
                state: leg.state,
            })
            .collect();
        let old = self.by_call.remove(&number).unwrap_or_default();
        for (one, other) in [(&old, &new), (&new, &old)] {
            let changed = one.iter().filter(|seen| !other.contains(seen));
            dirty.extend(changed.map(|seen| seen.device.clone()));
        }
        for seen in &old {
            if let Some(calls) = self.by_device.get_mut(&seen.device) {
                calls.remove(&number);
                if calls.is_empty() {
                    self.by_device.remove(&seen.device);
                }
            }
        }
        for seen in &new {
            self.by_device
                .entry(seen.device.clone())
                .or_default()
                .insert(number);
        }
        if !new.is_empty() {
            self.by_call.insert(number, new);
        }
    }

    /// The calls a device is in.
    pub(super) fn calls_of(&self, device: &str) -> impl Iterator<Item = u64> + '_ {
        self.by_device.get(device).into_iter().flatten().copied()
    }

    /// Whether a device is in an answered call.
    pub(super) fn talks(&self, device: &str) -> bool {
        self.calls_of(device).any(|number| {
            let legs = self.by_call.get(&number).into_iter().flatten();
            let mut mine = legs.filter(|seen| seen.device == device);
            mine.any(|seen| seen.state == DialogState::Confirmed)
        })
    }
}
