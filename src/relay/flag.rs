//! The writes of `streamerConnected`. [`streamer_connected`] decides them.
//!
//! **Invariant**: each one is intended under its livestream's lock, so that the order of intentions is the order of the
//! changes. Once the daemon stops, no flag becomes true. In a cluster a flag becomes true only if other nodes clear it
//! should this one die, or after a lease without Redis.

use std::sync::atomic::Ordering;

use super::{Link, Relay, lock};
use crate::broadcast::{FlagOwner, LivestreamId, State, streamer_connected};
use crate::directory::Unavailable;

impl Relay {
    /// Writes a livestream's flag after a change of its state, if that changes the flag.
    pub(super) fn write_flag(
        &self,
        id: &LivestreamId,
        before: State,
        after: State,
        owner: FlagOwner,
    ) {
        if let Some(connected) = streamer_connected(before, after, owner) {
            self.0.directory.set_streamer_connected(id, connected);
        }
    }

    /// The owner of a flag that this node is responsible for.
    pub(super) fn flag_owner(&self) -> FlagOwner {
        if self.0.stopping.load(Ordering::SeqCst) {
            FlagOwner::Stopping
        } else {
            FlagOwner::Here
        }
    }

    /// Clears the flag of a livestream that is over on all nodes, on their behalf.
    pub(super) fn write_ended(&self, id: &LivestreamId) {
        self.write_flag(id, State::Reconnecting, State::Ended, self.flag_owner());
    }

    /// Whether a livestream's flag is set in Firestore.
    pub(super) async fn is_flag_set(&self, id: &LivestreamId) -> Result<bool, Unavailable> {
        self.0.directory.is_connected(id).await
    }

    /// Sets the flag of a livestream on air here once more: another node may have cleared it since, at the end of an
    /// earlier livestream of the same id.
    pub(super) fn write_live_again(&self, id: &LivestreamId) {
        let Some(found) = self.find(id) else { return };
        let active = lock(&found);
        if active.livestream.is_live_here() && active.livestream.has_aired() {
            self.write_flag(id, State::Live, State::Live, self.flag_owner());
        }
    }

    /// Sets the flag of a livestream on air here, if it had to wait for this.
    pub(super) fn allow_flag(&self, id: &LivestreamId, link: &Link) {
        if link.allow_flag() {
            self.write_live_again(id);
        }
    }

    /// At a stop: clears the flags of livestreams whose streamer was last here. A returning streamer sets its flag
    /// again.
    pub fn clear_flags(&self) {
        for (id, found) in self.all() {
            let active = lock(&found);
            if active.livestream.streamer_and_next_sequence().is_some() {
                let before = active.livestream.state();
                self.write_flag(&id, before, State::Ended, FlagOwner::Stopping);
            }
        }
    }

    /// Clears a flag that is true while no streamer is on air. False in a cluster, where another node may be the owner.
    pub fn clears_stale_flag(&self, id: &LivestreamId) -> bool {
        if self.0.links.is_some() {
            return false;
        }
        // Under the lock, so that no streamer goes on air in between and loses its flag.
        let livestreams = self.livestreams();
        if !livestreams.contains_key(id) {
            self.0.directory.clear(id);
        }
        true
    }
}
