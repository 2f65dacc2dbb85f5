//! A histogram that was counted elsewhere, for Prometheus: its own can only be counted into.

use prometheus::{
    core::{Collector, Desc},
    proto::{self, MetricFamily, MetricType},
};

/// Durations by bucket.
pub(super) struct Counted {
    description: Vec<Desc>,
    name: &'static str,
    help: &'static str,
    bounds_us: Vec<u64>,
    counts: Vec<u64>,
    sum_us: u64,
}

impl Counted {
    /// `counts` has a count for each of the upper bounds (microseconds), not accumulated, and one for what is beyond them.
    pub(super) fn new(
        name: &'static str,
        help: &'static str,
        bounds_us: &[u64],
        counts: &[u64],
        sum_us: u64,
    ) -> Self {
        let description =
            Desc::new(name.to_owned(), help.to_owned(), Vec::new(), std::collections::HashMap::new());
        let (bounds_us, counts) = (bounds_us.to_vec(), counts.to_vec());
        Self { description: description.into_iter().collect(), name, help, bounds_us, counts, sum_us }
    }
}

impl Collector for Counted {
    fn desc(&self) -> Vec<&Desc> {
        self.description.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut total = 0;
        let mut buckets = Vec::new();
        for (bound_us, count) in self.bounds_us.iter().zip(&self.counts) {
            total += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound_us as f64 / 1e6);
            bucket.set_cumulative_count(total);
            buckets.push(bucket);
        }
        let mut histogram = proto::Histogram::default();
        histogram.set_sample_count(self.counts.iter().sum());
        histogram.set_sample_sum(self.sum_us as f64 / 1e6);
        histogram.set_bucket(buckets);
        let mut metric = proto::Metric::default();
        metric.set_histogram(histogram);
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        vec![family]
    }
}
