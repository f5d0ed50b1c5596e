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
//! This version has the numbers; trunks and dial-in build on them.
#![forbid(unsafe_code)]

mod number;

pub use number::{Number, NumberError, NumberPlan};
