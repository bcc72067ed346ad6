//! The result of a check of a livestream whose time may be over.

use std::time::Duration;

use crate::broadcast::{Position, RecordingState};

/// See the module documentation.
pub(crate) enum Expired {
    /// This check has ended it.
    Now(Ended),
    /// It was over before, or there is no record.
    Before,
    /// It must be checked again after this time.
    NotYet(Duration),
}

/// A livestream that is over, as its owner left it.
pub(crate) struct Ended {
    /// The owner.
    pub(crate) node: String,
    /// The position of its latest clip.
    pub(crate) latest: Position,
    /// What it has said of the recording.
    pub(crate) recording: RecordingState,
}

/// The answer of `expire.lua`.
pub(super) type Answer = (i64, String, u64, u64, String);

impl Expired {
    pub(super) fn read((left, node, epoch, sequence, recording): Answer) -> Self {
        match u64::try_from(left) {
            Ok(0) => Self::Now(Ended {
                node,
                latest: Position::new(epoch, sequence),
                recording: RecordingState::parse(&recording).unwrap_or_default(),
            }),
            Ok(left) => Self::NotYet(Duration::from_millis(left)),
            Err(_) => Self::Before,
        }
    }
}
