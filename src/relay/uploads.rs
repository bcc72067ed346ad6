//! A clip's way through the relay.
//!
//! A streamer may give a clip an id. A clip that comes again with its id is not relayed again, and is answered as the
//! first one was: at once, or with it if its publication to other nodes is still under way. If other nodes did not get
//! the first one, the second is published to them, and to them alone.
//!
//! **Invariant**: a refused clip reaches no listener and takes no sequence. Of the clips with one id, within the bound
//! of [`ClipIds`](crate::broadcast::ClipIds), a listener here gets one.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use super::{ActiveLivestream, Relay, Ticket, fan_out, lock, unix_millis};
use crate::broadcast::{ClipId, Epoch, LivestreamId, NewClip, Position, UserId};
use crate::limits::Exceeded;
use crate::media::Place;
use crate::recording::Recorded;

/// A clip as its streamer sends it.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The clip.
    pub bytes: Bytes,
    /// The streamer's own id for it.
    pub id: Option<ClipId>,
}

/// An accepted upload.
#[derive(Debug)]
pub struct Uploaded {
    /// The clip's sequence, to this node's knowledge.
    pub sequence: u64,
    /// Listeners on all nodes.
    pub listeners: usize,
    /// In a cluster: the clip's final sequence, once every node has it or can fetch it.
    pub ticket: Option<Ticket>,
    /// Whether the clip was accepted before: this one is relayed to nobody.
    pub is_duplicate: bool,
    /// If livestreams are recorded: when the clip is on the disk.
    pub recorded: Option<Recorded>,
}

/// What became of a clip with an id.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was relayed, with this sequence.
    Relayed(u64),
    /// Another process accepted it, and gave it this sequence.
    Known(u64),
    /// In a cluster: it was relayed here, with this sequence, and queued for the other nodes.
    Queued(u64, Ticket),
}

impl Outcome {
    /// Its final sequence, if there is one.
    pub(super) fn sequence(&self) -> Option<u64> {
        match self {
            Self::Relayed(sequence) | Self::Known(sequence) => Some(*sequence),
            Self::Queued(_, ticket) => ticket.result()?.ok(),
        }
    }
}

/// Reasons why an upload is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// Another socket is the streamer now, or the livestream is over.
    #[error("the epoch is no longer current")]
    StaleEpoch,
    /// The daemon stops.
    #[error("the daemon stops")]
    Stopping,
    /// An operator has banned the streamer or the livestream.
    #[error("the streamer or the livestream is banned")]
    Banned,
    /// The clip has no bytes: no player plays it, and it would replace the clip before in the history.
    #[error("the clip is empty")]
    Empty,
    /// The clip is larger than the limit.
    #[error("the clip is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The upload exceeds the streamer's quota.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
}

impl Relay {
    /// Relays a clip to every listener.
    pub fn upload(
        &self,
        id: &LivestreamId,
        epoch: Epoch,
        user: &UserId,
        upload: Upload,
        now: Instant,
    ) -> Result<Uploaded, UploadError> {
        let uploaded = self.relay(id, epoch, user, upload, now);
        if let Err(error) = &uploaded {
            let reason = match error {
                UploadError::StaleEpoch => "stale_epoch",
                UploadError::Stopping => "stopping",
                UploadError::Banned => "banned",
                UploadError::Empty => "empty",
                UploadError::TooLarge { .. } => "too_large",
                UploadError::Exceeded(_) => "rate_limit",
            };
            self.0
                .metrics
                .uploads_refused
                .with_label_values(&[reason])
                .inc();
        }
        if uploaded.as_ref().is_ok_and(|it| it.is_duplicate) {
            self.0.metrics.uploads_repeated.inc();
        }
        uploaded
    }

    fn relay(
        &self,
        id: &LivestreamId,
        epoch: Epoch,
        user: &UserId,
        Upload { bytes, id: clip_id }: Upload,
        now: Instant,
    ) -> Result<Uploaded, UploadError> {
        if bytes.is_empty() {
            return Err(UploadError::Empty);
        }
        let limit = self.0.max_clip_bytes;
        if bytes.len() > limit {
            return Err(UploadError::TooLarge { limit });
        }
        if self.is_banned(Some(user), id) {
            return Err(UploadError::Banned);
        }
        let found = self.find(id).ok_or(UploadError::StaleEpoch)?;
        let mut active = lock(&found);
        if !active.livestream.is_current(epoch) {
            return Err(UploadError::StaleEpoch);
        }
        if let Some((clip_id, repeated)) = clip_id
            .as_ref()
            .and_then(|it| Some((it, active.repeated(it)?)))
        {
            self.record_known(id, user, &mut active, clip_id, &bytes);
            return Ok(self.answered_again(repeated));
        }
        let length = bytes.len();
        self.0.quota.read().take(user, length)?;
        // Under the lock, so that the snapshot for the next process contains every accepted clip.
        if self.0.stopping.load(Ordering::SeqCst) {
            return Err(UploadError::Stopping);
        }
        if let Some((repeated, position)) = clip_id
            .as_ref()
            .and_then(|it| active.publish_again(it, &bytes, now))
        {
            self.record_repeated(id, &active, position, 1);
            return Ok(self.answered_again(repeated));
        }
        let mut clip = NewClip {
            bytes,
            id: clip_id.clone(),
            sent_at: active.unix_millis(),
            position: None,
            place: None,
        };
        self.place(&mut active, &mut clip);
        // Queued under the lock, so in order; the publication is not awaited here.
        let queued = active.link.as_ref().map(|link| link.publish(clip.clone()));
        clip.position = queued.as_ref().and_then(|(_, position)| *position);
        let ticket = queued.map(|(ticket, _)| ticket);
        let clip = active
            .livestream
            .upload(epoch, clip, now)
            .map_err(|_| UploadError::StaleEpoch)?;
        let audience = active.push(&clip, now);
        active.story.clip(length, audience.len(), now);
        active.silence.end(now);
        self.feed_clip(id, &clip);
        let recorded = self.record_clip(id, user, &mut active, &clip);
        let listeners = active.count();
        if let Some(clip_id) = clip_id {
            active.remember(clip_id, clip.sequence, ticket.as_ref());
        }
        drop(active);
        self.0.metrics.clips_in.inc();
        self.0.metrics.clip_bytes_in.inc_by(length as u64);
        tracing::debug!(livestream.id = %id, clip.sequence = clip.sequence, bytes = length, listeners, "clip");
        fan_out::flush(&audience, &self.0.metrics.fan_out);
        Ok(Uploaded {
            sequence: clip.sequence,
            listeners,
            ticket,
            is_duplicate: false,
            recorded,
        })
    }

    /// The answer to a clip that was accepted before: no earlier than its recording is safe.
    fn answered_again(&self, repeated: Uploaded) -> Uploaded {
        Uploaded {
            recorded: self.recorded_before(),
            ..repeated
        }
    }
}

impl ActiveLivestream {
    /// The time for what happens now, such as a clip that is accepted: in a cluster by the clock that all nodes share.
    pub(super) fn unix_millis(&self) -> u64 {
        let shared = self.link.as_ref().and_then(|link| link.unix_millis());
        shared.unwrap_or_else(unix_millis)
    }

    /// The place of a clip that was relayed here, if the history still has it.
    fn place_of(&self, clip_id: &ClipId) -> Option<Place> {
        let mut clips = self.livestream.history().clips();
        clips.rfind(|clip| clip.id.as_ref() == Some(clip_id))?.place
    }

    /// The answer to a clip whose id is that of a clip which is relayed, or on its way; none for any other.
    fn repeated(&self, clip_id: &ClipId) -> Option<Uploaded> {
        let (sequence, ticket) = match self.clip_ids.get(clip_id)? {
            // In a cluster with a ticket all the same: the answers before it come first.
            Outcome::Relayed(sequence) | Outcome::Known(sequence) => {
                let link = self.link.as_ref();
                (*sequence, link.map(|_| Ticket::published(*sequence)))
            }
            Outcome::Queued(_, ticket) if matches!(ticket.result(), Some(Err(_))) => return None,
            Outcome::Queued(sequence, ticket) => (*sequence, Some(ticket.clone())),
        };
        Some(Uploaded {
            sequence,
            listeners: self.count(),
            ticket,
            is_duplicate: true,
            recorded: None,
        })
    }

    /// Publishes a clip that was relayed here, and that other nodes did not get; none for any other. Also its position, if
    /// this node has an epoch.
    fn publish_again(
        &mut self,
        clip_id: &ClipId,
        bytes: &Bytes,
        now: Instant,
    ) -> Option<(Uploaded, Option<Position>)> {
        let Outcome::Queued(sequence, _) = *self.clip_ids.get(clip_id)? else {
            return None;
        };
        let link = self.link.as_ref()?;
        let mut clip = NewClip {
            bytes: bytes.clone(),
            id: Some(clip_id.clone()),
            sent_at: self.unix_millis(),
            position: None,
            place: self.place_of(clip_id),
        };
        let (ticket, position) = link.publish(clip.clone());
        clip.position = position;
        if position.is_some() {
            self.livestream.repeat(clip, now);
        }
        self.remember(clip_id.clone(), sequence, Some(&ticket));
        let uploaded = Uploaded {
            sequence,
            listeners: self.count(),
            ticket: Some(ticket),
            is_duplicate: false,
            recorded: None,
        };
        Some((uploaded, position))
    }

    /// Records that other nodes have a clip with this id.
    pub(super) fn know(&mut self, clip_id: ClipId, sequence: u64) {
        let known = self.clip_ids.get(&clip_id).and_then(Outcome::sequence);
        if known.is_none() {
            self.clip_ids.insert(clip_id, Outcome::Known(sequence));
        }
    }

    /// The sequence of a clip that another process accepted; from now on it counts as relayed here.
    pub(super) fn take_known(&mut self, clip_id: &ClipId) -> Option<u64> {
        let Outcome::Known(sequence) = *self.clip_ids.get(clip_id)? else {
            return None;
        };
        self.clip_ids
            .insert(clip_id.clone(), Outcome::Relayed(sequence));
        Some(sequence)
    }

    /// Whether listeners here have a clip with this id that was not published from here.
    pub(super) fn has_heard(&self, clip_id: &ClipId) -> bool {
        let outcome = self.clip_ids.get(clip_id);
        matches!(outcome, Some(Outcome::Queued(_, ticket)) if matches!(ticket.result(), Some(Err(_))))
    }

    fn remember(&mut self, clip_id: ClipId, sequence: u64, ticket: Option<&Ticket>) {
        let outcome = match ticket {
            Some(ticket) => Outcome::Queued(sequence, ticket.clone()),
            None => Outcome::Relayed(sequence),
        };
        self.clip_ids.insert(clip_id, outcome);
    }
}
