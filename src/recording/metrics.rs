//! The metrics of recordings.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

use crate::metrics::{counter, counters, gauge, preset};

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
    pub(super) finished: IntCounter,
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
                "Failures of recording: of the state directory, of bringing clips to the bucket, of finishing. All but those \
                 of the state directory are tried again.",
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
            finished: counter(
                registry,
                "recordings_finished_total",
                "Recordings that this node has finished, again after late clips included.",
            )?,
        };
        preset(&metrics.lost, &[&["queue_full", "spool_full", "disk"]]);
        preset(&metrics.errors, &[&["disk", "bucket", "finish"]]);
        Ok(metrics)
    }
}
