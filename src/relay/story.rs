//! A livestream's totals on this node, for the log line at its end.

use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(super) struct Story {
    begun: Option<Instant>,
    clips: u64,
    bytes: u64,
    peak_listeners: usize,
    /// Clips that did not reach a listener.
    dropped: u64,
}

impl Story {
    pub(super) fn begin(&mut self, now: Instant) {
        self.begun.get_or_insert(now);
    }

    pub(super) fn clip(&mut self, bytes: usize) {
        self.clips += 1;
        self.bytes += bytes as u64;
    }

    pub(super) fn listeners(&mut self, count: usize) {
        self.peak_listeners = self.peak_listeners.max(count);
    }

    pub(super) fn dropped(&mut self, clips: u64) {
        self.dropped += clips;
    }

    pub(super) fn log(&self, id: &crate::broadcast::LivestreamId, event: &str, now: Instant) {
        let lasted = self
            .begun
            .map_or(Duration::ZERO, |begun| now.saturating_duration_since(begun));
        tracing::info!(
            livestream.id = %id,
            seconds = lasted.as_secs(),
            clips = self.clips,
            bytes = self.bytes,
            listeners.peak = self.peak_listeners,
            clips.dropped = self.dropped,
            "livestream {event}"
        );
    }
}
