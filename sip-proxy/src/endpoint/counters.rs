//! What the endpoint counts.

use std::collections::BTreeMap;

use crate::message::Method;

/// Methods counted by name; all others share the last place.
const METHODS: [&str; 15] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "REGISTER",
    "OPTIONS",
    "INFO",
    "MESSAGE",
    "PRACK",
    "UPDATE",
    "REFER",
    "SUBSCRIBE",
    "NOTIFY",
    "PUBLISH",
    "other",
];

/// Counts by method.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MethodCounts([u64; METHODS.len()]);

impl MethodCounts {
    pub(super) fn add(&mut self, method: &Method) {
        if let Some(count) = self.0.get_mut(place(method)) {
            *count += 1;
        }
    }

    /// How often `method` was counted; unknown methods share one count.
    #[must_use]
    pub fn get(&self, method: &Method) -> u64 {
        self.0.get(place(method)).copied().unwrap_or(0)
    }

    /// Every method with its count, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        METHODS.iter().copied().zip(self.0.iter().copied())
    }
}

fn place(method: &Method) -> usize {
    match method {
        Method::Invite => 0,
        Method::Ack => 1,
        Method::Bye => 2,
        Method::Cancel => 3,
        Method::Register => 4,
        Method::Options => 5,
        Method::Info => 6,
        Method::Message => 7,
        Method::Prack => 8,
        Method::Update => 9,
        Method::Refer => 10,
        Method::Subscribe => 11,
        Method::Notify => 12,
        Method::Publish => 13,
        Method::Other(_) => 14,
    }
}

/// Lowest and one past the highest status a response may carry.
const STATUS: std::ops::Range<u16> = 100..700;

/// Counts by status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusCounts(Box<[u64]>);

impl Default for StatusCounts {
    fn default() -> Self {
        Self(vec![0; STATUS.len()].into_boxed_slice())
    }
}

impl StatusCounts {
    pub(super) fn add(&mut self, status: u16) {
        if let Some(count) = self
            .0
            .get_mut(usize::from(status.wrapping_sub(STATUS.start)))
        {
            *count += 1;
        }
    }

    /// How often `status` was counted.
    #[must_use]
    pub fn get(&self, status: u16) -> u64 {
        self.0
            .get(usize::from(status.wrapping_sub(STATUS.start)))
            .copied()
            .unwrap_or(0)
    }

    /// Every status that was counted, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        STATUS
            .zip(self.0.iter().copied())
            .filter(|(_, count)| *count > 0)
    }
}

/// Counts since the endpoint began; they only grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// New requests received, by method (retransmissions apart).
    pub requests_in: MethodCounts,
    /// New requests sent, by method.
    pub requests_out: MethodCounts,
    /// Responses received that met a transaction, by status.
    pub responses_in: StatusCounts,
    /// New responses sent, by status, stateless ones included.
    pub responses_out: StatusCounts,
    /// Messages refused by the parser, by its reason.
    pub parse_errors: BTreeMap<&'static str, u64>,
    /// Requests and responses received again and absorbed.
    pub retransmissions_in: u64,
    /// Requests and responses sent again.
    pub retransmissions_out: u64,
    /// Responses that met no transaction, dropped.
    pub stray_responses: u64,
    /// Requests refused for overload ([`super::Input::Refuse`]).
    pub refused: u64,
    /// ACKs to answers of ours that kept no transaction (8.2.7), absorbed.
    pub stateless_acks: u64,
    /// Completed non-INVITE server transactions that made room before timer J.
    pub evicted: u64,
    /// ACKs that met no transaction.
    pub stray_acks: u64,
    /// CANCELs that met no INVITE, answered 481.
    pub stray_cancels: u64,
    /// Merged requests, answered 482.
    pub merged: u64,
    /// Requests answered 503 because the server table was full.
    pub server_overflow: u64,
    /// Client transactions refused because the client table was full.
    pub client_overflow: u64,
    /// UDP requests sent above 1,300 octets (18.1.1: the choice of a stream is the caller's).
    pub large_datagrams: u64,
    /// Of these, requests that went by TCP instead.
    pub large_by_tcp: u64,
    /// And of these, those that came back to UDP because nobody took them by TCP.
    pub large_back_to_udp: u64,
    /// Forked 2xx beyond the number of forks remembered per INVITE, dropped.
    pub fork_overflow: u64,
    /// Inputs of the transaction user that named no live transaction, or answered one twice.
    pub misuse: u64,
    /// Keep-alives answered or swallowed.
    pub keep_alives: u64,
    /// Client transactions that ended by time-out.
    pub timeouts: u64,
    /// Client transactions that ended by transport failure.
    pub transport_failures: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_outside_the_range_are_not_counted() {
        let mut counts = StatusCounts::default();
        for status in [0, 99, 100, 699, 700, u16::MAX] {
            counts.add(status);
        }
        assert_eq!(counts.iter().collect::<Vec<_>>(), [(100, 1), (699, 1)]);
    }

    #[test]
    fn every_method_has_its_own_place() {
        let mut counts = MethodCounts::default();
        counts.add(&Method::Publish);
        counts.add(&Method::Other("FOO".into()));
        assert_eq!(counts.get(&Method::Publish), 1);
        assert_eq!(counts.iter().last(), Some(("other", 1)));
    }
}
