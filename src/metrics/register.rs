//! Registering one metric: every room's metrics begin here.
//!
//! **Invariant**: a metric that is returned is registered, and its name has the prefix `castaway_`.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

pub(super) fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("castaway")
}

fn histogram_opts(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    let opts = HistogramOpts::new(name, help).namespace("castaway");
    opts.buckets(buckets.to_vec())
}

fn registered<M>(registry: &Registry, metric: M) -> prometheus::Result<M>
where
    M: Collector + Clone + 'static,
{
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// Registers a gauge.
pub fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    registered(registry, IntGauge::with_opts(opts(name, help))?)
}

/// Registers gauges with labels.
pub fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntGaugeVec> {
    registered(registry, IntGaugeVec::new(opts(name, help), labels)?)
}

/// Registers a counter.
pub fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    registered(registry, IntCounter::with_opts(opts(name, help))?)
}

/// Registers counters with labels.
pub fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    registered(registry, IntCounterVec::new(opts(name, help), labels)?)
}

/// Registers a histogram.
pub fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> prometheus::Result<Histogram> {
    registered(
        registry,
        Histogram::with_opts(histogram_opts(name, help, buckets))?,
    )
}

/// Registers histograms with labels.
pub fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> prometheus::Result<HistogramVec> {
    registered(
        registry,
        HistogramVec::new(histogram_opts(name, help, buckets), labels)?,
    )
}
