//! An Engine.IO session across its transports: the state that survives the upgrade from polling to WebSocket, its
//! heartbeat, and a way to close it on either transport. The Socket.IO library offers none of these.
//!
//! **Invariant**: a session lives as long as the library or a WebSocket of its own; it owns no connection. A closed
//! session answers no poll, and its WebSocket connection, if it has one, is closed.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::activity::Activity;
use super::closing::Closing;
use super::connection::Connection;
use super::deadlines::Place;
use super::registry::Registry;
use super::sync::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering};
use super::timeouts::Overdue;
use crate::broadcast::Role;

/// How long a poll waits while its client moves to a WebSocket. It must end so that the client can continue.
const UPGRADE_POLL: Duration = Duration::from_millis(100);

/// See the module documentation.
pub struct Session {
    id: OnceLock<Box<str>>,
    /// What its connections know of it.
    pub activity: Arc<Activity>,
    /// The address that it counts for; none for a trusted proxy that names no client.
    address: Option<IpAddr>,
    home: Arc<Registry<Self>>,
    place: Place,
    /// Counts it for the connection on which it was opened.
    _opened: Option<Arc<()>>,
    // A lock, since it changes once: with the upgrade. Weak: a connection ends with its TCP connection.
    connection: Mutex<Option<Weak<Connection>>>,
    // A lock, taken when a socket joins or leaves. Of all other locks only that of the sessions is taken under it.
    membership: Mutex<Membership>,
    joined_before: AtomicBool,
    /// Equal to `joined > 0`, for the sessions' lock, under which `membership` cannot be locked.
    joined_now: AtomicBool,
    posting: AtomicBool,
    upgrading: AtomicBool,
    upgrade_begins: Notify,
    closed: AtomicBool,
    closing: Notify,
    refusals: AtomicU32,
    /// Sockets that are admitted or being checked.
    occupants: AtomicUsize,
    /// Clips that left with polls.
    polled: AtomicU64,
}

/// A socket of a session that is admitted or being checked. It keeps the transport open.
pub struct Occupancy {
    session: Arc<Session>,
    role: Role,
}

impl Drop for Occupancy {
    fn drop(&mut self) {
        self.session.occupants.fetch_sub(1, Ordering::SeqCst);
        if self.role == Role::Streamer {
            self.session.activity.remove_streamer();
        }
    }
}

/// While it exists, the client is not read.
pub struct Unread(Arc<Session>);

impl Drop for Unread {
    fn drop(&mut self) {
        self.0.activity.pressure.release();
    }
}

struct Membership {
    /// Number of joined namespaces.
    joined: usize,
    /// Time since which it has joined none.
    unjoined_since: Instant,
}

impl Membership {
    /// The time by which it must have joined a namespace.
    fn join_by(&self, join_timeout: Duration) -> Option<Instant> {
        let unjoined = (self.joined == 0).then_some(self.unjoined_since)?;
        unjoined.checked_add(join_timeout)
    }
}

/// Counts a session as joined until it is dropped with its socket.
pub struct Member(Arc<Session>);

/// A client's POST in progress, until it is dropped.
pub struct Posting(Arc<Session>);

/// The reason to answer a poll although the library has nothing to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// A ping is due.
    Ping,
    /// The client moves to a WebSocket.
    Noop,
}

/// Result of a check of a session.
pub(super) enum Check {
    Fine,
    PingIsDue(Arc<Connection>),
    Overdue(Overdue),
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Session {
    pub(super) fn new(
        home: Arc<Registry<Self>>,
        address: Option<IpAddr>,
        opened: Option<Arc<()>>,
        now: Instant,
    ) -> Self {
        let membership = Membership {
            joined: 0,
            unjoined_since: now,
        };
        Self {
            id: OnceLock::new(),
            activity: Arc::new(Activity::new(home.limits.heartbeat, now)),
            address,
            place: home.deadlines.place(),
            home,
            _opened: opened,
            connection: Mutex::default(),
            membership: Mutex::new(membership),
            joined_before: AtomicBool::new(false),
            joined_now: AtomicBool::new(false),
            posting: AtomicBool::new(false),
            upgrading: AtomicBool::new(false),
            upgrade_begins: Notify::new(),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
            refusals: AtomicU32::new(0),
            occupants: AtomicUsize::new(0),
            polled: AtomicU64::new(0),
        }
    }

    fn membership(&self) -> MutexGuard<'_, Membership> {
        self.membership.lock()
    }

    /// Engine.IO's id; empty until it is known.
    pub fn id(&self) -> &str {
        self.id.get().map_or("", |id| id)
    }

    /// Records the id that the library gave it, by which it can be found from now on.
    pub fn set_id(self: &Arc<Self>, id: &str) {
        if self.id.set(id.into()).is_ok() {
            self.home.name(self, id);
        }
    }

    /// Binds the session to this connection alone; false if it is already bound to one.
    pub fn moves_to(self: &Arc<Self>, connection: &Arc<Connection>) -> bool {
        {
            let mut current = self.connection.lock();
            if current.is_some() {
                return false;
            }
            *current = Some(Arc::downgrade(connection));
        }
        connection.serves(&self.activity);
        self.hasten();
        if self.is_closed() {
            connection.abort();
        }
        true
    }

    /// Its WebSocket connection, while that exists.
    pub fn connection(&self) -> Option<Arc<Connection>> {
        self.connection.lock().as_ref().and_then(Weak::upgrade)
    }

    /// Whether it has moved to a WebSocket, or began on one.
    pub fn is_on_web_socket(&self) -> bool {
        self.connection.lock().is_some()
    }

    /// The largest message that its client may send now.
    pub fn message_limit(&self) -> usize {
        let limits = &self.home.limits;
        if self.joined_before.load(Ordering::SeqCst) {
            limits.message_bytes
        } else {
            limits.message_bytes_before_join
        }
    }

    /// Counts one of its sockets as admitted until the returned value is dropped.
    pub fn join(self: &Arc<Self>) -> Member {
        self.joined_before.store(true, Ordering::SeqCst);
        let mut membership = self.membership();
        membership.joined += 1;
        if membership.joined == 1 {
            self.joined_now.store(true, Ordering::SeqCst);
            self.home.joined(self.address, true);
        }
        drop(membership);
        Member(self.clone())
    }

    /// Whether it is in a namespace.
    pub(super) fn is_joined(&self) -> bool {
        self.joined_now.load(Ordering::SeqCst)
    }

    pub(super) fn check(&self, now: Instant) -> Check {
        if self.is_closed() {
            return Check::Fine;
        }
        let connection = self.connection();
        let join_by = self.membership().join_by(self.home.limits.join_timeout);
        if self.activity.is_dead(now) {
            Check::Overdue(Overdue::Silent)
        } else if join_by.is_some_and(|join_by| now > join_by) {
            Check::Overdue(Overdue::Unjoined)
        } else if let Some(connection) = connection
            && self.activity.take_ping(now)
        {
            Check::PingIsDue(connection)
        } else {
            Check::Fine
        }
    }

    /// Makes sure that it is checked in time: to be called after whatever makes its next ping or its end earlier.
    pub(super) fn hasten(&self) {
        if self.is_closed() {
            return;
        }
        // Polls take the pings of a session without a connection.
        let next = match self.connection() {
            Some(_) => self.activity.next_ping_or_end(),
            None => self.activity.end(),
        };
        let join_by = self.membership().join_by(self.home.limits.join_timeout);
        let next = join_by.map_or(next, |join_by| join_by.min(next));
        self.home.deadlines.hasten(&self.place, Some(next));
    }

    /// Whether an answer to a poll should contain a ping.
    pub fn takes_ping(&self) -> bool {
        self.activity.take_ping(now())
    }

    /// Resolves when a poll must be answered although the library has nothing to send.
    pub async fn turn(&self) -> Turn {
        loop {
            tokio::select! {
                biased;
                () = self.upgrade_begins() => {
                    tokio::time::sleep(UPGRADE_POLL).await;
                    return Turn::Noop;
                }
                () = self.activity.ping_is_due() => {
                    if self.takes_ping() {
                        return Turn::Ping;
                    }
                }
            }
        }
    }

    /// Resolves when a probed WebSocket may take over.
    pub(super) async fn upgrade_begins(&self) {
        loop {
            let upgrade_begins = self.upgrade_begins.notified();
            if self.upgrading.load(Ordering::SeqCst) {
                return;
            }
            upgrade_begins.await;
        }
    }

    /// Records whether a probed WebSocket may take over. While it may, polls are answered soon.
    pub(super) fn set_upgrading(&self, upgrading: bool) {
        self.upgrading.store(upgrading, Ordering::SeqCst);
        if upgrading {
            self.upgrade_begins.notify_waiters();
        }
    }

    /// Starts a POST of its client; none during another POST, since the order would be lost.
    pub fn posts(self: &Arc<Self>) -> Option<Posting> {
        let free = !self.posting.swap(true, Ordering::SeqCst);
        free.then(|| Posting(self.clone()))
    }

    /// Counts a refusal and returns the number of refusals.
    pub fn refused(self: &Arc<Self>) -> u32 {
        let before = self.refusals.fetch_add(1, Ordering::SeqCst);
        if before == 0 {
            self.home.refused(self.address, self);
        }
        before + 1
    }

    /// Keeps the transport open for a socket of this role.
    pub fn occupy(self: &Arc<Self>, role: Role) -> Occupancy {
        self.occupants.fetch_add(1, Ordering::SeqCst);
        if role == Role::Streamer {
            self.activity.add_streamer();
            self.hasten();
        }
        let session = self.clone();
        Occupancy { session, role }
    }

    /// Stops reading from the client for a while.
    pub fn stop_reading(self: &Arc<Self>) -> Unread {
        self.activity.pressure.hold();
        Unread(self.clone())
    }

    /// Whether a socket is admitted or being checked.
    pub fn is_occupied(&self) -> bool {
        self.occupants.load(Ordering::SeqCst) > 0
    }

    /// Counts the clips in the answer to a poll.
    pub fn polled(&self, clips: u64) {
        self.polled.fetch_add(clips, Ordering::SeqCst);
    }

    /// Number of clips that the Socket.IO library has written so far, with polls and to a WebSocket.
    pub fn let_out(&self) -> u64 {
        let connection = self.connection();
        self.polled.load(Ordering::SeqCst) + connection.map_or(0, |it| it.binaries())
    }

    /// Closes its transport after the queued bytes of a WebSocket are written: the client reconnects by itself.
    pub fn finish(&self) {
        match self.connection() {
            Some(connection) => connection.finish_if_upgraded(),
            None => self.close(),
        }
    }

    /// Ends its transport, also one that takes too long to be finished.
    pub fn abort(&self) {
        match self.connection() {
            Some(connection) => connection.abort(),
            None => self.close(),
        }
    }

    /// Closes its transport: the client reconnects by itself. Bytes queued for a WebSocket are lost.
    pub fn close(&self) {
        self.close_saying(Closing::Policy("the session was closed, connect again"));
    }

    /// [`Self::close`] with this reason in the Close frame, where it can be sent at once.
    pub(super) fn close_saying(&self, closing: Closing) {
        if self.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        self.closing.notify_waiters();
        match self.connection() {
            Some(connection) if connection.is_drained() => connection.close(closing),
            Some(connection) => connection.abort(),
            None => self.home.evict(self.id()),
        }
    }

    /// Whether the server has closed it.
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

impl AsRef<Place> for Session {
    fn as_ref(&self) -> &Place {
        &self.place
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let id = self.id.get().map(|id| &**id);
        self.home.gone(self.address, id, &self.place);
    }
}

impl Drop for Posting {
    fn drop(&mut self) {
        self.0.posting.store(false, Ordering::SeqCst);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut membership = self.0.membership();
        membership.joined -= 1;
        membership.unjoined_since = now();
        if membership.joined == 0 {
            self.0.joined_now.store(false, Ordering::SeqCst);
            self.0.home.joined(self.0.address, false);
        }
        drop(membership);
        self.0.hasten();
    }
}
