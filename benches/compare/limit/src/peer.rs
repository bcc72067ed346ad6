//! A connection and its queue.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};

use mio::net::TcpStream;

use crate::clip::Clip;
use crate::sockets::set_up_web_socket;
use crate::wire::{ACCEPTED, AUDIO, BINARY, OPEN, RECEIVED, TEXT, frame, take_message};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Its request has not come whole.
    Unknown,
    /// A WebSocket that has joined nothing yet.
    Open,
    Listener,
    Streamer,
}

pub(crate) struct Peer {
    stream: TcpStream,
    pub(crate) role: Role,
    received: Vec<u8>,
    /// What the kernel has not taken yet: bytes, and how many of them it has.
    waiting: VecDeque<(Clip, usize)>,
}

impl Peer {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            role: Role::Unknown,
            received: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Sends as much as the kernel takes, behind the queued bytes, and queues the rest.
    pub(crate) fn write(&mut self, bytes: &Clip) -> io::Result<()> {
        let mut from = 0;
        if self.waiting.is_empty() {
            from = self.send(bytes, 0)?;
        }
        if from < bytes.len() {
            self.waiting.push_back((bytes.clone(), from));
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while let Some((bytes, from)) = self.waiting.pop_front() {
            let from = self.send(&bytes, from)?;
            if from < bytes.len() {
                self.waiting.push_front((bytes, from));
                break;
            }
        }
        Ok(())
    }

    /// Sends from `from` on until the kernel takes no more; returns where it stopped.
    fn send(&mut self, bytes: &Clip, mut from: usize) -> io::Result<usize> {
        while from < bytes.len() {
            match bytes.send(&mut self.stream, from) {
                Ok(sent) => from += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(from)
    }

    /// Reads all there is, and gives the clips in it, framed for listeners.
    pub(crate) fn read(&mut self, scratch: &mut [u8], clips: &mut Vec<Vec<u8>>) -> io::Result<()> {
        loop {
            match self.stream.read(scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.received.extend_from_slice(&scratch[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.role == Role::Unknown && !self.opens()? {
            return Ok(());
        }
        while let Some((first, payload)) = take_message(&mut self.received) {
            if first == BINARY {
                clips.push([frame(TEXT, AUDIO.as_bytes()), frame(BINARY, &payload)].concat());
                self.write(&frame(TEXT, RECEIVED.as_bytes()).as_slice().into())?;
            } else if let Some(role) = payload.strip_prefix(b"40/") {
                self.joins(String::from_utf8_lossy(role).trim_end_matches(','))?;
            }
        }
        // A listener's memory is the kernel's.
        if self.received.is_empty() {
            self.received = Vec::new();
        }
        Ok(())
    }

    /// Answers the request, once it is whole.
    fn opens(&mut self) -> io::Result<bool> {
        let mut fours = self.received.windows(4);
        let Some(end) = fours.position(|four| four == b"\r\n\r\n") else {
            return Ok(false);
        };
        self.received.drain(..end + 4);
        self.role = Role::Open;
        set_up_web_socket(&self.stream)?;
        let answer = [ACCEPTED.as_bytes(), &frame(TEXT, OPEN.as_bytes())].concat();
        self.write(&answer.as_slice().into())?;
        Ok(true)
    }

    fn joins(&mut self, role: &str) -> io::Result<()> {
        self.role = match role {
            "listener" => Role::Listener,
            _ => Role::Streamer,
        };
        let joined = format!(r#"40/{role},{{"sid":"limit"}}"#);
        let success = format!(r#"42/{role},["success","in"]"#);
        let answer = [
            frame(TEXT, joined.as_bytes()),
            frame(TEXT, success.as_bytes()),
        ];
        self.write(&answer.concat().as_slice().into())
    }
}
