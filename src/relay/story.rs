//! A livestream's totals on this node, for the event of its end.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time over which the data rate is taken.
const RATE_WINDOW: Duration = Duration::from_secs(30);
/// The most clips of it: more come only after an outage, and then the rate is too low.
const RATE_CLIPS: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Story {
    begun: Option<Instant>,
    clips: u64,
    bytes: u64,
    bytes_out: u64,
    /// When the latest clips came, and their bytes.
    latest: VecDeque<(Instant, u64)>,
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

    /// A clip for so many listeners on this node.
    pub(super) fn clip(&mut self, bytes: usize, listeners: usize, now: Instant) {
        let bytes = bytes as u64;
        self.clips += 1;
        self.bytes += bytes;
        self.bytes_out += bytes * listeners as u64;
        if self.latest.len() == RATE_CLIPS {
            self.latest.pop_front();
        }
        self.latest.push_back((now, bytes));
    }

    pub(super) fn bytes_out(&self) -> u64 {
        self.bytes_out
    }

    /// Bytes of clips a second, over the latest half a minute.
    pub(super) fn bytes_per_second(&self, now: Instant) -> u64 {
        let is_late = |came: Instant| now.saturating_duration_since(came) < RATE_WINDOW;
        let latest = self.latest.iter().filter(|(came, _)| is_late(*came));
        latest.map(|(_, bytes)| bytes).sum::<u64>() / RATE_WINDOW.as_secs()
    }

    /// The time since the first streamer or clip.
    pub(super) fn lasted(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.begun?))
    }

    pub(super) fn listeners(&mut self, count: usize) {
        self.peak_listeners = self.peak_listeners.max(count);
    }

    pub(super) fn dropped(&mut self, clips: u64) {
        self.dropped += clips;
    }

    pub(super) fn totals(&self, now: Instant) -> Totals {
        let lasted = self.lasted(now).unwrap_or_default();
        Totals {
            seconds: lasted.as_secs(),
            clips: self.clips,
            bytes: self.bytes,
            peak_listeners: self.peak_listeners,
            dropped: self.dropped,
        }
    }
}
