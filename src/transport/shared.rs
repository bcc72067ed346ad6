//! What each connection needs of all others: their limits, counts and metrics, and the room in the Socket.IO library.
//!
//! **Invariant**: a connection that [`Shared::admit`] lets in is counted, once in total and once for its address, until
//! [`Shared::gone`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::Notify;

use super::mark::Mark;
use super::queue::QueueBounds;
use super::sent::Sent;
use super::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use super::timeouts::{Overdue, Timeouts};
use crate::metrics::Metrics;

/// See the module documentation.
pub struct Shared {
    /// Opens the gate of a WebSocket: see [`Mark`].
    pub mark: Mark,
    pub(super) bounds: QueueBounds,
    pub(super) metrics: Metrics,
    pub(super) timeouts: Timeouts,
    max: usize,
    max_per_address: usize,
    /// The largest head of a request, in bytes.
    pub(super) max_header_bytes: usize,
    /// How long bytes sent to a WebSocket may stay unacknowledged.
    pub(super) user_timeout: Duration,
    /// Whether any clips wait for room in the Socket.IO library.
    waiting: AtomicBool,
    /// Notified when the library has written clips while others wait.
    room: Notify,
    // A lock, taken once when a connection opens and once when it closes.
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    by_address: HashMap<IpAddr, usize>,
    count: usize,
}

/// Limits of [`super::Connections`].
pub struct ConnectionLimits {
    /// Connections in total.
    pub max: usize,
    /// Connections from one address.
    pub max_per_address: usize,
    /// How long a connection may make others wait.
    pub timeouts: Timeouts,
    /// Bounds of one listener's outbox.
    pub bounds: QueueBounds,
    /// The largest head of a request, in bytes.
    pub max_header_bytes: usize,
    /// How long bytes sent to a WebSocket may stay unacknowledged.
    pub user_timeout: Duration,
}

/// Why a connection or a session is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// The total limit is reached.
    #[error("there are as many as may be in all")]
    InAll,
    /// The limit of the address is reached.
    #[error("there are as many as may be from one address")]
    FromAddress,
    /// The limit of the connection is reached.
    #[error("there are as many as may be on one connection")]
    OnConnection,
}

impl TooMany {
    /// The label in metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::InAll => "total",
            Self::FromAddress => "address",
            Self::OnConnection => "connection",
        }
    }
}

impl Shared {
    pub(super) fn new(limits: &ConnectionLimits, metrics: Metrics) -> Self {
        let ConnectionLimits {
            max,
            max_per_address,
            timeouts,
            bounds,
            max_header_bytes,
            user_timeout,
        } = *limits;
        Self {
            mark: Mark::random(),
            bounds,
            metrics,
            timeouts,
            max,
            max_per_address,
            max_header_bytes,
            user_timeout,
            waiting: AtomicBool::new(false),
            room: Notify::new(),
            open: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock()
    }

    /// Counts a new connection unless a limit is reached.
    pub(super) fn admit(&self, address: Option<IpAddr>) -> Result<(), TooMany> {
        let refuse = |reason: TooMany| {
            self.metrics
                .connections_refused
                .with_label_values(&[reason.as_str()])
                .inc();
            Err(reason)
        };
        let mut open = self.lock();
        if open.count >= self.max {
            return refuse(TooMany::InAll);
        }
        if let Some(address) = address
            && !Self::count_in(&mut open, address, self.max_per_address)
        {
            return refuse(TooMany::FromAddress);
        }
        open.count += 1;
        self.metrics.connections.inc();
        Ok(())
    }

    fn count_in(open: &mut Open, address: IpAddr, max: usize) -> bool {
        let count = open.by_address.entry(address).or_default();
        let room = *count < max;
        *count += usize::from(room);
        room
    }

    pub(super) fn count(&self, address: IpAddr) -> bool {
        let counted = Self::count_in(&mut self.lock(), address, self.max_per_address);
        if !counted {
            self.metrics
                .connections_refused
                .with_label_values(&[TooMany::FromAddress.as_str()])
                .inc();
        }
        counted
    }

    pub(super) fn discount(&self, address: IpAddr) {
        let open = &mut *self.lock();
        if let Some(count) = open.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&address);
            }
        }
    }

    pub(super) fn gone(&self, address: Option<IpAddr>) {
        self.lock().count -= 1;
        self.metrics.connections.dec();
        if let Some(address) = address {
            self.discount(address);
        }
    }

    pub(super) fn count_open(&self) -> usize {
        self.lock().count
    }

    /// Counts bytes and clips handed to the kernel: once for many writes where possible, since all cores count here.
    pub fn count_sent(&self, sent: Sent) {
        if sent.clips > 0 {
            self.metrics.clips_out.inc_by(sent.clips);
            self.metrics.clip_bytes_out.inc_by(sent.clip_bytes);
        }
    }

    /// Records that clips wait for room in the Socket.IO library.
    pub(super) fn wait_for_room(&self) {
        self.waiting.store(true, Ordering::SeqCst);
    }

    /// Whether clips have begun to wait for room in the Socket.IO library since the last call.
    pub fn take_waiting(&self) -> bool {
        self.waiting.swap(false, Ordering::SeqCst)
    }

    /// Records that the Socket.IO library has written a clip.
    pub fn made_room(&self) {
        if self.waiting.load(Ordering::SeqCst) {
            self.room.notify_one();
        }
    }

    /// Waits until the Socket.IO library has written a clip while others wait.
    pub async fn until_room(&self) {
        self.room.notified().await;
    }

    pub(super) fn count_closed(&self, overdue: Overdue) {
        self.count_closed_as(overdue.as_str());
    }

    pub(super) fn count_closed_as(&self, reason: &str) {
        let closed = &self.metrics.connections_closed;
        closed.with_label_values(&[reason]).inc();
    }
}
