//! The streamer's side of a livestream: start, on air, loss and end.
//!
//! **Invariant**: of two streamers of a livestream the one that asked last stays, in any order of their checks' ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::events::{Arrival, Ending, Event, Replacement, StreamerId};
use super::{Relay, SocketId, lock};
use crate::broadcast::{Epoch, FlagOwner, LivestreamError, LivestreamId, Loss, UserId};

/// Reasons why a socket does not become the streamer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStarted {
    /// The number of livestreams is at its limit.
    #[error("the number of livestreams is at its limit")]
    Full,
    /// A socket that asked later is the streamer.
    #[error("a socket that asked later is the streamer")]
    Superseded,
}

impl Relay {
    /// An epoch for a socket that asks now, newer than all before. [`Self::start`] makes it the current one.
    pub fn next_epoch(&self) -> Epoch {
        Epoch(self.0.next_epoch.fetch_add(1, Ordering::SeqCst))
    }

    /// Whether a socket that asked later than `epoch` is the streamer.
    pub fn is_superseded(&self, id: &LivestreamId, epoch: Epoch) -> bool {
        self.find(id)
            .is_some_and(|active| lock(&active).livestream.is_superseded(epoch))
    }

    /// Whether this user streams here or is expected back: a new socket of theirs replaces the old one.
    pub fn is_streamed_by(&self, id: &LivestreamId, user: &UserId) -> bool {
        self.find(id).is_some_and(|active| {
            let active = lock(&active);
            let streamer = active
                .livestream
                .streamer_and_next_sequence()
                .map(|(streamer, _)| streamer);
            streamer == Some(user)
        })
    }

    /// Makes this node the livestream's owner, in a cluster; false if that is impossible now.
    pub async fn acquire(&self, id: &LivestreamId, now: Instant) -> bool {
        if self.0.links.is_none() {
            return true;
        }
        // The link may be ending, after a while without clients here: the next one is not.
        for _ in 0..2 {
            let link = self
                .find_or_link(id, now)
                .and_then(|found| lock(&found).link.clone());
            let Some(link) = link else { return false };
            if link.acquire().await.is_some() {
                return true;
            }
        }
        false
    }

    /// Makes the socket that asked with this epoch the livestream's streamer, in place of another one here; in a cluster
    /// after [`Self::acquire`].
    pub fn start(
        &self,
        id: &LivestreamId,
        user: &UserId,
        socket: SocketId,
        epoch: Epoch,
        now: Instant,
    ) -> Result<(), NotStarted> {
        loop {
            let found = self.find_or_link(id, now).ok_or(NotStarted::Full)?;
            let mut active = lock(&found);
            let started = match active.livestream.start(user.clone(), epoch) {
                Ok(started) => started,
                Err(LivestreamError::StaleEpoch) => return Err(NotStarted::Superseded),
                Err(_) => {
                    // It has just ended: another begins under its id.
                    drop(active);
                    self.forget(id, &found);
                    continue;
                }
            };
            let streamer = StreamerId { socket, epoch };
            let replaced = active
                .streamer
                .replace(streamer)
                .filter(|_| started.replaced.is_some());
            active.streamer_since = now;
            active.dismissal = None;
            active.story.begin(now);
            active.silence.end(now);
            let arrival = match (replaced, started.resumed) {
                (Some(_), _) => Arrival::TookOver,
                (None, true) => Arrival::Resumed,
                (None, false) => Arrival::Started,
            };
            if replaced.is_some() {
                self.emit(Event::StreamerReplaced {
                    livestream: id.clone(),
                    streamer: replaced,
                    replacement: Replacement::Here,
                });
            }
            self.emit(Event::StreamerCame {
                livestream: id.clone(),
                user: user.clone(),
                epoch,
                arrival,
            });
            return Ok(());
        }
    }

    /// The `error` for the streamer of this epoch, if an operator or a ban has dismissed it: an event alone does not reach
    /// a client that is not connected yet.
    pub fn dismissal(&self, id: &LivestreamId, epoch: Epoch) -> Option<Arc<str>> {
        let found = self.find(id)?;
        let active = lock(&found);
        let is_current = active.livestream.is_current(epoch);
        active.dismissal.clone().filter(|_| is_current)
    }

    /// Puts the livestream on air, once its streamer is connected. False if another socket took over meanwhile.
    pub fn air(&self, id: &LivestreamId, epoch: Epoch) -> bool {
        let Some(active) = self.find(id) else {
            return false;
        };
        let mut active = lock(&active);
        let before = active.livestream.state();
        let good = active.livestream.air(epoch);
        if good {
            let after = active.livestream.state();
            let waits = active
                .link
                .as_ref()
                .is_some_and(|it| it.flag_waits().is_some());
            let owner = if waits {
                FlagOwner::Cluster
            } else {
                self.flag_owner()
            };
            self.write_flag(id, before, after, owner);
            active.wake();
        }
        good
    }

    /// The streamer's transport is lost: the grace period starts, or the livestream ends if it never went on air.
    pub fn lost(&self, id: &LivestreamId, epoch: Epoch, now: Instant) {
        let Some(found) = self.find(id) else { return };
        let mut active = lock(&found);
        match active.livestream.lost(epoch, now) {
            Loss::Stale => {}
            Loss::Grace(_) => {
                active.streamer = None;
                active.wake();
                self.record_link_lost(id, &active);
                if let Some(user) = active.streamer_user() {
                    self.emit(Event::StreamerLost {
                        livestream: id.clone(),
                        user,
                        totals: active.story.totals(now),
                    });
                }
            }
            Loss::Ended => self.close(id, &found, active, Ending::Abandoned, now),
        }
    }

    /// Ends the livestream for its streamer, unless the epoch is no longer current.
    pub fn end(&self, id: &LivestreamId, epoch: Epoch, now: Instant) {
        let Some(found) = self.find(id) else { return };
        let mut active = lock(&found);
        if active.livestream.end(epoch) {
            self.close(id, &found, active, Ending::Ended, now);
        }
    }
}
