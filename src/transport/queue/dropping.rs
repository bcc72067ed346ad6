//! The clips that a queue drops, and those that its listener is to be told of.

use super::{Gap, Item, SendQueue};
use crate::transport::event_frame;

impl SendQueue {
    /// The listener is still to be told of these clips, before the first clip that is queued here.
    pub fn owe_gap(&mut self, gap: Gap) {
        self.gap = Some(gap);
    }

    /// Puts `gap` before the clip that follows the dropped ones, once that clip is next: until then the gap may grow. True if
    /// it was put.
    pub fn place_gap(&mut self) -> bool {
        let is_next = match self.items.front() {
            Some(Item::Clip(_)) => self.written == 0,
            Some(Item::Passing(_)) => false,
            None => self.open && !self.closed && self.at_boundary(),
        };
        let Some(gap) = self.gap.take_if(|_| is_next) else {
            return false;
        };
        // Numbers: this cannot fail.
        let frame = event_frame(Gap::EVENT, &gap).unwrap_or_default();
        self.passing += frame.len();
        self.items.push_front(Item::Passing(frame));
        true
    }

    /// Drops the oldest clip of which nothing is written yet, unless only `least` are left.
    pub(super) fn drop_oldest(&mut self, least: usize) -> bool {
        if self.clips <= least {
            return false;
        }
        let is_clip = |item: &Item| matches!(item, Item::Clip(_));
        let dropped = if let Some(index) = self.first_untouched_clip() {
            self.items.remove(index)
        } else {
            let index = self.deferred.iter().position(is_clip);
            index.and_then(|index| self.deferred.remove(index))
        };
        let Some(Item::Clip(dropped)) = dropped else {
            return false;
        };
        Gap::note(&mut self.gap, dropped.about.as_ref());
        self.clips -= 1;
        self.clip_bytes -= dropped.len();
        true
    }

    /// Drops every clip of which nothing is written yet, and returns their number.
    pub fn drop_waiting(&mut self) -> usize {
        let (before, touched) = (self.clips, self.written > 0);
        let first = self.items.pop_front_if(|_| touched);
        let gap = &mut self.gap;
        for queued in [&mut self.items, &mut self.deferred] {
            queued.retain(|item| match item {
                Item::Clip(frame) => {
                    Gap::note(gap, frame.about.as_ref());
                    false
                }
                Item::Passing(_) => true,
            });
        }
        if let Some(first) = first {
            self.items.push_front(first);
        }
        let clip = match self.items.front() {
            Some(Item::Clip(frame)) => Some(frame.len()),
            _ => None,
        };
        (self.clips, self.clip_bytes) = (usize::from(clip.is_some()), clip.unwrap_or(0));
        before - self.clips
    }
}
