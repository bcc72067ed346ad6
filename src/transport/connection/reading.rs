//! The reading side of a connection.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{Interest, ReadBuf};

use super::{Connection, Phase, Wait};

/// The first bytes of HTTP/2 (RFC 9113, 3.4), which is not served: many requests on one connection would count as one,
/// and as idle when the first of them is answered.
const HTTP2: &[u8] = b"PRI * HTTP/2";

/// Bound of one HTTP read: the initial buffer size of the HTTP server, so that this buffer never grows.
const HTTP_READ: usize = (8 << 10) - 1;

const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

impl Connection {
    /// Reads a request. Its first byte starts the time limit for its headers.
    pub(in crate::transport) fn poll_read_http(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let most = match self.lock().phase {
            // The HTTP server reads again because the headers are incomplete.
            Phase::Http(Wait::Headers(_, come)) => {
                self.shared.max_header_bytes.saturating_sub(come)
            }
            _ => HTTP_READ,
        };
        if most == 0 {
            self.refuse_headers();
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = out.filled().len();
        let read = ready!(self.poll_read(cx, &mut out.limit(most.min(HTTP_READ))));
        let part = &out.filled()[before..];
        let come = part.len();
        if self.follows_preface(part) {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        if come > 0 {
            let mut state = self.lock();
            state.read += come as u64;
            if let Phase::Http(wait) = &mut state.phase {
                *wait = match *wait {
                    Wait::Headers(since, before) => Wait::Headers(since, before + come),
                    Wait::Next(_) => Wait::Headers(tokio::time::Instant::now().into_std(), come),
                    // What it says meanwhile is the next request's.
                    wait @ (Wait::Nothing | Wait::Part(_)) => wait,
                };
            }
            let activity = state.activity.upgrade();
            drop(state);
            if let Some(activity) = activity {
                activity.heard_bytes(come);
            }
        }
        Poll::Ready(read)
    }

    /// Whether the connection began with HTTP/2's preface. Later the same bytes have no meaning.
    fn follows_preface(&self, bytes: &[u8]) -> bool {
        let mut state = self.lock();
        let rest = HTTP2.get(state.preface..).unwrap_or_default();
        let compared = rest.len().min(bytes.len());
        if rest.is_empty() || bytes.is_empty() {
            return false;
        }
        if rest[..compared] != bytes[..compared] {
            state.preface = HTTP2.len();
            return false;
        }
        state.preface += compared;
        state.preface == HTTP2.len()
    }

    fn refuse_headers(self: &Arc<Self>) {
        self.shared.count_closed_as("large_headers");
        // The kernel's buffer is empty; if it contains an answer, the client already has more to read than this one.
        if self.tcp.try_write(TOO_LARGE).is_err() {
            self.abort();
            return;
        }
        if SockRef::from(&self.tcp).shutdown(Shutdown::Write).is_err() {
            self.abort();
            return;
        }
        self.linger();
    }

    /// Reads a WebSocket. The end of its stream is the end of the connection.
    pub(in crate::transport) fn poll_read_web_socket(
        &self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        {
            let mut state = self.lock();
            if state.closing || state.aborted {
                return Poll::Ready(Ok(()));
            }
            let waker = cx.waker();
            if state
                .reader
                .as_ref()
                .is_none_or(|reader| !reader.will_wake(waker))
            {
                state.reader = Some(waker.clone());
            }
        }
        let before = out.filled().len();
        let read = ready!(self.poll_read(cx, out));
        if read.is_err() || out.filled().len() == before {
            self.peer_closed();
        }
        Poll::Ready(read)
    }

    /// Initializes no byte of the buffer but those that it reads: a connection that says nothing uses no memory for them.
    pub(in crate::transport) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        out: &mut impl BufMut,
    ) -> Poll<io::Result<()>> {
        let room = out.remaining_mut();
        loop {
            ready!(self.tcp.poll_read_ready(cx))?;
            let mut read = 0;
            let tried = self.tcp.try_io(Interest::READABLE, || {
                read = self.tcp.try_read_buf(out)?;
                // A short read means that nothing more is there, and later bytes are a new event (epoll(7)), so the
                // read that would only find this out is skipped.
                if (1..room).contains(&read) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(())
            });
            match tried {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    self.count_kernel_close(&error);
                    return Poll::Ready(Err(error));
                }
                Err(_) if read == 0 => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Reads what is available beyond a small, full buffer: a clip is read in few pieces, while a listener's connection
    /// needs no large buffer. The next read reports an end or a failure.
    pub(in crate::transport) fn read_ahead(&self) -> Bytes {
        const MOST: usize = 32 << 10;
        let mut read = BytesMut::with_capacity(MOST);
        match self.tcp.try_read_buf(&mut read) {
            Ok(1..) => read.freeze(),
            _ => Bytes::new(),
        }
    }

    /// Reads and discards until the other end closes its side.
    pub(super) async fn discard(&self) {
        let mut forgotten = vec![0; 16 << 10];
        while self.tcp.readable().await.is_ok() {
            match self.tcp.try_read(&mut forgotten) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write as _;

    use super::*;
    use crate::transport::connections::Connections;

    /// A connection that is read as the HTTP server does, and its client.
    struct Pair(Arc<Connection>, std::net::TcpStream);

    impl Pair {
        async fn open() -> Self {
            let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
            client.set_nodelay(true).unwrap();
            let (tcp, peer) = server.accept().await.unwrap();
            let now = tokio::time::Instant::now().into_std();
            let connection = Connections::for_tests().admit(tcp, peer, false, now);
            Self(connection.unwrap(), client)
        }

        /// Sends the bytes; whether the connection reads them, in one read, and goes on.
        async fn passes(&mut self, bytes: &[u8]) -> bool {
            self.1.write_all(bytes).unwrap();
            let mut room = vec![0; 4096];
            let mut out = ReadBuf::new(&mut room);
            let read = poll_fn(|cx| self.0.poll_read_http(cx, &mut out)).await;
            assert_eq!(out.filled(), bytes);
            read.is_ok()
        }
    }

    #[tokio::test]
    async fn http2_is_refused_however_its_preface_arrives() {
        let whole = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        assert!(!Pair::open().await.passes(whole).await);
        for cut in 1..HTTP2.len() {
            let mut pair = Pair::open().await;
            assert!(pair.passes(&whole[..cut]).await, "{cut}");
            assert!(!pair.passes(&whole[cut..]).await, "{cut}");
        }
        let mut pair = Pair::open().await;
        for (at, byte) in HTTP2.iter().enumerate() {
            assert_eq!(pair.passes(&[*byte]).await, at + 1 < HTTP2.len(), "{at}");
        }
    }

    #[tokio::test]
    async fn read_that_waits_touches_no_memory() {
        let pair = Pair::open().await;
        let mut room = [std::mem::MaybeUninit::uninit(); 4096];
        let mut out = ReadBuf::uninit(&mut room);
        let read = poll_fn(|cx| Poll::Ready(pair.0.poll_read_http(cx, &mut out))).await;
        assert!(read.is_pending());
        assert!(out.initialized().is_empty());
    }

    #[tokio::test]
    async fn http2_preface_later_has_no_meaning() {
        for first in ["POST / HTTP/1.1\r\n", "P", "PR", "PRX", "PRI * HTTP/1"] {
            let mut pair = Pair::open().await;
            assert!(pair.passes(first.as_bytes()).await, "{first}");
            for later in ["PR", "PRI * HTTP/2.0\r\n\r\n", "I * HTTP/2"] {
                assert!(pair.passes(later.as_bytes()).await, "{first} {later}");
            }
        }
    }
}
