//! How many messages an address without a registered account may send: a bucket each, emptied before anything is
//! parsed.
//!
//! ```text
//!   message ──▶ trusted? registered? ──yes──▶ parser
//!                     │ no
//!                     ▼
//!               bucket of its address ──empty──▶ dropped, counted
//! ```
//! The table is bounded by [`STRANGERS`]. Overflow rule: buckets that are full again say nothing and are cleared
//! out; when that leaves no room, new addresses share one bucket of [`SHARED`] times the size, so that a flood
//! from invented addresses costs strangers their turn and registered phones nothing.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sip_proxy::BindingChange;
use sip_proxy::location::Binding;

/// Addresses with a bucket of their own.
const STRANGERS: usize = 65_536;
/// Size of the shared bucket, in buckets.
const SHARED: u32 = 20;
/// A bucket holds what flows in within this time: the largest burst.
const BURST: Duration = Duration::from_secs(1);
/// The table is cleared out at most so often: an attacker must not buy a walk over it with each message.
const CLEAR: Duration = Duration::from_secs(1);

/// Who may send, and how much.
pub(super) struct Sources {
    /// Time one message takes to flow back in.
    interval: Duration,
    /// Stations that are believed by their address.
    trusted: BTreeSet<IpAddr>,
    /// Registrations by the address they came from. Bounded by the location service, as is `contacts`.
    registered: HashMap<IpAddr, usize>,
    contacts: HashMap<(Arc<str>, String), IpAddr>,
    /// When each bucket is full again. Bounded by [`STRANGERS`].
    strangers: HashMap<IpAddr, Instant>,
    shared: Option<Instant>,
    clear_at: Option<Instant>,
    /// Messages dropped.
    pub(super) shed: u64,
}

impl Sources {
    /// `rate` messages a second for each address that is neither trusted nor has a registration.
    pub(super) fn new(rate: u32, trusted: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            interval: Duration::from_secs(1) / rate.max(1),
            trusted: trusted.into_iter().collect(),
            registered: HashMap::new(),
            contacts: HashMap::new(),
            strangers: HashMap::new(),
            shared: None,
            clear_at: None,
            shed: 0,
        }
    }

    /// Whether a message from this address is looked at.
    pub(super) fn admits(&mut self, now: Instant, source: IpAddr) -> bool {
        if self.registered.contains_key(&source) || self.trusted.contains(&source) {
            return true;
        }
        let admitted = self.draw(now, network(source));
        self.shed += u64::from(!admitted);
        admitted
    }

    fn draw(&mut self, now: Instant, network: IpAddr) -> bool {
        if let Some(full_at) = self.strangers.get_mut(&network) {
            return draw(now, full_at, self.interval);
        }
        if self.strangers.len() >= STRANGERS && self.clear_at.is_none_or(|at| at <= now) {
            self.clear_at = Some(now + CLEAR);
            self.strangers.retain(|_, full_at| *full_at > now);
        }
        if self.strangers.len() >= STRANGERS {
            return draw(now, self.shared.get_or_insert(now), self.interval / SHARED);
        }
        self.strangers.insert(network, now + self.interval);
        true
    }

    /// Addresses with a bucket of their own now.
    pub(super) fn strangers(&self) -> usize {
        self.strangers.len()
    }

    /// A registration that was there before the server started.
    pub(super) fn restored(&mut self, aor: &str, binding: &Binding) {
        self.put(aor.into(), binding);
    }

    /// Follows the location service.
    pub(super) fn follow(&mut self, change: &BindingChange) {
        match change {
            BindingChange::Added { aor, binding }
            | BindingChange::Refreshed { aor, binding }
            | BindingChange::Moved { aor, binding, .. } => self.put(Arc::clone(aor), binding),
            BindingChange::Removed { aor, contact, .. } => {
                if let Some(source) = self.contacts.remove(&(Arc::clone(aor), contact.clone())) {
                    self.forget(source);
                }
            }
        }
    }

    fn put(&mut self, aor: Arc<str>, binding: &Binding) {
        let source = binding.flow.remote.ip();
        *self.registered.entry(source).or_default() += 1;
        if let Some(before) = self.contacts.insert((aor, binding.contact.clone()), source) {
            self.forget(before);
        }
    }

    fn forget(&mut self, source: IpAddr) {
        if let Some(count) = self.registered.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.registered.remove(&source);
            }
        }
    }
}

/// Takes one message's worth out of the bucket that is full at `full_at`, if there is so much in it.
fn draw(now: Instant, full_at: &mut Instant, interval: Duration) -> bool {
    let after = (*full_at).max(now) + interval;
    let there = after <= now + BURST;
    if there {
        *full_at = after;
    }
    there
}

/// Whoever has an IPv6 address has all of its /64.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sip_proxy::location::RemovalCause;
    use sip_proxy::{Flow, Transport};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn admitted(sources: &mut Sources, now: Instant, source: &str, sent: usize) -> usize {
        let source = ip(source);
        (0..sent).filter(|_| sources.admits(now, source)).count()
    }

    fn binding(contact: &str, source: &str, now: Instant) -> Binding {
        Binding {
            contact: contact.to_owned(),
            flow: Flow {
                transport: Transport::Udp,
                local: "192.0.2.1:5060".parse().unwrap(),
                remote: format!("{source}:5060").parse().unwrap(),
                connection: None,
            },
            path: Vec::new(),
            call_id: "c".to_owned(),
            cseq: 1,
            q: 1000,
            instance: None,
            reg_id: None,
            user_agent: None,
            expires: now + Duration::from_secs(60),
        }
    }

    #[test]
    fn a_stranger_gets_a_burst_and_then_the_rate() {
        let (mut sources, start) = (Sources::new(50, []), Instant::now());
        assert_eq!(admitted(&mut sources, start, "192.0.2.9", 500), 50);
        let later = start + Duration::from_millis(500);
        assert_eq!(admitted(&mut sources, later, "192.0.2.9", 500), 25);
        assert_eq!(sources.shed, 925);
        assert_eq!(
            admitted(&mut sources, later, "192.0.2.10", 1),
            1,
            "another address is not held to account"
        );
    }

    #[test]
    fn trusted_and_registered_addresses_are_not_counted() {
        let start = Instant::now();
        let mut sources = Sources::new(1, [ip("192.0.2.20")]);
        assert_eq!(admitted(&mut sources, start, "192.0.2.20", 100), 100);
        let (aor, phone): (Arc<str>, _) = ("sip:a@x".into(), binding("sip:a", "192.0.2.7", start));
        let added = BindingChange::Added {
            aor: Arc::clone(&aor),
            binding: phone.clone(),
        };
        sources.follow(&added);
        sources.follow(&added);
        assert_eq!(admitted(&mut sources, start, "192.0.2.7", 100), 100);
        let moved = binding("sip:a", "192.0.2.8", start);
        sources.follow(&BindingChange::Moved {
            aor: Arc::clone(&aor),
            binding: moved,
            from: phone.flow.remote,
        });
        assert_eq!(admitted(&mut sources, start, "192.0.2.7", 100), 1);
        assert_eq!(admitted(&mut sources, start, "192.0.2.8", 100), 100);
        sources.follow(&BindingChange::Removed {
            aor,
            contact: "sip:a".to_owned(),
            why: RemovalCause::Expired,
        });
        assert_eq!(admitted(&mut sources, start, "192.0.2.8", 100), 1);
        assert!(sources.registered.is_empty() && sources.contacts.is_empty());
    }

    #[test]
    fn a_restored_registration_counts_like_a_fresh_one() {
        let (mut sources, start) = (Sources::new(1, []), Instant::now());
        sources.restored("sip:a@x", &binding("sip:a", "192.0.2.7", start));
        assert_eq!(admitted(&mut sources, start, "192.0.2.7", 10), 10);
    }

    #[test]
    fn a_flood_of_invented_addresses_shares_one_bucket_and_the_table_stays_bounded() {
        let (mut sources, start) = (Sources::new(50, []), Instant::now());
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        let known = address(7);
        for n in 0..100_000 {
            sources.admits(start, address(n));
        }
        assert_eq!(sources.strangers(), STRANGERS);
        assert_eq!(
            sources.shed,
            100_000 - STRANGERS as u64 - 50 * u64::from(SHARED)
        );
        assert!(sources.admits(start, known), "its own bucket stays");
        let later = start + Duration::from_secs(2);
        assert!(sources.admits(later, address(200_000)));
        assert_eq!(sources.strangers(), 1, "full buckets went");
    }

    #[test]
    fn an_ipv6_network_is_one_stranger() {
        let (mut sources, start) = (Sources::new(2, []), Instant::now());
        assert_eq!(admitted(&mut sources, start, "2001:db8::1", 2), 2);
        assert_eq!(admitted(&mut sources, start, "2001:db8::2", 2), 0);
        assert_eq!(admitted(&mut sources, start, "2001:db8:0:1::1", 2), 2);
    }
}
