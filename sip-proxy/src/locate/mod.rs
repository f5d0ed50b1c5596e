//! Location of servers (RFC 3263): from a URI to transports and addresses, in the order to be tried.
//!
//! Deliberately absent: sockets and DNS messages. A question is an output, its answer an input.
//!
//! ```text
//!   Locate { id, destination } ─▶ walk ─┬─▶ Located { id, candidates }    at once: numeric, or all known
//!                                       └─▶ Resolve(question) … Resolved { question, answer } ─▶ walk again
//!   failed(candidate) ─▶ dead ─▶ tried last, or not at all while its Retry-After lasts
//! ```

mod cache;
mod dead;
mod destination;
mod records;
mod walk;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;

use crate::transport::Transport;
use cache::Cache;
pub use dead::Failure;
use dead::{Dead, State};
pub use destination::{Destination, Nowhere};
pub use records::{Answer, Kind, Naptr, Question, Records, Srv};
use walk::{Known, Walk};

/// Everything a locator is told once.
#[derive(Debug, Clone)]
pub struct LocatorConfig {
    /// The transports we can open to others.
    pub transports: Vec<Transport>,
    /// Whether we have IPv4.
    pub ipv4: bool,
    /// Whether we have IPv6.
    pub ipv6: bool,
    /// After so long a look-up ends with what is known: somebody waits at a door.
    pub limit: Duration,
}

impl Default for LocatorConfig {
    fn default() -> Self {
        Self {
            transports: vec![Transport::Udp, Transport::Tcp],
            ipv4: true,
            ipv6: false,
            limit: Duration::from_secs(2),
        }
    }
}

/// Look-ups under way at once; one more finds nothing and is counted.
const LOOKUPS: usize = 1_024;
/// Questions of one look-up; a zone that leads on and on ends with what was found.
const QUESTIONS: usize = 32;

/// A look-up, numbered by whoever asks; unique while it is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupId(pub u64);

/// A server to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// By this transport.
    pub transport: Transport,
    /// At this address.
    pub address: SocketAddr,
    /// The name a TLS peer must prove (RFC 5922).
    pub name: String,
    /// It failed lately, and stands after those that did not.
    pub dead: bool,
}

/// What the locator is told.
#[derive(Debug, Clone)]
pub enum Input {
    /// Find the servers of a destination.
    Locate {
        /// The look-up.
        id: LookupId,
        /// Where to.
        destination: Destination,
    },
    /// An answer to a question. One nobody waits for any more is kept all the same.
    Resolved {
        /// The question.
        question: Question,
        /// Its answer.
        answer: Answer,
    },
    /// Nobody waits for this look-up any more.
    Forget {
        /// Which.
        id: LookupId,
    },
    /// [`Locator::next_timeout`] is due.
    Timeout,
}

/// What the locator wants or has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask the DNS.
    Resolve(Question),
    /// A look-up is through; empty when there is no server to try.
    Located {
        /// Which.
        id: LookupId,
        /// In the order to be tried.
        candidates: Vec<Candidate>,
    },
}

/// The outputs of one input, in order.
#[must_use = "outputs hold questions and results"]
#[derive(Debug)]
pub struct Outputs<'a> {
    queue: &'a mut VecDeque<Output>,
}

impl Iterator for Outputs<'_> {
    type Item = Output;

    fn next(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Look-ups asked for.
    pub lookups: u64,
    /// Questions put to the DNS.
    pub questions: u64,
    /// Questions nobody answered.
    pub failed: u64,
    /// Look-ups that found no server.
    pub not_found: u64,
    /// Look-ups refused because too many were under way.
    pub overflow: u64,
}

struct Lookup {
    destination: Destination,
    /// Its own copies: an answer with a short life must not be asked for twice in one look-up.
    answers: BTreeMap<Question, Answer>,
    until: Instant,
}

/// The machine.
pub struct Locator {
    config: LocatorConfig,
    rng: Box<dyn Rng + Send>,
    cache: Cache,
    dead: Dead,
    lookups: BTreeMap<LookupId, Lookup>,
    /// Asked and not answered, until when.
    asked: BTreeMap<Question, Instant>,
    queue: VecDeque<Output>,
    counters: Counters,
}

impl std::fmt::Debug for Locator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Locator")
            .field("lookups", &self.lookups.len())
            .field("cached", &self.cache.len())
            .field("dead", &self.dead.len())
            .finish_non_exhaustive()
    }
}

impl Locator {
    /// A locator that knows nothing yet.
    #[must_use]
    pub fn new(config: LocatorConfig, rng: Box<dyn Rng + Send>) -> Self {
        Self {
            config,
            rng,
            cache: Cache::default(),
            dead: Dead::default(),
            lookups: BTreeMap::new(),
            asked: BTreeMap::new(),
            queue: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// One input.
    pub fn handle(&mut self, now: Instant, input: Input) -> Outputs<'_> {
        match input {
            Input::Locate { id, destination } => self.locate(now, id, destination),
            Input::Resolved { question, answer } => self.resolved(now, &question, answer),
            Input::Forget { id } => {
                self.lookups.remove(&id);
            }
            Input::Timeout => self.timeout(now),
        }
        Outputs {
            queue: &mut self.queue,
        }
    }

    /// When [`Input::Timeout`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.lookups.values().map(|lookup| lookup.until).min()
    }

    /// A candidate failed: it is tried last from now on, or not at all while its Retry-After lasts.
    pub fn failed(
        &mut self,
        now: Instant,
        transport: Transport,
        address: SocketAddr,
        failure: Failure,
    ) {
        self.dead.failed(now, (transport, address), failure);
    }

    /// A candidate answered.
    pub fn answered(&mut self, transport: Transport, address: SocketAddr) {
        self.dead.answered((transport, address));
    }

    /// Look-ups under way.
    #[must_use]
    pub fn lookups(&self) -> usize {
        self.lookups.len()
    }

    /// Answers kept.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.cache.len()
    }

    /// Servers remembered as failing.
    #[must_use]
    pub fn remembered_dead(&self) -> usize {
        self.dead.len()
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn locate(&mut self, now: Instant, id: LookupId, destination: Destination) {
        self.counters.lookups += 1;
        if self.lookups.len() >= LOOKUPS {
            self.counters.overflow += 1;
            let candidates = Vec::new();
            return self.queue.push_back(Output::Located { id, candidates });
        }
        let lookup = Lookup {
            destination,
            answers: BTreeMap::new(),
            until: now + self.config.limit,
        };
        self.lookups.insert(id, lookup);
        self.advance(now, id, None);
    }

    fn resolved(&mut self, now: Instant, question: &Question, answer: Answer) {
        if self.asked.remove(question).is_none() {
            return;
        }
        if answer == Answer::Failed {
            self.counters.failed += 1;
        }
        let answer = self.cache.put(now, question, answer);
        let waiting: Vec<LookupId> = self.lookups.keys().copied().collect();
        for id in waiting {
            self.advance(now, id, Some((question, &answer)));
        }
    }

    fn timeout(&mut self, now: Instant) {
        let limit = self.config.limit;
        self.asked.retain(|_, until| now < *until + limit);
        let due: Vec<LookupId> = self
            .lookups
            .iter()
            .filter(|(_, lookup)| lookup.until <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.advance(now, id, None);
        }
    }

    /// Goes on with a look-up as far as the answers reach. `fresh` is the one that has just come: its life may be over
    /// already.
    fn advance(&mut self, now: Instant, id: LookupId, fresh: Option<(&Question, &Answer)>) {
        loop {
            let Some(lookup) = self.lookups.get_mut(&id) else {
                return;
            };
            let known = Known {
                config: &self.config,
                answers: &lookup.answers,
                is_last: lookup.answers.len() >= QUESTIONS,
            };
            let needs = match walk::walk(&lookup.destination, &known, &mut *self.rng) {
                Walk::Done(found) => return self.done(now, id, found),
                Walk::Needs(needs) => needs,
            };
            let is_late = lookup.until <= now;
            let mut has_news = false;
            for question in needs {
                let known = match fresh {
                    Some((fresh, answer)) if *fresh == question => Some(answer.clone()),
                    _ => self.cache.get(now, &question).cloned(),
                };
                let known = match known {
                    None if is_late => Some(self.cache.put(now, &question, Answer::Failed)),
                    known => known,
                };
                if let Some(answer) = known {
                    lookup.answers.insert(question, answer);
                    has_news = true;
                } else if !self.asked.contains_key(&question) {
                    self.asked.insert(question.clone(), lookup.until);
                    self.counters.questions += 1;
                    self.queue.push_back(Output::Resolve(question));
                }
            }
            if !has_news {
                return;
            }
        }
    }

    fn done(&mut self, now: Instant, id: LookupId, found: Vec<(Transport, SocketAddr)>) {
        let Some(lookup) = self.lookups.remove(&id) else {
            return;
        };
        let name = lookup.destination.name();
        let mut candidates: Vec<Candidate> = found
            .into_iter()
            .filter_map(|(transport, address)| {
                let state = self.dead.state(now, (transport, address));
                (state != State::Shut).then(|| Candidate {
                    transport,
                    address,
                    name: name.clone(),
                    dead: state == State::Dead,
                })
            })
            .collect();
        // Stable: among the living, and among the dead, the order stays.
        candidates.sort_by_key(|candidate| candidate.dead);
        if candidates.is_empty() {
            self.counters.not_found += 1;
        }
        self.queue.push_back(Output::Located { id, candidates });
    }
}
