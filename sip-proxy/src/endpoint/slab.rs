//! Places for transactions: a place is reused, its number (place and generation together) is not.

/// Place and generation of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot {
    pub(super) place: u32,
    pub(super) generation: u32,
}

impl Slot {
    pub(super) fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.place)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves of the number"
    )]
    pub(super) fn from_number(number: u64) -> Self {
        Self {
            place: number as u32,
            generation: (number >> 32) as u32,
        }
    }
}

/// A vector with holes. Bounded by `capacity`: a full slab refuses, and its owner says what then happens.
#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    live: usize,
    capacity: usize,
}

impl<T> Slab<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            live: 0,
            capacity: capacity.min(u32::MAX as usize),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn is_full(&self) -> bool {
        self.live >= self.capacity
    }

    /// Stores what `make` builds for the slot it is given; `None` when full.
    pub(super) fn insert(&mut self, make: impl FnOnce(Slot) -> T) -> Option<Slot> {
        if self.is_full() {
            return None;
        }
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                let place = u32::try_from(self.entries.len()).ok()?;
                self.entries.push((0, None));
                place
            }
        };
        let (generation, entry) = self.entries.get_mut(place as usize)?;
        let slot = Slot {
            place,
            generation: *generation,
        };
        *entry = Some(make(slot));
        self.live += 1;
        Some(slot)
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&T> {
        let (generation, entry) = self.entries.get(slot.place as usize)?;
        entry.as_ref().filter(|_| *generation == slot.generation)
    }

    /// The entry now at a place, whatever its generation.
    pub(super) fn at(&self, place: u32) -> Option<(Slot, &T)> {
        let (generation, entry) = self.entries.get(place as usize)?;
        entry.as_ref().map(|entry| {
            (
                Slot {
                    place,
                    generation: *generation,
                },
                entry,
            )
        })
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let (generation, entry) = self.entries.get_mut(slot.place as usize)?;
        entry.as_mut().filter(|_| *generation == slot.generation)
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<T> {
        let (generation, entry) = self.entries.get_mut(slot.place as usize)?;
        if *generation != slot.generation {
            return None;
        }
        let taken = entry.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(slot.place);
        self.live -= 1;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_place_has_a_new_number() {
        let mut slab = Slab::new(2);
        let first = slab.insert(|_| 'a').expect("room");
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert(|_| 'b').expect("room");
        assert_eq!(first.place, second.place);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(Slot::from_number(second.number())), Some(&'b'));
    }

    #[test]
    fn a_full_slab_refuses() {
        let mut slab = Slab::new(1);
        assert!(slab.insert(|_| ()).is_some());
        assert!(slab.is_full());
        assert!(slab.insert(|_| ()).is_none());
        assert_eq!(slab.len(), 1);
    }
}
