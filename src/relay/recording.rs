//! What the relay tells the recorder, under the livestream's lock: so in the order of its changes.

use super::{ActiveLivestream, Ending, Relay};
use crate::broadcast::{Clip, LivestreamId, UserId};
use crate::recording::{Recorded, Recorder};

impl Relay {
    /// Records every clip from now on. Called once, before the first client.
    pub fn record_to(&self, recorder: Recorder) {
        if self.0.recorder.set(recorder).is_err() {
            tracing::error!("there is a recorder already; it stays");
        }
    }

    /// A clip that this node has accepted from its streamer.
    pub(super) fn record_clip(
        &self,
        id: &LivestreamId,
        user: &UserId,
        clip: &Clip,
    ) -> Option<Recorded> {
        let recorder = self.0.recorder.get()?;
        Some(recorder.clip(id, user, clip))
    }

    /// Resolves once all clips until now are on the disk; none if nothing is recorded.
    pub fn recorded_before(&self) -> Option<Recorded> {
        self.0.recorder.get().map(Recorder::flush)
    }

    pub(super) fn record_link_lost(&self, id: &LivestreamId, active: &ActiveLivestream) {
        if let Some(recorder) = self.0.recorder.get() {
            recorder.link_lost(id, active.unix_millis());
        }
    }

    /// The livestream is over here. If its streamer was last on this node, no other node records the end.
    pub(super) fn record_end(
        &self,
        id: &LivestreamId,
        active: &ActiveLivestream,
        ending: Ending,
        was_streamed_here: bool,
    ) {
        let Some(recorder) = self.0.recorder.get() else {
            return;
        };
        let at = active.unix_millis();
        match ending {
            _ if !was_streamed_here || !active.livestream.has_aired() => recorder.left(id, at),
            // By the check of another node, when no streamer came.
            Ending::Elsewhere => recorder.ended(id, Ending::Expired.as_str(), at),
            ending => recorder.ended(id, ending.as_str(), at),
        }
    }

    /// The livestream is over on all nodes, its owner is gone, and no other node knows.
    pub(super) fn record_orphans_end(&self, id: &LivestreamId) {
        if let Some(recorder) = self.0.recorder.get() {
            recorder.ended(id, Ending::Expired.as_str(), super::unix_millis());
        }
    }

    /// The livestream goes on elsewhere.
    pub(super) fn record_left(&self, id: &LivestreamId, active: &ActiveLivestream) {
        if let Some(recorder) = self.0.recorder.get() {
            recorder.left(id, active.unix_millis());
        }
    }
}
