//! One TCP connection, from its acceptance to its end: first HTTP, later perhaps a WebSocket.
//!
//! All handles share one [`Connection`], so that a fan-out can write a clip immediately, without waking the task that
//! serves the connection. Only the bytes that the kernel does not take at once are left to a task, the *pump*, which
//! exists while bytes are queued.
//!
//! **Invariant**: all bytes to a WebSocket pass through its [`SendQueue`], under one lock. A caller that leaves bytes
//! in the queue ensures that a pump runs. An aborted connection reads and writes nothing.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::TcpStream;

use super::activity::Activity;
use super::address::counted_address;
use super::closing::Closing;
use super::deadlines::{Deadlines, Place};
use super::frame::ClipFrame;
use super::greeting::Greeting;
use super::heartbeat::{Heartbeat, HeartbeatTimes};
use super::queue::{QueueBounds, SendQueue};
use super::shared::Shared;
use super::socket_options::set_up_web_socket;
use super::sync::{AtomicBool, Mutex, MutexGuard};

mod overdue;
mod reading;
mod requests;
mod serving;
mod writing;

use requests::Wait;

/// Time for a client to read the Close frame, while the bytes that it still sends are discarded.
const LINGER: Duration = Duration::from_secs(2);

/// See the module documentation.
///
/// What a delivery touches comes first here and in [`State`], so that it shares cache lines.
#[repr(C)]
pub struct Connection {
    tcp: TcpStream,
    // A lock, since the fan-out, the serving task and the pump all write. It is held for at most one vectored write.
    state: Mutex<State>,
    shared: Arc<Shared>,
    peer: SocketAddr,
    deadlines: Arc<Deadlines<Self>>,
    place: Place,
    /// Cloned by each session that was opened on this connection, so that they can be counted.
    opened: Arc<()>,
    /// Whether the kernel had no room for an HTTP answer.
    blocked: AtomicBool,
}

#[repr(C)]
struct State {
    pumping: bool,
    closing: bool,
    aborted: bool,
    /// Time of the last write, or of the first byte queued since.
    progress: Instant,
    /// Bytes that the kernel has taken.
    written: u64,
    /// A writer that waits for room.
    waiting: Option<Waker>,
    phase: Phase,
    /// The address that the connection counts for; of a trusted proxy's connection, none until the client is known.
    counted_for: Option<IpAddr>,
    /// Clips dropped because they were too old or because the connection was aborted.
    lost: u64,
    /// Bytes of requests that have arrived.
    read: u64,
    /// A reader that waits for bytes.
    reader: Option<Waker>,
    /// Activity of the session that the connection serves; for HTTP, of the latest.
    activity: Weak<Activity>,
    /// Number of its first bytes that match HTTP/2's preface.
    preface: usize,
}

impl State {
    /// Records a sign of life of the other end.
    fn hear(&self) {
        if let Some(activity) = self.activity.upgrade() {
            activity.heard_message();
        }
    }
}

#[expect(
    clippy::large_enum_variant,
    reason = "in place: nearly every connection becomes a WebSocket"
)]
enum Phase {
    Http(Wait),
    WebSocket(SendQueue),
}

impl Connection {
    pub(super) fn new(
        tcp: TcpStream,
        peer: SocketAddr,
        counted_for: Option<IpAddr>,
        shared: Arc<Shared>,
        deadlines: Arc<Deadlines<Self>>,
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
            activity: Weak::new(),
            preface: 0,
            progress: now,
        };
        Self {
            tcp,
            peer,
            place: deadlines.place(),
            deadlines,
            shared,
            opened: Arc::default(),
            blocked: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Address of the other end: the client, or the proxy before it.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Counts the connection for the client behind a proxy; false if the address is at its limit.
    pub fn count_for(&self, address: IpAddr) -> bool {
        let address = counted_address(address);
        let mut state = self.lock();
        if state.counted_for == Some(address) {
            return true;
        }
        if !self.shared.count(address) {
            return false;
        }
        if let Some(before) = state.counted_for.replace(address) {
            self.shared.discount(before);
        }
        true
    }

    /// Becomes a WebSocket: from now on all bytes pass through its queue.
    pub(super) fn upgrade(&self) {
        if let Err(error) = set_up_web_socket(&self.tcp, self.shared.user_timeout) {
            // The connection may be closed; otherwise it keeps the timeouts of HTTP, which are longer.
            tracing::debug!(%error, "a WebSocket keeps the timeouts of HTTP");
        }
        let mut state = self.lock();
        state.phase = Phase::WebSocket(SendQueue::new(&self.shared.mark));
    }

    /// Token for a session that is opened on this connection; none if `most` are open already.
    pub(super) fn opens(&self, most: usize) -> Option<Arc<()>> {
        let opened = self.opened.clone();
        (Arc::strong_count(&opened) - 2 < most).then_some(opened)
    }

    /// Counts its reads and writes as signs of life of this session.
    pub fn serves(&self, activity: &Arc<Activity>) {
        self.lock().activity = Arc::downgrade(activity);
    }

    #[cfg(test)]
    pub(super) fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.tcp)
    }

    fn queue<T>(&self, change: impl FnOnce(&mut SendQueue) -> T) -> Option<T> {
        match &mut *self.lock() {
            State {
                phase: Phase::WebSocket(queue),
                progress,
                ..
            } => {
                let was_empty = queue.is_empty();
                let changed = change(queue);
                if was_empty && !queue.is_empty() {
                    *progress = tokio::time::Instant::now().into_std();
                }
                Some(changed)
            }
            _ => None,
        }
    }

    /// Swallows the library's answers to the greeting.
    pub(super) fn greets(&self, greeting: Greeting) {
        self.queue(|queue| queue.greets(greeting));
    }

    /// Whether answers to the greeting are still missing.
    pub(super) fn is_greeting(&self) -> bool {
        self.queue(|queue| queue.is_greeting()).unwrap_or(false)
    }

    /// Sets the code and reason of the library's own Close frame.
    pub(super) fn says_goodbye(&self, closing: Closing) {
        self.queue(|queue| queue.says_goodbye(closing));
    }

    /// Sends Engine.IO's ping.
    pub(super) fn ping(self: &Arc<Self>) {
        self.queue(SendQueue::ping);
        self.shared.count_sent(self.flush());
    }

    /// Sends a frame on behalf of the library.
    pub(super) fn says(self: &Arc<Self>, frame: &[u8]) {
        self.queue(|queue| queue.accept(frame));
        self.shared.count_sent(self.flush());
    }

    /// Resolves when a request's body arrives below the minimum rate, even if its session is alive otherwise.
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

    /// Whether nothing is queued for writing.
    pub(super) fn is_drained(&self) -> bool {
        self.queue(|queue| queue.is_empty()).unwrap_or(true)
    }

    /// Ends a WebSocket with a Close frame and stops reading. Aborts an HTTP connection.
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
            self.shared.metrics.clips_dropped.inc_by(dropped);
            state.closing = true;
            if let Some(reader) = state.reader.take() {
                reader.wake();
            }
        }
        if let Some(kind) = closing.bad_input() {
            let bad_input = &self.shared.metrics.bad_input;
            bad_input.with_label_values(&[kind]).inc();
        }
        self.shared.count_sent(self.flush());
        self.linger();
    }

    /// Discards incoming bytes until the other end closes too. If the connection were closed with unread bytes, the
    /// kernel would reset it, and the other end might never read the Close frame.
    fn linger(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return self.abort();
        };
        let connection = self.clone();
        runtime.spawn(async move {
            // In time or not, the connection is closed now.
            let _late = tokio::time::timeout(LINGER, connection.discard()).await;
            connection.abort();
        });
    }

    /// The other end of a WebSocket closed its side. It cannot read the queued clips, so they do not count as dropped.
    pub(super) fn peer_closed(&self) {
        let mut state = self.lock();
        if !state.aborted && !state.closing {
            if let Phase::WebSocket(queue) = &mut state.phase {
                queue.clear();
            }
            self.give_up(&mut state);
        }
    }

    /// Counts the close if the kernel ended the connection because the other end did not answer. Linux reports this
    /// once.
    fn count_kernel_close(&self, error: &io::Error) {
        let reason = match error.kind() {
            io::ErrorKind::TimedOut => "kernel_timeout",
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "unreachable",
            _ => return,
        };
        self.shared.count_closed_as(reason);
    }

    /// Queues a clip without writing it. Returns the number of clips dropped for it: this one, if the connection is
    /// aborted.
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

    /// Ends the connection at once: queued clips are lost, and the kernel discards its buffers.
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
            self.shared.metrics.clips_dropped.inc_by(dropped);
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

    /// Number of bytes that the kernel has taken.
    pub fn written(&self) -> u64 {
        self.lock().written
    }

    /// Number of clips that the Socket.IO library has begun to write by itself.
    pub fn binaries(&self) -> u64 {
        match &self.lock().phase {
            Phase::Http(_) => 0,
            Phase::WebSocket(queue) => queue.binaries(),
        }
    }

    /// Number of clips dropped because they were too old or because the connection was aborted.
    pub fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Whether the connection was aborted.
    pub fn is_aborted(&self) -> bool {
        self.lock().aborted
    }

    /// Fails if the connection was aborted. Queued bytes are on their way and need no waiting.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.lock().aborted {
            Err(io::ErrorKind::BrokenPipe.into())
        } else {
            Ok(())
        }
    }

    /// Ends the stream behind the queued bytes.
    pub(super) fn finish(self: &Arc<Self>) {
        self.lock().closing = true;
        self.shared.count_sent(self.flush());
    }

    /// Closes a WebSocket after its queued bytes are written.
    pub(super) fn finish_if_upgraded(self: &Arc<Self>) {
        let last = self.queue(|queue| queue.close_after_clips(Closing::GoingAway));
        if last.is_some() {
            self.finish();
        }
    }

    /// [`Self::finish`] for HTTP.
    pub(super) fn shut_down_writing(&self) {
        SockRef::from(&self.tcp).shutdown(Shutdown::Write).ok();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        self.shared.gone(state.counted_for);
        self.deadlines.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    /// Bytes of a cache line.
    const LINE: usize = 64;
    /// The counts of an `Arc`, and a lock before what it guards.
    const COUNTS: usize = 16;
    const LOCK: usize = 8;

    #[test]
    fn delivery_touches_few_cache_lines() {
        let touched =
            COUNTS + size_of::<TcpStream>() + LOCK + offset_of!(State, phase) + SendQueue::TOUCHED;
        // An allocation may begin anywhere in a line.
        let lines = touched.div_ceil(LINE) + 1;
        println!("{touched} bytes of a connection, {lines} lines");
        assert!(lines <= 6, "{touched} bytes of a connection, {lines} lines");
    }
}
