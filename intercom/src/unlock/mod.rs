//! The unlock pipeline: every way in is a [`Request`], every request takes the same road.
//!
//! ```text
//!  digit · Action: buzz · API · code          policy              disk               relay
//!        request ------------------> may_open? --grant--> Record ----> Recorded --> Drive --> outcome
//!                                        |deny              | late/failed            | next driver, then
//!                                        v                  v                        v
//!                                 Record, Done(403)   Done(500)             Record, Done(200|…)
//! ```
//!
//! What is deliberately absent: any path from [`Request`] to [`Drive`] that does not pass a granted record's commit, and
//! any state that survives a restart — a granted record without a result is reported as `unknown`, never driven again.

mod intent;
mod limit;
mod machine;
mod request;

#[cfg(test)]
mod tests;

pub use intent::IntentId;
pub use machine::{Config, Unlocks, World};
pub use request::{Done, Drive, Effect, Evidence, Outcome, Request};
