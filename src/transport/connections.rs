//! All open connections: their admission, and the timeouts that close them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;

use super::address::counted_address;
use super::connection::Connection;
use super::deadlines::Deadlines;
use super::shared::{ConnectionLimits, Shared, TooMany};
use super::timeouts::Overdue;
use crate::metrics::Metrics;

/// See the module documentation.
pub struct Connections {
    /// Limits, counts and metrics of these connections.
    pub shared: Arc<Shared>,
    deadlines: Arc<Deadlines<Connection>>,
}

impl Connections {
    /// Creates an empty registry.
    pub fn new(limits: &ConnectionLimits, metrics: Metrics) -> Arc<Self> {
        let start = tokio::time::Instant::now().into_std();
        let deadlines = Deadlines::new(start, metrics.deadline_checks.clone());
        Arc::new(Self {
            shared: Arc::new(Shared::new(limits, metrics)),
            deadlines: Arc::new(deadlines),
        })
    }

    /// Admits a connection unless a limit is reached. A trusted proxy's is counted for its client later.
    pub fn admit(
        &self,
        tcp: TcpStream,
        peer: SocketAddr,
        proxy: bool,
        now: Instant,
    ) -> Result<Arc<Connection>, TooMany> {
        let address = (!proxy).then(|| counted_address(peer.ip()));
        self.shared.admit(address)?;
        let (shared, deadlines) = (self.shared.clone(), self.deadlines.clone());
        let connection = Connection::new(tcp, peer, address, shared, deadlines, now);
        let connection = Arc::new(connection);
        self.deadlines.add(&connection);
        connection.hasten(now);
        Ok(connection)
    }

    /// Records that the Socket.IO library has written a clip.
    pub fn made_room(&self) {
        self.shared.made_room();
    }

    /// Number of open connections.
    pub fn count_open(&self) -> usize {
        self.shared.count_open()
    }

    /// Closes the connections that are overdue, and looks only at those that may be. Called about once a second.
    pub fn sweep(&self, now: Instant) {
        for connection in self.deadlines.due(now) {
            if let Some(overdue) = connection.overdue(self.shared.timeouts, now) {
                self.end(&connection, overdue);
            }
            connection.hasten(now);
        }
    }

    /// Ends a connection that is overdue, unless a streamer needs it.
    fn end(&self, connection: &Connection, overdue: Overdue) {
        if overdue.is_a_listeners() && connection.carries_streamer() {
            let dropped = connection.drop_waiting();
            tracing::debug!(
                reason = overdue.as_str(),
                dropped,
                "dropping clips of a listener that shares a streamer's connection"
            );
            return;
        }
        let written = connection.written();
        tracing::debug!(reason = overdue.as_str(), written, "closing a connection");
        self.shared.count_closed(overdue);
        connection.abort();
    }

    /// Closes every WebSocket after its queued bytes are written; its client reconnects by itself.
    pub fn finish_all(&self) {
        for connection in self.deadlines.all() {
            connection.finish_if_upgraded();
        }
    }

    /// Closes all connections at once; their clients reconnect by themselves.
    pub fn abort_all(&self) {
        for connection in self.deadlines.all() {
            connection.abort();
        }
    }

    /// A registry with room for a hundred connections, and a minute for everything.
    #[cfg(test)]
    pub(super) fn for_tests() -> Arc<Self> {
        use std::time::Duration;

        use super::queue::QueueBounds;
        use super::timeouts::Timeouts;

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
