//! Location service: where each address-of-record can be reached now (RFC 3261 section 10).
//!
//! Bindings by address-of-record, with the flow each came by. Expiry is exact: one wake-up per address-of-record,
//! at its earliest binding's end.

mod binding;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

pub use binding::{Binding, BindingChange, Push, RemovalCause};

use crate::transport::ConnectionId;

/// Names of user agents shared among bindings. Overflow rule: a further one is kept with its binding alone.
const AGENTS: usize = 1_024;

/// The bindings of one address-of-record, oldest first: mostly one.
type Bindings = SmallVec<[Arc<Binding>; 1]>;

/// The table. Bounded by `capacity` bindings: over it a REGISTER that adds is refused 503.
#[derive(Debug)]
pub struct Location {
    table: BTreeMap<Arc<str>, Bindings>,
    wakes: BTreeSet<(Instant, Arc<str>)>,
    connections: BTreeSet<(ConnectionId, Arc<str>)>,
    /// Whose temporary GRUUs are whose. One entry per binding that has some.
    gruus: BTreeMap<u64, Arc<str>>,
    agents: HashSet<Arc<str>>,
    count: usize,
    capacity: usize,
}

impl Location {
    /// An empty table for at most `capacity` bindings.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            table: BTreeMap::new(),
            wakes: BTreeSet::new(),
            connections: BTreeSet::new(),
            gruus: BTreeMap::new(),
            agents: HashSet::new(),
            count: 0,
            capacity,
        }
    }

    /// The live bindings, highest q first, the latest registered first among equals.
    #[must_use]
    pub fn lookup(&self, aor: &str, now: Instant) -> Vec<&Binding> {
        let mut found: Vec<&Binding> = self
            .bindings(aor)
            .iter()
            .rev()
            .map(|binding| &**binding)
            .filter(|binding| binding.expires > now)
            .collect();
        found.sort_by_key(|binding| std::cmp::Reverse(binding.q));
        found
    }

    /// All bindings of one address-of-record, oldest first.
    pub(crate) fn bindings(&self, aor: &str) -> &[Arc<Binding>] {
        self.table.get(aor).map_or(&[], SmallVec::as_slice)
    }

    /// The live bindings a temporary GRUU of this number leads to: all flows of one user agent, the best first.
    pub(crate) fn of_gruu(&self, gruu: u64, now: Instant) -> Option<(&str, Vec<&Binding>)> {
        let aor = self.gruus.get(&gruu)?;
        let mut found = self.lookup(aor, now);
        found.retain(|binding| binding.gruu == Some(gruu));
        Some((aor, found))
    }

    /// A user agent's name, shared with the others of that name.
    pub(crate) fn agent(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.agents.get(name) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = name.into();
        if self.agents.len() < AGENTS {
            self.agents.insert(Arc::clone(&shared));
        }
        shared
    }

    /// Every binding in order of address-of-record, for the store and the API.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Binding)> {
        self.table
            .iter()
            .flat_map(|(aor, bindings)| bindings.iter().map(move |binding| (&**aor, &**binding)))
    }

    /// Bindings held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing is registered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether `more` bindings still fit.
    pub(crate) fn has_room(&self, more: usize) -> bool {
        self.count.saturating_add(more) <= self.capacity
    }

    /// Puts a binding back from the store at start; a second one in the same place replaces the first.
    /// Returns false when the table is full.
    pub fn restore(&mut self, aor: &str, mut binding: Binding) -> bool {
        if let Some(name) = binding.user_agent.take() {
            binding.user_agent = Some(self.agent(&name));
        }
        let mut bindings = Bindings::from(self.bindings(aor));
        bindings.retain(|known| !known.is_same_place(&binding));
        bindings.push(Arc::new(binding));
        let before = self.bindings(aor).len();
        if !self.has_room(bindings.len().saturating_sub(before)) {
            return false;
        }
        self.replace(&Arc::from(aor), bindings);
        true
    }

    /// Exchanges all bindings of one address-of-record at once.
    pub(crate) fn replace(&mut self, aor: &Arc<str>, mut bindings: Bindings) {
        bindings.shrink_to_fit();
        let key = match self.table.remove_entry(&**aor) {
            Some((key, old)) => {
                self.count -= old.len();
                if let Some(first) = earliest(&old) {
                    self.wakes.remove(&(first, key.clone()));
                }
                for binding in &old {
                    if let Some(connection) = binding.flow.connection {
                        self.connections.remove(&(connection, key.clone()));
                    }
                    if let Some(gruu) = binding.gruu {
                        self.gruus.remove(&gruu);
                    }
                }
                key
            }
            None => aor.clone(),
        };
        let Some(first) = earliest(&bindings) else {
            return;
        };
        self.wakes.insert((first, key.clone()));
        for binding in &bindings {
            if let Some(connection) = binding.flow.connection {
                self.connections.insert((connection, key.clone()));
            }
            if let Some(gruu) = binding.gruu {
                self.gruus.insert(gruu, key.clone());
            }
        }
        self.count += bindings.len();
        self.table.insert(key, bindings);
    }

    /// The shared name of a known address-of-record, or a new one.
    pub(crate) fn name(&self, aor: &str) -> Arc<str> {
        self.table
            .get_key_value(aor)
            .map_or_else(|| Arc::from(aor), |(key, _)| key.clone())
    }

    fn remove_where(
        &mut self,
        aor: &Arc<str>,
        why: RemovalCause,
        goes: impl Fn(&Binding) -> bool,
        changes: &mut Vec<BindingChange>,
    ) {
        let mut kept = Bindings::new();
        for binding in self.bindings(aor) {
            if goes(binding) {
                changes.push(BindingChange::Removed {
                    aor: aor.clone(),
                    binding: Arc::clone(binding),
                    why,
                });
            } else {
                kept.push(Arc::clone(binding));
            }
        }
        self.replace(aor, kept);
    }

    /// Removes what has ended by `now`.
    #[must_use = "the changes belong in the store"]
    pub fn expire(&mut self, now: Instant) -> Vec<BindingChange> {
        let mut changes = Vec::new();
        while let Some((at, aor)) = self.wakes.first().cloned() {
            if at > now {
                break;
            }
            self.remove_where(
                &aor,
                RemovalCause::Expired,
                |binding| binding.expires <= now,
                &mut changes,
            );
        }
        changes
    }

    /// When [`Self::expire`] next has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// A connection is gone. Bindings of browsers and of RFC 5626 flows on it end, for nobody can connect to them, but for
    /// those that a push can wake (RFC 8599): they wait, not reachable, until the device comes back. Others keep their
    /// contact, towards which the shell opens a new connection.
    #[must_use = "the changes belong in the store"]
    pub fn connection_closed(&mut self, connection: ConnectionId) -> Vec<BindingChange> {
        let mut changes = Vec::new();
        let from = (connection, Arc::from(""));
        let affected: Vec<Arc<str>> = self
            .connections
            .range(from..)
            .take_while(|(id, _)| *id == connection)
            .map(|(_, aor)| aor.clone())
            .collect();
        for aor in affected {
            let mut rest = Bindings::new();
            for binding in self.bindings(&aor) {
                if binding.flow.connection != Some(connection) {
                    rest.push(Arc::clone(binding));
                    continue;
                }
                let mut left = Binding::clone(binding);
                left.lose_connection();
                if left.is_reachable() || left.push.is_some() {
                    rest.push(Arc::new(left));
                } else {
                    changes.push(BindingChange::Removed {
                        aor: aor.clone(),
                        binding: Arc::clone(binding),
                        why: RemovalCause::ConnectionLost,
                    });
                }
            }
            self.replace(&aor, rest);
        }
        changes
    }

    /// Ends every binding of one address-of-record: the account is revoked.
    #[must_use = "the changes belong in the store"]
    pub fn revoke(&mut self, aor: &str) -> Vec<BindingChange> {
        let mut changes = Vec::new();
        self.remove_where(
            &Arc::from(aor),
            RemovalCause::Revoked,
            |_| true,
            &mut changes,
        );
        changes
    }
}

fn earliest(bindings: &[Arc<Binding>]) -> Option<Instant> {
    bindings.iter().map(|binding| binding.expires).min()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::transaction::tests::origin;
    use crate::transport::{Flow, Transport};

    const AOR: &str = "sip:desk@example.com";

    fn binding(contact: &str, q: u16, expires: Instant) -> Binding {
        Binding {
            contact: contact.into(),
            flow: Flow {
                transport: Transport::Wss,
                local: ([192, 0, 2, 1], 443).into(),
                remote: ([192, 0, 2, 9], 40_000).into(),
                connection: Some(ConnectionId(7)),
            },
            source: [192, 0, 2, 9].into(),
            path: Box::default(),
            call_id: "call".into(),
            cseq: 1,
            q,
            outbound: false,
            instance: None,
            reg_id: None,
            user_agent: None,
            expires,
            gruu: None,
            push: None,
        }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn contacts(found: &[&Binding]) -> Vec<String> {
        found
            .iter()
            .map(|binding| binding.contact.to_string())
            .collect()
    }

    fn removed(changes: &[BindingChange]) -> Vec<(&str, RemovalCause)> {
        changes
            .iter()
            .filter_map(|change| match change {
                BindingChange::Removed { binding, why, .. } => Some((&*binding.contact, *why)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn lookup_gives_the_highest_q_first_and_the_latest_among_equals() {
        let (mut location, now) = (Location::new(9), origin());
        for (contact, q) in [("a", 500), ("b", 1000), ("c", 500)] {
            assert!(location.restore(AOR, binding(contact, q, now + seconds(60))));
        }
        assert_eq!(contacts(&location.lookup(AOR, now)), ["b", "c", "a"]);
        assert!(location.lookup("sip:other@example.com", now).is_empty());
    }

    #[test]
    fn what_has_expired_is_not_found_even_before_it_is_removed() {
        let (mut location, now) = (Location::new(9), origin());
        location.restore(AOR, binding("a", 1000, now + seconds(60)));
        assert_eq!(location.lookup(AOR, now + seconds(59)).len(), 1);
        assert!(location.lookup(AOR, now + seconds(60)).is_empty());
        assert_eq!(location.len(), 1);
    }

    #[test]
    fn remaining_seconds_are_rounded_up_and_never_negative() {
        let now = origin();
        let binding = binding("a", 1000, now + Duration::from_millis(1_500));
        assert_eq!(binding.remaining(now), 2);
        assert_eq!(binding.remaining(now + Duration::from_millis(500)), 1);
        assert_eq!(binding.remaining(now + seconds(9)), 0);
    }

    #[test]
    fn expiry_wakes_at_each_end_and_reports_it() {
        let (mut location, now) = (Location::new(9), origin());
        location.restore(AOR, binding("a", 1000, now + seconds(60)));
        location.restore(AOR, binding("b", 1000, now + seconds(30)));
        assert_eq!(location.next_timeout(), Some(now + seconds(30)));
        assert!(location.expire(now + seconds(29)).is_empty());
        let changes = location.expire(now + seconds(30));
        assert_eq!(removed(&changes), [("b", RemovalCause::Expired)]);
        assert_eq!(changes[0].aor(), AOR);
        assert_eq!(location.next_timeout(), Some(now + seconds(60)));
        assert_eq!(location.expire(now + seconds(90)).len(), 1);
        assert_eq!((location.is_empty(), location.next_timeout()), (true, None));
    }

    #[test]
    fn a_full_table_restores_only_what_it_knows() {
        let (mut location, now) = (Location::new(1), origin());
        assert!(location.restore(AOR, binding("a", 1000, now + seconds(60))));
        assert!(!location.restore(AOR, binding("b", 1000, now + seconds(60))));
        assert!(location.restore(AOR, binding("a", 500, now + seconds(90))));
        assert_eq!(
            (location.len(), location.next_timeout()),
            (1, Some(now + seconds(90)))
        );
    }

    #[test]
    fn a_closed_connection_ends_browsers_and_leaves_the_contact_of_others() {
        let (mut location, now) = (Location::new(9), origin());
        let mut desk = binding("tcp", 1000, now + seconds(60));
        desk.flow.transport = Transport::Tcp;
        location.restore(AOR, desk);
        location.restore(AOR, binding("browser", 1000, now + seconds(60)));
        assert!(location.connection_closed(ConnectionId(8)).is_empty());
        let changes = location.connection_closed(ConnectionId(7));
        assert_eq!(
            removed(&changes),
            [("browser", RemovalCause::ConnectionLost)]
        );
        let left = location.lookup(AOR, now);
        assert_eq!(contacts(&left), ["tcp"]);
        assert_eq!(left[0].flow.connection, None);
        assert!(location.connection_closed(ConnectionId(7)).is_empty());
    }

    #[test]
    fn revoking_ends_every_binding_of_the_account_alone() {
        let (mut location, now) = (Location::new(9), origin());
        location.restore(AOR, binding("a", 1000, now + seconds(60)));
        location.restore(AOR, binding("b", 1000, now + seconds(60)));
        location.restore(
            "sip:other@example.com",
            binding("c", 1000, now + seconds(60)),
        );
        let changes = location.revoke(AOR);
        let why = RemovalCause::Revoked;
        assert_eq!(removed(&changes), [("a", why), ("b", why)]);
        assert_eq!(location.len(), 1);
        assert!(location.revoke(AOR).is_empty());
    }

    #[test]
    fn only_a_device_at_its_own_address_is_tried_by_tcp() {
        let now = origin();
        let udp = |contact: &str| {
            let mut binding = binding(contact, 1_000, now);
            binding.flow.transport = Transport::Udp;
            binding.flow.connection = None;
            binding.flow.remote = "192.0.2.7:5062".parse().unwrap();
            binding
        };
        let direct = udp("sip:a@192.0.2.7:5062");
        assert_eq!(direct.way(), direct.flow);
        for behind in [
            "sip:a@10.0.0.7:5062",
            "sip:a@192.0.2.7;transport=UDP",
            "sip:a@phone.example",
        ] {
            let binding = udp(behind);
            assert_eq!(binding.way(), binding.flow.datagrams_only(), "{behind}");
        }
        let mut outbound = udp("sip:a@192.0.2.7:5062");
        outbound.reg_id = Some(1);
        assert_eq!(outbound.way(), outbound.flow.datagrams_only());
    }
}
