//! Livestreams to check again, since their document or their streamer's account may be gone.
//!
//! **Invariant**: a livestream is ended only in the state that was checked: one whose streamer has come since
//! continues.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::{ActiveLivestream, Ending, Relay, SocketId, lock};
use crate::broadcast::{Epoch, LivestreamId, UserId};

/// A started livestream whose streamer was last on this node.
pub struct Owned {
    /// Its id.
    pub livestream: LivestreamId,
    /// Its streamer.
    pub user: UserId,
    /// The streamer's socket; none in the grace period.
    pub streamer: Option<SocketId>,
    epoch: Option<Epoch>,
    found: Arc<Mutex<ActiveLivestream>>,
}

impl Relay {
    /// All started livestreams whose streamer was last on this node.
    pub fn owned(&self) -> Vec<Owned> {
        let of = |(livestream, found): (LivestreamId, Arc<Mutex<ActiveLivestream>>)| {
            let active = lock(&found);
            let (user, _) = active.livestream.streamer_and_next_sequence()?;
            if !active.livestream.is_started() {
                return None;
            }
            let user = user.clone();
            let streamer = active.streamer.map(|streamer| streamer.socket);
            let epoch = active.livestream.epoch();
            drop(active);
            Some(Owned {
                livestream,
                user,
                streamer,
                epoch,
                found,
            })
        };
        self.all().into_iter().filter_map(of).collect()
    }

    /// Ends a livestream for good, unless the epoch has changed since.
    pub fn end_owned(&self, owned: &Owned, ending: Ending, now: Instant) {
        let mut active = lock(&owned.found);
        if active.livestream.epoch() != owned.epoch {
            return;
        }
        let livestream = &mut active.livestream;
        let over = match (owned.epoch, livestream.deadline()) {
            (Some(epoch), _) => livestream.end(epoch),
            (None, Some(deadline)) => livestream.expire(deadline),
            (None, None) => false,
        };
        if over {
            self.close(&owned.livestream, &owned.found, active, ending, now);
        }
    }
}
