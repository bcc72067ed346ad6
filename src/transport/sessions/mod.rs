//! All sessions: how many there may be, and which are dead, or have joined no namespace for too long.
//!
//! One connection can hold many sessions by polling, so they are counted apart from connections.
//!
//! **Invariant**: every [`Session`] that exists is counted, once in all and once for its address, and discounted when it
//! is dropped.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::address::counted_address;
use super::closing::Closing;
use super::connection::Connection;
use super::connections::TooMany;
use super::heartbeat::HeartbeatTimes;
use super::session::{Look, Session};
use super::timeouts::Overdue;
use crate::metrics::Metrics;

/// What [`Sessions`] needs to know.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Sessions in all.
    pub max: usize,
    /// Sessions from one address.
    pub max_per_address: usize,
    /// Sessions from one address that have joined no namespace.
    pub max_unjoined_per_address: usize,
    /// Sessions that were opened on one connection.
    pub max_per_connection: usize,
    /// How long one may have joined no namespace.
    pub join_timeout: Duration,
    /// What keeps one alive.
    pub heartbeat: HeartbeatTimes,
    /// The largest message, in bytes.
    pub message_bytes: usize,
    /// The same before a namespace was joined.
    pub message_bytes_before_join: usize,
}

/// Has the Socket.IO library forget a polled session, by its id.
pub type Evict = Box<dyn Fn(&str) + Send + Sync>;

/// See the module.
pub struct Sessions {
    pub(super) limits: SessionLimits,
    metrics: Metrics,
    // Set once, when the library is there.
    evict: OnceLock<Evict>,
    // A lock: taken when a session begins, is looked for, or ends.
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    count: usize,
    by_address: HashMap<IpAddr, Counts>,
    by_id: HashMap<Box<str>, Weak<Session>>,
    all: Vec<Weak<Session>>,
}

/// Who asks for a session.
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
    /// Sessions that were refused, the oldest refusal first.
    refused: VecDeque<Weak<Session>>,
}

impl Counts {
    /// The session that was refused first, of those that have joined nothing: the last of `seen`. The others are there to
    /// be dropped without the lock, which their end takes.
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
    /// None yet.
    pub fn new(limits: SessionLimits, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            limits,
            metrics,
            evict: OnceLock::new(),
            open: Mutex::default(),
        })
    }

    /// How the library is made to forget a polled session. The first one counts.
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

    /// A new session for the client that asks on `connection`, if there may be one more. `address` is the client's; none for
    /// a trusted proxy's own, which may also open any number of sessions on one connection.
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

    fn admit(
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

    /// Counts a new session; the one that is to be closed for it.
    fn count(&self, address: Option<IpAddr>) -> Result<Option<Arc<Session>>, TooMany> {
        // Declared before the lock is taken, so that it is dropped after.
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

    /// A session of this address has joined its first namespace, or left its last.
    pub(super) fn joined(&self, address: Option<IpAddr>, joined: bool) {
        let open = &mut *self.lock();
        let counts = address.and_then(|address| open.by_address.get_mut(&address));
        if let Some(counts) = counts {
            counts.unjoined += usize::from(!joined);
            counts.unjoined -= usize::from(joined);
        }
    }

    /// A session has been refused for the first time.
    pub(super) fn refused(&self, session: &Arc<Session>) {
        let open = &mut *self.lock();
        let address = session.address();
        if let Some(counts) = address.and_then(|address| open.by_address.get_mut(&address)) {
            // No more of them than there are sessions, but for a few that have ended.
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
            // It has joined none, since nobody holds it.
            counts.unjoined -= 1;
            counts.all -= 1;
            if counts.all == 0 {
                open.by_address.remove(&address);
            }
        }
        // Between two sweeps many may come and go.
        if open.all.len() > 2 * open.count + 64 {
            open.all.retain(|session| session.strong_count() > 0);
        }
    }

    /// The session with this id, if there is one.
    pub fn find(&self, id: &str) -> Option<Arc<Session>> {
        self.lock().by_id.get(id).and_then(Weak::upgrade)
    }

    fn all(&self) -> Vec<Arc<Session>> {
        let open = &mut *self.lock();
        open.all.retain(|session| session.strong_count() > 0);
        open.all.iter().filter_map(Weak::upgrade).collect()
    }

    /// Pings those that it is time for, and closes those that are dead or have joined no namespace for too long. Called
    /// every [`HeartbeatTimes::tick`].
    pub fn sweep(&self, now: Instant) {
        for session in self.all() {
            match session.look(now) {
                Look::Fine => {}
                Look::PingIsDue(connection) => connection.ping(),
                Look::Overdue(overdue) => self.close(&session, overdue),
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

    /// What keeps a session alive.
    pub fn heartbeat(&self) -> HeartbeatTimes {
        self.limits.heartbeat
    }

    /// Closes those that are polled: they have no connection of their own.
    pub fn close_polled(&self) {
        for session in self.all() {
            if !session.is_on_web_socket() {
                session.close();
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
