//! One uploaded file of a few seconds.

use std::time::Instant;

use bytes::Bytes;

/// A clip that was accepted: what was uploaded, and its place in the show.
///
/// **Invariant**: within a livestream's life the sequence starts at 1 and rises by one with each clip, across
/// takeovers and returns.
#[derive(Debug, PartialEq, Eq)]
pub struct Clip {
    /// Its id in the show.
    pub sequence: u64,
    /// The file, as it was uploaded.
    pub bytes: Bytes,
    /// When it was accepted.
    pub accepted_at: Instant,
}
