//! SUBSCRIBE: authenticated, authorised, answered; and again at each refresh and after each reload.

use sip_proxy::event::{End, Event, Request, State};
use sip_proxy::{ClientTx, Flow, HeaderName, Message, OutgoingResponse, ServerTx};

use super::{B2bua, Resource, Watch};
use crate::Now;
use crate::b2bua::gruu::Dialled;
use crate::b2bua::proxying::Outset;
use crate::call::Party;
use crate::event::{ALLOW_EVENTS, Package};

impl B2bua {
    /// A SUBSCRIBE outside any dialog.
    pub(in super::super) fn subscribe(
        &mut self,
        now: Now,
        tx: ServerTx,
        message: &Message,
        flow: Flow,
    ) {
        let Some(party) = self.authenticate(now, tx, message, &flow, false) else {
            return;
        };
        let Some(event) = Event::of(message) else {
            self.events.refused += 1;
            return self.answer(tx, OutgoingResponse::new(400).with_reason("Bad Event"));
        };
        let Some(package) = Package::of_name(event.package) else {
            return self.subscribe_device(now, tx, message, flow, &party);
        };
        let Some(Dialled { user: dial, .. }) = self.dialled(now, tx, message, &flow) else {
            return;
        };
        if self.draining {
            let response = OutgoingResponse::new(503).with_header(HeaderName::RetryAfter, "10");
            return self.answer(tx, response);
        }
        let resource = match package {
            Package::Dialog => self.entity(&dial).map(Resource::Dialog),
            Package::Presence => self.entity(&dial).map(Resource::Presence),
            Package::Messages => Some(Resource::Messages(dial)),
            Package::Reg => Some(Resource::Reg(dial)),
        };
        let seen =
            resource.and_then(|resource| Some((self.sight(now, &party, &resource)?, resource)));
        let Some((sight, resource)) = seen else {
            // What may not be seen and what does not exist are the same to who asks.
            self.events.refused += 1;
            return self.answer(tx, OutgoingResponse::new(403));
        };
        let random = self.site.random();
        let contact = self.site.contact(&flow);
        let request = Request {
            message,
            flow,
            watcher: &party.user,
            resource,
            data: Watch {
                sight,
                version: 0,
                told: Vec::new(),
            },
            content_type: package.content_type(),
            default_expires: package.default_expires(),
            state: State::Active,
            random,
            contact,
        };
        let response = self.events.notifier.subscribe(now.mono, request);
        let response = response.with_header(HeaderName::AllowEvents, ALLOW_EVENTS);
        self.answer(tx, response);
    }

    /// A package of a device's own is served there, where the plan lets the two speak directly.
    fn subscribe_device(
        &mut self,
        now: Now,
        tx: ServerTx,
        message: &Message,
        flow: Flow,
        party: &Party,
    ) {
        let Some(Dialled {
            user: dial,
            user_agent,
        }) = self.dialled(now, tx, message, &flow)
        else {
            return;
        };
        let outset = Outset {
            tx,
            message,
            flow,
            party,
            dial: &dial,
            user_agent: user_agent.as_ref().map(|(_, key)| key.as_str()),
        };
        if !self.proxy_subscribe(now, &outset) {
            self.events.refused += 1;
            self.answer(tx, bad_event());
        }
    }

    /// A SUBSCRIBE in a dialog; `false` when the dialog is none of ours here.
    pub(in super::super) fn resubscribe(
        &mut self,
        now: Now,
        tx: ServerTx,
        message: &Message,
        flow: Flow,
    ) -> bool {
        let Some((id, user, known, resource)) = self.events.notifier.dialog_of(message) else {
            return false;
        };
        let (user, resource) = (user.to_owned(), resource.clone());
        // Tags can be overheard: from another address the sender must log in. A stream's address is proven by the
        // connection; a datagram's is not, and only credentials move the NOTIFYs elsewhere.
        let party = if flow.remote.ip() == known.remote.ip() {
            self.site.party(&user)
        } else {
            let Some(party) = self.authenticate(now, tx, message, &flow, true) else {
                return true;
            };
            if party.user != user {
                self.answer(tx, OutgoingResponse::new(403));
                return true;
            }
            Some(party)
        };
        let sight = party.and_then(|party| self.sight(now, &party, &resource));
        let Some(sight) = sight else {
            self.answer(tx, OutgoingResponse::new(403));
            self.events.notifier.end(now.mono, id, End::Rejected);
            return true;
        };
        if let Some(watch) = self.events.notifier.data_mut(id) {
            watch.sight = sight;
        }
        let response = self.events.notifier.refresh(now.mono, id, message, flow);
        self.answer(tx, response);
        true
    }

    /// A response to a NOTIFY.
    pub(in super::super) fn notify_answered(&mut self, now: Now, tx: ClientTx, message: &Message) {
        self.events.notifier.answered(now.mono, tx, message);
    }

    /// A NOTIFY that nobody answered.
    pub(in super::super) fn notify_failed(&mut self, now: Now, tx: ClientTx) {
        self.events.notifier.failed(now.mono, tx);
    }

    /// Plan, directory or accounts are new: who may no longer see is told so, who sees more or less is told anew.
    pub(in super::super) fn judge_watchers(&mut self, now: Now) {
        let watchers: Vec<_> = self
            .events
            .notifier
            .watchers()
            .map(|(id, user, resource)| (id, user.to_owned(), resource.clone()))
            .collect();
        for (id, user, resource) in watchers {
            let party = self.site.party(&user);
            let sight = party.and_then(|party| self.sight(now, &party, &resource));
            let Some(sight) = sight else {
                self.events.notifier.end(now.mono, id, End::Rejected);
                continue;
            };
            let before = self
                .events
                .notifier
                .data_mut(id)
                .map(|watch| std::mem::replace(&mut watch.sight, sight));
            if before != Some(sight) {
                self.events.notifier.changed(now.mono, &resource);
            }
        }
        let accounts = &self.site.accounts;
        self.events
            .waiting
            .retain(|account, _| accounts.get(account).is_some());
    }
}

/// 489 names the packages there are (RFC 6665 §8.3.2).
pub(super) fn bad_event() -> OutgoingResponse {
    OutgoingResponse::new(489).with_header(HeaderName::AllowEvents, ALLOW_EVENTS)
}
