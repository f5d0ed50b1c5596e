//! REGISTER: only for one's own address-of-record, only by digest.

use sip_proxy::message::HeaderName;
use sip_proxy::{BindingChange, Flow, Message, OutgoingResponse, ServerTx, Uri};

use super::{B2bua, Output};
use crate::Now;
use crate::audit::Kind;
use crate::call::CallInput;

impl B2bua {
    pub(super) fn register(&mut self, now: Now, tx: ServerTx, message: &Message, flow: Flow) {
        // An address alone may not point a device's calls elsewhere, so trusted peers log in here too.
        let Some(party) = self.authenticate(now, tx, message, &flow, true) else {
            return;
        };
        let to = message.to();
        let own = Uri::parse(to.uri).ok().is_some_and(|uri| {
            uri.user_unescaped().is_some_and(|user| user == party.user) && self.is_ours(&uri, &flow)
        });
        if !own {
            self.counters.foreign += 1;
            return self.answer(tx, OutgoingResponse::new(403));
        }
        let aor = self.site.aor(&party.user);
        let registered =
            self.registrar
                .register(&mut self.site.location, now.mono, message, flow, &aor);
        let mut response = registered.response;
        if response.status == 200 {
            let seconds = u64::try_from(now.civil.as_second()).unwrap_or(0);
            response =
                response.with_header(HeaderName::Date, sip_proxy::registrar::sip_date(seconds));
        }
        self.answer(tx, response);
        let joins = registered.changes.iter().any(|change| {
            matches!(
                change,
                BindingChange::Added { .. } | BindingChange::Moved { .. }
            )
        });
        self.bindings_changed(now, registered.changes);
        if joins {
            let ringing: Vec<u64> = self.ringing.iter().copied().collect();
            for number in ringing {
                self.run(
                    now,
                    number,
                    CallInput::Registered {
                        device: party.device.clone(),
                    },
                );
            }
        }
    }

    /// Passes changes of bindings on. A door's contact that moved to another address is worth an eye: what calls from there
    /// is believed to be the door.
    pub(super) fn bindings_changed(&mut self, now: Now, changes: Vec<BindingChange>) {
        for change in &changes {
            // Where a device was registered it is at home for some time yet.
            if let BindingChange::Removed { aor, binding, .. }
            | BindingChange::Moved {
                aor,
                before: binding,
                ..
            } = change
            {
                let user = super::gruu::user_of(aor);
                self.penalties.at_home(now.mono, user, binding.source);
            }
            if let BindingChange::Moved {
                aor,
                binding,
                before,
            } = change
                && let Some(door) = self.door_of(aor)
            {
                self.counters.doors_moved += 1;
                self.binding_moved(aor);
                let mut entry = self.journal.entry(now.civil, Kind::ContactMoved);
                entry.actor = Some(format!("device:{}", super::gruu::user_of(aor)));
                entry.door = Some(door);
                entry.leg = Some(binding.flow.remote.to_string());
                entry.detail = Some(format!("registered from {} before", before.source));
                let record = self.journal.record(entry);
                self.queue.push_back(Output::Record(record));
            }
        }
        self.watch_bindings(now, &changes);
        if !changes.is_empty() {
            self.queue.push_back(Output::Bindings(changes));
        }
    }

    /// Whether a URI names this site: one of its domains, or the address or name of the listener it came in by.
    pub(super) fn is_ours(&self, uri: &Uri, flow: &Flow) -> bool {
        self.site.is_ours(uri, flow)
    }
}
