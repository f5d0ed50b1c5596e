//! The whole house but its shell, under a virtual clock: doors and phones made of real transaction layers, a bad
//! network, and the invariants that hold whatever happens.

mod building;
mod calls;
mod races;
mod refusals;
mod talks;
mod unlocks;
