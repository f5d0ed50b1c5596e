//! PUBLISH of presence (RFC 3903): one's own only.

use sip_proxy::event::Event;
use sip_proxy::{Flow, Message, OutgoingResponse, ServerTx};

use super::subscribe::bad_event;
use super::{B2bua, Entity, Resource};
use crate::Now;
use crate::b2bua::gruu::Dialled;
use crate::event::Package;

impl B2bua {
    pub(in super::super) fn publish(
        &mut self,
        now: Now,
        tx: ServerTx,
        message: &Message,
        flow: Flow,
    ) {
        // What a device says of itself must be its own word: an address alone is not enough.
        let Some(party) = self.authenticate(now, tx, message, &flow, true) else {
            return;
        };
        let package = Event::of(message).and_then(|event| Package::of_name(event.package));
        if package != Some(Package::Presence) {
            // RFC 3903 §6 step 2: also for a package that is served, but of which nothing is published.
            return self.answer(tx, bad_event());
        }
        let Some(Dialled { user: dial, .. }) = self.dialled(now, tx, message, &flow) else {
            return;
        };
        if dial != party.user || party.door.is_some() {
            return self.answer(tx, OutgoingResponse::new(403));
        }
        let entity = Entity::Device(party.device);
        let random = self.site.random();
        let content_type = Package::Presence.content_type();
        let published =
            self.events
                .publications
                .publish(now.mono, &entity, message, content_type, random);
        if published.changed {
            self.events
                .notifier
                .changed(now.mono, &Resource::Presence(entity));
        }
        self.answer(tx, published.response);
    }
}
