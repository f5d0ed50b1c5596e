//! What was received and sent, kept with its call and told to whoever listens.

use bytes::Bytes;
use sip_proxy::{Flow, Method};

use super::{B2bua, Output};
use crate::Now;
use crate::call::parse_tag;
use crate::ladder::{Ladder, scan};
use crate::transactions::{Owner, owner};

impl B2bua {
    /// A message on the wire.
    pub(super) fn hear(&mut self, now: Now, sent: bool, flow: &Flow, bytes: &Bytes) {
        // Registrations are most of what comes, and belong to no call.
        if !bytes.starts_with(b"REGISTER ") {
            self.ladders
                .record(now.civil, sent, flow, bytes, &scan(bytes));
        }
        if self.tapped {
            let heard = self.ladders.heard(now.civil, sent, flow, bytes);
            self.queue.push_back(Output::Heard(Box::new(heard)));
        }
    }

    /// A request of a call that begins a dialog: what is said in it belongs to that call from now on.
    pub(super) fn claim(&mut self, input: &sip_proxy::Input) {
        let sip_proxy::Input::Request { tx, request, .. } = input else {
            return;
        };
        let Some(Owner::Call(number)) = owner(*tx) else {
            return;
        };
        if request.method != Method::Invite
            || !self.ladders.lacks(number, request.call_id.as_bytes())
        {
            return;
        }
        let index = request
            .from
            .rsplit_once(";tag=")
            .and_then(|(_, tag)| parse_tag(tag));
        if let Some(call) = self.calls.get(&number) {
            let party = index.map_or_else(String::new, |(_, index)| call.party_name(index));
            self.ladders
                .add_dialog(number, request.call_id.as_bytes(), &party);
        }
    }

    /// What was heard before its call had begun is named after it.
    pub(super) fn name_heard(&mut self) {
        if !self.tapped {
            return;
        }
        for output in &mut self.queue {
            if let Output::Heard(heard) = output
                && heard.call.is_none()
            {
                let message = &heard.message;
                let (at, sent, flow) = (message.at, message.sent, message.flow);
                **heard = self
                    .ladders
                    .heard(at, sent, &flow, heard.message.unredacted());
            }
        }
    }

    pub(super) fn end_ladder(&mut self, number: u64, answered: bool) {
        if let Some(ladder) = self.ladders.end(number, answered) {
            self.queue.push_back(Output::Ladder(Box::new(ladder)));
        }
    }

    /// The messages of a call that is in progress or ended lately, by its id.
    #[must_use]
    pub fn ladder(&self, id: &str) -> Option<&Ladder> {
        self.ladders.of(self.number_of(id)?)
    }

    /// Octets of messages kept, and calls whose messages made room for others.
    #[must_use]
    pub fn ladders(&self) -> (usize, u64) {
        (self.ladders.octets(), self.ladders.pushed_out)
    }
}
