//! What the relay tells the recorder, under the livestream's lock: so in the order of its changes; and whether it does.
//!
//! The streamer's node decides whether clips are recorded. A wish of the streamer's holds there at once; it is answered
//! once it also holds after a crash, and in a cluster on every node that may have the streamer next.
//!
//! **Invariant**: no clip that is accepted after a pause, and before its end, gets to the recorder.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{ActiveLivestream, Ending, Relay, lock};
use crate::broadcast::{
    Clip, ClipId, Epoch, LivestreamId, Position, Record, RecordingState, UserId,
};
use crate::cluster::Ended;
use crate::recording::{KnownClip, Recorded, Recorder};

/// How often a recording that is paused is told so, in milliseconds: it is not over, though no clip comes.
const PAUSED_AGAIN: u64 = 30_000;
/// How long the answer to a wish waits.
const KEPT_WITHIN: Duration = Duration::from_secs(5);

/// The recording of a livestream, as this node knows it.
#[derive(Default)]
pub(super) struct LivestreamRecording {
    pub(super) state: RecordingState,
    /// Counts the wishes of streamers here that changed something.
    wishes: u64,
    /// Counts their wishes to pause.
    pauses: u64,
    /// Of these, the latest that outlives this process.
    kept: watch::Sender<u64>,
    /// When the recording was last told of the pause, in milliseconds since the Unix epoch.
    told_at: u64,
}

impl LivestreamRecording {
    pub(super) fn restored(state: RecordingState) -> Self {
        Self {
            state,
            ..Self::default()
        }
    }

    fn is_kept(&self) -> bool {
        *self.kept.borrow() >= self.wishes
    }

    fn keep(&self, wishes: u64) {
        self.kept.send_if_modified(|kept| {
            let is_more = wishes > *kept;
            *kept = wishes.max(*kept);
            is_more
        });
    }
}

/// Reasons why a wish has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRecorded {
    /// Nothing is recorded on this server.
    #[error("nothing is recorded")]
    Off,
    /// Another socket is the streamer now, or the livestream is over.
    #[error("the epoch is no longer current")]
    StaleEpoch,
    /// The livestream's document does not ask for it.
    #[error("the livestream's document does not ask for a recording")]
    NotAllowed,
}

/// The outcome of a wish.
#[derive(Debug)]
pub struct RecordingChange {
    /// Whether clips are recorded, from now on.
    pub state: RecordingState,
    wish: u64,
    kept: watch::Receiver<u64>,
}

impl RecordingChange {
    /// Waits until the wish outlives this process, and in a cluster this node; false if that takes too long.
    pub async fn is_kept(mut self) -> bool {
        let wish = self.wish;
        let kept = self.kept.wait_for(|kept| *kept >= wish);
        matches!(tokio::time::timeout(KEPT_WITHIN, kept).await, Ok(Ok(_)))
    }
}

impl Relay {
    /// Records every clip from now on. Called once, before the first client.
    pub fn record_to(&self, recorder: Recorder) {
        if self.0.recorder.set(recorder).is_err() {
            tracing::error!("there is a recorder already; it stays");
        }
    }

    /// A clip that this node has accepted from its streamer.
    pub(super) fn record_clip(
        &self,
        id: &LivestreamId,
        user: &UserId,
        active: &mut ActiveLivestream,
        clip: &Clip,
    ) -> Option<Recorded> {
        let recorder = self.0.recorder.get()?;
        let recording = &mut active.recording;
        if recording.state.is_on() {
            let written = recorder.clip(id, user, clip);
            return Some(match recording.state.record() {
                Some(span) => recorder.left_out(id, span, clip.sent_at),
                None => written,
            });
        }
        if !recording.state.is_held() {
            return None;
        }
        if clip.sent_at.saturating_sub(recording.told_at) >= PAUSED_AGAIN {
            recording.told_at = clip.sent_at;
            return Some(recorder.paused(id, clip.sent_at));
        }
        // The answers to the clips before come first.
        Some(recorder.flush())
    }

    /// A clip comes again that another process has accepted: that one may be gone, with the bytes, since its id is told to
    /// other processes at once. So they are recorded again, unless they were left out on purpose.
    pub(super) fn record_known(
        &self,
        id: &LivestreamId,
        user: &UserId,
        active: &mut ActiveLivestream,
        clip_id: &ClipId,
        bytes: &Bytes,
    ) {
        let Some(recorder) = self.0.recorder.get() else {
            return;
        };
        if let Some(sequence) = active.take_known(clip_id)
            && active.recording.state.takes_again(sequence)
        {
            let at = active.unix_millis();
            // The caller answers no earlier than all before is on the disk.
            let known = KnownClip {
                id: clip_id,
                sequence,
                bytes,
            };
            drop(recorder.known_clip(id, user, at, known));
        }
    }

    /// Whether the livestream's document decides about its recording: it is to be read before [`Self::allow_recording`].
    pub fn asks_document_for_recording(&self) -> bool {
        let recorder = self.0.recorder.get();
        recorder.is_some_and(Recorder::asks_document)
    }

    /// Whether clips of the streamer with this epoch are recorded.
    pub fn recording(
        &self,
        id: &LivestreamId,
        epoch: Epoch,
    ) -> Result<RecordingState, NotRecorded> {
        self.0.recorder.get().ok_or(NotRecorded::Off)?;
        let found = self.find(id).ok_or(NotRecorded::StaleEpoch)?;
        let active = lock(&found);
        let is_current = active.livestream.is_current(epoch);
        is_current
            .then_some(active.recording.state)
            .ok_or(NotRecorded::StaleEpoch)
    }

    /// The livestream's document has this `record`: for clips of the streamer with this epoch.
    pub fn allow_recording(&self, id: &LivestreamId, epoch: Epoch, record: bool) {
        let allowed = self.0.recorder.get().map(|it| it.allows(record));
        let Some(found) = self.find(id) else { return };
        let mut active = lock(&found);
        if active.livestream.is_current(epoch) {
            let next = active.next_sequence();
            let recording = &mut active.recording;
            recording.state.allow(allowed.unwrap_or_default(), next);
            active.look();
        }
    }

    /// How often the streamer has said that the recording pauses, for [`Self::resume_recording`].
    pub fn recording_pauses(&self, id: &LivestreamId) -> u64 {
        let found = self.find(id);
        found.map_or(0, |found| lock(&found).recording.pauses)
    }

    /// The streamer with this epoch pauses the recording.
    pub fn pause_recording(
        &self,
        id: &LivestreamId,
        epoch: Epoch,
    ) -> Result<RecordingChange, NotRecorded> {
        self.wish(id, epoch, |recording| {
            recording.pauses += 1;
            true
        })
    }

    /// The streamer with this epoch goes on with the recording, unless it has said since so many pauses that it pauses.
    pub fn resume_recording(
        &self,
        id: &LivestreamId,
        epoch: Epoch,
        pauses: u64,
    ) -> Result<RecordingChange, NotRecorded> {
        let change = self.wish(id, epoch, |recording| recording.pauses != pauses)?;
        if !change.state.is_on() && !change.state.is_paused() {
            return Err(NotRecorded::NotAllowed);
        }
        Ok(change)
    }

    /// Applies what a wish says of the pause.
    fn wish(
        &self,
        id: &LivestreamId,
        epoch: Epoch,
        is_paused: impl FnOnce(&mut LivestreamRecording) -> bool,
    ) -> Result<RecordingChange, NotRecorded> {
        let recorder = self.0.recorder.get().ok_or(NotRecorded::Off)?;
        let found = self.find(id).ok_or(NotRecorded::StaleEpoch)?;
        let mut active = lock(&found);
        if !active.livestream.is_current(epoch) {
            return Err(NotRecorded::StaleEpoch);
        }
        let (next, at) = (active.next_sequence(), active.unix_millis());
        let recording = &mut active.recording;
        let before = recording.state;
        let is_paused = is_paused(recording);
        if before.is_paused() != is_paused {
            recording.state.pause(is_paused, next);
            recording.wishes += 1;
            if before.is_on() {
                recording.told_at = at;
                recorder.paused(id, at);
            }
            tracing::info!(livestream.id = %id, "recording {}", if is_paused { "paused" } else { "goes on" });
        }
        let change = RecordingChange {
            state: recording.state,
            wish: recording.wishes,
            kept: recording.kept.subscribe(),
        };
        // Said again, it costs nothing once it is kept.
        if !recording.is_kept() {
            active.look();
            drop(active);
            self.0.note_due.notify_one();
        }
        Ok(change)
    }

    /// Resolves when a wish has to be noted for the next process.
    pub async fn until_note_is_due(&self) {
        self.0.note_due.notified().await;
    }

    /// The wishes that are not noted yet, of livestreams that no other node knows.
    pub fn unnoted(&self) -> Unnoted {
        let of = |(id, found): (LivestreamId, Arc<Mutex<ActiveLivestream>>)| {
            let active = lock(&found);
            let is_due = active.link.is_none() && !active.recording.is_kept();
            is_due.then(|| (id, active.recording.wishes))
        };
        Unnoted(self.all().into_iter().filter_map(of).collect())
    }

    /// They are noted.
    pub fn noted(&self, noted: &Unnoted) {
        for (id, wishes) in &noted.0 {
            self.keep_wishes(id, *wishes);
        }
    }

    /// Other nodes, or the next process, know of the wishes up to this one.
    pub(super) fn keep_wishes(&self, id: &LivestreamId, wishes: u64) {
        if let Some(found) = self.find(id) {
            lock(&found).recording.keep(wishes);
        }
    }

    /// What the record is to say of the recording, and the latest wish in it; empty if nothing is recorded.
    pub(super) fn recording_for_record(&self, id: &LivestreamId) -> (String, u64) {
        let found = self.0.recorder.get().and_then(|_| self.find(id));
        found.map_or_else(Default::default, |found| {
            let recording = &lock(&found).recording;
            (recording.state.to_string(), recording.wishes)
        })
    }

    /// This node owns the livestream again, or for the first time, after others did: what the record said until then holds
    /// here, unless the streamer has said something else here since.
    pub(super) fn adopt_recording(&self, id: &LivestreamId, before: &Record) {
        let Some(found) = self.find(id) else { return };
        let mut active = lock(&found);
        let Some(state) = before.recording.filter(|_| active.recording.is_kept()) else {
            return;
        };
        if active.owned_epoch != Some(before.epoch) {
            let (has_streamer, next) = (active.livestream.is_live_here(), active.next_sequence());
            active.recording.state.adopt(state, has_streamer, next);
        }
    }

    /// Resolves once all clips until now are on the disk; none if nothing is recorded.
    pub fn recorded_before(&self) -> Option<Recorded> {
        self.0.recorder.get().map(Recorder::flush)
    }

    pub(super) fn record_link_lost(&self, id: &LivestreamId, active: &ActiveLivestream) {
        if let Some(recorder) = self.0.recorder.get() {
            recorder.link_lost(id, active.unix_millis());
        }
    }

    /// The livestream is over here. If its streamer was last on this node, no other node records the end.
    pub(super) fn record_end(
        &self,
        id: &LivestreamId,
        active: &ActiveLivestream,
        ending: Ending,
        was_streamed_here: bool,
    ) {
        let Some(recorder) = self.0.recorder.get() else {
            return;
        };
        let at = active.unix_millis();
        let ending = match ending {
            _ if !was_streamed_here || !active.livestream.has_aired() => {
                return recorder.left(id, at);
            }
            // By the check of another node, when no streamer came.
            Ending::Elsewhere => Ending::Expired,
            ending => ending,
        };
        let latest = active.latest_position();
        Self::record_last(recorder, id, active.recording.state, latest, at);
        recorder.ended_after(id, latest, ending.as_str(), at);
    }

    /// The clips at the end that were left out on purpose are not missing.
    fn record_last(
        recorder: &Recorder,
        id: &LivestreamId,
        state: RecordingState,
        latest: Option<Position>,
        at: u64,
    ) {
        let next = latest.map(|it| it.sequence.saturating_add(1));
        if let Some(span) = next.and_then(|next| state.left_out_before(next)) {
            drop(recorder.left_out(id, span, at));
        }
    }

    /// Clips that are recorded already are published again at these positions, one after the other.
    pub(super) fn record_repeated(
        &self,
        id: &LivestreamId,
        active: &ActiveLivestream,
        first: Option<Position>,
        clips: usize,
    ) {
        if let (Some(recorder), Some(first)) = (self.0.recorder.get(), first) {
            recorder.repeated(id, first, clips as u64, active.unix_millis());
        }
    }

    /// The livestream is over on all nodes, its owner is gone, and no other node knows.
    pub(super) fn record_orphans_end(&self, id: &LivestreamId, ended: &Ended) {
        if let Some(recorder) = self.0.recorder.get() {
            let (latest, at) = (ended.latest.of_a_clip(), super::unix_millis());
            Self::record_last(recorder, id, ended.recording, latest, at);
            recorder.ended_after(id, latest, Ending::Expired.as_str(), at);
        }
    }

    /// The livestream goes on elsewhere.
    pub(super) fn record_left(&self, id: &LivestreamId, active: &ActiveLivestream) {
        if let Some(recorder) = self.0.recorder.get() {
            recorder.left(id, active.unix_millis());
        }
    }
}

/// Wishes about recordings, to be noted for the next process.
#[derive(Debug)]
pub struct Unnoted(Vec<(LivestreamId, u64)>);

impl ActiveLivestream {
    /// The position of the latest clip that this node has numbered; none if it is not known whether others follow it.
    fn latest_position(&self) -> Option<Position> {
        let latest = match &self.link {
            Some(link) => link.latest_position()?,
            None => Position::new(
                self.livestream.local_epoch(),
                self.livestream.latest_sequence(),
            ),
        };
        latest.of_a_clip()
    }

    /// The sequence of the next clip, as recordings name it.
    fn next_sequence(&self) -> u64 {
        self.next_position().sequence
    }

    /// Requests a heartbeat: the record says something else of this livestream.
    fn look(&self) {
        if let Some(link) = &self.link {
            link.look();
        }
    }

    /// Applies what the record says of the recording, unless the streamer is here, or has said something here that the
    /// record does not know yet.
    pub(super) fn follow_recording(&mut self, record: &Record) {
        let is_ours = self.owned_epoch == Some(record.epoch);
        if self.livestream.is_live_here()
            || !record.is_started()
            || is_ours && !self.recording.is_kept()
        {
            return;
        }
        if let Some(state) = record.recording {
            self.recording.state.adopt(state, false, 0);
            // Another node has had the streamer since.
            let wishes = self.recording.wishes;
            self.recording.keep(wishes);
        }
    }
}

#[cfg(test)]
mod tests;
