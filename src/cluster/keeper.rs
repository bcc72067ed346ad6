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

mod following;
mod holding;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::follower::Follower;
use super::link::{Grant, Link, Unpublished, Waiting};
use super::records::{Held, Keys, Phase, wall_clock};
use super::{Inner, Seen, Standing};
use crate::broadcast::LivestreamId;

/// When a show says again that it is live, if its end may have been written down elsewhere after its beginning.
const SAY_AGAIN: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(12)];

fn soon_again() -> Vec<Instant> {
    SAY_AGAIN.map(|after| Instant::now() + after).into()
}

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
    /// Listeners here have heard a streamer who came while the engine was away: what others said until then comes too late.
    heard_apart: bool,
    /// Since when the engine, asked at every pulse, has known nothing of the livestream.
    unknown_since: Option<Instant>,
    /// When the show is to be said live again.
    say_again: Vec<Instant>,
    /// When others were asked last to look at it, should this node die.
    enrolled: Option<Instant>,
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
            heard_apart: false,
            unknown_since: None,
            say_again: Vec::new(),
            enrolled: None,
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
        if self.is_holding() {
            // Its streamer may have been elsewhere meanwhile.
            self.pulse().await;
        }
        if anew {
            self.finish_before().await;
        }
        let (before, was_holding) = (self.follower.last(), self.is_holding());
        let grant = match self.hold {
            Hold::Holding { .. } if !anew => Grant::Held,
            Hold::Provisional { .. } => Grant::Provisional,
            _ => self.request_or_begin_alone(anew).await,
        };
        // The show before was another: it is let go of with this grant.
        self.link.begin(grant == Grant::Provisional);
        match &mut self.hold {
            Hold::Holding {
                epoch,
                granted,
                begun,
                ..
            } => {
                // Whoever was the streamer until now may be lost before this one begins.
                (*granted, *begun) = (Instant::now(), false);
                // What the holder before published and has not come yet goes first.
                let latest = (*epoch, self.sequence);
                if !was_holding && before.is_some() && self.follower.is_behind(latest) {
                    self.catch_up(latest).await;
                }
            }
            Hold::Provisional { since, granted } => {
                (*since, *granted) = (wall_clock(), Instant::now());
            }
            Hold::Following => {}
        }
        tracing::debug!(livestream.id = %self.id, ?grant, "a streamer has come");
        // Whoever asked may have gone: then nobody begins, and the hold is let go of.
        reply.send(grant).ok();
    }

    /// Compares the livestream with the engine's record.
    async fn pulse(&mut self) {
        if matches!(self.hold, Hold::Holding { renewed, .. } if renewed.elapsed() >= self.cluster.lease)
        {
            // This machine may have stood still: what was its own is not asked for again.
            self.lose();
        }
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
        let record = match records.pulse(&self.keys, listeners, held).await {
            Ok(record) => record,
            Err(error) => {
                tracing::debug!(livestream.id = %self.id, %error, "no pulse");
                self.unknown_since = None;
                return;
            }
        };
        tracing::trace!(livestream.id = %self.id, ?record, last = ?self.follower.last(), "pulse");
        if record.again {
            self.enrolled = None;
            // What others found in the engine's old memory meanwhile, they may have written down.
            self.say_again = soon_again();
        }
        if record.expired {
            self.cluster.node().over(&self.id);
        }
        if let Hold::Holding { count, renewed, .. } = &mut self.hold {
            if record.epoch == mine && record.phase == Phase::Ended {
                // By this node, whose answer was lost: it is said again. Or by others, who had not heard of it for too long.
                if self.link.is_ended() {
                    return;
                }
                self.lose();
            } else if record.epoch == mine {
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
                self.enrol().await;
                return self.subscribe(false).await;
            } else {
                self.superseded();
            }
        }
        self.follow(listeners, &record).await;
    }

    /// Sees to it that others look at the livestream when this node is heard no more, whatever becomes of the engine's
    /// memory.
    async fn enrol(&mut self) {
        let records = &self.cluster.records;
        let silence = records.longest_silence();
        if self.enrolled.is_none_or(|at| at.elapsed() >= silence / 2)
            && self
                .cluster
                .register
                .look_later(&self.id, silence)
                .await
                .is_ok()
        {
            self.enrolled = Some(Instant::now());
        }
    }

    fn say_again(&mut self) {
        let now = Instant::now();
        let before = self.say_again.len();
        self.say_again.retain(|due| *due > now);
        if self.say_again.len() < before {
            self.cluster.node().still_live(&self.id);
        }
    }

    /// Whether nobody here has had to do with the livestream for a while.
    fn is_idle(&mut self) -> bool {
        let busy = !matches!(self.hold, Hold::Following)
            || self.cluster.node().listeners(&self.id) > 0
            || self.owes_flag
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
