//! Media worker threads: started at once, fed by orders, heard through reports.

pub(crate) mod leases;
pub(crate) mod worker;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::thread::JoinHandle;

use media_bridge::{Bridge, BridgeConfig, Command, Event, Lease, LeaseId};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::shell::mailbox::{Post, Waker, mailbox};
use leases::{Leases, MediaAddress, PortShare};
use worker::Worker;

/// What signalling asks of a worker. Overflow rule: orders are never dropped; signalling keeps what finds the
/// mailbox full and reads no further SIP while much waits.
#[derive(Debug)]
pub(crate) enum Order {
    /// For the bridge.
    Bridge(Command),
    /// More leases are wanted.
    Want { ipv6: bool, count: usize },
    /// A lease that will not be used.
    Return(LeaseId),
    /// End the thread.
    Stop,
}

/// What a worker tells signalling. Overflow rule at [`worker`]: interim counts may be dropped, nothing else.
#[derive(Debug)]
pub(crate) enum Report {
    /// From the bridge.
    Event(Event),
    /// A bound pair.
    Leased(Lease),
}

/// Orders that may wait for one worker.
const ORDERS: usize = 4096;

/// Counts of one worker, read by `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct MediaCounters {
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) send_dropped: Counter,
    pub(crate) not_open: Counter,
    pub(crate) oversize: Counter,
    pub(crate) reports_dropped: Counter,
    pub(crate) legs: Gauge<i64, AtomicI64>,
    pub(crate) ports: Gauge<i64, AtomicI64>,
}

/// What media workers are started with.
#[derive(Clone, Debug)]
pub(crate) struct MediaConfig {
    pub(crate) workers: u16,
    pub(crate) first_port: u16,
    pub(crate) last_port: u16,
    pub(crate) v4: Option<MediaAddress>,
    pub(crate) v6: Option<MediaAddress>,
    pub(crate) bridge: BridgeConfig,
}

/// A running worker, as signalling sees it.
#[derive(Debug)]
pub(crate) struct RunningWorker {
    pub(crate) orders: Post<Order>,
    pub(crate) counters: Arc<MediaCounters>,
    pub(crate) thread: JoinHandle<()>,
}

/// Starts all workers; their reports go to `reports`.
pub(crate) fn start(
    config: &MediaConfig,
    reports: &Post<Report>,
) -> std::io::Result<Vec<RunningWorker>> {
    (0..config.workers)
        .map(|worker| {
            let waker = Waker::new()?;
            let (orders, inbox) = mailbox(ORDERS, &waker);
            let counters = Arc::new(MediaCounters::default());
            let share = PortShare {
                first: config.first_port,
                last: config.last_port,
                worker,
                workers: config.workers,
            };
            let bridge = Bridge::new(config.bridge.clone(), crate::shell::system_rng());
            let leases = Leases::new(share, config.v4, config.v6);
            let (reports, count) = (reports.clone(), Arc::clone(&counters));
            let worker_thread = Worker::new(bridge, leases, inbox, waker, reports, count)?;
            let thread = std::thread::Builder::new()
                .name(format!("media-{worker}"))
                .spawn(move || worker_thread.run())?;
            Ok(RunningWorker {
                orders,
                counters,
                thread,
            })
        })
        .collect()
}
