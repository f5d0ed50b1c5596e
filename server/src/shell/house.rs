//! A running server: everything resolved, bound and restored first, then its threads and tasks.
//!
//! ```text
//!   main thread ── runtime: drivers, write-behind, metrics, reload        audit ── one thread, commits
//!   signalling ── one thread: B2bua, SIP sockets                          media-N ── threads: bridge, RTP sockets
//! ```

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use conf::Transport;
use intercom::audit::{Entry, Kind};
use intercom::{Account, Accounts, B2bua, Now};
use media_bridge::BridgeConfig;
use sip_proxy::digest::Ha1;
use tokio::sync::mpsc;
use tokio::task::JoinHandle as Task;

use super::behind::{self, Ended};
use super::drives::{self, Stations};
use super::serve::Signals;
use super::{descriptors, recover, system_rng, translate};
use crate::files::{self, Loaded};
use crate::media::leases::MediaAddress;
use crate::media::{self, MediaConfig, Order, RunningWorker};
use crate::metrics::{self, Metrics};
use crate::signalling::{self, Commit, Control, LAPSED, Listeners, Posts, Restored};
use crate::store::{Acknowledged, AuditSettings, AuditWriter, Claim, Snapshot, Store, StoreError};
use crate::trace::{self, Hub};
use crate::transport::stream::{Access, StreamLimits, StreamListener, Streams};
use crate::transport::tls;
use crate::transport::udp::BoundUdp;

/// Calls in progress get so long to end by themselves when the server is told to end.
const DRAIN: Duration = Duration::from_secs(10);
/// And so long to be told good-bye after that.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often the drain looks whether all calls have ended.
const LOOK: Duration = Duration::from_millis(50);

/// One bound SIP listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) transport: Transport,
    pub(crate) address: SocketAddr,
    /// What peers are told instead.
    pub(crate) advertise: Option<SocketAddr>,
}

/// A running server.
pub(crate) struct House {
    pub(crate) store: Store,
    _claim: Claim,
    pub(crate) bound: Vec<Bound>,
    pub(crate) http: Option<SocketAddr>,
    conf: conf::Resolved,
    plan: Arc<dialplan::Plan>,
    generation: u64,
    posts: Posts,
    metrics: Arc<Metrics>,
    stations: Arc<ArcSwap<Stations>>,
    signalling: JoinHandle<()>,
    workers: Vec<RunningWorker>,
    audit: JoinHandle<()>,
    tasks: Vec<Task<()>>,
}

/// What is bound before anything runs.
struct Sockets {
    udp: Vec<BoundUdp>,
    streams: Vec<StreamListener>,
    http: Option<TcpListener>,
    bound: Vec<Bound>,
}

impl House {
    /// Opens the store, binds every listener, restores registrations, and starts. On any error nothing runs.
    pub(crate) async fn open(
        loaded: Loaded,
        watcher: Option<mpsc::Sender<Ended>>,
    ) -> anyhow::Result<Self> {
        let (conf, plan, tls) = (loaded.conf, loaded.plan, loaded.tls);
        raise_descriptors(&conf)?;
        let store = Store::open(&conf.store, &conf.site.name, &conf.site.realm).await?;
        let claim = store.claim()?;
        let sockets = bind(&conf, &tls)?;
        let recovered = recover::recover(&store).await?;
        if recovered.unknown > 0 {
            tracing::warn!(
                count = recovered.unknown,
                "unlocks were granted and their result is unknown"
            );
        }
        let snapshot = store.snapshot().await?;
        let stations = Arc::new(ArcSwap::from_pointee(Stations::new(&conf, &plan)?));
        let (posts, inbox) = signalling::mailboxes()?;
        let media = media_config(&conf)?;
        let restored = registrations(&store).await?;
        tracing::info!(
            bindings = restored.bindings.len(),
            accounts = snapshot.accounts.len(),
            "restored"
        );
        let mut config = translate::intercom(&conf, &sockets.bound, nonce_key(), media.workers);
        config.high_water = recovered.high_water;
        keys(&store, &mut config).await?;
        remark(&plan, &snapshot);
        let generation = snapshot.generation;
        let mut b2bua = B2bua::new(
            config,
            Arc::clone(&plan),
            Arc::new(snapshot.directory.clone()),
            Arc::new(accounts(&snapshot)),
            system_rng(),
        );
        b2bua.set_stations(translate::stations(&conf));

        // From here on things run; what can still fail is a thread the system does not give.
        let workers =
            media::start(&media, &posts.reports).context("cannot start the media workers")?;
        let (writer, audit) = audit_writer(&store, &conf, &posts)?;
        let metrics = Arc::new(metrics_of(&workers, &writer, &plan));
        let orders = workers.iter().map(|worker| worker.orders.clone()).collect();
        let (outlets, served) = signalling::outlets(orders, writer);
        let listeners = listeners(&conf, sockets.udp, sockets.streams, &tls);
        let hub = Arc::new(Hub::new(posts.control.clone(), conf.trace.hep.is_some()));
        metrics.follow_trace(&hub.counters);
        let published = Arc::clone(&metrics.published);
        let signalling = signalling::start(b2bua, restored, listeners, inbox, outlets, published)?;
        let dns = (posts.names.clone(), conf.dns.clone());
        let tasks = vec![
            tokio::spawn(crate::dns::serve(served.questions, dns.0, dns.1)),
            tokio::spawn(drives::serve(
                served.drives,
                Arc::clone(&stations),
                posts.relays.clone(),
                Arc::clone(&metrics),
            )),
            tokio::spawn(behind::write(
                store.clone(),
                served.behind,
                Arc::clone(&metrics),
                conf.trace.clone(),
                watcher,
            )),
            tokio::spawn(trace::serve(
                served.heard,
                Arc::clone(&hub),
                conf.trace.hep.clone(),
            )),
        ];
        let http = sockets
            .http
            .map(|listener| {
                let more = routes(hub, &metrics, conf.http_token.as_ref());
                serve_http(listener, &metrics, more)
            })
            .transpose()?;
        let house = Self {
            store,
            _claim: claim,
            bound: sockets.bound,
            http,
            conf,
            plan,
            generation,
            posts,
            metrics,
            stations,
            signalling,
            workers,
            audit,
            tasks,
        };
        house.log(Kind::Process, "started").await;
        house.metrics.readiness.ready();
        Ok(house)
    }

    /// An entry about the server itself.
    async fn log(&self, kind: Kind, detail: &str) {
        let mut entry = Entry::new(jiff::Timestamp::now(), &self.conf.site.name, kind);
        entry.detail = Some(detail.to_owned());
        if let Err(error) = self.store.append_audit(vec![entry]).await {
            tracing::error!(%error, detail, "not recorded");
        }
    }

    /// Reads configuration, plan and directory again. What does not resolve changes nothing.
    pub(crate) async fn reload(&mut self, config: &Path) {
        let fresh = match files::load(config) {
            Ok(fresh) => fresh,
            Err(refused) => {
                tracing::error!("reload refused, the old plan stays:\n{refused}");
                let reason: String = refused
                    .to_string()
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .take(300)
                    .collect();
                self.log(Kind::Reload, &format!("refused: {reason}")).await;
                return;
            }
        };
        let stations = match Stations::new(&fresh.conf, &fresh.plan) {
            Ok(stations) => stations,
            Err(error) => {
                tracing::error!(%error, "reload refused, the old plan stays");
                self.log(Kind::Reload, "refused: the stations' HTTP").await;
                return;
            }
        };
        let Some(snapshot) = self.snapshot().await else {
            return;
        };
        if fresh.conf.dns != self.conf.dns {
            tracing::warn!("name servers change only with a restart");
        }
        let sockets = |conf: &conf::Resolved| {
            let of = |l: &conf::Listener| (l.transport, l.bind, l.advertise);
            conf.listeners.iter().map(of).collect::<Vec<_>>()
        };
        if sockets(&fresh.conf) != sockets(&self.conf) || fresh.conf.media != self.conf.media {
            tracing::warn!("listeners and media addresses change only with a restart");
        } else {
            let of_streams = fresh
                .conf
                .listeners
                .iter()
                .zip(access(&fresh.conf, &fresh.tls));
            let access = of_streams
                .filter(|(listener, _)| listener.transport.is_stream())
                .map(|(_, access)| access)
                .collect();
            let certificates = certificates(&fresh.tls);
            self.posts
                .control
                .post(Control::Access(access, certificates))
                .await;
        }
        let speech = Control::Stations(Box::new(translate::stations(&fresh.conf)));
        self.posts.control.post(speech).await;
        let trunks = Control::Trunks(translate::trunks(&fresh.conf));
        self.posts.control.post(trunks).await;
        let peers = Control::Peers {
            trusted: translate::trusted(&fresh.conf, &self.bound),
            certified: fresh.conf.certified.clone(),
            addresses: believed(&fresh.conf),
        };
        self.posts.control.post(peers).await;
        self.plan = fresh.plan;
        self.stations.store(Arc::new(stations));
        if self.put(snapshot).await {
            let version = self.plan.version().to_owned();
            tracing::info!(plan = version, "reloaded");
            self.log(Kind::Reload, &format!("plan {version}")).await;
        }
    }

    /// Takes a new snapshot when the command line changed the directory.
    pub(crate) async fn follow(&mut self) {
        match self.store.generation().await {
            Ok(generation) if generation != self.generation => {
                if let Some(snapshot) = self.snapshot().await
                    && self.put(snapshot).await
                {
                    tracing::info!(generation, "directory changed");
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, "the directory cannot be read, the old one stays");
            }
        }
    }

    async fn snapshot(&self) -> Option<Snapshot> {
        let snapshot = self.store.snapshot().await;
        snapshot
            .inspect_err(|error| {
                tracing::error!(%error, "the directory cannot be read, nothing changes");
            })
            .ok()
    }

    /// Plan and directory take effect together.
    async fn put(&mut self, snapshot: Snapshot) -> bool {
        remark(&self.plan, &snapshot);
        self.generation = snapshot.generation;
        let accounts = Arc::new(accounts(&snapshot));
        let directory = Arc::new(snapshot.directory);
        self.posts
            .control
            .post(Control::Reload {
                plan: Arc::clone(&self.plan),
                directory,
                accounts,
            })
            .await
    }

    /// Lets calls end, then ends the rest politely, then the threads. A further signal ends the calls at once, one
    /// more ends everything.
    pub(crate) async fn close(self, signals: &mut Signals) {
        tracing::info!("draining");
        self.metrics.readiness.drain();
        self.posts.control.post(Control::Drain).await;
        let published = Arc::clone(&self.metrics.published);
        // Counts are published often now: the first look must not see an older one.
        tokio::time::sleep(LOOK).await;
        tokio::select! {
            () = wait_until(DRAIN, || published.live_calls.load(Ordering::Acquire) == 0) => {}
            () = signals.end() => tracing::info!("ending the calls in progress"),
        }
        self.posts.control.post(Control::Shutdown).await;
        tokio::time::sleep(LOOK).await;
        tokio::select! {
            () = wait_until(FAREWELL, || published.held_calls.load(Ordering::Acquire) == 0) => {}
            () = signals.end() => {}
        }
        self.log(Kind::Process, "stopped").await;
        self.posts.control.post(Control::Stop).await;
        join(self.signalling).await;
        for worker in self.workers {
            worker.orders.post(Order::Stop).await;
            join(worker.thread).await;
        }
        for task in self.tasks {
            let _ = task.await;
        }
        join(self.audit).await;
        self.store.close().await;
        tracing::info!("stopped");
    }
}

fn metrics_of(workers: &[RunningWorker], writer: &AuditWriter, plan: &dialplan::Plan) -> Metrics {
    let counters: Vec<_> = workers
        .iter()
        .map(|worker| Arc::clone(&worker.counters))
        .collect();
    Metrics::new(&counters, writer.failing(), plan.time_zone().clone())
}

/// Registrations of the last run that still hold, and where those came from that have ended since: after a power cut
/// all of a building's devices are back at once.
async fn registrations(store: &Store) -> Result<Restored, StoreError> {
    let now = Now {
        mono: Instant::now(),
        civil: jiff::Timestamp::now(),
    };
    let since = now.civil.checked_sub(LAPSED).unwrap_or(now.civil);
    let lapsed = store.lapsed_sources(since, now.civil).await?;
    let lapsed = lapsed
        .iter()
        .filter_map(|remote| Some(remote.parse::<SocketAddr>().ok()?.ip()))
        .collect();
    let rows = store.restore_bindings(now.civil).await?;
    let bindings = rows
        .into_iter()
        .filter_map(|row| behind::restored(now, row))
        .collect();
    Ok(Restored { bindings, lapsed })
}

/// Keys that what was told to phones depends on: the same after a restart.
async fn keys(store: &Store, config: &mut intercom::Config) -> Result<(), StoreError> {
    config.gruu_key = Some(store.secret("gruu-key", nonce_key()).await?);
    config.proxy_key = store.secret("proxy-key", nonce_key()).await?;
    Ok(())
}

/// Nonces of the last run are stale after a restart.
fn nonce_key() -> [u8; 32] {
    let mut key = [0; 32];
    system_rng().fill_bytes(&mut key);
    key
}

/// Where plan and directory do not fit each other. Said, not refused: people move out while the plan names them, and
/// a building whose server does not start rings nobody.
fn remark(plan: &dialplan::Plan, snapshot: &Snapshot) {
    let diagnostics = plan.check(&snapshot.directory, jiff::Timestamp::now());
    if !diagnostics.is_empty() {
        tracing::warn!(
            "plan and directory:\n{}",
            dialplan::render(&diagnostics, false)
        );
    }
}

fn raise_descriptors(conf: &conf::Resolved) -> anyhow::Result<()> {
    let needed = descriptors::needed(conf.limits.calls, conf.limits.connections);
    let allowed = descriptors::raise(needed).context("cannot read the limit of open files")?;
    if allowed < needed {
        tracing::warn!(
            allowed,
            needed,
            "fewer open files are allowed than the configured limits may need"
        );
    }
    Ok(())
}

/// What is shown beside `/metrics`, to whom it may be shown.
fn routes(
    hub: Arc<trace::Hub>,
    metrics: &Arc<Metrics>,
    token: Option<&conf::Secret>,
) -> axum::Router {
    let devices = metrics::devices::router(Arc::clone(&metrics.published), token.cloned());
    trace::http::router(hub, token.cloned()).merge(devices)
}

/// Serves `/metrics` and `more` until the runtime ends; nothing waits for it.
fn serve_http(
    listener: TcpListener,
    metrics: &Arc<Metrics>,
    more: axum::Router,
) -> std::io::Result<SocketAddr> {
    let address = listener.local_addr()?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    drop(tokio::spawn(metrics::http::serve(
        listener,
        Arc::clone(metrics),
        more,
    )));
    Ok(address)
}

async fn wait_until(limit: Duration, done: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + limit;
    while !done() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
}

async fn join(thread: JoinHandle<()>) {
    let _ = tokio::task::spawn_blocking(move || thread.join()).await;
}

fn bind(conf: &conf::Resolved, tls: &tls::Loaded) -> anyhow::Result<Sockets> {
    let mut sockets = Sockets {
        udp: Vec::new(),
        streams: Vec::new(),
        http: None,
        bound: Vec::new(),
    };
    for (listener, access) in conf.listeners.iter().zip(access(conf, tls)) {
        let name = || {
            format!(
                "cannot listen on {} {}",
                listener.transport.as_str(),
                listener.bind
            )
        };
        let address = match listener.transport {
            Transport::Udp => {
                let socket =
                    BoundUdp::bind(listener.bind, listener.advertise).with_context(name)?;
                let address = socket.local();
                sockets.udp.push(socket);
                address
            }
            transport => {
                let socket = Streams::bind(listener.bind).with_context(name)?;
                let address = socket.local_addr().with_context(name)?;
                sockets.streams.push(StreamListener {
                    socket,
                    transport,
                    advertise: listener.advertise,
                    access,
                });
                address
            }
        };
        sockets.bound.push(Bound {
            transport: listener.transport,
            address,
            advertise: listener.advertise,
        });
    }
    if let Some(address) = conf.http {
        let name = || format!("cannot listen on http {address}");
        let listener = TcpListener::bind(address).with_context(name)?;
        listener.set_nonblocking(true).with_context(name)?;
        sockets.http = Some(listener);
    }
    Ok(sockets)
}

/// How each listener is served, in the configuration's order.
fn access<'a>(conf: &'a conf::Resolved, tls: &'a tls::Loaded) -> impl Iterator<Item = Access> + 'a {
    conf.listeners
        .iter()
        .zip(&tls.listeners)
        .map(|(listener, tls)| Access {
            tls: tls.clone(),
            origins: listener.origins.clone().into(),
        })
}

/// The client side, and a word on certificates that end soon.
fn certificates(tls: &tls::Loaded) -> signalling::Certificates {
    tls.remark(jiff::Timestamp::now());
    signalling::Certificates {
        client: tls.client(),
        expiries: tls.expiries.clone(),
    }
}

fn audit_writer(
    store: &Store,
    conf: &conf::Resolved,
    posts: &Posts,
) -> anyhow::Result<(AuditWriter, JoinHandle<()>)> {
    let settings = AuditSettings {
        queue: conf.audit.queue,
        batch: conf.audit.batch,
        commit_within: conf.audit.commit_within,
    };
    let commits = posts.commits.clone();
    let spawned = AuditWriter::spawn(store, settings, move |acknowledged| {
        let commit = match acknowledged {
            Acknowledged::Recorded(record) => Commit::Recorded(record),
            Acknowledged::Failed(record, why) => {
                tracing::error!(%why, "a record could not be written in time");
                Commit::Failed(record)
            }
        };
        // Signalling never has more records under way than its mailbox holds, so this finds room.
        if commits.try_post(commit).is_err() {
            tracing::error!("a commit could not be reported");
        }
    })?;
    Ok(spawned)
}

fn accounts(snapshot: &Snapshot) -> Accounts {
    let mut accounts = Accounts::new();
    for (user, row) in snapshot.accounts.iter().filter(|(_, row)| !row.revoked) {
        let ha1 = Ha1 {
            md5: row.ha1_md5,
            sha256: Some(row.ha1_sha256),
        };
        accounts.insert(
            user,
            Account {
                ha1,
                device: user.clone(),
                profile: row.profile.clone(),
            },
        );
    }
    accounts
}

fn listeners(
    conf: &conf::Resolved,
    udp: Vec<BoundUdp>,
    streams: Vec<StreamListener>,
    tls: &tls::Loaded,
) -> Listeners {
    Listeners {
        udp,
        streams,
        stream_limits: stream_limits(conf),
        certificates: certificates(tls),
        requests_per_source: conf.limits.requests_per_source,
        queue_delay: conf.limits.queue_delay,
        trusted: believed(conf),
    }
}

/// Addresses that are believed: trusted stations' and trunks'.
fn believed(conf: &conf::Resolved) -> Vec<std::net::IpAddr> {
    let of_trunks = conf.trunks.values();
    conf.trusted
        .keys()
        .copied()
        .chain(of_trunks.flat_map(|trunk| trunk.addresses.clone()))
        .collect()
}

fn stream_limits(conf: &conf::Resolved) -> StreamLimits {
    let defaults = StreamLimits::default();
    StreamLimits {
        connections: conf.limits.connections,
        per_source: conf.limits.connections_per_source,
        handshake: conf.limits.connection_handshake,
        first_message: conf.limits.connection_first_message,
        unfinished: conf
            .limits
            .connection_first_message
            .min(defaults.unfinished),
        idle: conf.limits.connection_idle,
        registered_idle: conf.registered_idle(),
        message: sip_proxy::Limits {
            message_bytes: conf.limits.message_bytes,
            ..sip_proxy::Limits::default()
        },
        ..defaults
    }
}

fn media_config(conf: &conf::Resolved) -> anyhow::Result<MediaConfig> {
    let family = |ipv6: bool| {
        conf.media
            .addresses
            .iter()
            .find(|address| address.bind.is_ipv6() == ipv6)
            .map(|address| MediaAddress {
                bind: address.bind,
                // Left unspecified, signalling writes the address each peer reaches us at.
                advertise: address.advertise.unwrap_or(address.bind),
            })
    };
    let (v4, v6) = (family(false), family(true));
    if v4.is_none() && v6.is_none() {
        return Err(anyhow!("no media address is configured"));
    }
    let workers = match conf.media.workers {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4) as u16),
        workers => workers,
    };
    let bridge = BridgeConfig {
        max_legs: conf.limits.calls.saturating_mul(4),
        silent_after: conf.media.silence,
        ..BridgeConfig::default()
    };
    Ok(MediaConfig {
        workers,
        first_port: conf.media.port_first,
        last_port: conf.media.port_last,
        v4,
        v6,
        bridge,
    })
}
