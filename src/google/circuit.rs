//! A circuit breaker: after several failures in a row calls fail fast for a while, then one call at a time is tried.
//!
//! **Invariant**: a recovered dependency is detected within [`LONGEST_PAUSE`] of the next call, even if the trial call
//! never ends.

use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row after which calls fail fast.
const THRESHOLD: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The state of a dependency by its latest calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not called yet.
    Untried,
    /// The latest call was answered.
    Up,
    /// The latest calls failed; calls are still made.
    Failing,
    /// The circuit is open: calls fail fast.
    Down,
}

/// The state of one dependency. The caller passes the time in.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    answered: bool,
    failures: u32,
    try_at: Option<Instant>,
}

impl Circuit {
    /// Whether calls fail fast at `now`.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.failures >= THRESHOLD && self.try_at.is_some_and(|at| now < at)
    }

    /// Whether a call may be made at `now`. A trial call through an open circuit puts off the next one.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        if self.is_open(now) {
            return false;
        }
        if self.failures >= THRESHOLD {
            self.try_at = Some(now + LONGEST_PAUSE);
        }
        true
    }

    /// A call was answered.
    pub(super) fn succeed(&mut self) {
        *self = Self {
            answered: true,
            ..Self::default()
        };
    }

    /// A call failed at `now`.
    pub(super) fn fail(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if let Some(beyond) = self.failures.checked_sub(THRESHOLD) {
            let pause = FIRST_PAUSE.saturating_mul(1 << beyond.min(8));
            self.try_at = Some(now + pause.min(LONGEST_PAUSE));
        }
    }

    pub(super) fn health(&self) -> Health {
        match (self.failures, self.answered) {
            (0, false) => Health::Untried,
            (0, true) => Health::Up,
            (failures, _) if failures < THRESHOLD => Health::Failing,
            _ => Health::Down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(now: Instant) -> Circuit {
        let mut circuit = Circuit::default();
        for _ in 0..THRESHOLD {
            assert!(circuit.admit(now));
            circuit.fail(now);
        }
        circuit
    }

    #[test]
    fn dependency_that_keeps_failing_opens_the_circuit() {
        let now = Instant::now();
        let mut circuit = broken(now);
        assert_eq!(circuit.health(), Health::Down);
        assert!(!circuit.admit(now));
        assert!(circuit.admit(now + FIRST_PAUSE));
    }

    #[test]
    fn open_circuit_tries_one_call_at_a_time() {
        let now = Instant::now();
        let mut circuit = broken(now);
        let later = now + FIRST_PAUSE;
        assert!(circuit.admit(later));
        assert!(!circuit.admit(later));
        circuit.succeed();
        assert_eq!(circuit.health(), Health::Up);
        assert!(circuit.admit(later));
    }

    #[test]
    fn unfinished_trial_does_not_keep_the_circuit_open() {
        let now = Instant::now();
        let mut circuit = broken(now);
        assert!(circuit.admit(now + FIRST_PAUSE));
        assert!(circuit.admit(now + FIRST_PAUSE + LONGEST_PAUSE));
    }

    #[test]
    fn pause_is_bounded_in_a_long_outage() {
        let mut now = Instant::now();
        let mut circuit = broken(now);
        for _ in 0..100 {
            now += LONGEST_PAUSE;
            assert!(circuit.admit(now));
            circuit.fail(now);
        }
    }
}
