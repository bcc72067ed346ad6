//! All sessions: their limits, and the end of those that are dead or have joined no namespace in time.
//!
//! **Invariant**: every [`Session`] is opened here, so that it is counted ([`Registry`]) and checked.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::address::counted_address;
use super::closing::Closing;
use super::connection::Connection;
use super::heartbeat::HeartbeatTimes;
use super::registry::{Evict, Registry, SessionLimits};
use super::session::{Check, Session};
use super::shared::TooMany;
use super::timeouts::Overdue;
use crate::metrics::Metrics;

/// See the module documentation; cheap to clone.
#[derive(Clone)]
pub struct Sessions(Arc<Registry<Session>>);

/// The client that requests a session.
#[derive(Debug, Clone, Copy)]
pub enum Client {
    /// The other end of the connection.
    Direct(IpAddr),
    /// A client that a trusted proxy names.
    Forwarded(IpAddr),
    /// A client that a trusted proxy does not name.
    Unknown,
}

impl Sessions {
    /// Creates an empty registry.
    pub fn new(limits: SessionLimits, metrics: Metrics) -> Self {
        Self(Arc::new(Registry::new(limits, metrics)))
    }

    /// Sets the function that makes the library forget a polled session. Only the first call counts.
    pub fn evict_with(&self, evict: Evict) {
        self.0.evict_with(evict);
    }

    /// Opens a session for the client that asks on `connection`, unless a limit is reached. `address` is the client's;
    /// none for a trusted proxy's own, which may also open any number of sessions on one connection.
    pub fn open(
        &self,
        connection: &Connection,
        client: Client,
        now: Instant,
    ) -> Result<Arc<Session>, TooMany> {
        let (address, opened) = match client {
            Client::Direct(address) => {
                let opened = connection.opens(self.0.limits.max_per_connection);
                let opened = opened.ok_or_else(|| self.refuse(TooMany::OnConnection))?;
                (Some(address), Some(opened))
            }
            Client::Forwarded(address) => (Some(address), None),
            Client::Unknown => (None, None),
        };
        self.admit(address, opened, now)
    }

    fn refuse(&self, reason: TooMany) -> TooMany {
        let refused = &self.0.metrics.sessions_refused;
        refused.with_label_values(&[reason.as_str()]).inc();
        reason
    }

    pub(super) fn admit(
        &self,
        address: Option<IpAddr>,
        opened: Option<Arc<()>>,
        now: Instant,
    ) -> Result<Arc<Session>, TooMany> {
        let address = address.map(counted_address);
        let may_close = |session: &Session| !session.is_closed() && !session.is_joined();
        let counted = self.0.count(address, may_close);
        let replaced = counted.map_err(|reason| self.refuse(reason))?;
        if let Some(replaced) = replaced {
            replaced.close_saying(Closing::Policy("the address has too many sessions"));
        }
        let session = Arc::new(Session::new(self.0.clone(), address, opened, now));
        self.0.deadlines.add(&session);
        session.hasten();
        Ok(session)
    }

    /// The session with this id.
    pub fn find(&self, id: &str) -> Option<Arc<Session>> {
        self.0.find(id)
    }

    /// Pings the sessions whose ping is due, and closes those that are dead or have joined no namespace in time. Looks at
    /// no others. Called every [`HeartbeatTimes::tick`].
    pub fn sweep(&self, now: Instant) {
        for session in self.0.deadlines.due(now) {
            match session.check(now) {
                Check::Fine => {}
                Check::PingIsDue(connection) => connection.ping(),
                Check::Overdue(overdue) => self.close(&session, overdue),
            }
            session.hasten();
        }
    }

    /// Closes a session that is overdue, and counts it.
    pub fn close(&self, session: &Session, overdue: Overdue) {
        tracing::debug!(
            socket.id = session.id(),
            reason = overdue.as_str(),
            "closing a session"
        );
        let closed = &self.0.metrics.connections_closed;
        closed.with_label_values(&[overdue.as_str()]).inc();
        let closing = match overdue {
            Overdue::Unjoined => "no namespace was joined in time",
            _ => "nothing was heard in time",
        };
        session.close_saying(Closing::Policy(closing));
    }

    /// Heartbeat of a session.
    pub fn heartbeat(&self) -> HeartbeatTimes {
        self.0.limits.heartbeat
    }

    /// Closes the polled sessions, which have no connection of their own.
    pub fn close_polled(&self) {
        for session in self.0.deadlines.all() {
            if !session.is_on_web_socket() {
                session.close();
            }
        }
    }

    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
