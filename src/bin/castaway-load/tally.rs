//! Counters of a run, and the distribution of latencies.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// Counters of one listener. Atomics, since the progress line reads them while the listener counts.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    /// Whole clips in order.
    pub(crate) received: AtomicU64,
    /// Clips with a wrong byte.
    pub(crate) corrupt: AtomicU64,
    /// Clips that came twice, or after a later one.
    pub(crate) disordered: AtomicU64,
    /// Clips of another livestream of this run.
    pub(crate) mixed: AtomicU64,
    /// Clips of no streamer of this run.
    pub(crate) foreign: AtomicU64,
    /// Whether the server ended it.
    pub(crate) closed: AtomicBool,
    /// What a listener that comes and goes counts.
    pub(crate) stays: Stays,
}

/// Counters of one listener that comes and goes.
#[derive(Debug, Default)]
pub(crate) struct Stays {
    /// Joins.
    pub(crate) begun: AtomicU64,
    /// Failed attempts to come back.
    pub(crate) refused: AtomicU64,
    /// Stays that the server ended.
    pub(crate) ended: AtomicU64,
    /// Clips between two others of one stay that did not come.
    pub(crate) missed: AtomicU64,
}

/// Counters of one streamer.
#[derive(Debug, Default)]
pub(crate) struct Mouth {
    /// Clips sent.
    pub(crate) sent: AtomicU64,
    /// Clips that the server refused.
    pub(crate) refused: AtomicU64,
    /// Clips that the server acknowledged.
    pub(crate) confirmed: AtomicU64,
    /// Times that it lost its connection and came back.
    pub(crate) returns: AtomicU64,
    /// Whether all clips are sent.
    pub(crate) done: AtomicBool,
    /// The first failure.
    pub(crate) trouble: OnceLock<String>,
}

impl Mouth {
    /// Clips that every listener should receive.
    pub(crate) fn owed(&self) -> u64 {
        self.sent
            .load(Relaxed)
            .saturating_sub(self.refused.load(Relaxed))
    }

    /// Whether the server answered each clip.
    pub(crate) fn is_answered(&self) -> bool {
        let answers = self.refused.load(Relaxed) + self.confirmed.load(Relaxed);
        answers >= self.sent.load(Relaxed)
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Steps within one power of two; an entry is exact to one part in as many.
const STEPS: u64 = 64;

/// Distribution of durations, exact to 2 %. A lock, since each record takes a few nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Mutex<Vec<u64>>);

impl Latencies {
    /// Adds one.
    pub(crate) fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let slot = slot(micros);
        let Ok(mut slots) = self.0.lock() else {
            return;
        };
        if slots.len() <= slot {
            slots.resize(slot + 1, 0);
        }
        slots[slot] += 1;
    }

    /// Moves all records out.
    pub(crate) fn take(&self) -> Self {
        let taken = self.0.lock().map(|mut slots| std::mem::take(&mut *slots));
        Self(Mutex::new(taken.unwrap_or_default()))
    }

    /// Adds these records.
    pub(crate) fn absorb(&self, others: &Self) {
        let (Ok(mut slots), Ok(others)) = (self.0.lock(), others.0.lock()) else {
            return;
        };
        if slots.len() < others.len() {
            slots.resize(others.len(), 0);
        }
        for (count, more) in slots.iter_mut().zip(&*others) {
            *count += more;
        }
    }

    /// The duration that is not exceeded by `thousandths` of all records; zero without records.
    pub(crate) fn quantile(&self, thousandths: u64) -> Duration {
        let Ok(slots) = self.0.lock() else {
            return Duration::ZERO;
        };
        let total: u64 = slots.iter().sum();
        let rank = (total * thousandths).div_ceil(1000).max(1);
        let mut seen = 0;
        for (slot, count) in slots.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_micros(value(slot));
            }
        }
        Duration::ZERO
    }
}

fn slot(micros: u64) -> usize {
    let slot = if micros < STEPS {
        micros
    } else {
        let power = u64::from(micros.ilog2());
        let base = u64::from(STEPS.ilog2());
        let step = (micros >> (power - base)) - STEPS;
        (power - base + 1) * STEPS + step
    };
    usize::try_from(slot).unwrap_or(usize::MAX)
}

/// The largest value of a slot.
fn value(slot: usize) -> u64 {
    let slot = slot as u64;
    if slot < STEPS {
        return slot;
    }
    let shift = slot / STEPS - 1;
    let next = u128::from(STEPS + slot % STEPS + 1) << shift;
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn latency_is_exact_to_two_percent(micros: u64) {
            let recorded = value(slot(micros));
            prop_assert!(recorded >= micros);
            prop_assert!(recorded - micros <= micros / 50);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_records() {
        let latencies = Latencies::default();
        for micros in 1..=1000 {
            latencies.record(Duration::from_micros(micros));
        }
        for (thousandths, exact) in [(500, 500), (950, 950), (1000, 1000)] {
            let recorded = u64::try_from(latencies.quantile(thousandths).as_micros()).unwrap();
            assert!(
                recorded >= exact && recorded - exact <= exact / 50,
                "{recorded}"
            );
        }
    }

    #[test]
    fn taken_records_are_absorbed_by_others() {
        let (all, recent) = (Latencies::default(), Latencies::default());
        for millis in [10, 200, 30] {
            recent.record(Duration::from_millis(millis));
            let taken = recent.take();
            assert!(taken.quantile(1000) >= Duration::from_millis(millis));
            assert_eq!(recent.quantile(1000), Duration::ZERO);
            all.absorb(&taken);
        }
        assert!(all.quantile(1000) >= Duration::from_millis(200));
        assert!(all.quantile(600) < Duration::from_millis(40));
    }

    #[test]
    fn quantile_of_no_records_is_zero() {
        assert_eq!(Latencies::default().quantile(500), Duration::ZERO);
    }
}
