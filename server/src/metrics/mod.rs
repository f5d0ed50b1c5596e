//! What `/metrics`, `/healthz` and `/readyz` tell.
//!
//! Threads on the call path share no histogram and no lock: signalling publishes a list of samples once a
//! second, media workers count in atomics, and call latencies are observed by the task that writes calls behind.

mod answers;
mod buckets;
pub(crate) mod devices;
pub(crate) mod http;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use answers::Answers;
pub(crate) use buckets::Buckets;
pub(crate) use buckets::Observed;

use crate::media::MediaCounters;
use crate::trace;

/// Upper bounds of latency histograms, seconds: fine around the product's bars (0.3 ms, 10 ms, 1 s).
const LATENCY: [f64; 16] = [
    0.000_1, 0.000_2, 0.000_3, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0,
    2.0, 5.0,
];
/// Upper bounds for what people do, seconds.
const HUMAN: [f64; 10] = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0, 1_800.0];

/// One published value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    /// Empty for most: no allocation then.
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: u64,
    /// Goes up and down; else it only grows.
    pub(crate) gauge: bool,
}

impl Sample {
    /// A count since start.
    pub(crate) fn count(name: &'static str, help: &'static str, value: u64) -> Self {
        Self {
            name,
            help,
            labels: Vec::new(),
            value,
            gauge: false,
        }
    }

    /// A present value.
    pub(crate) fn gauge(name: &'static str, help: &'static str, value: usize) -> Self {
        Self {
            name,
            help,
            labels: Vec::new(),
            value: value as u64,
            gauge: true,
        }
    }

    /// The same with a label more. Samples of one name must stand side by side.
    pub(crate) fn label(mut self, key: &'static str, value: &dyn std::fmt::Display) -> Self {
        self.labels.push((key, value.to_string()));
        self
    }
}

/// Samples of the signalling thread, replaced as a whole.
#[derive(Debug, Default)]
pub(crate) struct Published {
    samples: ArcSwap<Vec<Sample>>,
    /// What is known of devices, replaced as a whole now and then.
    pub(crate) readings: ArcSwap<Vec<intercom::Reading>>,
    histograms: ArcSwap<Vec<Observed>>,
    /// New requests are being refused for overload.
    pub(crate) overloaded: AtomicBool,
    /// Calls in progress for their people, for the drain.
    pub(crate) live_calls: AtomicUsize,
    /// The same with those that only wait for their last transactions.
    pub(crate) held_calls: AtomicUsize,
}

impl Published {
    /// Replaces all samples.
    pub(crate) fn replace(&self, samples: Vec<Sample>) {
        self.samples.store(Arc::new(samples));
    }

    /// Replaces all histograms.
    pub(crate) fn replace_histograms(&self, histograms: Vec<Observed>) {
        self.histograms.store(Arc::new(histograms));
    }
}

impl Collector for Published {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let samples = self.samples.load();
        for family in samples.chunk_by(|one, next| one.name == next.name) {
            let Some(first) = family.first() else {
                continue;
            };
            let kind = if first.gauge {
                MetricType::Gauge
            } else {
                MetricType::Counter
            };
            let mut metric = encoder.encode_descriptor(first.name, first.help, None, kind)?;
            for sample in family {
                let labels: Vec<(&str, &str)> = sample
                    .labels
                    .iter()
                    .map(|(key, value)| (*key, value.as_str()))
                    .collect();
                let member = metric.encode_family(&labels)?;
                if sample.gauge {
                    ConstGauge::new(i64::try_from(sample.value).unwrap_or(i64::MAX))
                        .encode(member)?;
                } else {
                    ConstCounter::new(sample.value).encode(member)?;
                }
            }
        }
        for observed in self.histograms.load().iter() {
            let metric = encoder.encode_descriptor(
                observed.name,
                observed.help,
                None,
                MetricType::Histogram,
            )?;
            observed.encode(metric)?;
        }
        Ok(())
    }
}

/// The trace's counters, once there is a trace.
#[derive(Debug)]
struct TraceCollector(Arc<ArcSwap<Option<Arc<trace::Counters>>>>);

impl Collector for TraceCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counters = self.0.load();
        let Some(counters) = counters.as_ref() else {
            return Ok(());
        };
        for (name, help, counter) in [
            ("hep_sent", "Messages sent to Homer", &counters.hep_sent),
            (
                "hep_dropped",
                "Messages not sent to Homer: no address, or the socket full",
                &counters.hep_dropped,
            ),
            (
                "trace_lines_lost",
                "Lines of the live trace that a slow reader lost",
                &counters.lines_lost,
            ),
        ] {
            let value = counter.load(Ordering::Relaxed);
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value).encode(metric)?;
        }
        Ok(())
    }
}

/// Latencies, observed off the call path.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    /// INVITE in to first INVITE out.
    pub(crate) route_decision: Histogram,
    /// INVITE in to first ringing.
    pub(crate) ringing: Histogram,
    /// INVITE in to answer.
    pub(crate) answer: Histogram,
    /// Unlock asked for to relay acknowledged.
    pub(crate) unlock: Histogram,
    /// Relay request out to its answer.
    pub(crate) relay: Histogram,
}

/// Whether the server may be sent calls.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    ready: AtomicBool,
    draining: AtomicBool,
    /// The audit writer's word: its last commit failed.
    audit_failing: Arc<AtomicBool>,
}

impl Readiness {
    /// Everything is bound and restored.
    pub(crate) fn ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// No new calls are taken.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// `Ok`, or the reason why not.
    pub(crate) fn state(&self) -> Result<(), &'static str> {
        if self.draining.load(Ordering::Acquire) {
            Err("draining")
        } else if self.audit_failing.load(Ordering::Acquire) {
            Err("degraded: the audit log cannot be written, so unlocks are refused")
        } else if self.ready.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err("starting")
        }
    }
}

/// Everything that is scraped.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) latencies: Latencies,
    pub(crate) answers: Answers,
    pub(crate) published: Arc<Published>,
    trace: Arc<ArcSwap<Option<Arc<trace::Counters>>>>,
    pub(crate) readiness: Readiness,
}

impl Metrics {
    /// The registry of a server with these media workers and this sign of the audit writer, in the site's time zone.
    pub(crate) fn new(
        workers: &[Arc<MediaCounters>],
        audit_failing: Arc<AtomicBool>,
        zone: jiff::tz::TimeZone,
    ) -> Self {
        let mut registry = Registry::with_prefix("doorward");
        let latencies = Latencies {
            route_decision: Histogram::new(LATENCY),
            ringing: Histogram::new(LATENCY),
            answer: Histogram::new(HUMAN),
            unlock: Histogram::new(LATENCY),
            relay: Histogram::new(LATENCY),
        };
        for (name, help, histogram) in [
            (
                "route_decision_seconds",
                "INVITE in to first INVITE out",
                &latencies.route_decision,
            ),
            (
                "ringing_seconds",
                "INVITE in to first ringing",
                &latencies.ringing,
            ),
            ("answer_seconds", "INVITE in to answer", &latencies.answer),
            (
                "unlock_seconds",
                "Unlock asked for to relay acknowledged",
                &latencies.unlock,
            ),
            (
                "relay_seconds",
                "Relay request out to its answer",
                &latencies.relay,
            ),
        ] {
            registry.register(name, help, histogram.clone());
        }
        for (index, worker) in workers.iter().enumerate() {
            let sub = registry.sub_registry_with_label(("worker".into(), index.to_string().into()));
            for (name, help, counter) in [
                (
                    "media_received",
                    "Datagrams received on media ports",
                    &worker.received,
                ),
                (
                    "media_sent",
                    "Datagrams sent from media ports",
                    &worker.sent,
                ),
                (
                    "media_send_dropped",
                    "Datagrams the kernel did not take",
                    &worker.send_dropped,
                ),
                (
                    "media_not_open",
                    "Datagrams for a port without a leg, dropped",
                    &worker.not_open,
                ),
                (
                    "media_oversize",
                    "Datagrams too long, dropped",
                    &worker.oversize,
                ),
                (
                    "media_reports_dropped",
                    "Interim reports dropped, queue full",
                    &worker.reports_dropped,
                ),
            ] {
                sub.register(name, help, counter.clone());
            }
            sub.register("media_legs", "Open legs", worker.legs.clone());
            sub.register("media_ports", "Bound port pairs", worker.ports.clone());
        }
        let answers = Answers::new(&mut registry, zone);
        let published = Arc::new(Published::default());
        registry.register_collector(Box::new(Arc::clone(&published)));
        let trace = Arc::new(ArcSwap::from_pointee(None));
        registry.register_collector(Box::new(TraceCollector(Arc::clone(&trace))));
        Self {
            registry,
            latencies,
            answers,
            published,
            trace,
            readiness: Readiness {
                audit_failing,
                ..Readiness::default()
            },
        }
    }

    /// What becomes of messages on their way to those who watch.
    pub(crate) fn follow_trace(&self, counters: &Arc<trace::Counters>) {
        self.trace.store(Arc::new(Some(Arc::clone(counters))));
    }

    /// The scrape's text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail; what a failing collector left out is better than nothing.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_and_latencies_stand_in_the_text() {
        let metrics = Metrics::new(
            &[Arc::new(MediaCounters::default())],
            Arc::default(),
            jiff::tz::TimeZone::UTC,
        );
        metrics.published.replace(vec![
            Sample::count("sip_requests_in", "Requests", 3).label("method", &"INVITE"),
            Sample::count("sip_requests_in", "Requests", 2).label("method", &"BYE"),
            Sample::gauge("calls", "Calls", 1),
        ]);
        metrics.latencies.route_decision.observe(0.000_25);
        let text = metrics.text();
        for line in [
            "doorward_sip_requests_in_total{method=\"INVITE\"} 3",
            "doorward_sip_requests_in_total{method=\"BYE\"} 2",
            "doorward_calls{} 1",
            "doorward_route_decision_seconds_bucket{le=\"0.0003\"} 1",
            "doorward_media_legs{worker=\"0\"} 0",
        ] {
            assert!(text.contains(line), "{line} not in\n{text}");
        }
    }

    #[test]
    fn ready_only_between_start_and_drain_and_while_the_log_can_be_written() {
        let readiness = Readiness::default();
        assert_eq!(readiness.state(), Err("starting"));
        readiness.ready();
        assert_eq!(readiness.state(), Ok(()));
        readiness.audit_failing.store(true, Ordering::Release);
        assert!(readiness.state().unwrap_err().starts_with("degraded"));
        readiness.audit_failing.store(false, Ordering::Release);
        assert_eq!(readiness.state(), Ok(()));
        readiness.drain();
        assert_eq!(readiness.state(), Err("draining"));
    }
}
