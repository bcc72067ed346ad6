//! The task that keeps one livestream of this node in step with the engine's record.
//!
//! ```text
//!            acquire: granted                     let go · superseded · lease lost
//! Following ─────────────────▶ Holding(epoch) ───────────────────────────────────▶ Following
//!     │ acquire: engine away        ▲ granted
//!     └──────────▶ Provisional ─────┘                (refused: Following)
//! ```
//!
//! **Invariant**: it does one thing at a time, so what is said to the engine about a livestream is said in order. A node
//! that has had no sign from the engine for as long as the lease lasts holds nothing any more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::follower::{Follower, Verdict};
use super::frame::{self, Message, RemoteClip};
use super::link::{Grant, Link, Unpublished, Waiting};
use super::records::{Acquired, Held, Keys, Phase, Published, Record, wall_clock};
use super::{Inner, Seen, Standing};
use crate::broadcast::LivestreamId;

/// How long a streamer that was granted the livestream may take to begin.
const TO_BEGIN: Duration = Duration::from_secs(5);
/// When a show that began soon after another had ended says again that it is live: the end may have been written down
/// elsewhere after its own beginning was.
const SAY_AGAIN: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(12)];

enum Hold {
    Following,
    Provisional {
        since: u64,
        granted: Instant,
    },
    Holding {
        epoch: u64,
        /// Clips published in this epoch.
        count: u64,
        since: u64,
        granted: Instant,
        /// Whether its streamer has been seen here since.
        begun: bool,
        /// When the engine was asked what it then granted: it believes this node for longer.
        renewed: Instant,
    },
}

/// See the module.
pub(super) struct Keeper {
    id: LivestreamId,
    cluster: Arc<Inner>,
    link: Arc<Link>,
    keys: Keys,
    requests: mpsc::Receiver<oneshot::Sender<Grant>>,
    inbox: mpsc::Receiver<Bytes>,
    generation: watch::Receiver<u64>,
    hold: Hold,
    follower: Follower,
    /// In which generation of the connection the channel was asked for.
    subscribed: Option<u64>,
    /// The clip that is being published: its answer may have been lost, so it is tried until it is known.
    in_flight: Option<Waiting>,
    /// The sequence of the latest clip, as far as known here.
    sequence: u64,
    aired: bool,
    /// A hold was lost whose flag nobody may have cleared.
    owes_flag: bool,
    idle_since: Option<Instant>,
    /// When the show is to be said live again.
    say_again: Vec<Instant>,
}

impl Keeper {
    pub(super) fn new(
        id: LivestreamId,
        cluster: Arc<Inner>,
        link: Arc<Link>,
        requests: mpsc::Receiver<oneshot::Sender<Grant>>,
    ) -> Self {
        let keys = cluster.records.keys(&id);
        let inbox = cluster.records.engine.inbox(&keys.channel);
        let generation = cluster.records.engine.generation();
        Self {
            id,
            link,
            keys,
            requests,
            inbox,
            generation,
            cluster,
            hold: Hold::Following,
            follower: Follower::default(),
            subscribed: None,
            in_flight: None,
            sequence: 0,
            aired: false,
            owes_flag: false,
            idle_since: None,
            say_again: Vec::new(),
        }
    }

    /// Until nobody here has to do with the livestream any more.
    pub(super) async fn run(mut self) {
        let mut pulse = interval(self.cluster.pulse);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let more = self.work().await;
            self.link.set_holds(self.is_holding());
            let link = self.link.clone();
            tokio::select! {
                biased;
                Some(request) = self.requests.recv() => self.acquire(request).await,
                Some(message) = self.inbox.recv() => self.receive(message).await,
                Ok(()) = self.generation.changed() => self.pulse().await,
                _ = pulse.tick() => {
                    self.pulse().await;
                    if self.is_idle() && self.close().await {
                        return;
                    }
                }
                () = link.has_changed() => self.pulse().await,
                () = link.has_work() => {}
                () = std::future::ready(()), if more => {}
            }
        }
    }

    fn standing(&self) -> Standing {
        self.cluster.node().standing(&self.id)
    }

    fn is_holding(&self) -> bool {
        matches!(self.hold, Hold::Holding { .. })
    }

    /// Makes this node the holder, for a streamer that has just come.
    async fn acquire(&mut self, reply: oneshot::Sender<Grant>) {
        let anew = self.link.is_ended();
        let before = self.follower.last();
        if self.is_holding() {
            // Its streamer may have been elsewhere meanwhile.
            self.pulse().await;
        }
        let grant = match self.hold {
            Hold::Holding { .. } if !anew => Grant::Held,
            Hold::Provisional { .. } => Grant::Provisional,
            _ => self.request_or_begin_alone(anew).await,
        };
        // The show before was another: it is let go of with this grant.
        self.link.begin(grant == Grant::Provisional);
        if let Hold::Holding { epoch, granted, .. } = &mut self.hold {
            *granted = Instant::now();
            // What the holder before published and has not come yet goes first.
            let latest = (*epoch, self.sequence);
            if before.is_some() && self.follower.is_behind(latest) {
                self.catch_up(latest).await;
            }
        }
        tracing::debug!(livestream.id = %self.id, ?grant, "a streamer has come");
        // Whoever asked may have gone: then nobody begins, and the hold is let go of.
        reply.send(grant).ok();
    }

    async fn request_or_begin_alone(&mut self, anew: bool) -> Grant {
        if self.request(None, anew).await == Some(true) {
            return Grant::Held;
        }
        self.hold = Hold::Provisional {
            since: wall_clock(),
            granted: Instant::now(),
        };
        Grant::Provisional
    }

    /// Asks the engine for the livestream: true if it is granted, false if it is another's, none if nobody knows.
    async fn request(&mut self, since: Option<u64>, anew: bool) -> Option<bool> {
        let asked = Instant::now();
        let records = &self.cluster.records;
        match records
            .acquire(&self.keys, self.sequence, since, anew)
            .await
        {
            Ok(Acquired::Granted {
                epoch,
                sequence,
                before,
                after_another,
            }) => {
                self.say_again = if after_another {
                    SAY_AGAIN.map(|after| Instant::now() + after).into()
                } else {
                    Vec::new()
                };
                let since = since.unwrap_or_else(wall_clock);
                let granted = Instant::now();
                self.hold = Hold::Holding {
                    epoch,
                    count: 0,
                    since,
                    granted,
                    begun: false,
                    renewed: asked,
                };
                self.sequence = sequence;
                if let Some(node) = before {
                    tracing::info!(livestream.id = %self.id, node, "taken over from another node");
                    records.tell(&node, &self.id).await.ok();
                }
                records
                    .look_later(&self.id, records.longest_silence())
                    .await
                    .ok();
                Some(true)
            }
            Ok(Acquired::Refused) => Some(false),
            Err(_) => None,
        }
    }

    /// Does one thing that is due for the engine; whether there is more.
    async fn work(&mut self) -> bool {
        match self.hold {
            Hold::Following => {
                self.refuse_waiting(Unpublished::Superseded);
                if self.link.is_ended() {
                    self.link.end_is_done();
                    self.owes_flag |= self.aired;
                }
                if matches!(self.standing(), Standing::Live { .. }) {
                    // It began on a grant that was lost meanwhile.
                    self.cluster.node().superseded(&self.id);
                }
                false
            }
            Hold::Provisional { since, granted } => self.settle(since, granted).await,
            Hold::Holding {
                epoch,
                count,
                granted,
                begun,
                renewed,
                ..
            } => {
                if renewed.elapsed() >= self.cluster.lease {
                    self.lose();
                    return false;
                }
                if self.in_flight.is_none() {
                    self.in_flight = self.link.take();
                }
                if self.in_flight.is_some() {
                    return self.publish(epoch, count + 1).await;
                }
                let standing = self.standing();
                self.note(standing);
                let ended = match standing {
                    _ if self.link.is_ended() => true,
                    Standing::Live { .. } => return false,
                    // Granted just now, and about to begin.
                    _ if !begun && granted.elapsed() < TO_BEGIN => return false,
                    Standing::Grace => false,
                    Standing::Elsewhere => !self.aired,
                };
                self.let_go(epoch, ended).await
            }
        }
    }

    /// Notes how the livestream that is held stands here.
    fn note(&mut self, standing: Standing) {
        if let (Standing::Live { aired }, Hold::Holding { begun, .. }) = (standing, &mut self.hold)
        {
            *begun = true;
            self.aired |= aired;
        }
    }

    async fn publish(&mut self, epoch: u64, number: u64) -> bool {
        let Some(clip) = &self.in_flight else {
            return false;
        };
        let asked = Instant::now();
        let records = &self.cluster.records;
        match records.publish(&self.keys, epoch, number, &clip.clip).await {
            Ok(Published::As(sequence)) => {
                if let Hold::Holding { count, renewed, .. } = &mut self.hold {
                    (*count, *renewed) = (number, asked);
                }
                self.sequence = sequence;
                self.aired = true;
                self.cluster.figures.published.inc();
                if let Some(clip) = self.in_flight.take() {
                    clip.answer(Ok(sequence));
                }
                true
            }
            Ok(Published::Stale) => {
                self.superseded();
                true
            }
            Ok(Published::NoRecord) => {
                self.pulse().await;
                self.cluster.records.engine.is_up()
            }
            // Tried again at the next pulse, or when the engine is back.
            Err(_) => false,
        }
    }

    /// What began while the engine was away: who came last has it.
    async fn settle(&mut self, since: u64, granted: Instant) -> bool {
        if !matches!(self.standing(), Standing::Live { .. }) && granted.elapsed() >= TO_BEGIN
            || self.link.is_ended()
        {
            self.hold = Hold::Following;
            self.owes_flag = true;
            self.link.end_is_done();
            self.refuse_waiting(Unpublished::Away);
            return false;
        }
        if !self.cluster.records.engine.is_up() {
            return false;
        }
        match self.request(Some(since), false).await {
            Some(true) => {
                tracing::info!(livestream.id = %self.id, "what began while the engine was away is settled: it is this node's");
                self.link.settled();
                true
            }
            Some(false) => {
                tracing::info!(livestream.id = %self.id, "what began while the engine was away is settled: it is another node's");
                self.superseded();
                true
            }
            None => false,
        }
    }

    async fn let_go(&mut self, epoch: u64, ended: bool) -> bool {
        let records = &self.cluster.records;
        match records.let_go(&self.keys, epoch, ended).await {
            Ok(done) => {
                self.hold = Hold::Following;
                self.follower.restart(Some((epoch, self.sequence)));
                self.link.end_is_done();
                if ended {
                    if done && self.aired {
                        self.cluster.node().over(&self.id);
                    }
                    self.aired = false;
                    records.look_no_more(&self.id).await.ok();
                }
                true
            }
            Err(_) => false,
        }
    }

    fn refuse_waiting(&mut self, why: Unpublished) {
        if let Some(clip) = self.in_flight.take() {
            clip.answer(Err(why));
        }
        self.link.refuse_all(why);
    }

    /// Another node has the livestream: this one's streamer is told, and it is followed from where this node was.
    fn superseded(&mut self) {
        if let Hold::Holding { epoch, .. } = self.hold {
            self.follower.restart(Some((epoch, self.sequence)));
        }
        self.hold = Hold::Following;
        self.link.settled();
        self.refuse_waiting(Unpublished::Superseded);
        self.cluster.node().superseded(&self.id);
    }

    /// The lease is over, for all that this node knows.
    fn lose(&mut self) {
        if let Hold::Holding { epoch, .. } = self.hold {
            self.follower.restart(Some((epoch, self.sequence)));
        }
        tracing::warn!(livestream.id = %self.id, "the engine was away for longer than the lease: the streamer is sent to look elsewhere");
        self.hold = Hold::Following;
        self.owes_flag |= self.aired;
        self.cluster.figures.leases_lost.inc();
        self.refuse_waiting(Unpublished::Away);
        self.link.end_is_done();
        self.cluster.node().lease_lost(&self.id);
    }

    /// Compares the livestream with the engine's record.
    async fn pulse(&mut self) {
        let listeners = self.cluster.node().listeners(&self.id);
        let asked = Instant::now();
        let (held, mine) = match &self.hold {
            Hold::Holding { epoch, since, .. } => {
                let held = Held {
                    epoch: *epoch,
                    sequence: self.sequence,
                    since: *since,
                };
                (Some(held), *epoch)
            }
            _ => (None, 0),
        };
        let records = &self.cluster.records;
        let Ok(record) = records.pulse(&self.keys, listeners, held).await else {
            return;
        };
        if record.again {
            let silence = records.longest_silence();
            records.look_later(&self.id, silence).await.ok();
        }
        if record.expired {
            self.cluster.node().over(&self.id);
        }
        if let Hold::Holding { count, renewed, .. } = &mut self.hold {
            if record.epoch == mine {
                *renewed = asked;
                if record.again {
                    *count = 0;
                }
                let seen = Seen {
                    phase: None,
                    elsewhere: record.elsewhere,
                };
                self.link.set_elsewhere(record.elsewhere);
                self.cluster.node().seen(&self.id, seen);
                self.say_again();
                return self.subscribe(false).await;
            }
            self.superseded();
        }
        self.follow(listeners, &record).await;
    }

    fn say_again(&mut self) {
        let now = Instant::now();
        let before = self.say_again.len();
        self.say_again.retain(|due| *due > now);
        if self.say_again.len() < before {
            self.cluster.node().still_live(&self.id);
        }
    }

    async fn follow(&mut self, listeners: usize, record: &Record) {
        if self.owes_flag && record.phase.is_started() {
            // Whoever finds it over writes that down.
            self.owes_flag = false;
        } else if self.owes_flag && self.standing() == Standing::Elsewhere {
            self.owes_flag = false;
            self.cluster.node().over(&self.id);
        }
        let phase = match self.hold {
            Hold::Provisional { .. } => None,
            _ => Some(record.phase),
        };
        let seen = Seen {
            phase,
            elsewhere: record.elsewhere,
        };
        self.link.set_elsewhere(record.elsewhere);
        self.cluster.node().seen(&self.id, seen);
        if matches!(record.phase, Phase::Ended) {
            // The next show begins with its first clip.
            self.follower.restart(None);
            self.sequence = 0;
            self.aired = false;
        }
        if matches!(self.hold, Hold::Provisional { .. }) {
            return;
        }
        if listeners > 0 {
            self.subscribe(true).await;
        }
        // What was published before the record was read is here by now, or lost.
        while let Ok(message) = self.inbox.try_recv() {
            if let Some(Message::Clip(clip)) = frame::decode(message) {
                self.take_clip(clip).await;
            }
        }
        let latest = (record.epoch, record.sequence);
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

    async fn subscribe(&mut self, wanted: bool) {
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

    /// Hands on what the engine keeps and has not come.
    async fn catch_up(&mut self, record: (u64, u64)) {
        let fresh = self.follower.last().is_none();
        let latest = if fresh {
            self.cluster.backlog_clips
        } else {
            self.cluster.replay_clips
        };
        let kept = {
            // A few at a time over all livestreams: after an outage everybody asks at once.
            let _permit = self.cluster.catching_up.acquire().await;
            self.cluster.records.kept(&self.keys, latest).await
        };
        let Ok(kept) = kept else { return };
        for clip in kept {
            if self.hand_on(clip) {
                self.cluster.figures.replayed.inc();
            }
        }
        self.follower.caught_up(record);
    }

    /// Hands a clip on, unless it or a later one was before.
    fn hand_on(&mut self, clip: RemoteClip) -> bool {
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
    async fn receive(&mut self, message: Bytes) {
        match frame::decode(message) {
            Some(Message::Changed) => self.pulse().await,
            Some(Message::Clip(clip)) => self.take_clip(clip).await,
            None => self.cluster.figures.drop_clips("garbled", 1),
        }
    }

    async fn take_clip(&mut self, clip: RemoteClip) {
        // What this node published itself comes back when it has just begun or just let go.
        if !matches!(self.hold, Hold::Following) || clip.node == self.cluster.records.node {
            return;
        }
        self.cluster.figures.received.inc();
        match self.follower.judge((clip.epoch, clip.sequence)) {
            Verdict::Doubled => self.cluster.figures.drop_clips("doubled", 1),
            Verdict::Stale => self.cluster.figures.drop_clips("stale", 1),
            Verdict::Next => {
                self.hand_on(clip);
            }
            Verdict::Gap => {
                // What is kept may hold this one already.
                self.catch_up((clip.epoch, clip.sequence)).await;
                self.hand_on(clip);
            }
        }
    }

    /// Whether nobody here has had to do with the livestream for a while.
    fn is_idle(&mut self) -> bool {
        let busy = !matches!(self.hold, Hold::Following)
            || self.cluster.node().listeners(&self.id) > 0
            || self.owes_flag && self.cluster.records.engine.is_up()
            || self.link.is_ended();
        if busy {
            self.idle_since = None;
        }
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        !busy && since.elapsed() >= self.cluster.linger
    }

    /// Ends, unless somebody has come meanwhile.
    async fn close(&mut self) -> bool {
        self.subscribe(false).await;
        let closed = self.cluster.forget(&self.id, &self.keys.channel);
        if closed {
            self.cluster.records.pulse(&self.keys, 0, None).await.ok();
            self.refuse_waiting(Unpublished::Away);
        }
        closed
    }
}
