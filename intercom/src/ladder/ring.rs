//! The ring of all calls' messages.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use sip_proxy::Flow;

use super::scan::{Scanned, scan};
use super::{Heard, Ladder, Recorded};

/// What one message costs beside its octets.
const OVERHEAD: usize = 128;
/// Octets one call may take of the ring: a call of retransmissions must not push out all others. Overflow rule: further
/// messages are not kept, and counted.
const CALL_OCTETS: usize = 256 * 1024;
/// Messages that belong to no call yet. Overflow rule: the oldest goes.
const UNCLAIMED: usize = 256;
/// Longer ones are not kept before they belong to a call.
const UNCLAIMED_OCTETS: usize = 4_096;
/// Dialogs one call may have here. Overflow rule: messages of further ones are not kept.
const DIALOGS: usize = 256;

struct Kept {
    ladder: Ladder,
    octets: usize,
    /// The keys in `by_call_id`.
    call_ids: Vec<Box<[u8]>>,
}

/// The ladders of live calls and of those that ended lately.
pub(crate) struct Ladders {
    /// Octets kept at most. Overflow rule: the oldest call goes.
    limit: usize,
    octets: usize,
    calls: BTreeMap<u64, Kept>,
    by_call_id: HashMap<Box<[u8]>, (u64, Arc<str>)>,
    unclaimed: VecDeque<Recorded>,
    nobody: Arc<str>,
    /// Calls pushed out.
    pub(crate) pushed_out: u64,
}

impl Ladders {
    pub(crate) fn new(limit: usize) -> Self {
        Ladders {
            limit,
            octets: 0,
            calls: BTreeMap::new(),
            by_call_id: HashMap::new(),
            unclaimed: VecDeque::new(),
            nobody: "".into(),
            pushed_out: 0,
        }
    }

    /// A call has begun: what was said of it before it was one (the challenge) becomes its own.
    pub(crate) fn begin(
        &mut self,
        number: u64,
        id: &str,
        started: Timestamp,
        call_id: &str,
        party: &str,
    ) {
        if self.limit == 0 {
            return;
        }
        let ladder = Ladder {
            call: id.into(),
            started,
            messages: Vec::with_capacity(24),
            dropped: 0,
            answered: false,
        };
        self.calls.insert(
            number,
            Kept {
                ladder,
                octets: 0,
                call_ids: Vec::new(),
            },
        );
        self.add_dialog(number, call_id.as_bytes(), party);
        let party: Arc<str> = party.into();
        let mut index = 0;
        while let Some(message) = self.unclaimed.get(index) {
            if message.scan().call_id != call_id.as_bytes() {
                index += 1;
            } else if let Some(mut message) = self.unclaimed.remove(index) {
                message.party = Arc::clone(&party);
                self.keep(number, message);
            }
        }
        self.make_room();
    }

    /// Whether the ring holds this call and not this Call-ID.
    pub(crate) fn lacks(&self, number: u64, call_id: &[u8]) -> bool {
        self.calls.contains_key(&number) && !self.by_call_id.contains_key(call_id)
    }

    /// A further dialog of a call: a branch.
    pub(crate) fn add_dialog(&mut self, number: u64, call_id: &[u8], party: &str) {
        let Some(kept) = self.calls.get_mut(&number) else {
            return;
        };
        if kept.call_ids.len() < DIALOGS {
            kept.call_ids.push(call_id.into());
            self.by_call_id
                .insert(call_id.into(), (number, party.into()));
        }
    }

    /// Keeps a message with its call, if it is one's.
    pub(crate) fn record(
        &mut self,
        at: Timestamp,
        sent: bool,
        flow: &Flow,
        bytes: &Bytes,
        scanned: &Scanned<'_>,
    ) {
        if self.limit == 0 || scanned.call_id.is_empty() {
            return;
        }
        if let Some((number, party)) = self.by_call_id.get(scanned.call_id) {
            let (number, party) = (*number, Arc::clone(party));
            self.keep(number, Recorded::new(at, sent, *flow, party, bytes.clone()));
            self.make_room();
        } else if matches!(scanned.about(), "INVITE" | "ACK") && bytes.len() <= UNCLAIMED_OCTETS {
            if self.unclaimed.len() >= UNCLAIMED {
                self.unclaimed.pop_front();
            }
            let party = Arc::clone(&self.nobody);
            self.unclaimed
                .push_back(Recorded::new(at, sent, *flow, party, bytes.clone()));
        }
    }

    /// The same message with its call, for those who listen.
    pub(crate) fn heard(&self, at: Timestamp, sent: bool, flow: &Flow, bytes: &Bytes) -> Heard {
        let known = self.by_call_id.get(scan(bytes).call_id);
        let party = known.map_or(&self.nobody, |(_, party)| party);
        let call = known
            .and_then(|(number, _)| self.calls.get(number))
            .map(|kept| Arc::clone(&kept.ladder.call));
        let message = Recorded::new(at, sent, *flow, Arc::clone(party), bytes.clone());
        Heard { message, call }
    }

    /// The messages of a call.
    pub(crate) fn of(&self, number: u64) -> Option<&Ladder> {
        self.calls.get(&number).map(|kept| &kept.ladder)
    }

    /// Nothing of the call is left but what is written here.
    pub(crate) fn end(&mut self, number: u64, answered: bool) -> Option<Ladder> {
        let kept = self.calls.get_mut(&number)?;
        kept.ladder.answered = answered;
        Some(kept.ladder.clone())
    }

    /// Octets kept.
    pub(crate) fn octets(&self) -> usize {
        self.octets
    }

    fn keep(&mut self, number: u64, message: Recorded) {
        let Some(kept) = self.calls.get_mut(&number) else {
            return;
        };
        let cost = message.unredacted().len() + OVERHEAD;
        if kept.octets + cost > CALL_OCTETS {
            kept.ladder.dropped = kept.ladder.dropped.saturating_add(1);
            return;
        }
        kept.octets += cost;
        self.octets += cost;
        kept.ladder.messages.push(message);
    }

    fn make_room(&mut self) {
        while self.octets > self.limit
            && let Some((_, oldest)) = self.calls.pop_first()
        {
            self.octets -= oldest.octets;
            self.pushed_out += 1;
            for call_id in &oldest.call_ids {
                self.by_call_id.remove(call_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sip_proxy::Transport;

    use super::*;

    fn flow() -> Flow {
        Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "192.0.2.7:5060".parse().unwrap(),
            connection: None,
        }
    }

    fn message(method: &str, call_id: &str, length: usize) -> Bytes {
        let body = "x".repeat(length);
        format!("{method} sip:x SIP/2.0\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n\r\n{body}")
            .into()
    }

    fn record(ladders: &mut Ladders, method: &str, call_id: &str, length: usize) {
        let bytes = message(method, call_id, length);
        ladders.record(Timestamp::UNIX_EPOCH, false, &flow(), &bytes, &scan(&bytes));
    }

    fn begin(ladders: &mut Ladders, number: u64, call_id: &str) {
        ladders.begin(
            number,
            &format!("e-{number}"),
            Timestamp::UNIX_EPOCH,
            call_id,
            "lobby",
        );
    }

    #[test]
    fn a_call_takes_over_its_challenge_and_its_branches() {
        let mut ladders = Ladders::new(100_000);
        record(&mut ladders, "INVITE", "a", 0);
        record(&mut ladders, "INVITE", "other", 0);
        record(&mut ladders, "REGISTER", "a", 0);
        begin(&mut ladders, 1, "a");
        assert!(ladders.lacks(1, b"b") && !ladders.lacks(1, b"a") && !ladders.lacks(2, b"b"));
        ladders.add_dialog(1, b"b", "desk-1");
        record(&mut ladders, "INVITE", "b", 0);
        record(&mut ladders, "BYE", "a", 0);
        let parties: Vec<_> = ladders
            .of(1)
            .unwrap()
            .messages
            .iter()
            .map(|m| m.party.to_string())
            .collect();
        assert_eq!(parties, ["lobby", "desk-1", "lobby"]);
        assert_eq!(ladders.unclaimed.len(), 1);
        assert!(ladders.end(1, true).unwrap().answered);
    }

    #[test]
    fn the_ring_is_bounded_by_octets_and_the_oldest_call_goes() {
        let mut ladders = Ladders::new(10_000);
        for number in 1..=50 {
            let call_id = format!("c{number}");
            begin(&mut ladders, number, &call_id);
            record(&mut ladders, "INFO", &call_id, 1_000);
            assert!(ladders.octets() <= 10_000);
        }
        assert!(ladders.of(1).is_none() && ladders.of(50).is_some());
        assert_eq!(ladders.by_call_id.len(), ladders.calls.len());
        assert_eq!(ladders.pushed_out + ladders.calls.len() as u64, 50);
    }

    #[test]
    fn one_call_cannot_take_the_ring() {
        let mut ladders = Ladders::new(usize::MAX);
        begin(&mut ladders, 1, "c");
        for _ in 0..500 {
            record(&mut ladders, "INFO", "c", 1_000);
        }
        let ladder = ladders.of(1).unwrap();
        assert_eq!(ladder.messages.len() + ladder.dropped as usize, 500);
        assert!(ladder.dropped > 200 && ladders.octets() <= CALL_OCTETS);
        for n in 0..1_000 {
            ladders.add_dialog(1, format!("d{n}").as_bytes(), "desk-1");
        }
        assert_eq!(ladders.by_call_id.len(), DIALOGS);
    }

    #[test]
    fn what_is_nobodys_is_bounded_and_a_ring_of_nothing_keeps_nothing() {
        let mut ladders = Ladders::new(1_000_000);
        for n in 0..2_000 {
            record(&mut ladders, "INVITE", &format!("c{n}"), 10);
        }
        assert_eq!(ladders.unclaimed.len(), UNCLAIMED);
        let mut off = Ladders::new(0);
        record(&mut off, "INVITE", "c", 10);
        begin(&mut off, 1, "c");
        assert!(off.of(1).is_none() && off.unclaimed.is_empty());
    }
}
