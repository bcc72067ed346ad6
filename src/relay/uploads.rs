//! A clip's way through the relay.
//!
//! **Invariant**: a clip that is refused, for whatever reason, reaches nobody and takes no sequence.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use super::{Relay, fan_out, lock};
use crate::broadcast::{Epoch, LivestreamId, UserId};
use crate::cluster::Ticket;
use crate::limits::Exceeded;

/// What an upload led to.
#[derive(Debug)]
pub struct Uploaded {
    /// The clip's place in the livestream, as far as this node knows.
    pub sequence: u64,
    /// How many listen, on all nodes.
    pub listeners: usize,
    /// In a cluster: tells when every node has it or can have it, and its place in the livestream.
    pub ticket: Option<Ticket>,
}

/// Why an upload is not relayed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// Another socket is the streamer now, or the livestream is over.
    #[error("the epoch is good no more")]
    StaleEpoch,
    /// The daemon stops.
    #[error("the daemon stops")]
    Stopping,
    /// A clip without a byte: nothing plays it, and it would hide the one before.
    #[error("the clip is empty")]
    Empty,
    /// The clip is larger than it may be.
    #[error("the clip is larger than {limit} bytes")]
    TooLarge {
        /// What it may be.
        limit: usize,
    },
    /// Too much too fast.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
}

impl Relay {
    /// Relays a clip to everybody who listens.
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
        // Under the lock, so that what is left to the next process holds every clip that was taken.
        if self.0.stopping.load(Ordering::SeqCst) {
            return Err(UploadError::Stopping);
        }
        let clip = active
            .livestream
            .upload(epoch, bytes, now)
            .map_err(|_| UploadError::StaleEpoch)?;
        active.story.clip(length);
        let audience = active.push(&clip, now);
        let listeners = active.count();
        // Queued under the lock, in order; nobody here waits for it.
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
