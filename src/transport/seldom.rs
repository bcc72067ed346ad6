//! A log line for an error that can come thousands of times a second.

use std::time::{Duration, Instant};

/// Minimum time between two lines of a kind.
const PAUSE: Duration = Duration::from_mins(1);

/// Passes one line a minute, and counts the suppressed ones.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    last: Option<Instant>,
    held_back: u64,
}

impl Seldom {
    /// Whether a line may be logged now, with the number of lines suppressed since the last one.
    pub(super) fn pass(&mut self, now: Instant) -> Option<u64> {
        if self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < PAUSE)
        {
            self.held_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_passes_once_a_minute() {
        let (start, mut seldom) = (Instant::now(), Seldom::default());
        assert_eq!(seldom.pass(start), Some(0));
        assert_eq!(seldom.pass(start + PAUSE / 2), None);
        assert_eq!(seldom.pass(start + PAUSE), Some(1));
        assert_eq!(seldom.pass(start + PAUSE), None);
    }
}
