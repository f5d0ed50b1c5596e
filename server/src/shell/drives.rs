//! Serves relay requests: at most [`AT_ONCE`] stations are spoken to at one time, each within its time-out.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use conf::Door;
use conf::station::HttpUnlock;
use dialplan::{DriverKind, Plan};
use intercom::unlock::{Drive, Outcome};
use tokio::sync::{Semaphore, mpsc};

use crate::driver::http::{Http, HttpError};
use crate::metrics::Metrics;
use crate::shell::mailbox::Post;
use crate::signalling::RelayDone;

/// Stations spoken to at one time; further requests wait in signalling's queue.
const AT_ONCE: usize = 32;

/// How each door's station is told to open: the present configuration.
pub(crate) struct Stations {
    http: Http,
    /// By door. Bounded by the configuration.
    doors: BTreeMap<String, (Door, HttpUnlock)>,
}

impl Stations {
    /// The doors of the plan that have a connection in the configuration and a profile with an HTTP request.
    pub(crate) fn new(conf: &conf::Resolved, plan: &Plan) -> Result<Self, HttpError> {
        let doors: BTreeMap<_, _> = plan
            .doors()
            .filter_map(|door| {
                let unlock = conf.stations.get(&door.station)?.unlock.http.clone()?;
                Some((
                    door.name.clone(),
                    (conf.doors.get(&door.name)?.clone(), unlock),
                ))
            })
            .collect();
        Ok(Self {
            http: Http::new(doors.values().map(|(door, _)| door))?,
            doors,
        })
    }
}

/// Serves until signalling ends.
pub(crate) async fn serve(
    mut drives: mpsc::Receiver<Drive>,
    stations: Arc<ArcSwap<Stations>>,
    results: Post<RelayDone>,
    metrics: Arc<Metrics>,
) {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(drive) = drives.recv().await {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let (stations, results, metrics) =
            (stations.load_full(), results.clone(), Arc::clone(&metrics));
        tokio::spawn(async move {
            let started = std::time::Instant::now();
            let outcome = one(&drive, &stations).await;
            let latency = started.elapsed();
            metrics.latencies.relay.observe(latency.as_secs_f64());
            tracing::info!(
                intent = %drive.intent, door = drive.door, output = drive.output, outcome = ?outcome,
                latency_us = latency.as_micros() as u64, "relay driven"
            );
            results
                .post(RelayDone {
                    intent: drive.intent,
                    attempt: drive.attempt,
                    outcome,
                })
                .await;
            drop(slot);
        });
    }
}

async fn one(drive: &Drive, stations: &Stations) -> Outcome {
    if drive.driver != DriverKind::Http {
        return Outcome::Refused(format!("driver {} is not available", drive.driver.as_str()));
    }
    let Some((door, unlock)) = stations.doors.get(&drive.door) else {
        return Outcome::Refused(format!(
            "door {} has no HTTP connection in the configuration",
            drive.door
        ));
    };
    let mut values = drive.options.clone();
    for (place, value) in [
        ("door", drive.door.clone()),
        ("output", drive.output.clone()),
        ("pulse", drive.pulse.as_secs().to_string()),
        ("intent", drive.intent.to_string()),
    ] {
        values.entry(place.to_owned()).or_insert(value);
    }
    stations
        .http
        .drive(unlock, door, values, drive.timeout.min(unlock.timeout))
        .await
}
