//! All metrics: every name, unit and help text.
//!
//! **Invariant**: no label value comes from a client, so the number of series is bounded.

mod presets;
mod register;

pub use presets::{preset, zero};
pub use register::{counter, counters, gauge, gauges, histogram, histograms};

use std::sync::LazyLock;

use prometheus::{
    Encoder, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use register::opts;

/// Every metric of the process; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// Open TCP connections on the client port.
    pub connections: IntGauge,
    /// Connections refused at once, by reason.
    pub connections_refused: IntCounterVec,
    /// Connections and polled sessions closed by this side or by its kernel, by reason.
    pub connections_closed: IntCounterVec,
    /// Looks at sessions and connections that may be overdue, or due for a ping.
    pub deadline_checks: IntCounter,
    /// Errors of the accept loop.
    pub accept_errors: IntCounter,
    /// Open Engine.IO sessions.
    pub sessions: IntGauge,
    /// Sessions refused because of a limit, by reason.
    pub sessions_refused: IntCounterVec,
    /// Livestreams by state.
    pub livestreams: IntGaugeVec,
    /// Livestreams on air without clips.
    pub livestreams_silent: IntGauge,
    /// Livestreams whose streamer, on this node, has paused the recording.
    pub recordings_paused: IntGauge,
    /// Changes of livestreams: started, resumed, `taken_over`, lost, ended, expired, deleted, disowned.
    pub livestream_events: IntCounterVec,
    /// Listeners of all livestreams.
    pub listeners: IntGauge,
    /// Users with a socket, by role.
    pub users: IntGaugeVec,
    /// Clients that may come back with an expired token.
    pub returns: IntGauge,
    /// Rights to come back that were dropped because of a limit.
    pub returns_evicted: IntCounter,
    /// Admitted sockets, by role.
    pub accepted: IntCounterVec,
    /// Refused sockets, by role and reason.
    pub refusals: IntCounterVec,
    /// Accepted clips.
    pub clips_in: IntCounter,
    /// Bytes of accepted clips.
    pub clip_bytes_in: IntCounter,
    /// Clips written whole to the kernel, one for each listener.
    pub clips_out: IntCounter,
    /// Bytes of those.
    pub clip_bytes_out: IntCounter,
    /// Clips that a slow listener missed.
    pub clips_dropped: IntCounter,
    /// Gaps that listeners were told of.
    pub gaps: IntCounter,
    /// Listeners that resumed, by outcome.
    pub resumes: IntCounterVec,
    /// Messages to clients dropped for lack of room, by event.
    pub messages_unsent: IntCounterVec,
    /// Refused uploads, by reason.
    pub uploads_refused: IntCounterVec,
    /// Uploads of clips that were accepted before.
    pub uploads_repeated: IntCounter,
    /// Time from an upload to the first attempt to write it to the last listener, in seconds.
    pub fan_out: Histogram,
    /// Duration of a client's check, in seconds.
    pub check: Histogram,
    /// Malformed input of clients, by kind.
    pub bad_input: IntCounterVec,
    /// Unconfirmed writes of `streamerConnected`.
    pub directory_pending: IntGauge,
    /// Failed reads and writes of the state file.
    pub state_file_errors: IntCounter,
    /// Handover files that could not be written.
    pub handover_errors: IntCounter,
    /// Listening passes, by event: issued, refused, `rate_limit`, admitted.
    pub passes: IntCounterVec,
    /// Refused look-ups, by the limit reached: of the user or of the address.
    pub lookups_refused: IntCounterVec,
    /// Tokens with a still unknown key, by answer.
    pub unknown_keys: IntCounterVec,
    /// 1 while the node drains.
    pub draining: IntGauge,
    /// Sockets that a drain sent away, by role.
    pub sent_away: IntCounterVec,
    /// Bans that hold, by kind.
    pub bans: IntGaugeVec,
    /// Requests to the operator's API, by outcome.
    pub api_requests: IntCounterVec,
    /// Repeated checks of documents and accounts of livestreams on air, by outcome.
    pub rechecks: IntCounterVec,
}

/// One for the process: logging starts before the `Metrics`.
static LOG_LINES_DROPPED: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Log lines dropped because the log was read too slowly or not at all.";
    IntCounter::with_opts(opts("log_lines_dropped_total", help))
        .unwrap_or_else(|error| unreachable!("a fixed name is refused: {error}"))
});

/// The counter of dropped log lines: one for the whole process.
pub fn log_lines_dropped() -> IntCounter {
    LOG_LINES_DROPPED.clone()
}

impl Metrics {
    /// New metrics, with the process's own metrics where the system supports them.
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
        registry.register(Box::new(log_lines_dropped()))?;
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
                "Connections and polled sessions closed by the server or by its kernel, by reason.",
                &["reason"],
            )?,
            deadline_checks: counter(
                registry,
                "deadline_checks_total",
                "Looks at sessions and connections that may be overdue or due for a ping: a few a minute for each.",
            )?,
            accept_errors: counter(
                registry,
                "accept_errors_total",
                "Connections that could not be accepted.",
            )?,
            sessions: gauge(registry, "sessions", "Open Engine.IO sessions.")?,
            sessions_refused: counters(
                registry,
                "sessions_refused_total",
                "Sessions refused because a limit was reached, by limit.",
                &["reason"],
            )?,
            livestreams: gauges(
                registry,
                "livestreams",
                "Livestreams on this node, by state.",
                &["state"],
            )?,
            livestreams_silent: gauge(
                registry,
                "livestreams_silent",
                "Livestreams on air on this node without a clip for livestream.silence_after.",
            )?,
            recordings_paused: gauge(
                registry,
                "recordings_paused",
                "Livestreams whose streamer, on this node, has paused the recording.",
            )?,
            livestream_events: counters(
                registry,
                "livestream_events_total",
                "Changes in the life of livestreams, by event.",
                &["event"],
            )?,
            listeners: gauge(registry, "listeners", "Listeners on this node.")?,
            users: gauges(
                registry,
                "users",
                "Users with a socket on this node, by role; a user counts once in each livestream.",
                &["role"],
            )?,
            returns: gauge(
                registry,
                "returns",
                "Clients that are connected or may come back with an expired token.",
            )?,
            returns_evicted: counter(
                registry,
                "returns_evicted_total",
                "Clients that may not come back with an expired token because newer ones took their place.",
            )?,
            accepted: counters(
                registry,
                "admissions_total",
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
            gaps: counter(
                registry,
                "gaps_total",
                "Events `gap`: a slow listener that gets `clip` was told which clips it has lost.",
            )?,
            resumes: counters(
                registry,
                "resumes_total",
                "Listeners that came back with `resume`: `recovered`, nothing was missed; `missed`, the history was too short.",
                &["outcome"],
            )?,
            messages_unsent: counters(
                registry,
                "messages_unsent_total",
                "Events and acknowledgements not sent for lack of room, by event.",
                &["event"],
            )?,
            uploads_refused: counters(
                registry,
                "uploads_refused_total",
                "Uploads refused, by reason.",
                &["reason"],
            )?,
            uploads_repeated: counter(
                registry,
                "uploads_repeated_total",
                "Uploads whose id was that of an accepted clip, acknowledged without being relayed again.",
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
                "admission_seconds",
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
            state_file_errors: counter(
                registry,
                "state_file_errors_total",
                "Reads and writes of the state file that failed.",
            )?,
            handover_errors: counter(
                registry,
                "handover_errors_total",
                "Handover files that could not be written for the next process.",
            )?,
            passes: counters(
                registry,
                "passes_total",
                "Listening passes: issued to a streamer, refused to one, refused by its rate limit, or admitted with a listener.",
                &["event"],
            )?,
            lookups_refused: counters(
                registry,
                "lookups_refused_total",
                "Clients refused because too many look-ups of their user or address had found no livestream.",
                &["limit"],
            )?,
            unknown_keys: counters(
                registry,
                "unknown_keys_total",
                "Tokens whose signing key was not known yet, by answer: temporary or invalid.",
                &["answer"],
            )?,
            draining: gauge(registry, "draining", "1 while the node drains, else 0.")?,
            sent_away: counters(
                registry,
                "sockets_sent_away_total",
                "Sockets that a drain sent to other nodes, by role.",
                &["role"],
            )?,
            bans: gauges(
                registry,
                "bans",
                "Bans that hold on this node, by kind.",
                &["kind"],
            )?,
            api_requests: counters(
                registry,
                "api_requests_total",
                "Requests to the operator's API, by outcome.",
                &["outcome"],
            )?,
            rechecks: counters(
                registry,
                "rechecks_total",
                "Checks of the documents of livestreams on air and of their streamers' accounts, by outcome.",
                &["subject", "outcome"],
            )?,
        })
    }

    /// The registry for metrics that other modules define.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// All metrics in Prometheus's text format, version 0.0.4.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_the_prefix_and_a_help() {
        let metrics = Metrics::new();
        metrics.clips_in.inc();
        let text = metrics.render();
        assert!(text.contains("castaway_clips_received_total 1"), "{text}");
        assert!(text.contains("# HELP castaway_connections "), "{text}");
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
        assert!(
            text.contains("castaway_log_lines_dropped_total 0"),
            "{text}"
        );
    }
}
