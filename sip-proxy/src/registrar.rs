//! Registrar: REGISTER requests become bindings (RFC 3261 section 10.3, RFC 3327 Path, RFC 5626 instances).
//!
//! Who may register what was decided before: the caller hands in an authenticated request and the address-of-record
//! it may change. An update happens whole or not at all.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dialog::Reject;
use crate::location::{Binding, BindingChange, Location, RemovalCause};
use crate::message::{Contact, Contacts, HeaderName, Message, OutgoingResponse};
use crate::transport::Flow;
use crate::uri::{Host, Uri};

/// Octets of User-Agent kept per binding.
const USER_AGENT: usize = 64;
/// Path values kept per binding; more are refused 400.
const PATHS: usize = 8;
/// Below this many seconds 423 may be answered (10.3 step 7: never to an hour or more).
const HOUR: u32 = 3600;

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
}

impl Default for RegistrarConfig {
    fn default() -> Self {
        Self {
            min_expires: 60,
            max_expires: 3600,
            default_expires: 3600,
            max_contacts: 10,
            own: BTreeSet::new(),
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
                response: self.current(location, now, request, aor),
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
        let unsupported: Vec<&str> = request
            .values(&HeaderName::Require)
            .filter(|option| !option.is_empty() && !option.eq_ignore_ascii_case("path"))
            .collect();
        if !unsupported.is_empty() {
            return Err(Refusal::BadExtension(unsupported.join(", ")));
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
                location.replace(&name, Vec::new());
                Ok(changes)
            }
            Contacts::List(list) if list.is_empty() => Ok(Vec::new()),
            Contacts::List(list) => {
                let mut update = Update::begin(location, now, request, flow, name)?;
                for contact in &list {
                    let expires = self.expires(contact, header)?;
                    update.apply(&self.config, contact, expires)?;
                }
                update.finish(&self.config, location)
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

    /// The 200 with every current contact (10.3 step 8).
    fn current(
        &self,
        location: &Location,
        now: Instant,
        request: &Message,
        aor: &str,
    ) -> OutgoingResponse {
        let mut response = OutgoingResponse::new(200);
        for binding in location
            .bindings(aor)
            .iter()
            .filter(|binding| binding.expires > now)
        {
            response = response.with_header(HeaderName::Contact, contact_value(binding, now));
        }
        if request.has_option(&HeaderName::Supported, "path") {
            for path in request.values(&HeaderName::Path) {
                response = response.with_header(HeaderName::Path, path.to_owned());
            }
        }
        response
    }
}

fn contact_value(binding: &Binding, now: Instant) -> String {
    use std::fmt::Write as _;
    let mut value = String::with_capacity(binding.contact.len() + 48);
    // Writing to a String cannot fail.
    let _ = write!(
        value,
        "<{}>;expires={}",
        binding.contact,
        binding.remaining(now)
    );
    if binding.q != 1000 {
        let _ = write!(value, ";q=0.{:03}", binding.q);
    }
    if let Some(instance) = &binding.instance {
        let _ = write!(value, ";+sip.instance=\"{instance}\"");
    }
    if let Some(reg_id) = binding.reg_id {
        let _ = write!(value, ";reg-id={reg_id}");
    }
    value
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

/// A REGISTER at work on a copy of the bindings.
struct Update<'a> {
    request: &'a Message,
    flow: Flow,
    now: Instant,
    aor: Arc<str>,
    path: Vec<String>,
    before: usize,
    bindings: Vec<Binding>,
    /// Contacts this request has already set, which it does not replace again by instance.
    set: Vec<String>,
    changes: Vec<BindingChange>,
}

impl<'a> Update<'a> {
    fn begin(
        location: &Location,
        now: Instant,
        request: &'a Message,
        flow: Flow,
        aor: Arc<str>,
    ) -> Result<Self, Refusal> {
        let path: Vec<String> = request
            .values(&HeaderName::Path)
            .take(PATHS + 1)
            .map(str::to_owned)
            .collect();
        if path.len() > PATHS {
            return Err(Refusal::plain(400, "Too Many Path Values"));
        }
        let all = location.bindings(&aor);
        let mut update = Self {
            request,
            flow,
            now,
            path,
            before: all.len(),
            bindings: Vec::with_capacity(all.len() + 1),
            set: Vec::new(),
            changes: Vec::new(),
            aor,
        };
        for binding in all {
            if binding.expires > now {
                update.bindings.push(binding.clone());
            } else {
                update
                    .changes
                    .push(removed(&update.aor, binding, RemovalCause::Expired));
            }
        }
        Ok(update)
    }

    fn apply(
        &mut self,
        config: &RegistrarConfig,
        contact: &Contact<'_>,
        expires: u32,
    ) -> Result<(), Refusal> {
        let written = contact.name_addr.uri;
        let uri = Uri::parse(written).map_err(|_| Refusal::plain(400, "Bad Contact"))?;
        if points_at_us(&uri, &config.own) {
            return Err(Refusal::plain(403, "Contact Points at This Server"));
        }
        let instance = contact.name_addr.param("+sip.instance").map(str::to_owned);
        let reg_id = contact
            .name_addr
            .param("reg-id")
            .and_then(|id| id.parse().ok());
        let known = self.find(&uri, written, instance.as_deref(), reg_id);
        if known.is_some_and(|at| {
            self.bindings
                .get(at)
                .is_some_and(|old| is_stale(old, self.request))
        }) {
            return Err(Refusal::plain(500, "CSeq Out of Order"));
        }
        let old = known.map(|at| self.bindings.remove(at));
        if expires == 0 {
            if let Some(old) = old {
                self.changes
                    .push(removed(&self.aor, &old, RemovalCause::Unregistered));
            }
            return Ok(());
        }
        let binding = Binding {
            contact: written.to_owned(),
            flow: self.flow,
            path: self.path.clone(),
            call_id: self.request.call_id().to_owned(),
            cseq: self.request.cseq(),
            q: contact.q.unwrap_or(1000),
            instance,
            reg_id,
            user_agent: self.request.header(&HeaderName::UserAgent).map(brief),
            expires: self.now + Duration::from_secs(u64::from(expires)),
        };
        self.set.push(binding.contact.clone());
        self.note(old, &binding);
        self.bindings.push(binding);
        Ok(())
    }

    fn note(&mut self, old: Option<Binding>, binding: &Binding) {
        let aor = self.aor.clone();
        let binding = binding.clone();
        let Some(old) = old else {
            return self.changes.push(BindingChange::Added { aor, binding });
        };
        if old.contact != binding.contact {
            self.changes
                .push(removed(&aor, &old, RemovalCause::Replaced));
        }
        // The port of a TCP client changes with every connection; the address is what a device moves to.
        self.changes
            .push(if old.flow.remote.ip() == binding.flow.remote.ip() {
                BindingChange::Refreshed { aor, binding }
            } else {
                BindingChange::Moved {
                    aor,
                    binding,
                    from: old.flow.remote,
                }
            });
    }

    /// The binding a contact updates: the same instance and reg-id (RFC 5626 section 6), else an equal URI (19.1.4).
    ///
    /// An instance without reg-id counts as well: a panel that comes back from a power cut on another port would
    /// otherwise keep its dead contact ringing until it expires.
    fn find(
        &self,
        uri: &Uri,
        written: &str,
        instance: Option<&str>,
        reg_id: Option<u32>,
    ) -> Option<usize> {
        let same_device = |binding: &Binding| {
            instance.is_some()
                && binding.instance.as_deref() == instance
                && binding.reg_id == reg_id
                && !self.set.contains(&binding.contact)
        };
        self.bindings.iter().position(same_device).or_else(|| {
            self.bindings.iter().position(|binding| {
                binding.contact == written
                    || Uri::parse(&binding.contact).is_ok_and(|known| known == *uri)
            })
        })
    }

    fn finish(
        self,
        config: &RegistrarConfig,
        location: &mut Location,
    ) -> Result<Vec<BindingChange>, Refusal> {
        if self.bindings.len() > config.max_contacts && self.bindings.len() > self.before {
            return Err(Refusal::plain(403, "Too Many Contacts"));
        }
        if !location.has_room(self.bindings.len().saturating_sub(self.before)) {
            return Err(Refusal::plain(503, "Registrations Full"));
        }
        location.replace(&self.aor, self.bindings);
        Ok(self.changes)
    }
}

fn removed(aor: &Arc<str>, binding: &Binding, why: RemovalCause) -> BindingChange {
    BindingChange::Removed {
        aor: aor.clone(),
        contact: binding.contact.clone(),
        why,
    }
}

/// Whether a REGISTER is older than the binding it would change (10.3 step 7).
fn is_stale(binding: &Binding, request: &Message) -> bool {
    binding.call_id == request.call_id() && request.cseq() <= binding.cseq
}

fn points_at_us(uri: &Uri, own: &BTreeSet<SocketAddr>) -> bool {
    let ip = match uri.host() {
        Host::V4(ip) => IpAddr::V4(ip),
        Host::V6(ip) => IpAddr::V6(ip),
        Host::Name(_) => return false,
    };
    own.contains(&SocketAddr::new(ip, uri.port().unwrap_or(5060)))
}

fn brief(user_agent: &str) -> String {
    let mut end = user_agent.len().min(USER_AGENT);
    while !user_agent.is_char_boundary(end) {
        end -= 1;
    }
    user_agent.get(..end).unwrap_or_default().to_owned()
}

/// The value of a Date header (RFC 3261 section 20.17) for seconds since 1970-01-01 00:00 UTC.
#[must_use]
pub fn sip_date(unix_seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let name = |names: &[&'static str], at: u64| {
        usize::try_from(at)
            .ok()
            .and_then(|at| names.get(at).copied())
            .unwrap_or_default()
    };
    let days = unix_seconds / 86_400;
    let time = unix_seconds % 86_400;
    // Years counted from 1 March 0000, so that the leap day comes last.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        name(&DAYS, days % 7),
        name(&MONTHS, month),
        time / 3600,
        time / 60 % 60,
        time % 60
    )
}
