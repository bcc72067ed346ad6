//! The listeners of a livestream on this node.
//!
//! **Invariant**: those with outboxes and those with players together are at most `max_listeners`.

use super::{ListenerId, Livestream, LivestreamError};
use crate::broadcast::State;

impl<L> Livestream<L> {
    /// Adds a listener. It gets clips of [`Self::history`] first, then every later clip.
    pub fn join(&mut self, id: ListenerId, listener: L) -> Result<(), LivestreamError> {
        self.check_room()?;
        self.listeners.insert(id, listener);
        Ok(())
    }

    /// Adds a listener with a player. It counts as a listener, and gets no clip from here.
    pub fn add_player(&mut self) -> Result<(), LivestreamError> {
        self.check_room()?;
        self.players += 1;
        Ok(())
    }

    /// Removes one of those.
    pub fn remove_player(&mut self) {
        self.players = self.players.saturating_sub(1);
    }

    fn check_room(&self) -> Result<(), LivestreamError> {
        if self.state == State::Ended {
            return Err(LivestreamError::Ended);
        }
        if self.listener_count() >= self.bounds.max_listeners {
            return Err(LivestreamError::Full);
        }
        Ok(())
    }

    /// Removes a listener.
    pub fn leave(&mut self, id: ListenerId) -> Option<L> {
        self.listeners.remove(&id)
    }

    /// Whether the livestream still has this listener.
    pub fn has_listener(&self, id: ListenerId) -> bool {
        self.listeners.contains_key(&id)
    }

    /// The number of listeners on this node, those with players included.
    pub fn listener_count(&self) -> usize {
        self.listeners.len() + self.players
    }

    /// The listeners on this node, without those with players.
    pub fn listeners(&self) -> impl ExactSizeIterator<Item = &L> {
        self.listeners.values()
    }

    /// Removes all listeners, at the end.
    pub fn take_listeners(&mut self) -> Vec<L> {
        std::mem::take(&mut self.listeners).into_values().collect()
    }
}
