//! One WebSocket to a Castaway server: the handshake, and reads without a buffer for each socket.
//!
//! **Invariant**: only whole frames are written, even after a cancellation: [`Socket::readable`] may be dropped at any
//! point, all other calls run to their end.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::frame::{self, FrameError, Opcode, Piece, Reader};
use crate::packet::{PONG, Packet};

/// Bound of one read, in bytes; one buffer per thread, not one per socket.
const READ_BYTES: usize = 256 << 10;
/// The longest answer to the handshake, in bytes.
const MAX_ANSWER_BYTES: usize = 16 << 10;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// A connection failed.
#[derive(Debug, Error)]
pub(crate) enum SocketError {
    /// The network failed, or the server ended the connection.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    /// The server closed it.
    #[error("the server closed the connection")]
    Closed,
    /// The server is no WebSocket server, or accepts no further connection.
    #[error("the server does not open a WebSocket: {0}")]
    Handshake(String),
    /// The server admits a streamer no longer.
    #[error("could not come back: {0}")]
    Refused(String),
    /// The server violated the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// The server to connect to, and the identity to use.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    /// The server's address.
    pub(crate) address: SocketAddr,
    /// The value of the `Host` header.
    pub(crate) host: String,
    /// The value of the `id-token` header.
    pub(crate) token: String,
    /// The value of the `livestream-id` header.
    pub(crate) livestream: String,
    /// Whether clips come as `clip` instead of `audio`.
    pub(crate) is_for_clips: bool,
}

/// Result of a read.
#[derive(Debug)]
pub(crate) enum Heard<'a> {
    /// A text.
    Packet(Packet),
    /// A piece of a binary message.
    Piece(&'a [u8]),
    /// The binary message is complete.
    End,
}

/// An open WebSocket.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    reader: Reader,
    /// Bytes that came with the answer to the handshake.
    early: Vec<u8>,
}

impl Socket {
    /// Connects and opens the WebSocket; `receive_buffer` limits the kernel's receive buffer, in bytes.
    pub(crate) async fn open(
        door: &Door,
        receive_buffer: Option<u32>,
    ) -> Result<Self, SocketError> {
        let socket = match door.address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let mut stream = socket.connect(door.address).await?;
        stream.set_nodelay(true)?;
        let features = if door.is_for_clips {
            "castaway-features: clips\r\n"
        } else {
            ""
        };
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: Y2FzdGF3YXktbG9hZC1ydQ==\r\n\
             id-token: {}\r\nlivestream-id: {}\r\n{features}\r\n",
            door.host, door.token, door.livestream
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(512);
        let end = loop {
            if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if answer.len() > MAX_ANSWER_BYTES {
                return Err(SocketError::Handshake("its answer has no end".into()));
            }
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(SocketError::Closed);
            }
        };
        let early = answer.split_off(end);
        let answer = String::from_utf8_lossy(&answer);
        let line = answer.lines().next().unwrap_or_default();
        if line.split(' ').nth(1) != Some("101") {
            return Err(SocketError::Handshake(line.to_owned()));
        }
        Ok(Self {
            stream,
            reader: Reader::new(),
            early,
        })
    }

    /// Waits until the socket may be readable.
    pub(crate) async fn readable(&self) -> Result<(), SocketError> {
        if self.early.is_empty() {
            self.stream.readable().await?;
        }
        Ok(())
    }

    /// Reads once, at most `limit` bytes, passes the results on, and answers pings. Returns the number of bytes read.
    pub(crate) async fn read(
        &mut self,
        limit: usize,
        mut heard: impl FnMut(Heard<'_>),
    ) -> Result<usize, SocketError> {
        let mut answers = Vec::new();
        let mut closed = false;
        let mut answer = |opcode, payload: &[u8]| {
            frame::write(&mut answers, opcode, payload, rand::random());
        };
        let mut found = |piece: Piece<'_>| match piece {
            Piece::Text(text) => match Packet::read(text) {
                Packet::Ping => answer(Opcode::Text, PONG.as_bytes()),
                packet => heard(Heard::Packet(packet)),
            },
            Piece::Binary(piece) => heard(Heard::Piece(piece)),
            Piece::BinaryEnd => heard(Heard::End),
            Piece::Ping(payload) => answer(Opcode::Pong, payload),
            Piece::Close => closed = true,
        };
        let early = std::mem::take(&mut self.early);
        if !early.is_empty() {
            self.reader.feed(&early, &mut found)?;
        }
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let room = limit.min(scratch.len());
            match self.stream.try_read(&mut scratch[..room]) {
                Ok(0) => Err(SocketError::Closed),
                Ok(read) => {
                    self.reader.feed(&scratch[..read], &mut found)?;
                    Ok(read)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                Err(error) => Err(error.into()),
            }
        })?;
        if closed {
            return Err(SocketError::Closed);
        }
        if !answers.is_empty() {
            self.stream.write_all(&answers).await?;
        }
        Ok(read)
    }

    /// Sends one text.
    pub(crate) async fn send(&mut self, text: &str) -> Result<(), SocketError> {
        let mut bytes = Vec::with_capacity(text.len() + 8);
        frame::write(&mut bytes, Opcode::Text, text.as_bytes(), rand::random());
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// Sends one text and the bytes that belong to it.
    pub(crate) async fn send_with(
        &mut self,
        text: &str,
        attachment: &[u8],
    ) -> Result<(), SocketError> {
        let mut bytes = Vec::with_capacity(text.len() + attachment.len() + 32);
        frame::write(&mut bytes, Opcode::Text, text.as_bytes(), rand::random());
        frame::write(&mut bytes, Opcode::Binary, attachment, rand::random());
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// Ends the connection without a farewell: the server gets a reset.
    pub(crate) fn cut(self) -> io::Result<()> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
    }

    /// Whether the server has closed the connection, although nothing is read any longer.
    pub(crate) async fn closed_unread(&self) -> bool {
        use tokio::io::Interest;
        match self
            .stream
            .ready(Interest::READABLE | Interest::ERROR)
            .await
        {
            Ok(ready) => ready.is_read_closed() || ready.is_error(),
            Err(_) => true,
        }
    }
}
