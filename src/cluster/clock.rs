//! Redis's clock, as this node knows it between two answers.
//!
//! **Invariant**: it is not ahead of Redis's own, as long as this machine's monotonic clock keeps time: an answer that was
//! long under way changes nothing.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

/// See the module.
#[derive(Debug)]
pub(crate) struct RedisClock {
    began: Instant,
    /// Redis's time at `began`, in microseconds; none before the first answer. A lock: links and tasks share it.
    at_begin: Mutex<Option<i64>>,
    /// The same of any record's Redis, before that of this one has answered: their machines are in step by and large.
    any: Option<Arc<Self>>,
}

impl Default for RedisClock {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            at_begin: Mutex::default(),
            any: None,
        }
    }
}

impl RedisClock {
    /// The clock of one record's Redis: of several shards each has its own.
    pub(super) fn of_record(any: Arc<Self>) -> Self {
        Self {
            any: Some(any),
            ..Self::default()
        }
    }

    /// Applies an answer that has just come: it has Redis's time, in milliseconds since the Unix epoch.
    pub(crate) fn observe(&self, millis: u64, asked: Instant) {
        let micros = i64::try_from(millis.saturating_mul(1000)).unwrap_or(i64::MAX);
        let earliest = micros.saturating_sub(self.since_begin(Instant::now()));
        let latest = micros
            .saturating_add(1000)
            .saturating_sub(self.since_begin(asked));
        let mut at_begin = self.at_begin.lock();
        // Outside of these bounds it is another clock: Redis runs on another machine.
        let is_right = at_begin.is_some_and(|known| (earliest..=latest).contains(&known));
        if !is_right {
            *at_begin = Some(earliest);
        }
        if let Some(any) = &self.any {
            any.observe(millis, asked);
        }
    }

    /// Microseconds since the Unix epoch; none before the first answer.
    pub(crate) fn micros(&self) -> Option<u64> {
        let Some(at_begin) = *self.at_begin.lock() else {
            return self.any.as_ref()?.micros();
        };
        u64::try_from(at_begin.saturating_add(self.since_begin(Instant::now()))).ok()
    }

    /// Milliseconds since the Unix epoch; none before the first answer.
    pub(crate) fn millis(&self) -> Option<u64> {
        self.micros().map(|micros| micros / 1000)
    }

    fn since_begin(&self, instant: Instant) -> i64 {
        let since = instant.saturating_duration_since(self.began);
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOON: u64 = 1_800_000_000_000;

    async fn passes(millis: u64) -> Instant {
        tokio::time::advance(Duration::from_millis(millis)).await;
        Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn clock_is_unknown_before_the_first_answer() {
        assert_eq!(RedisClock::default().micros(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn record_without_an_answer_has_the_common_clock() {
        let any = Arc::new(RedisClock::default());
        let [one, other] = [(); 2].map(|()| RedisClock::of_record(any.clone()));
        one.observe(NOON, Instant::now());
        passes(5).await;
        assert_eq!(other.millis(), Some(NOON + 5));
        other.observe(NOON + 90_000, Instant::now());
        assert_eq!(one.millis(), Some(NOON + 5), "of another shard");
    }

    #[tokio::test(start_paused = true)]
    async fn late_answer_does_not_set_the_clock_back() {
        let clock = RedisClock::default();
        clock.observe(NOON, Instant::now());
        let asked = passes(1000).await;
        // Redis answered at once, and the node stood still.
        passes(4000).await;
        clock.observe(NOON + 1000, asked);
        assert_eq!(clock.millis(), Some(NOON + 5000));
    }

    #[tokio::test(start_paused = true)]
    async fn fast_answer_corrects_a_late_clock() {
        let clock = RedisClock::default();
        let asked = Instant::now();
        passes(4000).await;
        clock.observe(NOON, asked);
        assert_eq!(clock.millis(), Some(NOON), "not ahead of Redis");
        let asked = passes(1000).await;
        clock.observe(NOON + 5000, asked);
        assert_eq!(clock.millis(), Some(NOON + 5000));
    }

    #[tokio::test(start_paused = true)]
    async fn clock_of_another_machine_is_followed() {
        let clock = RedisClock::default();
        clock.observe(NOON, Instant::now());
        let asked = passes(10).await;
        passes(2).await;
        clock.observe(NOON - 60_000, asked);
        assert_eq!(clock.millis(), Some(NOON - 60_000));
    }
}
