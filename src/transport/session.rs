//! An Engine.IO session over its transports: what of it must survive the upgrade from polling to WebSocket, and a way
//! to close it whatever it runs on. The Socket.IO library offers neither.
//!
//! **Invariant**: a session is known by its id for as long as the library or a WebSocket of it lives, no longer. A closed
//! one answers no poll any more, and its connection, if it has one of its own, is gone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::sync::Notify;

use super::backpressure::Backpressure;
use super::connection::Connection;
use crate::broadcast::Role;

/// All sessions, by the id that Engine.IO gave them.
#[derive(Default)]
pub struct Sessions {
    // A lock: taken when a session begins, is polled, or ends.
    known: Mutex<HashMap<String, Weak<Session>>>,
}

/// Ties a session to what the Socket.IO library keeps of a client: put into its first request, it keeps the session
/// known for as long as the library knows the client.
#[derive(Clone, Default)]
pub struct Tether(Arc<OnceLock<Arc<Session>>>);

impl Tether {
    /// The session that is tied here, or, the first time, the one with this id.
    pub fn session(&self, sessions: &Arc<Sessions>, id: &str) -> Arc<Session> {
        self.0.get_or_init(|| sessions.get(id)).clone()
    }
}

/// Answers that may wait for a client that is in no livestream.
const ANSWERS: usize = 64;

/// One session.
pub struct Session {
    id: String,
    /// Stops the reading of a client that does not take its answers.
    pub pressure: Backpressure,
    home: Weak<Sessions>,
    // A lock, since it changes once: with the upgrade.
    connection: Mutex<Option<Arc<Connection>>>,
    closed: AtomicBool,
    closing: Notify,
    refusals: AtomicU32,
    /// Sockets that are let in, or are being checked.
    occupants: AtomicUsize,
    /// The streamers among those.
    streamers: AtomicUsize,
    /// Clips that left with polls.
    polled: AtomicU64,
}

/// A socket of a session that is let in, or is being checked: for its sake the transport stays open.
pub struct Occupancy {
    session: Arc<Session>,
    role: Role,
}

impl Drop for Occupancy {
    fn drop(&mut self) {
        self.session.occupants.fetch_sub(1, Ordering::SeqCst);
        if self.role == Role::Streamer {
            self.session.streamers.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Weak<Session>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session with this id, if it is known.
    pub fn find(&self, id: &str) -> Option<Arc<Session>> {
        self.lock().get(id).and_then(Weak::upgrade)
    }

    /// The session with this id, known from now on.
    pub fn get(self: &Arc<Self>, id: &str) -> Arc<Session> {
        let mut known = self.lock();
        if let Some(session) = known.get(id).and_then(Weak::upgrade) {
            return session;
        }
        let session = Arc::new(Session {
            id: id.to_owned(),
            pressure: Backpressure::new(ANSWERS),
            home: Arc::downgrade(self),
            connection: Mutex::default(),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
            refusals: AtomicU32::new(0),
            occupants: AtomicUsize::new(0),
            streamers: AtomicUsize::new(0),
            polled: AtomicU64::new(0),
        });
        known.insert(id.to_owned(), Arc::downgrade(&session));
        session
    }

    /// Closes those that are polled: they have no connection of their own.
    pub fn close_polled(&self) {
        let all: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        for session in all {
            if session.connection().is_none() {
                session.close();
            }
        }
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

impl Session {
    /// The id that Engine.IO gave it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Runs on this connection alone from now on, unless it has one: the library refuses a second.
    pub fn moves_to(self: &Arc<Self>, connection: &Arc<Connection>) {
        {
            let mut place = self
                .connection
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if place.as_ref().is_some_and(|before| !before.is_aborted()) {
                return;
            }
            *place = Some(connection.clone());
            connection.serve(self);
        }
        if self.closed.load(Ordering::SeqCst) {
            connection.abort();
        }
    }

    /// The WebSocket connection that it runs on, or will run on once the upgrade is done.
    pub fn connection(&self) -> Option<Arc<Connection>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Counts a refusal; how many that makes.
    pub fn refused(&self) -> u32 {
        self.refusals.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Keeps the transport open for a socket of this role.
    pub fn occupy(self: &Arc<Self>, role: Role) -> Occupancy {
        self.occupants.fetch_add(1, Ordering::SeqCst);
        if role == Role::Streamer {
            self.streamers.fetch_add(1, Ordering::SeqCst);
        }
        let session = self.clone();
        Occupancy { session, role }
    }

    /// Whether a socket is let in or is being checked.
    pub fn is_occupied(&self) -> bool {
        self.occupants.load(Ordering::SeqCst) > 0
    }

    /// Whether one of those is a streamer: a listener beside it loses clips rather than the transport.
    pub fn carries_streamer(&self) -> bool {
        self.streamers.load(Ordering::SeqCst) > 0
    }

    /// A poll was answered with so many clips.
    pub fn polled(&self, clips: u64) {
        self.polled.fetch_add(clips, Ordering::SeqCst);
    }

    /// How many clips the Socket.IO library has let out so far, with polls and to a WebSocket.
    pub fn let_out(&self) -> u64 {
        let connection = self.connection();
        self.polled.load(Ordering::SeqCst) + connection.map_or(0, |it| it.binaries())
    }

    /// Closes the transport under it: the client comes back by itself.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.closing.notify_waiters();
        if let Some(connection) = self.connection() {
            connection.abort();
        }
    }

    /// Whether this side has closed it.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Resolves when it is closed.
    pub async fn closed(&self) {
        let closing = self.closing.notified();
        if !self.is_closed() {
            closing.await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade() else {
            return;
        };
        let mut known = home.lock();
        // Another may have taken the id's place since the last handle was let go.
        if known
            .get(&self.id)
            .is_some_and(|known| known.strong_count() == 0)
        {
            known.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_is_known_as_long_as_somebody_holds_it() {
        let sessions = Arc::new(Sessions::default());
        let session = sessions.get("a");
        assert!(Arc::ptr_eq(&session, &sessions.get("a")));
        drop(session);
        assert!(sessions.find("a").is_none() && sessions.is_empty());
    }

    #[tokio::test]
    async fn closing_wakes_who_waits_for_it_and_is_remembered() {
        let sessions = Arc::new(Sessions::default());
        let session = sessions.get("a");
        let waiter = tokio::spawn({
            let session = session.clone();
            async move { session.closed().await }
        });
        tokio::task::yield_now().await;
        session.close();
        waiter.await.unwrap();
        session.closed().await;
    }
}
