//! The two interfaces of a [`Connection`]: for the HTTP server and, after the upgrade, for the Socket.IO library.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::closing::Closing;
use super::connection::Connection;
use super::greeting::{Greeting, client_text};
use super::inbound::Inbound;
use super::open::corrected_frame;
use super::session::Session;

/// A connection as the HTTP server reads and writes it.
pub struct HttpIo(pub(super) Arc<Connection>);

impl HttpIo {
    /// The connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.0
    }
}

impl AsyncRead for HttpIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.poll_read_http(cx, out)
    }
}

impl AsyncWrite for HttpIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write_http(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write_http(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.shut_down_writing();
        Poll::Ready(Ok(()))
    }
}

/// A connection as the Socket.IO library reads and writes it once it is a WebSocket.
///
/// **Invariant**: the library reads the server's own packets in the client's name, and then the client's frames up to
/// the first that is refused. It does not learn of the client before its answers to the greeting are swallowed.
pub struct WebSocketIo {
    connection: Arc<Connection>,
    // Owned, so that the session lives as long as its transport.
    session: Arc<Session>,
    inbound: Inbound,
    /// Packets of the server in the client's name.
    said_for_client: Bytes,
    /// Bytes that were read and followed, but not requested yet: by the HTTP server, or of an arriving clip.
    read_ahead: Bytes,
    first_write: FirstWrite,
    /// Whether answers to the greeting are missing, and the reader that waits for them.
    greets: bool,
    reader: Option<Waker>,
}

/// The library's first writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FirstWrite {
    /// OPEN, which is corrected.
    Open,
    /// The answer to the probe, which the client already has.
    ProbeAnswer,
    /// All of them are written.
    Done,
}

/// Engine.IO's answer to a probe, as a frame.
pub(super) const PROBE_ANSWER: &[u8] = b"\x81\x063probe";

impl WebSocketIo {
    /// The read buffer that the library keeps for each WebSocket: enough for a listener's packets, since a large
    /// message is [read ahead](Connection::read_ahead).
    pub const LIBRARY_BUFFER: usize = 256;

    /// A session that begins on a WebSocket; `read` followed its handshake.
    pub fn begin(io: HttpIo, read: &[u8], session: Arc<Session>, greeting: Greeting) -> Self {
        io.0.upgrade();
        session.moves_to(&io.0);
        let said_for_client = greeting.connect_frame().into();
        io.0.greets(greeting);
        let mut begun = Self::over(io.0, session, said_for_client, FirstWrite::Open);
        begun.greets = true;
        begun.reads(read);
        begun
    }

    /// A session that has moved to a WebSocket; `read` followed its `upgrade`.
    pub(super) fn upgraded(
        connection: Arc<Connection>,
        read: &[u8],
        session: Arc<Session>,
    ) -> Self {
        let said_for_client = [client_text("2probe"), client_text("5")].concat().into();
        let first = FirstWrite::ProbeAnswer;
        let mut moved = Self::over(connection, session, said_for_client, first);
        moved.reads(read);
        moved
    }

    fn over(
        connection: Arc<Connection>,
        session: Arc<Session>,
        said_for_client: Bytes,
        first_write: FirstWrite,
    ) -> Self {
        Self {
            connection,
            session,
            inbound: Inbound::default(),
            said_for_client,
            read_ahead: Bytes::new(),
            first_write,
            greets: false,
            reader: None,
        }
    }

    fn reads(&mut self, read: &[u8]) {
        let length = self.hears(read);
        // A copy, since a slice would keep the HTTP server's whole read buffer.
        self.read_ahead = Bytes::copy_from_slice(&read[..length]);
    }

    /// Follows the bytes of a read and returns how many of them may be passed on.
    fn hears(&mut self, bytes: &[u8]) -> usize {
        let limit = self.session.message_limit();
        match self.inbound.follow(bytes, limit) {
            Ok(heard) => {
                if heard.message {
                    self.session.activity.heard_message();
                } else {
                    self.session.activity.heard_bytes(bytes.len());
                }
                if self.inbound.said_goodbye() {
                    self.connection.says_goodbye(Closing::Normal);
                }
                bytes.len()
            }
            Err(refused) => {
                self.connection.close(refused.why);
                refused.before
            }
        }
    }
}

/// Moves as many bytes as `out` has room for.
fn give(from: &mut Bytes, out: &mut ReadBuf<'_>) {
    let length = from.len().min(out.remaining());
    out.put_slice(&from[..length]);
    from.advance(length);
    if from.is_empty() {
        // An empty `Bytes` slice keeps its buffer.
        *from = Bytes::new();
    }
}

impl AsyncRead for WebSocketIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.said_for_client.is_empty() {
            give(&mut this.said_for_client, out);
            return Poll::Ready(Ok(()));
        }
        if this.greets {
            if this.connection.is_greeting() {
                this.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            this.greets = false;
        }
        ready!(this.session.activity.pressure.poll_open(cx));
        if !this.read_ahead.is_empty() {
            give(&mut this.read_ahead, out);
            return Poll::Ready(Ok(()));
        }
        let before = out.filled().len();
        ready!(this.connection.poll_read_web_socket(cx, out))?;
        if out.filled().len() == before {
            return Poll::Ready(Ok(()));
        }
        let read = this.hears(&out.filled()[before..]);
        let whole = before + read == out.filled().len();
        out.set_filled(before + read);
        if whole && out.remaining() == 0 {
            let mut ahead = this.connection.read_ahead();
            ahead.truncate(this.hears(&ahead));
            this.read_ahead = ahead;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WebSocketIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match this.first_write {
            FirstWrite::Done => {}
            FirstWrite::ProbeAnswer => {
                this.first_write = FirstWrite::Done;
                if bytes == PROBE_ANSWER {
                    return Poll::Ready(Ok(bytes.len()));
                }
            }
            FirstWrite::Open => {
                let times = &this.session.activity.times;
                let Some((id, open)) = corrected_frame(bytes, times) else {
                    tracing::error!(
                        "the Socket.IO library did not begin with OPEN: check its version"
                    );
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                };
                // The queue is empty, so it takes the whole packet.
                ready!(this.connection.poll_write_queued(cx, &open))?;
                this.session.set_id(&id);
                this.first_write = FirstWrite::Done;
                return Poll::Ready(Ok(bytes.len()));
            }
        }
        let written = this.connection.poll_write_queued(cx, bytes);
        if this.greets
            && !this.connection.is_greeting()
            && let Some(reader) = this.reader.take()
        {
            reader.wake();
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.connection.check())
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.finish();
        Poll::Ready(Ok(()))
    }
}

impl Drop for WebSocketIo {
    fn drop(&mut self) {
        self.connection.finish();
    }
}
