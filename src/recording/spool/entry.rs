//! What is spooled: clips and events, each as one object of a recording.

use serde::{Deserialize, Serialize};

use crate::recording::names::{ClipName, Mark};

/// What happened in a livestream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::recording) struct Entry {
    pub(in crate::recording) livestream: String,
    pub(in crate::recording) streamer: String,
    /// In milliseconds since the Unix epoch.
    pub(in crate::recording) at: u64,
    pub(in crate::recording) what: What,
}

/// See [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::recording) enum What {
    Clip {
        epoch: u64,
        sequence: u64,
        /// The streamer's own; once it is written, what stands for it and the bytes.
        id: Option<String>,
        extension: String,
    },
    ClipLost {
        epoch: u64,
        sequence: u64,
        reason: String,
    },
    LinkLost,
    Paused,
    LeftOut {
        from: u64,
        until: u64,
    },
    /// Clips that are recorded under other numbers were published again under these.
    Repeated {
        epoch: u64,
        from: u64,
        until: u64,
    },
    Ended {
        reason: String,
        /// The epoch and the sequence of the latest clip, if they are known.
        #[serde(default)]
        latest: Option<(u64, u64)>,
    },
    /// The livestream goes on elsewhere, or is over; this node has nothing to do with it.
    Left,
}

impl Entry {
    /// The same, for a clip that is not recorded.
    pub(in crate::recording) fn given_up(mut self, reason: &str) -> Self {
        if let What::Clip {
            epoch, sequence, ..
        } = self.what
        {
            self.what = What::ClipLost {
                epoch,
                sequence,
                reason: reason.to_owned(),
            };
        }
        self
    }

    /// The same, as it is written with these bytes.
    pub(super) fn with_digest(mut self, bytes: &[u8]) -> Self {
        if let What::Clip { id: Some(id), .. } = &mut self.what {
            *id = ClipName::digest(id, bytes);
        }
        self
    }

    /// Whether it is about a clip: then it begins a recording if there is none.
    pub(in crate::recording) fn is_clip(&self) -> bool {
        self.sequence().is_some()
    }

    /// The sequence of its clip.
    pub(in crate::recording) fn sequence(&self) -> Option<u64> {
        match self.what {
            What::Clip { sequence, .. } | What::ClipLost { sequence, .. } => Some(sequence),
            _ => None,
        }
    }

    /// The path of its object below the recording's directory; none without an object.
    pub(in crate::recording) fn path(&self) -> Option<String> {
        let mark = match self.what.clone() {
            What::Clip {
                epoch,
                sequence,
                id,
                extension,
            } => {
                let received = self.at;
                let name = ClipName {
                    epoch,
                    sequence,
                    received,
                    id,
                    extension,
                };
                return Some(format!("clips/{name}"));
            }
            What::ClipLost {
                epoch,
                sequence,
                reason,
            } => Mark::ClipLost {
                epoch,
                sequence,
                reason,
            },
            What::LinkLost => Mark::LinkLost,
            What::Paused => Mark::Paused,
            What::LeftOut { from, until } => Mark::LeftOut { from, until },
            What::Repeated { epoch, from, until } => Mark::Repeated { epoch, from, until },
            What::Ended { reason, latest } => Mark::Ended { reason, latest },
            What::Left => return None,
        };
        Some(format!("marks/{}", mark.name(self.at)))
    }
}
