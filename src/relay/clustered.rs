//! What other nodes change here: their clips, how their shows are going, and who holds what.
//!
//! **Invariant**: a clip from another node takes the way of one that was uploaded here, under the same lock; while the
//! streamer is here, nothing from elsewhere is handed on.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use super::{Ended, Relay, SocketId, fan_out, lock};
use crate::broadcast::{LivestreamId, Word};
use crate::cluster::{Glance, Phase, Seen, Standing};

impl Relay {
    /// How a livestream is going over all nodes, if it has started and anybody can be asked.
    pub async fn look_elsewhere(&self, id: &LivestreamId) -> Option<Glance> {
        let glance = self.0.cluster.as_ref()?.look(id).await.ok()?;
        glance.phase.is_started().then_some(glance)
    }

    /// How a livestream stands here.
    pub fn standing(&self, id: &LivestreamId) -> Standing {
        let Some(found) = self.find(id) else {
            return Standing::Elsewhere;
        };
        let show = lock(&found);
        let live = show.livestream.is_live_here();
        if live && !self.0.stopping.load(Ordering::SeqCst) {
            return Standing::Live {
                aired: show.livestream.has_aired(),
            };
        }
        let awaited = live || show.livestream.deadline().is_some();
        if awaited && show.livestream.is_started() {
            Standing::Grace
        } else {
            Standing::Elsewhere
        }
    }

    /// How many listen here.
    pub fn listeners(&self, id: &LivestreamId) -> usize {
        self.find(id)
            .map_or(0, |found| lock(&found).livestream.listeners().len())
    }

    /// Hands a clip of another node on to everybody who listens here.
    pub fn hand_on(&self, id: &LivestreamId, bytes: Bytes, now: Instant) {
        // An older version may publish an empty one.
        let Some(found) = self.find(id).filter(|_| !bytes.is_empty()) else {
            return;
        };
        let mut show = lock(&found);
        let Some(clip) = show.livestream.hand_on(bytes, now) else {
            return;
        };
        show.story.begin(now);
        show.story.clip(clip.bytes.len());
        let audience = show.push(&clip, now);
        drop(show);
        tracing::debug!(livestream.id = %id, bytes = clip.bytes.len(), listeners = audience.len(), "clip from another node");
        fan_out::flush(audience, &self.0.metrics.fan_out);
    }

    /// Goes by what was seen of a livestream over all nodes.
    pub fn follow(&self, id: &LivestreamId, seen: Seen, now: Instant) -> Option<Ended> {
        let found = self.find(id)?;
        let mut show = lock(&found);
        show.elsewhere = seen.elsewhere;
        let listeners = show.count();
        show.story.listeners(listeners);
        let word = word(seen.phase?, now);
        if !show.livestream.follow(word, now) {
            return None;
        }
        let listeners = show.take_listeners();
        show.story.tell(id, "ended elsewhere", now);
        drop(show);
        self.forget(id, &found);
        self.event("ended_elsewhere");
        Some(Ended {
            livestream: id.clone(),
            listeners,
        })
    }

    /// Another node holds the livestream; who was its streamer here.
    pub fn yield_to_other(&self, id: &LivestreamId) -> Option<SocketId> {
        let found = self.find(id)?;
        let mut show = lock(&found);
        if !show.livestream.yield_to_other() {
            return None;
        }
        let streamer = show.streamer.take();
        drop(show);
        self.event("taken_over");
        tracing::info!(livestream.id = %id, "livestream taken over by another node");
        streamer
    }

    /// A show is over, and it falls to this node to write that down.
    pub fn is_over(&self, id: &LivestreamId) {
        self.0.directory.set_streamer_connected(id, false);
    }

    /// Writes down once more that a show is live here: another node may have written the end of the one before since.
    pub fn is_still_live(&self, id: &LivestreamId) {
        let Some(found) = self.find(id) else { return };
        let show = lock(&found);
        let live = show.livestream.is_live_here() && show.livestream.has_aired();
        if live && !self.0.stopping.load(Ordering::SeqCst) {
            self.0.directory.set_streamer_connected(id, true);
        }
    }

    /// Forgets a livestream that nobody here has to do with. False if somebody has.
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

pub(super) fn word(phase: Phase, now: Instant) -> Word {
    match phase {
        Phase::Live => Word::Live,
        Phase::Grace(left) => Word::Grace(now + left),
        Phase::Ended => Word::Ended,
        Phase::Unknown => Word::Nothing,
    }
}
