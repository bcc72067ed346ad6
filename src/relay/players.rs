//! Listeners with players. The relay counts them, and follows the livestream for them; they read their clips from the
//! feed's windows.
//!
//! **Invariant**: a clip gets its place where its streamer is, under the livestream's lock, and has it on every node. Without
//! a feed no clip is read.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::{ActiveLivestream, Relay, lock, now};
use crate::broadcast::{Clip, LivestreamError, LivestreamId, NewClip, Position, Record};
use crate::media::{self, Place, Unplayable};

/// A listener with a player; it leaves when this is dropped.
pub struct Player {
    active: Arc<Mutex<ActiveLivestream>>,
}

impl Drop for Player {
    fn drop(&mut self) {
        let mut active = lock(&self.active);
        active.livestream.remove_player();
        active.tally(now());
    }
}

impl Relay {
    /// Adds a listener with a player to a livestream that has started, as [`Self::find_started`] found it. In a cluster
    /// this node follows the livestream from now on. Must be called on the runtime.
    pub fn add_player(
        &self,
        id: &LivestreamId,
        elsewhere: Option<&Record>,
        now: Instant,
    ) -> Result<Player, LivestreamError> {
        let found = self.find_to_join(id, elsewhere, now)?;
        let mut active = lock(&found);
        active.livestream.add_player()?;
        active.story.joined();
        active.tally(now);
        active.start_following(elsewhere, now);
        drop(active);
        Ok(Player { active: found })
    }

    /// Why players cannot hear the latest clip that is known here; none if they can, or are off.
    pub fn find_unplayable(&self, id: &LivestreamId) -> Option<Unplayable> {
        let found = self.find(id).filter(|_| self.has_players())?;
        let latest = lock(&found)
            .livestream
            .history()
            .clips()
            .next_back()?
            .clone();
        media::read(&latest.bytes).err()
    }

    /// Whether clips are fed to players.
    fn has_players(&self) -> bool {
        self.0.feed.read().is_some()
    }

    /// Gives a clip its place on the timeline, unless it brings the one that its streamer's node gave it: that one may have
    /// no players. A clip that cannot be remuxed gets none.
    pub(super) fn place(&self, active: &mut ActiveLivestream, clip: &mut NewClip) {
        if !self.has_players() {
            return;
        }
        if let Some(place) = clip.place {
            active.timeline.follow(place);
        } else if let Ok(audio) = media::read(&clip.bytes) {
            let Position { epoch, sequence } =
                clip.position.unwrap_or_else(|| active.next_position());
            let timeline = &mut active.timeline;
            clip.place = Some(timeline.place(epoch, sequence, &audio, clip.sent_at));
        }
    }

    /// Whether the place of the latest clip is needed and unknown here.
    pub(super) fn lacks_place(&self, id: &LivestreamId) -> bool {
        let is_unknown = |active: &ActiveLivestream| active.timeline.last().is_none();
        self.has_players() && self.find(id).is_some_and(|found| is_unknown(&lock(&found)))
    }

    /// The next clip of this node comes after one with this place, if no other is known.
    pub(super) fn continue_after(&self, id: &LivestreamId, place: Place) {
        let Some(found) = self.find(id) else { return };
        let mut active = lock(&found);
        if active.timeline.last().is_none() {
            active.timeline.follow(place);
        }
    }

    /// The latest clips, so many if there are, oldest first: what is not known here is read from Redis's history, if that
    /// answers. Takes at most two timeouts of Redis.
    pub async fn latest_clips(&self, id: &LivestreamId, wanted: usize) -> Vec<Arc<Clip>> {
        if let Some(links) = &self.0.links {
            let lacks = |active: &ActiveLivestream| {
                !active.is_backfilled && active.livestream.history().unbroken().count() < wanted
            };
            let limit = links.cluster.records.redis.timeout * 2;
            let filled = tokio::time::timeout(limit, self.backfill(links, id, lacks));
            if filled.await.is_err() {
                tracing::debug!(livestream.id = %id, "Redis's history did not come in time for players");
            }
        }
        let Some(found) = self.find(id) else {
            return Vec::new();
        };
        let active = lock(&found);
        let clips: Vec<_> = active.livestream.history().unbroken().collect();
        let older = clips.len().saturating_sub(wanted);
        clips[older..].iter().map(|clip| Arc::clone(clip)).collect()
    }
}

impl ActiveLivestream {
    /// The position of the next clip of a streamer here. Without an epoch in a cluster this node does not know its number.
    pub(super) fn next_position(&self) -> Position {
        let here = self.livestream.next_position();
        match &self.link {
            Some(link) => link.next_position().unwrap_or(Position::new(here.epoch, 1)),
            None => here,
        }
    }
}
