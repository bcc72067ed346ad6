//! Registering one metric: every room's metrics begin here.
//!
//! **Invariant**: a metric that is returned is registered, and its name has the prefix `castaway_`.

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

/// Registers a gauge.
pub fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    let gauge = IntGauge::with_opts(opts(name, help))?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

/// Registers gauges with labels.
pub fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntGaugeVec> {
    let gauges = IntGaugeVec::new(opts(name, help), labels)?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

/// Registers a counter.
pub fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    let counter = IntCounter::with_opts(opts(name, help))?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

/// Registers counters with labels.
pub fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    let counters = IntCounterVec::new(opts(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

/// Registers a histogram.
pub fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> prometheus::Result<Histogram> {
    let histogram = Histogram::with_opts(histogram_opts(name, help, buckets))?;
    registry.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}

/// Registers histograms with labels.
pub fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> prometheus::Result<HistogramVec> {
    let histograms = HistogramVec::new(histogram_opts(name, help, buckets), labels)?;
    registry.register(Box::new(histograms.clone()))?;
    Ok(histograms)
}
