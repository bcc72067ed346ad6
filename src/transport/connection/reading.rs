//! How a connection is read.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use rustix::net::RecvFlags;
use tokio::io::{Interest, ReadBuf};

use super::{Connection, Phase, Wait};

impl Connection {
    /// Reads a request: its first byte begins the time that its headers may take.
    pub(in crate::transport) fn poll_read_http(
        &self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        /// How HTTP/2 begins (RFC 9113, 3.4), and no request that is served here: many requests on one connection
        /// would count as one, and as idle when the first of them is answered.
        const HTTP2: &[u8] = b"PR";
        let before = out.filled().len();
        let read = ready!(self.poll_read(cx, out));
        if out.filled()[before..].starts_with(HTTP2) {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        if out.filled().len() > before
            && let Phase::Http(wait @ Wait::Next(_)) = &mut self.lock().phase
        {
            *wait = Wait::Headers(tokio::time::Instant::now().into_std());
        }
        Poll::Ready(read)
    }

    pub(in crate::transport) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = out.initialize_unfilled();
        loop {
            ready!(self.tcp.poll_read_ready(cx))?;
            let mut read = 0;
            let tried = self.tcp.try_io(Interest::READABLE, || {
                (read, _) = rustix::net::recv(&self.tcp, &mut *room, RecvFlags::empty())?;
                // Less than there was room for: no more is there, and what comes later is an event of its own
                // (epoll(7)). So the read that would only say so is spared.
                if (1..room.len()).contains(&read) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(())
            });
            match tried {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                Err(_) if read == 0 => {}
                _ => {
                    out.advance(read);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// What is there already beyond a small buffer that is full: a clip is read in few pieces, for which a listener's
    /// connection keeps no room. An end or a failure is for the next read to find.
    pub(in crate::transport) fn read_ahead(&self) -> Bytes {
        const MOST: usize = 32 << 10;
        let mut read = BytesMut::with_capacity(MOST);
        match self.tcp.try_read_buf(&mut read) {
            Ok(1..) => read.freeze(),
            _ => Bytes::new(),
        }
    }
}
