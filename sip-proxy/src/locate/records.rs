//! What is asked of the DNS and what it answers; the order of SRV records (RFC 2782).

use std::net::IpAddr;
use std::time::Duration;

use rand::Rng;

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Which transports a domain offers (RFC 3403).
    Naptr,
    /// Which hosts and ports a service has (RFC 2782).
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

/// One question to the DNS. Aliases (CNAME) are followed by who asks, a bounded number of times.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// A fully qualified name, in lower case, without the final dot.
    pub name: String,
    /// What is wanted.
    pub kind: Kind,
}

/// A NAPTR record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naptr {
    /// Lower first.
    pub order: u16,
    /// Lower first among the same order.
    pub preference: u16,
    /// Only `s` leads on to SRV records (RFC 3263 §4.1).
    pub flags: String,
    /// `SIP+D2U`, `SIPS+D2T` …
    pub service: String,
    /// The name to ask for SRV records.
    pub replacement: String,
}

/// An SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Srv {
    /// Lower first.
    pub priority: u16,
    /// Share among those of the same priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host; `.` says that the service is not offered.
    pub target: String,
}

/// The records of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Records {
    /// To a question for NAPTR.
    Naptr(Vec<Naptr>),
    /// To a question for SRV.
    Srv(Vec<Srv>),
    /// To a question for A or AAAA.
    Addresses(Vec<IpAddr>),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Records, good for so long.
    Found {
        /// The records.
        records: Records,
        /// Their time to live.
        ttl: Duration,
    },
    /// There are none (no such name, or none of that kind), good for so long (RFC 2308).
    Nothing {
        /// The negative time to live.
        ttl: Duration,
    },
    /// No server answered, or none in a way that says anything.
    Failed,
}

/// Records of one answer that are looked at: a poisoned or absurd zone must not make a thousand candidates.
const MOST: usize = 16;

impl Answer {
    pub(super) fn naptr(&self) -> &[Naptr] {
        match self {
            Answer::Found {
                records: Records::Naptr(records),
                ..
            } => records.get(..MOST).unwrap_or(records),
            _ => &[],
        }
    }

    pub(super) fn srv(&self) -> &[Srv] {
        match self {
            Answer::Found {
                records: Records::Srv(records),
                ..
            } => records.get(..MOST).unwrap_or(records),
            _ => &[],
        }
    }

    pub(super) fn addresses(&self) -> &[IpAddr] {
        match self {
            Answer::Found {
                records: Records::Addresses(records),
                ..
            } => records.get(..MOST).unwrap_or(records),
            _ => &[],
        }
    }
}

/// SRV records in the order to be tried: by priority, and within one priority drawn by weight (RFC 2782, "Usage
/// rules"). Records that say `.` are left out.
pub(super) fn in_order<'a>(records: &'a [Srv], rng: &mut dyn Rng) -> Vec<&'a Srv> {
    let mut rest: Vec<&Srv> = records
        .iter()
        .filter(|record| !matches!(record.target.as_str(), "" | "."))
        .collect();
    // Weight 0 stands first, so that it is drawn with a small chance at all.
    rest.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::with_capacity(rest.len());
    while let Some(priority) = rest.first().map(|record| record.priority) {
        let same = rest
            .iter()
            .take_while(|record| record.priority == priority)
            .count();
        let sum: u64 = rest
            .iter()
            .take(same)
            .map(|record| u64::from(record.weight))
            .sum();
        let drawn = rng.next_u64() % (sum + 1);
        let mut running = 0;
        let at = rest
            .iter()
            .take(same)
            .position(|record| {
                running += u64::from(record.weight);
                running >= drawn
            })
            .unwrap_or(0);
        ordered.push(rest.remove(at));
    }
    ordered
}
