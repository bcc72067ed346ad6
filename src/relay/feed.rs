//! The feed of players: accepted clips, and the ends of livestreams.
//!
//! **Invariant**: what is fed of a livestream is fed under its lock, so in the order of its clips. The relay never waits
//! for its reader: a clip for which the queue has no room is dropped and counted. An end is never dropped; so the queue
//! is bounded by the bytes of clips, and by the livestreams that end.

use std::sync::Arc;

use prometheus::IntCounter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::Relay;
use crate::broadcast::{Clip, LivestreamId};

/// What a unit of room stands for, in bytes.
const UNIT: usize = 1024;

/// What the reader of the feed is told.
pub enum Fed {
    /// A clip, or one of the history of a restored livestream.
    Clip(LivestreamId, Arc<Clip>, Room),
    /// The livestream is over.
    Ended(LivestreamId),
    /// This node no longer follows the livestream, which continues on another one.
    Released(LivestreamId),
}

/// A clip's room in the queue; its drop frees it.
pub struct Room {
    _permit: OwnedSemaphorePermit,
}

pub(super) struct Feed {
    queue: mpsc::UnboundedSender<Fed>,
    room: Arc<Semaphore>,
    units: usize,
    dropped: IntCounter,
}

impl Relay {
    /// The feed from now on, for one reader: a later call takes it over. `bytes` of clips may be queued; beyond, clips are
    /// dropped and counted.
    pub fn feed(&self, bytes: usize, dropped: IntCounter) -> mpsc::UnboundedReceiver<Fed> {
        let (queue, fed) = mpsc::unbounded_channel();
        let units = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        *self.0.feed.write() = Some(Feed {
            queue,
            room: Arc::new(Semaphore::new(units)),
            units,
            dropped,
        });
        fed
    }

    /// Queues an accepted clip. Called under the livestream's lock.
    pub(super) fn feed_clip(&self, id: &LivestreamId, clip: &Arc<Clip>) {
        let feed = self.0.feed.read();
        let Some(feed) = &*feed else { return };
        // A clip larger than the whole room takes all of it.
        let units = (clip.bytes.len() / UNIT + 1).min(feed.units);
        let permit = u32::try_from(units)
            .ok()
            .and_then(|units| feed.room.clone().try_acquire_many_owned(units).ok());
        let next =
            permit.map(|permit| Fed::Clip(id.clone(), clip.clone(), Room { _permit: permit }));
        if next.is_none_or(|next| feed.queue.send(next).is_err()) {
            feed.dropped.inc();
        }
    }

    /// Queues an end. Called under the livestream's lock.
    pub(super) fn feed_end(&self, end: Fed) {
        if let Some(feed) = &*self.0.feed.read()
            && feed.queue.send(end).is_err()
        {
            tracing::debug!("the players' task is gone: it does not learn of an end");
        }
    }
}
