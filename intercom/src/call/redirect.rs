//! A phone that answers 3xx wants the call elsewhere. It is followed within the plan only: each Contact counts as dialled
//! by that phone, and what the plan rings for it rings in its stead, with `Diversion` (RFC 5806) and `History-Info`
//! (RFC 7044) that say so.

use dialplan::{CallFacts, Step, Target};
use sip_proxy::message::NameAddr;
use sip_proxy::{HeaderName, Message, Uri};

use super::branch::BranchKind;
use super::call::Call;
use crate::Now;
use crate::site::Site;
use crate::story::Line;

/// A call is sent on so often; then it counts as declined.
const MOST: usize = 3;
/// Contacts of one answer that are looked at, best q first.
const CONTACTS: usize = 4;

/// The phones a branch was sent on by, the first one first. At most [`MOST`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Diverted {
    by: Vec<Hop>,
}

#[derive(Clone, Debug)]
struct Hop {
    /// Account.
    user: String,
    /// Its answer: 302 …
    status: u16,
}

impl Diverted {
    /// The headers of an INVITE to `user`.
    pub(crate) fn headers(&self, site: &Site, user: &str) -> Vec<(HeaderName, String)> {
        let mut headers = Vec::new();
        // The latest diversion stands on top (RFC 5806 §5.1).
        for hop in self.by.iter().rev() {
            let reason = match hop.status {
                301 | 302 => "deflection",
                _ => "unknown",
            };
            let value = format!("<{}>;reason={reason};counter=1", site.aor(&hop.user));
            headers.push((HeaderName::Diversion, value));
        }
        let mut index = "1".to_owned();
        for (at, hop) in self.by.iter().enumerate() {
            let mapped = history_mark(at);
            let (aor, status) = (site.aor(&hop.user), hop.status);
            let value = format!("<{aor}?Reason=SIP%3Bcause%3D{status}>;index={index}{mapped}");
            headers.push((HeaderName::HistoryInfo, value));
            index.push_str(".1");
        }
        let mapped = history_mark(self.by.len());
        let value = format!("<{}>;index={index}{mapped}", site.aor(user));
        headers.push((HeaderName::HistoryInfo, value));
        headers
    }
}

/// `mp`: the entry before names another user (RFC 7044 §5).
fn history_mark(at: usize) -> String {
    match at {
        0 => String::new(),
        at => format!(";mp=1{}", ".1".repeat(at - 1)),
    }
}

impl Call {
    /// Branch `at` was answered 3xx: whoever the plan lets its device dial rings instead. `false`: nobody does.
    pub(crate) fn redirected(
        &mut self,
        site: &mut Site,
        now: Now,
        at: usize,
        message: &Message,
    ) -> bool {
        let Some(branch) = self.branches.get(at) else {
            return false;
        };
        let party = branch.leg.party.clone();
        let mut diverted = branch.diverted.as_deref().cloned().unwrap_or_default();
        let refused = if !matches!(branch.kind, BranchKind::Device) || party.door.is_some() {
            Some("only a phone of the house may send a call on")
        } else if diverted.by.len() >= MOST {
            Some("sent on too often")
        } else {
            None
        };
        let device = party.device.clone();
        if let Some(why) = refused {
            self.note(now, Line::Call(format!("{device}: not followed: {why}")));
            return false;
        }
        let (flow, member) = (branch.leg.flow, branch.member);
        diverted.by.push(Hop {
            user: party.user.clone(),
            status: message.status().unwrap_or(302),
        });
        let mut devices: Vec<String> = Vec::new();
        for dial in self.wanted(site, now, &device, &flow, message) {
            for found in self.devices_for(site, now, &party, &dial) {
                if found != device && !devices.contains(&found) {
                    devices.push(found);
                }
            }
        }
        let mut rung = 0;
        for found in devices {
            if found == self.caller.party.device {
                continue;
            }
            if self.is_busy(site, &found) {
                self.note(
                    now,
                    Line::Call(format!("{found}: busy, takes no second call")),
                );
                continue;
            }
            let mut targets = site.targets(&found, now.mono);
            targets.retain(|target| !self.is_invited(&target.key));
            for target in &mut targets {
                target.diverted = Some(Box::new(diverted.clone()));
            }
            rung += self.invite_all(site, now, member, &found, targets);
        }
        if rung == 0 {
            return false;
        }
        self.note(now, Line::Call(format!("{device} sends the call on")));
        let mut branch = self.branches.swap_remove(at);
        branch.leg.close_media(site);
        true
    }

    /// What the Contacts of a 3xx would have dialled, in the order wanted.
    fn wanted(
        &mut self,
        site: &Site,
        now: Now,
        device: &str,
        flow: &sip_proxy::Flow,
        message: &Message,
    ) -> Vec<String> {
        let mut contacts: Vec<(u16, String)> = Vec::new();
        for value in message.values(&HeaderName::Contact).take(CONTACTS) {
            let Ok(contact) = NameAddr::parse(value) else {
                continue;
            };
            let uri = Uri::parse(contact.uri).ok();
            let dial = uri
                .filter(|uri| site.is_ours(uri, flow))
                .and_then(|uri| uri.user_unescaped());
            match dial {
                Some(dial) => contacts.push((q(contact.param("q")), dial)),
                None => {
                    let line = format!("{device}: not followed: a foreign destination");
                    self.note(now, Line::Call(line));
                }
            }
        }
        contacts.sort_by_key(|(q, _)| std::cmp::Reverse(*q));
        contacts.into_iter().map(|(_, dial)| dial).collect()
    }

    /// The devices that the plan rings when this party dials that. Telephone numbers are not among them: a phone that is
    /// set to send its calls on must not run up a bill that nobody at the door asked for.
    fn devices_for(
        &mut self,
        site: &Site,
        now: Now,
        party: &super::leg::Party,
        dial: &str,
    ) -> Vec<String> {
        let facts = CallFacts {
            caller: Site::caller(party),
            dial: dial.to_owned(),
        };
        let begun = self
            .plan
            .begin(&site.directory, &site.facts(now), facts)
            .ok();
        let targets = match begun.map(|(_, step)| step) {
            Some(Step::Ring(ring)) => ring.members.into_iter().map(|m| m.target).collect(),
            Some(Step::Proxy { target }) => vec![target],
            _ => Vec::new(),
        };
        let device = |target| match target {
            Target::Device(device) => Some(device),
            Target::Door(_) | Target::Number { .. } => None,
        };
        let devices: Vec<String> = targets.into_iter().filter_map(device).collect();
        if devices.is_empty() {
            let line = format!("{}: not followed: the plan rings no device", party.device);
            self.note(now, Line::Call(line));
        }
        devices
    }
}

/// A Contact's q in thousandths; 1 when it has none.
fn q(written: Option<&str>) -> u16 {
    let parse = |text: &str| text.trim().parse::<f32>().ok();
    let value = written.and_then(parse).unwrap_or(1.0).clamp(0.0, 1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 1,000"
    )]
    let thousandths = (value * 1_000.0) as u16;
    thousandths
}
