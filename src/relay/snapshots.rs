//! What outlives a restart, given out and taken up again.
//!
//! **Invariant**: a livestream that never went on air is not given out, and one that is taken up is in its grace.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{ActiveLivestream, Relay, lock};
use crate::broadcast::{Livestream, LivestreamId, UserId};

/// What must outlive a restart.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Which livestream.
    pub livestream: LivestreamId,
    /// Whose it is.
    pub streamer: UserId,
    /// The sequence of its next clip.
    pub next_sequence: u64,
    /// Its latest clips, oldest first.
    pub clips: Vec<Bytes>,
}

impl Relay {
    /// What must outlive a restart: every livestream that has been on air and is not over.
    pub fn snapshot(&self) -> Vec<Snapshot> {
        let of = |(id, found): (LivestreamId, Arc<Mutex<ActiveLivestream>>)| {
            let active = lock(&found);
            let started = active.livestream.is_started();
            let (streamer, next_sequence) = active
                .livestream
                .streamer_and_next_sequence()
                .filter(|_| started)?;
            Some(Snapshot {
                livestream: id,
                streamer: streamer.clone(),
                next_sequence,
                clips: active
                    .livestream
                    .history()
                    .map(|clip| clip.bytes.clone())
                    .collect(),
            })
        };
        self.all().into_iter().filter_map(of).collect()
    }

    /// Takes up what another process left: each livestream is in its grace.
    pub fn restore(&self, snapshots: Vec<Snapshot>, now: Instant) {
        let mut livestreams = self.livestreams();
        for Snapshot {
            livestream: id,
            streamer,
            next_sequence,
            clips,
        } in snapshots
        {
            let clips = clips.into_iter().filter(|clip| !clip.is_empty());
            let livestream =
                Livestream::restored(self.0.bounds.clone(), streamer, next_sequence, clips, now);
            let active = ActiveLivestream::new(livestream, now);
            tracing::info!(livestream.id = %id, "livestream taken over from the process before, waiting for its streamer");
            // The flag stays true, or becomes so again if the process before cleared it.
            self.0.directory.set_streamer_connected(&id, true);
            livestreams.insert(id, Arc::new(Mutex::new(active)));
        }
    }

    /// Before a stop: takes no clip and sets no flag from now on.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::SeqCst);
    }

    /// At a stop: clears the flags of what is live here. Whoever is live will be so again when it comes back.
    pub fn clear_flags(&self) {
        for (id, found) in self.all() {
            let active = lock(&found);
            if active.livestream.streamer_and_next_sequence().is_some() {
                self.0.directory.set_streamer_connected(&id, false);
            }
        }
    }
}
