//! What the cluster counts.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::metrics::preset;

/// Every reason for which a clip is not passed on.
const DROPS: &[&str] = &[
    "queue_full",
    "not_holder",
    "missed",
    "garbled",
    "doubled",
    "stale",
];

/// The cluster's figures; cheap to clone.
#[derive(Clone)]
pub(super) struct Figures {
    /// 1 while the engine answers.
    pub(super) up: IntGauge,
    /// Nodes that were heard of lately.
    pub(super) nodes: IntGauge,
    /// Livestreams by what this node is to them.
    pub(super) livestreams: IntGaugeVec,
    /// Listeners of this node's livestreams on other nodes.
    pub(super) elsewhere: IntGauge,
    /// Clips that other nodes can have.
    pub(super) published: IntCounter,
    /// Clips that came from other nodes.
    pub(super) received: IntCounter,
    /// Clips of these that had to be fetched.
    pub(super) replayed: IntCounter,
    /// Clips that were not handed on, by reason.
    pub(super) dropped: IntCounterVec,
    /// Leases that ran out since the engine was away.
    pub(super) leases_lost: IntCounter,
    /// How long commands took, in seconds.
    pub(super) commands: Histogram,
    /// Commands that failed, by reason.
    pub(super) failures: IntCounterVec,
}

impl Figures {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let opts = |name: &str, help: &str| Opts::new(name, help).namespace("castaway");
        let figures = Self {
            up: IntGauge::with_opts(opts("cluster_up", "1 while Redis answers, else 0."))?,
            nodes: IntGauge::with_opts(opts(
                "cluster_nodes",
                "Live nodes in the node registry, this one included.",
            ))?,
            livestreams: IntGaugeVec::new(
                opts(
                    "cluster_livestreams",
                    "Livestreams that this node takes part in, by its role.",
                ),
                &["role"],
            )?,
            elsewhere: IntGauge::with_opts(opts(
                "listeners_elsewhere",
                "Listeners on other nodes of this node's livestreams.",
            ))?,
            published: IntCounter::with_opts(opts(
                "cluster_clips_published_total",
                "Clips published to Redis.",
            ))?,
            received: IntCounter::with_opts(opts(
                "cluster_clips_received_total",
                "Clips received from other nodes.",
            ))?,
            replayed: IntCounter::with_opts(opts(
                "cluster_clips_replayed_total",
                "Clips of other nodes fetched from the history because their message was lost.",
            ))?,
            dropped: IntCounterVec::new(
                opts(
                    "cluster_clips_dropped_total",
                    "Clips not passed on between nodes, by reason.",
                ),
                &["reason"],
            )?,
            leases_lost: IntCounter::with_opts(opts(
                "cluster_leases_lost_total",
                "Livestreams given up because Redis was away for longer than the lease.",
            ))?,
            commands: Histogram::with_opts(
                HistogramOpts::new("cluster_command_seconds", "Duration of Redis commands.")
                    .namespace("castaway")
                    .buckets(vec![
                        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
                    ]),
            )?,
            failures: IntCounterVec::new(
                opts(
                    "cluster_command_failures_total",
                    "Failed Redis commands, by reason.",
                ),
                &["reason"],
            )?,
        };
        preset(&figures.dropped, &[DROPS]);
        preset(&figures.failures, &[&["away", "refused"]]);
        for role in ["holder", "follower"] {
            figures.livestreams.with_label_values(&[role]).set(0);
        }
        registry.register(Box::new(figures.up.clone()))?;
        registry.register(Box::new(figures.nodes.clone()))?;
        registry.register(Box::new(figures.livestreams.clone()))?;
        registry.register(Box::new(figures.elsewhere.clone()))?;
        registry.register(Box::new(figures.published.clone()))?;
        registry.register(Box::new(figures.received.clone()))?;
        registry.register(Box::new(figures.replayed.clone()))?;
        registry.register(Box::new(figures.dropped.clone()))?;
        registry.register(Box::new(figures.leases_lost.clone()))?;
        registry.register(Box::new(figures.commands.clone()))?;
        registry.register(Box::new(figures.failures.clone()))?;
        Ok(figures)
    }

    pub(super) fn drop_clips(&self, reason: &str, clips: u64) {
        self.dropped.with_label_values(&[reason]).inc_by(clips);
    }
}
