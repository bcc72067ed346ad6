//! The holder's side: the livestream is acquired, its clips are published, and it is let go of, settled or lost.
//!
//! **Invariant**: a clip whose publication was tried is tried until it is known to be done or to be impossible, before
//! any other; whoever waits for a clip is answered when the hold ends.

use std::time::Duration;

use tokio::time::Instant;

use super::super::link::{Grant, Unpublished};
use super::super::records::{Acquired, Phase, Published, wall_clock};
use super::super::{Seen, Standing};
use super::{Hold, Keeper, soon_again};

/// How long a streamer that was granted the livestream may take to begin.
const TO_BEGIN: Duration = Duration::from_secs(5);

impl Keeper {
    pub(super) async fn request_or_begin_alone(&mut self, anew: bool) -> Grant {
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
    pub(super) async fn request(&mut self, since: Option<u64>, anew: bool) -> Option<bool> {
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
                resumed,
                after_another,
            }) => {
                self.say_again = if after_another {
                    soon_again()
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
                if resumed {
                    // Should its streamer be gone again before it is greeted, the show waits for it all the same.
                    self.aired = true;
                    let seen = Seen {
                        phase: Some(Phase::Live),
                        elsewhere: self.link.elsewhere(),
                    };
                    self.cluster.node().seen(&self.id, seen);
                }
                if let Some(node) = before {
                    tracing::info!(livestream.id = %self.id, node, "taken over from another node");
                    records.tell(&node, &self.id).await.ok();
                }
                self.enrolled = None;
                self.enrol().await;
                Some(true)
            }
            Ok(Acquired::Refused) => Some(false),
            Err(_) => None,
        }
    }

    /// Does one thing that is due for the engine; whether there is more.
    pub(super) async fn work(&mut self) -> bool {
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

    /// Hands on what is left of a show that is over, for another begins: under its own epoch, or not at all.
    pub(super) async fn finish_before(&mut self) {
        while let Hold::Holding { epoch, count, .. } = self.hold {
            if self.in_flight.is_none() {
                self.in_flight = self.link.take();
            }
            if !self.publish(epoch, count + 1).await {
                break;
            }
        }
        self.refuse_waiting(Unpublished::Away);
    }

    /// Notes how the livestream that is held stands here.
    pub(super) fn note(&mut self, standing: Standing) {
        if let (Standing::Live { aired }, Hold::Holding { begun, .. }) = (standing, &mut self.hold)
        {
            *begun = true;
            self.aired |= aired;
        }
    }

    pub(super) async fn publish(&mut self, epoch: u64, number: u64) -> bool {
        let Some(clip) = &self.in_flight else {
            return false;
        };
        let asked = Instant::now();
        let records = &self.cluster.records;
        let published = records.publish(&self.keys, epoch, number, self.sequence, &clip.clip);
        match published.await {
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
            Ok(Published::Unknown) => {
                self.pulse().await;
                // Tried again at once only if that has settled it.
                !matches!(self.hold, Hold::Holding { renewed, .. } if renewed < asked)
            }
            // Tried again at the next pulse, or when the engine is back.
            Err(_) => false,
        }
    }

    /// What began while the engine was away: who came last has it.
    pub(super) async fn settle(&mut self, since: u64, granted: Instant) -> bool {
        if !matches!(self.standing(), Standing::Live { .. }) && granted.elapsed() >= TO_BEGIN
            || self.link.is_ended()
        {
            self.hold = Hold::Following;
            self.heard_apart = true;
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
                self.heard_apart = true;
                self.superseded();
                true
            }
            None => false,
        }
    }

    pub(super) async fn let_go(&mut self, epoch: u64, ended: bool) -> bool {
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
                    self.cluster.register.look_no_more(&self.id).await.ok();
                }
                true
            }
            Err(_) => false,
        }
    }

    pub(super) fn refuse_waiting(&mut self, why: Unpublished) {
        if let Some(clip) = self.in_flight.take() {
            clip.answer(Err(why));
        }
        self.link.refuse_all(why);
    }

    /// Another node has the livestream: this one's streamer is told, and it is followed from where this node was.
    pub(super) fn superseded(&mut self) {
        if let Hold::Holding { epoch, .. } = self.hold {
            self.follower.restart(Some((epoch, self.sequence)));
        }
        self.hold = Hold::Following;
        self.link.settled();
        self.refuse_waiting(Unpublished::Superseded);
        self.cluster.node().superseded(&self.id);
    }

    /// The lease is over, for all that this node knows.
    pub(super) fn lose(&mut self) {
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
}
