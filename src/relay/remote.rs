//! Changes from other nodes: their clips, the state of their livestreams, and ownership.
//!
//! **Invariant**: a clip from another node takes the same way as an upload, under the same lock; while the streamer is
//! here, no clip from another node is relayed.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use super::{Ending, Event, Relay, Replacement, fan_out, lock};
use crate::broadcast::{LivestreamId, RemoteState};
use crate::cluster::{Phase, RecordSummary, RemoteStatus, Standing};

impl Relay {
    /// A livestream's record in the cluster, if it has started and Redis answers.
    pub async fn look_up_in_cluster(&self, id: &LivestreamId) -> Option<RecordSummary> {
        let summary = self.0.cluster.as_ref()?.look(id).await.ok()?;
        summary.phase.is_started().then_some(summary)
    }

    /// A livestream's standing on this node.
    pub fn standing(&self, id: &LivestreamId) -> Standing {
        let Some(found) = self.find(id) else {
            return Standing::Elsewhere;
        };
        let active = lock(&found);
        let live = active.livestream.is_live_here();
        if live && !self.0.stopping.load(Ordering::SeqCst) {
            return Standing::Live {
                aired: active.livestream.has_aired(),
            };
        }
        let awaited = live || active.livestream.deadline().is_some();
        if awaited && active.livestream.is_started() {
            Standing::Grace
        } else {
            Standing::Elsewhere
        }
    }

    /// Listeners on this node.
    pub fn listeners(&self, id: &LivestreamId) -> usize {
        self.find(id)
            .map_or(0, |found| lock(&found).livestream.listeners().len())
    }

    /// Relays a clip from another node to every listener here.
    pub fn accept_remote_clip(&self, id: &LivestreamId, bytes: Bytes, now: Instant) {
        // An older version may publish an empty clip.
        let Some(found) = self.find(id).filter(|_| !bytes.is_empty()) else {
            return;
        };
        let mut active = lock(&found);
        let Some(clip) = active.livestream.accept_remote_clip(bytes, now) else {
            return;
        };
        active.story.begin(now);
        active.story.clip(clip.bytes.len());
        let audience = active.push(&clip, now);
        drop(active);
        tracing::debug!(livestream.id = %id, bytes = clip.bytes.len(), listeners = audience.len(), "clip from another node");
        fan_out::flush(audience, &self.0.metrics.fan_out);
    }

    /// Applies the cluster's status of a livestream.
    pub fn follow(&self, id: &LivestreamId, seen: RemoteStatus, now: Instant) {
        let Some(found) = self.find(id) else { return };
        let mut active = lock(&found);
        active.elsewhere = seen.elsewhere;
        let listeners = active.count();
        active.story.listeners(listeners);
        let Some(phase) = seen.phase else { return };
        if active.livestream.follow(remote_state(phase, now), now) {
            self.emit_ended(id, &mut active, Ending::Elsewhere, now);
            drop(active);
            self.forget(id, &found);
        }
    }

    /// Another node owns the livestream: a streamer here is no longer its streamer.
    pub fn yield_to_other(&self, id: &LivestreamId, replacement: Replacement) {
        let Some(found) = self.find(id) else { return };
        let mut active = lock(&found);
        if active.livestream.yield_to_other() {
            let streamer = active.streamer.take();
            self.emit(Event::StreamerReplaced {
                livestream: id.clone(),
                streamer,
                replacement,
            });
        }
    }

    /// Clears the flag of an ended livestream, on behalf of all nodes.
    pub fn write_ended(&self, id: &LivestreamId) {
        self.0.directory.set_streamer_connected(id, false);
    }

    /// Sets the flag of a livestream on air here once more: another node may have cleared it since, at the end of an
    /// earlier livestream of the same id.
    pub fn write_live_again(&self, id: &LivestreamId) {
        let Some(found) = self.find(id) else { return };
        let active = lock(&found);
        let live = active.livestream.is_live_here() && active.livestream.has_aired();
        if live && !self.0.stopping.load(Ordering::SeqCst) {
            self.0.directory.set_streamer_connected(id, true);
        }
    }

    /// Forgets a livestream without a streamer or a listener here. False if it has one.
    pub fn release(&self, id: &LivestreamId) -> bool {
        let Some(found) = self.find(id) else {
            return true;
        };
        if !lock(&found).livestream.release() {
            return false;
        }
        self.forget(id, &found);
        true
    }
}

pub(super) fn remote_state(phase: Phase, now: Instant) -> RemoteState {
    match phase {
        Phase::Live => RemoteState::Live,
        Phase::Grace(left) => RemoteState::Grace(now + left),
        Phase::Ended => RemoteState::Ended,
        Phase::Unknown => RemoteState::Unknown,
    }
}

impl crate::cluster::Node for Relay {
    fn standing(&self, id: &LivestreamId) -> Standing {
        self.standing(id)
    }

    fn listeners(&self, id: &LivestreamId) -> usize {
        self.listeners(id)
    }

    fn clip(&self, id: &LivestreamId, clip: Bytes) {
        self.accept_remote_clip(id, clip, super::now());
    }

    fn seen(&self, id: &LivestreamId, seen: RemoteStatus) {
        self.follow(id, seen, super::now());
    }

    fn superseded(&self, id: &LivestreamId) {
        self.yield_to_other(id, Replacement::Elsewhere);
    }

    fn come_again(&self, id: &LivestreamId) {
        self.yield_to_other(id, Replacement::Undecided);
    }

    fn over(&self, id: &LivestreamId) {
        self.write_ended(id);
    }

    fn still_live(&self, id: &LivestreamId) {
        self.write_live_again(id);
    }

    fn release(&self, id: &LivestreamId) -> bool {
        self.release(id)
    }
}
