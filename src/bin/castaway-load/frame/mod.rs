//! WebSocket frames (RFC 6455) for a load generator: thousands of sockets without a buffer for each.
//!
//! A [`Reader`] receives the bytes of each read and passes on whole texts, and binary messages piece by piece, so that
//! a clip is checked while it passes and is never assembled.
//!
//! **Invariant**: the split of the stream into reads changes nothing but the number of [`Piece::Binary`] pieces.

use thiserror::Error;

/// Length in bytes of the longest text packet that a relay sends.
const MAX_TEXT_BYTES: usize = 1 << 20;
const CONTROL: u8 = 0x8;
/// In the field of the length: the length follows in two bytes, or in eight.
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// The other side did not send a stream of frames.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// A masked frame: only clients mask.
    #[error("the server sent a masked frame")]
    Masked,
    /// An opcode or flag without meaning here.
    #[error("the server sent a frame of an unknown kind ({0:#04x})")]
    Unknown(u8),
    /// A text that is not UTF-8.
    #[error("the server sent a text that is not UTF-8")]
    NotText,
    /// A text or control frame that is too long.
    #[error("the server sent a text of {0} bytes")]
    TooLong(u64),
}

/// A result of a reader.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A piece of a binary message.
    Binary(&'a [u8]),
    /// The binary message is complete.
    BinaryEnd,
    /// A WebSocket ping with its payload.
    Ping(&'a [u8]),
    /// The server's Close frame.
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
}

#[derive(Debug)]
enum State {
    /// The received part of the header.
    Header { bytes: [u8; 10], have: usize },
    /// The payload of a frame with this first byte, of which `left` bytes are missing.
    Payload { first: u8, left: u64 },
}

/// Reads frames from pieces of a stream.
#[derive(Debug)]
pub(crate) struct Reader {
    state: State,
    message: Option<Kind>,
    /// A text or a control payload that is still incomplete.
    unfinished: Vec<u8>,
    control: Vec<u8>,
}

const START: State = State::Header {
    bytes: [0; 10],
    have: 0,
};

impl Reader {
    /// A reader at the start of a frame.
    pub(crate) fn new() -> Self {
        Self {
            state: START,
            message: None,
            unfinished: Vec::new(),
            control: Vec::new(),
        }
    }

    /// Parses the bytes of one read and passes each piece to `found`.
    pub(crate) fn feed(
        &mut self,
        mut input: &[u8],
        mut found: impl FnMut(Piece<'_>),
    ) -> Result<(), FrameError> {
        loop {
            match &mut self.state {
                State::Header { bytes, have } => {
                    let need = header_length(&bytes[..*have]);
                    if *have < need {
                        let Some((&byte, rest)) = input.split_first() else {
                            return Ok(());
                        };
                        bytes[*have] = byte;
                        *have += 1;
                        input = rest;
                        continue;
                    }
                    if bytes[1] & 0x80 != 0 {
                        return Err(FrameError::Masked);
                    }
                    let (first, left) = (bytes[0], payload_length(&bytes[..*have]));
                    self.begin(first, left)?;
                    self.state = State::Payload { first, left };
                }
                State::Payload { first, left } => {
                    let take =
                        usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                    let (payload, rest) = input.split_at(take);
                    input = rest;
                    *left -= payload.len() as u64;
                    let (first, done) = (*first, *left == 0);
                    self.payload(first, payload, done, &mut found)?;
                    if !done {
                        return Ok(());
                    }
                    self.state = START;
                }
            }
        }
    }

    fn begin(&mut self, first: u8, length: u64) -> Result<(), FrameError> {
        let kind = match first & 0x7f {
            0x0 => self.message.ok_or(FrameError::Unknown(first))?,
            0x1 => Kind::Text,
            0x2 => Kind::Binary,
            0x8..=0xa => {
                self.control.clear();
                return (length < 126)
                    .then_some(())
                    .ok_or(FrameError::TooLong(length));
            }
            _ => return Err(FrameError::Unknown(first)),
        };
        self.message = Some(kind);
        if kind == Kind::Text && length > MAX_TEXT_BYTES as u64 {
            return Err(FrameError::TooLong(length));
        }
        Ok(())
    }

    fn payload(
        &mut self,
        first: u8,
        payload: &[u8],
        frame_ends: bool,
        found: &mut impl FnMut(Piece<'_>),
    ) -> Result<(), FrameError> {
        if first & CONTROL != 0 {
            self.control.extend_from_slice(payload);
            if frame_ends {
                match first & 0x0f {
                    0x8 => found(Piece::Close),
                    0x9 => found(Piece::Ping(&self.control)),
                    _ => {}
                }
            }
            return Ok(());
        }
        let message_ends = frame_ends && first & 0x80 != 0;
        match self.message {
            Some(Kind::Text) => {
                if self.unfinished.len() + payload.len() > MAX_TEXT_BYTES {
                    return Err(FrameError::TooLong(self.unfinished.len() as u64));
                }
                self.unfinished.extend_from_slice(payload);
                if message_ends {
                    found(Piece::Text(
                        std::str::from_utf8(&self.unfinished).map_err(|_| FrameError::NotText)?,
                    ));
                    self.unfinished = Vec::new();
                }
            }
            Some(Kind::Binary) => {
                if !payload.is_empty() {
                    found(Piece::Binary(payload));
                }
                if message_ends {
                    found(Piece::BinaryEnd);
                }
            }
            None => return Err(FrameError::Unknown(first)),
        }
        if message_ends {
            self.message = None;
        }
        Ok(())
    }
}

/// Length of the header that begins with these bytes.
fn header_length(have: &[u8]) -> usize {
    match have.get(1).map(|byte| byte & 0x7f) {
        Some(LENGTH_16) => 4,
        Some(LENGTH_64) => 10,
        _ => 2,
    }
}

fn payload_length(header: &[u8]) -> u64 {
    match header.len() {
        2 => u64::from(header[1] & 0x7f),
        _ => header[2..]
            .iter()
            .fold(0, |length, &byte| length << 8 | u64::from(byte)),
    }
}

/// Type of a client's frame.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Opcode {
    /// A text.
    Text = 0x1,
    /// Bytes.
    Binary = 0x2,
    /// The answer to a WebSocket ping.
    Pong = 0xa,
}

/// Appends one frame, masked with `key` as clients must.
pub(crate) fn write(frame: &mut Vec<u8>, opcode: Opcode, payload: &[u8], key: [u8; 4]) {
    frame.push(0x80 | opcode as u8);
    let length = payload.len();
    if let Some(short) = u8::try_from(length).ok().filter(|&it| it < LENGTH_16) {
        frame.push(0x80 | short);
    } else if let Ok(middle) = u16::try_from(length) {
        frame.push(0x80 | LENGTH_16);
        frame.extend_from_slice(&middle.to_be_bytes());
    } else {
        frame.push(0x80 | LENGTH_64);
        frame.extend_from_slice(&(length as u64).to_be_bytes());
    }
    frame.extend_from_slice(&key);
    let keys = key.iter().cycle();
    frame.extend(payload.iter().zip(keys).map(|(byte, key)| byte ^ key));
}

#[cfg(test)]
mod tests;
