//! The latest clips, for listeners that join or resume.
//!
//! Listeners resume from the history's *chain*: its latest clips, of which each is the next one of the livestream after
//! the one before. Clips before the chain are for listeners that join.
//!
//! **Invariant**: no clip of the livestream is missing in the chain, and the last clip is the latest. There are at most
//! `max_clips`; two or more clips have at most `max_bytes` in all.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Clip, Position};

/// Epochs from here on are not granted by Redis: one node alone uses them. All are safe integers of JavaScript.
const LOCAL_EPOCHS: u64 = 1 << 52;

/// The epoch in which this node alone numbers a livestream's clips, which begins so many microseconds after the Unix
/// epoch.
pub fn local_epoch(micros: u64) -> u64 {
    LOCAL_EPOCHS | micros
}

/// Whether one node alone uses this epoch.
pub fn is_local(epoch: u64) -> bool {
    epoch >= LOCAL_EPOCHS
}

/// See the module.
#[derive(Debug)]
pub struct History {
    clips: VecDeque<Arc<Clip>>,
    bytes: usize,
    max_clips: usize,
    max_bytes: usize,
    /// The index of the first clip of the chain.
    chain: usize,
    /// The position before the chain, if it is known.
    before: Option<Position>,
}

impl History {
    /// An empty history; with a `max_clips` of 0 it stays empty.
    pub fn new(max_clips: usize, max_bytes: usize) -> Self {
        Self {
            clips: VecDeque::new(),
            bytes: 0,
            max_clips,
            max_bytes,
            chain: 0,
            before: None,
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
            if self.chain == 0 {
                self.before = Some(oldest.position);
            } else {
                self.chain -= 1;
            }
        }
    }

    /// The clips, oldest first.
    pub fn clips(&self) -> impl DoubleEndedIterator<Item = &Arc<Clip>> {
        self.clips.iter()
    }

    /// Begins another chain: clips between the latest one and the next are unknown here. The next one follows `before`,
    /// if that is known.
    pub fn break_chain(&mut self, before: Option<Position>) {
        self.chain = self.clips.len();
        self.before = before;
    }

    /// The latest position that earlier clips lead to the chain from; none if nothing of the livestream is known.
    pub fn begin(&self) -> Option<Position> {
        let first = self.chain().next().map(|clip| clip.position);
        self.before.or(first)
    }

    /// The clips of the chain, oldest first.
    pub fn unbroken(&self) -> impl Iterator<Item = &Arc<Clip>> {
        self.chain()
    }

    /// Whether the chain has this position, or it is right before the chain.
    pub fn has(&self, position: Position) -> bool {
        self.before == Some(position) || self.chain().any(|clip| clip.position == position)
    }

    fn chain(&self) -> impl DoubleEndedIterator<Item = &Arc<Clip>> + ExactSizeIterator {
        self.clips.range(self.chain..)
    }

    /// All clips after a position, oldest first; none if a clip after it may be missing here.
    ///
    /// Redis grants rising epochs, so the order of its positions is the order of the livestream: of a position that
    /// was never published, the clips after it are those with a later one. A local position must be known here.
    pub fn after(&self, position: Position) -> Option<impl Iterator<Item = &Arc<Clip>>> {
        let is_before = |known: Position| {
            !is_local(known.epoch) && !is_local(position.epoch) && known < position
        };
        let chain = || self.chain().enumerate();
        let known = chain().rfind(|(_, clip)| clip.position == position);
        let last = || chain().rfind(|(_, clip)| is_before(clip.position));
        let begin = match known {
            Some((index, _)) => index + 1,
            None if self.before == Some(position) => 0,
            None => match last() {
                Some((index, _)) => index + 1,
                None if self.before.is_some_and(is_before) => 0,
                None => return None,
            },
        };
        // A clip that follows under both of its positions is sent once. Without an id its listener cannot know it again,
        // and between the two positions there are listeners of this node only.
        let is_double = move |clip: &Clip| {
            let heard = if clip.id.is_some() { begin } else { 0 };
            let mut others = self.chain().skip(heard).filter(|other| !other.is_repeat);
            let is_same = |other: &Clip| match &clip.id {
                Some(id) => other.id.as_ref() == Some(id),
                None => other.bytes == clip.bytes,
            };
            clip.is_repeat && others.any(|other| is_same(other))
        };
        let later = self.chain().skip(begin);
        Some(later.filter(move |clip| !is_double(clip)))
    }

    /// Adds clips of the cluster's history before the chain, oldest first, if they lead to the chain; as many as there is
    /// room for. They replace the clips before it.
    pub fn prepend(&mut self, clips: Vec<Arc<Clip>>) {
        let begin = self.begin();
        let Some(met) = clips.iter().position(|clip| Some(clip.position) == begin) else {
            return;
        };
        // The clip that the chain begins with is there already.
        let met = met + usize::from(self.before.is_some());
        for clip in self.clips.drain(..self.chain) {
            self.bytes -= clip.bytes.len();
        }
        self.chain = 0;
        for clip in clips.into_iter().take(met).rev() {
            if self.clips.len() >= self.max_clips || self.bytes + clip.bytes.len() > self.max_bytes
            {
                self.before = Some(clip.position);
                return;
            }
            self.bytes += clip.bytes.len();
            self.clips.push_front(clip);
        }
        // Within an epoch the sequences have no gap but clips that were never published.
        let first = self.clips.front().map(|clip| clip.position);
        self.before = first.and_then(|Position { epoch, sequence }| {
            Some(Position::new(epoch, sequence.checked_sub(1)?))
        });
    }
}

#[cfg(test)]
mod tests;
