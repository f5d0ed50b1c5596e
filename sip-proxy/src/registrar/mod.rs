//! Registrar: REGISTER requests become bindings (RFC 3261 section 10.3, RFC 3327 Path, RFC 5626 Outbound, RFC 5627 GRUU,
//! RFC 3608 Service-Route, RFC 8599 push parameters).
//!
//! Who may register what was decided before: the caller hands in an authenticated request and the address-of-record
//! it may change. An update happens whole or not at all.

mod answer;
mod date;
mod update;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use crate::dialog::Reject;
use crate::gruu::Gruus;
use crate::location::{Binding, BindingChange, Location, RemovalCause};
use crate::message::{Contact, Contacts, HeaderName, Message, OutgoingResponse};
use crate::transport::Flow;
use update::Update;

pub use date::sip_date;

/// Below this many seconds 423 may be answered (10.3 step 7: never to an hour or more).
const HOUR: u32 = 3600;
/// What a REGISTER may require.
const EXTENSIONS: [&str; 3] = ["path", "outbound", "gruu"];

/// What registrations are granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrarConfig {
    /// Shortest registration in seconds; a shorter wish is answered 423.
    pub min_expires: u32,
    /// Longest registration in seconds; a longer wish is shortened.
    pub max_expires: u32,
    /// Seconds granted when nothing was asked for.
    pub default_expires: u32,
    /// Contacts per address-of-record; over it 403.
    pub max_contacts: usize,
    /// Our own listeners: a contact that points at one would loop (RFC 5393) and is refused 403.
    pub own: BTreeSet<SocketAddr>,
    /// Whether a Path is refused (420) when the device did not say that it supports it (RFC 3327 section 5.3).
    pub strict_path: bool,
    /// Service-Route values (RFC 3608), each a whole name-addr: the way devices are to send their requests.
    pub service_route: Vec<String>,
    /// Flow-Timer in seconds for RFC 5626 registrations (section 5.4): how long a flow may be silent.
    pub flow_timer: Option<u32>,
    /// Push notification services that can be asked (RFC 8599). Empty: push parameters are stored and not judged.
    pub push: Vec<String>,
    /// Makes GRUUs; `None` gives none.
    pub gruus: Option<Gruus>,
}

impl Default for RegistrarConfig {
    fn default() -> Self {
        Self {
            min_expires: 60,
            max_expires: 3600,
            default_expires: 3600,
            max_contacts: 10,
            own: BTreeSet::new(),
            strict_path: false,
            service_route: Vec::new(),
            flow_timer: None,
            push: Vec::new(),
            gruus: None,
        }
    }
}

/// The registrar: its rules only; the bindings are the [`Location`]'s.
#[derive(Debug, Clone, Default)]
pub struct Registrar {
    /// The rules.
    pub config: RegistrarConfig,
}

/// The answer to a REGISTER.
#[derive(Debug, Clone)]
pub struct Registered {
    /// What to answer. A `Date` is the caller's to add, who has the civil time: [`sip_date`].
    pub response: OutgoingResponse,
    /// What changed, for the store; empty for a query or a refusal.
    pub changes: Vec<BindingChange>,
}

impl Registrar {
    /// A registrar with these rules.
    #[must_use]
    pub fn new(config: RegistrarConfig) -> Self {
        Self { config }
    }

    /// Carries out one REGISTER for `aor`, which the caller has authorised.
    pub fn register(
        &mut self,
        location: &mut Location,
        now: Instant,
        request: &Message,
        flow: Flow,
        aor: &str,
    ) -> Registered {
        match self.update(location, now, request, flow, aor) {
            Ok(changes) => Registered {
                response: answer::current(&self.config, location, now, request, aor),
                changes,
            },
            Err(refusal) => Registered {
                response: refusal.into_response(&self.config),
                changes: Vec::new(),
            },
        }
    }

    fn update(
        &self,
        location: &mut Location,
        now: Instant,
        request: &Message,
        flow: Flow,
        aor: &str,
    ) -> Result<Vec<BindingChange>, Refusal> {
        let unsupported: SmallVec<[&str; 1]> = request
            .values(&HeaderName::Require)
            .filter(|option| {
                !option.is_empty()
                    && !EXTENSIONS
                        .iter()
                        .any(|known| option.eq_ignore_ascii_case(known))
            })
            .collect();
        if !unsupported.is_empty() {
            return Err(Refusal::BadExtension(unsupported.join(", ")));
        }
        if self.config.strict_path
            && request.header(&HeaderName::Path).is_some()
            && !takes(request, "path")
        {
            return Err(Refusal::BadExtension("path".to_owned()));
        }
        let contacts = request
            .contacts()
            .map_err(|_| Refusal::plain(400, "Bad Contact"))?;
        let header = request
            .header(&HeaderName::Expires)
            .and_then(|value| value.trim().parse::<u32>().ok());
        let name = location.name(aor);
        match contacts {
            Contacts::Star if header != Some(0) => {
                Err(Refusal::plain(400, "Star Without Expires 0"))
            }
            Contacts::Star => {
                let old = location.bindings(aor);
                if old.iter().any(|binding| is_stale(binding, request)) {
                    return Err(Refusal::plain(500, "CSeq Out of Order"));
                }
                let changes = old
                    .iter()
                    .map(|binding| removed(&name, binding, RemovalCause::Unregistered))
                    .collect();
                location.replace(&name, SmallVec::new());
                Ok(changes)
            }
            Contacts::List(list) if list.is_empty() => Ok(Vec::new()),
            Contacts::List(list) => {
                let times: SmallVec<[u32; 2]> = list
                    .iter()
                    .map(|contact| self.expires(contact, header))
                    .collect::<Result<_, _>>()?;
                let registers = times.iter().filter(|seconds| **seconds > 0).count();
                let by_flow = list.iter().zip(&times).any(|(contact, seconds)| {
                    *seconds > 0 && contact.name_addr.param("reg-id").is_some()
                });
                if registers > 1 && by_flow {
                    // RFC 5626 section 6: a flow is one contact's.
                    return Err(Refusal::plain(400, "One Contact With reg-id"));
                }
                let mut update = Update::begin(&self.config, location, now, request, flow, name)?;
                for (contact, seconds) in list.iter().zip(times) {
                    update.apply(location, contact, seconds)?;
                }
                update.finish(location)
            }
        }
    }

    /// Seconds granted to one contact (10.3 step 7).
    fn expires(&self, contact: &Contact<'_>, header: Option<u32>) -> Result<u32, Refusal> {
        let asked = contact
            .expires
            .or(header)
            .unwrap_or(self.config.default_expires);
        if asked == 0 {
            return Ok(0);
        }
        if asked < self.config.min_expires && asked < HOUR {
            return Err(Refusal::TooBrief);
        }
        Ok(asked.min(self.config.max_expires).max(1))
    }
}

/// Whether the device supports an extension, or even requires it of us.
fn takes(request: &Message, option: &str) -> bool {
    request.has_option(&HeaderName::Supported, option)
        || request.has_option(&HeaderName::Require, option)
}

/// Why nothing was registered.
enum Refusal {
    Plain(Reject),
    TooBrief,
    BadExtension(String),
}

impl Refusal {
    const fn plain(status: u16, reason: &'static str) -> Self {
        Self::Plain(Reject::new(status, reason))
    }

    fn into_response(self, config: &RegistrarConfig) -> OutgoingResponse {
        match self {
            Self::Plain(reject) => {
                let mut response = OutgoingResponse::new(reject.status);
                response.reason = Some(reject.reason.to_owned());
                response
            }
            Self::TooBrief => OutgoingResponse::new(423)
                .with_header(HeaderName::MinExpires, config.min_expires.to_string()),
            Self::BadExtension(options) => {
                OutgoingResponse::new(420).with_header(HeaderName::Unsupported, options)
            }
        }
    }
}

fn removed(aor: &Arc<str>, binding: &Arc<Binding>, why: RemovalCause) -> BindingChange {
    BindingChange::Removed {
        aor: aor.clone(),
        binding: Arc::clone(binding),
        why,
    }
}

/// Whether a REGISTER is older than the binding it would change (10.3 step 7).
fn is_stale(binding: &Binding, request: &Message) -> bool {
    &*binding.call_id == request.call_id() && request.cseq() <= binding.cseq
}
