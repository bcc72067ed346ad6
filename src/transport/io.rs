//! The two faces of a [`Connection`]: to the HTTP server, and, after the upgrade, to the Socket.IO library.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
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
pub struct WebSocketIo {
    connection: Arc<Connection>,
    /// What was read but not yet asked for: by the HTTP server, or of a clip that comes.
    read_ahead: Bytes,
    upgrade: Option<Upgrade>,
}

/// A WebSocket that a polling session moves to.
pub struct Upgrade {
    /// Kept, so that the session lasts as long as its transport.
    pub session: Arc<Session>,
    /// Called when the WebSocket is gone: the library forgets to, if it goes before the move is done.
    pub gone: Box<dyn FnOnce() + Send + Sync>,
}

impl WebSocketIo {
    /// The read buffer that the library keeps for each WebSocket: enough for what a listener says, since a large
    /// message is [read ahead](Connection::read_ahead).
    pub const LIBRARY_BUFFER: usize = 256;

    /// Makes the connection a WebSocket: from here on all that is written goes through its queue.
    pub fn new(io: HttpIo, read_ahead: Bytes, upgrade: Option<Upgrade>) -> Self {
        io.0.upgrade();
        // An empty `Bytes` would keep the HTTP server's whole read buffer.
        let read_ahead = if read_ahead.is_empty() {
            Bytes::new()
        } else {
            read_ahead
        };
        Self {
            connection: io.0,
            read_ahead,
            upgrade,
        }
    }
}

impl AsyncRead for WebSocketIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(session) = self.connection.session() {
            ready!(session.pressure.poll_open(cx));
        }
        if self.read_ahead.is_empty() {
            ready!(self.connection.poll_read(cx, out))?;
            if out.remaining() == 0 {
                self.read_ahead = self.connection.read_ahead();
            }
            return Poll::Ready(Ok(()));
        }
        let length = self.read_ahead.len().min(out.remaining());
        out.put_slice(&self.read_ahead[..length]);
        self.read_ahead.advance(length);
        if self.read_ahead.is_empty() {
            self.read_ahead = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WebSocketIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.connection.poll_write_queued(cx, bytes)
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
        if let Some(Upgrade { session, gone }) = self.upgrade.take() {
            gone();
            drop(session);
        }
    }
}
