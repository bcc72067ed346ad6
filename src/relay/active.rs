//! What a livestream in the relay has beside its state machine: its listeners' number, its streamer's user.

use std::sync::Arc;
use std::time::Instant;

use super::events::Delivery;
use super::recording::LivestreamRecording;
use super::silence::Silence;
use super::story::Story;
use super::{ActiveLivestream, Listener};
use crate::broadcast::{ClipIds, Livestream, Record, State, UserId};
use crate::media::Timeline;

impl ActiveLivestream {
    pub(super) fn new(livestream: Livestream<Arc<Listener>>, now: Instant) -> Self {
        Self {
            livestream,
            audience: None,
            streamer: None,
            streamer_since: now,
            dismissal: None,
            story: Story::default(),
            silence: Silence::since(now),
            clip_ids: ClipIds::default(),
            is_backfilled: false,
            timeline: Timeline::default(),
            recording: LivestreamRecording::default(),
            link: None,
            elsewhere: 0,
            owned_epoch: None,
            announced: None,
            announced_at: now,
            announcement: Delivery::default(),
        }
    }

    /// Listeners on all nodes.
    pub(super) fn count(&self) -> usize {
        self.livestream.listener_count() + self.elsewhere
    }

    /// The user of its streamer, if that was last on this node.
    pub(super) fn streamer_user(&self) -> Option<UserId> {
        let streamer = self.livestream.streamer_and_next_sequence();
        streamer.map(|(user, _)| user.clone())
    }

    /// Called after each change of the number of listeners.
    pub(super) fn tally(&mut self, now: Instant) {
        self.story.listeners(self.count(), now);
    }

    /// Removes all listeners.
    pub(super) fn take_listeners(&mut self) -> Vec<Arc<Listener>> {
        self.audience = None;
        let listeners = self.livestream.take_listeners();
        let dropped = listeners
            .iter()
            .map(|listener| listener.outbox.missed())
            .sum();
        self.story.dropped(dropped);
        listeners
    }

    /// Notifies the link that the standing on this node has changed.
    pub(super) fn wake(&self) {
        if let Some(link) = &self.link {
            link.wake();
        }
    }

    /// Called when a listener has joined, with the record of another node if the join needed one. The first listener does
    /// not wait for the next heartbeat.
    pub(super) fn start_following(&mut self, elsewhere: Option<&Record>, now: Instant) {
        let Some(link) = &self.link else { return };
        if let Some(record) = elsewhere.filter(|record| record.is_started()) {
            link.joined_at(record.position());
            if self.livestream.state() == State::Waiting {
                self.livestream.follow(record, now);
            }
        }
        if self.livestream.listener_count() == 1 {
            link.look();
        }
    }
}
