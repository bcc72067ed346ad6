//! A clip in its wire format, encoded once and shared by all listeners.
//!
//! Socket.IO sends a binary event as two WebSocket messages: the event as text with a placeholder, then the bytes. Both
//! WebSocket headers and the text are the same for every listener, since a server does not mask (RFC 6455, 5.1).

use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use super::clip_message::{About, ClipEvent, LISTENER};
use crate::broadcast::Clip;

/// The argument of `audio`: the place of the attachment.
const ATTACHMENT: &str = r#"{"_placeholder":true,"num":0}"#;

const FIN_TEXT: u8 = 0x81;
pub(super) const FIN_BINARY: u8 = 0x82;

/// A clip's two WebSocket frames.
#[derive(Debug)]
pub struct ClipFrame {
    /// Everything before the clip's own bytes.
    pub head: Bytes,
    /// The clip's own bytes, as they were uploaded.
    pub payload: Bytes,
    /// What the event `clip` says; none of `audio`.
    pub about: Option<About>,
    /// Both in one buffer for small clips: one buffer costs the kernel less than two.
    whole: Option<Bytes>,
    /// Time at which the clip was queued for listeners.
    pub queued_at: Instant,
}

/// The largest clip that is copied once into one buffer with its head.
const WHOLE: usize = 16 << 10;

impl ClipFrame {
    /// Encodes `clip` as the event `audio`, queued at `now`.
    pub fn new(clip: &Clip, now: Instant) -> Self {
        Self::of(ClipEvent::Audio, clip, now)
    }

    /// Encodes `clip` as this event, queued at `now`.
    pub fn of(event: ClipEvent, clip: &Clip, now: Instant) -> Self {
        let about = match event {
            ClipEvent::Audio => None,
            ClipEvent::Clip => Some(About::new(clip)),
        };
        let text = match &about {
            None => event.text(ATTACHMENT),
            Some(about) => event.text(&about.json()),
        };
        Self::encode(clip, text.as_bytes(), about, now)
    }

    fn encode(clip: &Clip, event: &[u8], about: Option<About>, now: Instant) -> Self {
        let copied = Some(&clip.bytes).filter(|bytes| bytes.len() <= WHOLE);
        let mut wire = BytesMut::with_capacity(event.len() + 14 + copied.map_or(0, Bytes::len));
        put_header(&mut wire, FIN_TEXT, event.len());
        wire.put_slice(event);
        put_header(&mut wire, FIN_BINARY, clip.bytes.len());
        let head = wire.len();
        wire.put_slice(copied.map_or(&[], |bytes| bytes));
        let wire = wire.freeze();
        Self {
            head: wire.slice(..head),
            payload: clip.bytes.clone(),
            about,
            whole: copied.is_some().then_some(wire),
            queued_at: now,
        }
    }

    /// The frames in as few pieces as possible; the second may be empty.
    pub(super) fn pieces(&self) -> [&[u8]; 2] {
        match &self.whole {
            Some(whole) => [whole, &[]],
            None => [&self.head, &self.payload],
        }
    }

    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        self.head.len() + self.payload.len()
    }

    /// Never: there is always a head.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// An event to a listener with one argument, as a complete frame that all listeners can share.
pub fn event_frame(event: &str, argument: &impl Serialize) -> serde_json::Result<Bytes> {
    let arguments = serde_json::to_string(&(event, argument))?;
    let text = format!("42{LISTENER},{arguments}");
    let mut frame = BytesMut::with_capacity(text.len() + 10);
    put_header(&mut frame, FIN_TEXT, text.len());
    frame.put_slice(text.as_bytes());
    Ok(frame.freeze())
}

/// Writes an unmasked header (RFC 6455, 5.2).
fn put_header(out: &mut BytesMut, opcode: u8, length: usize) {
    out.put_u8(opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => out.put_u8(short),
        (_, Ok(medium)) => {
            out.put_u8(126);
            out.put_u16(medium);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(length as u64);
        }
    }
}

/// Follows the frames in a server's own byte stream, independent of how it is split.
///
/// **Invariant**: `at_boundary` is true exactly if the bytes fed so far are a number of complete frames.
#[derive(Debug, Default)]
pub(super) struct FrameTracker {
    remaining: u64,
    have: usize,
    header: [u8; 10],
}

/// The piece at the front of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Number of bytes of a header that is still incomplete.
    Part(usize),
    /// The bytes that complete a header.
    Header {
        /// Number of bytes of the buffer that belong to it.
        taken: usize,
        /// The complete header, with earlier bytes.
        header: Header,
        /// Length in bytes of a text message in one frame.
        text: Option<u64>,
    },
    /// Number of bytes of a payload.
    Payload(usize),
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    bytes: [u8; 10],
    length: usize,
}

impl Header {
    /// The header in wire format.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl FrameTracker {
    /// Whether the stream is between two frames.
    pub(super) fn at_boundary(&self) -> bool {
        self.have == 0 && self.remaining == 0
    }

    /// Reads the piece at the front of `bytes`, which must not be empty, and moves past it.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Piece {
        if self.remaining > 0 {
            let taken = usize::try_from(self.remaining)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            self.remaining -= taken as u64;
            return Piece::Payload(taken);
        }
        for (index, byte) in bytes.iter().enumerate() {
            self.header[self.have] = *byte;
            self.have += 1;
            if let Some(length) = self.length() {
                let header = Header {
                    bytes: self.header,
                    length: self.have,
                };
                self.have = 0;
                self.remaining = length;
                let text = (self.header[0] == FIN_TEXT).then_some(length);
                return Piece::Header {
                    taken: index + 1,
                    header,
                    text,
                };
            }
        }
        Piece::Part(bytes.len())
    }

    /// The payload's length, once the header is complete.
    fn length(&self) -> Option<u64> {
        let header = &self.header[..self.have];
        match (header.get(1)? & 0x7f, header.get(2..)?) {
            (126, [high, low]) => Some(u64::from(u16::from_be_bytes([*high, *low]))),
            (127, rest) => rest.try_into().ok().map(u64::from_be_bytes),
            (126, _) => None,
            (short, _) => Some(u64::from(short)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broadcast::Position;

    /// Socket.IO's `BINARY_EVENT` packet: `audio` in `/listener` with one attachment.
    const EVENT: &[u8] = br#"451-/listener,["audio",{"_placeholder":true,"num":0}]"#;

    /// The lengths at which a header changes its shape, and their neighbours.
    const LENGTHS: [usize; 8] = [0, 1, 125, 126, 127, 65_535, 65_536, 70_000];

    #[test]
    fn clip_is_an_event_and_then_its_bytes() {
        for length in LENGTHS {
            let bytes = Bytes::from(vec![7; length]);
            let clip = Clip::new(1, Position::new(1, 1), bytes.clone().into(), Instant::now());
            let frame = ClipFrame::new(&clip, Instant::now());
            let wire = [&frame.head[..], &frame.payload].concat();
            assert!(frame.pieces().concat() == wire, "the same in one piece");
            let mut tracker = FrameTracker::default();
            let Piece::Header {
                taken: header,
                text: Some(text),
                ..
            } = tracker.next(&wire)
            else {
                panic!("text comes first");
            };
            assert_eq!(&wire[header..header + EVENT.len()], EVENT);
            assert_eq!(text, EVENT.len() as u64);
            tracker.next(&wire[header..]);
            assert!(tracker.at_boundary());
            let rest = &wire[header + EVENT.len()..];
            assert_eq!(rest[0], FIN_BINARY);
            let Piece::Header {
                taken,
                header,
                text: None,
            } = tracker.next(rest)
            else {
                panic!("then binary");
            };
            assert_eq!(header.as_bytes(), &rest[..taken]);
            assert_eq!(&rest[taken..], &bytes);
        }
    }

    #[test]
    fn event_is_one_text_frame() {
        let frame = event_frame("state", &["a"]).unwrap();
        assert_eq!(&frame[..2], [FIN_TEXT, 27]);
        assert_eq!(&frame[2..], br#"42/listener,["state",["a"]]"#);
    }

    proptest! {
        #[test]
        fn tracker_is_at_a_boundary_between_frames_only(
            lengths in prop::collection::vec(prop::sample::select(LENGTHS.to_vec()), 1..6),
            cut in 1..2000_usize,
        ) {
            let mut stream = BytesMut::new();
            let mut ends = vec![0];
            for length in lengths {
                put_header(&mut stream, FIN_BINARY, length);
                stream.put_bytes(1, length);
                ends.push(stream.len());
            }
            let mut tracker = FrameTracker::default();
            let mut at = 0;
            for chunk in stream.chunks(cut) {
                let mut rest = chunk;
                while !rest.is_empty() {
                    let taken = match tracker.next(rest) {
                        Piece::Part(taken) | Piece::Payload(taken) => taken,
                        Piece::Header { taken, text, .. } => {
                            prop_assert!(text.is_none());
                            taken
                        }
                    };
                    at += taken;
                    rest = &rest[taken..];
                    prop_assert_eq!(tracker.at_boundary(), ends.contains(&at));
                }
            }
            prop_assert_eq!(at, stream.len());
        }
    }
}
