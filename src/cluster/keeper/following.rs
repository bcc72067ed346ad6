//! The follower's side: what the record says is told, and what other nodes publish is handed on.
//!
//! **Invariant**: nothing is handed on while this node holds the livestream, and nothing that it published itself.

use bytes::Bytes;
use tokio::time::Instant;

use super::super::follower::{Position, Verdict};
use super::super::frame::{self, Message, RemoteClip};
use super::super::records::{Phase, Record};
use super::super::{Seen, Standing};
use super::{Hold, Keeper};

impl Keeper {
    pub(super) async fn follow(&mut self, listeners: usize, record: &Record) {
        let mut record = record.clone();
        if self
            .follower
            .last()
            .is_some_and(|(epoch, _)| epoch > record.epoch)
        {
            // The engine was started from an old copy of its memory: whoever holds the livestream now tells it anew.
            record.phase = Phase::Unknown;
        }
        let phase = self.settled(record.phase);
        if self.owes_flag && record.phase.is_started() {
            // Whoever finds it over writes that down.
            self.owes_flag = false;
        } else if self.owes_flag && phase.is_some() && self.standing() == Standing::Elsewhere {
            self.owes_flag = false;
            self.cluster.node().over(&self.id);
        }
        let phase = phase.filter(|_| !matches!(self.hold, Hold::Provisional { .. }));
        let seen = Seen {
            phase,
            elsewhere: record.elsewhere,
        };
        self.link.set_elsewhere(record.elsewhere);
        self.cluster.node().seen(&self.id, seen);
        if phase == Some(Phase::Unknown) && std::mem::take(&mut self.aired) {
            // Forgotten for good; the flag is cleared once nobody here waits for the streamer any more.
            self.owes_flag = true;
        }
        if matches!(record.phase, Phase::Ended) {
            // The next show begins with its first clip.
            self.follower.restart(None);
            if listeners > 0 {
                // Whoever waits for it is owed all of it.
                self.link.let_in(0);
            }
            self.sequence = 0;
            self.aired = false;
        }
        if matches!(self.hold, Hold::Provisional { .. }) {
            return;
        }
        if listeners > 0 {
            self.subscribe(true).await;
        }
        let latest = (record.epoch, record.sequence);
        if std::mem::take(&mut self.heard_apart) {
            self.follower.restart(Some(latest));
        }
        if listeners > 0 && record.phase.is_started() && self.follower.last().is_none() {
            self.begin(latest).await;
        }
        // What was published before the record was read is here by now, or lost.
        while let Ok(message) = self.inbox.try_recv() {
            if let Some(Message::Clip(clip)) = frame::decode(message) {
                self.take_clip(clip).await;
            }
        }
        if listeners > 0 && record.phase.is_started() && self.follower.is_behind(latest) {
            // Should messages be lost for good, asking anew helps.
            self.subscribed = None;
            self.catch_up(latest).await;
        }
        if record.phase.is_started() {
            self.sequence = record.sequence;
            self.aired = true;
        }
    }

    /// The phase, if it can be relied on: an engine that has just lost all it knew is told again by the holder, which may
    /// not have noticed yet.
    fn settled(&mut self, phase: Phase) -> Option<Phase> {
        if phase != Phase::Unknown {
            self.unknown_since = None;
            return Some(phase);
        }
        let since = *self.unknown_since.get_or_insert_with(Instant::now);
        (since.elapsed() >= self.cluster.lease).then_some(phase)
    }

    pub(super) async fn subscribe(&mut self, wanted: bool) {
        let generation = *self.generation.borrow();
        if wanted == (self.subscribed == Some(generation)) {
            return;
        }
        self.subscribed = None;
        let channel = self.keys.channel.clone();
        let engine = &self.cluster.records.engine;
        if engine.subscribe(&channel, wanted).await.is_ok() && wanted {
            self.subscribed = Some(generation);
        }
    }

    /// Begins to follow: what is kept of what listeners here are owed comes first.
    async fn begin(&mut self, record: Position) {
        let let_in_at = self.link.take_let_in().unwrap_or(record.1).min(record.1);
        let backlog = self.cluster.backlog_clips as u64;
        let owed = let_in_at.saturating_sub(backlog);
        let Some(kept) = self.kept().await else {
            self.link.let_in(let_in_at);
            return;
        };
        for clip in kept.into_iter().filter(|clip| clip.sequence > owed) {
            self.hand_on_kept(clip);
        }
        if self.follower.last().is_none() {
            self.follower.restart(Some(record));
        }
        self.follower.caught_up(record);
    }

    /// Hands on what the engine keeps and has not come. False if that cannot be had now.
    pub(super) async fn catch_up(&mut self, record: Position) -> bool {
        let Some(kept) = self.kept().await else {
            return false;
        };
        for clip in kept {
            self.hand_on_kept(clip);
        }
        self.follower.caught_up(record);
        true
    }

    async fn kept(&self) -> Option<Vec<RemoteClip>> {
        // A few at a time over all livestreams: after an outage everybody asks at once.
        let _permit = self.cluster.catching_up.acquire().await;
        self.cluster.records.kept(&self.keys).await.ok()
    }

    fn hand_on_kept(&mut self, clip: RemoteClip) {
        if self.hand_on(clip) {
            self.cluster.figures.replayed.inc();
        }
    }

    /// Hands a clip on, unless it or a later one was before.
    pub(super) fn hand_on(&mut self, clip: RemoteClip) -> bool {
        let place = (clip.epoch, clip.sequence);
        let Some(missed) = self.follower.take(place) else {
            return false;
        };
        if missed > 0 {
            self.cluster.figures.drop_clips("missed", missed);
            tracing::debug!(livestream.id = %self.id, missed, "clips of another node were missed");
        }
        // What this node published itself, its listeners had at once.
        if clip.node == self.cluster.records.node {
            return false;
        }
        self.cluster.node().clip(&self.id, clip.bytes);
        true
    }

    /// What came over the channel.
    pub(super) async fn receive(&mut self, message: Bytes) {
        match frame::decode(message) {
            Some(Message::Changed) => self.pulse().await,
            Some(Message::Clip(clip)) => self.take_clip(clip).await,
            None => self.cluster.figures.drop_clips("garbled", 1),
        }
    }

    pub(super) async fn take_clip(&mut self, clip: RemoteClip) {
        // What this node published itself comes back when it has just begun or just let go.
        if !matches!(self.hold, Hold::Following) || clip.node == self.cluster.records.node {
            return;
        }
        self.cluster.figures.received.inc();
        let place = (clip.epoch, clip.sequence);
        if self.follower.last().is_none() {
            self.begin(place).await;
        }
        match self.follower.judge(place) {
            Verdict::Doubled => self.cluster.figures.drop_clips("doubled", 1),
            Verdict::Stale => self.cluster.figures.drop_clips("stale", 1),
            Verdict::Next => {
                self.hand_on(clip);
            }
            Verdict::Gap => {
                // What is kept may hold this one already. If it cannot be had now, the next pulse tries again.
                if self.catch_up(place).await {
                    self.hand_on(clip);
                }
            }
        }
    }
}
