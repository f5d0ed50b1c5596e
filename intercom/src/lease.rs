//! Media port leases: socket pairs the media workers bound in advance, so that an SDP needs no
//! round trip to a worker. Pools per worker and address family; both legs of a call come from
//! one worker.

use std::collections::{BTreeMap, VecDeque};

use media_bridge::{Lease, LeaseId};

/// A request to the shell for more leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Media worker.
    pub worker: u16,
    /// Address family.
    pub ipv6: bool,
    /// How many.
    pub count: usize,
}

/// The pools. Bounded by `keep`: a lease beyond it goes back to the shell at once.
#[derive(Debug)]
pub struct Leases {
    pools: BTreeMap<(u16, bool), Pool>,
    keep: usize,
}

#[derive(Debug, Default)]
struct Pool {
    free: VecDeque<Lease>,
    /// Asked for and not yet arrived.
    asked: usize,
}

impl Leases {
    /// Pools for `workers` workers and the given families (`false` IPv4, `true` IPv6), each
    /// kept at `keep` free leases.
    pub fn new(workers: u16, families: &[bool], keep: usize) -> Self {
        let mut pools = BTreeMap::new();
        for worker in 0..workers {
            for family in families {
                pools.insert((worker, *family), Pool::default());
            }
        }
        Leases { pools, keep }
    }

    /// Takes in a fresh lease; hands it back when its pool is full or unknown.
    pub fn put(&mut self, lease: Lease) -> Option<LeaseId> {
        let Some(pool) = self.pools.get_mut(&(lease.worker, lease.rtp.is_ipv6())) else {
            return Some(lease.id);
        };
        pool.asked = pool.asked.saturating_sub(1);
        if pool.free.len() >= self.keep {
            return Some(lease.id);
        }
        pool.free.push_back(lease);
        None
    }

    /// Takes a lease of a family: from `worker` when the call already has one, else from the
    /// worker with most free leases (lowest number when equal).
    pub fn take(&mut self, worker: Option<u16>, ipv6: bool) -> Option<Lease> {
        let worker = match worker {
            Some(worker) => worker,
            None => {
                self.pools
                    .iter()
                    .filter(|((_, family), _)| *family == ipv6)
                    .max_by_key(|((worker, _), pool)| (pool.free.len(), u16::MAX - worker))?
                    .0
                    .0
            }
        };
        self.pools.get_mut(&(worker, ipv6))?.free.pop_front()
    }

    /// Whether a worker has a lease of that family to give.
    pub fn has(&self, worker: u16, ipv6: bool) -> bool {
        self.pools
            .get(&(worker, ipv6))
            .is_some_and(|pool| !pool.free.is_empty())
    }

    /// What to ask the shell for: every pool below half of `keep` is filled up. A request not
    /// answered is not repeated until something arrives, so an exhausted worker is not flooded.
    pub fn wants(&mut self) -> Vec<Want> {
        let keep = self.keep;
        let mut wants = Vec::new();
        for ((worker, ipv6), pool) in &mut self.pools {
            let have = pool.free.len() + pool.asked;
            if have * 2 < keep || (keep == 1 && have == 0) {
                let count = keep - have;
                pool.asked += count;
                wants.push(Want {
                    worker: *worker,
                    ipv6: *ipv6,
                    count,
                });
            }
        }
        wants
    }

    /// Free leases in all pools.
    pub fn free(&self) -> usize {
        self.pools.values().map(|pool| pool.free.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(id: u64, worker: u16, v6: bool) -> Lease {
        let rtp = if v6 { "[::1]:4000" } else { "127.0.0.1:4000" };
        let rtp: std::net::SocketAddr = rtp.parse().unwrap();
        Lease {
            id: LeaseId(id),
            worker,
            rtp,
            advertise: rtp.ip(),
        }
    }

    #[test]
    fn empty_pools_ask_once() {
        let mut leases = Leases::new(2, &[false, true], 8);
        assert_eq!(leases.wants().len(), 4);
        assert!(leases.wants().is_empty());
    }

    #[test]
    fn second_leg_stays_on_the_worker_of_the_first() {
        let mut leases = Leases::new(2, &[false], 8);
        for (id, worker) in [(1, 0), (2, 1), (3, 1)] {
            assert!(leases.put(lease(id, worker, false)).is_none());
        }
        let first = leases.take(None, false).unwrap();
        assert_eq!(first.worker, 1);
        assert_eq!(leases.take(Some(1), false).unwrap().worker, 1);
        assert!(leases.take(Some(1), false).is_none());
    }

    #[test]
    fn family_is_kept_apart_and_overflow_returned() {
        let mut leases = Leases::new(1, &[false], 1);
        assert_eq!(leases.put(lease(1, 0, true)), Some(LeaseId(1)));
        assert_eq!(leases.put(lease(2, 0, false)), None);
        assert_eq!(leases.put(lease(3, 0, false)), Some(LeaseId(3)));
    }
}
