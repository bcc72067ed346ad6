//! The latest clips, for listeners that join.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Clip;

/// The latest clips, bounded in number and in bytes.
///
/// **Invariant**: the clips are consecutive, and the last is the latest of the livestream. There are at most
/// `max_clips`; two or more clips have at most `max_bytes` in all.
#[derive(Debug)]
pub struct History {
    clips: VecDeque<Arc<Clip>>,
    bytes: usize,
    max_clips: usize,
    max_bytes: usize,
}

impl History {
    /// An empty history; with a `max_clips` of 0 it stays empty.
    pub fn new(max_clips: usize, max_bytes: usize) -> Self {
        Self {
            clips: VecDeque::new(),
            bytes: 0,
            max_clips,
            max_bytes,
        }
    }

    /// Adds the latest clip, and removes the oldest ones beyond a bound.
    pub fn push(&mut self, clip: Arc<Clip>) {
        self.bytes += clip.bytes.len();
        self.clips.push_back(clip);
        while self.clips.len() > self.max_clips
            || (self.bytes > self.max_bytes && self.clips.len() > 1)
        {
            let Some(oldest) = self.clips.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes.len();
        }
    }

    /// The clips, oldest first.
    pub fn clips(&self) -> impl Iterator<Item = &Arc<Clip>> {
        self.clips.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn remaining(max_clips: usize, max_bytes: usize, sizes: &[usize]) -> Vec<u64> {
        let mut history = History::new(max_clips, max_bytes);
        for (sequence, size) in (1..).zip(sizes) {
            let bytes = vec![0; *size].into();
            history.push(Arc::new(Clip {
                sequence,
                bytes,
                accepted_at: Instant::now(),
            }));
        }
        history.clips().map(|clip| clip.sequence).collect()
    }

    #[test]
    fn oldest_clips_beyond_the_number_bound_are_removed() {
        assert_eq!(remaining(2, 100, &[1, 1, 1]), [2, 3]);
        assert!(remaining(0, 100, &[1, 1]).is_empty());
    }

    #[test]
    fn latest_clip_stays_beyond_the_byte_bound() {
        assert_eq!(remaining(9, 10, &[5, 5, 5]), [2, 3]);
        assert_eq!(remaining(9, 10, &[5, 50]), [2]);
    }
}
