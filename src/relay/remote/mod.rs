//! Other nodes: their clips, the state of their livestreams, and ownership.
//!
//! Each livestream of a node has a [`Link`] and a task ([`task`]). At every *heartbeat* (a second) the task compares the
//! livestream with its record in Redis; every other message is only a short cut.
//!
//! ```text
//! Relay ─▶ Link ─▶ LivestreamTask ─▶ cluster: Redis
//!   ▲                 │   ▲                 │
//!   └─────────────────┘   └───── channel ◀──┘
//! ```
//!
//! **Invariant**: a clip from another node takes the same way as an upload, under the same lock; while this node is the
//! owner, no clip from another node is relayed. Local listeners never wait for Redis.

mod link;
mod orphans;
mod task;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use super::{Ending, Event, Fed, Relay, Replacement, fan_out, lock};
use crate::broadcast::{ClipId, LivestreamId, NewClip, Position, Record, State};
use crate::cluster::{Away, Cluster, RemoteClip};
use crate::config::Config;
use link::LinkBounds;
use task::{Granted, LivestreamTask, PIECE};

pub(crate) use link::Link;
pub use link::{Ticket, Unpublished};

/// Reasons why a livestream is not found among those that have started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// No node has it.
    #[error("the livestream has not started")]
    NotStarted,
    /// Another node may have it.
    #[error(transparent)]
    Away(#[from] Away),
}

/// The links of all livestreams of this node, and the settings of their tasks.
pub(super) struct Links {
    pub(super) cluster: Arc<Cluster>,
    bounds: LinkBounds,
    lease: Duration,
    heartbeat: Duration,
    linger: Duration,
    /// Clips of the history for a listener that joins.
    joiners_clips: usize,
    pub(super) history_clips: usize,
    history_bytes: usize,
    /// Clips in transfer from or to the history, over all livestreams.
    bulk: Semaphore,
    bulk_clips: usize,
    // A lock: taken when a livestream comes or goes.
    by_livestream: Mutex<HashMap<LivestreamId, Arc<Link>>>,
    /// Set once: this node stops, and is no longer in the registry.
    leaving: AtomicBool,
    /// The live nodes at the latest heartbeat that Redis answered.
    known_nodes: Mutex<Vec<String>>,
    /// A change of the bans could not be published.
    pub(super) bans_differ: Notify,
}

impl Links {
    pub(super) fn new(cluster: Arc<Cluster>, config: &Config) -> Self {
        let bulk_clips = (config.cluster.fetch_bytes / config.upload.max_clip_bytes).max(PIECE);
        Self {
            cluster,
            bounds: LinkBounds {
                clips: config.cluster.queue_clips,
                bytes: config.cluster.queue_bytes,
            },
            lease: config.cluster.lease,
            heartbeat: config.cluster.heartbeat,
            linger: config.cluster.linger,
            joiners_clips: config.livestream.join_clips,
            history_clips: config.cluster.history_clips.max(1),
            history_bytes: config.cluster.history_bytes,
            bulk: Semaphore::new(bulk_clips),
            bulk_clips,
            by_livestream: Mutex::default(),
            leaving: AtomicBool::new(false),
            known_nodes: Mutex::default(),
            bans_differ: Notify::new(),
        }
    }

    /// The time between two heartbeats.
    pub(super) fn heartbeat(&self) -> Duration {
        self.heartbeat
    }

    /// Waits for a permit to transfer so many clips; never none, for the semaphore is never closed.
    pub(super) async fn bulk_permit(&self, clips: usize) -> Option<SemaphorePermit<'_>> {
        let clips = u32::try_from(clips.min(self.bulk_clips)).unwrap_or(u32::MAX);
        self.bulk.acquire_many(clips).await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LivestreamId, Arc<Link>>> {
        self.by_livestream.lock()
    }
}

impl Relay {
    /// Joins the cluster, if there is one; must be called on the runtime.
    pub fn join_cluster(&self) {
        if let Some(links) = &self.0.links {
            links.cluster.connect();
            tokio::spawn(orphans::run(self.clone(), links.clone()));
        }
    }

    /// Leaves the cluster: waits at most `limit` until every clip is published and the grace periods run. Returns the
    /// number of remaining nodes, which await the streamers; 0 if it is unknown. The last node ends all livestreams.
    pub async fn leave_cluster(&self, limit: Duration) -> usize {
        let Some(links) = &self.0.links else { return 0 };
        let all: Vec<Arc<Link>> = links.lock().values().cloned().collect();
        let handed_on = async {
            for link in &all {
                link.wake();
                while link.is_owner() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        tokio::time::timeout(limit, handed_on).await.ok();
        links.leaving.store(true, Ordering::SeqCst);
        let left = links.cluster.sign_off().await;
        if left == Some(0)
            && let Err(error) = orphans::end_all(self, &links.cluster).await
        {
            tracing::error!(%error, "flags of other nodes may stay set; each node clears its own at its next start");
        }
        left.unwrap_or(0)
    }

    /// The link of a livestream; must be called on the runtime.
    pub(super) fn link(&self, links: &Arc<Links>, id: &LivestreamId) -> Arc<Link> {
        let mut all = links.lock();
        if let Some(link) = all.get(id) {
            return link.clone();
        }
        let keys = links.cluster.records.keys(id);
        let metrics = links.cluster.metrics.clone();
        let (link, requests) = Link::new(links.bounds, metrics, keys.clock.clone());
        all.insert(id.clone(), link.clone());
        let (relay, links) = (self.clone(), links.clone());
        let task = LivestreamTask::new(id.clone(), keys, relay, links, link.clone(), requests);
        tokio::spawn(task.run());
        link
    }

    /// Forgets a livestream, unless a client on this node uses it.
    fn unlink(&self, links: &Links, id: &LivestreamId, channel: &Bytes) -> bool {
        let mut all = links.lock();
        // Under the lock: a new client finds the livestream here, or makes a new link.
        if !self.release(id) {
            return false;
        }
        all.remove(id);
        links.cluster.records.redis.close_inbox(channel);
        true
    }

    /// Finds a started livestream: none if this node knows it, otherwise its record in Redis.
    pub async fn find_started(&self, id: &LivestreamId) -> Result<Option<Record>, FindError> {
        if self.is_started(id) {
            return Ok(None);
        }
        let Some(links) = &self.0.links else {
            return Err(FindError::NotStarted);
        };
        let record = links.cluster.look(id).await?;
        record
            .is_started()
            .then_some(Some(record))
            .ok_or(FindError::NotStarted)
    }

    /// A livestream's state by its streamer on this node: live, in its grace period, or waiting for one.
    fn state_here(&self, id: &LivestreamId) -> State {
        let Some(found) = self.find(id) else {
            return State::Waiting;
        };
        let active = lock(&found);
        let live = active.livestream.is_live_here();
        if live && !self.0.stopping.load(Ordering::SeqCst) {
            return State::Live;
        }
        let awaited = live || active.livestream.deadline().is_some();
        if awaited && active.livestream.is_started() {
            State::Reconnecting
        } else {
            State::Waiting
        }
    }

    /// Listeners on this node.
    fn listeners(&self, id: &LivestreamId) -> usize {
        self.find(id)
            .map_or(0, |found| lock(&found).livestream.listener_count())
    }

    /// Records the ids of clips that nodes have published, with their sequences.
    fn know_clips(&self, id: &LivestreamId, clip_ids: Vec<(ClipId, u64)>) {
        let Some(found) = self.find(id) else { return };
        let mut active = lock(&found);
        for (clip_id, sequence) in clip_ids {
            active.know(clip_id, sequence);
        }
    }

    /// Relays a clip from another node to every listener here.
    fn accept_remote_clip(&self, id: &LivestreamId, remote: RemoteClip, now: Instant) {
        // An older version may publish an empty clip.
        let Some(found) = self.find(id).filter(|_| !remote.bytes.is_empty()) else {
            return;
        };
        let mut active = lock(&found);
        if let Some(clip_id) = remote.id.clone() {
            // The streamer was here, and has sent the clip again to the other node.
            let is_heard = active.has_heard(&clip_id);
            active.know(clip_id, remote.position.sequence);
            if is_heard {
                return active.livestream.repeat(remote.into(), now);
            }
        }
        let mut clip = NewClip::from(remote);
        self.place(&mut active, &mut clip);
        let Some(clip) = active.livestream.accept_remote_clip(clip, now) else {
            return active.break_chain(None);
        };
        active.story.begin(now);
        active.silence.end(now);
        let audience = active.push(&clip, now);
        active.story.clip(clip.bytes.len(), audience.len(), now);
        self.feed_clip(id, &clip);
        drop(active);
        tracing::debug!(livestream.id = %id, bytes = clip.bytes.len(), listeners = audience.len(), "clip from another node");
        fan_out::flush(&audience, &self.0.metrics.fan_out);
    }

    /// Clips that listeners here did not get come after the latest one; the next one follows `before`, if it is known.
    fn break_chain(&self, id: &LivestreamId, before: Option<Position>) {
        if let Some(found) = self.find(id) {
            lock(&found).break_chain(before);
        }
    }

    /// This node has become the owner: it numbers clips in this epoch, after `sequence`. `before` is the latest position
    /// of the epoch before, in which this node had `own`, if it had one.
    fn begin_epoch(&self, id: &LivestreamId, link: &Link, granted: &Granted, now: Instant) {
        let Granted {
            position,
            before,
            own,
        } = *granted;
        let Some(found) = self.find(id) else { return };
        let mut active = lock(&found);
        active.owned_epoch = Some(position.epoch);
        let is_known = active.livestream.history().has(before) || own >= Some(before.epoch);
        if !is_known {
            active.break_chain(before.of_a_clip());
        }
        active.recording.state.renumber(position.next().sequence);
        let again = link.begin_epoch(position);
        self.record_repeated(
            id,
            &active,
            again.first().and_then(|it| it.position),
            again.len(),
        );
        for clip in again {
            active.livestream.repeat(clip, now);
        }
    }

    /// Applies the number of listeners on other nodes.
    fn count_elsewhere(&self, id: &LivestreamId, elsewhere: usize, now: Instant) {
        let Some(found) = self.find(id) else { return };
        let mut active = lock(&found);
        active.elsewhere = elsewhere;
        active.tally(now);
    }

    /// Applies a livestream's state over all nodes, unless its streamer is here.
    pub(super) fn follow(&self, id: &LivestreamId, record: &Record, now: Instant) {
        let Some(found) = self.find(id) else { return };
        let mut active = lock(&found);
        let user = active.streamer_user();
        active.follow_recording(record);
        if active.livestream.follow(record, now) {
            // Of another owner's livestream that owner tells, and without a record nobody else does.
            let was_owner = record.state.is_none()
                || active.owned_epoch.is_none_or(|epoch| epoch == record.epoch);
            let user = user.filter(|_| was_owner);
            let (ending, epoch) = (Ending::Elsewhere, Some(record.epoch));
            self.emit_ended(id, &mut active, ending, user, epoch, now);
            drop(active);
            self.forget(id, &found);
        }
    }

    /// Another node owns the livestream: a streamer here is no longer its streamer.
    fn yield_to_other(&self, id: &LivestreamId, replacement: Replacement) {
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

    /// Forgets a livestream without a streamer or a listener here. False if it has one.
    fn release(&self, id: &LivestreamId) -> bool {
        let Some(found) = self.find(id) else {
            return true;
        };
        {
            let mut active = lock(&found);
            if !active.livestream.release() {
                return false;
            }
            self.feed_end(Fed::Released(id.clone()));
            self.record_left(id, &active);
        }
        self.forget(id, &found);
        true
    }
}

#[cfg(test)]
mod tests;
