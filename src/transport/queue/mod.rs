//! The send queue of one connection: clips that are shared with other connections, between the frames that the
//! Socket.IO library writes. Pure: bytes in, slices out.
//!
//! The library's bytes pass through in order, except pings, which overtake queued clips. A clip goes to the end of the
//! queue, but never into the middle of a frame of the library, and not before the *gate* is open. The gate opens when
//! the library writes a certain text, the [`Mark`], which is swallowed here. So a clip can never overtake the packets
//! that admit a listener.
//!
//! **Invariant**: the frames that leave are the library's, in order (except pings) and unchanged, except that its empty
//! Close frame gets a code. Whole clips and the server's own pings stand between whole frames. Clips leave in the order
//! they came; all others were dropped oldest first, whole, and counted, and a listener of `clip` is told of them before the
//! clip that follows. Nothing follows a Close frame.

mod dropping;
mod leaving;
mod welcome;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::backpressure::AnswerCounter;
use super::clip_message::Gap;
use super::closing::Closing;
use super::frame::{ClipFrame, FIN_BINARY, FrameTracker, Piece};
use super::greeting::Greeting;
use super::mark::Mark;

/// Bounds of one listener's queue.
#[derive(Debug, Clone, Copy)]
pub struct QueueBounds {
    /// Clips.
    pub clips: usize,
    /// Bytes of clips.
    pub bytes: usize,
}

/// Engine.IO's ping.
const PING: &[u8] = b"2";
/// [`PING`] as a complete frame.
const PING_FRAME: &[u8] = b"\x81\x012";
/// A Close frame without a code, as the library writes it.
const EMPTY_CLOSE: &[u8] = b"\x88\x00";

/// Maximum number of slices of one write.
pub const SLICES: usize = 16;

/// Bytes of the library that may be queued before the library must wait.
const PASSING_BYTES: usize = 64 << 10;

enum Item {
    Clip(Arc<ClipFrame>),
    Passing(Bytes),
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Self::Clip(frame) => frame.len(),
            Self::Passing(bytes) => bytes.len(),
        }
    }
}

/// See the module documentation.
///
/// The fields that a delivery touches come first, so that they share cache lines.
#[repr(C)]
pub struct SendQueue {
    items: VecDeque<Item>,
    /// Number of bytes of the first item that are written.
    written: usize,
    clips: usize,
    clip_bytes: usize,
    tracker: FrameTracker,
    /// Missing bytes of the suspect; 0 if there is none.
    suspect_missing: usize,
    /// Dropped clips that the listener is still to be told of; they were before the first clip of which nothing is written.
    gap: Option<Gap>,
    /// Items that wait for the gate, or for the end of a frame of the library.
    deferred: VecDeque<Item>,
    open: bool,
    /// Whether the Close frame is queued.
    closed: bool,
    /// Whether a ping of the server waits for the end of a frame of the library.
    ping: bool,
    /// The received part of a text frame that may be the mark or a ping.
    suspect: Option<BytesMut>,
    mark: Arc<str>,
    passing: usize,
    /// Number of the library's binary messages that have begun to pass: clips that were not shared.
    binaries: u64,
    answers: AnswerCounter,
    /// The greeting whose answers are still to be swallowed.
    greeting: Option<Greeting>,
    /// Code and reason of the library's Close frame.
    goodbye: Closing,
    /// A Close frame of the server that waits for the end of a frame of the library.
    closing: Option<Closing>,
}

impl SendQueue {
    /// Bytes of it that a delivery touches.
    #[cfg(test)]
    pub(super) const TOUCHED: usize = std::mem::offset_of!(Self, suspect);

    /// Creates an empty queue with the gate shut.
    pub fn new(mark: &Mark) -> Self {
        Self {
            items: VecDeque::new(),
            written: 0,
            deferred: VecDeque::new(),
            tracker: FrameTracker::default(),
            suspect: None,
            suspect_missing: 0,
            mark: mark.message.clone(),
            open: false,
            clips: 0,
            clip_bytes: 0,
            gap: None,
            passing: 0,
            binaries: 0,
            answers: AnswerCounter::default(),
            ping: false,
            greeting: None,
            goodbye: Closing::MALFORMED,
            closing: None,
            closed: false,
        }
    }

    /// Swallows the library's answers to the greeting.
    pub fn greets(&mut self, greeting: Greeting) {
        self.greeting = Some(greeting);
    }

    /// Whether answers to the greeting are still missing.
    pub fn is_greeting(&self) -> bool {
        self.greeting.is_some()
    }

    /// Queues Engine.IO's ping before the queued clips.
    pub fn ping(&mut self) {
        if self.closed {
            return;
        }
        if self.at_boundary() || self.first_untouched_clip().is_some() {
            self.pass_before_clips(PING_FRAME);
        } else {
            self.ping = true;
        }
    }

    /// Sets the code and reason of the library's Close frame, which has none itself.
    pub fn says_goodbye(&mut self, closing: Closing) {
        self.goodbye = closing;
    }

    /// Ends the stream with a Close frame instead of the queued clips. Returns their number.
    pub fn close(&mut self, closing: Closing) -> usize {
        let before = self.clips;
        if !self.closed {
            while self.drop_oldest(0) {}
            self.close_after_clips(closing);
        }
        before - self.clips
    }

    /// Ends the stream with a Close frame, behind the clips that may already leave.
    pub fn close_after_clips(&mut self, closing: Closing) {
        if self.closed {
            return;
        }
        if self.at_boundary() {
            self.push_close(closing);
        } else {
            self.closing = Some(closing);
        }
    }

    fn push_close(&mut self, closing: Closing) {
        self.closed = true;
        self.pass(&closing.frame());
    }

    /// Whether the library's stream is between two frames.
    fn at_boundary(&self) -> bool {
        self.tracker.at_boundary() && self.suspect_missing == 0
    }

    /// Number of the library's binary messages that have begun to pass.
    pub fn binaries(&self) -> u64 {
        self.binaries
    }

    /// Number of answers that have begun to pass: see [`super::backpressure`].
    pub fn answers(&self) -> u64 {
        self.answers.count()
    }

    /// Shuts the gate until the next mark: a listener is about to join, who has lost nothing yet.
    pub fn shut(&mut self) {
        self.open = false;
        self.gap = None;
    }

    /// Whether nothing is queued that may leave.
    pub fn is_drained(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether nothing is queued at all.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.deferred.is_empty()
    }

    /// Time at which the oldest clip was queued.
    pub fn oldest(&self) -> Option<Instant> {
        let mut queued = self.items.iter().chain(&self.deferred);
        queued.find_map(|item| match item {
            Item::Clip(frame) => Some(frame.queued_at),
            Item::Passing(_) => None,
        })
    }

    /// Queues a clip, and drops the oldest clips above a bound. Returns the number of dropped clips.
    pub fn push_clip(&mut self, frame: Arc<ClipFrame>, bounds: QueueBounds) -> usize {
        if self.closed {
            return 1;
        }
        self.clips += 1;
        self.clip_bytes += frame.len();
        if self.open && self.at_boundary() {
            self.items.push_back(Item::Clip(frame));
        } else {
            self.deferred.push_back(Item::Clip(frame));
        }
        let mut dropped = 0;
        while self.clips > bounds.clips || self.clip_bytes > bounds.bytes {
            if !self.drop_oldest(1) {
                break;
            }
            dropped += 1;
        }
        dropped
    }

    /// Queues the library's bytes, and returns their number; at 0 the library must wait.
    pub fn accept(&mut self, bytes: &[u8]) -> usize {
        let room = PASSING_BYTES.saturating_sub(self.passing).min(bytes.len());
        let mut rest = &bytes[..room];
        while !rest.is_empty() {
            if self.closed {
                return bytes.len();
            }
            let taken = self.accept_piece(rest);
            rest = &rest[taken..];
            if self.at_boundary() {
                self.between_frames();
            }
        }
        room
    }

    /// Queues a whole frame of the server behind all that is queued. False if the library must send it: packets of the
    /// library that came before may not have passed yet, or there is no room.
    pub fn say(&mut self, frame: &Bytes) -> bool {
        let room = PASSING_BYTES.saturating_sub(self.passing);
        if !self.open || self.closed || !self.at_boundary() || frame.len() > room {
            return false;
        }
        self.passing += frame.len();
        self.items.push_back(Item::Passing(frame.clone()));
        true
    }

    fn between_frames(&mut self) {
        if self.open {
            self.items.extend(std::mem::take(&mut self.deferred));
        }
        if std::mem::take(&mut self.ping) {
            self.pass_before_clips(PING_FRAME);
        }
        if let Some(closing) = self.closing.take() {
            self.push_close(closing);
        }
    }

    fn accept_piece(&mut self, bytes: &[u8]) -> usize {
        if let Some(mut frame) = self.suspect.take() {
            let taken = self.suspect_missing.min(bytes.len());
            self.tracker.next(&bytes[..taken]);
            frame.extend_from_slice(&bytes[..taken]);
            self.suspect_missing -= taken;
            if self.suspect_missing > 0 {
                self.suspect = Some(frame);
                return taken;
            }
            // A short message: its header has two bytes.
            self.answers.message_goes_on(&frame[2..]);
            if self
                .greeting
                .as_mut()
                .is_some_and(|it| it.is_answered(&frame[2..]))
            {
                self.greeting.take_if(|greeting| greeting.is_over());
            } else if !self.open && frame.ends_with(self.mark.as_bytes()) {
                self.open = true;
            } else if frame.len() == PING.len() + 2 && frame.ends_with(PING) {
                self.pass_before_clips(&frame);
            } else {
                self.pass(&frame);
            }
            return taken;
        }
        match self.tracker.next(bytes) {
            Piece::Part(taken) => taken,
            Piece::Header {
                taken,
                header,
                text,
            } => {
                self.binaries += u64::from(header.as_bytes()[0] == FIN_BINARY);
                self.answers.message_begins(text.is_some());
                let length = text.and_then(|length| usize::try_from(length).ok());
                let suspect = length.filter(|length| {
                    *length == PING.len()
                        || (!self.open && *length == self.mark.len())
                        || (self.greeting.is_some() && (1..=Greeting::LONGEST).contains(length))
                });
                if header.as_bytes() == EMPTY_CLOSE {
                    self.push_close(self.goodbye);
                } else if let Some(length) = suspect {
                    self.suspect = Some(BytesMut::from(header.as_bytes()));
                    self.suspect_missing = length;
                } else {
                    self.pass(header.as_bytes());
                }
                taken
            }
            Piece::Payload(taken) => {
                self.answers.message_goes_on(&bytes[..taken]);
                self.pass(&bytes[..taken]);
                taken
            }
        }
    }

    /// Lets a frame overtake the queued clips: a ping behind them would reach a slow listener too late, and the
    /// listener would count as dead. There is always a boundary before a clip.
    fn pass_before_clips(&mut self, frame: &[u8]) {
        let index = self.first_untouched_clip().unwrap_or(self.items.len());
        self.passing += frame.len();
        let item = Item::Passing(Bytes::copy_from_slice(frame));
        self.items.insert(index, item);
    }

    /// The first clip of which nothing is written yet.
    fn first_untouched_clip(&self) -> Option<usize> {
        let untouched = usize::from(self.written > 0);
        (untouched..self.items.len()).find(|index| matches!(self.items[*index], Item::Clip(_)))
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.passing += bytes.len();
        self.items
            .push_back(Item::Passing(Bytes::copy_from_slice(bytes)));
    }

    /// Drops everything and returns the number of clips.
    pub fn clear(&mut self) -> usize {
        self.items = VecDeque::new();
        self.deferred = VecDeque::new();
        (self.suspect, self.suspect_missing) = (None, 0);
        (self.written, self.clip_bytes, self.passing) = (0, 0, 0);
        std::mem::take(&mut self.clips)
    }
}

#[cfg(test)]
mod tests;
