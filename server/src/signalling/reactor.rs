//! The loop: wait, read the clock once, feed what came, apply what follows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use intercom::{B2bua, Input, Now};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use sip_proxy::overload::Verdict;
use sip_proxy::{Flow, Transport, stun};

use super::gate::Gate;
use super::sources::Sources;
use super::speakers::Speakers;
use super::world::World;
use super::{Certificates, Commit, Control, Inbox, Listeners, Outlets, RelayDone, Restored};
use crate::dns::Named;
use crate::media::Report;
use crate::metrics::Published;
use crate::trace::Told;
use crate::transport::stream::{Arrival, Guest, Streams};
use crate::transport::token::{self, Source};
use crate::transport::udp::{BATCH, BoundUdp, UdpListener};

/// Readiness events taken per wake-up: timers and letters wait no longer than these take.
const EVENTS: usize = 64;
/// Batches of datagrams read from one listener per wake-up, so that a flood on UDP leaves streams their turn.
const UDP_BATCHES: usize = 8;
/// Letters taken from one mailbox per wake-up.
const LETTERS: usize = 1_024;
/// How often counters are published.
const PUBLISH: Duration = Duration::from_secs(1);
/// And while the shell waits for the last call to end.
const PUBLISH_DRAINING: Duration = Duration::from_millis(20);
/// How soon to look again at what could not be handed on.
const RETRY: Duration = Duration::from_millis(1);

/// The thread's state.
pub(super) struct Reactor {
    b2bua: B2bua,
    world: World,
    inbox: Inbox,
    gate: Gate,
    speakers: Speakers,
    published: Arc<Published>,
    publish_at: Instant,
    /// How often it was published.
    turn: u64,
    draining: bool,
    stop: bool,
}

impl Reactor {
    pub(super) fn new(
        b2bua: B2bua,
        listeners: Listeners,
        inbox: Inbox,
        outlets: Outlets,
        published: Arc<Published>,
    ) -> std::io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(
            &inbox.waker,
            EpollEvent::new(EpollFlags::EPOLLIN, token::waker()),
        )?;
        let udp: Vec<UdpListener> = listeners.udp.into_iter().map(BoundUdp::serve).collect();
        for (index, listener) in udp.iter().enumerate() {
            epoll.add(
                listener,
                EpollEvent::new(EpollFlags::EPOLLIN, token::udp(index)),
            )?;
        }
        let Certificates { client, expiries } = listeners.certificates;
        let mut streams = Streams::new(listeners.stream_limits, client);
        for listener in listeners.streams {
            streams.listen(&epoll, listener)?;
        }
        let sources = Sources::new(listeners.requests_per_source, listeners.trusted);
        let world = World::new(epoll, udp, streams, expiries, outlets, sources);
        Ok(Self {
            b2bua,
            world,
            inbox,
            gate: Gate::new(listeners.queue_delay),
            speakers: Speakers::default(),
            published,
            publish_at: Instant::now(),
            turn: 0,
            draining: false,
            stop: false,
        })
    }

    /// Puts the registrations of the last run back.
    pub(super) fn restore(&mut self, restored: Restored) {
        let now = read_clocks();
        for (_, binding) in &restored.bindings {
            self.world.sources.restored(binding);
        }
        for source in restored.lapsed {
            self.world.sources.lapsed(now.mono, source);
        }
        self.feed(now, Input::Restore(restored.bindings));
        self.publish(now.mono);
    }

    pub(super) fn run(mut self) {
        let now = read_clocks();
        // The first time-out asks for media leases, so that the first call finds some.
        self.feed(now, Input::Timeout);
        let mut events = vec![EpollEvent::empty(); EVENTS];
        let mut woken = now.mono;
        while !self.stop {
            self.world.traffic.turn(woken.elapsed());
            let ready = match self.world.epoll.wait(&mut events, self.timeout()) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "signalling cannot wait for its sockets");
                    return;
                }
            };
            let now = read_clocks();
            woken = now.mono;
            let stalled = self.world.stalled();
            if stalled {
                self.world.counters.stalls += 1;
            }
            for event in events.get(..ready).unwrap_or_default() {
                match token::source(event.data()) {
                    Some(Source::Waker) => self.take_letters(now),
                    Some(_) if stalled => {}
                    Some(Source::Udp(index)) => self.read_udp(now, index),
                    Some(Source::StreamListener(index)) => {
                        let World {
                            streams,
                            sources,
                            epoll,
                            ..
                        } = &mut self.world;
                        streams.accept(epoll, index, now.mono, |source, costly| {
                            if sources.knows(source) {
                                Guest::Known
                            } else if costly && !sources.admits(now.mono, source, &[]) {
                                Guest::Refused
                            } else {
                                Guest::Stranger
                            }
                        });
                    }
                    Some(Source::Connection(id)) => {
                        self.world
                            .streams
                            .ready(&self.world.epoll, id, event.events(), now.mono);
                        self.take_arrivals(now);
                    }
                    None => {}
                }
            }
            self.serve_timers(now);
            self.world.flush();
            if stalled {
                // Sockets stay readable while they are not read; without a pause the loop would spin.
                std::thread::sleep(RETRY);
            }
        }
    }

    fn timeout(&self) -> EpollTimeout {
        let now = Instant::now();
        let due = [
            self.b2bua.next_timeout(),
            self.world.streams.next_timeout(),
            Some(self.publish_at),
        ];
        let retry = self.world.waits().then(|| now + RETRY);
        crate::shell::epoll_timeout(now, due.into_iter().chain([retry]).flatten().min())
    }

    fn serve_timers(&mut self, now: Now) {
        if self.b2bua.next_timeout().is_some_and(|due| due <= now.mono) {
            self.feed(now, Input::Timeout);
        }
        self.world.streams.sweep(&self.world.epoll, now.mono);
        self.take_arrivals(now);
        if self.publish_at <= now.mono {
            self.publish_at = now.mono
                + if self.draining {
                    PUBLISH_DRAINING
                } else {
                    PUBLISH
                };
            self.publish(now.mono);
        }
    }

    fn publish(&mut self, now: Instant) {
        let turn = self.turn;
        self.turn += 1;
        let overloaded = self.gate.tell(now);
        self.published
            .overloaded
            .store(overloaded, Ordering::Release);
        let (b2bua, world, gate) = (&self.b2bua, &self.world, &self.gate);
        super::publish::publish(&self.published, b2bua, world, gate, now, turn);
    }

    fn take_letters(&mut self, now: Now) {
        self.inbox.waker.acknowledge();
        let mut more = false;
        for _ in 0..LETTERS {
            let Some(control) = self.inbox.control.take() else {
                break;
            };
            match control {
                Control::Reload {
                    plan,
                    directory,
                    accounts,
                } => {
                    self.feed(
                        now,
                        Input::Reload {
                            plan,
                            directory,
                            accounts,
                        },
                    );
                }
                Control::Access(access, Certificates { client, expiries }) => {
                    self.world.streams.reload(access, client);
                    self.world.expiries = expiries;
                }
                Control::Stations(stations) => self.feed(now, Input::Stations(stations)),
                Control::Trunks(trunks) => self.feed(now, Input::Trunks(trunks)),
                Control::Peers {
                    trusted,
                    certified,
                    addresses,
                } => {
                    self.world.sources.set_trusted(addresses);
                    self.feed(now, Input::Peers { trusted, certified });
                }
                Control::Tap(on) => self.feed(now, Input::Tap(on)),
                Control::Ladder { id, reply } => {
                    // Whoever asked may have gone.
                    let _ = reply.send(self.told(&id));
                }
                Control::Drain => {
                    self.draining = true;
                    self.publish_at = now.mono;
                    self.feed(now, Input::Drain);
                }
                Control::Shutdown => self.feed(now, Input::Shutdown),
                Control::Stop => self.stop = true,
            }
        }
        // Media before commits: a digit must not overtake the answer that joined its leg, and neither waits long.
        for taken in 0..LETTERS {
            let Some(report) = self.inbox.reports.take() else {
                break;
            };
            more |= taken == LETTERS - 1;
            match report {
                Report::Event(event) => self.feed(now, Input::Media(event)),
                Report::Leased(lease) => self.feed(now, Input::Leased(lease)),
            }
        }
        for taken in 0..LETTERS {
            let Some(commit) = self.inbox.commits.take() else {
                break;
            };
            more |= taken == LETTERS - 1;
            self.world.under_way = self.world.under_way.saturating_sub(1);
            match commit {
                Commit::Recorded(record) => self.feed(now, Input::Recorded { record }),
                Commit::Failed(record) => {
                    self.world.counters.records_failed += 1;
                    self.feed(now, Input::RecordFailed { record });
                }
            }
        }
        for _ in 0..LETTERS {
            let Some(RelayDone {
                intent,
                attempt,
                outcome,
            }) = self.inbox.relays.take()
            else {
                break;
            };
            self.feed(
                now,
                Input::RelayDone {
                    intent,
                    attempt,
                    outcome,
                },
            );
        }
        for _ in 0..LETTERS {
            let Some(Named { question, answer }) = self.inbox.names.take() else {
                break;
            };
            self.feed(now, Input::Resolved { question, answer });
        }
        if more {
            self.inbox.waker.ring();
        }
    }

    /// A call's story and messages.
    fn told(&self, id: &str) -> Option<Told> {
        let story = self.b2bua.stories().find(|story| story.call == id);
        self.b2bua.ladder(id).map(|ladder| Told {
            story: story.map(ToString::to_string),
            ladder: ladder.clone(),
        })
    }

    fn read_udp(&mut self, now: Now, index: usize) {
        for _ in 0..UDP_BATCHES {
            let Self {
                b2bua, world, gate, ..
            } = self;
            let World { udp, sources, .. } = world;
            let Some(listener) = udp.get_mut(index) else {
                return;
            };
            let mut received = 0;
            let mut datagrams: Vec<(SocketAddr, Bytes)> = Vec::with_capacity(BATCH);
            let mut keep_alives: Vec<(SocketAddr, Bytes)> = Vec::new();
            let more = listener.receive(|remote, bytes, waited| {
                received += 1;
                if let Some(waited) = waited {
                    gate.waited(now.mono, waited);
                }
                if stun::is_stun(bytes) {
                    // A keep-alive (RFC 5626 section 4.4.2), answered from here: no transaction, nothing to remember.
                    if sources.admits_anyone(now.mono, remote.ip())
                        && let Some(answer) = stun::answer(bytes, remote)
                    {
                        keep_alives.push((remote, answer));
                    }
                } else if sources.admits(now.mono, remote.ip(), bytes) {
                    datagrams.push((remote, Bytes::copy_from_slice(bytes)));
                }
            });
            for (remote, answer) in &keep_alives {
                listener.send(*remote, answer);
            }
            gate.lost(now.mono, listener.take_lost());
            world.counters.udp_received += received;
            world.counters.stun_answered += keep_alives.len() as u64;
            for (remote, bytes) in datagrams {
                let Some(local) = world
                    .udp
                    .get_mut(index)
                    .map(|listener| listener.facing(remote))
                else {
                    return;
                };
                let flow = Flow {
                    transport: Transport::Udp,
                    local,
                    remote,
                    connection: None,
                };
                admit(b2bua, world, gate, now, flow, bytes);
            }
            if !more {
                return;
            }
        }
    }

    fn take_arrivals(&mut self, now: Now) {
        while let Some(arrival) = self.world.streams.next_arrival() {
            match arrival {
                Arrival::Message { flow, bytes } => {
                    if self
                        .world
                        .sources
                        .admits(now.mono, flow.remote.ip(), &bytes)
                    {
                        self.speakers.heard(flow.connection);
                        let Self {
                            b2bua, world, gate, ..
                        } = self;
                        // Streams bear no time of arrival: at least since this turn began.
                        gate.waited(now.mono, now.mono.elapsed());
                        admit(b2bua, world, gate, now, flow, bytes);
                    }
                }
                Arrival::Certified { connection, names } => {
                    self.speakers.heard(Some(connection));
                    self.feed(now, Input::Certified { connection, names });
                }
                Arrival::Closed { connection } => {
                    if self.speakers.gone(connection) {
                        self.feed(now, Input::ConnectionClosed { connection });
                    }
                }
                Arrival::Unsent { flow, bytes } => {
                    self.world.counters.send_failed += 1;
                    self.feed(now, Input::TransportFailed { flow, bytes });
                }
            }
        }
    }

    fn feed(&mut self, now: Now, input: Input) {
        feed(&mut self.b2bua, &mut self.world, now, input);
    }
}

/// Feeds a message, or refuses it when there is too much to do.
fn admit(
    b2bua: &mut B2bua,
    world: &mut World,
    gate: &mut Gate,
    now: Now,
    flow: Flow,
    bytes: Bytes,
) {
    let known = world.sources.knows(flow.remote.ip());
    world.traffic.received(flow.transport, known);
    let input = match gate.judge(b2bua, &world.sources, now, &flow, &bytes) {
        Verdict::Serve => Input::Received { flow, bytes },
        Verdict::Refuse(retry_after) => Input::Refuse {
            flow,
            bytes,
            retry_after,
        },
        Verdict::Drop => return,
    };
    feed(b2bua, world, now, input);
}

/// Feeds one input and all inputs its outputs give rise to.
fn feed(b2bua: &mut B2bua, world: &mut World, now: Now, input: Input) {
    for output in b2bua.handle(now, input) {
        world.apply(now, output);
    }
    while let Some(input) = world.follow_ups.pop_front() {
        for output in b2bua.handle(now, input) {
            world.apply(now, output);
        }
    }
}

/// The only place where signalling learns the time.
fn read_clocks() -> Now {
    Now {
        mono: Instant::now(),
        civil: jiff::Timestamp::now(),
    }
}
