//! Proxy mode (RFC 3261 §16): what two devices of the house say to each other passes through, media direct. The proxy
//! core decides how, this room whether: the sender is authenticated, the plan says `proxy`, neither is a door.
//!
//! ```text
//!   INVITE, MESSAGE, SUBSCRIBE ─▶ login ─▶ plan says proxy? ─▶ prepare ─▶ core ─▶ all contacts of the device
//!   in a dialog ────────────────▶ signed token in its Route ─▶ core ─▶ the other side's flow
//! ```
//! `outset.rs` has the requests that begin something, `within.rs` those in dialogs, `record.rs` the call's record.

mod outset;
mod record;
mod within;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sip_proxy::proxy::{self, Prepared, Proxy, ProxyConfig};
use sip_proxy::{
    ClientTx, ConnectionId, FailCause, Flow, HeaderName, Input, Message, ServerTx, Splice,
};

use super::B2bua;
use crate::Now;
use crate::buzz;
use crate::config::Config;
use crate::transactions::Owner;
pub(super) use outset::Outset;
use record::Record;

/// Dialogs whose flows are remembered. Overflow rule: a further call is bridged instead, a further SUBSCRIBE gets 503.
const DIALOGS: usize = 20_000;
/// A subscription is forgotten when nothing was said in it for so long.
const SUBSCRIPTION: Duration = Duration::from_secs(7_200);
/// What a dialog that is over may still need its flows for: 64·T1.
const LINGER: Duration = Duration::from_secs(32);

/// One side of a dialog.
#[derive(Debug)]
struct Side {
    device: String,
    /// Where its requests come from and ours go to: behind NAT its Contact leads nowhere. `None` when it is gone.
    flow: Option<Flow>,
}

/// A dialog, or what may become one.
#[derive(Debug)]
struct Dialog {
    caller: Side,
    caller_tag: String,
    callee: Side,
    /// The flows tried: an answer by one of them is the callee's.
    tried: Vec<Flow>,
    /// A call has a record, a subscription none.
    record: Option<Box<Record>>,
    until: Instant,
}

/// A request in a dialog, on its way to the other side.
struct Waiting {
    /// `None`: an ACK.
    tx: Option<ServerTx>,
    message: Message,
    flow: Flow,
    prepared: Prepared,
}

/// Proxy mode's own.
pub(super) struct Proxying {
    core: Proxy,
    /// By Call-ID. Bounded by [`DIALOGS`].
    dialogs: BTreeMap<String, Dialog>,
    ends: BTreeSet<(Instant, String)>,
    /// INVITEs not yet answered. Bounded by the dialogs.
    invites: BTreeMap<ServerTx, String>,
}

impl Proxying {
    pub(super) fn new(config: &Config) -> Self {
        let ports: BTreeSet<u16> = config
            .listeners
            .iter()
            .map(|listener| listener.local.port())
            .collect();
        let hosts = config
            .listeners
            .iter()
            .map(|listener| listener.local.ip().to_string())
            .chain(config.domains.iter().cloned())
            .chain(config.advertise.values().map(|host| {
                let bare = host
                    .rsplit_once(':')
                    .map_or(host.as_str(), |(bare, _)| bare);
                bare.trim_matches(['[', ']']).to_owned()
            }));
        let own = hosts
            .flat_map(|host| ports.iter().map(move |port| (host.clone(), *port)))
            .collect();
        let core = ProxyConfig {
            own,
            advertise: config.advertise.clone(),
            timers: config.endpoint.timers,
            max_contexts: config.limits.max_calls.saturating_mul(8).max(1_000),
            max_branches: config.limits.max_branches,
            first_client: crate::transactions::first(Owner::Proxy).0,
        };
        Proxying {
            core: Proxy::new(core, config.proxy_key),
            dialogs: BTreeMap::new(),
            ends: BTreeSet::new(),
            invites: BTreeMap::new(),
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let ends = self.ends.first().map(|(at, _)| *at);
        [self.core.next_timeout(), ends].into_iter().flatten().min()
    }

    /// Whether a message belongs to a dialog that passes through.
    pub(super) fn knows(&self, message: &Message) -> bool {
        !self.dialogs.is_empty() && self.dialogs.contains_key(message.call_id())
    }

    /// Whether an INVITE passes through that is not answered yet.
    pub(super) fn holds(&self, tx: ServerTx) -> bool {
        self.invites.contains_key(&tx)
    }

    /// Dialogs remembered.
    pub(super) fn dialogs(&self) -> usize {
        self.dialogs.len()
    }

    fn keep(&mut self, call_id: &str, until: Instant) {
        if let Some(dialog) = self.dialogs.get_mut(call_id) {
            self.ends.remove(&(dialog.until, call_id.to_owned()));
            dialog.until = until;
            self.ends.insert((until, call_id.to_owned()));
        }
    }

    /// A connection is gone: whoever was behind it is looked for anew.
    pub(super) fn connection_closed(&mut self, connection: ConnectionId) {
        for dialog in self.dialogs.values_mut() {
            for side in [&mut dialog.caller, &mut dialog.callee] {
                if side
                    .flow
                    .is_some_and(|flow| flow.connection == Some(connection))
                {
                    side.flow = None;
                }
            }
        }
    }
}

impl B2bua {
    /// One input to the core; what follows goes to the transaction layer, and into the call's story.
    fn proxy(&mut self, now: Now, input: proxy::Input) {
        let outputs: Vec<Input> = self.proxying.core.handle(now.mono, input).collect();
        for output in outputs {
            self.proxied(now, &output);
            self.site.sip(output);
        }
    }

    /// The caller of an INVITE that passes through has given up.
    pub(super) fn proxy_cancelled(&mut self, now: Now, tx: ServerTx) {
        if let Some(record) = self.record_of(tx) {
            record.cancelled(now);
        }
        self.proxy(now, proxy::Input::Cancelled { tx });
    }

    /// A branch has answered.
    pub(super) fn proxy_response(&mut self, now: Now, tx: ClientTx, message: Message, flow: Flow) {
        self.branch_heard(now, &message, flow);
        self.proxy(now, proxy::Input::Response { tx, message });
    }

    /// A branch has not.
    pub(super) fn proxy_failed(&mut self, now: Now, tx: ClientTx, cause: FailCause) {
        self.proxy(now, proxy::Input::Failed { tx, cause });
    }

    pub(super) fn proxy_timeout(&mut self, now: Now) {
        let due = self.proxying.core.next_timeout();
        if due.is_some_and(|at| at <= now.mono) {
            self.proxy(now, proxy::Input::Timeout);
        }
        while let Some((at, call_id)) = self.proxying.ends.first().cloned() {
            if at > now.mono {
                return;
            }
            self.proxying.ends.remove(&(at, call_id.clone()));
            self.proxied_call_lost(now, &call_id);
            self.proxying.dialogs.remove(&call_id);
        }
    }

    /// What passes on: the received request without what is for us alone, and with the identity we have proved.
    fn edited(&self, message: &Message, identity: Option<&str>) -> Option<Message> {
        let mut splice = Splice::new(message);
        let actions: BTreeSet<&str> = message
            .all_headers()
            .filter_map(|(name, _)| buzz::is_action_header(name).then_some(name))
            .collect();
        for name in actions {
            splice = splice.remove(&HeaderName::Other(name.into()));
        }
        for name in [
            HeaderName::Authorization,
            HeaderName::ProxyAuthorization,
            HeaderName::PAssertedIdentity,
            HeaderName::Other("P-Preferred-Identity".into()),
        ] {
            splice = splice.remove(&name);
        }
        if let Some(user) = identity {
            let identity = format!("<{}>", self.site.aor(user));
            splice = splice.set(HeaderName::PAssertedIdentity, identity);
        }
        Message::parse(splice.finish(), &self.site.config.endpoint.limits).ok()
    }
}
