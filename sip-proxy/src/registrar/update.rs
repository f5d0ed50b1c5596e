//! A REGISTER at work on a copy of the bindings.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::{Refusal, RegistrarConfig, is_stale, removed, takes};
use crate::location::{Binding, BindingChange, Location, Push, RemovalCause};
use crate::message::{Contact, HeaderName, Message};
use crate::transport::Flow;
use crate::uri::{Host, Uri};

/// Octets of User-Agent kept per binding.
const USER_AGENT: usize = 64;
/// Path values kept per binding; more are refused 400.
const PATHS: usize = 8;
/// Octets of an instance kept; a longer one is refused 400.
const INSTANCE: usize = 256;

pub(super) struct Update<'a> {
    config: &'a RegistrarConfig,
    request: &'a Message,
    flow: Flow,
    now: Instant,
    aor: Arc<str>,
    path: Vec<Box<str>>,
    /// Whether the device speaks RFC 5626, and so whether a contact of its with instance and reg-id is a flow.
    outbound: bool,
    /// Whether the first hop is a proxy that does not (section 6).
    first_hop_lacks: bool,
    before: usize,
    bindings: SmallVec<[Arc<Binding>; 1]>,
    /// Contacts this request has already set, which it does not replace again by instance.
    set: SmallVec<[Box<str>; 1]>,
    changes: Vec<BindingChange>,
}

/// What a contact says of itself.
struct Named {
    uri: Uri,
    instance: Option<Box<str>>,
    reg_id: Option<u32>,
    outbound: bool,
}

impl<'a> Update<'a> {
    pub(super) fn begin(
        config: &'a RegistrarConfig,
        location: &Location,
        now: Instant,
        request: &'a Message,
        flow: Flow,
        aor: Arc<str>,
    ) -> Result<Self, Refusal> {
        let path: Vec<Box<str>> = request
            .values(&HeaderName::Path)
            .take(PATHS + 1)
            .map(Box::from)
            .collect();
        if path.len() > PATHS {
            return Err(Refusal::plain(400, "Too Many Path Values"));
        }
        let proxied = !path.is_empty() || request.values(&HeaderName::Via).nth(1).is_some();
        let all = location.bindings(&aor);
        let mut update = Self {
            config,
            request,
            flow,
            now,
            outbound: takes(request, "outbound"),
            first_hop_lacks: proxied && !path.last().is_some_and(|first_hop| has_ob(first_hop)),
            path,
            before: all.len(),
            bindings: SmallVec::new(),
            set: SmallVec::new(),
            changes: Vec::new(),
            aor,
        };
        for binding in all {
            if binding.expires > now {
                update.bindings.push(Arc::clone(binding));
            } else {
                update
                    .changes
                    .push(removed(&update.aor, binding, RemovalCause::Expired));
            }
        }
        Ok(update)
    }

    /// Reads and judges a contact that is to be registered for `seconds`; zero takes it back.
    fn read(&self, contact: &Contact<'_>, seconds: u32) -> Result<Named, Refusal> {
        let uri =
            Uri::parse(contact.name_addr.uri).map_err(|_| Refusal::plain(400, "Bad Contact"))?;
        if points_at_us(&uri, &self.config.own) || is_aor(&uri, &self.aor) {
            return Err(Refusal::plain(403, "Contact Points at This Server"));
        }
        let instance = contact.name_addr.param("+sip.instance");
        if instance.is_some_and(|instance| instance.len() > INSTANCE) {
            return Err(Refusal::plain(400, "Instance Too Long"));
        }
        let instance = instance.map(Box::from);
        // RFC 5626 section 6: without an instance a reg-id is ignored.
        let reg_id = contact
            .name_addr
            .param("reg-id")
            .filter(|_| instance.is_some())
            .and_then(|id| id.parse().ok())
            .filter(|id| *id > 0);
        let outbound = self.outbound && reg_id.is_some();
        if outbound && seconds > 0 && self.first_hop_lacks {
            return Err(Refusal::plain(439, "First Hop Lacks Outbound Support"));
        }
        if seconds > 0
            && !self.config.push.is_empty()
            && let Some(service) = uri.param("pn-provider").filter(|name| !name.is_empty())
            && !self
                .config
                .push
                .iter()
                .any(|known| known.eq_ignore_ascii_case(service))
        {
            return Err(Refusal::plain(
                555,
                "Push Notification Service Not Supported",
            ));
        }
        Ok(Named {
            uri,
            instance,
            reg_id,
            outbound,
        })
    }

    pub(super) fn apply(
        &mut self,
        location: &mut Location,
        contact: &Contact<'_>,
        seconds: u32,
    ) -> Result<(), Refusal> {
        let named = self.read(contact, seconds)?;
        let written = contact.name_addr.uri;
        let known = self.find(&named, written);
        if known.is_some_and(|at| {
            self.bindings
                .get(at)
                .is_some_and(|old| is_stale(old, self.request))
        }) {
            return Err(Refusal::plain(500, "CSeq Out of Order"));
        }
        let old = known.map(|at| self.bindings.remove(at));
        if seconds == 0 {
            if let Some(old) = old {
                self.changes
                    .push(removed(&self.aor, &old, RemovalCause::Unregistered));
            }
            return Ok(());
        }
        let gruu = self.gruu(&named, old.as_deref());
        let user_agent = self
            .request
            .header(&HeaderName::UserAgent)
            .map(|name| location.agent(brief(name)));
        let binding = Arc::new(Binding {
            contact: written.into(),
            flow: self.flow,
            source: self.flow.remote.ip(),
            path: self.path.clone().into_boxed_slice(),
            call_id: self.request.call_id().into(),
            cseq: self.request.cseq(),
            q: contact.q.unwrap_or(1000),
            outbound: named.outbound,
            push: Push::of(&named.uri).map(Box::new),
            instance: named.instance,
            reg_id: named.reg_id,
            user_agent,
            expires: self.now + Duration::from_secs(u64::from(seconds)),
            gruu,
        });
        self.set.push(binding.contact.clone());
        self.note(old, &binding);
        self.bindings.push(binding);
        Ok(())
    }

    /// The registration number a contact's temporary GRUUs are known by: that of its other flows and of its last
    /// REGISTER, until that comes with another Call-ID (RFC 5627 section 5.3); then all flows get a new one.
    fn gruu(&mut self, named: &Named, old: Option<&Binding>) -> Option<u64> {
        let gruus = self.config.gruus.as_ref()?;
        let instance = named.instance.as_deref()?;
        let rebooted = old.is_some_and(|old| &*old.call_id != self.request.call_id());
        let of_instance = |binding: &Binding| binding.instance.as_deref() == Some(instance);
        let known = old
            .and_then(|old| old.gruu)
            .or_else(|| {
                let mut flows = self.bindings.iter().filter(|flow| of_instance(flow));
                flows.find_map(|flow| flow.gruu)
            })
            .filter(|_| !rebooted);
        if known.is_some() || !takes(self.request, "gruu") {
            return known;
        }
        let (call_id, cseq) = (self.request.call_id(), self.request.cseq());
        let number = gruus.number(&self.aor, instance, call_id, cseq);
        for flow in self.bindings.iter_mut().filter(|flow| of_instance(flow)) {
            let before = Arc::clone(flow);
            Arc::make_mut(flow).gruu = Some(number);
            self.changes.push(BindingChange::Refreshed {
                aor: Arc::clone(&self.aor),
                binding: Arc::clone(flow),
                before,
            });
        }
        Some(number)
    }

    fn note(&mut self, old: Option<Arc<Binding>>, binding: &Arc<Binding>) {
        let (aor, binding) = (self.aor.clone(), Arc::clone(binding));
        let Some(before) = old else {
            return self.changes.push(BindingChange::Added { aor, binding });
        };
        if before.contact != binding.contact {
            self.changes
                .push(removed(&aor, &before, RemovalCause::Replaced));
        }
        // The port of a TCP client changes with every connection; the address is what a device moves to.
        let moved = before.source != binding.source;
        self.changes.push(if moved {
            BindingChange::Moved {
                aor,
                binding,
                before,
            }
        } else {
            BindingChange::Refreshed {
                aor,
                binding,
                before,
            }
        });
    }

    /// The binding a contact updates: the same instance and reg-id (RFC 5626 section 6), else an equal URI (19.1.4) that
    /// is no flow of a device.
    ///
    /// An instance without reg-id counts as well: a panel that comes back from a power cut on another port would
    /// otherwise keep its dead contact ringing until it expires.
    fn find(&self, named: &Named, written: &str) -> Option<usize> {
        let same_device = |binding: &Arc<Binding>| {
            named.instance.is_some()
                && binding.instance == named.instance
                && binding.reg_id == named.reg_id
                && !self.set.contains(&binding.contact)
        };
        let same_uri = |binding: &Arc<Binding>| {
            binding.reg_id.is_none()
                && (&*binding.contact == written
                    || Uri::parse(&binding.contact).is_ok_and(|known| known == named.uri))
        };
        let mut known = self.bindings.iter();
        known
            .position(same_device)
            .or_else(|| self.bindings.iter().position(same_uri))
    }

    pub(super) fn finish(self, location: &mut Location) -> Result<Vec<BindingChange>, Refusal> {
        if self.bindings.len() > self.config.max_contacts && self.bindings.len() > self.before {
            return Err(Refusal::plain(403, "Too Many Contacts"));
        }
        if !location.has_room(self.bindings.len().saturating_sub(self.before)) {
            return Err(Refusal::plain(503, "Registrations Full"));
        }
        location.replace(&self.aor, self.bindings);
        Ok(self.changes)
    }
}

/// Whether a Path value says that its proxy keeps flows (`ob`, RFC 5626 section 5.1).
fn has_ob(path: &str) -> bool {
    let inner = path.split_once('<').map_or(path, |(_, rest)| rest);
    let uri = inner.split_once('>').map_or(inner, |(uri, _)| uri);
    Uri::parse(uri).is_ok_and(|uri| {
        uri.params()
            .any(|(name, _)| name.eq_ignore_ascii_case("ob"))
    })
}

fn points_at_us(uri: &Uri, own: &BTreeSet<SocketAddr>) -> bool {
    let ip = match uri.host() {
        Host::V4(ip) => IpAddr::V4(ip),
        Host::V6(ip) => IpAddr::V6(ip),
        Host::Name(_) => return false,
    };
    own.contains(&SocketAddr::new(ip, uri.port().unwrap_or(5060)))
}

/// Whether a contact is an address-of-record, or a GRUU of ours: requests to it would come back here (RFC 5627
/// section 5.1).
fn is_aor(uri: &Uri, aor: &str) -> bool {
    let domain = aor.rsplit_once('@').map_or("", |(_, domain)| domain);
    uri.port().is_none() && uri.host_str().eq_ignore_ascii_case(domain)
}

fn brief(user_agent: &str) -> &str {
    let mut end = user_agent.len().min(USER_AGENT);
    while !user_agent.is_char_boundary(end) {
        end -= 1;
    }
    user_agent.get(..end).unwrap_or_default()
}
