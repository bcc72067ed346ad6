//! What a WebSocket connection knows of its session.

use std::sync::Arc;

use super::{Connection, Phase};
use crate::transport::Session;

impl Connection {
    pub(in crate::transport) fn session(&self) -> Option<Arc<Session>> {
        self.lock().session.upgrade()
    }

    /// Whether the client is gone, or can no longer be sent anything.
    pub fn is_over(&self) -> bool {
        let state = self.lock();
        state.aborted || state.closing
    }

    /// Drops the queued clips and returns their number.
    pub(in crate::transport) fn drop_waiting(&self) -> usize {
        let mut state = self.lock();
        let Phase::WebSocket(queue) = &mut state.phase else {
            return 0;
        };
        let dropped = queue.drop_waiting();
        state.lost += dropped as u64;
        self.shared.metrics.clips_dropped.inc_by(dropped as u64);
        dropped
    }
}
