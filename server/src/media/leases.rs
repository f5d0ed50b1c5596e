//! The ports of one media worker: bound in advance, leased to signalling, quarantined after use.
//!
//! ```text
//!             bind                 lease                 open                close
//!   (range) ───────▶ idle ───────────────▶ leased ───────────────▶ open ─────────────┐
//!                      ▲                      │ returned                             ▼
//!                      └──────────────────────┴───────────────────────────── quarantined (5 s)
//! ```
//!
//! Each worker owns its own share of the configured range (every `workers`-th pair), so no two workers ever
//! speak about the same port. A pair once bound stays bound: leasing it again costs no system call, and no
//! other program can take the port in between. What arrives for a pair that is not open is read and dropped.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use media_bridge::{Lease, LeaseId, LegId};

/// How long a pair rests after a call before another call may have it: late packets of the old call die here.
pub(crate) const QUARANTINE: Duration = Duration::from_secs(5);

/// Where media sockets of one address family are bound, and what SDP says of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MediaAddress {
    /// The local address sockets are bound to (may be unspecified).
    pub(crate) bind: IpAddr,
    /// The address written into SDP; unspecified: the one each peer's signalling reaches us at.
    pub(crate) advertise: IpAddr,
}

/// One worker's share of the port range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortShare {
    /// First port of the whole range (an odd one is rounded up).
    pub(crate) first: u16,
    /// Last port of the whole range, inclusive.
    pub(crate) last: u16,
    /// This worker's index.
    pub(crate) worker: u16,
    /// Number of workers sharing the range.
    pub(crate) workers: u16,
}

impl PortShare {
    /// The RTP port of this share's `index`-th pair, or `None` past the end of the range.
    fn port(&self, index: u32) -> Option<u16> {
        let first = u32::from(self.first) + u32::from(self.first % 2);
        let pair = index
            .checked_mul(u32::from(self.workers.max(1)))?
            .checked_add(u32::from(self.worker))?;
        let rtp = first.checked_add(pair.checked_mul(2)?)?;
        (rtp < u32::from(self.last))
            .then(|| u16::try_from(rtp).ok())
            .flatten()
    }
}

/// Index of a pair of sockets inside its worker; small and dense.
pub(crate) type SlotIndex = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Leased(LeaseId),
    Open(LeaseId, LegId),
    Quarantined,
}

#[derive(Debug)]
struct Slot<S> {
    sockets: S,
    rtp: SocketAddr,
    state: State,
}

/// One address family's ports.
#[derive(Debug)]
struct Family {
    address: MediaAddress,
    /// Pairs ready to lease, the longest rested first.
    idle: VecDeque<SlotIndex>,
    /// Next pair of the range never tried so far.
    next: u32,
    /// Pairs another program held when they were tried; tried again when the range is used up. Bounded by the range.
    skipped: VecDeque<u16>,
    /// After a round without success: not before this.
    retry_at: Option<Instant>,
    /// Leases asked for and not yet given, because the range is used up. Bounded: `want` saturates at `WANT_LIMIT`.
    wanted: usize,
}

/// More outstanding wishes than this are forgotten: signalling asks again when it runs short.
const WANT_LIMIT: usize = 1024;
/// Pairs tried in one round: another server on the same range may hold hundreds.
const BIND_ATTEMPTS: usize = 512;
/// Pause between rounds without success.
const RETRY: Duration = Duration::from_millis(100);

/// The lease book of one worker. `S` is the bound socket pair (a plain value in tests).
#[derive(Debug)]
pub(crate) struct Leases<S> {
    share: PortShare,
    v4: Option<Family>,
    v6: Option<Family>,
    slots: Vec<Slot<S>>,
    /// Bounded by the slots; oldest first because every rest is equally long.
    quarantined: VecDeque<(Instant, SlotIndex)>,
    leased: BTreeMap<LeaseId, SlotIndex>,
    next_lease: u64,
}

impl<S> Leases<S> {
    /// A book without any bound port.
    pub(crate) fn new(
        share: PortShare,
        v4: Option<MediaAddress>,
        v6: Option<MediaAddress>,
    ) -> Self {
        let family = |address| Family {
            address,
            idle: VecDeque::new(),
            next: 0,
            skipped: VecDeque::new(),
            retry_at: None,
            wanted: 0,
        };
        Self {
            share,
            v4: v4.map(family),
            v6: v6.map(family),
            slots: Vec::new(),
            quarantined: VecDeque::new(),
            leased: BTreeMap::new(),
            next_lease: 0,
        }
    }

    /// Notes that signalling wants `count` more leases; [`Leases::grant`] gives them.
    pub(crate) fn want(&mut self, ipv6: bool, count: usize) {
        if let Some(family) = self.family(ipv6) {
            family.wanted = family.wanted.saturating_add(count).min(WANT_LIMIT);
        }
    }

    fn family(&mut self, ipv6: bool) -> Option<&mut Family> {
        if ipv6 {
            self.v6.as_mut()
        } else {
            self.v4.as_mut()
        }
    }

    /// Gives one lease that is wanted, binding a new pair by `bind` when no rested one is left. `bind` is told
    /// the RTP address and the slot index it will get. `None` when nothing is wanted or nothing can be had now.
    pub(crate) fn grant(
        &mut self,
        now: Instant,
        mut bind: impl FnMut(SocketAddr, SlotIndex) -> std::io::Result<S>,
    ) -> Option<Lease> {
        self.end_quarantine(now);
        [false, true]
            .into_iter()
            .find_map(|ipv6| self.grant_one(now, ipv6, &mut bind))
    }

    fn grant_one(
        &mut self,
        now: Instant,
        ipv6: bool,
        bind: &mut impl FnMut(SocketAddr, SlotIndex) -> std::io::Result<S>,
    ) -> Option<Lease> {
        let share = self.share;
        let index = SlotIndex::try_from(self.slots.len()).ok()?;
        let family = self.family(ipv6)?;
        if family.wanted == 0 || family.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        let advertise = family.address.advertise;
        let mut fresh = None;
        let slot = match family.idle.pop_front() {
            Some(slot) => slot,
            None => {
                let Some((sockets, rtp)) = bind_next(family, share, index, bind) else {
                    // With nothing left to try, the end of a quarantine is what to wait for.
                    let more = !family.skipped.is_empty() || share.port(family.next).is_some();
                    family.retry_at = more.then(|| now + RETRY);
                    return None;
                };
                family.retry_at = None;
                fresh = Some(Slot {
                    sockets,
                    rtp,
                    state: State::Idle,
                });
                index
            }
        };
        family.wanted -= 1;
        self.slots.extend(fresh);
        self.next_lease += 1;
        let id = LeaseId(u64::from(share.worker) << 48 | self.next_lease);
        let entry = self.slots.get_mut(slot as usize)?;
        entry.state = State::Leased(id);
        self.leased.insert(id, slot);
        Some(Lease {
            id,
            worker: share.worker,
            rtp: entry.rtp,
            advertise,
        })
    }

    /// Binds a leased pair to its leg. `None` for a lease that is unknown or not free to open.
    pub(crate) fn open(&mut self, lease: LeaseId, leg: LegId) -> Option<SlotIndex> {
        let index = *self.leased.get(&lease)?;
        let slot = self.slots.get_mut(index as usize)?;
        match slot.state {
            State::Leased(id) if id == lease => {
                slot.state = State::Open(lease, leg);
                Some(index)
            }
            _ => None,
        }
    }

    /// The leg that reads from a slot, if it is open.
    pub(crate) fn leg(&self, slot: SlotIndex) -> Option<LegId> {
        match self.slots.get(slot as usize)?.state {
            State::Open(_, leg) => Some(leg),
            _ => None,
        }
    }

    /// The sockets of a slot.
    pub(crate) fn sockets(&self, slot: SlotIndex) -> Option<&S> {
        self.slots.get(slot as usize).map(|slot| &slot.sockets)
    }

    /// Ends the use of a slot after its leg closed: it rests until the quarantine is over.
    pub(crate) fn close(&mut self, now: Instant, slot: SlotIndex) {
        if let Some(entry) = self.slots.get_mut(slot as usize)
            && let State::Open(lease, _) | State::Leased(lease) = entry.state
        {
            entry.state = State::Quarantined;
            self.leased.remove(&lease);
            self.quarantined.push_back((now + QUARANTINE, slot));
        }
    }

    /// Takes back a lease that never opened. It rests too: its address may have stood in an offer.
    pub(crate) fn give_back(&mut self, now: Instant, lease: LeaseId) {
        if let Some(slot) = self.leased.get(&lease).copied()
            && matches!(
                self.slots.get(slot as usize).map(|slot| slot.state),
                Some(State::Leased(_))
            )
        {
            self.close(now, slot);
        }
    }

    fn end_quarantine(&mut self, now: Instant) {
        while let Some((until, slot)) = self.quarantined.front().copied()
            && until <= now
        {
            self.quarantined.pop_front();
            if let Some(entry) = self.slots.get_mut(slot as usize) {
                entry.state = State::Idle;
                let ipv6 = entry.rtp.is_ipv6();
                if let Some(family) = self.family(ipv6) {
                    family.idle.push_back(slot);
                }
            }
        }
    }

    /// When a lease that is wanted can be tried again.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let rested = self.quarantined.front().map(|(until, _)| *until);
        [&self.v4, &self.v6]
            .into_iter()
            .flatten()
            .filter(|family| family.wanted > 0)
            .flat_map(|family| [family.retry_at, rested])
            .flatten()
            .min()
    }

    /// Pairs bound so far (each costs two file descriptors).
    pub(crate) fn bound(&self) -> usize {
        self.slots.len()
    }
}

fn bind_next<S>(
    family: &mut Family,
    share: PortShare,
    index: SlotIndex,
    bind: &mut impl FnMut(SocketAddr, SlotIndex) -> std::io::Result<S>,
) -> Option<(S, SocketAddr)> {
    let mut skipped_left = family.skipped.len();
    for _ in 0..BIND_ATTEMPTS {
        let port = match share.port(family.next) {
            Some(port) => {
                family.next += 1;
                port
            }
            None if skipped_left > 0 => {
                skipped_left -= 1;
                family.skipped.pop_front()?
            }
            None => return None,
        };
        let rtp = SocketAddr::new(family.address.bind, port);
        match bind(rtp, index) {
            Ok(sockets) => return Some((sockets, rtp)),
            Err(error) => {
                tracing::debug!(%rtp, %error, "media port skipped");
                family.skipped.push_back(port);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const V4: MediaAddress = MediaAddress {
        bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        advertise: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
    };

    fn book(first: u16, last: u16) -> Leases<u16> {
        Leases::new(
            PortShare {
                first,
                last,
                worker: 0,
                workers: 1,
            },
            Some(V4),
            None,
        )
    }

    fn port(rtp: SocketAddr, _: SlotIndex) -> std::io::Result<u16> {
        Ok(rtp.port())
    }

    #[test]
    fn pairs_are_even_and_end_inside_the_range() {
        let mut book = book(20_001, 20_006);
        book.want(false, 5);
        let now = Instant::now();
        let ports: Vec<u16> = std::iter::from_fn(|| book.grant(now, port))
            .map(|lease| lease.rtp.port())
            .collect();
        assert_eq!(ports, [20_002, 20_004]);
    }

    #[test]
    fn workers_share_the_range_without_meeting() {
        let mut seen = std::collections::BTreeSet::new();
        for worker in 0..3 {
            let share = PortShare {
                first: 30_000,
                last: 30_029,
                worker,
                workers: 3,
            };
            for index in 0.. {
                let Some(port) = share.port(index) else { break };
                assert!(seen.insert(port), "{port} given twice");
            }
        }
        assert_eq!(seen.len(), 15);
    }

    #[test]
    fn a_closed_pair_rests_before_it_is_leased_again() {
        let mut book = book(20_000, 20_001);
        let start = Instant::now();
        book.want(false, 1);
        let first = book.grant(start, port).unwrap();
        let slot = book.open(first.id, LegId(7)).unwrap();
        assert_eq!(book.leg(slot), Some(LegId(7)));
        book.close(start, slot);
        assert_eq!(book.leg(slot), None);
        book.want(false, 1);
        assert_eq!(book.grant(start + QUARANTINE / 2, port), None);
        assert_eq!(book.next_timeout(), Some(start + QUARANTINE));
        let second = book.grant(start + QUARANTINE, port).unwrap();
        assert_eq!(second.rtp, first.rtp);
        assert_ne!(second.id, first.id);
    }

    #[test]
    fn a_stale_lease_neither_opens_nor_closes_the_pair_of_its_successor() {
        let mut book = book(20_000, 20_001);
        let start = Instant::now();
        book.want(false, 1);
        let first = book.grant(start, port).unwrap();
        book.give_back(start, first.id);
        book.want(false, 1);
        let second = book.grant(start + QUARANTINE, port).unwrap();
        assert_eq!(book.open(first.id, LegId(1)), None);
        book.give_back(start + QUARANTINE, first.id);
        assert!(book.open(second.id, LegId(2)).is_some());
        assert_eq!(book.open(second.id, LegId(3)), None, "a lease opens once");
    }

    #[test]
    fn ports_held_by_others_are_skipped() {
        let mut book = book(20_000, 20_005);
        book.want(false, 1);
        let lease = book
            .grant(Instant::now(), |rtp, index| {
                if rtp.port() == 20_000 {
                    Err(std::io::ErrorKind::AddrInUse.into())
                } else {
                    port(rtp, index)
                }
            })
            .unwrap();
        assert_eq!(lease.rtp.port(), 20_002);
        assert_eq!(lease.advertise, V4.advertise);
    }

    #[test]
    fn a_port_that_was_held_is_tried_again_when_the_range_is_used_up() {
        let mut book = book(20_000, 20_001);
        let start = Instant::now();
        book.want(false, 1);
        let held = |_: SocketAddr, _: SlotIndex| Err(std::io::ErrorKind::AddrInUse.into());
        assert_eq!(book.grant(start, held), None);
        assert_eq!(book.next_timeout(), Some(start + RETRY));
        assert_eq!(
            book.grant(start, port),
            None,
            "not before the pause is over"
        );
        assert_eq!(book.grant(start + RETRY, port).unwrap().rtp.port(), 20_000);
    }
}
