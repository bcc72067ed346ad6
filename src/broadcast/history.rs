//! The latest clips, kept for who joins.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Clip;

/// The latest clips, bounded in number and in bytes.
///
/// **Invariant**: the clips are consecutive, the last is the latest of the livestream; there are at most `max_clips`,
/// and, unless it is a single one, they weigh at most `max_bytes`.
#[derive(Debug)]
pub struct History {
    clips: VecDeque<Arc<Clip>>,
    bytes: usize,
    max_clips: usize,
    max_bytes: usize,
}

impl History {
    /// An empty history; `max_clips` of 0 keeps none.
    pub fn new(max_clips: usize, max_bytes: usize) -> Self {
        Self {
            clips: VecDeque::new(),
            bytes: 0,
            max_clips,
            max_bytes,
        }
    }

    /// Takes in the latest clip and lets go of the oldest where a bound asks for it.
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

    fn kept(max_clips: usize, max_bytes: usize, sizes: &[usize]) -> Vec<u64> {
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
    fn the_oldest_clips_go_when_there_are_too_many() {
        assert_eq!(kept(2, 100, &[1, 1, 1]), [2, 3]);
        assert!(kept(0, 100, &[1, 1]).is_empty());
    }

    #[test]
    fn the_oldest_clips_go_when_they_weigh_too_much_but_the_latest_stays() {
        assert_eq!(kept(9, 10, &[5, 5, 5]), [2, 3]);
        assert_eq!(kept(9, 10, &[5, 50]), [2]);
    }
}
