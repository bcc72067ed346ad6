//! What a write has handed to the kernel.

use std::ops::AddAssign;

/// What left with a write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Clips that are gone whole.
    pub clips: u64,
    /// Their own bytes.
    pub clip_bytes: u64,
}

impl AddAssign for Sent {
    fn add_assign(&mut self, more: Self) {
        self.clips += more.clips;
        self.clip_bytes += more.clip_bytes;
    }
}
