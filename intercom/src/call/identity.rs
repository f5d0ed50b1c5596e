//! Who a call is from, as the called side is told: set by us, never copied. `P-Asserted-Identity` goes to peers we trust
//! (RFC 3325), and a person's wish for privacy (RFC 3323) is kept towards everybody else.

use dialplan::Owner;
use sip_proxy::{HeaderName, Message};

use super::call::Call;
use super::leg::Leg;
use crate::site::{Site, Target};

/// The From of a call whose caller wishes privacy (RFC 3323 §4.1.1.3).
const ANONYMOUS: &str = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";

/// From and To without tags, and the headers that belong to them.
pub(crate) struct Identity {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) headers: Vec<(HeaderName, String)>,
}

/// Whether a request asks that its caller stay unknown (RFC 3323 §4.2, RFC 3325 §9.3). What else `Privacy` may ask for,
/// `header` and `session`, a B2BUA does in any case.
pub(crate) fn wishes_privacy(request: &Message) -> bool {
    let values = request.headers(&HeaderName::Privacy);
    let mut wishes = values.flat_map(|value| value.split([';', ',']));
    wishes.any(|wish| {
        let wish = wish.trim();
        ["id", "user", "header"]
            .iter()
            .any(|word| wish.eq_ignore_ascii_case(word))
    })
}

impl Call {
    /// What `leg` is told of the caller.
    pub(crate) fn identity(&self, site: &Site, leg: &Leg, target: &Target) -> Identity {
        let domain = site.config.domain();
        let caller = &self.caller.party;
        let name = quoted(&self.caller_name(site));
        // Who is rung must know at which door somebody stands.
        let private = self.caller.flags.private && caller.door.is_none();
        let mut headers = Vec::new();
        // A trunk knows neither our accounts nor our domain: there we are who its contract says.
        let (identity, to) = match site.trunk(&leg.party.user) {
            Some(trunk) => {
                let identity = trunk.identity();
                let asserted = format!("<{identity}>");
                headers.push((HeaderName::PAssertedIdentity, asserted));
                (identity, format!("<{}>", target.uri))
            }
            None => {
                let identity = format!("sip:{}@{domain}", caller.user);
                let trusted = &site.config.trusted;
                if trusted.iter().any(|peer| peer.account == leg.party.user) {
                    let asserted = format!("\"{name}\" <{identity}>");
                    headers.push((HeaderName::PAssertedIdentity, asserted));
                }
                (identity, format!("<sip:{}@{domain}>", leg.party.user))
            }
        };
        if private {
            // Whoever is told by P-Asserted-Identity is told to keep it.
            headers.push((HeaderName::Privacy, "id".to_owned()));
        }
        let from = if private {
            ANONYMOUS.to_owned()
        } else {
            format!("\"{name}\" <{identity}>")
        };
        if let Some(door) = &caller.door {
            let ring = leg.profile.door_call.iter();
            headers.extend(ring.map(|(name, value)| (HeaderName::from_token(name), value.clone())));
            if let Some(picture) = site.config.pictures.get(door) {
                // RFC 3261 §20.9.
                let value = format!("<{picture}>;purpose=icon");
                headers.push((HeaderName::CallInfo, value));
            }
        }
        Identity { from, to, headers }
    }

    /// The name to show: the door's, the unit's, else the device's.
    fn caller_name(&self, site: &Site) -> String {
        let caller = &self.caller.party;
        if let Some(door) = &caller.door {
            return door.clone();
        }
        let directory = &site.directory;
        let device = directory.device(&caller.device);
        let unit = device.and_then(|device| match &device.owner {
            Owner::Unit(unit) => Some(unit.clone()),
            Owner::Person(person) => directory.person(person)?.unit.clone(),
            Owner::Door(_) | Owner::Desk(_) => None,
        });
        unit.unwrap_or_else(|| caller.device.clone())
    }
}

/// A display name for a quoted string (RFC 3261 §25.1).
fn quoted(name: &str) -> String {
    name.chars()
        .filter(|c| !c.is_control() && *c != '"' && *c != '\\')
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_display_name_cannot_leave_its_quotes() {
        assert_eq!(super::quoted("a\"b\\c\r\nd"), "abcd");
    }
}
