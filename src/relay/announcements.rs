//! Announcements: each livestream's state and number of listeners, for its clients and for the metrics.
//!
//! **Invariant**: a change of state or of the recording is announced at once; a change in the number of listeners at most once a second.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{Event, Relay, Standing, lock};
use crate::broadcast::State;

/// The shortest time between two announcements of a listener count: one second, or one millisecond for each listener,
/// so that a livestream causes at most a thousand messages a second.
fn count_interval(listeners: usize) -> Duration {
    Duration::from_millis(u64::try_from(listeners).unwrap_or(u64::MAX).max(1_000))
}

impl Relay {
    /// Announces the changes since the last announcements, counts at most once a second. Sets the gauges, too.
    pub fn announce(&self, now: Instant) {
        let mut by_state: HashMap<&str, i64> = [State::Waiting, State::Live, State::Reconnecting]
            .map(|state| (state.as_str(), 0))
            .into();
        let (mut listening, mut paused) = (0, 0);
        for (id, found) in self.all() {
            let mut active = lock(&found);
            let standing = active.standing();
            *by_state.entry(standing.state.as_str()).or_default() += 1;
            listening += active.livestream.listeners().len();
            paused += i64::from(active.streamer.is_some() && active.recording.state.is_held());
            let due = match active.announced {
                Some(before) if before == standing => false,
                Some(Standing {
                    state, is_recorded, ..
                }) if (state, is_recorded) == (standing.state, standing.is_recorded) => {
                    now.saturating_duration_since(active.announced_at)
                        >= count_interval(standing.listeners)
                }
                _ => true,
            };
            // A subscriber that is slow gets the latest state, not each one.
            if due && !active.announcement.is_pending() {
                active.announced = Some(standing);
                active.announced_at = now;
                let audience = active.livestream.listeners().cloned().collect();
                active.announcement = self.emit(Event::StateChanged {
                    livestream: id,
                    standing,
                    streamer: active.streamer,
                    audience,
                });
            }
        }
        for (state, count) in by_state {
            self.0
                .metrics
                .livestreams
                .with_label_values(&[state])
                .set(count);
        }
        self.0.metrics.recordings_paused.set(paused);
        self.0
            .metrics
            .listeners
            .set(i64::try_from(listening).unwrap_or(i64::MAX));
        self.0
            .metrics
            .directory_pending
            .set(i64::try_from(self.0.directory.pending()).unwrap_or(i64::MAX));
    }

    /// The number of livestreams, and of listeners on this node, those with players included.
    pub fn count(&self) -> (usize, usize) {
        let all = self.all();
        let listeners = all
            .iter()
            .map(|(_, active)| lock(active).livestream.listener_count())
            .sum();
        (all.len(), listeners)
    }
}
