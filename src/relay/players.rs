//! Listeners with players. The relay counts them, and follows the livestream for them; they read their clips from the
//! feed's windows.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::{ActiveLivestream, Relay, lock, now};
use crate::broadcast::{LivestreamError, LivestreamId, Record};

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
}
