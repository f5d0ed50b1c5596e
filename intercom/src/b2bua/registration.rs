//! REGISTER: only for one's own address-of-record, only by digest.

use sip_proxy::message::HeaderName;
use sip_proxy::{BindingChange, Flow, Message, OutgoingResponse, ServerTx, Uri};

use super::B2bua;
use crate::Now;
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

    /// Whether a URI names this site: one of its domains, or the address or name of the listener it came in by.
    pub(super) fn is_ours(&self, uri: &Uri, flow: &Flow) -> bool {
        self.site.is_ours(uri, flow)
    }
}
