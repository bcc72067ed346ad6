//! The frames with which the server welcomes a listener: the first ones behind the gate.

use bytes::Bytes;

use super::{Item, SendQueue};

impl SendQueue {
    /// Queues whole frames that leave when the gate opens, before all clips.
    pub fn welcome(&mut self, frames: Bytes) {
        self.passing += frames.len();
        self.deferred.push_front(Item::Passing(frames));
    }

    /// Takes the welcome back: the library must send it, and the gate was not opened.
    pub fn take_back_welcome(&mut self) {
        if let Some(Item::Passing(frames)) = self
            .deferred
            .pop_front_if(|item| matches!(item, Item::Passing(_)))
        {
            self.passing -= frames.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::broadcast::{Clip, Position};
    use crate::transport::{ClipFrame, Mark, QueueBounds, SLICES, event_frame};

    const BOUNDS: QueueBounds = QueueBounds {
        clips: 2,
        bytes: 1 << 20,
    };

    /// A text frame of the library.
    fn text(text: &str) -> Vec<u8> {
        let length = u8::try_from(text.len()).unwrap();
        [&[0x81, length], text.as_bytes()].concat()
    }

    fn leaves(queue: &mut SendQueue) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = queue.slices(&mut slices);
        let bytes: Vec<u8> = slices[..filled]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect();
        queue.advance(bytes.len());
        bytes
    }

    #[test]
    fn welcome_leaves_with_the_mark_before_clips() {
        let (mark, now) = (Mark::random(), Instant::now());
        let mut queue = SendQueue::new(&mark);
        let welcome = event_frame("success", &"User a connected.").unwrap();
        queue.welcome(welcome.clone());
        let clip = Clip::new(
            0,
            Position::new(1, 0),
            Bytes::from_static(b"clip").into(),
            now,
        );
        let clip = Arc::new(ClipFrame::new(&clip, now));
        // More than the bounds: the welcome is not what is dropped.
        for dropped in [0, 0, 1] {
            assert_eq!(queue.push_clip(clip.clone(), BOUNDS), dropped);
        }
        assert!(!queue.is_empty() && queue.is_drained());
        let connected = text("40/listener,{}");
        queue.accept(&connected);
        assert_eq!(leaves(&mut queue), connected);
        queue.accept(&text(&mark.message));
        let clip = [&clip.head[..], &clip.payload].concat();
        assert_eq!(leaves(&mut queue), [&welcome[..], &clip, &clip].concat());
        assert!(queue.is_empty());
    }

    #[test]
    fn welcome_that_is_taken_back_never_leaves() {
        let mark = Mark::random();
        let mut queue = SendQueue::new(&mark);
        queue.welcome(Bytes::from_static(b"welcome"));
        queue.take_back_welcome();
        queue.accept(&text(&mark.message));
        assert!(queue.is_empty() && leaves(&mut queue).is_empty());
        queue.take_back_welcome();
    }
}
