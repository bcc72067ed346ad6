//! One uploaded file of a few seconds.

use std::time::Instant;

use bytes::Bytes;

/// An accepted clip: the uploaded file, and its number in the livestream.
///
/// **Invariant**: within a livestream's life the sequence starts at 1 and rises by one with each clip, across
/// takeovers and returns.
#[derive(Debug, PartialEq, Eq)]
pub struct Clip {
    /// Its number in the livestream.
    pub sequence: u64,
    /// The file, unchanged.
    pub bytes: Bytes,
    /// The time of its acceptance.
    pub accepted_at: Instant,
}
