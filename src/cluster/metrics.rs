//! The cluster's metrics.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use crate::metrics::{counter, counters, gauge, gauges, histogram, preset, zero};

/// Every reason why a clip is not passed on.
const DROPS: &[&str] = &[
    "queue_full",
    "redis_away",
    "not_owner",
    "lost",
    "decode_error",
    "duplicate",
    "stale_epoch",
    "too_early",
];

/// The metrics; cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// 1 while Redis answers.
    pub(crate) up: IntGauge,
    /// Live nodes.
    pub(crate) nodes: IntGauge,
    /// Livestreams by the role of this node.
    pub(crate) livestreams: IntGaugeVec,
    /// Listeners of this node's livestreams on other nodes.
    pub(crate) remote_listeners: IntGauge,
    /// Clips published to Redis.
    pub(crate) published: IntCounter,
    /// Clips received from other nodes.
    pub(crate) received: IntCounter,
    /// Clips of those that had to be fetched.
    pub(crate) fetched: IntCounter,
    /// Clips published again after Redis had lost them.
    pub(crate) republished: IntCounter,
    /// Clips not passed on, by reason.
    pub(crate) dropped: IntCounterVec,
    /// Leases that ran out while Redis was away.
    pub(crate) leases_lost: IntCounter,
    /// Duration of commands, in seconds.
    pub(crate) commands: Histogram,
    /// Failed commands, by reason.
    pub(crate) failures: IntCounterVec,
    /// Requests to other nodes, by outcome.
    pub(crate) peer_requests: IntCounterVec,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            up: gauge(registry, "redis_up", "1 while Redis answers, else 0.")?,
            nodes: gauge(
                registry,
                "cluster_nodes",
                "Live nodes in the node registry, this one included.",
            )?,
            livestreams: gauges(
                registry,
                "cluster_livestreams",
                "Livestreams that this node takes part in, by its role.",
                &["role"],
            )?,
            remote_listeners: gauge(
                registry,
                "cluster_remote_listeners",
                "Listeners on other nodes of this node's livestreams.",
            )?,
            published: counter(
                registry,
                "cluster_clips_published_total",
                "Clips published to Redis.",
            )?,
            received: counter(
                registry,
                "cluster_clips_received_total",
                "Clips received from other nodes.",
            )?,
            fetched: counter(
                registry,
                "cluster_clips_fetched_total",
                "Clips of other nodes fetched from the history because their message was lost.",
            )?,
            republished: counter(
                registry,
                "cluster_clips_republished_total",
                "Clips published again because Redis had lost them.",
            )?,
            dropped: counters(
                registry,
                "cluster_clips_dropped_total",
                "Clips not passed on between nodes, by reason.",
                &["reason"],
            )?,
            leases_lost: counter(
                registry,
                "cluster_leases_lost_total",
                "Leases that ran out because Redis was away.",
            )?,
            commands: histogram(
                registry,
                "redis_command_seconds",
                "Duration of Redis commands.",
                &[
                    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
                ],
            )?,
            failures: counters(
                registry,
                "redis_command_failures_total",
                "Failed Redis commands, by reason.",
                &["reason"],
            )?,
            peer_requests: counters(
                registry,
                "cluster_peer_requests_total",
                "Requests of the operator's API to other nodes, by outcome.",
                &["outcome"],
            )?,
        };
        preset(
            &metrics.peer_requests,
            &[&["ok", "redis_away", "silent", "busy"]],
        );
        preset(&metrics.dropped, &[DROPS]);
        preset(&metrics.failures, &[&["away", "refused"]]);
        zero(&metrics.livestreams, &["owner", "follower"]);
        Ok(metrics)
    }

    pub(crate) fn drop_clips(&self, reason: &str, clips: u64) {
        self.dropped.with_label_values(&[reason]).inc_by(clips);
    }
}
