//! Performing actions: commands to Redis, whose answers are inputs, and notifications of the relay.

use tokio::time::Instant;

use super::super::link::Unpublished;
use super::{Granted, InFlight, LivestreamTask, Published, TO_BEGIN};
use crate::broadcast::ownership::{Action, Claim, Goodbye, Input, Renewal};
use crate::broadcast::{Position, Record, State};
use crate::cluster::encode;
use crate::cluster::records::{Claimed, Publication};
use crate::relay::{Replacement, now};

/// The most bytes of clips in one publication, if it is more than one clip: a command has to be through in its timeout.
const PUBLISHED_BYTES: usize = 512 * 1024;

impl LivestreamTask {
    /// Performs an action; returns the answer if it is a command.
    pub(super) async fn perform(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Heartbeat(renewal) => Some(self.heartbeat(renewal).await),
            Action::Claim(claim) => Some(self.claim(claim).await),
            Action::Publish { epoch, sequence } => self.publish(epoch, sequence).await,
            Action::Republish { epoch, after } => Some(self.republish(epoch, after).await),
            Action::Release { epoch, is_ended } => Some(self.release(epoch, is_ended).await),
            Action::Admit { is_confirmed } => {
                if !is_confirmed {
                    self.link.lose_epoch();
                }
                self.admit();
                None
            }
            other => {
                self.carry_out(other).await;
                None
            }
        }
    }

    /// Performs an action without an answer.
    async fn carry_out(&mut self, action: Action) {
        match action {
            Action::Dismiss(goodbye) => {
                let replacement = match goodbye {
                    Goodbye::TakenOver => Replacement::Elsewhere,
                    Goodbye::ComeAgain => Replacement::Undecided,
                };
                self.relay.yield_to_other(&self.id, replacement);
            }
            Action::CatchUp => {
                self.catch_up_as_owner().await;
                self.learn_place().await;
            }
            Action::DropTried => self.drop_in_flight(Unpublished::Away),
            Action::RefuseClips => self.refuse(Unpublished::Superseded),
            Action::FollowFrom(position) => self.follower.restart(Some(position)),
            Action::Follow(_) => self.follow().await,
            Action::WriteFlag(true) => self.relay.write_live_again(&self.id),
            Action::WriteFlag(false) => self.relay.write_ended(&self.id),
            Action::Enrol => {
                // If it fails, the livestream is still enrolled for a later time.
                let grace = self.cluster.records.grace();
                drop(self.cluster.registry.enrol(&self.id, grace).await);
            }
            _ => {}
        }
    }

    /// Numbers clips in the granted epoch: after clips of the owner before were fetched, and before the streamer is
    /// admitted.
    pub(super) fn begin_epoch(&mut self) {
        if let Some(granted) = self.granted.take() {
            self.relay
                .begin_epoch(&self.id, &self.link, &granted, now());
            self.link.set_came(self.ownership.came());
        }
    }

    fn admit(&mut self) {
        self.begin_epoch();
        self.link.set_came(self.ownership.came());
        self.begins_until = Some(Instant::now() + TO_BEGIN);
        if let Some(request) = self.arriving.take() {
            // The streamer may be gone: then it does not begin.
            request.send(()).ok();
        }
    }

    pub(super) async fn heartbeat(&mut self, renewal: Option<Renewal>) -> Input {
        let cluster = self.cluster.clone();
        let listeners = self.relay.listeners(&self.id);
        let (recording, wishes) = self.relay.recording_for_record(&self.id);
        let asked = Instant::now();
        let answer = match cluster
            .records
            .heartbeat(&self.keys, listeners, renewal, &recording)
            .await
        {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(livestream.id = %self.id, %error, "the heartbeat failed");
                self.missing_since = None;
                return Input::Unanswered;
            }
        };
        let record = answer.record;
        tracing::trace!(livestream.id = %self.id, ?record, last = ?self.follower.last(), "heartbeat");
        self.link.set_remote_listeners(answer.remote_listeners);
        self.relay
            .count_elsewhere(&self.id, answer.remote_listeners, now());
        if renewal.is_some_and(|it| it.position.epoch == record.epoch)
            && record.state == Some(State::Live)
        {
            self.renewed = asked;
            self.relay.keep_wishes(&self.id, wishes);
            self.subscribe(false).await;
        }
        self.record = Some(record);
        Input::Observed(self.seen(record))
    }

    /// The record as an input of ownership.
    pub(super) fn seen(&mut self, record: Record) -> Record {
        // An epoch older than a known one: Redis was started from an old copy, and the owner writes the record again.
        let followed = self.follower.last().map(|last| last.epoch);
        let is_old = followed.max(self.ownership.last_epoch()) > Some(record.epoch);
        let state = if is_old || record.state.is_none() {
            self.missing()
        } else {
            self.missing_since = None;
            record.state
        };
        Record { state, ..record }
    }

    /// No record: an owner that has not yet detected Redis's loss of memory may write it again within a lease.
    fn missing(&mut self) -> Option<State> {
        let since = *self.missing_since.get_or_insert_with(Instant::now);
        (since.elapsed() < self.links.lease).then_some(State::Waiting)
    }

    async fn claim(&mut self, claim: Claim) -> Input {
        let cluster = self.cluster.clone();
        // First, so that other nodes check the livestream if this one dies at any time from now on.
        let silence = cluster.records.longest_silence();
        if let Err(error) = cluster.registry.enrol(&self.id, silence).await {
            tracing::debug!(livestream.id = %self.id, %error, "the livestream cannot be enrolled");
            return Input::Unanswered;
        }
        self.relay.allow_flag(&self.id, &self.link);
        let asked = Instant::now();
        let (epoch, sequence, before, replaced) =
            match cluster.records.claim(&self.keys, claim).await {
                Ok(Claimed::Granted {
                    epoch,
                    sequence,
                    before,
                    replaced,
                    clip_ids,
                }) => {
                    // Before the streamer is admitted, and before clips with an unknown result are given up.
                    self.relay.know_clips(&self.id, clip_ids);
                    (epoch, sequence, before, replaced)
                }
                Ok(Claimed::Refused(record)) => {
                    self.record = Some(record);
                    return Input::Refused(self.seen(record));
                }
                Err(error) => {
                    tracing::debug!(livestream.id = %self.id, %error, "a claim got no answer");
                    return Input::Unanswered;
                }
            };
        self.renewed = asked;
        self.granted = Some(Granted {
            position: Position::new(epoch, sequence),
            before: before.position(),
            own: self.ownership.last_epoch(),
        });
        if claim.is_fresh {
            self.forget_published();
        }
        let is_resumed = before.is_started() && !claim.is_fresh;
        if is_resumed {
            // If the streamer leaves before it is admitted, the grace period begins all the same.
            let live = Record {
                state: Some(State::Live),
                ..before
            };
            self.relay.follow(&self.id, &live, now());
            self.relay.adopt_recording(&self.id, &before);
        }
        if let Some(node) = replaced {
            tracing::info!(livestream.id = %self.id, node, "taken over from another node");
            // A short cut: its next heartbeat says the same.
            drop(cluster.records.notify(&node, self.id.as_str()).await);
        }
        Input::Granted {
            epoch,
            sequence,
            is_resumed,
        }
    }

    async fn publish(&mut self, epoch: u64, sequence: u64) -> Option<Input> {
        if self.in_flight.is_empty() {
            self.take_queued(Position::new(epoch, sequence));
        }
        let (first, last) = (self.in_flight.first()?, self.in_flight.last()?);
        let (position, last) = (first.position, last.position.sequence);
        let messages: Vec<_> = self
            .in_flight
            .iter()
            .map(|it| (&it.message[..], it.waiting.clip.id.as_ref()))
            .collect();
        let publication = Publication {
            position,
            messages: &messages,
            after: self
                .published
                .back()
                .map_or(0, |clip| clip.position.sequence),
            is_again: false,
        };
        let asked = Instant::now();
        let most = self.history_length();
        let records = &self.cluster.records;
        let published = records.publish(&self.keys, epoch, publication, most).await;
        let record = match published {
            Ok(record) => record,
            Err(error) => {
                tracing::debug!(livestream.id = %self.id, %error, "clips got no answer");
                return Some(Input::Unanswered);
            }
        };
        if record.epoch != epoch || record.sequence < last {
            self.record = Some(record);
            return Some(Input::NotPublished(self.seen(record)));
        }
        self.renewed = asked;
        for clip in std::mem::take(&mut self.in_flight) {
            self.cluster.metrics.published.inc();
            clip.waiting.answer(Ok(clip.position.sequence));
            self.keep(clip);
        }
        Some(Input::Published { sequence: last })
    }

    /// Takes the next clips for publication in one command, from this position on, or from a later one if clips before
    /// were dropped: the way to Redis may be long. All of them fit the history, so that a node can fetch what it misses.
    fn take_queued(&mut self, first: Position) {
        let most_bytes = PUBLISHED_BYTES.min(self.links.history_bytes);
        let mut bytes = 0;
        let mut next = None;
        for _ in 0..self.links.history_clips {
            let room = most_bytes.saturating_sub(bytes);
            let most = if bytes == 0 { usize::MAX } else { room };
            let Some(waiting) = self.link.take(most, next) else {
                return;
            };
            let position = waiting.clip.position.unwrap_or(first).max(first);
            next = Some(position.next());
            let node = &self.cluster.records.node;
            let message = encode(position, node, waiting.came, &waiting.clip);
            bytes += message.len();
            self.in_flight.push(InFlight {
                waiting,
                position,
                message,
            });
        }
    }

    /// The number of clips in the history with those in publication, by the sizes of those that this node published.
    fn history_length(&self) -> usize {
        let mut weight: usize = self.in_flight.iter().map(|it| it.message.len()).sum();
        for (length, clip) in (self.in_flight.len()..).zip(self.published.iter().rev()) {
            weight += clip.message.len();
            if weight > self.links.history_bytes {
                return length;
            }
        }
        usize::MAX
    }

    /// Stores a published clip, in case Redis loses it.
    fn keep(&mut self, clip: InFlight) {
        self.published_bytes += clip.message.len();
        self.published.push_back(Published {
            position: clip.position,
            id: clip.waiting.clip.id,
            message: clip.message,
        });
        while self.published.len() > self.links.history_clips
            || self.published_bytes > self.links.history_bytes && self.published.len() > 1
        {
            let Some(oldest) = self.published.pop_front() else {
                break;
            };
            self.published_bytes -= oldest.message.len();
        }
    }

    pub(super) fn forget_published(&mut self) {
        self.published.clear();
        self.published_bytes = 0;
    }

    async fn republish(&mut self, epoch: u64, after: u64) -> Input {
        let (cluster, links) = (self.cluster.clone(), self.links.clone());
        let lost: Vec<_> = self
            .published
            .iter()
            .filter(|clip| clip.position.sequence > after)
            .cloned()
            .collect();
        if lost.is_empty() {
            return Input::Republished;
        }
        tracing::info!(livestream.id = %self.id, clips = lost.len(), "Redis has lost clips; they are published again");
        for Published {
            position,
            id,
            message,
        } in lost
        {
            let publication = Publication {
                position,
                messages: &[(&message, id.as_ref())],
                after: 0,
                is_again: true,
            };
            // Bounded over all livestreams: after a restart of Redis all owners publish everything again.
            let _permit = links.bulk_permit(1).await;
            match cluster
                .records
                .publish(&self.keys, epoch, publication, usize::MAX)
                .await
            {
                Ok(record) if record.epoch == epoch && record.sequence >= position.sequence => {
                    cluster.metrics.republished.inc();
                }
                Ok(record) => {
                    self.record = Some(record);
                    return Input::NotPublished(self.seen(record));
                }
                Err(_) => return Input::Unanswered,
            }
        }
        Input::Republished
    }

    async fn release(&mut self, epoch: u64, is_ended: bool) -> Input {
        let (recording, _) = self.relay.recording_for_record(&self.id);
        let records = &self.cluster.records;
        let released = records.release(&self.keys, epoch, is_ended, &recording);
        match released.await {
            Ok(release) => Input::Released(release),
            Err(_) => Input::Unanswered,
        }
    }
}
