//! All sessions: their limits, and the end of those that are dead or have joined no namespace in time.
//!
//! One connection can carry many polling sessions, so sessions are counted separately from connections.
//!
//! **Invariant**: every [`Session`] that exists is counted, once in total and once for its address, until it is
//! dropped.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use super::address::counted_address;
use super::closing::Closing;
use super::connection::Connection;
use super::heartbeat::HeartbeatTimes;
use super::session::{Check, Session};
use super::shared::TooMany;
use super::sync::{Mutex, MutexGuard};
use super::timeouts::Overdue;
use crate::metrics::Metrics;

/// Limits of [`Sessions`].
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Sessions in total.
    pub max: usize,
    /// Sessions from one address.
    pub max_per_address: usize,
    /// Sessions from one address that have joined no namespace.
    pub max_unjoined_per_address: usize,
    /// Sessions that were opened on one connection.
    pub max_per_connection: usize,
    /// How long a session may stay without a namespace.
    pub join_timeout: Duration,
    /// Heartbeat of a session.
    pub heartbeat: HeartbeatTimes,
    /// The largest message, in bytes.
    pub message_bytes: usize,
    /// The largest message before a namespace was joined, in bytes.
    pub message_bytes_before_join: usize,
}

/// Makes the Socket.IO library forget a polled session, by its id.
pub type Evict = Box<dyn Fn(&str) + Send + Sync>;

/// See the module documentation.
pub struct Sessions {
    pub(super) limits: SessionLimits,
    metrics: Metrics,
    // Set once, when the library exists.
    evict: OnceLock<Evict>,
    // A lock, taken when a session begins, is looked up, or ends.
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    count: usize,
    by_address: HashMap<IpAddr, Counts>,
    by_id: HashMap<Box<str>, Weak<Session>>,
    all: Vec<Weak<Session>>,
}

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

/// The sessions of one address.
#[derive(Default)]
struct Counts {
    all: usize,
    unjoined: usize,
    /// Sessions that were refused, the earliest first.
    refused: VecDeque<Weak<Session>>,
}

impl Counts {
    /// Finds the earliest refused session that has joined no namespace: the last of `seen`. The caller drops the others
    /// without the lock, since their drop takes it.
    fn least_wanted(&mut self, seen: &mut Vec<Arc<Session>>) -> bool {
        while let Some(refused) = self.refused.pop_front() {
            let Some(session) = refused.upgrade() else {
                continue;
            };
            let found = !session.is_closed() && !session.is_joined();
            seen.push(session);
            if found {
                return true;
            }
        }
        false
    }
}

impl Sessions {
    /// Creates an empty registry.
    pub fn new(limits: SessionLimits, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            limits,
            metrics,
            evict: OnceLock::new(),
            open: Mutex::default(),
        })
    }

    /// Sets the function that makes the library forget a polled session. Only the first call counts.
    pub fn evict_with(&self, evict: Evict) {
        self.evict.get_or_init(|| evict);
    }

    pub(super) fn evict(&self, id: &str) {
        if let Some(evict) = self.evict.get() {
            evict(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock()
    }

    /// Opens a session for the client that asks on `connection`, unless a limit is reached. `address` is the client's;
    /// none for a trusted proxy's own, which may also open any number of sessions on one connection.
    pub fn open(
        self: &Arc<Self>,
        connection: &Connection,
        client: Client,
        now: Instant,
    ) -> Result<Arc<Session>, TooMany> {
        let (address, opened) = match client {
            Client::Direct(address) => {
                let opened = connection.opens(self.limits.max_per_connection);
                let opened = opened.ok_or_else(|| self.refuse(TooMany::OnConnection))?;
                (Some(address), Some(opened))
            }
            Client::Forwarded(address) => (Some(address), None),
            Client::Unknown => (None, None),
        };
        self.admit(address, opened, now)
    }

    fn refuse(&self, reason: TooMany) -> TooMany {
        let refused = &self.metrics.sessions_refused;
        refused.with_label_values(&[reason.as_str()]).inc();
        reason
    }

    pub(super) fn admit(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        opened: Option<Arc<()>>,
        now: Instant,
    ) -> Result<Arc<Session>, TooMany> {
        let address = address.map(counted_address);
        let replaced = self.count(address).map_err(|reason| self.refuse(reason))?;
        if let Some(replaced) = replaced {
            replaced.close_saying(Closing::Policy("the address has too many sessions"));
        }
        self.metrics.sessions.inc();
        let session = Arc::new(Session::new(self.clone(), address, opened, now));
        self.lock().all.push(Arc::downgrade(&session));
        Ok(session)
    }

    /// Counts a new session, and returns the one to close in exchange.
    fn count(&self, address: Option<IpAddr>) -> Result<Option<Arc<Session>>, TooMany> {
        // Declared before the lock is taken, so that it is dropped after it.
        let mut seen = Vec::new();
        let mut found = false;
        let open = &mut *self.lock();
        if open.count >= self.limits.max {
            return Err(TooMany::InAll);
        }
        if let Some(address) = address {
            let counts = open.by_address.entry(address).or_default();
            if counts.all >= self.limits.max_per_address {
                return Err(TooMany::FromAddress);
            }
            if counts.unjoined >= self.limits.max_unjoined_per_address {
                found = counts.least_wanted(&mut seen);
                if !found {
                    return Err(TooMany::FromAddress);
                }
            }
            counts.all += 1;
            counts.unjoined += 1;
        }
        open.count += 1;
        Ok(seen.pop().filter(|_| found))
    }

    pub(super) fn name(&self, session: &Arc<Session>, id: &str) {
        let session = Arc::downgrade(session);
        self.lock().by_id.insert(id.into(), session);
    }

    /// Counts that a session of this address has joined its first namespace, or left its last.
    pub(super) fn joined(&self, address: Option<IpAddr>, joined: bool) {
        let open = &mut *self.lock();
        let counts = address.and_then(|address| open.by_address.get_mut(&address));
        if let Some(counts) = counts {
            counts.unjoined += usize::from(!joined);
            counts.unjoined -= usize::from(joined);
        }
    }

    /// Records the first refusal of a session.
    pub(super) fn refused(&self, session: &Arc<Session>) {
        let open = &mut *self.lock();
        let address = session.address();
        if let Some(counts) = address.and_then(|address| open.by_address.get_mut(&address)) {
            // Bounded by the number of sessions, apart from a few that have ended.
            if counts.refused.len() > counts.all {
                counts.refused.retain(|session| session.strong_count() > 0);
            }
            counts.refused.push_back(Arc::downgrade(session));
        }
    }

    pub(super) fn gone(&self, address: Option<IpAddr>, id: Option<&str>) {
        self.metrics.sessions.dec();
        let open = &mut *self.lock();
        open.count -= 1;
        if let Some(id) = id {
            open.by_id.remove(id);
        }
        if let Some(address) = address
            && let Some(counts) = open.by_address.get_mut(&address)
        {
            // It has joined none, since every member owns the session.
            counts.unjoined -= 1;
            counts.all -= 1;
            if counts.all == 0 {
                open.by_address.remove(&address);
            }
        }
        // Many sessions may begin and end between two sweeps.
        if open.all.len() > 2 * open.count + 64 {
            open.all.retain(|session| session.strong_count() > 0);
        }
    }

    /// The session with this id.
    pub fn find(&self, id: &str) -> Option<Arc<Session>> {
        self.lock().by_id.get(id).and_then(Weak::upgrade)
    }

    fn all(&self) -> Vec<Arc<Session>> {
        let open = &mut *self.lock();
        open.all.retain(|session| session.strong_count() > 0);
        open.all.iter().filter_map(Weak::upgrade).collect()
    }

    /// Pings the sessions whose ping is due, and closes those that are dead or have joined no namespace in time. Called
    /// every [`HeartbeatTimes::tick`].
    pub fn sweep(&self, now: Instant) {
        for session in self.all() {
            match session.check(now) {
                Check::Fine => {}
                Check::PingIsDue(connection) => connection.ping(),
                Check::Overdue(overdue) => self.close(&session, overdue),
            }
        }
    }

    /// Closes a session that is overdue, and counts it.
    pub fn close(&self, session: &Session, overdue: Overdue) {
        tracing::debug!(
            socket.id = session.id(),
            reason = overdue.as_str(),
            "closing a session"
        );
        let closed = &self.metrics.connections_closed;
        closed.with_label_values(&[overdue.as_str()]).inc();
        let closing = match overdue {
            Overdue::Unjoined => "no namespace was joined in time",
            _ => "nothing was heard in time",
        };
        session.close_saying(Closing::Policy(closing));
    }

    /// Heartbeat of a session.
    pub fn heartbeat(&self) -> HeartbeatTimes {
        self.limits.heartbeat
    }

    /// Closes the polled sessions, which have no connection of their own.
    pub fn close_polled(&self) {
        for session in self.all() {
            if !session.is_on_web_socket() {
                session.close();
            }
        }
    }

    /// Number of sessions.
    pub fn len(&self) -> usize {
        self.lock().count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
