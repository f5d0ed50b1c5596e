//! Brute force: each wrong password costs the address it came from more time, in which it is not answered at all; and many
//! of them for one account, from wherever, cost strangers to that account theirs.
//!
//! ```text
//!   wrong ── free tries left ──► answered
//!   wrong ── none left ────────► silence 1 s, 2 s, 4 s …  of a source: 15 min, whatever user it names
//!                                                         of an account: 5 min, to sources where it is not at home
//! ```
//!
//! Nobody can lock an account: who is exempt (a device where it is registered, was lately, or has called from) the caller
//! decides by [`Penalties::is_at_home`] and its registrations. A user nobody has is counted like any other, so that silence
//! does not tell who exists.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Wrong answers without a penalty: a phone set up anew, a typing error.
const FREE: u32 = 5;
/// Wrong answers for one account without a penalty: several phones set up anew.
const FREE_ACCOUNT: u32 = 20;
/// The first silence; each further wrong answer doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// The longest silence of a source.
const LONGEST: Duration = Duration::from_secs(900);
/// The longest silence of an account.
const LONGEST_ACCOUNT: Duration = Duration::from_secs(300);
/// Who has not failed for so long starts anew.
const FORGET: Duration = Duration::from_secs(3_600);
/// Sources and accounts remembered, each. When full, the one whose last failure is the longest ago is forgotten.
const FAILING: usize = 4_096;
/// Homes remembered of accounts that are not registered there now. When full, the oldest is forgotten.
const HOMES: usize = 16_384;
/// Octets of a user name looked at: longer ones are nobody's.
const NAME: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Failing {
    failures: u32,
    last: Instant,
    until: Instant,
}

/// Who failed lately, by address or by name.
#[derive(Debug)]
struct Failures<K> {
    all: BTreeMap<K, Failing>,
    /// The same by time of the last failure, oldest first.
    order: BTreeSet<(Instant, K)>,
    free: u32,
    longest: Duration,
    /// No silence lasts longer than this.
    latest: Option<Instant>,
}

impl<K: Ord + Clone> Failures<K> {
    fn new(free: u32, longest: Duration) -> Self {
        Failures {
            all: BTreeMap::new(),
            order: BTreeSet::new(),
            free,
            longest,
            latest: None,
        }
    }

    /// Counts one; `true` when silence follows.
    fn failed(&mut self, now: Instant, key: K) -> bool {
        self.forget(now);
        let before = self.all.get(&key).copied();
        if let Some(before) = before {
            self.order.remove(&(before.last, key.clone()));
        } else if self.all.len() >= FAILING
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.all.remove(&oldest);
        }
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let length = penalty(failures, self.free, self.longest);
        let until = now + length;
        let failing = Failing {
            failures,
            last: now,
            until,
        };
        self.all.insert(key.clone(), failing);
        self.order.insert((now, key));
        if !length.is_zero() {
            self.latest = self.latest.max(Some(until));
        }
        !length.is_zero()
    }

    fn silent<Q: Ord + ?Sized>(&self, now: Instant, key: &Q) -> bool
    where
        K: std::borrow::Borrow<Q>,
    {
        self.any_silent(now) && self.all.get(key).is_some_and(|failing| failing.until > now)
    }

    fn any_silent(&self, now: Instant) -> bool {
        self.latest.is_some_and(|latest| latest > now)
    }

    fn forget(&mut self, now: Instant) {
        while let Some((last, key)) = self.order.first().cloned() {
            if now.saturating_duration_since(last) < FORGET {
                break;
            }
            self.all.remove(&key);
            self.order.remove(&(last, key));
        }
    }
}

/// Sources and accounts that failed lately, and where accounts are at home.
#[derive(Debug)]
pub(crate) struct Penalties {
    sources: Failures<IpAddr>,
    accounts: Failures<Box<str>>,
    homes: BTreeMap<(Box<str>, IpAddr), Instant>,
    /// The same, oldest first.
    home_order: BTreeSet<(Instant, Box<str>, IpAddr)>,
}

impl Default for Penalties {
    fn default() -> Self {
        Penalties {
            sources: Failures::new(FREE, LONGEST),
            accounts: Failures::new(FREE_ACCOUNT, LONGEST_ACCOUNT),
            homes: BTreeMap::new(),
            home_order: BTreeSet::new(),
        }
    }
}

impl Penalties {
    /// A wrong password came from `address`; `true` when silence follows.
    pub(crate) fn failed(&mut self, now: Instant, address: IpAddr) -> bool {
        self.sources.failed(now, network(address))
    }

    /// A wrong password for `user` came from where it is not at home; `true` when silence follows.
    pub(crate) fn failed_as(&mut self, now: Instant, user: &str) -> bool {
        self.accounts.failed(now, name(user).into())
    }

    /// Whether `address` is to be met with silence.
    pub(crate) fn silent(&self, now: Instant, address: IpAddr) -> bool {
        self.sources.silent(now, &network(address))
    }

    /// Whether strangers who name `user` are to be met with silence.
    pub(crate) fn silent_as(&self, now: Instant, user: &str) -> bool {
        self.accounts.silent(now, name(user))
    }

    /// Whether there is any such account.
    pub(crate) fn accounts_silent(&self, now: Instant) -> bool {
        self.accounts.any_silent(now)
    }

    /// `user` has proved itself from `address`.
    pub(crate) fn at_home(&mut self, now: Instant, user: &str, address: IpAddr) {
        let (user, address): (Box<str>, _) = (name(user).into(), network(address));
        if let Some(before) = self.homes.insert((user.clone(), address), now) {
            self.home_order.remove(&(before, user.clone(), address));
        }
        self.home_order.insert((now, user, address));
        while self.homes.len() > HOMES
            && let Some((_, user, address)) = self.home_order.pop_first()
        {
            self.homes.remove(&(user, address));
        }
    }

    /// Whether `user` once proved itself from `address`.
    pub(crate) fn is_at_home(&self, user: &str, address: IpAddr) -> bool {
        !self.homes.is_empty()
            && self
                .homes
                .contains_key(&(name(user).into(), network(address)))
    }

    /// Sources met with silence now or later on: for the metrics.
    pub(crate) fn len(&self) -> usize {
        self.sources.all.len()
    }
}

fn penalty(failures: u32, free: u32, longest: Duration) -> Duration {
    match failures.checked_sub(free + 1) {
        None => Duration::ZERO,
        Some(more) => FIRST.saturating_mul(1 << more.min(16)).min(longest),
    }
}

/// What is remembered of a user name.
fn name(user: &str) -> &str {
    let mut end = user.len().min(NAME);
    while !user.is_char_boundary(end) {
        end -= 1;
    }
    user.get(..end).unwrap_or_default()
}

/// What one host has for itself: an IPv4 address, or an IPv6 /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "one origin for the test")]
        Instant::now()
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn silence_doubles_after_the_free_tries_up_to_a_bound() {
        let lengths: Vec<u64> = (1..=18)
            .map(|n| penalty(n, FREE, LONGEST).as_secs())
            .collect();
        assert_eq!(lengths[..8], [0, 0, 0, 0, 0, 1, 2, 4]);
        assert_eq!(lengths[14..], [512, 900, 900, 900]);
        assert_eq!(penalty(u32::MAX, FREE, LONGEST), LONGEST);
    }

    #[test]
    fn silence_ends_comes_back_longer_and_is_forgotten() {
        let (mut penalties, now) = (Penalties::default(), origin());
        for _ in 0..FREE {
            assert!(!penalties.failed(now, address(1)));
        }
        assert!(!penalties.silent(now, address(1)));
        assert!(penalties.failed(now, address(1)));
        assert!(penalties.silent(now, address(1)) && !penalties.silent(now, address(2)));
        let later = now + FIRST;
        assert!(!penalties.silent(later, address(1)));
        penalties.failed(later, address(1));
        assert!(penalties.silent(later + FIRST, address(1)), "twice as long");
        let much_later = later + FORGET;
        assert!(!penalties.failed(much_later, address(1)));
        assert_eq!(penalties.len(), 1);
    }

    #[test]
    fn an_account_guessed_at_from_everywhere_is_silent_whoever_it_is() {
        let (mut penalties, now) = (Penalties::default(), origin());
        for n in 0..=FREE_ACCOUNT {
            assert_eq!(penalties.failed_as(now, "lobby"), n == FREE_ACCOUNT);
        }
        assert!(penalties.accounts_silent(now) && penalties.silent_as(now, "lobby"));
        assert!(!penalties.silent_as(now, "desk"));
        assert!(!penalties.accounts_silent(now + FIRST));
        for _ in 0..30 {
            penalties.failed_as(now, "lobby");
        }
        assert!(penalties.silent_as(now + LONGEST_ACCOUNT - FIRST, "lobby"));
        assert!(!penalties.silent_as(now + LONGEST_ACCOUNT, "lobby"));
    }

    #[test]
    fn a_home_is_remembered_and_the_oldest_forgotten_first() {
        let (mut penalties, now) = (Penalties::default(), origin());
        penalties.at_home(now, "lobby", address(1));
        assert!(penalties.is_at_home("lobby", address(1)));
        assert!(!penalties.is_at_home("lobby", address(2)));
        assert!(!penalties.is_at_home("desk", address(1)));
        for n in 0..HOMES {
            penalties.at_home(now + FIRST, &n.to_string(), address(1));
        }
        assert!(!penalties.is_at_home("lobby", address(1)));
        assert_eq!(penalties.homes.len(), HOMES);
        assert_eq!(penalties.home_order.len(), HOMES);
    }

    #[test]
    fn an_ipv6_host_cannot_hide_among_its_addresses() {
        let (mut penalties, now) = (Penalties::default(), origin());
        for last in 0..=FREE {
            let address: IpAddr = format!("2001:db8::{last:x}").parse().unwrap();
            penalties.failed(now, address);
        }
        let silent = |text: &str| penalties.silent(now, text.parse().unwrap());
        assert!(silent("2001:db8::ffff") && !silent("2001:db8:0:1::1"));
    }

    #[test]
    fn the_tables_are_bounded_and_forget_the_oldest_first() {
        let (mut penalties, now) = (Penalties::default(), origin());
        for n in 0..u32::try_from(FAILING).unwrap() + 10 {
            let at = now + Duration::from_millis(n.into());
            penalties.failed(at, IpAddr::from(n.to_be_bytes()));
            penalties.failed_as(at, &n.to_string());
        }
        assert_eq!(penalties.len(), FAILING);
        assert_eq!(penalties.accounts.all.len(), FAILING);
        assert_eq!(penalties.accounts.order.len(), FAILING);
        assert!(!penalties.sources.all.contains_key(&IpAddr::from([0; 4])));
    }
}
