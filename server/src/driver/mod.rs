//! Relay drivers: how a station is told to open. `dtmf` and `action-buzz` speak inside the call and live in
//! `intercom`; here is what needs a connection of its own.

pub(crate) mod http;
pub(crate) mod pin;
