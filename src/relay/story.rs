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
    listeners: Listeners,
    dropped: u64,
}

#[derive(Debug, Default)]
struct Listeners {
    /// At present, on all nodes, and since when.
    count: usize,
    since: Option<Instant>,
    peak: usize,
    /// All that have joined here.
    joined: u64,
    /// The time that all nodes' listeners have listened for together.
    time: Duration,
}

/// The totals of a livestream, as this node knows them.
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
    /// Joins of listeners on this node; a return counts again.
    pub joined: u64,
    /// The seconds that all listeners on all nodes have listened for together.
    pub listener_seconds: u64,
    /// Clips that did not reach a listener on this node.
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

    /// A listener has joined here.
    pub(super) fn joined(&mut self) {
        self.listeners.joined += 1;
    }

    /// The number of listeners on all nodes, from now on.
    pub(super) fn listeners(&mut self, count: usize, now: Instant) {
        let listeners = &mut self.listeners;
        listeners.time = listeners.time_until(now);
        listeners.since = Some(now);
        listeners.count = count;
        listeners.peak = listeners.peak.max(count);
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
            peak_listeners: self.listeners.peak,
            joined: self.listeners.joined,
            listener_seconds: self.listeners.time_until(now).as_secs(),
            dropped: self.dropped,
        }
    }
}

impl Listeners {
    fn time_until(&self, now: Instant) -> Duration {
        let lasted = self.since.map(|since| now.saturating_duration_since(since));
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        self.time
            .saturating_add(lasted.unwrap_or_default().saturating_mul(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_seconds_add_up_over_listeners() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut story = Story::default();
        story.begin(begun);
        story.joined();
        story.listeners(1, at(10));
        story.listeners(3, at(20));
        story.listeners(0, at(25));
        let totals = story.totals(at(100));
        assert_eq!((totals.listener_seconds, totals.peak_listeners), (25, 3));
        assert_eq!((totals.joined, totals.seconds), (1, 100));
        story.listeners(2, at(100));
        assert_eq!(story.totals(at(103)).listener_seconds, 31, "until now");
    }
}
