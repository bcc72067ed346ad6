//! When a session is pinged, and when it counts as dead. Pure.
//!
//! The Socket.IO library counts pongs alone. A pong waits behind the clips that its client sends, so on a slow uplink a
//! streamer would be disconnected in the middle of its upload. Here every received byte is a sign of life.
//!
//! Listeners are many, so they are pinged seldom. A streamer that is lost silences its livestream, so its session is
//! pinged more often than OPEN announced, which every client accepts. Probes of the kernel would not do: behind a
//! proxy they reach the proxy only.
//!
//! **Invariant**: a session is dead at most `interval + timeout` after its last byte arrived, a streamer's at most
//! `streamer_timeout`, and earlier if an unfinished message arrives below the minimum rate.

use std::time::{Duration, Instant};

/// How often a session is pinged, and what keeps it alive.
#[derive(Debug, Clone, Copy)]
pub struct HeartbeatTimes {
    /// Time from one ping to the next.
    pub interval: Duration,
    /// How long after a ping is due a session may stay silent.
    pub timeout: Duration,
    /// How long a streamer's session may stay silent, if that is shorter than the two above together.
    pub streamer_timeout: Duration,
    /// The rate at which an unfinished message must arrive.
    pub min_bytes_per_second: u32,
}

impl HeartbeatTimes {
    /// How long a session without a sign of life counts as alive.
    fn window(&self) -> Duration {
        self.interval + self.timeout
    }

    /// The times of a session that carries a streamer.
    pub(super) fn of_streamer(&self) -> Self {
        let window = self.window().min(self.streamer_timeout);
        let interval = self.interval.min(window / 2);
        Self {
            interval,
            timeout: window.saturating_sub(interval),
            ..*self
        }
    }

    /// How often sessions must be checked, so that pings and ends are on time.
    pub fn tick(&self) -> Duration {
        let Self {
            interval, timeout, ..
        } = self.of_streamer();
        (interval.min(timeout) / 4).clamp(Duration::from_millis(20), Duration::from_secs(1))
    }
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Heartbeat {
    alive_until: Instant,
    next_ping: Instant,
}

impl Heartbeat {
    pub(super) fn new(times: &HeartbeatTimes, now: Instant) -> Self {
        Self {
            alive_until: now + times.window(),
            next_ping: now + times.interval,
        }
    }

    /// Records a complete message or request, a pong for example.
    pub(super) fn heard_message(&mut self, times: &HeartbeatTimes, now: Instant) {
        self.alive_until = now + times.window();
    }

    /// Records bytes of an unfinished message. They prolong the life by the time they take at the minimum rate.
    pub(super) fn heard_bytes(&mut self, bytes: usize, times: &HeartbeatTimes, now: Instant) {
        #[expect(clippy::cast_precision_loss, reason = "a read is far below 2^52 bytes")]
        let seconds = bytes as f64 / f64::from(times.min_bytes_per_second.max(1));
        let earned = Duration::from_secs_f64(seconds).min(times.window());
        self.alive_until = (self.alive_until + earned).min(now + times.window());
    }

    /// The session has got shorter times.
    pub(super) fn hastens(&mut self, times: &HeartbeatTimes, now: Instant) {
        self.alive_until = self.alive_until.min(now + times.window());
        self.next_ping = self.next_ping.min(now + times.interval);
    }

    pub(super) fn is_dead(&self, now: Instant) -> bool {
        now > self.alive_until
    }

    pub(super) fn alive_until(&self) -> Instant {
        self.alive_until
    }

    pub(super) fn next_ping(&self) -> Instant {
        self.next_ping
    }

    /// Whether a ping is due; if so, schedules the next one.
    pub(super) fn take_ping(&mut self, times: &HeartbeatTimes, now: Instant) -> bool {
        if now < self.next_ping {
            return false;
        }
        // A delayed ping does not delay the next, and missed pings are not repeated.
        self.next_ping = (self.next_ping + times.interval).max(now + times.interval / 2);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: HeartbeatTimes = HeartbeatTimes {
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(10),
        streamer_timeout: Duration::from_secs(20),
        min_bytes_per_second: 1000,
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn silence_is_death_after_interval_and_timeout() {
        let start = Instant::now();
        let mut beat = Heartbeat::new(&TIMES, start);
        beat.heard_message(&TIMES, start + seconds(5));
        assert!(!beat.is_dead(start + seconds(25)));
        assert!(beat.is_dead(start + seconds(26)));
    }

    #[test]
    fn slow_upload_above_the_minimum_rate_lives() {
        let start = Instant::now();
        let mut beat = Heartbeat::new(&TIMES, start);
        for second in 1..600 {
            beat.heard_bytes(1000, &TIMES, start + seconds(second));
            assert!(!beat.is_dead(start + seconds(second)), "{second}");
        }
        // Earlier bytes prolong the life by no more than the window.
        assert!(beat.is_dead(start + seconds(599 + 21)));
    }

    #[test]
    fn dribble_below_the_minimum_rate_dies() {
        let start = Instant::now();
        let mut beat = Heartbeat::new(&TIMES, start);
        let died = (1..600).find(|second| {
            let now = start + seconds(*second);
            beat.heard_bytes(10, &TIMES, now);
            beat.is_dead(now)
        });
        assert_eq!(died, Some(21));
    }

    #[test]
    fn burst_buys_no_more_than_the_window() {
        let start = Instant::now();
        let mut beat = Heartbeat::new(&TIMES, start);
        beat.heard_bytes(usize::MAX, &TIMES, start);
        assert!(beat.is_dead(start + seconds(21)));
    }

    #[test]
    fn streamer_is_dead_sooner_than_a_listener() {
        let times = HeartbeatTimes {
            interval: seconds(25),
            timeout: seconds(20),
            ..TIMES
        };
        let (start, hers) = (Instant::now(), times.of_streamer());
        let mut beat = Heartbeat::new(&times, start);
        assert!(!beat.is_dead(start + seconds(45)));
        beat.hastens(&hers, start + seconds(5));
        assert_eq!(beat.next_ping(), start + seconds(15));
        assert!(beat.is_dead(start + seconds(26)));
        beat.heard_message(&hers, start + seconds(15));
        assert!(!beat.is_dead(start + seconds(35)));
        assert!(beat.is_dead(start + seconds(36)));
    }

    #[test]
    fn streamer_is_never_pinged_later_than_a_listener() {
        let times = HeartbeatTimes {
            interval: Duration::from_millis(500),
            timeout: Duration::from_millis(700),
            ..TIMES
        };
        let hers = times.of_streamer();
        assert_eq!(
            (hers.interval, hers.timeout),
            (times.interval, times.timeout)
        );
    }

    #[test]
    fn ping_is_due_once_an_interval() {
        let start = Instant::now();
        let mut beat = Heartbeat::new(&TIMES, start);
        assert!(!beat.take_ping(&TIMES, start + seconds(9)));
        assert!(beat.take_ping(&TIMES, start + seconds(11)));
        assert!(!beat.take_ping(&TIMES, start + seconds(19)));
        assert!(beat.take_ping(&TIMES, start + seconds(20)));
        assert!(beat.take_ping(&TIMES, start + seconds(100)));
        assert!(!beat.take_ping(&TIMES, start + seconds(104)));
    }
}
