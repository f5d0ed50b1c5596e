//! How many messages an address without a registered account may send: a bucket each, emptied before anything is
//! parsed.
//!
//! ```text
//!   message ──▶ trusted? registered, or was lately? ──yes──▶ parser
//!                     │ no                                      ▲
//!                     ▼                                         │
//!               bucket of its address ──empty──▶ credentials? ──┴──▶ a second bucket of that size ──empty──▶ dropped, counted
//! ```
//! The second bucket lets a whole building in that registers for the first time behind one address: among thousands of
//! requests that ask for a challenge, the answers to the first challenges would hardly ever find the first bucket full,
//! and one of them being right makes the address a registered one. After a power cut addresses are still known that had
//! registrations before it.
//!
//! The table is bounded by [`STRANGERS`]. Overflow rule: buckets that are full again say nothing and are cleared
//! out; when that leaves no room, new addresses share one bucket of [`SHARED`] times the size, so that a flood
//! from invented addresses costs strangers their turn and registered phones nothing.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sip_proxy::BindingChange;
use sip_proxy::location::{Binding, RemovalCause};

use super::LAPSED;
use crate::transport::network;

/// Addresses with a bucket of their own.
const STRANGERS: usize = 65_536;
/// Size of the shared bucket, in buckets.
const SHARED: u32 = 20;
/// A bucket holds what flows in within this time: the largest burst.
const BURST: Duration = Duration::from_secs(1);
/// Addresses remembered whose last registration has ended. Overflow rule: the one that ended first is forgotten.
const KNOWN: usize = 65_536;
/// Octets of a message in which credentials are looked for.
const HEAD: usize = 2_048;
/// The table is cleared out at most so often: an attacker must not buy a walk over it with each message.
const CLEAR: Duration = Duration::from_secs(1);

/// Who may send, and how much.
pub(super) struct Sources {
    /// Time one message takes to flow back in.
    interval: Duration,
    /// Stations that are believed by their address.
    trusted: BTreeSet<IpAddr>,
    /// Registrations by the address they came from. Bounded by the location service.
    registered: HashMap<IpAddr, usize>,
    /// Addresses whose last registration ended, and since when they do without one. Bounded by [`KNOWN`].
    lapsed: HashMap<IpAddr, Instant>,
    /// The same, oldest first.
    lapses: BTreeSet<(Instant, IpAddr)>,
    /// When each address's buckets are full again: for any message, and for credentials. Bounded by [`STRANGERS`].
    strangers: HashMap<IpAddr, [Instant; 2]>,
    shared: Option<[Instant; 2]>,
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
            lapsed: HashMap::new(),
            lapses: BTreeSet::new(),
            strangers: HashMap::new(),
            shared: None,
            clear_at: None,
            shed: 0,
        }
    }

    /// Other stations are believed by their address from now on.
    pub(super) fn set_trusted(&mut self, trusted: impl IntoIterator<Item = IpAddr>) {
        self.trusted = trusted.into_iter().collect();
    }

    /// Whether a message from this address is looked at.
    pub(super) fn admits(&mut self, now: Instant, source: IpAddr, message: &[u8]) -> bool {
        if self.knows(source) {
            return true;
        }
        let admitted = self.draw(now, network(source), message);
        self.shed += u64::from(!admitted);
        admitted
    }

    /// Whether something is done for this address that is no SIP message, whoever it is: a STUN answer.
    pub(super) fn admits_anyone(&mut self, now: Instant, source: IpAddr) -> bool {
        let admitted = self.draw(now, network(source), &[]);
        self.shed += u64::from(!admitted);
        admitted
    }

    /// Whether somebody is or was lately registered at this address, or it is trusted.
    pub(super) fn knows(&self, source: IpAddr) -> bool {
        self.registered.contains_key(&source)
            || self.trusted.contains(&source)
            || self.lapsed.contains_key(&source)
    }

    fn draw(&mut self, now: Instant, network: IpAddr, message: &[u8]) -> bool {
        if let Some(buckets) = self.strangers.get_mut(&network) {
            return draw(now, buckets, self.interval, message);
        }
        if self.strangers.len() >= STRANGERS && self.clear_at.is_none_or(|at| at <= now) {
            self.clear_at = Some(now + CLEAR);
            self.strangers
                .retain(|_, buckets| buckets.iter().any(|full_at| *full_at > now));
        }
        if self.strangers.len() >= STRANGERS {
            let shared = self.shared.get_or_insert([now; 2]);
            return draw(now, shared, self.interval / SHARED, message);
        }
        self.strangers.insert(network, [now + self.interval, now]);
        true
    }

    /// The last registration from an address has ended.
    pub(super) fn lapsed(&mut self, now: Instant, source: IpAddr) {
        while let Some((since, oldest)) = self.lapses.first().copied()
            && (self.lapsed.len() >= KNOWN || now.saturating_duration_since(since) >= LAPSED)
        {
            self.lapses.remove(&(since, oldest));
            self.lapsed.remove(&oldest);
        }
        if let Some(before) = self.lapsed.insert(source, now) {
            self.lapses.remove(&(before, source));
        }
        self.lapses.insert((now, source));
    }

    /// Addresses with a bucket of their own now.
    pub(super) fn strangers(&self) -> usize {
        self.strangers.len()
    }

    /// A registration that was there before the server started.
    pub(super) fn restored(&mut self, binding: &Binding) {
        self.put(binding);
    }

    /// Follows the location service.
    pub(super) fn follow(&mut self, now: Instant, change: &BindingChange) {
        match change {
            BindingChange::Added { binding, .. } => self.put(binding),
            BindingChange::Refreshed {
                binding, before, ..
            }
            | BindingChange::Moved {
                binding, before, ..
            } => {
                self.put(binding);
                let _ = self.forget(before.source);
            }
            // What was replaced is told of once more, by the change that follows.
            BindingChange::Removed {
                why: RemovalCause::Replaced,
                ..
            } => {}
            BindingChange::Removed { binding, why, .. } => {
                let gone = self.forget(binding.source);
                if gone && matches!(why, RemovalCause::Expired | RemovalCause::ConnectionLost) {
                    self.lapsed(now, binding.source);
                }
            }
        }
    }

    fn put(&mut self, binding: &Binding) {
        let source = binding.source;
        *self.registered.entry(source).or_default() += 1;
        if let Some(since) = self.lapsed.remove(&source) {
            self.lapses.remove(&(since, source));
        }
    }

    /// Whether that was the last registration from there.
    fn forget(&mut self, source: IpAddr) -> bool {
        let Some(count) = self.registered.get_mut(&source) else {
            return false;
        };
        *count = count.saturating_sub(1);
        if *count > 0 {
            return false;
        }
        self.registered.remove(&source);
        true
    }
}

/// Takes one message's worth out of the first bucket, or for a message with credentials out of the second.
fn draw(now: Instant, buckets: &mut [Instant; 2], interval: Duration, message: &[u8]) -> bool {
    let [any, credentials] = buckets;
    take(now, any, interval) || has_credentials(message) && take(now, credentials, interval)
}

/// Whether a message seems to hold credentials: `Authorization` or `Proxy-Authorization`, as everybody writes them.
fn has_credentials(message: &[u8]) -> bool {
    let head = message.get(..HEAD).unwrap_or(message);
    head.windows(14)
        .any(|window| window.eq_ignore_ascii_case(b"authorization:"))
}

/// Takes one message's worth out of the bucket that is full at `full_at`, if there is so much in it.
fn take(now: Instant, full_at: &mut Instant, interval: Duration) -> bool {
    let after = (*full_at).max(now) + interval;
    let there = after <= now + BURST;
    if there {
        *full_at = after;
    }
    there
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use sip_proxy::{Flow, Transport};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn admitted(sources: &mut Sources, now: Instant, source: &str, sent: usize) -> usize {
        let source = ip(source);
        (0..sent)
            .filter(|_| sources.admits(now, source, b"REGISTER"))
            .count()
    }

    fn binding(contact: &str, source: &str, now: Instant) -> Binding {
        Binding {
            contact: contact.into(),
            flow: Flow {
                transport: Transport::Udp,
                local: "192.0.2.1:5060".parse().unwrap(),
                remote: format!("{source}:5060").parse().unwrap(),
                connection: None,
            },
            source: ip(source),
            path: Box::default(),
            call_id: "c".into(),
            cseq: 1,
            q: 1000,
            instance: None,
            reg_id: None,
            user_agent: None,
            expires: now + Duration::from_secs(60),
            outbound: false,
            gruu: None,
            push: None,
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
        sources.set_trusted([ip("192.0.2.21")]);
        assert_eq!(admitted(&mut sources, start, "192.0.2.20", 100), 1);
        assert_eq!(admitted(&mut sources, start, "192.0.2.21", 100), 100);
        let (aor, phone): (Arc<str>, _) = (
            "sip:a@x".into(),
            Arc::new(binding("sip:a", "192.0.2.7", start)),
        );
        sources.follow(
            start,
            &BindingChange::Added {
                aor: Arc::clone(&aor),
                binding: Arc::clone(&phone),
            },
        );
        sources.follow(
            start,
            &BindingChange::Refreshed {
                aor: Arc::clone(&aor),
                binding: Arc::clone(&phone),
                before: Arc::clone(&phone),
            },
        );
        assert_eq!(admitted(&mut sources, start, "192.0.2.7", 100), 100);
        let moved = Arc::new(binding("sip:a", "192.0.2.8", start));
        sources.follow(
            start,
            &BindingChange::Removed {
                aor: Arc::clone(&aor),
                binding: Arc::clone(&phone),
                why: RemovalCause::Replaced,
            },
        );
        sources.follow(
            start,
            &BindingChange::Moved {
                aor: Arc::clone(&aor),
                binding: Arc::clone(&moved),
                before: phone,
            },
        );
        assert_eq!(admitted(&mut sources, start, "192.0.2.7", 100), 1);
        assert_eq!(admitted(&mut sources, start, "192.0.2.8", 100), 100);
        sources.follow(
            start,
            &BindingChange::Removed {
                aor,
                binding: moved,
                why: RemovalCause::Unregistered,
            },
        );
        assert_eq!(admitted(&mut sources, start, "192.0.2.8", 100), 1);
        assert!(sources.registered.is_empty());
    }

    #[test]
    fn a_building_that_registers_first_from_one_address_gets_its_answers_in() {
        let (mut sources, start) = (Sources::new(50, []), Instant::now());
        assert_eq!(admitted(&mut sources, start, "192.0.2.9", 20_000), 50);
        let answer = b"REGISTER sip:x SIP/2.0\r\nauthorization: Digest username=\"a\"\r\n\r\n";
        let answers = (0..100).filter(|_| sources.admits(start, ip("192.0.2.9"), answer));
        assert_eq!(answers.count(), 50, "and no more than that either");
        sources.follow(
            start,
            &BindingChange::Added {
                aor: "sip:a@x".into(),
                binding: Arc::new(binding("sip:a", "192.0.2.9", start)),
            },
        );
        assert_eq!(admitted(&mut sources, start, "192.0.2.9", 20_000), 20_000);
    }

    #[test]
    fn an_address_whose_registration_expired_is_known_for_a_day_and_more() {
        let (mut sources, start) = (Sources::new(1, []), Instant::now());
        let phone = Arc::new(binding("sip:a", "192.0.2.7", start));
        let aor: Arc<str> = "sip:a@x".into();
        sources.restored(&phone);
        sources.follow(
            start,
            &BindingChange::Removed {
                aor,
                binding: phone,
                why: RemovalCause::Expired,
            },
        );
        assert_eq!(admitted(&mut sources, start, "192.0.2.7", 100), 100);
        sources.lapsed(start + LAPSED, ip("192.0.2.8"));
        assert_eq!(admitted(&mut sources, start + LAPSED, "192.0.2.7", 100), 1);
        assert_eq!(sources.lapsed.len(), sources.lapses.len());
        for n in 0..KNOWN as u32 + 9 {
            sources.lapsed(start + LAPSED, IpAddr::from(n.to_be_bytes()));
        }
        assert_eq!((sources.lapsed.len(), sources.lapses.len()), (KNOWN, KNOWN));
    }

    #[test]
    fn a_restored_registration_counts_like_a_fresh_one() {
        let (mut sources, start) = (Sources::new(1, []), Instant::now());
        sources.restored(&binding("sip:a", "192.0.2.7", start));
        assert_eq!(admitted(&mut sources, start, "192.0.2.7", 10), 10);
    }

    #[test]
    fn a_flood_of_invented_addresses_shares_one_bucket_and_the_table_stays_bounded() {
        let (mut sources, start) = (Sources::new(50, []), Instant::now());
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        let known = address(7);
        for n in 0..100_000 {
            sources.admits(start, address(n), b"");
        }
        assert_eq!(sources.strangers(), STRANGERS);
        assert_eq!(
            sources.shed,
            100_000 - STRANGERS as u64 - 50 * u64::from(SHARED)
        );
        assert!(sources.admits(start, known, b""), "its own bucket stays");
        let later = start + Duration::from_secs(2);
        assert!(sources.admits(later, address(200_000), b""));
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
