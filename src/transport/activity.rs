//! The part of a session that its connections use: its signs of life, the answers that leave, and whether a streamer
//! would lose its transport.
//!
//! **Invariant**: a connection holds this weakly, and nothing else of its session.

use std::time::Instant;

use tokio::sync::Notify;

use super::backpressure::Backpressure;
use super::heartbeat::{Heartbeat, HeartbeatTimes};
use super::sync::{AtomicUsize, Mutex, Ordering};

/// Answers that may be queued for a client that is in no livestream.
const ANSWERS: usize = 64;

/// See the module documentation.
pub struct Activity {
    /// As announced to the client.
    pub(super) times: HeartbeatTimes,
    // A lock, taken for every read; no other is taken under it.
    heartbeat: Mutex<Heartbeat>,
    /// Stops the reading of a client that does not take its answers.
    pub pressure: Backpressure,
    /// Streamers that are admitted or being checked.
    streamers: AtomicUsize,
    /// Notified when the next ping is due earlier than before.
    hastened: Notify,
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Activity {
    pub(super) fn new(times: HeartbeatTimes, now: Instant) -> Self {
        Self {
            times,
            heartbeat: Mutex::new(Heartbeat::new(&times, now)),
            pressure: Backpressure::new(ANSWERS),
            streamers: AtomicUsize::new(0),
            hastened: Notify::new(),
        }
    }

    /// The times that hold for what it carries now.
    fn times(&self) -> HeartbeatTimes {
        if self.carries_streamer() {
            self.times.of_streamer()
        } else {
            self.times
        }
    }

    /// Records a complete message or request of the client.
    pub fn heard_message(&self) {
        self.heartbeat.lock().heard_message(&self.times(), now());
    }

    /// Records bytes of an unfinished message.
    pub(super) fn heard_bytes(&self, bytes: usize) {
        let times = self.times();
        self.heartbeat.lock().heard_bytes(bytes, &times, now());
    }

    pub(super) fn is_dead(&self, now: Instant) -> bool {
        self.heartbeat.lock().is_dead(now)
    }

    /// The time at which its session is dead, without a sign of life.
    pub(super) fn end(&self) -> Instant {
        self.heartbeat.lock().alive_until()
    }

    /// The time of its next ping, or its end if that comes first.
    pub(super) fn next_ping_or_end(&self) -> Instant {
        let heartbeat = self.heartbeat.lock();
        heartbeat.next_ping().min(heartbeat.alive_until())
    }

    /// Resolves when a ping may be due.
    pub(super) async fn ping_is_due(&self) {
        loop {
            let hastened = self.hastened.notified();
            let next_ping = self.heartbeat.lock().next_ping();
            tokio::select! {
                () = hastened => {}
                () = tokio::time::sleep_until(next_ping.into()) => return,
            }
        }
    }

    /// Whether a ping is due; if so, the next one is scheduled.
    pub(super) fn take_ping(&self, now: Instant) -> bool {
        self.heartbeat.lock().take_ping(&self.times(), now)
    }

    pub(super) fn add_streamer(&self) {
        self.streamers.fetch_add(1, Ordering::SeqCst);
        self.heartbeat.lock().hastens(&self.times(), now());
        self.hastened.notify_waiters();
    }

    pub(super) fn remove_streamer(&self) {
        self.streamers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether a streamer is admitted or being checked. A listener beside it then loses clips rather than the transport.
    pub fn carries_streamer(&self) -> bool {
        self.streamers.load(Ordering::SeqCst) > 0
    }
}
