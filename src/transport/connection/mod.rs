//! One TCP connection, from its acceptance to its end: HTTP first, a WebSocket perhaps later.
//!
//! Every handle shares one [`Connection`], so that the fan-out writes a clip directly, without waking the task that serves
//! the connection. Only the bytes that the kernel does not take at once are left to a task, the *pump*.
//!
//! **Invariant**: all that is written to a WebSocket goes through its [`SendQueue`], under one lock; whoever leaves
//! something in the queue has seen to it that a pump runs. An aborted connection takes and gives nothing more.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use socket2::SockRef;
use tokio::net::TcpStream;

use super::address::counted_address;
use super::closing::Closing;
use super::connections::Connections;
use super::frame::ClipFrame;
use super::greeting::Greeting;
use super::heartbeat::{Heartbeat, HeartbeatTimes};
use super::queue::{QueueBounds, SendQueue};
use super::session::Session;
use super::tcp_acceptor::set_up_web_socket;
use super::timeouts::{Overdue, Timeouts};

mod reading;
mod serving;
mod writing;

/// How long a client has to read why it is closed, while what it still sends is thrown away.
const LINGER: Duration = Duration::from_secs(2);

/// See the module.
pub struct Connection {
    tcp: TcpStream,
    peer: SocketAddr,
    home: Arc<Connections>,
    /// Held by each session that was opened on it, so that they can be counted.
    opened: Arc<()>,
    /// Whether the kernel had no room for an HTTP answer.
    blocked: AtomicBool,
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
    /// Bytes of requests that have come.
    read: u64,
    /// A writer above that must wait for room.
    waiting: Option<Waker>,
    /// A reader above that waits for bytes.
    reader: Option<Waker>,
    /// The session that it serves; of an HTTP connection, the latest.
    session: Weak<Session>,
    /// How much of HTTP/2's preface its first bytes have been so far.
    preface: usize,
    /// When something was written last, or began to wait.
    progress: Instant,
}

impl State {
    /// The other end has shown that it is there.
    fn is_heard(&self) {
        if let Some(session) = self.session.upgrade() {
            session.heard_message();
        }
    }
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
    /// A request's headers, from its first byte or from the connection's begin, and how many bytes of them have come.
    Headers(Instant, usize),
    /// An answer of ours.
    Nothing,
    /// The next request, or the end of the answer's way to the client.
    Next(Instant),
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
            phase: Phase::Http(Wait::Headers(now, 0)),
            counted_for,
            pumping: false,
            closing: false,
            aborted: false,
            lost: 0,
            written: 0,
            read: 0,
            waiting: None,
            reader: None,
            session: Weak::new(),
            preface: 0,
            progress: now,
        };
        Self {
            tcp,
            peer,
            home,
            opened: Arc::default(),
            blocked: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics half-way through a change that matters more than the connection itself.
        self.state.lock()
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
        let address = counted_address(address);
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

    /// Becomes a WebSocket: from here on all that is written goes through its queue.
    pub(super) fn upgrade(&self) {
        if let Err(error) = set_up_web_socket(&self.tcp, self.home.user_timeout) {
            // It may be gone; else it has the timeouts of HTTP, which are longer.
            tracing::debug!(%error, "a WebSocket keeps the timeouts of HTTP");
        }
        let mut state = self.lock();
        state.phase = Phase::WebSocket(Box::new(SendQueue::new(&self.home.mark)));
    }

    /// To be held by a session that is opened on it, unless `most` are open already.
    pub(super) fn opens(&self, most: usize) -> Option<Arc<()>> {
        let opened = self.opened.clone();
        (Arc::strong_count(&opened) - 2 < most).then_some(opened)
    }

    /// What it reads and writes are signs of life of this session.
    pub fn serves(&self, session: &Arc<Session>) {
        self.lock().session = Arc::downgrade(session);
    }

    #[cfg(test)]
    pub(super) fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.tcp)
    }

    fn queue<T>(&self, change: impl FnOnce(&mut SendQueue) -> T) -> Option<T> {
        match &mut self.lock().phase {
            Phase::Http(_) => None,
            Phase::WebSocket(queue) => Some(change(queue)),
        }
    }

    /// Swallows the library's answers to the greeting.
    pub(super) fn greets(&self, greeting: Greeting) {
        self.queue(|queue| queue.greets(greeting));
    }

    /// Whether answers to the greeting are still to come.
    pub(super) fn is_greeting(&self) -> bool {
        self.queue(|queue| queue.is_greeting()).unwrap_or(false)
    }

    /// What the library's own Close frame will say.
    pub(super) fn says_goodbye(&self, closing: Closing) {
        self.queue(|queue| queue.says_goodbye(closing));
    }

    /// Sends Engine.IO's ping.
    pub(super) fn ping(self: &Arc<Self>) {
        self.queue(SendQueue::ping);
        self.home.count_sent(self.flush());
    }

    /// Sends a frame in the library's place.
    pub(super) fn says(self: &Arc<Self>, frame: &[u8]) {
        self.queue(|queue| queue.accept(frame));
        self.home.count_sent(self.flush());
    }

    /// Resolves when a request's body comes at less than the minimum rate, however alive its session is otherwise.
    pub async fn falls_behind(&self, times: &HeartbeatTimes) {
        let now = || tokio::time::Instant::now().into_std();
        let mut life = Heartbeat::new(times, now());
        let mut before = self.lock().read;
        loop {
            tokio::time::sleep(times.tick()).await;
            let read = self.lock().read;
            let come = usize::try_from(read - before).unwrap_or(usize::MAX);
            before = read;
            life.heard_bytes(come, times, now());
            if life.is_dead(now()) {
                return;
            }
        }
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_drained(&self) -> bool {
        self.queue(|queue| queue.is_empty()).unwrap_or(true)
    }

    /// Ends a WebSocket with a Close frame; nothing more is read. An HTTP connection is aborted.
    pub(super) fn close(self: &Arc<Self>, closing: Closing) {
        {
            let mut state = self.lock();
            if state.closing || state.aborted {
                return;
            }
            let Phase::WebSocket(queue) = &mut state.phase else {
                drop(state);
                return self.abort();
            };
            let dropped = queue.close(closing) as u64;
            state.lost += dropped;
            self.home.metrics.clips_dropped.inc_by(dropped);
            state.closing = true;
            if let Some(reader) = state.reader.take() {
                reader.wake();
            }
        }
        if let Some(kind) = closing.bad_input() {
            let bad_input = &self.home.metrics.bad_input;
            bad_input.with_label_values(&[kind]).inc();
        }
        self.home.count_sent(self.flush());
        self.linger();
    }

    /// Throws away what still comes until the other end closes too: closed with unread bytes, the kernel would reset the
    /// connection, and the other end might never read why.
    fn linger(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return self.abort();
        };
        let connection = self.clone();
        runtime.spawn(async move {
            // Late or not, it is over.
            let _late = tokio::time::timeout(LINGER, connection.discard()).await;
            connection.abort();
        });
    }

    /// The other end of a WebSocket has closed its side: nothing that waits can be read there, and that is no drop.
    pub(super) fn has_ended(&self) {
        let mut state = self.lock();
        if !state.aborted && !state.closing {
            if let Phase::WebSocket(queue) = &mut state.phase {
                queue.clear();
            }
            self.give_up(&mut state);
        }
    }

    /// Counts it if it was the kernel that ended the connection: the other end did not answer. Linux tells so once.
    fn count_kernel_close(&self, error: &io::Error) {
        let reason = match error.kind() {
            io::ErrorKind::TimedOut => "kernel_timeout",
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable",
            _ => return,
        };
        self.home.count_closed_as(reason);
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
        for waker in [state.waiting.take(), state.reader.take()]
            .into_iter()
            .flatten()
        {
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
    pub fn overdue(&self, timeouts: Timeouts, now: Instant) -> Option<Overdue> {
        let state = self.lock();
        let longer = |since: Instant, most: Duration| now.saturating_duration_since(since) > most;
        match &state.phase {
            _ if state.aborted => None,
            Phase::Http(Wait::Nothing) => None,
            Phase::Http(Wait::Headers(since, _)) => {
                longer(*since, timeouts.headers).then_some(Overdue::Headers)
            }
            Phase::Http(Wait::Next(since)) => {
                longer(*since, timeouts.idle).then_some(Overdue::Idle)
            }
            Phase::WebSocket(queue) if queue.is_empty() => None,
            Phase::WebSocket(_) if longer(state.progress, timeouts.stall) => Some(Overdue::Stalled),
            Phase::WebSocket(queue) => queue
                .oldest()
                .is_some_and(|since| longer(since, timeouts.lag))
                .then_some(Overdue::Lagging),
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

    /// Closes a WebSocket once what waits for it is written.
    pub(super) fn finish_if_upgraded(self: &Arc<Self>) {
        let last = self.queue(|queue| queue.close_after_clips(Closing::GoingAway));
        if last.is_some() {
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
        let state = self.state.get_mut();
        self.home.gone(state.counted_for);
    }
}
