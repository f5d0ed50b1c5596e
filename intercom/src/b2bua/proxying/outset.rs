//! Requests that begin something: INVITE, MESSAGE, SUBSCRIBE from one device to another.

use dialplan::{CallFacts, Run, Step, Target};
use sip_proxy::proxy::{self, Next};
use sip_proxy::{Flow, HeaderName, Message, Method, OutgoingResponse, ServerTx, Transport, Uri};

use super::record::{Begun, Record};
use super::{B2bua, DIALOGS, Dialog, SUBSCRIPTION, Side};
use crate::Now;
use crate::call::Party;
use crate::site::Site;

/// A request that may pass through.
pub(in super::super) struct Outset<'a> {
    pub(in super::super) tx: ServerTx,
    pub(in super::super) message: &'a Message,
    pub(in super::super) flow: Flow,
    /// Who sent it.
    pub(in super::super) party: &'a Party,
    /// Whom it is for.
    pub(in super::super) dial: &'a str,
    /// Of a GRUU: the user agent alone.
    pub(in super::super) user_agent: Option<&'a str>,
}

impl B2bua {
    /// The walk through the plan, where it says `proxy` for this sender and this device. Never to or from a door, never
    /// from a trunk.
    fn proxy_route(&self, now: Now, party: &Party, dial: &str) -> Option<(Run, String)> {
        let site = &self.site;
        if party.door.is_some() || site.trunk(&party.user).is_some() {
            return None;
        }
        // Most of what is dialled is no device: the plan is asked once for those.
        site.directory.device(dial)?;
        let call = CallFacts {
            caller: Site::caller(party),
            dial: dial.to_owned(),
        };
        let (run, step) = site
            .plan
            .begin(&site.directory, &site.facts(now), call)
            .ok()?;
        let Step::Proxy {
            target: Target::Device(device),
        } = step
        else {
            return None;
        };
        let callee = site.party(site.accounts.user_of(&device)?)?;
        (callee.door.is_none() && callee.device != party.device).then_some((run, device))
    }

    /// Where a request to a device goes; `None` when the two cannot speak directly.
    fn proxy_targets(
        &self,
        now: Now,
        outset: &Outset<'_>,
        device: &str,
    ) -> Option<Vec<proxy::Target>> {
        let is_web = |flow: &Flow| matches!(flow.transport, Transport::Ws | Transport::Wss);
        let mut targets = self.site.targets(device, now.mono);
        if let Some(key) = outset.user_agent {
            targets.retain(|target| target.key == key);
        }
        targets
            .into_iter()
            .map(|target| {
                let direct = is_web(&target.flow) == is_web(&outset.flow)
                    && target.flow.remote.is_ipv6() == outset.flow.remote.is_ipv6();
                direct.then_some(proxy::Target {
                    uri: Some(target.uri),
                    path: target.route,
                    flow: target.flow,
                })
            })
            .collect()
    }

    /// Whether the From, which the callee is shown, is the sender's own.
    fn is_honest(&self, outset: &Outset<'_>) -> bool {
        Uri::parse(outset.message.from().uri).is_ok_and(|uri| {
            uri.user_unescaped().as_deref() == Some(&outset.party.user)
                && self.is_ours(&uri, &outset.flow)
        })
    }

    /// An INVITE the plan marks `proxy`; `false` when it is to be bridged: by another route, or because the two sides
    /// cannot speak directly, or with a From that only a bridge can put right.
    pub(in super::super) fn proxy_invite(&mut self, now: Now, outset: &Outset<'_>) -> bool {
        let Some((run, device)) = self.proxy_route(now, outset.party, outset.dial) else {
            return false;
        };
        let full = self.proxying.dialogs.len() >= DIALOGS
            || self.proxying.dialogs.contains_key(outset.message.call_id());
        // Whoever talks already may mean to bring the two calls together, which only a bridge can; and privacy is asked
        // of whoever writes the From.
        let engaged = [&outset.party.device, &device]
            .iter()
            .any(|device| self.site.engaged.contains_key(device.as_str()));
        let private = outset.message.header(&HeaderName::Privacy).is_some();
        if full || engaged || private || !self.is_honest(outset) {
            return false;
        }
        let Some(targets) = self
            .proxy_targets(now, outset, &device)
            .filter(|targets| !targets.is_empty())
        else {
            return false;
        };
        let number = self.next_call;
        self.next_call += 1;
        let id = format!("{:08x}-{number}", self.site.epoch);
        let call_id = outset.message.call_id();
        self.counters.calls += 1;
        self.counters.proxied += 1;
        self.live += 1;
        *self
            .per_device
            .entry(outset.party.device.clone())
            .or_default() += 1;
        self.ladders
            .begin(number, &id, now.civil, call_id, &outset.party.device);
        let begun = Begun {
            number,
            id,
            party: outset.party.clone(),
            dial: outset.dial.to_owned(),
            run,
        };
        let record = Record::new(
            now,
            begun,
            outset.message,
            self.site.config.limits.story_entries,
        );
        self.proxying.invites.insert(outset.tx, call_id.to_owned());
        let until = now.mono + self.site.config.limits.max_duration;
        self.remember(outset, &device, &targets, Some(Box::new(record)), until);
        self.set_out(now, outset, targets);
        true
    }

    /// A MESSAGE from one device to another.
    pub(in super::super) fn proxy_message(&mut self, now: Now, outset: &Outset<'_>) {
        let route = self.proxy_route(now, outset.party, outset.dial);
        let Some((_, device)) = route.filter(|_| self.is_honest(outset)) else {
            return self.answer(outset.tx, OutgoingResponse::new(403));
        };
        let targets = self.proxy_targets(now, outset, &device).unwrap_or_default();
        self.set_out(now, outset, targets);
    }

    /// A SUBSCRIBE for a package of the device's own; `false` when nothing says that it may pass.
    pub(in super::super) fn proxy_subscribe(&mut self, now: Now, outset: &Outset<'_>) -> bool {
        let route = self.proxy_route(now, outset.party, outset.dial);
        let Some((_, device)) = route.filter(|_| self.is_honest(outset)) else {
            return false;
        };
        if self.proxying.dialogs.len() >= DIALOGS
            || self.proxying.dialogs.contains_key(outset.message.call_id())
        {
            let busy = OutgoingResponse::new(503).with_header(HeaderName::RetryAfter, "60");
            self.answer(outset.tx, busy);
            return true;
        }
        let targets = self.proxy_targets(now, outset, &device).unwrap_or_default();
        self.remember(outset, &device, &targets, None, now.mono + SUBSCRIPTION);
        self.set_out(now, outset, targets);
        true
    }

    fn remember(
        &mut self,
        outset: &Outset<'_>,
        device: &str,
        targets: &[proxy::Target],
        record: Option<Box<Record>>,
        until: std::time::Instant,
    ) {
        let call_id = outset.message.call_id().to_owned();
        let dialog = Dialog {
            caller: Side {
                device: outset.party.device.clone(),
                flow: Some(outset.flow),
            },
            caller_tag: outset.message.from_tag().unwrap_or_default().to_owned(),
            callee: Side {
                device: device.to_owned(),
                flow: None,
            },
            tried: targets.iter().map(|target| target.flow).collect(),
            record,
            until,
        };
        self.proxying.ends.insert((until, call_id.clone()));
        self.proxying.dialogs.insert(call_id, dialog);
    }

    fn set_out(&mut self, now: Now, outset: &Outset<'_>, targets: Vec<proxy::Target>) {
        let refusal = match self.proxying.core.prepare(outset.message) {
            // A token of a dialog on a request outside it: somebody replays it.
            Ok(prepared) if prepared.next != Next::Location => OutgoingResponse::new(403),
            Ok(prepared) => match self.edited(outset.message, Some(&outset.party.user)) {
                Some(message) => {
                    let input = proxy::Input::Request {
                        tx: outset.tx,
                        message,
                        flow: outset.flow,
                        prepared,
                        targets,
                    };
                    return self.proxy(now, input);
                }
                None => OutgoingResponse::new(400),
            },
            Err(refusal) => *refusal,
        };
        if *outset.message.method() == Method::Invite {
            self.proxied_final(now, outset.tx, refusal.status);
        }
        self.answer(outset.tx, refusal);
    }
}
