//! Follows a client's frames as they are read. Violations of RFC 6455 and messages that are too large are found here,
//! before the Socket.IO library sees them, since the library gives no reason when it closes a WebSocket.
//!
//! Payloads pass through unchanged. Only text is unmasked, in pieces, to check that it is UTF-8.
//!
//! **Invariant**: of a refused frame nothing is passed on, except perhaps a part of its header.

use super::closing::Closing;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PONG: u8 = 10;

/// Engine.IO's packet `close`.
const GOODBYE: u8 = b'1';

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    header: [u8; 14],
    have: usize,
    frame: Option<Frame>,
    /// Opcode of the unfinished data message, and its length so far.
    message: Option<(u8, u64)>,
    text: Utf8,
    goodbye: bool,
}

/// A frame whose header is complete.
#[derive(Debug, Clone, Copy)]
struct Frame {
    fin: bool,
    opcode: u8,
    mask: [u8; 4],
    length: u64,
    /// Payload bytes received.
    come: u64,
}

/// Result of following a read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Whether a message ended in it.
    pub(super) message: bool,
}

/// The reason to close the connection, and the number of bytes of the read before the frame that is the reason.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) why: Closing,
    pub(super) before: usize,
}

impl Inbound {
    /// Follows the bytes of a read. A message longer than `limit` is refused.
    pub(super) fn follow(&mut self, bytes: &[u8], limit: usize) -> Result<Heard, Refused> {
        let (mut at, mut begin) = (0, 0);
        let mut heard = Heard::default();
        while at < bytes.len() {
            let refused = |why| Refused { why, before: begin };
            if self.frame.is_none() {
                self.header[self.have] = bytes[at];
                self.have += 1;
                at += 1;
                let Some(frame) = self.parse().map_err(refused)? else {
                    continue;
                };
                self.have = 0;
                self.begins(&frame, limit).map_err(refused)?;
                self.frame = Some(frame);
            } else if let Some(frame) = &mut self.frame {
                let left = usize::try_from(frame.length - frame.come).unwrap_or(usize::MAX);
                let piece = &bytes[at..at + left.min(bytes.len() - at)];
                let before = *frame;
                frame.come += piece.len() as u64;
                at += piece.len();
                self.payload(&before, piece).map_err(refused)?;
            }
            if let Some(frame) = self.frame.filter(|frame| frame.come == frame.length) {
                self.frame = None;
                self.ends(&frame).map_err(refused)?;
                // A control frame inside an unfinished message does not end that message.
                heard.message |= self.message.is_none();
                begin = at;
            }
        }
        Ok(heard)
    }

    /// Whether the client has closed the session, with Engine.IO's packet or with a Close frame.
    pub(super) fn said_goodbye(&self) -> bool {
        self.goodbye
    }

    /// The frame, once its header is complete.
    fn parse(&self) -> Result<Option<Frame>, Closing> {
        let header = &self.header[..self.have];
        let [first, second, rest @ ..] = header else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(Closing::Protocol("reserved bits are set"));
        }
        if second & 0x80 == 0 {
            return Err(Closing::Protocol("a client's frames must be masked"));
        }
        let (length, mask) = match (second & 0x7f, rest) {
            (126, rest) => match rest.split_first_chunk() {
                Some((length, mask)) => (u64::from(u16::from_be_bytes(*length)), mask),
                None => return Ok(None),
            },
            (127, rest) => match rest.split_first_chunk() {
                Some((length, mask)) => (u64::from_be_bytes(*length), mask),
                None => return Ok(None),
            },
            (short, mask) => (u64::from(short), mask),
        };
        let Ok(mask) = mask.try_into() else {
            return Ok(None);
        };
        Ok(Some(Frame {
            fin: first & 0x80 != 0,
            opcode: first & 0x0f,
            mask,
            length,
            come: 0,
        }))
    }

    fn begins(&mut self, frame: &Frame, limit: usize) -> Result<(), Closing> {
        let before = match (frame.opcode, self.message) {
            (CONTINUATION, Some((_, length))) => length,
            (CONTINUATION, None) => {
                return Err(Closing::Protocol("a continuation of no message"));
            }
            (TEXT | BINARY, Some(_)) => {
                return Err(Closing::Protocol("a message inside another"));
            }
            (TEXT | BINARY, None) => {
                self.text = Utf8::default();
                0
            }
            (CLOSE..=PONG, _) if !frame.fin || frame.length > 125 || close_is_cut(frame) => {
                return Err(Closing::Protocol(
                    "a control frame that is fragmented or has a wrong length",
                ));
            }
            (CLOSE..=PONG, _) => {
                self.goodbye |= frame.opcode == CLOSE;
                return Ok(());
            }
            _ => return Err(Closing::Protocol("an unknown opcode")),
        };
        let length = before.saturating_add(frame.length);
        if length > limit as u64 {
            return Err(Closing::TooLarge);
        }
        let kind = self.message.map_or(frame.opcode, |(kind, _)| kind);
        self.message = Some((kind, length));
        Ok(())
    }

    fn payload(&mut self, frame: &Frame, piece: &[u8]) -> Result<(), Closing> {
        if frame.opcode > BINARY || self.message.is_none_or(|(kind, _)| kind != TEXT) {
            return Ok(());
        }
        let mut at = usize::try_from(frame.come % 4).unwrap_or(0);
        let mut plain = [0; 256];
        for masked in piece.chunks(plain.len()) {
            for (plain, masked) in plain.iter_mut().zip(masked) {
                *plain = masked ^ frame.mask[at % 4];
                at += 1;
            }
            let plain = &plain[..masked.len()];
            self.goodbye |= self.message == Some((TEXT, 1)) && plain == [GOODBYE];
            if !self.text.takes(plain) {
                return Err(Closing::NotUtf8);
            }
        }
        Ok(())
    }

    fn ends(&mut self, frame: &Frame) -> Result<(), Closing> {
        if !frame.fin || frame.opcode > BINARY {
            return Ok(());
        }
        match self.message.take() {
            Some((TEXT, _)) if !self.text.is_whole() => Err(Closing::NotUtf8),
            _ => Ok(()),
        }
    }
}

/// Whether a Close frame has only half a code.
fn close_is_cut(frame: &Frame) -> bool {
    frame.opcode == CLOSE && frame.length == 1
}

/// Checks whether bytes are UTF-8, independent of how they are split.
#[derive(Debug, Default)]
struct Utf8 {
    /// The first bytes of an unfinished character.
    begun: [u8; 4],
    have: usize,
}

impl Utf8 {
    fn takes(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while self.have > 0 {
            let Some((byte, after)) = rest.split_first() else {
                return true;
            };
            rest = after;
            self.begun[self.have] = *byte;
            self.have += 1;
            match std::str::from_utf8(&self.begun[..self.have]) {
                Ok(_) => self.have = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        match std::str::from_utf8(rest) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                // At most three bytes, since four would complete the character.
                let begun = &rest[error.valid_up_to()..];
                self.begun[..begun.len()].copy_from_slice(begun);
                self.have = begun.len();
                true
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.have == 0
    }
}

#[cfg(test)]
mod tests;
