//! What a WebSocket connection knows of its session.

use bytes::Bytes;

use super::super::clip_message::Gap;
use super::{Connection, Phase, SendQueue};

impl Connection {
    /// Whether a streamer uses it.
    pub(in crate::transport) fn carries_streamer(&self) -> bool {
        let activity = self.lock().activity.upgrade();
        activity.is_some_and(|activity| activity.carries_streamer())
    }

    /// Whether the client is gone, or can no longer be sent anything.
    pub fn is_over(&self) -> bool {
        let state = self.lock();
        state.aborted || state.closing
    }

    /// Shuts the gate for clips until the mark has passed. With it leave these frames.
    pub(in crate::transport) fn shut_gate(&self, welcome: Option<&Bytes>) {
        self.queue(|queue| {
            queue.shut();
            if let Some(frames) = welcome {
                queue.welcome(frames.clone());
            }
        });
    }

    /// The mark will not pass: the frames that would leave with it do not.
    pub(in crate::transport) fn take_back_welcome(&self) {
        self.queue(SendQueue::take_back_welcome);
    }

    /// Its listener is still to be told of these clips, before any clip.
    pub(in crate::transport) fn owe_gap(&self, gap: Gap) {
        self.queue(|queue| queue.owe_gap(gap));
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
