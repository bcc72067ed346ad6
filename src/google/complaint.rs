//! A warning about a frequent problem, logged at most once a minute.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_mins(1);

/// The time of the latest warning.
#[derive(Debug, Default)]
pub struct Complaint {
    /// A lock, never held across an await: one point in time.
    latest: Mutex<Option<Instant>>,
}

impl Complaint {
    /// Whether to log the warning now; if so, not again for a minute.
    pub fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut latest = self.latest.lock();
        let due = latest.is_none_or(|at| now >= at + INTERVAL);
        if due {
            *latest = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn complaint_is_due_once_a_minute() {
        let complaint = Complaint::default();
        assert!(complaint.is_due());
        assert!(!complaint.is_due());
        tokio::time::advance(INTERVAL).await;
        assert!(complaint.is_due());
    }
}
