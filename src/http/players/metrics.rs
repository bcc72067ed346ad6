//! The metrics of listening with players.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

use crate::metrics::{counter, counters, gauge, gauges, preset};

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
        let listeners = gauges(
            registry,
            "player_listeners",
            "Listeners with players on this node: HTTP streams, and HLS sessions.",
            &["transport"],
        )?;
        let metrics = Self {
            streams: listeners.with_label_values(&["http"]),
            sessions: listeners.with_label_values(&["hls"]),
            waiting: gauge(
                registry,
                "player_requests_waiting",
                "Requests of players that wait for a clip or for Redis.",
            )?,
            clips: counters(
                registry,
                "player_clips_total",
                "Clips remuxed for players, or not, by outcome.",
                &["outcome"],
            )?,
            missed: counter(
                registry,
                "player_clips_missed_total",
                "Clips that a listener by an HTTP stream was too slow for.",
            )?,
            requests: counters(
                registry,
                "player_requests_total",
                "Requests of players, by kind.",
                &["kind"],
            )?,
            refused: counters(
                registry,
                "player_requests_refused_total",
                "Requests of players that were refused, by reason.",
                &["reason"],
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
