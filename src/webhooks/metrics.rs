//! The metrics of webhooks.

use prometheus::{IntCounterVec, IntGauge, Registry};

use super::message::TYPES;
use super::request::Failure;
use crate::metrics::{counters, gauge, preset};

/// See the module documentation; cheap to clone.
#[derive(Clone)]
pub(super) struct WebhookMetrics {
    /// Delivered messages, by type.
    pub(super) sent: IntCounterVec,
    /// Requests that delivered nothing, by reason.
    pub(super) failed: IntCounterVec,
    /// Messages that were given up, by reason.
    pub(super) dropped: IntCounterVec,
    pub(super) waiting: IntGauge,
    pub(super) waiting_bytes: IntGauge,
    pub(super) oldest: IntGauge,
    pub(super) gone: IntGauge,
}

/// The queue had no room.
pub(super) const FULL: &str = "queue_full";
/// It was tried for `webhooks.retry_time`.
pub(super) const EXPIRED: &str = "expired";

impl WebhookMetrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            sent: counters(
                registry,
                "webhooks_sent_total",
                "Webhooks that the receiver has taken, by type.",
                &["type"],
            )?,
            failed: counters(
                registry,
                "webhooks_failed_total",
                "Tries to send a webhook that failed, by reason; all but those to an endpoint that is `gone` are repeated.",
                &["reason"],
            )?,
            dropped: counters(
                registry,
                "webhooks_dropped_total",
                "Webhooks that were given up: the queue was full, or they were tried for webhooks.retry_time.",
                &["reason"],
            )?,
            waiting: gauge(
                registry,
                "webhooks_waiting",
                "Webhooks that wait for the receiver.",
            )?,
            waiting_bytes: gauge(
                registry,
                "webhooks_waiting_bytes",
                "Bytes of the webhooks that wait.",
            )?,
            oldest: gauge(
                registry,
                "webhooks_oldest_seconds",
                "The age of the oldest webhook that waits; 0 if none does.",
            )?,
            gone: gauge(
                registry,
                "webhooks_gone",
                "1 after the receiver has answered 410: nothing is sent to it until a restart; else 0.",
            )?,
        };
        preset(&metrics.sent, &[&TYPES]);
        preset(&metrics.failed, &[&Failure::ALL.map(Failure::as_str)]);
        preset(&metrics.dropped, &[&[FULL, EXPIRED]]);
        Ok(metrics)
    }
}
