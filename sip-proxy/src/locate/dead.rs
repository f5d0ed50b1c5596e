//! Servers that failed lately: tried last, or not at all while their Retry-After lasts (RFC 3263 §4.3, RFC 3261 §21.5.4).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::transport::Transport;

/// Servers remembered. Overflow rule: the one whose time ends first is forgotten.
const ENTRIES: usize = 1_024;
/// How long a server that did not answer is tried last.
const DEAD: Duration = Duration::from_secs(30);
/// The longest Retry-After taken seriously: a server must not silence us for days.
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// How a server failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No way to it, or no answer in time.
    Unreachable,
    /// 503, with its Retry-After where it had one.
    Unavailable {
        /// Not to be asked for so long.
        retry_after: Option<Duration>,
    },
}

/// What is remembered of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Fine,
    /// Tried after the others.
    Dead,
    /// Not to be tried.
    Shut,
}

#[derive(Debug, Default)]
pub(super) struct Dead {
    entries: BTreeMap<(Transport, SocketAddr), (Instant, bool)>,
}

impl Dead {
    pub(super) fn state(&self, now: Instant, server: (Transport, SocketAddr)) -> State {
        match self.entries.get(&server) {
            Some((until, shut)) if now < *until => {
                if *shut {
                    State::Shut
                } else {
                    State::Dead
                }
            }
            _ => State::Fine,
        }
    }

    pub(super) fn failed(
        &mut self,
        now: Instant,
        server: (Transport, SocketAddr),
        failure: Failure,
    ) {
        let (length, shut) = match failure {
            Failure::Unavailable {
                retry_after: Some(length),
            } if !length.is_zero() => (length.min(LONGEST_RETRY), true),
            Failure::Unreachable | Failure::Unavailable { .. } => (DEAD, false),
        };
        if self.entries.len() >= ENTRIES && !self.entries.contains_key(&server) {
            self.entries.retain(|_, (until, _)| now < *until);
            let first = self
                .entries
                .iter()
                .min_by_key(|(_, (until, _))| *until)
                .map(|(server, _)| *server);
            if self.entries.len() >= ENTRIES
                && let Some(first) = first
            {
                self.entries.remove(&first);
            }
        }
        self.entries.insert(server, (now + length, shut));
    }

    pub(super) fn answered(&mut self, server: (Transport, SocketAddr)) {
        self.entries.remove(&server);
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
