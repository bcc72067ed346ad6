//! How livestreams are going, for whoever is to be told, and in figures.
//!
//! **Invariant**: a change of state is told at once; a change in the number of listeners at most once a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Listener, Relay, SocketId, lock};
use crate::broadcast::State;

/// How often a change in the number of listeners is told, at the most: once a second, and less often to a crowd, so
/// that a thousand words a second are said to each livestream at the most.
fn count_interval(listeners: usize) -> Duration {
    Duration::from_millis(u64::try_from(listeners).unwrap_or(u64::MAX).max(1_000))
}

/// How a livestream is going, and who is to be told.
pub struct Announcement {
    /// How it is going.
    pub state: State,
    /// How many are listening.
    pub listeners: usize,
    /// Whom to tell.
    pub audience: Vec<Arc<Listener>>,
    /// The streamer, if there is one.
    pub streamer: Option<SocketId>,
}

impl Relay {
    /// What has changed since it was told last, counts at most once a second; sets the gauges, too.
    pub fn announcements(&self, now: Instant) -> Vec<Announcement> {
        let mut announcements = Vec::new();
        let mut by_state: HashMap<&str, i64> = [State::Waiting, State::Live, State::Reconnecting]
            .map(|state| (state.as_str(), 0))
            .into();
        let mut listening = 0;
        for (_, found) in self.all() {
            let mut active = lock(&found);
            let (state, listeners) = (active.livestream.state(), active.count());
            *by_state.entry(state.as_str()).or_default() += 1;
            listening += active.livestream.listeners().len();
            let due = match active.announced {
                Some((before, count)) if before == state => {
                    count != listeners
                        && now.saturating_duration_since(active.announced_at)
                            >= count_interval(listeners)
                }
                _ => true,
            };
            if due {
                active.announced = Some((state, listeners));
                active.announced_at = now;
                let audience = active.livestream.listeners().cloned().collect();
                announcements.push(Announcement {
                    state,
                    listeners,
                    audience,
                    streamer: active.streamer,
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
        self.0
            .metrics
            .listeners
            .set(i64::try_from(listening).unwrap_or(i64::MAX));
        self.0
            .metrics
            .directory_pending
            .set(i64::try_from(self.0.directory.pending()).unwrap_or(i64::MAX));
        announcements
    }

    /// How many livestreams there are, and listeners in all.
    pub fn count(&self) -> (usize, usize) {
        let all = self.all();
        let listeners = all
            .iter()
            .map(|(_, active)| lock(active).livestream.listeners().len())
            .sum();
        (all.len(), listeners)
    }
}
