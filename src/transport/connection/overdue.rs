//! When a connection is overdue, and when it may be next.

use std::time::{Duration, Instant};

use super::{Connection, Phase, Wait};
use crate::transport::deadlines::Place;
use crate::transport::timeouts::{Overdue, Timeouts};

impl AsRef<Place> for Connection {
    fn as_ref(&self) -> &Place {
        &self.place
    }
}

impl Connection {
    /// The reason to close the connection now, if there is one.
    pub fn overdue(&self, timeouts: Timeouts, now: Instant) -> Option<Overdue> {
        let state = self.lock();
        let longer = |since: Instant, most: Duration| now.saturating_duration_since(since) > most;
        match &state.phase {
            _ if state.aborted => None,
            Phase::Http(Wait::Nothing) => None,
            Phase::Http(Wait::Headers(since, _)) => {
                longer(*since, timeouts.headers).then_some(Overdue::Headers)
            }
            Phase::Http(Wait::Next(since)) => {
                longer(*since, timeouts.idle).then_some(Overdue::Idle)
            }
            Phase::Http(Wait::Part(since)) => {
                longer(*since, timeouts.stall).then_some(Overdue::Stalled)
            }
            Phase::WebSocket(queue) if queue.is_empty() => None,
            Phase::WebSocket(_) if longer(state.progress, timeouts.stall) => Some(Overdue::Stalled),
            Phase::WebSocket(queue) => queue
                .oldest()
                .is_some_and(|since| longer(since, timeouts.lag))
                .then_some(Overdue::Lagging),
        }
    }

    /// Makes sure that it is looked at before it can be overdue, whatever happens from `now` on: a request or a clip only
    /// begins to wait, and is no reason to call this again.
    pub(in crate::transport) fn hasten(&self, now: Instant) {
        let next = self.may_be_overdue(&self.shared.timeouts, now);
        self.deadlines.hasten(&self.place, next);
    }

    /// The earliest time at which it may be overdue; none if it never will be.
    fn may_be_overdue(&self, timeouts: &Timeouts, now: Instant) -> Option<Instant> {
        let state = self.lock();
        let (waiting, soonest) = match &state.phase {
            _ if state.aborted => return None,
            Phase::Http(Wait::Nothing) => (None, timeouts.shortest()),
            Phase::Http(Wait::Headers(since, _)) => {
                (since.checked_add(timeouts.headers), timeouts.shortest())
            }
            Phase::Http(Wait::Next(since)) => {
                (since.checked_add(timeouts.idle), timeouts.shortest())
            }
            Phase::Http(Wait::Part(since)) => {
                (since.checked_add(timeouts.stall), timeouts.shortest())
            }
            Phase::WebSocket(queue) if queue.is_empty() => (None, timeouts.shortest_for_clips()),
            Phase::WebSocket(queue) => {
                let stalled = state.progress.checked_add(timeouts.stall);
                let lagging = queue.oldest().and_then(|it| it.checked_add(timeouts.lag));
                let waiting = [stalled, lagging].into_iter().flatten().min();
                (waiting, timeouts.shortest_for_clips())
            }
        };
        [waiting, now.checked_add(soonest)]
            .into_iter()
            .flatten()
            .min()
    }
}
