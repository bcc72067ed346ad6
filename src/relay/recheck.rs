//! What is live here and must be looked at again, since its document or its streamer's account may be gone.
//!
//! **Invariant**: a livestream is ended only as it was when it was looked at: one whose streamer has come since is left.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::{ActiveLivestream, Ended, Relay, SocketId, lock};
use crate::broadcast::{Epoch, LivestreamId, UserId};

/// A livestream that is this node's to look after.
pub struct Owned {
    /// Which.
    pub livestream: LivestreamId,
    /// Whose it is.
    pub user: UserId,
    /// The streamer's socket, unless it is awaited.
    pub streamer: Option<SocketId>,
    epoch: Option<Epoch>,
    found: Arc<Mutex<ActiveLivestream>>,
}

impl Relay {
    /// What has started and whose streamer was here last.
    pub fn owned(&self) -> Vec<Owned> {
        let of = |(livestream, found): (LivestreamId, Arc<Mutex<ActiveLivestream>>)| {
            let active = lock(&found);
            let (user, _) = active.livestream.streamer_and_next_sequence()?;
            if !active.livestream.is_started() {
                return None;
            }
            let (user, streamer) = (user.clone(), active.streamer);
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

    /// Ends a livestream for good, as `event` says in metrics and log; none if it is another's or over by now.
    pub fn end_owned(&self, owned: &Owned, event: &str, now: Instant) -> Option<Ended> {
        let mut active = lock(&owned.found);
        if active.livestream.epoch() != owned.epoch {
            return None;
        }
        let livestream = &mut active.livestream;
        let over = match (owned.epoch, livestream.deadline()) {
            (Some(epoch), _) => livestream.end(epoch),
            (None, Some(deadline)) => livestream.expire(deadline),
            (None, None) => false,
        };
        over.then(|| self.close(&owned.livestream, &owned.found, active, event, now))
    }

    /// Clears a flag that says live though nobody is on air. False in a cluster, where another node may be the owner.
    pub fn clears_stale_flag(&self, id: &LivestreamId) -> bool {
        if self.0.cluster.is_some() {
            return false;
        }
        // Under the lock, so that no streamer can go on air in between, and have its flag cleared.
        let livestreams = self.livestreams();
        if !livestreams.contains_key(id) {
            self.0.directory.clear(id);
        }
        true
    }
}
