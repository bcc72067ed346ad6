//! What is live here and must be looked at again, since its document or its streamer's account may be gone.
//!
//! **Invariant**: a livestream is ended only as it was when it was looked at: one whose streamer has come since is left.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::{Ended, Relay, Show, SocketId, lock};
use crate::broadcast::{Lease, LivestreamId, UserId};

/// A livestream that is this node's to look after.
pub struct Owned {
    /// Which.
    pub livestream: LivestreamId,
    /// Whose it is.
    pub user: UserId,
    /// The streamer's socket, unless it is awaited.
    pub streamer: Option<SocketId>,
    lease: Option<Lease>,
    found: Arc<Mutex<Show>>,
}

impl Relay {
    /// What has started and whose streamer was here last.
    pub fn owned(&self) -> Vec<Owned> {
        let of = |(livestream, found): (LivestreamId, Arc<Mutex<Show>>)| {
            let show = lock(&found);
            let (user, _) = show.livestream.show()?;
            if !show.livestream.is_started() {
                return None;
            }
            let (user, streamer) = (user.clone(), show.streamer);
            let lease = show.livestream.lease();
            drop(show);
            Some(Owned {
                livestream,
                user,
                streamer,
                lease,
                found,
            })
        };
        self.all().into_iter().filter_map(of).collect()
    }

    /// Ends a livestream for good, as `event` says in metrics and log; none if it is another's or over by now.
    pub fn end_owned(&self, owned: &Owned, event: &str, now: Instant) -> Option<Ended> {
        let mut show = lock(&owned.found);
        if show.livestream.lease() != owned.lease {
            return None;
        }
        let livestream = &mut show.livestream;
        let over = match (owned.lease, livestream.deadline()) {
            (Some(lease), _) => livestream.end(lease),
            (None, Some(deadline)) => livestream.expire(deadline),
            (None, None) => false,
        };
        over.then(|| self.close(&owned.livestream, &owned.found, show, event, now))
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
