//! GRUUs in use (RFC 5627): a request for one goes to that user agent, and so do ours within a dialog whose other side gave
//! its GRUU as Contact. Some phones (linphone) do that as soon as they have one, and never hear the ACK of a server that
//! sends it to the GRUU itself.

use sip_proxy::uri::Scheme;
use sip_proxy::{Flow, Input, OutgoingRequest, OutgoingResponse, ServerTx, Uri};

use super::B2bua;
use crate::Now;

/// Whom a request is for.
pub(super) struct Dialled {
    /// The user part, or of a GRUU the user it belongs to.
    pub(super) user: String,
    /// Of a GRUU: the device, and which of its user agents ([`crate::site::Target::key`]).
    pub(super) user_agent: Option<(String, String)>,
}

impl B2bua {
    /// Whom a Request-URI of this site is for; `None` when it was answered here: 404 for a GRUU that is none of ours or is
    /// over, 480 for one whose user agent is not registered (§6.1).
    pub(super) fn addressee(&mut self, now: Now, tx: ServerTx, uri: &Uri) -> Option<Dialled> {
        let user = uri.user_unescaped().unwrap_or_default();
        let is_gruu = uri.scheme() != Scheme::Tel
            && uri
                .params()
                .any(|(name, _)| name.eq_ignore_ascii_case("gr"));
        let Some(gruus) = self.registrar.config.gruus.as_ref().filter(|_| is_gruu) else {
            return Some(Dialled {
                user,
                user_agent: None,
            });
        };
        let site = &self.site;
        let found = gruus.find(uri, &site.location, now.mono, |user| site.aor(user));
        let status = match found {
            None => 404,
            Some(found) => match found.bindings.first() {
                None => 480,
                Some(binding) => {
                    let user = user_of(&found.aor).to_owned();
                    let device = site.accounts.get(&user).map(|one| one.device.clone());
                    let key = binding.user_agent_key().to_owned();
                    return Some(Dialled {
                        user,
                        user_agent: device.map(|device| (device, key)),
                    });
                }
            },
        };
        self.answer(tx, OutgoingResponse::new(status));
        None
    }

    /// Points a request of ours that is addressed to a GRUU of this site at the user agent's contact, by a flow of its.
    /// One that is not registered now keeps its address and the dialog's flow.
    pub(super) fn to_contact(&self, now: Now, input: &mut Input) {
        match input {
            Input::Request { request, to, .. } | Input::Ack { request, to, .. }
                if request.uri.contains(";gr") =>
            {
                self.resolve(now, request, to);
            }
            _ => {}
        }
    }

    fn resolve(&self, now: Now, request: &mut OutgoingRequest, to: &mut Flow) {
        let Some(gruus) = &self.registrar.config.gruus else {
            return;
        };
        let Ok(uri) = Uri::parse(&request.uri) else {
            return;
        };
        if !self.is_ours(&uri, to) {
            return;
        }
        let site = &self.site;
        let found = gruus.find(&uri, &site.location, now.mono, |user| site.aor(user));
        let Some(found) = found else { return };
        // The dialog's own flow, as long as it is one.
        let same = found.bindings.iter().find(|binding| {
            binding.flow.remote == to.remote && binding.flow.connection == to.connection
        });
        let next = same.or_else(|| found.bindings.iter().find(|binding| binding.is_reachable()));
        let Some(binding) = next else { return };
        request.uri = binding.contact.to_string();
        if request.route.is_empty() {
            request.route = binding.path.iter().map(|value| value.to_string()).collect();
            *to = binding.way();
        }
    }
}

/// The user of an address-of-record.
pub(super) fn user_of(aor: &str) -> &str {
    let rest = aor.strip_prefix("sip:").unwrap_or(aor);
    rest.rsplit_once('@').map_or(rest, |(user, _)| user)
}
