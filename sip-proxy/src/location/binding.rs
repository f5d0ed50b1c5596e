//! Binding: one registered contact, laid out to be small, for there may be a hundred thousand of them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::transport::{Flow, Transport};
use crate::uri::{Host, Uri};

/// Octets of one push parameter kept; a longer one is as good as none.
const PUSH_PARAM: usize = 1_024;

/// One registered contact.
#[derive(Clone, PartialEq, Eq)]
pub struct Binding {
    /// Contact URI.
    pub contact: Box<str>,
    /// The flow the REGISTER came by: requests go back this way.
    pub flow: Flow,
    /// The address the REGISTER came from, whatever became of the flow since.
    pub source: IpAddr,
    /// Path values, topmost first (RFC 3327).
    pub path: Box<[Box<str>]>,
    /// Call-ID of the latest REGISTER.
    pub call_id: Box<str>,
    /// CSeq of the latest REGISTER.
    pub cseq: u32,
    /// Preference in thousandths, 0-1000.
    pub q: u16,
    /// Whether it was registered by RFC 5626: then its flow alone leads to it, and no new one is opened.
    pub outbound: bool,
    /// `+sip.instance` without quotes (RFC 5626).
    pub instance: Option<Box<str>>,
    /// `reg-id` (RFC 5626).
    pub reg_id: Option<u32>,
    /// User-Agent of the device, shared by all that call themselves the same.
    pub user_agent: Option<Arc<str>>,
    /// When it ends.
    pub expires: Instant,
    /// Which temporary GRUUs are its own (RFC 5627); `None` where the device asked for none.
    pub gruu: Option<u64>,
    /// Push parameters (RFC 8599).
    pub push: Option<Box<Push>>,
}

/// The push notification parameters of a Contact URI (RFC 8599 §14). Who knows `prid` and `param` may be able to wake the
/// device, so they are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Push {
    /// `pn-provider`: the push notification service.
    pub provider: Box<str>,
    /// `pn-prid`: the device, to that service.
    pub prid: Box<str>,
    /// `pn-param`: what else that service needs.
    pub param: Option<Box<str>>,
    /// `pn-purr`: ties requests within dialogs to this binding.
    pub purr: Option<Box<str>>,
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}

impl Push {
    /// Reads a Contact URI; `None` without both `pn-provider` and `pn-prid`, or with a parameter beyond all measure.
    #[must_use]
    pub fn of(contact: &Uri) -> Option<Self> {
        let mut found: [Option<Box<str>>; 4] = [None, None, None, None];
        for (name, value) in contact.params() {
            let Some(at) = ["pn-provider", "pn-prid", "pn-param", "pn-purr"]
                .iter()
                .position(|known| known.eq_ignore_ascii_case(name))
            else {
                continue;
            };
            let value = value.unwrap_or_default();
            if value.len() > PUSH_PARAM {
                return None;
            }
            if let Some(place) = found.get_mut(at) {
                *place = Some(value.into());
            }
        }
        let [provider, prid, param, purr] = found;
        Some(Self {
            provider: provider.filter(|value| !value.is_empty())?,
            prid: prid.filter(|value| !value.is_empty())?,
            param,
            purr,
        })
    }
}

/// The contact names a person and may hold push secrets: of it the host alone is shown.
impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = Uri::parse(&self.contact).map(|uri| uri.host_str().to_owned());
        f.debug_struct("Binding")
            .field("host", &host.unwrap_or_default())
            .field("flow", &self.flow)
            .field("q", &self.q)
            .field("outbound", &self.outbound)
            .field("reg_id", &self.reg_id)
            .field("expires", &self.expires)
            .field("push", &self.push)
            .finish_non_exhaustive()
    }
}

impl Binding {
    /// Whole seconds left, rounded up, as written in a Contact's `expires`.
    #[must_use]
    pub fn remaining(&self, now: Instant) -> u32 {
        let left = self.expires.saturating_duration_since(now);
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    /// What tells two user agents of one address-of-record apart: the instance, else the contact. All flows of a user
    /// agent have the same (RFC 5626 §5: a request goes to one of them at a time).
    #[must_use]
    pub fn user_agent_key(&self) -> &str {
        self.instance.as_deref().unwrap_or(&self.contact)
    }

    /// Whether it is the same place in the table as `other`: the same instance and reg-id (RFC 5626 §6), else the same
    /// contact.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        match (self.reg_id, other.reg_id) {
            (None, None) => self.contact == other.contact,
            (one, two) => one == two && self.instance == other.instance,
        }
    }

    /// Whether a request can be sent to it now: by its flow, or by a connection opened towards its contact. Nobody can
    /// connect to a browser, nor to a device behind NAT that keeps its flow open itself (RFC 5626 §5.3), nor to a phone by
    /// TLS: no certificate would prove who answers at its address.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        let connects = !self.outbound
            && !matches!(
                self.flow.transport,
                Transport::Tls | Transport::Ws | Transport::Wss
            );
        !self.flow.transport.is_stream() || self.flow.connection.is_some() || connects
    }

    /// The way requests go to it. By datagrams only, whatever their length, where the device asked for UDP by name, where
    /// requests must take its own flow (RFC 5626), and where it is not at the address it says: behind NAT nobody can
    /// connect to it.
    #[must_use]
    pub fn way(&self) -> Flow {
        if self.flow.transport != Transport::Udp {
            return self.flow;
        }
        let reachable = Uri::parse(&self.contact).is_ok_and(|uri| {
            let at_home = match uri.host() {
                Host::V4(ip) => IpAddr::V4(ip) == self.flow.remote.ip().to_canonical(),
                Host::V6(ip) => IpAddr::V6(ip) == self.flow.remote.ip(),
                Host::Name(_) => false,
            };
            at_home && uri.param("transport").is_none()
        });
        if reachable && self.reg_id.is_none() && self.path.is_empty() {
            self.flow
        } else {
            self.flow.datagrams_only()
        }
    }

    /// The connection it came by is gone: a new one goes to where the device listens, the address in its topmost Path
    /// value or its Contact, not to the port it happened to connect from. A host name is left to whoever resolves it:
    /// then the old address stays.
    pub fn lose_connection(&mut self) {
        self.flow.connection = None;
        if !self.flow.transport.is_stream() || !self.is_reachable() {
            return;
        }
        let path = self.path.first().map(|value| value.trim());
        let next = path.map_or(&*self.contact, |value| {
            let inner = value.split_once('<').map_or(value, |(_, rest)| rest);
            inner.split_once('>').map_or(inner, |(uri, _)| uri)
        });
        let Ok(uri) = Uri::parse(next) else { return };
        let ip = match uri.host() {
            Host::V4(ip) => IpAddr::V4(ip),
            Host::V6(ip) => IpAddr::V6(ip),
            Host::Name(_) => return,
        };
        let usual = if self.flow.transport.is_secure() {
            5061
        } else {
            5060
        };
        self.flow.remote = SocketAddr::new(ip, uri.port().unwrap_or(usual));
    }
}

/// Why a binding went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RemovalCause {
    /// Its time was over.
    Expired,
    /// Its owner took it back.
    Unregistered,
    /// The same instance registered another contact (RFC 5626 §6); the change that follows tells of that.
    Replaced,
    /// Its connection closed and nothing can be opened towards it.
    ConnectionLost,
    /// The account was revoked.
    Revoked,
}

/// What happened to a binding. Bindings are shared with the table, not copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindingChange {
    /// A new contact.
    Added {
        /// Address-of-record.
        aor: Arc<str>,
        /// The binding.
        binding: Arc<Binding>,
    },
    /// A known contact, again.
    Refreshed {
        /// Address-of-record.
        aor: Arc<str>,
        /// The binding as it now is.
        binding: Arc<Binding>,
        /// As it was.
        before: Arc<Binding>,
    },
    /// A known device, from another source address: for a door, worth an alarm.
    Moved {
        /// Address-of-record.
        aor: Arc<str>,
        /// The binding as it now is.
        binding: Arc<Binding>,
        /// As it was, with the flow it had.
        before: Arc<Binding>,
    },
    /// A contact went.
    Removed {
        /// Address-of-record.
        aor: Arc<str>,
        /// The binding as it was last.
        binding: Arc<Binding>,
        /// Why.
        why: RemovalCause,
    },
}

impl BindingChange {
    /// The address-of-record it happened to.
    #[must_use]
    pub fn aor(&self) -> &str {
        match self {
            Self::Added { aor, .. }
            | Self::Refreshed { aor, .. }
            | Self::Moved { aor, .. }
            | Self::Removed { aor, .. } => aor,
        }
    }

    /// The binding: as it now is, or of one that went, as it was last.
    #[must_use]
    pub fn binding(&self) -> &Arc<Binding> {
        match self {
            Self::Added { binding, .. }
            | Self::Refreshed { binding, .. }
            | Self::Moved { binding, .. }
            | Self::Removed { binding, .. } => binding,
        }
    }

    /// Whether the binding is there now.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !matches!(self, Self::Removed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_parameters_are_read_and_not_printed() {
        let uri = Uri::parse("sip:a@192.0.2.9;pn-provider=apns;pn-param=team.topic.voip;pn-prid=00fc13adff78512;pn-purr=77")
            .unwrap();
        let push = Push::of(&uri).unwrap();
        assert_eq!((&*push.provider, &*push.prid), ("apns", "00fc13adff78512"));
        assert_eq!(push.param.as_deref(), Some("team.topic.voip"));
        assert_eq!(push.purr.as_deref(), Some("77"));
        assert_eq!(format!("{push:?}"), "Push { provider: \"apns\", .. }");
    }

    #[test]
    fn without_a_service_or_a_device_there_is_no_push() {
        for text in [
            "sip:a@192.0.2.9",
            "sip:a@192.0.2.9;pn-provider=apns",
            "sip:a@192.0.2.9;pn-provider;pn-prid=1",
        ] {
            assert_eq!(Push::of(&Uri::parse(text).unwrap()), None, "{text}");
        }
        let long = format!("sip:a@b;pn-provider=fcm;pn-prid={}", "x".repeat(2_000));
        assert_eq!(Push::of(&Uri::parse(&long).unwrap()), None);
    }
}
