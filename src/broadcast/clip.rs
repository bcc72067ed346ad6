//! One uploaded file of a few seconds.

use std::sync::OnceLock;
use std::time::Instant;

use bytes::Bytes;

use super::{ClipId, Position};
use crate::media::{self, Place};

/// An accepted clip: the uploaded file, and its number in the livestream.
///
/// **Invariant**: within a livestream's life the sequence starts at 1 and rises by one with each clip, across
/// takeovers and returns.
#[derive(Debug, PartialEq, Eq)]
pub struct Clip {
    /// Its number in the livestream, on this node.
    pub sequence: u64,
    /// Its epoch and sequence for listeners: the same on every node once it is published.
    pub position: Position,
    /// The streamer's own id for it.
    pub id: Option<ClipId>,
    /// The file, unchanged.
    pub bytes: Bytes,
    /// The time of its acceptance on this node.
    pub accepted_at: Instant,
    /// The time at which its streamer's node accepted it, in milliseconds since the Unix epoch.
    pub sent_at: u64,
    /// Its place on the timeline of players; none if it is not for them.
    pub place: Option<Place>,
    /// Whether listeners here got it before, under another position: only those from other nodes miss it.
    pub is_repeat: bool,
    duration_ms: OnceLock<Option<u64>>,
}

/// A clip that is to get its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewClip {
    /// The file.
    pub bytes: Bytes,
    /// The streamer's own id for it.
    pub id: Option<ClipId>,
    /// The time at which its streamer's node accepted it, in milliseconds since the Unix epoch.
    pub sent_at: u64,
    /// Its position in the cluster; none if this node alone numbers it.
    pub position: Option<Position>,
    /// Its place on the timeline of players, once it has one.
    pub place: Option<Place>,
}

impl From<Bytes> for NewClip {
    fn from(bytes: Bytes) -> Self {
        Self {
            bytes,
            id: None,
            sent_at: 0,
            position: None,
            place: None,
        }
    }
}

impl Clip {
    /// The clip with this number, at this position unless it brings its own.
    pub fn new(sequence: u64, otherwise: Position, clip: NewClip, now: Instant) -> Self {
        let NewClip {
            bytes,
            id,
            sent_at,
            position,
            place,
        } = clip;
        Self {
            sequence,
            position: position.unwrap_or(otherwise),
            id,
            bytes,
            accepted_at: now,
            sent_at,
            place,
            is_repeat: false,
            duration_ms: OnceLock::new(),
        }
    }

    /// The clip again, with another position.
    pub(super) fn repeated(
        sequence: u64,
        otherwise: Position,
        clip: NewClip,
        now: Instant,
    ) -> Self {
        Self {
            is_repeat: true,
            ..Self::new(sequence, otherwise, clip, now)
        }
    }

    /// What its next number on another process needs.
    pub fn as_new(&self) -> NewClip {
        NewClip {
            bytes: self.bytes.clone(),
            id: self.id.clone(),
            sent_at: self.sent_at,
            position: Some(self.position),
            place: self.place,
        }
    }

    /// Its duration in milliseconds, as its container states it; none if that is unknown. The first call reads the clip.
    pub fn duration_ms(&self) -> Option<u64> {
        let read = || media::read(&self.bytes).ok()?.duration_ms();
        *self.duration_ms.get_or_init(read)
    }
}
