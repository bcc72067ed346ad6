//! The metrics of recordings.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, Registry};

use crate::metrics::{counter, counters, gauge, histogram, preset};

/// How a request to a bucket ends.
pub(super) const OUTCOMES: [&str; 6] = ["ok", "not_found", "exists", "denied", "timeout", "failed"];

/// See the module documentation; cheap to clone.
#[derive(Clone)]
pub(super) struct RecordingMetrics {
    pub(super) recorded: IntCounter,
    /// Clips that are not recorded, by reason.
    pub(super) lost: IntCounterVec,
    /// Failures, by what failed.
    pub(super) errors: IntCounterVec,
    pub(super) waiting: IntGauge,
    pub(super) waiting_bytes: IntGauge,
    pub(super) spool_bytes: IntGauge,
    pub(super) away: IntGauge,
    pub(super) refused: IntGauge,
    pub(super) finished: IntCounter,
    pub(super) registered: IntCounter,
    /// Requests to the buckets, by outcome.
    pub(super) requests: IntCounterVec,
    pub(super) request_seconds: Histogram,
}

impl RecordingMetrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            recorded: counter(
                registry,
                "recording_clips_total",
                "Clips that are in the bucket.",
            )?,
            lost: counters(
                registry,
                "recording_clips_lost_total",
                "Accepted clips that are in no recording, by reason; the manifest names them.",
                &["reason"],
            )?,
            errors: counters(
                registry,
                "recording_errors_total",
                "Failures of recording: of the state directory, of bringing clips to the bucket, of finishing, of registering \
                 podcasts. All but those of the state directory are tried again.",
                &["what"],
            )?,
            waiting: gauge(
                registry,
                "recording_waiting",
                "Clips and events in the state directory that wait for the bucket.",
            )?,
            waiting_bytes: gauge(registry, "recording_waiting_bytes", "Bytes of those.")?,
            spool_bytes: gauge(
                registry,
                "recording_spool_bytes",
                "The configured bound of those (`recording.spool_bytes`); 0 if nothing is recorded.",
            )?,
            away: gauge(
                registry,
                "recording_bucket_away",
                "1 while the bucket takes no clips; else 0.",
            )?,
            refused: gauge(
                registry,
                "recording_livestreams_refused",
                "Livestreams whose next clip or event the bucket did not take; each is tried again (`recording.max_retry_wait`).",
            )?,
            finished: counter(
                registry,
                "recordings_finished_total",
                "Recordings that this node has finished, again after late clips included.",
            )?,
            registered: counter(
                registry,
                "recording_podcasts_total",
                "Files of recordings that this node has registered as the app's podcasts (`recording.podcast`).",
            )?,
            requests: counters(
                registry,
                "recording_requests_total",
                "Requests to the buckets of recordings and of podcasts, by outcome, after their retries.",
                &["outcome"],
            )?,
            request_seconds: histogram(
                registry,
                "recording_request_duration_seconds",
                "Duration of those, retries and failures included.",
                &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0],
            )?,
        };
        preset(&metrics.lost, &[&["queue_full", "spool_full", "disk"]]);
        preset(&metrics.errors, &[&["disk", "bucket", "finish", "podcast"]]);
        preset(&metrics.requests, &[&OUTCOMES]);
        Ok(metrics)
    }

    pub(super) fn count_refused(&self, livestreams: usize) {
        self.refused
            .set(i64::try_from(livestreams).unwrap_or(i64::MAX));
    }
}
