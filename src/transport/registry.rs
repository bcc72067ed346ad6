//! The counts of all sessions, and how to find one.
//!
//! One connection can carry many polling sessions, so sessions are counted separately from connections.
//!
//! **Invariant**: every session that exists is counted, once in total and once for its address, until it is dropped. The
//! registry owns none, and knows nothing of them: what it may close is the caller's decision.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use super::deadlines::{Deadlines, Place};
use super::heartbeat::HeartbeatTimes;
use super::shared::TooMany;
use super::sync::{Mutex, MutexGuard};
use crate::metrics::Metrics;

/// Limits of [`super::Sessions`].
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

/// See the module documentation; `S` is a session.
pub(super) struct Registry<S> {
    pub(super) limits: SessionLimits,
    pub(super) metrics: Metrics,
    // Set once, when the library exists.
    evict: OnceLock<Evict>,
    /// All sessions.
    pub(super) deadlines: Deadlines<S>,
    // A lock, taken when a session begins, is looked up, or ends.
    open: Mutex<Open<S>>,
}

struct Open<S> {
    count: usize,
    by_address: HashMap<IpAddr, Counts<S>>,
    by_id: HashMap<Box<str>, Weak<S>>,
}

/// The sessions of one address.
struct Counts<S> {
    all: usize,
    unjoined: usize,
    /// Sessions that were refused, the earliest first.
    refused: VecDeque<Weak<S>>,
}

impl<S> Default for Counts<S> {
    fn default() -> Self {
        Self {
            all: 0,
            unjoined: 0,
            refused: VecDeque::new(),
        }
    }
}

impl<S> Counts<S> {
    /// Finds the earliest refused session that may be closed: the last of `seen`. The caller drops the others without
    /// the lock, since their drop takes it.
    fn least_wanted(&mut self, may_close: impl Fn(&S) -> bool, seen: &mut Vec<Arc<S>>) -> bool {
        while let Some(refused) = self.refused.pop_front() {
            let Some(session) = refused.upgrade() else {
                continue;
            };
            let found = may_close(&session);
            seen.push(session);
            if found {
                return true;
            }
        }
        false
    }
}

impl<S: AsRef<Place>> Registry<S> {
    pub(super) fn new(limits: SessionLimits, metrics: Metrics) -> Self {
        let open = Open {
            count: 0,
            by_address: HashMap::new(),
            by_id: HashMap::new(),
        };
        let start = tokio::time::Instant::now().into_std();
        let deadlines = Deadlines::new(start, metrics.deadline_checks.clone());
        Self {
            limits,
            metrics,
            evict: OnceLock::new(),
            deadlines,
            open: Mutex::new(open),
        }
    }

    pub(super) fn evict_with(&self, evict: Evict) {
        self.evict.get_or_init(|| evict);
    }

    pub(super) fn evict(&self, id: &str) {
        if let Some(evict) = self.evict.get() {
            evict(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open<S>> {
        self.open.lock()
    }

    /// Counts a new session, and returns the one to close in exchange.
    pub(super) fn count(
        &self,
        address: Option<IpAddr>,
        may_close: impl Fn(&S) -> bool,
    ) -> Result<Option<Arc<S>>, TooMany> {
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
                found = counts.least_wanted(may_close, &mut seen);
                if !found {
                    return Err(TooMany::FromAddress);
                }
            }
            counts.all += 1;
            counts.unjoined += 1;
        }
        open.count += 1;
        self.metrics.sessions.inc();
        Ok(seen.pop().filter(|_| found))
    }

    pub(super) fn name(&self, session: &Arc<S>, id: &str) {
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
    pub(super) fn refused(&self, address: Option<IpAddr>, session: &Arc<S>) {
        let open = &mut *self.lock();
        if let Some(counts) = address.and_then(|address| open.by_address.get_mut(&address)) {
            // Bounded by the number of sessions, apart from a few that have ended.
            if counts.refused.len() > counts.all {
                counts.refused.retain(|session| session.strong_count() > 0);
            }
            counts.refused.push_back(Arc::downgrade(session));
        }
    }

    pub(super) fn gone(&self, address: Option<IpAddr>, id: Option<&str>, place: &Place) {
        self.metrics.sessions.dec();
        self.deadlines.remove(place);
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
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<S>> {
        self.lock().by_id.get(id).and_then(Weak::upgrade)
    }

    pub(super) fn len(&self) -> usize {
        self.lock().count
    }
}
