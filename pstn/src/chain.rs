//! A call's way down a chain of trunks, candidate by candidate: whoever stands at a door hears the next trunk ring
//! within four seconds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sip_proxy::locate::Candidate;

use crate::trunk::Trunk;

/// A trunk without any response by then is left: the look-up counts too.
const SILENT: Duration = Duration::from_secs(3);
/// One of several servers of a trunk.
const SILENT_SERVER: Duration = Duration::from_millis(1_500);
/// A server is given at least this long, however late the look-up ended.
const LEAST: Duration = Duration::from_millis(500);
/// INVITEs of one call to one number.
const TRIES: u32 = 8;

/// What is to be done.
#[derive(Debug)]
pub enum Move {
    /// Look up the trunk's servers, then say [`Chain::located`].
    Locate(Arc<Trunk>),
    /// Send an INVITE there.
    Try(Arc<Trunk>, Candidate),
    /// No trunk is left; the status of the last that answered.
    Over(Option<u16>),
}

/// How a try failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// No way to it, or no response.
    Network,
    /// A final response.
    Status(u16),
}

#[derive(Debug)]
enum State {
    /// Waiting for the look-up.
    Locating,
    /// INVITE sent, nothing heard.
    Silent {
        until: Instant,
    },
    /// Something came back: from now on the plan's time counts alone.
    Heard,
    Over,
}

/// The chain.
#[derive(Debug)]
pub struct Chain {
    /// The trunk at hand is the first one. `true`: it was put off because all of its servers failed lately.
    trunks: VecDeque<(Arc<Trunk>, bool)>,
    candidates: VecDeque<Candidate>,
    /// When the trunk at hand was begun.
    begun: Instant,
    state: State,
    tries: u32,
    last: Option<u16>,
}

impl Chain {
    /// A chain that begins with the first trunk.
    #[must_use]
    pub fn new(now: Instant, trunks: impl IntoIterator<Item = Arc<Trunk>>) -> (Self, Move) {
        let mut chain = Self {
            trunks: trunks.into_iter().map(|trunk| (trunk, false)).collect(),
            candidates: VecDeque::new(),
            begun: now,
            state: State::Over,
            tries: 0,
            last: None,
        };
        let first = chain.begin(now);
        (chain, first)
    }

    /// The trunk's servers.
    pub fn located(&mut self, now: Instant, candidates: Vec<Candidate>) -> Move {
        if !matches!(self.state, State::Locating) {
            return Move::Over(self.last);
        }
        let failing = candidates.iter().all(|candidate| candidate.dead);
        if let Some((trunk, was_put_off)) = self.trunks.pop_front() {
            if failing && !candidates.is_empty() && !was_put_off && !self.trunks.is_empty() {
                self.trunks.push_back((trunk, true));
                return self.begin(now);
            }
            self.trunks.push_front((trunk, was_put_off));
        }
        self.candidates = candidates.into();
        self.attempt(now)
    }

    /// A provisional response came, be it only 100.
    pub fn heard(&mut self) {
        if let State::Silent { .. } = self.state {
            self.state = State::Heard;
        }
    }

    /// The try at hand failed. `None`: the number itself has refused, no other trunk would do better.
    pub fn failed(&mut self, now: Instant, failed: Failed) -> Option<Move> {
        match failed {
            Failed::Status(status @ (408 | 500..=599)) => self.last = Some(status),
            Failed::Network => {}
            // It does not know us, or does not let us: its other servers will not either.
            Failed::Status(status @ (401 | 403 | 407)) => {
                self.last = Some(status);
                self.candidates.clear();
            }
            Failed::Status(status) => {
                self.last = Some(status);
                self.state = State::Over;
                return None;
            }
        }
        Some(self.attempt(now))
    }

    /// When [`Chain::timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Silent { until } => Some(until),
            State::Locating | State::Heard | State::Over => None,
        }
    }

    /// The server at hand has said nothing in time: cancel it and do this.
    pub fn timeout(&mut self, now: Instant) -> Option<Move> {
        match self.state {
            // The last of all is waited for as long as the plan lets it ring.
            State::Silent { .. } if self.candidates.is_empty() && self.trunks.len() <= 1 => {
                self.state = State::Heard;
                None
            }
            State::Silent { until } if until <= now => Some(self.attempt(now)),
            _ => None,
        }
    }

    fn begin(&mut self, now: Instant) -> Move {
        self.begun = now;
        self.candidates.clear();
        match self.trunks.front() {
            Some((trunk, _)) => {
                self.state = State::Locating;
                Move::Locate(Arc::clone(trunk))
            }
            None => {
                self.state = State::Over;
                Move::Over(self.last)
            }
        }
    }

    /// The next server of the trunk at hand, or the next trunk.
    fn attempt(&mut self, now: Instant) -> Move {
        let late = now >= self.begun + SILENT && self.trunks.len() > 1;
        let next = self.candidates.pop_front().filter(|_| !late);
        let Some((trunk, candidate)) = self
            .trunks
            .front()
            .zip(next)
            .filter(|_| self.tries < TRIES)
            .map(|((trunk, _), candidate)| (Arc::clone(trunk), candidate))
        else {
            self.trunks.pop_front();
            if self.tries >= TRIES {
                self.trunks.clear();
            }
            return self.begin(now);
        };
        self.tries += 1;
        let until = self.begun + SILENT;
        let until = if self.candidates.is_empty() {
            until
        } else {
            until.min(now + SILENT_SERVER)
        };
        self.state = State::Silent {
            until: until.max(now + LEAST),
        };
        Move::Try(trunk, candidate)
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests need one Instant to count from"
)]
mod tests {
    use super::*;
    use sip_proxy::Transport;

    fn trunk(name: &str) -> Arc<Trunk> {
        Arc::new(Trunk::new(name, "sip:192.0.2.1").unwrap())
    }

    fn server(last: u8, dead: bool) -> Candidate {
        Candidate {
            transport: Transport::Udp,
            address: std::net::SocketAddr::from(([192, 0, 2, last], 5060)),
            name: "trunk".to_owned(),
            dead,
        }
    }

    fn shown(step: &Move) -> String {
        match step {
            Move::Locate(trunk) => format!("locate {}", trunk.name),
            Move::Try(trunk, candidate) => format!("{} {}", trunk.name, candidate.address.ip()),
            Move::Over(status) => format!("over {status:?}"),
        }
    }

    #[test]
    fn a_silent_trunk_is_left_for_the_next_within_four_seconds() {
        let start = Instant::now();
        let (mut chain, first) = Chain::new(start, [trunk("a"), trunk("b")]);
        assert_eq!(shown(&first), "locate a");
        let servers = vec![server(1, false), server(2, false)];
        assert_eq!(shown(&chain.located(start, servers)), "a 192.0.2.1");
        let mut now = chain.next_timeout().unwrap();
        assert_eq!(shown(&chain.timeout(now).unwrap()), "a 192.0.2.2");
        now = chain.next_timeout().unwrap();
        assert_eq!(shown(&chain.timeout(now).unwrap()), "locate b");
        assert!(now <= start + Duration::from_secs(4));
        assert_eq!(
            shown(&chain.located(now, vec![server(3, false)])),
            "b 192.0.2.3"
        );
        let at = chain.next_timeout().unwrap();
        assert!(chain.timeout(at).is_none(), "the last one is waited for");
        assert_eq!(chain.next_timeout(), None);
    }

    #[test]
    fn a_server_that_said_something_is_not_left() {
        let now = Instant::now();
        let (mut chain, _) = Chain::new(now, [trunk("a"), trunk("b")]);
        let _ = chain.located(now, vec![server(1, false)]);
        chain.heard();
        assert_eq!(chain.next_timeout(), None);
        assert!(chain.timeout(now + Duration::from_secs(60)).is_none());
    }

    #[test]
    fn what_the_trunk_refuses_goes_on_and_what_the_number_refuses_does_not() {
        let now = Instant::now();
        for (status, next) in [
            (503, Some("a 192.0.2.2")),
            (500, Some("a 192.0.2.2")),
            (408, Some("a 192.0.2.2")),
            (403, Some("locate b")),
            (407, Some("locate b")),
            (486, None),
            (603, None),
            (404, None),
        ] {
            let (mut chain, _) = Chain::new(now, [trunk("a"), trunk("b")]);
            let _ = chain.located(now, vec![server(1, false), server(2, false)]);
            let step = chain.failed(now, Failed::Status(status));
            assert_eq!(step.as_ref().map(shown).as_deref(), next, "{status}");
        }
    }

    #[test]
    fn a_trunk_whose_servers_all_failed_lately_is_tried_last() {
        let now = Instant::now();
        let (mut chain, _) = Chain::new(now, [trunk("a"), trunk("b")]);
        assert_eq!(
            shown(&chain.located(now, vec![server(1, true)])),
            "locate b"
        );
        let _ = chain.located(now, vec![server(2, true)]);
        assert_eq!(
            shown(&chain.located(now, vec![server(1, true)])),
            "a 192.0.2.1"
        );
    }

    #[test]
    fn tries_are_bounded_and_the_last_status_is_told() {
        let now = Instant::now();
        let (mut chain, _) = Chain::new(now, (0..9).map(|n| trunk(&format!("t{n}"))));
        let mut step = chain.located(now, (0..12).map(|n| server(n, false)).collect());
        let mut tries = 0;
        while let Move::Try(..) = step {
            tries += 1;
            step = chain.failed(now, Failed::Status(503)).unwrap();
            if let Move::Locate(_) = step {
                step = chain.located(now, vec![server(1, false)]);
            }
        }
        assert_eq!((tries, shown(&step)), (8, "over Some(503)".to_owned()));
        let (mut empty, _) = Chain::new(now, [trunk("a")]);
        assert_eq!(shown(&empty.located(now, Vec::new())), "over None");
    }
}
