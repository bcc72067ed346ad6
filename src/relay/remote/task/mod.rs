//! The task of one livestream: it feeds [`Ownership`] with events, and performs the returned actions.
//!
//! **Invariant**: it performs one action at a time, so Redis gets all commands of a livestream in order. [`Ownership`]
//! decides; this module owns deadlines, clips and answers.

mod commands;
mod following;

pub(super) use following::PIECE;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Links;
use super::link::{Link, Request, Unpublished, Waiting};
use crate::broadcast::ownership::{Input, Ownership};
use crate::broadcast::{ClipId, Follower, LivestreamId, Position, Record, State};
use crate::cluster::records::Keys;
use crate::cluster::{Cluster, Inbox};
use crate::relay::{Relay, Replacement};

/// An admitted streamer must begin within this time.
const TO_BEGIN: Duration = Duration::from_secs(5);

/// A clip in publication: its answer may be lost, so it is tried until its result is known.
struct InFlight {
    waiting: Waiting,
    position: Position,
    message: Bytes,
}

/// An epoch that was granted to this node.
pub(super) struct Granted {
    /// The epoch, and the latest sequence in use.
    pub(super) position: Position,
    /// The record's position until then.
    pub(super) before: Position,
    /// The epoch of this node until then, if no other node has replaced it to its knowledge.
    pub(super) own: Option<u64>,
}

/// A clip that this node published.
#[derive(Clone)]
struct Published {
    position: Position,
    id: Option<ClipId>,
    message: Bytes,
}

/// See the module.
pub(super) struct LivestreamTask {
    id: LivestreamId,
    relay: Relay,
    links: Arc<Links>,
    cluster: Arc<Cluster>,
    link: Arc<Link>,
    keys: Keys,
    requests: mpsc::Receiver<Request>,
    inbox: Inbox,
    generation: watch::Receiver<u64>,
    ownership: Ownership,
    /// The streamer that waits for admission.
    arriving: Option<Request>,
    /// The epoch in which clips are to be numbered.
    granted: Option<Granted>,
    /// The deadline for an admitted streamer to begin.
    begins_until: Option<Instant>,
    /// The clips in publication, in order and without a gap.
    in_flight: Vec<InFlight>,
    /// The clips that this node published, in case Redis loses them; bounded as the history there.
    published: VecDeque<Published>,
    published_bytes: usize,
    /// The latest record.
    record: Option<Record>,
    /// The latest renewal of the lease, by the time of the request: Redis counts the lease from a later time.
    renewed: Instant,
    /// The time since which Redis has had no record of the livestream.
    missing_since: Option<Instant>,
    follower: Follower,
    /// The generation of the connection in which the channel was subscribed to.
    subscribed: Option<u64>,
    idle_since: Option<Instant>,
}

impl LivestreamTask {
    pub(super) fn new(
        id: LivestreamId,
        keys: Keys,
        relay: Relay,
        links: Arc<Links>,
        link: Arc<Link>,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        let cluster = links.cluster.clone();
        let inbox = cluster.records.redis.inbox(&keys.channel);
        let generation = cluster.records.redis.generation();
        Self {
            id,
            relay,
            links,
            link,
            keys,
            requests,
            inbox,
            generation,
            cluster,
            ownership: Ownership::default(),
            arriving: None,
            granted: None,
            begins_until: None,
            in_flight: Vec::new(),
            published: VecDeque::new(),
            published_bytes: 0,
            record: None,
            renewed: Instant::now(),
            missing_since: None,
            follower: Follower::default(),
            subscribed: None,
            idle_since: None,
        }
    }

    /// Runs until no client on this node uses the livestream any longer.
    pub(super) async fn run(mut self) {
        let mut heartbeat = interval(self.links.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let has_more = self.work().await;
            self.link
                .set_owner(self.is_streaming() || self.is_releasing());
            let link = self.link.clone();
            tokio::select! {
                biased;
                Some(request) = self.requests.recv() => self.arrive(request).await,
                Some(message) = self.inbox.recv() => self.receive(message).await,
                Ok(()) = self.generation.changed() => self.feed(Input::HeartbeatDue).await,
                _ = heartbeat.tick() => {
                    self.feed(Input::HeartbeatDue).await;
                    if self.is_idle() && self.close().await {
                        return;
                    }
                }
                () = link.until_changed() => self.feed(Input::HeartbeatDue).await,
                () = link.until_work() => {}
                () = std::future::ready(()), if has_more => {}
            }
        }
    }

    /// Applies an input to the state machine, and performs its actions.
    async fn feed(&mut self, input: Input) {
        let mut actions = VecDeque::from(self.ownership.apply(input));
        while let Some(action) = actions.pop_front() {
            if let Some(answer) = self.perform(action).await {
                actions.extend(self.ownership.apply(answer));
            }
        }
        self.begin_epoch();
        self.note_own_streamer();
    }

    fn is_streaming(&self) -> bool {
        matches!(
            self.ownership,
            Ownership::Owner { .. } | Ownership::Unconfirmed { .. }
        )
    }

    fn is_releasing(&self) -> bool {
        matches!(self.ownership, Ownership::Releasing { .. })
    }

    /// A streamer requests the livestream.
    async fn arrive(&mut self, request: Request) {
        // The inputs of the streamer before come first.
        while self.publish_next().await {}
        if self.link.take_ended() {
            self.feed(Input::StreamerEnded).await;
            self.refuse(Unpublished::Away);
        }
        // Clips of the owner before that are here already come first.
        if self.is_following() {
            self.take_clips().await;
        }
        self.arriving = Some(request);
        self.link.delay_flag();
        let at = self.keys.clock.micros().unwrap_or(0);
        self.feed(Input::StreamerCame { at }).await;
        tracing::debug!(livestream.id = %self.id, ownership = ?self.ownership, "a streamer requests the livestream");
    }

    /// Handles one thing that is due; returns whether there may be more.
    async fn work(&mut self) -> bool {
        let lease = self.links.lease;
        if self.ownership.epoch().is_some() && self.renewed.elapsed() >= lease {
            tracing::warn!(
                livestream.id = %self.id,
                "Redis was away for longer than the lease: clips are not acknowledged"
            );
            self.cluster.metrics.leases_lost.inc();
            self.feed(Input::LeaseOver).await;
        }
        for clip in &self.in_flight {
            if clip.waiting.is_overdue(lease) {
                clip.waiting.mark_late();
            }
        }
        self.link.drop_overdue(lease);
        if !self.link.is_empty() || !self.in_flight.is_empty() {
            return self.publish_next().await;
        }
        self.check_streamer().await
    }

    /// Publishes a clip; false if none can be published now.
    async fn publish_next(&mut self) -> bool {
        if self.link.is_empty() && self.in_flight.is_empty() {
            return false;
        }
        let before = self.ownership.sequence();
        let was_streaming = self.is_streaming();
        self.feed(Input::ClipQueued).await;
        self.ownership.sequence() > before || was_streaming != self.is_streaming()
    }

    /// Whether the streamer is still here. Reports one that is gone, once the queue is empty.
    async fn check_streamer(&mut self) -> bool {
        let is_ended = self.link.take_ended();
        if !self.is_streaming() {
            if is_ended {
                self.feed(Input::StreamerEnded).await;
            }
            if self.relay.state_here(&self.id) == State::Live && !self.is_releasing() {
                // It began on a grant that was lost meanwhile.
                self.relay.yield_to_other(&self.id, Replacement::Elsewhere);
            }
            return false;
        }
        let input = match self.relay.state_here(&self.id) {
            _ if is_ended => Input::StreamerEnded,
            State::Live => {
                self.begins_until = None;
                return false;
            }
            _ if self
                .begins_until
                .is_some_and(|until| Instant::now() < until) =>
            {
                return false;
            }
            State::Waiting | State::Ended if !self.ownership.is_aired() => Input::StreamerEnded,
            State::Waiting | State::Ended | State::Reconnecting => Input::StreamerLost,
        };
        self.begins_until = None;
        self.feed(input).await;
        true
    }

    fn refuse(&mut self, why: Unpublished) {
        self.drop_in_flight(why);
        self.link.refuse_all(why);
    }

    fn drop_in_flight(&mut self, why: Unpublished) {
        for clip in std::mem::take(&mut self.in_flight) {
            clip.waiting.answer(Err(why));
        }
    }

    /// Whether no client on this node has used the livestream for a while.
    fn is_idle(&mut self) -> bool {
        let is_busy = self.ownership.is_busy() || self.relay.listeners(&self.id) > 0;
        if is_busy {
            self.idle_since = None;
        }
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        !is_busy && since.elapsed() >= self.links.linger
    }

    /// Ends, unless a client has come meanwhile.
    async fn close(&mut self) -> bool {
        self.subscribe(false).await;
        let is_closed = self.relay.unlink(&self.links, &self.id, &self.keys.channel);
        if is_closed {
            // Its listeners are no longer counted; without an answer of Redis, after their expiry.
            drop(
                self.cluster
                    .records
                    .heartbeat(&self.keys, 0, None, "")
                    .await,
            );
            self.refuse(Unpublished::Away);
        }
        is_closed
    }
}
