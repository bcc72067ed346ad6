//! A clip's way through the relay.
//!
//! **Invariant**: a refused clip reaches no listener and takes no sequence.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use super::{Relay, Ticket, fan_out, lock};
use crate::broadcast::{Epoch, LivestreamId, UserId};
use crate::limits::Exceeded;

/// An accepted upload.
#[derive(Debug)]
pub struct Uploaded {
    /// The clip's sequence, to this node's knowledge.
    pub sequence: u64,
    /// Listeners on all nodes.
    pub listeners: usize,
    /// In a cluster: the clip's final sequence, once every node has it or can fetch it.
    pub ticket: Option<Ticket>,
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
        bytes: Bytes,
        now: Instant,
    ) -> Result<Uploaded, UploadError> {
        let uploaded = self.relay(id, epoch, user, bytes, now);
        if let Err(error) = &uploaded {
            let reason = match error {
                UploadError::StaleEpoch => "stale_epoch",
                UploadError::Stopping => "stopping",
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
        uploaded
    }

    fn relay(
        &self,
        id: &LivestreamId,
        epoch: Epoch,
        user: &UserId,
        bytes: Bytes,
        now: Instant,
    ) -> Result<Uploaded, UploadError> {
        if bytes.is_empty() {
            return Err(UploadError::Empty);
        }
        let limit = self.0.max_clip_bytes;
        if bytes.len() > limit {
            return Err(UploadError::TooLarge { limit });
        }
        let found = self.find(id).ok_or(UploadError::StaleEpoch)?;
        let mut active = lock(&found);
        if !active.livestream.is_current(epoch) {
            return Err(UploadError::StaleEpoch);
        }
        let length = bytes.len();
        self.0.quota.read().take(user, length)?;
        // Under the lock, so that the snapshot for the next process contains every accepted clip.
        if self.0.stopping.load(Ordering::SeqCst) {
            return Err(UploadError::Stopping);
        }
        let clip = active
            .livestream
            .upload(epoch, bytes, now)
            .map_err(|_| UploadError::StaleEpoch)?;
        active.story.clip(length);
        let audience = active.push(&clip, now);
        self.feed_clip(id, &clip);
        let listeners = active.count();
        // Queued under the lock, so in order; the publication is not awaited here.
        let link = active.link.as_ref();
        let ticket = link.map(|link| link.publish(clip.bytes.clone()));
        drop(active);
        self.0.metrics.clips_in.inc();
        self.0.metrics.clip_bytes_in.inc_by(length as u64);
        tracing::debug!(livestream.id = %id, clip.sequence = clip.sequence, bytes = length, listeners, "clip");
        fan_out::flush(audience, &self.0.metrics.fan_out);
        Ok(Uploaded {
            sequence: clip.sequence,
            listeners,
            ticket,
        })
    }
}
