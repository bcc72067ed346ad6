//! The answer to what was given to the recorder.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// The longest that an answer waits for its clip to be on the disk.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Resolves once a clip is on the disk.
#[derive(Debug)]
pub struct Recorded {
    pub(super) written: oneshot::Receiver<()>,
    pub(super) queued_at: Instant,
}

impl Recorded {
    /// Waits for it, until two seconds after it was queued: a disk that hangs does not keep a streamer from its answers.
    pub async fn wait(self) {
        let until = self.queued_at + LONGEST_WAIT;
        self.wait_until(until).await;
    }

    /// Waits for it until this time.
    pub async fn wait_until(self, until: Instant) {
        if timeout_at(until, self.written).await.is_err() {
            tracing::warn!(
                "a clip is acknowledged before it is on the disk, which is slow: see to the state directory"
            );
        }
    }
}
