//! All open connections: their limits, and the timeouts that close them.
//!
//! **Invariant**: every [`Connection`] that exists is counted, once in total and once for its address, until it is
//! dropped.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::address::counted_address;
use super::connection::Connection;
use super::mark::Mark;
use super::queue::QueueBounds;
use super::sent::Sent;
use super::sync::{AtomicBool, Mutex, MutexGuard, Ordering};
use super::timeouts::{Overdue, Timeouts};
use crate::metrics::Metrics;

/// See the module documentation.
pub struct Connections {
    /// Opens the gate of a WebSocket: see [`Mark`].
    pub mark: Mark,
    /// Bounds of one listener's outbox.
    pub bounds: QueueBounds,
    pub(super) metrics: Metrics,
    max: usize,
    max_per_address: usize,
    timeouts: Timeouts,
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
    all: Vec<Weak<Connection>>,
    count: usize,
}

/// Limits of [`Connections`].
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

impl Connections {
    /// Creates an empty registry.
    pub fn new(limits: &ConnectionLimits, metrics: Metrics) -> Arc<Self> {
        let ConnectionLimits {
            max,
            max_per_address,
            timeouts,
            bounds,
            max_header_bytes,
            user_timeout,
        } = *limits;
        Arc::new(Self {
            mark: Mark::random(),
            bounds,
            metrics,
            max,
            max_per_address,
            timeouts,
            max_header_bytes,
            user_timeout,
            waiting: AtomicBool::new(false),
            room: Notify::new(),
            open: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock()
    }

    /// Admits a connection unless a limit is reached. A trusted proxy's is counted for its client later.
    pub fn admit(
        self: &Arc<Self>,
        tcp: TcpStream,
        peer: SocketAddr,
        proxy: bool,
        now: Instant,
    ) -> Result<Arc<Connection>, TooMany> {
        let address = (!proxy).then(|| counted_address(peer.ip()));
        let refuse = |reason: TooMany| {
            self.metrics
                .connections_refused
                .with_label_values(&[reason.as_str()])
                .inc();
            Err(reason)
        };
        {
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
        }
        let connection = Arc::new(Connection::new(tcp, peer, address, self.clone(), now));
        self.lock().all.push(Arc::downgrade(&connection));
        self.metrics.connections.inc();
        Ok(connection)
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
    pub async fn has_room(&self) {
        self.room.notified().await;
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.timeouts
    }

    pub(super) fn count_closed(&self, overdue: Overdue) {
        self.count_closed_as(overdue.as_str());
    }

    pub(super) fn count_closed_as(&self, reason: &str) {
        let closed = &self.metrics.connections_closed;
        closed.with_label_values(&[reason]).inc();
    }

    /// Number of open connections.
    pub fn count_open(&self) -> usize {
        self.lock().count
    }

    /// Closes the connections that are overdue. Called about once a second.
    pub fn sweep(&self, now: Instant) {
        let all: Vec<Arc<Connection>> = {
            let mut open = self.lock();
            open.all.retain(|connection| connection.strong_count() > 0);
            open.all.iter().filter_map(Weak::upgrade).collect()
        };
        for connection in all {
            if let Some(overdue) = connection.overdue(self.timeouts, now) {
                let session = connection.session();
                if overdue.is_a_listeners()
                    && session.is_some_and(|session| session.carries_streamer())
                {
                    let dropped = connection.drop_waiting();
                    tracing::debug!(
                        reason = overdue.as_str(),
                        dropped,
                        "dropping clips of a listener that shares a streamer's connection"
                    );
                    continue;
                }
                let written = connection.written();
                tracing::debug!(reason = overdue.as_str(), written, "closing a connection");
                self.count_closed(overdue);
                connection.abort();
            }
        }
    }

    /// Closes every WebSocket after its queued bytes are written; its client reconnects by itself.
    pub fn finish_all(&self) {
        let all: Vec<_> = self.lock().all.iter().filter_map(Weak::upgrade).collect();
        for connection in all {
            connection.finish_if_upgraded();
        }
    }

    /// Closes all connections at once; their clients reconnect by themselves.
    pub fn abort_all(&self) {
        let all: Vec<_> = self.lock().all.iter().filter_map(Weak::upgrade).collect();
        for connection in all {
            connection.abort();
        }
    }

    /// A registry with room for a hundred connections, and a minute for everything.
    #[cfg(test)]
    pub(super) fn for_tests() -> Arc<Self> {
        let time = Duration::from_mins(1);
        let limits = ConnectionLimits {
            max: 100,
            max_per_address: 100,
            timeouts: Timeouts {
                headers: time,
                idle: time,
                stall: time,
                lag: time,
            },
            bounds: QueueBounds {
                clips: 100,
                bytes: 1 << 20,
            },
            max_header_bytes: 8 << 10,
            user_timeout: Duration::from_secs(15),
        };
        Self::new(&limits, Metrics::new())
    }
}
