//! Trunks registered, numbers canonical, spending bounded, dial-in.
//!
//! What it deliberately does not do: routing (that is the plan's), SIP transactions (`sip-proxy`), media.
//!
//! ```text
//!   "0420 222 000 111"  "tel:+420222000111"  "00420222000111"
//!                 \             |               /
//!                  +--> Number "+420222000111" <-- one form, compared and logged masked
//! ```
//!
//! A call to a number goes down its chain of trunks:
//!
//! ```text
//!   Chain ─▶ Locate(trunk) ─▶ located(candidates) ─▶ Try(candidate) ─┬▶ answered, or refused by the number itself
//!     ▲                                                              └▶ silent, 408, 5xx, no network: the next one
//!     └──────────────────── candidates used up: the next trunk ◀─────────┘
//! ```
//!
//! Trunks that register, budgets and dial-in are not here yet.
#![forbid(unsafe_code)]

mod chain;
mod number;
mod trunk;

pub use chain::{Chain, Failed, Move};
pub use number::{Number, NumberError, NumberPlan};
pub use trunk::{Login, NumberForm, Secret, Trunk, TrunkError};
