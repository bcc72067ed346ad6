//! The result of a write.

use std::ops::AddAssign;

/// Clips handed to the kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Clips that left whole.
    pub clips: u64,
    /// Payload bytes of these clips.
    pub clip_bytes: u64,
}

impl AddAssign for Sent {
    fn add_assign(&mut self, more: Self) {
        self.clips += more.clips;
        self.clip_bytes += more.clip_bytes;
    }
}
