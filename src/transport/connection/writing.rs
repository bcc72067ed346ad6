//! The writing side of a connection.

use crate::transport::sync::Ordering;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use socket2::SockRef;

use super::{Connection, Phase, State, Wait};
use crate::transport::queue::SLICES;
use crate::transport::sent::Sent;

enum Flushed {
    Drained,
    Blocked,
    Dead,
}

impl Connection {
    /// Writes what the kernel takes now and returns it for the caller to count; the pump writes the rest.
    pub fn flush(self: &Arc<Self>) -> Sent {
        let mut sent = Sent::default();
        let mut state = self.lock();
        if !state.pumping && matches!(self.write_out(&mut state, &mut sent), Flushed::Blocked) {
            self.spawn_pump(&mut state);
        }
        sent
    }

    /// Time at which the oldest clip of its queue was queued.
    pub fn oldest(&self) -> Option<Instant> {
        match &self.lock().phase {
            Phase::WebSocket(queue) => queue.oldest(),
            Phase::Http(_) => None,
        }
    }

    /// Sends a whole frame of the server; false if the library must send it.
    pub(in crate::transport) fn sends(self: &Arc<Self>, frame: &Bytes) -> bool {
        let is_queued = self.queue(|queue| queue.say(frame)).unwrap_or(false);
        if is_queued {
            self.shared.count_sent(self.flush());
        }
        is_queued
    }

    fn write_out(&self, state: &mut State, sent: &mut Sent) -> Flushed {
        if state.aborted {
            return Flushed::Dead;
        }
        let Phase::WebSocket(queue) = &mut state.phase else {
            return Flushed::Drained;
        };
        loop {
            if queue.place_gap() {
                self.shared.metrics.gaps.inc();
            }
            if queue.is_drained() {
                break;
            }
            let tried = if let Some(bytes) = queue.only() {
                self.tcp.try_write(bytes)
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let filled = queue.slices(&mut slices);
                self.tcp.try_write_vectored(&slices[..filled])
            };
            match tried {
                Ok(0) => {}
                Ok(written) => {
                    *sent += queue.advance(written);
                    state.written += written as u64;
                    // Irrelevant while nothing is queued.
                    if !queue.is_empty() {
                        state.progress = tokio::time::Instant::now().into_std();
                    }
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flushed::Blocked,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => self.count_kernel_close(&error),
            }
            self.give_up(state);
            return Flushed::Dead;
        }
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
        if state.closing {
            SockRef::from(&self.tcp).shutdown(Shutdown::Write).ok();
        }
        Flushed::Drained
    }

    fn spawn_pump(self: &Arc<Self>, state: &mut State) {
        // There is none while the runtime shuts down: then the connection ends with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            state.pumping = true;
            runtime.spawn(self.clone().pump());
        }
    }

    async fn pump(self: Arc<Self>) {
        loop {
            let writable = self.tcp.writable().await;
            let mut state = self.lock();
            if writable.is_err() {
                self.give_up(&mut state);
            }
            let mut sent = Sent::default();
            let before = state.written;
            let flushed = self.write_out(&mut state, &mut sent);
            self.shared.count_sent(sent);
            if state.written > before {
                // The kernel's buffer was full: room in it proves an acknowledgement.
                state.hear();
            }
            if !matches!(flushed, Flushed::Blocked) {
                state.pumping = false;
                return;
            }
            if let Some(waker) = state.waiting.take() {
                waker.wake();
            }
        }
    }

    /// Writes past the queue: for HTTP, which has none.
    pub(in crate::transport) fn poll_write_http(
        &self,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.tcp.poll_write_ready(cx))?;
            match self.tcp.try_write_vectored(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked.store(true, Ordering::Relaxed);
                }
                done => {
                    // An answer on its way is not idle: a slow phone needs time for a clip.
                    let mut state = self.lock();
                    if let Err(error) = &done {
                        self.count_kernel_close(error);
                    } else if self.blocked.swap(false, Ordering::Relaxed) {
                        state.hear();
                    }
                    if let Phase::Http(Wait::Next(since) | Wait::Part(since)) = &mut state.phase {
                        *since = tokio::time::Instant::now().into_std();
                    }
                    state.written += *done.as_ref().unwrap_or(&0) as u64;
                    return Poll::Ready(done);
                }
            }
        }
    }

    /// Queues the Socket.IO library's bytes.
    pub(in crate::transport) fn poll_write_queued(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if state.aborted {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let Phase::WebSocket(queue) = &mut state.phase else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let (was_empty, before) = (queue.is_empty(), (queue.binaries(), queue.answers()));
        let taken = queue.accept(bytes);
        if queue.binaries() > before.0 {
            self.shared.made_room();
        }
        let answers = queue.answers() - before.1;
        if answers > 0
            && let Some(activity) = state.activity.upgrade()
        {
            activity.pressure.let_out(answers);
        }
        if was_empty {
            state.progress = tokio::time::Instant::now().into_std();
        }
        if taken == 0 && !bytes.is_empty() {
            state.waiting = Some(cx.waker().clone());
        }
        if !state.pumping {
            let mut sent = Sent::default();
            let flushed = self.write_out(&mut state, &mut sent);
            self.shared.count_sent(sent);
            match flushed {
                Flushed::Blocked => self.spawn_pump(&mut state),
                Flushed::Drained => {}
                Flushed::Dead => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        if taken == 0 && !bytes.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(Ok(taken))
        }
    }
}
