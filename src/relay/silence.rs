//! Dead air: a livestream on air without clips. A pause is legitimate, so nothing ends; its clients are warned.
//!
//! **Invariant**: one [`Event::Silent`] from a clip or a streamer's coming to the next of either, and none while the
//! livestream has no streamer. Each node judges by the clips that reach it: so listeners on a node that lost the others are
//! warned, too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ActiveLivestream, Event, Listener, Relay, lock};
use crate::broadcast::{LivestreamId, State};

/// The silence of a livestream, if it is one.
#[derive(Debug)]
pub(super) struct Silence {
    since: Instant,
    is_told: bool,
}

impl Silence {
    pub(super) fn since(now: Instant) -> Self {
        Self {
            since: now,
            is_told: false,
        }
    }

    /// A clip or a streamer has come.
    pub(super) fn end(&mut self, now: Instant) {
        *self = Self::since(now);
    }

    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }

    /// The time without a clip, if it has just become long enough to tell of.
    fn tell(&mut self, after: Duration, now: Instant) -> Option<Duration> {
        let lasted = now.saturating_duration_since(self.since);
        let is_due = !self.is_told && lasted >= after;
        self.is_told |= is_due;
        is_due.then_some(lasted)
    }
}

impl Relay {
    /// Tells of the livestreams that have become silent, and sets the metric.
    pub fn watch_silence(&self, now: Instant) {
        let after = self.0.silence_after;
        if after.is_zero() {
            return;
        }
        let mut silent = 0;
        for (id, found) in self.all() {
            let mut active = lock(&found);
            let is_on_air =
                active.livestream.state() == State::Live && active.livestream.has_aired();
            if !is_on_air {
                active.silence.end(now);
                continue;
            }
            if let Some(lasted) = active.silence.tell(after, now) {
                self.emit(active.silent(id, lasted));
            }
            silent += i64::from(active.silence.is_told());
        }
        self.0.metrics.livestreams_silent.set(silent);
    }
}

impl ActiveLivestream {
    fn silent(&self, livestream: LivestreamId, lasted: Duration) -> Event {
        let listeners = self.livestream.listeners();
        let wants = |listener: &&Arc<Listener>| listener.wants_warnings;
        Event::Silent {
            livestream,
            streamer: self.streamer.zip(self.streamer_user()),
            lasted,
            audience: listeners.filter(wants).cloned().collect(),
        }
    }
}
