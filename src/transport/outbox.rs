//! A listener's queue of clips. It writes directly to the WebSocket connection; for a polling client, or without shared
//! writes, it writes through the Socket.IO library.
//!
//! An outbox starts shut. It opens after the listener was sent its admission, so that no clip arrives before. A polling
//! client's outbox moves to the WebSocket when the upgrade is complete.
//!
//! The library's own queue has no configurable bound: it is given a few clips at a time, the next when it has written
//! one.
//!
//! **Invariant**: clips leave in the order they were pushed, each once or counted as dropped, on either path and across
//! the move. The move's mark passes through the library behind the clips that went that way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::clip_message::{ClipEvent, Gap};
use super::connection::Connection;
use super::frame::ClipFrame;
use super::sent::Sent;
use super::session::Session;
use super::shared::Shared;
use super::sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use super::timeouts::Overdue;

/// Emits through the Socket.IO library. False if it has no room now.
pub type Emit = Box<dyn Fn(Emission<'_>) -> bool + Send + Sync>;

/// Clips of one listener that the Socket.IO library may queue.
const IN_LIBRARY: u64 = 4;

/// See [`Emit`].
pub enum Emission<'a> {
    /// The event `audio`, or `clip`.
    Clip(&'a ClipFrame),
    /// The event `gap`.
    Gap(Gap),
    /// The event that opens the gate. Emitted only if the socket already runs on a WebSocket.
    Mark(&'a str),
    /// No event: clips begin to wait for room in the library. The outbox is to be [retried](Outbox::retry) when there may be
    /// room.
    Waits,
}

/// See the module documentation.
///
/// What a delivery touches comes first.
#[repr(C)]
pub struct Outbox {
    event: ClipEvent,
    shared_writes: bool,
    // A lock: the fan-out pushes while the socket's own task opens.
    way: Mutex<Way>,
    /// Clips that the listener should have received and did not.
    missed: AtomicU64,
    shared: Arc<Shared>,
    session: Arc<Session>,
    emit: Emit,
}

enum Way {
    /// Clips are queued here until the outbox opens, or until the library has room.
    Library {
        open: bool,
        waiting: VecDeque<Arc<ClipFrame>>,
        bytes: usize,
        /// Dropped clips that a listener of `clip` is still to be told of, before the first one that waits.
        gap: Option<Gap>,
        given: Given,
    },
    Connection(Arc<Connection>),
    /// The listener has left.
    Shut,
}

/// Clips given to the Socket.IO library.
struct Given {
    /// Number of clips that it had written before it was given the first.
    before: u64,
    clips: u64,
    /// Number of clips that it had written at the last check, and the time at which it reached that number.
    let_out: u64,
    progress: Option<Instant>,
    /// Whether the waiting was told, and not retried since.
    told: bool,
}

impl Given {
    fn is_full(&self) -> bool {
        self.clips >= self.let_out.saturating_sub(self.before) + IN_LIBRARY
    }
}

impl Outbox {
    /// Creates a shut outbox for the socket that runs on `session`.
    pub fn new(
        shared: Arc<Shared>,
        session: Arc<Session>,
        shared_writes: bool,
        emit: Emit,
    ) -> Self {
        let let_out = session.let_out();
        let way = Way::Library {
            open: false,
            waiting: VecDeque::new(),
            bytes: 0,
            gap: None,
            given: Given {
                before: let_out,
                clips: 0,
                let_out,
                progress: None,
                told: false,
            },
        };
        Self {
            shared,
            session,
            emit,
            shared_writes,
            event: ClipEvent::Audio,
            missed: AtomicU64::new(0),
            way: Mutex::new(way),
        }
    }

    /// The same for a listener that gets its clips with this event.
    #[must_use]
    pub fn with_event(self, event: ClipEvent) -> Self {
        Self { event, ..self }
    }

    /// The event that its clips must be encoded as.
    pub fn event(&self) -> ClipEvent {
        self.event
    }

    fn lock(&self) -> MutexGuard<'_, Way> {
        self.way.lock()
    }

    /// Counts its clips.
    pub fn connections(&self) -> &Shared {
        &self.shared
    }

    /// The session that it belongs to.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Queues a clip without writing it.
    pub fn push(&self, frame: &Arc<ClipFrame>) {
        let bounds = self.shared.bounds;
        let dropped = match &mut *self.lock() {
            Way::Connection(connection) => connection.push(frame.clone(), bounds, frame.queued_at),
            Way::Library {
                waiting,
                bytes,
                gap,
                ..
            } => {
                *bytes += frame.len();
                waiting.push_back(frame.clone());
                let mut dropped = 0;
                while waiting.len() > 1 && (waiting.len() > bounds.clips || *bytes > bounds.bytes) {
                    let Some(oldest) = waiting.pop_front() else {
                        break;
                    };
                    Gap::note(gap, oldest.about.as_ref());
                    *bytes -= oldest.len();
                    dropped += 1;
                }
                dropped
            }
            Way::Shut => 0,
        };
        self.miss(dropped);
    }

    fn miss(&self, dropped: usize) {
        if dropped == 0 {
            return;
        }
        let dropped = dropped as u64;
        self.shared.metrics.clips_dropped.inc_by(dropped);
        if self.missed.fetch_add(dropped, Ordering::SeqCst) == 0 {
            tracing::debug!(
                socket.id = self.session.id(),
                "dropping clips of a slow listener"
            );
        }
    }

    /// Number of clips dropped for this listener.
    pub fn missed(&self) -> u64 {
        let lost = match &*self.lock() {
            Way::Connection(connection) => connection.lost(),
            _ => 0,
        };
        self.missed.load(Ordering::SeqCst) + lost
    }

    /// How long the oldest clip has waited; zero if none waits.
    pub fn lag(&self, now: Instant) -> Duration {
        let oldest = match &*self.lock() {
            Way::Connection(connection) => connection.oldest(),
            Way::Library { waiting, .. } => waiting.front().map(|frame| frame.queued_at),
            Way::Shut => None,
        };
        oldest.map_or(Duration::ZERO, |oldest| {
            now.saturating_duration_since(oldest)
        })
    }

    /// Releases the clips behind these frames of the server. False if the library must send their like and then
    /// [open](Self::open) the outbox: the listener polls, or writes are not shared.
    pub fn welcome(&self, frames: &Bytes) -> bool {
        let mut way = self.lock();
        let welcomed = matches!(&*way, Way::Library { open: false, .. })
            && self.move_over(&mut way, Some(frames));
        drop(way);
        if welcomed {
            self.flush();
        }
        welcomed
    }

    /// Releases the clips: the listener was sent its admission.
    pub fn open(&self) {
        if let Way::Library { open, .. } = &mut *self.lock() {
            *open = true;
        }
        self.flush();
    }

    /// Whether clips wait for room in the Socket.IO library, which does not notify when it has room again.
    pub fn waits_for_room(&self) -> bool {
        matches!(&*self.lock(), Way::Library { open: true, waiting, .. } if !waiting.is_empty())
    }

    /// Writes the clips that have waited for room in the library and can be written now. Closes the transport of a listener
    /// that takes too few.
    pub fn retry(&self, now: Instant) {
        if let Way::Library { given, .. } = &mut *self.lock() {
            given.told = false;
        }
        self.flush();
        self.close_if_overdue(now);
    }

    /// Writes the clips that can be written now, and counts them.
    pub fn flush(&self) {
        self.shared.count_sent(self.write());
    }

    /// Writes the clips that can be written now and returns them for the caller to count.
    pub fn write(&self) -> Sent {
        let mut sent = Sent::default();
        let mut way = self.lock();
        if matches!(&*way, Way::Library { open: true, .. }) && !self.move_over(&mut way, None) {
            sent += self.give(&mut way);
        }
        if let Way::Connection(connection) = &*way {
            sent += connection.flush();
        }
        sent
    }

    /// Tells the listener of dropped clips through the library; false if it has no room now.
    fn tell(&self, gap: &mut Option<Gap>) -> bool {
        let Some(lost) = *gap else { return true };
        let is_told = (self.emit)(Emission::Gap(lost));
        if is_told {
            *gap = None;
            self.shared.metrics.gaps.inc();
        }
        is_told
    }

    /// Sends a frame that is no clip past the Socket.IO library, which would keep a buffer for its packets. False if the
    /// library must send it, for example because an event that came before still waits there.
    pub fn say(&self, frame: &Bytes) -> bool {
        match &*self.lock() {
            Way::Connection(connection) => {
                self.session.activity.pressure.is_empty() && connection.sends(frame)
            }
            Way::Library { .. } | Way::Shut => false,
        }
    }

    /// Closes the transport of a listener that takes too few clips from the Socket.IO library. If the transport also
    /// carries a streamer, drops the queued clips instead. [`super::Connections::sweep`] checks the connections that are
    /// written to directly.
    fn close_if_overdue(&self, now: Instant) {
        let timeouts = self.shared.timeouts;
        let longer = |since: Instant, most| now.saturating_duration_since(since) > most;
        let mut way = self.lock();
        let overdue = match &*way {
            Way::Library {
                open: true,
                waiting,
                given,
                ..
            } => match waiting.front() {
                _ if self.session.is_closed() => None,
                Some(oldest) if longer(oldest.queued_at, timeouts.lag) => Some(Overdue::Lagging),
                Some(_) => {
                    let stalled = |since| longer(since, timeouts.stall);
                    let stalled = given.progress.is_some_and(stalled);
                    stalled.then_some(Overdue::Stalled)
                }
                None => None,
            },
            _ => None,
        };
        if overdue.is_some() && self.session.activity.carries_streamer() {
            if let Way::Library {
                waiting,
                bytes,
                gap,
                ..
            } = &mut *way
            {
                self.miss(waiting.len());
                for frame in waiting.drain(..) {
                    Gap::note(gap, frame.about.as_ref());
                }
                *bytes = 0;
            }
            return;
        }
        drop(way);
        if let Some(overdue) = overdue {
            tracing::debug!(reason = overdue.as_str(), "closing a session");
            self.shared.count_closed(overdue);
            self.session.close();
        }
    }

    /// Moves to the connection, if clips may be written to it from now on, behind these frames.
    fn move_over(&self, way: &mut Way, welcome: Option<&Bytes>) -> bool {
        let session = Some(&self.session).filter(|_| self.shared_writes);
        let connection = session.and_then(|session| session.connection());
        let (Some(connection), Way::Library { waiting, gap, .. }) = (connection, &mut *way) else {
            return false;
        };
        connection.shut_gate(welcome);
        if !(self.emit)(Emission::Mark(self.shared.mark.as_str())) {
            connection.take_back_welcome();
            return false;
        }
        let now = tokio::time::Instant::now().into_std();
        let mut dropped = 0;
        if let Some(gap) = gap.take() {
            connection.owe_gap(gap);
        }
        for frame in waiting.drain(..) {
            dropped += connection.push(frame, self.shared.bounds, now);
        }
        self.miss(dropped);
        // They may have waited here for long.
        connection.hasten(now);
        *way = Way::Connection(connection);
        true
    }

    /// Gives the library as many clips as it may have.
    fn give(&self, way: &mut Way) -> Sent {
        let mut sent = Sent::default();
        let Way::Library {
            waiting,
            bytes,
            gap,
            given,
            ..
        } = way
        else {
            return sent;
        };
        if !waiting.is_empty() {
            // Announced before the check, so that a writer that makes room meanwhile notifies.
            if !std::mem::replace(&mut given.told, true) {
                (self.emit)(Emission::Waits);
            }
            self.shared.wait_for_room();
            let let_out = self.session.let_out();
            if let_out > given.let_out || given.progress.is_none() {
                given.progress = Some(tokio::time::Instant::now().into_std());
            }
            given.let_out = let_out;
        }
        while let Some(frame) = waiting.front()
            && !given.is_full()
            && self.tell(gap)
            && (self.emit)(Emission::Clip(frame))
        {
            given.clips += 1;
            sent += Sent {
                clips: 1,
                clip_bytes: frame.payload.len() as u64,
            };
            *bytes -= frame.len();
            waiting.pop_front();
        }
        if waiting.is_empty() {
            given.progress = None;
        }
        sent
    }

    /// Closes the outbox. Clips still queued count as dropped only if the server closed the session.
    pub fn shut(&self) {
        let before = std::mem::replace(&mut *self.lock(), Way::Shut);
        match before {
            Way::Connection(connection) => {
                self.missed.fetch_add(connection.lost(), Ordering::SeqCst);
            }
            Way::Library { waiting, .. } if self.session.is_closed() => self.miss(waiting.len()),
            Way::Library { .. } | Way::Shut => {}
        }
    }
}
