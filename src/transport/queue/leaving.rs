//! The front of the queue: what a write may take, and what it took.

use std::io::IoSlice;

use bytes::Buf as _;

use super::{Item, SLICES, SendQueue};
use crate::transport::Sent;

impl SendQueue {
    /// All bytes that may be written now, if they are one piece: the most common case, and the cheapest to write.
    pub fn only(&self) -> Option<&[u8]> {
        let first = self.items.front().filter(|_| self.items.len() == 1)?;
        let whole = match first {
            Item::Clip(frame) => match frame.pieces() {
                [whole, []] => whole,
                _ => return None,
            },
            Item::Passing(bytes) => bytes,
        };
        whole.get(self.written..)
    }

    /// The bytes that may be written now, as slices for one vectored write. Returns the number of slices. No clip leaves before
    /// the gap that it follows.
    pub fn slices<'a>(&'a self, out: &mut [IoSlice<'a>; SLICES]) -> usize {
        let mut filled = 0;
        let mut skip = self.written;
        let mut put = |bytes: &'a [u8]| {
            let skipped = skip.min(bytes.len());
            skip -= skipped;
            if skipped < bytes.len() && filled < SLICES {
                out[filled] = IoSlice::new(&bytes[skipped..]);
                filled += 1;
            }
        };
        let before_gap = match self.gap {
            Some(_) => self.first_untouched_clip(),
            None => None,
        };
        for item in self.items.iter().take(before_gap.unwrap_or(SLICES)) {
            match item {
                Item::Clip(frame) => frame.pieces().into_iter().for_each(&mut put),
                Item::Passing(bytes) => put(bytes),
            }
        }
        filled
    }

    /// Removes this number of written bytes.
    pub fn advance(&mut self, written: usize) -> Sent {
        let mut sent = Sent::default();
        self.written += written;
        while let Some(first) = self.items.front() {
            if self.written < first.len() {
                break;
            }
            self.written -= first.len();
            match self.items.pop_front() {
                Some(Item::Clip(frame)) => {
                    self.clips -= 1;
                    self.clip_bytes -= frame.len();
                    sent.clips += 1;
                    sent.clip_bytes += frame.payload.remaining() as u64;
                }
                Some(Item::Passing(bytes)) => self.passing -= bytes.len(),
                None => {}
            }
        }
        if self.items.is_empty() {
            // A queue that was long once must not stay large: there are many queues.
            self.items.shrink_to(1);
        }
        sent
    }
}
