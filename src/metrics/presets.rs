//! The label values that are known in advance: each has its series from the start, so that `increase()` sees the first
//! event. The modules that count use the same values.

use prometheus::{IntCounterVec, IntGaugeVec};

use super::Metrics;

const ROLES: &[&str] = &["streamer", "listener"];
/// The limits: the total, or one address.
const LIMITS: &[&str] = &["total", "address"];
const REFUSALS: &[&str] = &[
    "no_token",
    "no_livestream",
    "token_invalid",
    "token_expired",
    "pass_invalid",
    "pass_ended",
    "not_the_artist",
    "banned",
    "does_not_exist",
    "not_started",
    "unavailable",
    "draining",
    "full",
    "user_limit",
    "taken_over",
    "gone",
];
const CLOSED: &[&str] = &[
    "no_request",
    "idle",
    "stalled",
    "lagging",
    "heartbeat",
    "not_joined",
    "large_headers",
    "kernel_timeout",
    "unreachable",
];
const EVENTS: &[&str] = &[
    "started",
    "resumed",
    "taken_over",
    "streamer_lost",
    "silent",
    "ended",
    "ended_elsewhere",
    "expired",
    "abandoned",
    "deleted",
    "disowned",
    "ended_by_operator",
    "banned",
];
const MESSAGES: &[&str] = &[
    "success", "error", "state", "resumed", "warning", "mark", "ack",
];
const UPLOADS: &[&str] = &[
    "not_a_clip",
    "bad_options",
    "empty",
    "too_large",
    "rate_limit",
    "stale_epoch",
    "stopping",
    "banned",
];
const BAD_INPUT: &[&str] = &[
    "bad_request",
    "malformed_packet",
    "concurrent_polls",
    "concurrent_posts",
    "unknown_event",
    "protocol_error",
    "not_utf8",
    "message_too_large",
];

impl Metrics {
    /// Creates a series for every label value of the relay's own metrics.
    pub(super) fn preset(&self) {
        preset(&self.connections_refused, &[LIMITS]);
        preset(&self.connections_closed, &[CLOSED]);
        preset(
            &self.sessions_refused,
            &[&["total", "address", "connection"]],
        );
        preset(&self.livestream_events, &[EVENTS]);
        preset(&self.accepted, &[ROLES]);
        preset(&self.refusals, &[ROLES, REFUSALS]);
        preset(&self.sent_away, &[ROLES]);
        preset(&self.messages_unsent, &[MESSAGES]);
        preset(&self.resumes, &[&["recovered", "missed"]]);
        preset(&self.uploads_refused, &[UPLOADS]);
        preset(&self.bad_input, &[BAD_INPUT]);
        preset(
            &self.passes,
            &[&["issued", "refused", "rate_limit", "admitted"]],
        );
        preset(&self.lookups_refused, &[&["user", "address"]]);
        preset(&self.unknown_keys, &[&["temporary", "invalid"]]);
        preset(
            &self.rechecks,
            &[&["document", "account"], &["good", "gone", "unknown"]],
        );
        preset(
            &self.api_requests,
            &[&["ok", "refused", "failed", "unauthorized", "limited"]],
        );
        zero(&self.users, ROLES);
        zero(&self.bans, &["user", "livestream"]);
        zero(&self.livestreams, &["waiting", "live", "reconnecting"]);
    }
}

/// Creates a series for every combination of these label values.
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

/// Creates a gauge for each of these label values.
pub fn zero(gauges: &IntGaugeVec, values: &[&str]) {
    for value in values {
        gauges.with_label_values(&[value]).set(0);
    }
}
