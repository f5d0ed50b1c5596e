//! What the shell asks before it refuses a message for overload. Nobody has been authenticated then: the answers decide
//! who is refused first, and grant nothing.

use std::net::IpAddr;

use super::B2bua;
use crate::Now;
use crate::call::parse_tag;

impl B2bua {
    /// Whether a To tag is of a call that is held.
    #[must_use]
    pub fn knows_dialog(&self, to_tag: &str) -> bool {
        parse_tag(to_tag).is_some_and(|(number, _)| self.calls.contains_key(&number))
    }

    /// Whether a call is likely a door's, or one that the plan sends by a route for lifts or emergencies. `from` is what
    /// its From says: from an address where somebody is registered that is mostly true.
    #[must_use]
    pub fn likely_precedes(&self, now: Now, source: IpAddr, from: &str, dial: &str) -> bool {
        let user = self.site.config.trusted_account(source).unwrap_or(from);
        self.site
            .party(user)
            .is_some_and(|party| party.door.is_some() || self.takes_precedence(now, &party, dial))
    }
}
