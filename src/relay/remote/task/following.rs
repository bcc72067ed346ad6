//! The follower's side: the relay follows the record, and gets the clips of other nodes.
//!
//! **Invariant**: no clip is passed on while a streamer is connected here, and none that this node published itself.

use std::time::Duration;

use bytes::Bytes;

use super::LivestreamTask;
use crate::broadcast::ownership::{Input, Ownership};
use crate::broadcast::{Position, State, Verdict};
use crate::cluster::{Message, RemoteClip, decode};
use crate::relay::now;

/// Clips in one fetch.
pub(in super::super) const PIECE: usize = 4;

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
            self.follower.restart(None);
            self.heard_apart = false;
            if listeners > 0 {
                self.link.joined_at(0);
            }
        }
        if record.state == Some(State::Reconnecting) && record.grace_left.is_zero() {
            // Its time is over, and no node has ended it yet.
            drop(self.cluster.registry.enrol(&self.id, Duration::ZERO).await);
        }
        if listeners > 0 {
            self.subscribe(true).await;
        }
        let latest = (record.epoch, record.sequence);
        if is_started && std::mem::take(&mut self.heard_apart) {
            self.skip_to(latest);
        }
        if listeners > 0 && is_started && self.follower.last().is_none() {
            self.begin(latest).await;
        }
        // A clip published before the read of the record has arrived by now, or is lost.
        while let Some(message) = self.inbox.try_recv() {
            if let Some(Message::Clip(clip)) = decode(message) {
                self.take_clip(clip).await;
            }
        }
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

    /// Begins to follow: first with the part of the history due to listeners here.
    async fn begin(&mut self, record: Position) {
        let joined_at = self.link.take_joined_at().unwrap_or(record.1).min(record.1);
        let due = joined_at.saturating_sub(self.links.joiners_clips as u64);
        let count = usize::try_from(record.1 - due).unwrap_or(usize::MAX);
        let fetched = if count == 0 {
            Ok(Vec::new())
        } else {
            let most = count
                .min(self.links.bulk_clips)
                .min(self.links.history_clips);
            let _permit = self.links.bulk_permit(most).await;
            let records = &self.cluster.records;
            records.history_until(&self.keys, record, most).await
        };
        let Ok(clips) = fetched else {
            self.link.joined_at(joined_at);
            return;
        };
        for clip in clips.into_iter().filter(|clip| clip.sequence > due) {
            self.pass_on_fetched(clip);
        }
        if self.follower.last().is_none() {
            self.skip_to(record);
        }
        self.follower.caught_up(record);
    }

    /// Goes on after a position; clips up to it are not passed on.
    fn skip_to(&mut self, position: Position) {
        self.follower.restart(Some(position));
        let before = Some(position).filter(|(_, sequence)| *sequence > 0);
        self.relay.break_chain(&self.id, before);
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
            let due = |clip: &RemoteClip| (clip.epoch, clip.sequence) <= until;
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
        let position = (clip.epoch, clip.sequence);
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
        self.relay.accept_remote_clip(&self.id, clip, now());
        true
    }

    /// Handles a message of the channel.
    pub(super) async fn receive(&mut self, message: Bytes) {
        match decode(message) {
            Some(Message::Changed) => {
                self.feed(Input::HeartbeatDue).await;
            }
            Some(Message::Clip(clip)) => self.take_clip(clip).await,
            None => self.cluster.metrics.drop_clips("decode_error", 1),
        }
    }

    async fn take_clip(&mut self, clip: RemoteClip) {
        // A node that just became or just ceased to be the owner receives its own clips.
        let is_following = matches!(self.ownership, Ownership::Following { .. });
        if !is_following || clip.node == self.cluster.records.node {
            return;
        }
        self.cluster.metrics.received.inc();
        let position = (clip.epoch, clip.sequence);
        let before = (clip.epoch, clip.sequence.saturating_sub(1));
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
