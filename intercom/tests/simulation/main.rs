//! The whole house but its shell, under a virtual clock: doors and phones made of real transaction layers, a bad
//! network, and the invariants that hold whatever happens.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests, their scaffolding included"
)]

mod blf;
mod bridged;
mod building;
mod buzzes;
mod calls;
mod confirm;
mod digits;
mod early;
mod flows;
mod forks;
mod identity;
mod inspection;
mod ladders;
mod messages;
mod overloads;
mod parking;
mod pickups;
mod proxying;
mod qualify;
mod races;
mod redirects;
mod refusals;
mod registrations;
mod renewals;
mod session_timers;
mod subscriptions;
mod talks;
mod transfers;
mod trunks;
mod unlocks;
mod watchdogs;
