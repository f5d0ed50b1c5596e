//! The completed non-INVITE server transactions that may go before timer J, oldest first.
//!
//! They only wait for repetitions. Under a registration storm 32 s of them would fill the table of transactions, and the
//! next visitor's INVITE would find no room for the sake of requests that are long answered.

use std::collections::VecDeque;

use super::slab::Slot;

/// Slots in the order of their completion; timer J is one constant, so the dead are in front. Bounded by the `max` of
/// [`Self::push`]: over it the oldest goes.
#[derive(Debug, Default)]
pub(super) struct Completed {
    queue: VecDeque<Slot>,
}

impl Completed {
    /// Notes a slot. Gives back the one that must go for it when more than `max` are held.
    pub(super) fn push(
        &mut self,
        slot: Slot,
        max: usize,
        lives: impl Fn(Slot) -> bool,
    ) -> Option<Slot> {
        while self.queue.front().is_some_and(|first| !lives(*first)) {
            self.queue.pop_front();
        }
        self.queue.push_back(slot);
        if self.queue.len() <= max {
            return None;
        }
        self.queue.pop_front()
    }

    /// The oldest that still lives.
    pub(super) fn pop(&mut self, lives: impl Fn(Slot) -> bool) -> Option<Slot> {
        std::iter::from_fn(|| self.queue.pop_front()).find(|slot| lives(*slot))
    }

    /// Slots held, the dead among them included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(place: u32) -> Slot {
        Slot {
            place,
            generation: 0,
        }
    }

    #[test]
    fn over_the_bound_the_oldest_goes() {
        let mut completed = Completed::default();
        assert_eq!(completed.push(slot(1), 2, |_| true), None);
        assert_eq!(completed.push(slot(2), 2, |_| true), None);
        assert_eq!(completed.push(slot(3), 2, |_| true), Some(slot(1)));
        assert_eq!(completed.pop(|_| true), Some(slot(2)));
    }

    #[test]
    fn the_dead_are_passed_over() {
        let mut completed = Completed::default();
        for place in 1..=3 {
            completed.push(slot(place), 8, |_| true);
        }
        assert_eq!(completed.pop(|slot| slot.place != 1), Some(slot(2)));
        completed.push(slot(4), 8, |slot| slot.place != 3);
        assert_eq!(completed.len(), 1);
    }

    #[test]
    fn without_room_the_newest_itself_goes() {
        assert_eq!(
            Completed::default().push(slot(1), 0, |_| true),
            Some(slot(1))
        );
    }
}
