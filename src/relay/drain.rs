//! The drain: clients leave this node one after the other, and connect again to another one.
//!
//! **Invariant**: while the node drains, nobody is admitted. So many sockets are left as is the share of the time that is
//! left; streamers are the last. A little after the time each one that is left is closed at once.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rand::seq::SliceRandom as _;

use super::events::{Event, SocketId};
use super::{Relay, lock};
use crate::broadcast::Role;

/// How long after the drain's time a client may take for what is queued for it.
const LAST_BYTES: Duration = Duration::from_secs(5);

/// A drain in progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drain {
    since: Instant,
    time: Duration,
    /// Sockets at its beginning.
    sockets: usize,
}

/// The clients that a node still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remaining {
    /// Whether the node drains.
    pub is_draining: bool,
    /// Streamers' sockets.
    pub streamers: usize,
    /// Listeners: sockets, and players.
    pub listeners: usize,
    /// The time until the last one is closed; zero without a drain.
    pub time: Duration,
}

impl Drain {
    fn time_left(&self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.since);
        self.time.saturating_sub(passed)
    }

    /// The share of the time that has passed: 0 to 1.
    fn passed(&self, now: Instant) -> f64 {
        if self.time.is_zero() {
            return 1.0;
        }
        1.0 - self.time_left(now).as_secs_f64() / self.time.as_secs_f64()
    }

    /// The number of sockets to close now, of so many that are left.
    fn due(&self, left: usize, now: Instant) -> usize {
        let (time, time_left) = (self.time.as_millis(), self.time_left(now).as_millis());
        let stay = (self.sockets as u128 * time_left).div_ceil(time.max(1));
        left.saturating_sub(usize::try_from(stay).unwrap_or(usize::MAX))
    }
}

impl Relay {
    /// Begins to drain this node over `time`; a drain in progress goes on as it is.
    pub fn drain(&self, time: Duration, now: Instant) {
        let (streamers, listeners) = self.sockets(now);
        let drain = Drain {
            since: now,
            time,
            sockets: streamers.len() + listeners.len(),
        };
        self.0.drain.write().get_or_insert(drain);
        self.0.metrics.draining.set(1);
    }

    /// Admits clients again.
    pub fn stop_draining(&self) {
        *self.0.drain.write() = None;
        self.0.metrics.draining.set(0);
    }

    /// Whether nobody is admitted since clients leave this node.
    pub fn is_draining(&self) -> bool {
        self.0.drain.read().is_some()
    }

    /// The share of the drain's time that has passed, 0 to 1; none without a drain.
    pub fn drained(&self, now: Instant) -> Option<f64> {
        self.0.drain.read().map(|drain| drain.passed(now))
    }

    /// What is left of this node's clients.
    pub fn remaining(&self, now: Instant) -> Remaining {
        let (streamers, _) = self.sockets(now);
        let drain = *self.0.drain.read();
        Remaining {
            is_draining: drain.is_some(),
            streamers: streamers.len(),
            listeners: self.count().1,
            time: drain.map_or(Duration::ZERO, |drain| drain.time_left(now)),
        }
    }

    /// Sends those away whose time has come. Called several times a second.
    pub fn send_away(&self, now: Instant) {
        let Some(drain) = *self.0.drain.read() else {
            return;
        };
        let (mut streamers, mut listeners) = self.sockets(now);
        let due = drain.due(streamers.len() + listeners.len(), now);
        if due == 0 {
            return;
        }
        let mut random = rand::rng();
        let of_listeners = due.min(listeners.len());
        let (leaving, _) = listeners.partial_shuffle(&mut random, of_listeners);
        let mut sockets = leaving.to_vec();
        let (leaving, _) = streamers.partial_shuffle(&mut random, due - of_listeners);
        let (count, sent) = (leaving.len() as u64, &self.0.metrics.sent_away);
        let listener = sent.with_label_values(&[Role::Listener.as_str()]);
        listener.inc_by(sockets.len() as u64);
        sent.with_label_values(&[Role::Streamer.as_str()])
            .inc_by(count);
        sockets.extend_from_slice(leaving);
        self.emit(Event::SentAway {
            sockets,
            at_once: now.saturating_duration_since(drain.since) >= drain.time + LAST_BYTES,
        });
    }

    /// The sockets of streamers, and those of listeners that are no streamers.
    fn sockets(&self, now: Instant) -> (Vec<SocketId>, Vec<SocketId>) {
        let (mut streamers, mut listeners) = (Vec::new(), Vec::new());
        for (_, found) in self.all() {
            for socket in lock(&found).sockets(now) {
                match socket.role {
                    Role::Streamer => streamers.push(socket.socket),
                    Role::Listener => listeners.push(socket.socket),
                }
            }
        }
        // Both roles may share a transport.
        let of_streamers: HashSet<u128> = streamers.iter().map(|socket| socket.0).collect();
        listeners.retain(|socket| !of_streamers.contains(&socket.0));
        (streamers, listeners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drain_closes_as_much_as_time_passes() {
        let since = Instant::now();
        let time = Duration::from_secs(10);
        let drain = Drain {
            since,
            time,
            sockets: 100,
        };
        let due = |left, seconds| drain.due(left, since + Duration::from_secs(seconds));
        assert_eq!(due(100, 0), 0);
        assert_eq!(due(100, 1), 10);
        assert_eq!(due(90, 1), 0);
        assert_eq!(due(40, 5), 0, "some left by themselves");
        assert_eq!(due(3, 9), 0);
        assert_eq!(due(3, 10), 3);
        assert!((drain.passed(since + time / 4) - 0.25).abs() < 0.001);
    }

    #[test]
    fn drain_without_time_closes_all() {
        let now = Instant::now();
        let drain = Drain {
            since: now,
            time: Duration::ZERO,
            sockets: 3,
        };
        assert_eq!(drain.due(3, now), 3);
        assert!(drain.passed(now) >= 1.0);
    }
}
