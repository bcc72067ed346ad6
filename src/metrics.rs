//! What is counted, in one place: every metric's name, unit and help.
//!
//! **Invariant**: no label's value comes from a client, so that the number of series is fixed.

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// Every metric of the process; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// Open TCP connections on the client port.
    pub connections: IntGauge,
    /// Connections that were closed at once, by reason.
    pub connections_refused: IntCounterVec,
    /// Connections that were closed by this side, by reason.
    pub connections_closed: IntCounterVec,
    /// Livestreams by state.
    pub livestreams: IntGaugeVec,
    /// What became of livestreams: started, resumed, `taken_over`, lost, ended, expired.
    pub livestream_events: IntCounterVec,
    /// Listeners of all livestreams.
    pub listeners: IntGauge,
    /// Sockets that were let in, by role.
    pub accepted: IntCounterVec,
    /// Sockets that were refused, by role and reason.
    pub refusals: IntCounterVec,
    /// Clips that were accepted.
    pub clips_in: IntCounter,
    /// Bytes of clips that were accepted.
    pub clip_bytes_in: IntCounter,
    /// Clips that were handed to the kernel whole, one for each listener.
    pub clips_out: IntCounter,
    /// Bytes of those.
    pub clip_bytes_out: IntCounter,
    /// Clips that a slow listener did not get.
    pub clips_dropped: IntCounter,
    /// Uploads that were not accepted, by reason.
    pub uploads_refused: IntCounterVec,
    /// From an upload to the first attempt to write it to the last listener, in seconds.
    pub fan_out: Histogram,
    /// How long the check of a client took, in seconds.
    pub check: Histogram,
    /// What clients sent that makes no sense, by kind.
    pub bad_input: IntCounterVec,
    /// Writes of `streamerConnected` that are not confirmed yet.
    pub directory_pending: IntGauge,
}

impl Metrics {
    /// A fresh set, with the process's own figures where the system tells them.
    pub fn new() -> Self {
        let registry = Registry::new();
        let metrics = Self::registered(&registry).unwrap_or_else(|error| {
            // Names are fixed and distinct: a test registers them all.
            unreachable!("metrics cannot be registered: {error}")
        });
        metrics.preset();
        let process = prometheus::process_collector::ProcessCollector::for_self();
        registry.register(Box::new(process)).ok();
        metrics
    }

    #[expect(clippy::too_many_lines, reason = "one entry a metric, in one place")]
    fn registered(registry: &Registry) -> prometheus::Result<Self> {
        let build = gauges(
            registry,
            "build_info",
            "1, with the running version as a label.",
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            registry: registry.clone(),
            connections: gauge(
                registry,
                "connections",
                "Open TCP connections on the client port.",
            )?,
            connections_refused: counters(
                registry,
                "connections_refused_total",
                "Connections refused at once because a limit was reached, by limit.",
                &["reason"],
            )?,
            connections_closed: counters(
                registry,
                "connections_closed_total",
                "Connections closed by the server, by reason.",
                &["reason"],
            )?,
            livestreams: gauges(
                registry,
                "livestreams",
                "Livestreams on this node, by state.",
                &["state"],
            )?,
            livestream_events: counters(
                registry,
                "livestream_events_total",
                "Changes in the life of livestreams, by event.",
                &["event"],
            )?,
            listeners: gauge(registry, "listeners", "Listeners on this node.")?,
            accepted: counters(
                registry,
                "accepted_total",
                "Sockets admitted, by role.",
                &["role"],
            )?,
            refusals: counters(
                registry,
                "refusals_total",
                "Sockets refused, by role and reason.",
                &["role", "reason"],
            )?,
            clips_in: counter(
                registry,
                "clips_received_total",
                "Clips accepted from streamers.",
            )?,
            clip_bytes_in: counter(
                registry,
                "clip_received_bytes_total",
                "Bytes of the clips accepted from streamers.",
            )?,
            clips_out: counter(
                registry,
                "clips_sent_total",
                "Clips written to listeners' connections, one for each listener.",
            )?,
            clip_bytes_out: counter(
                registry,
                "clip_sent_bytes_total",
                "Bytes of the clips written to listeners' connections.",
            )?,
            clips_dropped: counter(
                registry,
                "clips_dropped_total",
                "Clips dropped from the outboxes of slow listeners.",
            )?,
            uploads_refused: counters(
                registry,
                "uploads_refused_total",
                "Uploads refused, by reason.",
                &["reason"],
            )?,
            fan_out: histogram(
                registry,
                "fan_out_seconds",
                "Time from a clip's upload to the first attempt to write it to the last listener.",
                &[
                    0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
                ],
            )?,
            check: histogram(
                registry,
                "check_seconds",
                "Duration of the check of a client's token and livestream.",
                &[
                    0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
                ],
            )?,
            bad_input: counters(
                registry,
                "bad_input_total",
                "Malformed or unexpected input of clients, by kind.",
                &["kind"],
            )?,
            directory_pending: gauge(
                registry,
                "directory_pending_writes",
                "Writes of streamerConnected that Firestore has not confirmed.",
            )?,
        })
    }

    /// Every label value of the relay's own metrics; the modules that count use the same words.
    fn preset(&self) {
        const ROLES: &[&str] = &["streamer", "listener"];
        const REFUSALS: &[&str] = &[
            "no_token",
            "no_livestream",
            "token_invalid",
            "token_expired",
            "not_the_artist",
            "does_not_exist",
            "not_started",
            "unavailable",
            "full",
        ];
        const CLOSED: &[&str] = &["no_request", "idle", "stalled", "lagging"];
        const EVENTS: &[&str] = &[
            "started",
            "resumed",
            "taken_over",
            "lost",
            "ended",
            "ended_elsewhere",
            "expired",
            "abandoned",
        ];
        const UPLOADS: &[&str] = &[
            "not_a_clip",
            "too_large",
            "rate_limit",
            "stale_lease",
            "stopping",
        ];
        const BAD_INPUT: &[&str] = &[
            "bad_request",
            "malformed_packet",
            "two_polls_at_once",
            "unknown_event",
        ];
        preset(&self.connections_refused, &[&["total", "address"]]);
        preset(&self.connections_closed, &[CLOSED]);
        preset(&self.livestream_events, &[EVENTS]);
        preset(&self.accepted, &[ROLES]);
        preset(&self.refusals, &[ROLES, REFUSALS]);
        preset(&self.uploads_refused, &[UPLOADS]);
        preset(&self.bad_input, &[BAD_INPUT]);
        for state in ["waiting", "live", "reconnecting"] {
            self.livestreams.with_label_values(&[state]).set(0);
        }
    }

    /// Where the parts that count for themselves register.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// All of it in Prometheus's text format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory cannot fail, and the encoder writes UTF-8.
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .ok();
        String::from_utf8(text).unwrap_or_default()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Gives every combination of these label values a series, so that `increase()` sees its first event.
pub fn preset(counters: &IntCounterVec, values: &[&[&str]]) {
    let mut combinations = vec![Vec::new()];
    for values in values {
        combinations = combinations
            .iter()
            .flat_map(|chosen| values.iter().map(|value| [&chosen[..], &[*value]].concat()))
            .collect();
    }
    for labels in combinations {
        counters.with_label_values(&labels).inc_by(0);
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("castaway")
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    let gauge = IntGauge::with_opts(opts(name, help))?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntGaugeVec> {
    let gauges = IntGaugeVec::new(opts(name, help), labels)?;
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    let counter = IntCounter::with_opts(opts(name, help))?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    let counters = IntCounterVec::new(opts(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> prometheus::Result<Histogram> {
    let options = HistogramOpts::new(name, help)
        .namespace("castaway")
        .buckets(buckets.to_vec());
    let histogram = Histogram::with_opts(options)?;
    registry.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_our_prefix_a_help_and_is_rendered() {
        let metrics = Metrics::new();
        metrics.clips_in.inc();
        let text = metrics.render();
        assert!(text.contains("castaway_clips_received_total 1"), "{text}");
        assert!(text.contains("# HELP castaway_connections "), "{text}");
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }
}
