//! A histogram that one thread owns: no lock, no atomic, no allocation. Published once a second.

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Counts by upper bound, in µs.
#[derive(Clone, Debug)]
pub(crate) struct Buckets<const N: usize> {
    bounds: [u64; N],
    counts: [u64; N],
    /// Above the last bound.
    above: u64,
    sum: u64,
}

impl<const N: usize> Buckets<N> {
    /// `bounds` in µs, rising.
    pub(crate) fn new(bounds: [u64; N]) -> Self {
        Self {
            bounds,
            counts: [0; N],
            above: 0,
            sum: 0,
        }
    }

    /// One value, in µs.
    pub(crate) fn observe(&mut self, micros: u64) {
        let place = self.bounds.partition_point(|bound| *bound < micros);
        match self.counts.get_mut(place) {
            Some(count) => *count += 1,
            None => self.above += 1,
        }
        self.sum = self.sum.saturating_add(micros);
    }

    /// As published.
    pub(crate) fn sample(&self, name: &'static str, help: &'static str) -> Observed {
        let seconds = |micros: u64| micros as f64 / 1e6;
        let buckets = self
            .bounds
            .iter()
            .zip(self.counts)
            .map(|(bound, count)| (seconds(*bound), count))
            .chain([(f64::INFINITY, self.above)])
            .collect();
        Observed {
            name,
            help,
            sum: seconds(self.sum),
            buckets,
        }
    }
}

/// A histogram as published, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observed {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    sum: f64,
    buckets: Vec<(f64, u64)>,
}

impl EncodeMetric for Observed {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let count = self.buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.sum, count, &self.buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_at_the_first_bound_that_holds_it() {
        let mut buckets = Buckets::new([100, 1_000]);
        for micros in [0, 100, 101, 1_000, 1_001, 5_000_000] {
            buckets.observe(micros);
        }
        let observed = buckets.sample("x", "X");
        assert_eq!(
            observed.buckets,
            [(0.000_1, 2), (0.001, 2), (f64::INFINITY, 2)]
        );
        assert!((observed.sum - 5.002_202).abs() < 1e-9);
    }
}
