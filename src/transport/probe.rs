//! The move from polling to a WebSocket, up to the point at which it can no longer be undone.
//!
//! A proxy may pass the handshake and break the WebSocket afterwards. The Socket.IO library ends a session's polls as
//! soon as the handshake is complete, and never resumes them. So the library does not learn of the WebSocket before the
//! client has probed it and has sent `upgrade` over it.
//!
//! **Invariant**: until then the session is polled as before, even if the WebSocket fails.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::ReadBuf;

use super::closing::Closing;
use super::connection::Connection;
use super::io::{HttpIo, PROBE_ANSWER, WebSocketIo};
use super::session::Session;

/// Waits until the client of `session` has proved the WebSocket, with a time limit; `read` followed its handshake.
pub async fn prove(
    io: HttpIo,
    read: &[u8],
    session: Weak<Session>,
    most: Duration,
) -> Option<WebSocketIo> {
    let connection = io.connection().clone();
    drop(io);
    connection.upgrade();
    let mut probe = Probe {
        connection: connection.clone(),
        read: BytesMut::from(read),
    };
    let proved = tokio::time::timeout(most, probe.run(&session)).await;
    let timed_out = Err(Closing::Policy("the upgrade was not completed in time"));
    match proved.unwrap_or(timed_out) {
        Ok(session) => Some(WebSocketIo::upgraded(connection, &probe.read, session)),
        Err(why) => {
            connection.close(why);
            None
        }
    }
}

struct Probe {
    connection: Arc<Connection>,
    read: BytesMut,
}

/// Polls of the session are answered soon until this is dropped.
struct Upgrading(Arc<Session>);

impl Drop for Upgrading {
    fn drop(&mut self) {
        self.0.set_upgrading(false);
    }
}

impl Probe {
    async fn run(&mut self, session: &Weak<Session>) -> Result<Arc<Session>, Closing> {
        const GONE: Closing = Closing::Policy("the session has ended");
        self.expect(b"2probe").await?;
        let upgrading = Upgrading(session.upgrade().ok_or(GONE)?);
        upgrading.0.set_upgrading(true);
        self.connection.says(PROBE_ANSWER);
        self.expect(b"5").await?;
        let session = upgrading.0.clone();
        if session.is_closed() {
            return Err(GONE);
        }
        if !session.moves_to(&self.connection) {
            return Err(Closing::Policy("the session has a WebSocket already"));
        }
        Ok(session)
    }

    /// Waits for this text.
    async fn expect(&mut self, text: &[u8]) -> Result<(), Closing> {
        loop {
            while let Some(frame) = SmallFrame::of(&self.read)? {
                self.read.advance(frame.length);
                match frame.opcode {
                    // A ping or a pong.
                    9 | 10 => {}
                    8 => return Err(Closing::Normal),
                    1 if frame.payload == text => return Ok(()),
                    _ => return Err(Closing::Policy("an upgrade begins with a probe")),
                }
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Closing> {
        let mut piece = [0; 256];
        let length = poll_fn(|cx| {
            let mut out = ReadBuf::new(&mut piece);
            let read = ready!(self.connection.poll_read_web_socket(cx, &mut out));
            Poll::Ready(read.map_or(0, |()| out.filled().len()))
        })
        .await;
        if length == 0 {
            return Err(Closing::Normal);
        }
        self.read.extend_from_slice(&piece[..length]);
        Ok(())
    }
}

/// A client's frame of at most 125 bytes, not fragmented.
struct SmallFrame {
    opcode: u8,
    payload: Vec<u8>,
    /// Length with the header.
    length: usize,
}

impl SmallFrame {
    /// The frame at the front of `bytes`, once it is complete.
    fn of(bytes: &[u8]) -> Result<Option<Self>, Closing> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let length = usize::from(second & 0x7f);
        if first & 0xf0 != 0x80 || second & 0x80 == 0 || length > 125 {
            return Err(Closing::Protocol("no frame of an upgrade"));
        }
        let Some((mask, rest)) = rest.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let Some(masked) = rest.get(..length) else {
            return Ok(None);
        };
        let payload = masked.iter().zip(mask.iter().cycle());
        Ok(Some(Self {
            opcode: first & 0x0f,
            payload: payload.map(|(byte, mask)| byte ^ mask).collect(),
            length: 6 + length,
        }))
    }
}
