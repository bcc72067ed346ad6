//! The metrics of listening with players.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::metrics::preset;

/// See the module documentation.
#[derive(Clone)]
pub(super) struct PlayerMetrics {
    /// Listeners by an HTTP stream.
    pub(super) streams: IntGauge,
    /// Listeners by HLS.
    pub(super) sessions: IntGauge,
    /// Requests that wait.
    pub(super) waiting: IntGauge,
    /// Clips, by outcome.
    pub(super) clips: IntCounterVec,
    /// Clips that a slow HTTP stream missed.
    pub(super) missed: IntCounter,
    /// Requests by kind.
    pub(super) requests: IntCounterVec,
    /// Refused requests, by reason.
    pub(super) refused: IntCounterVec,
}

impl PlayerMetrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = |name: &str, help: &str| Opts::new(name, help).namespace("castaway");
        let counters = |name, help, label| {
            let counters = IntCounterVec::new(opts(name, help), &[label])?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let listeners = IntGaugeVec::new(
            opts(
                "player_listeners",
                "Listeners with players on this node: HTTP streams, and HLS sessions.",
            ),
            &["transport"],
        )?;
        registry.register(Box::new(listeners.clone()))?;
        let waiting = IntGauge::with_opts(opts(
            "player_requests_waiting",
            "Requests of players that wait for a clip or for Redis.",
        ))?;
        registry.register(Box::new(waiting.clone()))?;
        let missed = IntCounter::with_opts(opts(
            "player_clips_missed_total",
            "Clips that a listener by an HTTP stream was too slow for.",
        ))?;
        registry.register(Box::new(missed.clone()))?;
        let metrics = Self {
            streams: listeners.with_label_values(&["http"]),
            sessions: listeners.with_label_values(&["hls"]),
            waiting,
            clips: counters(
                "player_clips_total",
                "Clips remuxed for players, or not, by outcome.",
                "outcome",
            )?,
            missed,
            requests: counters(
                "player_requests_total",
                "Requests of players, by kind.",
                "kind",
            )?,
            refused: counters(
                "player_requests_refused_total",
                "Requests of players that were refused, by reason.",
                "reason",
            )?,
        };
        metrics.preset();
        Ok(metrics)
    }

    fn preset(&self) {
        let outcomes = [
            "remuxed", "format", "unknown", "damaged", "too_long", "dropped",
        ];
        preset(&self.clips, &[&outcomes]);
        preset(&self.requests, &[&["stream", "playlist", "segment"]]);
        preset(
            &self.refused,
            &[&[
                "no_token",
                "no_pass",
                "pass_invalid",
                "pass_ended",
                "token_invalid",
                "token_expired",
                "unavailable",
                "banned",
                "draining",
                "not_started",
                "not_playable",
                "no_segment",
                "full",
                "livestream_full",
                "address_limit",
                "too_many_waiting",
                "too_far_ahead",
                "timeout",
            ]],
        );
    }
}
