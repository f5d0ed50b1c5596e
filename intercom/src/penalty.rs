//! Brute force: each wrong password costs the address it came from more time, in which it is not answered at all.
//!
//! ```text
//!   wrong ── free tries left ──► answered
//!   wrong ── none left ────────► silence 1 s, 2 s, 4 s … 15 min, whatever user is named
//! ```
//!
//! Penalties are per source address alone, so that nobody can lock an account; who is exempt (a device where it is
//! registered) the caller decides.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Wrong answers without a penalty: a phone set up anew, a typing error.
const FREE: u32 = 5;
/// The first silence; each further wrong answer doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// The longest silence.
const LONGEST: Duration = Duration::from_secs(900);
/// A source that has not failed for so long starts anew.
const FORGET: Duration = Duration::from_secs(3_600);
/// Sources remembered. When full, the one whose last failure is the longest ago is forgotten.
const SOURCES: usize = 4_096;

#[derive(Clone, Copy, Debug)]
struct Source {
    failures: u32,
    last: Instant,
    until: Instant,
}

/// The sources that failed lately.
#[derive(Debug, Default)]
pub(crate) struct Penalties {
    sources: BTreeMap<IpAddr, Source>,
    /// The same by time of the last failure, oldest first.
    order: BTreeSet<(Instant, IpAddr)>,
}

impl Penalties {
    /// A wrong password came from `address`; `true` when silence follows.
    pub(crate) fn failed(&mut self, now: Instant, address: IpAddr) -> bool {
        let address = network(address);
        self.forget(now);
        let before = self.sources.get(&address).copied();
        if let Some(before) = before {
            self.order.remove(&(before.last, address));
        } else if self.sources.len() >= SOURCES
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.sources.remove(&oldest);
        }
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let length = penalty(failures);
        let source = Source {
            failures,
            last: now,
            until: now + length,
        };
        self.sources.insert(address, source);
        self.order.insert((now, address));
        !length.is_zero()
    }

    /// Whether `address` is to be met with silence.
    pub(crate) fn silent(&self, now: Instant, address: IpAddr) -> bool {
        !self.sources.is_empty()
            && self
                .sources
                .get(&network(address))
                .is_some_and(|source| source.until > now)
    }

    /// Sources met with silence now or later on: for the metrics.
    pub(crate) fn len(&self) -> usize {
        self.sources.len()
    }

    fn forget(&mut self, now: Instant) {
        while let Some((last, address)) = self.order.first().copied() {
            if now.saturating_duration_since(last) < FORGET {
                break;
            }
            self.order.remove(&(last, address));
            self.sources.remove(&address);
        }
    }
}

fn penalty(failures: u32) -> Duration {
    match failures.checked_sub(FREE + 1) {
        None => Duration::ZERO,
        Some(more) => FIRST.saturating_mul(1 << more.min(16)).min(LONGEST),
    }
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
        let lengths: Vec<u64> = (1..=18).map(|n| penalty(n).as_secs()).collect();
        assert_eq!(lengths[..8], [0, 0, 0, 0, 0, 1, 2, 4]);
        assert_eq!(lengths[14..], [512, 900, 900, 900]);
        assert_eq!(penalty(u32::MAX), LONGEST);
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
    fn the_table_is_bounded_and_keeps_the_latest() {
        let (mut penalties, mut now) = (Penalties::default(), origin());
        for _ in 0..=FREE {
            penalties.failed(now, address(1));
        }
        for n in 0..SOURCES as u32 * 2 {
            now += Duration::from_micros(1);
            penalties.failed(now, IpAddr::from(n.to_be_bytes()));
        }
        assert_eq!(penalties.len(), SOURCES);
        assert_eq!(penalties.order.len(), SOURCES);
        assert!(!penalties.silent(now, address(1)), "the oldest went");
    }
}
