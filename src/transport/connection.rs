//! One TCP connection, from its acceptance to its end: HTTP first, a WebSocket perhaps later.
//!
//! Every handle shares one [`Connection`], so that whoever fans a clip out can write it there and then, without waking
//! the task that serves the connection; only what the kernel does not take at once is left to a task, the *pump*,
//! which lives while there is something to write.
//!
//! **Invariant**: all that is written to a WebSocket goes through its [`SendQueue`], under one lock; whoever leaves
//! something in the queue has seen to it that a pump runs. An aborted connection takes and gives nothing more.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::TcpStream;

use super::connections::Connections;
use super::frame::ClipFrame;
use super::patience::{Overdue, Patience};
use super::queue::{QueueBounds, SLICES, SendQueue, Sent};
use super::session::Session;

mod reading;
mod serving;

/// See the module.
pub struct Connection {
    tcp: TcpStream,
    peer: SocketAddr,
    home: Arc<Connections>,
    /// The session that a WebSocket serves, once it is known.
    session: OnceLock<Weak<Session>>,
    // A lock, since the fan-out, the serving task and the pump all write: held for one vectored write at the most.
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// The address that it counts for; of a trusted proxy's connection, none until it is known.
    counted_for: Option<IpAddr>,
    pumping: bool,
    closing: bool,
    aborted: bool,
    /// Clips that waited for too long, or when it was aborted.
    lost: u64,
    /// Bytes that the kernel has taken.
    written: u64,
    /// A writer above that must wait for room.
    waiting: Option<Waker>,
    /// When something was written last, or began to wait.
    progress: Instant,
}

enum Phase {
    /// Of requests and answers.
    Http(Wait),
    /// Upgraded.
    WebSocket(Box<SendQueue>),
}

/// What an HTTP connection waits for, and since when.
#[derive(Clone, Copy)]
enum Wait {
    /// A request's headers, from its first byte or from the connection's begin.
    Headers(Instant),
    /// An answer of ours.
    Nothing,
    /// The next request, or the end of the answer's way to the client.
    Next(Instant),
}

enum Flushed {
    Drained,
    Blocked,
    Dead,
}

impl Connection {
    pub(super) fn new(
        tcp: TcpStream,
        peer: SocketAddr,
        counted_for: Option<IpAddr>,
        home: Arc<Connections>,
        now: Instant,
    ) -> Self {
        let state = State {
            phase: Phase::Http(Wait::Headers(now)),
            counted_for,
            pumping: false,
            closing: false,
            aborted: false,
            lost: 0,
            written: 0,
            waiting: None,
            progress: now,
        };
        Self {
            tcp,
            peer,
            home,
            session: OnceLock::new(),
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics half-way through a change that matters more than the connection itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is at the other end: the client, or the proxy before it.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// A request begins: its headers are here.
    pub fn request_begins(&self) {
        if let Phase::Http(wait) = &mut self.lock().phase {
            *wait = Wait::Nothing;
        }
    }

    /// A request is answered.
    pub fn request_ends(&self, now: Instant) {
        if let Phase::Http(wait) = &mut self.lock().phase {
            *wait = Wait::Next(now);
        }
    }

    /// Counts the connection for the client behind a proxy; false if that address has as many as it may.
    pub fn count_for(&self, address: IpAddr) -> bool {
        let mut state = self.lock();
        if state.counted_for == Some(address) {
            return true;
        }
        if !self.home.count(address) {
            return false;
        }
        if let Some(before) = state.counted_for.replace(address) {
            self.home.discount(before);
        }
        true
    }

    pub(super) fn upgrade(&self) {
        let mut state = self.lock();
        state.phase = Phase::WebSocket(Box::new(SendQueue::new(&self.home.mark)));
    }

    /// Shuts the gate for clips until the mark has passed.
    pub fn shut_gate(&self) {
        if let Phase::WebSocket(queue) = &mut self.lock().phase {
            queue.shut();
        }
    }

    /// Queues a clip without writing; how many clips were dropped for it: this one, if the connection is aborted.
    pub fn push(&self, frame: Arc<ClipFrame>, bounds: QueueBounds, now: Instant) -> usize {
        let mut state = self.lock();
        let State {
            phase: Phase::WebSocket(queue),
            aborted: false,
            progress,
            ..
        } = &mut *state
        else {
            return 1;
        };
        if queue.is_empty() {
            *progress = now;
        }
        queue.push_clip(frame, bounds)
    }

    /// Writes what the kernel takes now, for the caller to count; the pump writes the rest.
    pub fn flush(self: &Arc<Self>) -> Sent {
        let mut sent = Sent::default();
        let mut state = self.lock();
        if !state.pumping && matches!(self.write_out(&mut state, &mut sent), Flushed::Blocked) {
            self.spawn_pump(&mut state);
        }
        sent
    }

    /// Ends the connection at once: what waits is lost, and the kernel forgets what it holds.
    pub fn abort(&self) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.aborted, true) {
            self.give_up(&mut state);
        }
    }

    fn give_up(&self, state: &mut State) {
        state.aborted = true;
        if let Phase::WebSocket(queue) = &mut state.phase {
            let dropped = queue.clear() as u64;
            state.lost += dropped;
            self.home.metrics.clips_dropped.inc_by(dropped);
        }
        let socket = SockRef::from(&self.tcp);
        socket.set_linger(Some(Duration::ZERO)).ok();
        socket.shutdown(Shutdown::Both).ok();
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
    }

    /// How many bytes the kernel has taken for it.
    pub fn written(&self) -> u64 {
        self.lock().written
    }

    /// How many clips the Socket.IO library has begun to write here by itself.
    pub fn binaries(&self) -> u64 {
        match &self.lock().phase {
            Phase::Http(_) => 0,
            Phase::WebSocket(queue) => queue.binaries(),
        }
    }

    /// How many clips were dropped here: because they were too old, or when it was aborted.
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Whether it was aborted.
    pub fn is_aborted(&self) -> bool {
        self.lock().aborted
    }

    /// Whether, and why, the connection should be closed now.
    pub fn overdue(&self, patience: Patience, now: Instant) -> Option<Overdue> {
        let state = self.lock();
        let longer = |since: Instant, most: Duration| now.saturating_duration_since(since) > most;
        match &state.phase {
            _ if state.aborted => None,
            Phase::Http(Wait::Nothing) => None,
            Phase::Http(Wait::Headers(since)) => {
                longer(*since, patience.headers).then_some(Overdue::Headers)
            }
            Phase::Http(Wait::Next(since)) => {
                longer(*since, patience.idle).then_some(Overdue::Idle)
            }
            Phase::WebSocket(queue) if queue.is_empty() => None,
            Phase::WebSocket(_) if longer(state.progress, patience.stall) => Some(Overdue::Stalled),
            Phase::WebSocket(queue) => queue
                .oldest()
                .is_some_and(|since| longer(since, patience.lag))
                .then_some(Overdue::Lagging),
        }
    }

    fn write_out(&self, state: &mut State, sent: &mut Sent) -> Flushed {
        if state.aborted {
            return Flushed::Dead;
        }
        let Phase::WebSocket(queue) = &mut state.phase else {
            return Flushed::Drained;
        };
        while !queue.is_drained() {
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
                    // Of no interest while nothing waits.
                    if !queue.is_empty() {
                        state.progress = tokio::time::Instant::now().into_std();
                    }
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flushed::Blocked,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => {}
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
        // None while the runtime is being torn down: then the connection goes with it.
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
            let flushed = self.write_out(&mut state, &mut sent);
            self.home.count_sent(sent);
            if !matches!(flushed, Flushed::Blocked) {
                state.pumping = false;
                return;
            }
            if let Some(waker) = state.waiting.take() {
                waker.wake();
            }
        }
    }

    /// Writes past the queue: for HTTP, before there is one.
    pub(super) fn poll_write_http(
        &self,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.tcp.poll_write_ready(cx))?;
            match self.tcp.try_write_vectored(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => {
                    // An answer on its way is no idleness: a slow phone takes a while for a clip.
                    let mut state = self.lock();
                    if let Phase::Http(Wait::Next(since)) = &mut state.phase {
                        *since = tokio::time::Instant::now().into_std();
                    }
                    state.written += *done.as_ref().unwrap_or(&0) as u64;
                    return Poll::Ready(done);
                }
            }
        }
    }

    /// Takes the Socket.IO library's bytes into the queue.
    pub(super) fn poll_write_queued(
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
            self.home.made_room();
        }
        if queue.answers() > before.1
            && let Some(session) = self.session()
        {
            session.pressure.let_out(queue.answers() - before.1);
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
            self.home.count_sent(sent);
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

    /// Fails if the connection was aborted. What is queued is on its way and needs no waiting for.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.lock().aborted {
            Err(io::ErrorKind::BrokenPipe.into())
        } else {
            Ok(())
        }
    }

    /// Nothing comes after what is queued: once that is written, the other end is told so.
    pub(super) fn finish(self: &Arc<Self>) {
        self.lock().closing = true;
        self.home.count_sent(self.flush());
    }

    /// As [`Self::finish`], if it is a WebSocket by now.
    pub(super) fn finish_if_upgraded(self: &Arc<Self>) {
        if matches!(self.lock().phase, Phase::WebSocket(_)) {
            self.finish();
        }
    }

    /// As [`Self::finish`], for HTTP.
    pub(super) fn shut_down_writing(&self) {
        SockRef::from(&self.tcp).shutdown(Shutdown::Write).ok();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.home.gone(state.counted_for);
    }
}
