//! What a listener gets when it joins: the latest clips, or, if it resumes, all clips after the one that it had last.
//!
//! A listener resumes from this node's history. In a cluster the history of Redis is read into it first, where it does
//! not reach back far enough: once for all listeners that come back together.
//!
//! **Invariant**: a listener that is told `recovered` gets every clip after its position, in order, and then the live
//! ones; otherwise it gets none of those it missed but the latest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::remote::Links;
use super::{ActiveLivestream, Listener, Player, Relay, lock, now};
use crate::broadcast::{Clip, LivestreamId, NewClip, Position, Record, is_local};
use crate::cluster::RemoteClip;
use crate::transport::ClipFrame;

/// The outcome for a listener that resumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumed {
    /// It gets every clip that it missed: the sequences of the first and the last one, none if there is none.
    Recovered(Option<(u64, u64)>),
    /// It misses so many clips, if that is known.
    Missed(Option<u64>),
}

/// The interval at which a node that has just begun to follow a livestream is asked whether it knows a clip.
const POLL: Duration = Duration::from_millis(20);

impl ActiveLivestream {
    /// Pushes the clips for a listener that joins to its outbox: those after its position, or the latest ones.
    pub(super) fn push_history(&self, listener: &Listener, join_clips: usize, now: Instant) {
        let push = |clip: &Clip| {
            let frame = ClipFrame::of(listener.outbox.event(), clip, now);
            listener.outbox.push(&Arc::new(frame));
        };
        let history = self.livestream.history();
        if let Some(position) = listener.resume {
            if let Some(later) = history.after(position) {
                let mut span = None;
                for clip in later {
                    push(clip);
                    let sequence = clip.position.sequence;
                    span = Some((span.map_or(sequence, |(from, _)| from), sequence));
                }
                listener.resumed.set(Resumed::Recovered(span)).ok();
                return;
            }
            let missed = self.missed(position, join_clips);
            listener.resumed.set(Resumed::Missed(missed)).ok();
        }
        let originals = history.clips().filter(|clip| !clip.is_repeat);
        let mut clips: Vec<_> = originals.rev().take(join_clips).collect();
        if clips.is_empty() {
            // After an outage of Redis all may be repeats of older ones.
            clips = history.clips().rev().take(join_clips).collect();
        }
        for clip in clips.into_iter().rev() {
            push(clip);
        }
    }

    /// The number of clips after a position that a listener does not get, if the position is of the latest clip's epoch.
    fn missed(&self, position: Position, join_clips: usize) -> Option<u64> {
        let latest = self.livestream.history().clips().next_back()?.position;
        let later = (latest.sequence)
            .checked_sub(position.sequence)
            .filter(|_| latest.epoch == position.epoch)?;
        Some(later.saturating_sub(join_clips.min(1) as u64))
    }

    /// Clips between the latest one here and the next are unknown here; the next one follows `before`, if that is known.
    pub(super) fn break_chain(&mut self, before: Option<Position>) {
        self.livestream.history_mut().break_chain(before);
        self.is_backfilled = false;
    }

    /// Whether Redis may have clips after this position that are not known here.
    fn lacks(&self, position: Position) -> bool {
        let is_known = self.livestream.history().after(position).is_some();
        !is_known && !self.is_backfilled
    }
}

impl Relay {
    /// In a cluster: makes this node follow a livestream, and reads Redis's history, if a listener that resumes from this
    /// position needs it. The node follows until the returned listener is dropped. Takes at most two timeouts of Redis.
    pub async fn reach_back(
        &self,
        id: &LivestreamId,
        position: Position,
        elsewhere: Option<&Record>,
    ) -> Option<Player> {
        let links = self.0.links.clone()?;
        if is_local(position.epoch) {
            return None;
        }
        // Without room the join is refused as well.
        let following = self.add_player(id, elsewhere, now()).ok()?;
        let limit = links.cluster.records.redis.timeout * 2;
        let filled = tokio::time::timeout(
            limit,
            self.backfill(&links, id, |active| active.lacks(position)),
        );
        if filled.await.is_err() {
            tracing::debug!(livestream.id = %id, "Redis's history did not come in time for a listener that resumes");
        }
        Some(following)
    }

    /// Reads Redis's history into this node's, if that is known to lack clips once it has its first.
    pub(super) async fn backfill(
        &self,
        links: &Links,
        id: &LivestreamId,
        lacks: impl Fn(&ActiveLivestream) -> bool,
    ) {
        let until = loop {
            let Some(found) = self.find(id) else { return };
            {
                let active = lock(&found);
                match active.livestream.history().begin() {
                    Some(_) if !lacks(&active) => return,
                    Some(begin) => break begin,
                    None => {}
                }
            }
            tokio::time::sleep(POLL).await;
        };
        let most = links.history_clips.min(self.0.bounds.history_clips);
        let _permit = links.bulk_permit(most).await;
        let Some(found) = self.find(id) else { return };
        if !lacks(&lock(&found)) {
            return;
        }
        let records = &links.cluster.records;
        let keys = records.keys(id);
        match records.history_until(&keys, until, most).await {
            Ok(clips) => {
                let now = now();
                let clips = clips.into_iter().map(|clip| historic(clip, now));
                let mut active = lock(&found);
                active.livestream.history_mut().prepend(clips.collect());
                active.is_backfilled = true;
            }
            Err(error) => {
                tracing::debug!(livestream.id = %id, %error, "Redis's history cannot be read");
            }
        }
    }
}

/// A clip of Redis's history.
fn historic(clip: RemoteClip, now: Instant) -> Arc<Clip> {
    let position = clip.position;
    Arc::new(Clip::new(
        position.sequence,
        position,
        NewClip::from(clip),
        now,
    ))
}
