//! The follower's side: the relay follows the record, and gets the clips of other nodes.
//!
//! **Invariant**: no clip is passed on while this node is the owner, and none that this node published itself.

use std::time::Duration;

use bytes::Bytes;

use super::{Granted, LivestreamTask};
use crate::broadcast::ownership::{Input, Ownership};
use crate::broadcast::{Follower, Position, State, Verdict};
use crate::cluster::{Message, RemoteClip, decode};
use crate::relay::now;

/// Clips in one fetch.
pub(in super::super) const PIECE: usize = 4;
/// The pause before another try of a fetch that a streamer waits for.
const RETRY: Duration = Duration::from_millis(100);

impl LivestreamTask {
    /// Applies the latest record.
    pub(super) async fn follow(&mut self) {
        let Some(record) = self.record else {
            return;
        };
        let seen = self.seen(record);
        let is_started = seen.is_started();
        self.relay.follow(&self.id, &seen, now());
        let listeners = self.relay.listeners(&self.id);
        if !seen.is_here && is_started || seen.state == Some(State::Ended) {
            self.forget_published();
        }
        if seen.state == Some(State::Ended) {
            // The next livestream begins with its first clip, which must be delivered to its waiting listeners.
            self.follower = Follower::default();
            self.link.take_heard();
            if listeners > 0 {
                self.link.joined_at(Position::default());
            }
        }
        if record.state == Some(State::Reconnecting) && record.grace_left.is_zero() {
            // Its time is over, and no node has ended it yet.
            drop(self.cluster.registry.enrol(&self.id, Duration::ZERO).await);
        }
        if listeners > 0 {
            self.subscribe(true).await;
        }
        let latest = record.position();
        if listeners > 0 && is_started && self.follower.last().is_none() {
            self.begin(latest).await;
        }
        // A clip published before the read of the record has arrived by now, or is lost.
        self.take_clips().await;
        if listeners > 0 && is_started && self.follower.is_behind(latest) {
            // If messages are lost for good, another subscription helps.
            self.subscribed = None;
            self.catch_up(latest).await;
        }
    }

    pub(super) async fn subscribe(&mut self, is_wanted: bool) {
        let generation = *self.generation.borrow();
        if is_wanted == (self.subscribed == Some(generation)) {
            return;
        }
        self.subscribed = None;
        let channel = self.keys.channel.clone();
        let redis = &self.cluster.records.redis;
        if redis.subscribe(&channel, is_wanted).await.is_ok() && is_wanted {
            self.subscribed = Some(generation);
        }
    }

    /// Begins to follow: with the clips before a listener joined that are due to it, then with all until now. False if
    /// they are not available now.
    async fn begin(&mut self, until: Position) -> bool {
        let joined_at = self.link.take_joined_at().unwrap_or(until).min(until);
        let most = self
            .links
            .joiners_clips
            .min(self.links.bulk_clips)
            .min(usize::try_from(joined_at.sequence).unwrap_or(usize::MAX));
        if most > 0 {
            let fetched = {
                let _permit = self.links.bulk_permit(most).await;
                let records = &self.cluster.records;
                records.history_until(&self.keys, joined_at, most).await
            };
            let Ok(clips) = fetched else {
                self.link.joined_at(joined_at);
                return false;
            };
            for clip in clips {
                self.pass_on_fetched(clip);
            }
        }
        if self.follower.last() < Some(joined_at) {
            self.follower.restart(Some(joined_at));
            self.relay.break_chain(&self.id, joined_at.of_a_clip());
        }
        if joined_at == until {
            self.follower.caught_up(until);
            return true;
        }
        self.catch_up(until).await
    }

    /// Notes the streamer that listeners heard here, and when it is gone.
    pub(super) fn note_own_streamer(&mut self) {
        self.note_heard();
        let has_streamer =
            self.is_streaming() || matches!(self.ownership, Ownership::Claiming { .. });
        if !has_streamer && let Some(now) = self.keys.clock.millis() {
            self.follower.lose_own(now);
        }
    }

    fn note_heard(&mut self) {
        if let Some(came) = self.link.take_heard() {
            self.follower.hear_own(came);
        }
    }

    /// Before a streamer is admitted, or goes on, as the owner: passes on the clips of the owners before it. They cannot
    /// follow later, so this is tried for as long as the lease lasts.
    pub(super) async fn catch_up_as_owner(&mut self) {
        let Some(Granted { before, .. }) = self.granted else {
            return;
        };
        // They arrived before the answer to the claim, and the history may be too short for them.
        self.take_clips().await;
        let is_due =
            |task: &Self| task.follower.last().is_some() || task.relay.listeners(&task.id) > 0;
        while is_due(self) && !self.reach(before).await {
            if self.renewed.elapsed() >= self.links.lease {
                tracing::warn!(livestream.id = %self.id, "Redis has not given the clips of another node in time");
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// For players, where the clip before was: the next one of this node comes after it.
    pub(super) async fn learn_place(&mut self) {
        let Some(Granted { before, .. }) = self.granted else {
            return;
        };
        if before.sequence == 0 || !self.relay.lacks_place(&self.id) {
            return;
        }
        let _permit = self.links.bulk_permit(1).await;
        let records = &self.cluster.records;
        match records.history_until(&self.keys, before, 1).await {
            Ok(clips) => {
                if let Some(place) = clips.last().and_then(|clip| clip.place) {
                    self.relay.continue_after(&self.id, place);
                }
            }
            Err(error) => {
                tracing::debug!(livestream.id = %self.id, %error, "players hear a gap before the next clip");
            }
        }
    }

    async fn reach(&mut self, until: Position) -> bool {
        if self.follower.last().is_none() {
            self.begin(until).await
        } else {
            self.catch_up(until).await
        }
    }

    /// Passes on clips of the history that did not arrive, batch by batch, up to a position: later ones arrive as
    /// messages, also those that the history no longer has. False if they are not available now.
    pub(super) async fn catch_up(&mut self, until: Position) -> bool {
        let (cluster, links) = (self.cluster.clone(), self.links.clone());
        loop {
            let after = self.follower.last().unwrap_or_default();
            let clips = {
                // Bounded over all livestreams: after an outage all of them are behind.
                let _permit = links.bulk_permit(PIECE).await;
                cluster
                    .records
                    .history_after(&self.keys, after, PIECE)
                    .await
            };
            let Ok(clips) = clips else { return false };
            let due = |clip: &RemoteClip| clip.position <= until;
            let due: Vec<RemoteClip> = clips.into_iter().filter(due).collect();
            let is_last = due.len() < PIECE;
            for clip in due {
                self.pass_on_fetched(clip);
            }
            if is_last || self.follower.last() >= Some(until) {
                self.follower.caught_up(until);
                return true;
            }
        }
    }

    fn pass_on_fetched(&mut self, clip: RemoteClip) {
        if self.pass_on(clip) {
            self.cluster.metrics.fetched.inc();
        }
    }

    /// Passes a clip on, unless it or a later one was passed on before.
    fn pass_on(&mut self, clip: RemoteClip) -> bool {
        let position = clip.position;
        let is_first = self.follower.last().is_none();
        let Some(lost) = self.follower.take(position) else {
            return false;
        };
        if is_first || lost > 0 {
            self.relay.break_chain(&self.id, None);
        }
        if lost > 0 {
            self.cluster.metrics.drop_clips("lost", lost);
            tracing::debug!(livestream.id = %self.id, lost, "clips of another node are lost");
        }
        // Listeners here already have a clip that this node published itself.
        if clip.node == self.cluster.records.node {
            return false;
        }
        self.note_heard();
        if self.follower.is_too_early(clip.came, clip.sent_at) {
            // Listeners here heard a later streamer.
            self.cluster.metrics.drop_clips("too_early", 1);
            self.relay.break_chain(&self.id, Some(position));
            return false;
        }
        self.relay.accept_remote_clip(&self.id, clip, now());
        true
    }

    /// Handles a message of the channel.
    pub(super) async fn receive(&mut self, message: Bytes) {
        match decode(message) {
            Some(Message::Changed) => {
                self.feed(Input::HeartbeatDue).await;
            }
            // A node that just became or just ceased to be the owner receives its own clips.
            Some(Message::Clip(clip)) if self.is_following() => self.take_clip(clip).await,
            Some(Message::Clip(_)) => {}
            None => self.cluster.metrics.drop_clips("decode_error", 1),
        }
    }

    pub(super) fn is_following(&self) -> bool {
        matches!(self.ownership, Ownership::Following { .. })
    }

    /// Takes the clips that are here already.
    pub(super) async fn take_clips(&mut self) {
        while let Some(message) = self.inbox.try_recv() {
            if let Some(Message::Clip(clip)) = decode(message) {
                self.take_clip(clip).await;
            }
        }
    }

    async fn take_clip(&mut self, clip: RemoteClip) {
        if clip.node == self.cluster.records.node {
            return;
        }
        self.cluster.metrics.received.inc();
        let position = clip.position;
        let before = Position::new(position.epoch, position.sequence.saturating_sub(1));
        if self.follower.last().is_none() {
            self.begin(before).await;
        }
        match self.follower.judge(position) {
            Verdict::Duplicate => self.cluster.metrics.drop_clips("duplicate", 1),
            Verdict::Stale => self.cluster.metrics.drop_clips("stale_epoch", 1),
            Verdict::Next => {
                self.pass_on(clip);
            }
            Verdict::Gap => {
                // If the history is not available now, the next heartbeat tries again.
                if self.catch_up(before).await {
                    self.pass_on(clip);
                }
            }
        }
    }
}
