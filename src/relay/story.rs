//! A livestream's totals on this node, for the event of its end.

use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(super) struct Story {
    begun: Option<Instant>,
    clips: u64,
    bytes: u64,
    peak_listeners: usize,
    dropped: u64,
}

/// The totals of a livestream on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// From its first streamer or clip to its end.
    pub seconds: u64,
    /// Clips relayed.
    pub clips: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The most listeners on all nodes at a time.
    pub peak_listeners: usize,
    /// Clips that did not reach a listener.
    pub dropped: u64,
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

    pub(super) fn totals(&self, now: Instant) -> Totals {
        let lasted = self
            .begun
            .map_or(Duration::ZERO, |begun| now.saturating_duration_since(begun));
        Totals {
            seconds: lasted.as_secs(),
            clips: self.clips,
            bytes: self.bytes,
            peak_listeners: self.peak_listeners,
            dropped: self.dropped,
        }
    }
}
