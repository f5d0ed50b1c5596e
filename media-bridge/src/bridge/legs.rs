//! The legs of one bridge: a slab, and the way from a leg's name to its slot.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::leg::Leg;
use crate::leg::LegId;

/// Leg numbers are our own, so nobody can choose colliding ones: one multiplication spreads them.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &octet in bytes {
            self.write_u64(u64::from(octet));
        }
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(26);
    }
}

/// Open legs. At most `max` are; an `Open` beyond it is refused.
#[derive(Debug)]
pub(super) struct Legs {
    slots: Vec<Option<Box<Leg>>>,
    free: Vec<u32>,
    by_id: HashMap<LegId, u32, BuildHasherDefault<Spread>>,
    max: usize,
}

impl Legs {
    pub(super) fn new(max: usize) -> Self {
        let max = max.min(u32::MAX as usize / 2);
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_id: HashMap::default(),
            max,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    #[inline]
    pub(super) fn index(&self, id: LegId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&Leg> {
        self.slots.get(index as usize)?.as_deref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Leg> {
        self.slots.get_mut(index as usize)?.as_deref_mut()
    }

    /// A leg and its partner.
    #[inline]
    pub(super) fn with_partner(&mut self, index: u32) -> Option<(&mut Leg, &mut Leg)> {
        let partner = self.get(index)?.partner?;
        let [one, other] = self
            .slots
            .get_disjoint_mut([index as usize, partner as usize])
            .ok()?;
        Some((one.as_deref_mut()?, other.as_deref_mut()?))
    }

    /// The slot of a new leg; `None` when full.
    pub(super) fn insert(&mut self, leg: Leg) -> Option<u32> {
        if self.len() >= self.max {
            return None;
        }
        let id = leg.id;
        let index = if let Some(index) = self.free.pop() {
            index
        } else {
            let index = u32::try_from(self.slots.len()).ok()?;
            self.slots.push(None);
            index
        };
        *self.slots.get_mut(index as usize)? = Some(Box::new(leg));
        self.by_id.insert(id, index);
        Some(index)
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<Box<Leg>> {
        let leg = self.slots.get_mut(index as usize)?.take()?;
        self.by_id.remove(&leg.id);
        self.free.push(index);
        Some(leg)
    }
}
