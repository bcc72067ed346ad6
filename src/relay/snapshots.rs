//! State that outlives a restart: taken before the stop, restored after the start.
//!
//! **Invariant**: a livestream that has not started is not in a snapshot, and a restored one is in its grace period.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use parking_lot::Mutex;

use super::recording::LivestreamRecording;
use super::uploads::Outcome;
use super::{ActiveLivestream, Relay, lock, new_epoch};
use crate::broadcast::{ClipId, Livestream, LivestreamId, NewClip, RecordingState, State, UserId};
use crate::media::Place;

/// The state of one livestream that outlives a restart.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its id.
    pub livestream: LivestreamId,
    /// Its streamer.
    pub streamer: UserId,
    /// The sequence of its next clip.
    pub next_sequence: u64,
    /// The epoch of clips that the node alone numbers: see [`crate::broadcast::local_epoch`].
    pub epoch: u64,
    /// The place of its latest clip on the timeline of players.
    pub place: Option<Place>,
    /// Whether its clips are recorded; none if nothing is.
    pub recording: Option<RecordingState>,
    /// Its latest clips, oldest first, each the next one after the one before.
    pub clips: Vec<NewClip>,
    /// The ids of its latest clips with their sequences, oldest first.
    pub clip_ids: Vec<(ClipId, u64)>,
}

impl Relay {
    /// Snapshots of all livestreams that have been on air and whose streamer was last on this node.
    pub fn snapshot(&self) -> Vec<Snapshot> {
        let is_recording = self.0.recorder.get().is_some();
        let of = |(id, found): (LivestreamId, Arc<Mutex<ActiveLivestream>>)| {
            let active = lock(&found);
            let on_air = active.livestream.is_started() && active.livestream.has_aired();
            let (streamer, next_sequence) = active
                .livestream
                .streamer_and_next_sequence()
                .filter(|_| on_air)?;
            Some(Snapshot {
                livestream: id,
                streamer: streamer.clone(),
                next_sequence,
                epoch: active.livestream.local_epoch(),
                place: active.timeline.last(),
                recording: is_recording.then_some(active.recording.state),
                clips: active
                    .livestream
                    .history()
                    .unbroken()
                    .filter(|clip| !clip.is_repeat)
                    .map(|clip| clip.as_new())
                    .collect(),
                clip_ids: active
                    .clip_ids
                    .iter()
                    .filter_map(|(id, outcome)| Some((id.clone(), outcome.sequence()?)))
                    .collect(),
            })
        };
        self.all().into_iter().filter_map(of).collect()
    }

    /// Restores the livestreams of the previous process, each in its grace period.
    pub fn restore(&self, snapshots: Vec<Snapshot>, now: Instant) {
        let is_recording = self.0.recorder.get().is_some();
        let mut livestreams = self.livestreams();
        for Snapshot {
            livestream: id,
            streamer,
            next_sequence,
            epoch,
            place,
            recording,
            clips,
            clip_ids,
        } in snapshots
        {
            // After a crash clips are unknown, and may have had the next sequences.
            let is_complete = !clips.is_empty() && clips.iter().all(|clip| clip.position.is_some());
            let epoch = if is_complete { epoch } else { new_epoch() };
            let clips = clips.into_iter().filter(|clip| !clip.bytes.is_empty());
            let livestream =
                Livestream::restored(self.0.bounds.clone(), streamer, next_sequence, clips, now)
                    .in_epoch(epoch);
            let after = livestream.state();
            // Players read the clips before it when the first of them comes.
            if let Some(latest) = livestream.history().clips().next_back() {
                self.feed_clip(&id, latest);
            }
            let mut active = ActiveLivestream::new(livestream, now);
            if let Some(place) = place {
                active.timeline.follow(place);
            }
            if is_recording {
                // The process before recorded nothing: its clips are not missing.
                let recording = recording.unwrap_or_else(RecordingState::off);
                active.recording = LivestreamRecording::restored(recording);
            }
            for (clip_id, sequence) in clip_ids {
                active.clip_ids.insert(clip_id, Outcome::Known(sequence));
            }
            tracing::info!(livestream.id = %id, "livestream restored from the previous process, waiting for its streamer");
            // The flag stays true, or becomes true again if the previous process cleared it.
            self.write_flag(&id, State::Ended, after, self.flag_owner());
            livestreams.insert(id, Arc::new(Mutex::new(active)));
        }
    }

    /// Before a stop: from now on accepts no clip and sets no flag.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::SeqCst);
    }
}
