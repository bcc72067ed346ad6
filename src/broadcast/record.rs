//! A livestream's record in Redis, as a node reads it.

use std::time::Duration;

use super::{Position, RecordingState, State};

/// The state of a livestream over all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Record {
    /// The newest epoch; 0 without a record.
    pub epoch: u64,
    /// The livestream's state; none without a record. [`State::Waiting`]: there is no record, but Redis may have just
    /// lost its memory, and the owner may write the record again.
    pub state: Option<State>,
    /// The rest of the grace period of a [`State::Reconnecting`] livestream; zero until its end is recorded.
    pub grace_left: Duration,
    /// The sequence of the latest clip in the history in Redis.
    pub sequence: u64,
    /// When the owner's streamer came, in microseconds of Redis's clock; 0 if it is unknown.
    pub came: u64,
    /// Whether its clips are recorded; none if no node says so.
    pub recording: Option<RecordingState>,
    /// Whether this node's process is the owner.
    pub is_here: bool,
    /// The record was missing, or older than the owner's epoch, and this heartbeat wrote it again.
    pub is_restored: bool,
}

impl Record {
    /// Stands for a record that Redis does not have yet.
    pub fn expected() -> Self {
        Self {
            epoch: 0,
            state: Some(State::Waiting),
            grace_left: Duration::ZERO,
            sequence: 0,
            came: 0,
            recording: None,
            is_here: false,
            is_restored: false,
        }
    }

    /// Of the latest clip in the history in Redis.
    pub fn position(&self) -> Position {
        Position::new(self.epoch, self.sequence)
    }

    /// Whether the livestream is on air or in its grace period.
    pub fn is_started(&self) -> bool {
        self.state.is_some_and(State::is_started)
    }

    /// Whether another node has a live streamer.
    pub fn is_elsewhere(&self) -> bool {
        self.state == Some(State::Live) && !self.is_here
    }
}
