//! A call: one caller, the branches that ring for it, and at most one that wins.
//!
//! ```text
//!   call.rs    the machine: what comes in, by phase
//!     route.rs    plan steps → rings and ends
//!     fork.rs     members and branches of a ring step, timers, first answer wins
//!     branch.rs   one INVITE to one contact
//!     early.rs    its early dialogs: 18x, PRACK, UPDATE
//!     confirm.rs  answered privately, wins by a digit
//!     opening.rs  the caller's early dialog: 180, 183, ringback, PRACK
//!     trunk.rs    a number through its chain of trunks
//!     answer.rs   the winner, the 200 to the caller, media joined
//!     talk.rs     the established call: re-INVITE, hold, INFO, digits
//!     refresh.rs  session timers
//!     driving.rs a code sent to the station on the door's leg
//!     finish.rs   BYE, CANCEL, CDR
//!   watched.rs  what watchers of its devices see
//!   leg.rs     a dialog and its media;  offer.rs  what an INVITE of ours says;  identity.rs  whom it is from
//! ```

mod answer;
mod branch;
#[allow(
    clippy::module_inception,
    reason = "the file of the call machine is named after it"
)]
mod call;
mod confirm;
mod driving;
mod early;
mod finish;
mod flows;
mod fork;
mod identity;
mod leg;
mod legs;
mod offer;
mod opening;
mod park;
mod reason;
mod redirect;
mod refer;
mod refresh;
mod replaces;
mod route;
mod seat;
mod talk;
mod transfer;
mod trunk;
mod waiting;
mod watchdog;
mod watched;

use media_bridge::LegId;
use sip_proxy::endpoint::ClientTx;

pub(crate) use call::{Arrival, Call, CallInput, is_sdp, summary};
pub(crate) use leg::Party;
pub(crate) use offer::{ALLOW, SUPPORTED};
pub(crate) use reason::Cause;
pub(crate) use redirect::Diverted;
pub(crate) use refer::{Attend, Referred};
pub(crate) use replaces::{Found, Replaces};
pub(crate) use route::unsupported_options;
pub(crate) use seat::Place;
pub(crate) use watched::Watched;

/// Legs of one call are numbered within this many bits of a [`LegId`].
const LEG_BITS: u32 = 12;
/// Client transactions of one call are numbered within this many bits of a [`ClientTx`].
const TX_BITS: u32 = crate::transactions::CALL_SERIAL_BITS;

/// A leg's id: the call's number and the leg's place in it.
pub(crate) fn leg_id(call: u64, index: u16) -> LegId {
    LegId((call << LEG_BITS) | u64::from(index))
}

/// The call a leg belongs to, and its place in it.
pub(crate) fn leg_of(id: LegId) -> (u64, u16) {
    (id.0 >> LEG_BITS, (id.0 & ((1 << LEG_BITS) - 1)) as u16)
}

/// A client transaction of a call.
pub(crate) fn client_tx(call: u64, serial: u32) -> ClientTx {
    crate::transactions::of_call(call, serial)
}

/// Branches beyond this in one call (retries included) are not rung.
pub(crate) const MAX_LEGS: u16 = (1 << LEG_BITS) - 1;
/// Transactions beyond this in one call end it.
pub(crate) const MAX_TX: u32 = (1 << TX_BITS) - 1;

/// A tag of ours names its call and leg, so that a request in a dialog finds them without a table; the random part
/// keeps it from being guessed (RFC 3261 §19.3).
pub(crate) fn tag(call: u64, index: u16, random: u64) -> String {
    format!("{call:x}.{index:x}.{random:016x}")
}

/// Reads the call and leg from a tag of ours.
pub(crate) fn parse_tag(tag: &str) -> Option<(u64, u16)> {
    let mut parts = tag.split('.');
    let call = u64::from_str_radix(parts.next()?, 16).ok()?;
    let index = u16::from_str_radix(parts.next()?, 16).ok()?;
    parts.next()?;
    parts.next().is_none().then_some((call, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_name_their_leg_and_strangers_do_not_parse() {
        assert_eq!(parse_tag(&tag(0x1234, 5, 9)), Some((0x1234, 5)));
        for stranger in ["", "abc", "1.2", "1.2.3.4", "zz.1.0", "1.fffff.0"] {
            assert_eq!(parse_tag(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn ids_keep_call_and_leg_apart() {
        assert_eq!(leg_of(leg_id(77, 4095)), (77, 4095));
    }
}
