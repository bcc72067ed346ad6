//! The place of a clip in a livestream.

/// The epoch and sequence of a clip. Epochs are compared before sequences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The owner's fencing token.
    pub epoch: u64,
    /// The number in the livestream.
    pub sequence: u64,
}

impl Position {
    /// Of this clip of this owner.
    pub const fn new(epoch: u64, sequence: u64) -> Self {
        Self { epoch, sequence }
    }

    /// Of the clip after it by the same owner.
    #[must_use]
    pub const fn next(self) -> Self {
        Self::new(self.epoch, self.sequence + 1)
    }

    /// Itself, unless it is before an owner's first clip.
    pub fn of_a_clip(self) -> Option<Self> {
        (self.sequence > 0).then_some(self)
    }
}
