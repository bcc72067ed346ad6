//! The one place where the parts meet: start, upload, join, leave, end.
//!
//! Nothing here speaks to a client: what is to be said (to a streamer that was replaced, to listeners of a livestream
//! that ended) is returned, and the socket room says it.
//!
//! **Invariant**: whatever happens to a livestream happens under its lock, and a clip is pushed to every listener's
//! outbox before the lock is let go: so the order of sequences is the order in every outbox. `streamerConnected` is
//! intended true when a livestream goes on air and false when it ends, in that order.

mod announcements;
mod clustered;
mod fan_out;
mod snapshots;
mod uploads;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use crate::broadcast::{
    Bounds, Lease, Livestream, LivestreamId, Loss, Place, Refused, State, UserId,
};
use crate::cluster::{Cluster, Glance, Link};
use crate::config::Config;
use crate::directory::Directory;
use crate::limits::UploadQuota;
use crate::metrics::Metrics;
use crate::transport::{ClipFrame, Outbox};

pub use announcements::Announcement;
pub use snapshots::Snapshot;
pub use socketioxide::socket::Sid as SocketId;
pub use uploads::{UploadError, Uploaded};

/// A listener in its livestream.
pub struct Seat {
    /// Its socket.
    pub socket: SocketId,
    /// Where its clips go.
    pub outbox: Outbox,
}

/// The relay; cheap to clone.
#[derive(Clone)]
pub struct Relay(Arc<Inner>);

struct Inner {
    bounds: Bounds,
    max_live: usize,
    max_clip_bytes: usize,
    metrics: Metrics,
    directory: Directory,
    cluster: Option<Cluster>,
    // Replaced as a whole by a reload; a read lock is held for one check.
    quota: RwLock<UploadQuota>,
    // A lock: taken to find a livestream, never while one is being changed.
    livestreams: Mutex<HashMap<LivestreamId, Arc<Mutex<Show>>>>,
    next_lease: AtomicU64,
    next_place: AtomicU64,
    /// Set once, before a stop: from then on no clip is taken and no flag becomes true.
    stopping: AtomicBool,
}

struct Show {
    livestream: Livestream<Arc<Seat>>,
    streamer: Option<SocketId>,
    // In a cluster: what ties it to the other nodes, and how many listen there.
    link: Option<Arc<Link>>,
    elsewhere: usize,
    announced: Option<(State, usize)>,
    announced_at: Instant,
}

/// What a start led to.
#[derive(Debug)]
pub struct Start {
    /// The right to stream.
    pub lease: Lease,
    /// The socket that was the streamer until now.
    pub replaced: Option<SocketId>,
}

/// A livestream that is over, and who is still there to be told.
pub struct Ended {
    /// Which.
    pub livestream: LivestreamId,
    /// Who was listening.
    pub listeners: Vec<Arc<Seat>>,
}

impl Relay {
    /// A relay with nothing on.
    pub fn new(
        config: &Config,
        directory: Directory,
        cluster: Option<Cluster>,
        metrics: Metrics,
    ) -> Self {
        let bounds = Bounds {
            grace: config.livestream.grace,
            backlog_clips: config.livestream.backlog_clips,
            backlog_bytes: config.livestream.backlog_bytes,
            max_listeners: config.livestream.max_listeners,
        };
        Self(Arc::new(Inner {
            bounds,
            max_live: config.livestream.max_live,
            max_clip_bytes: config.upload.max_clip_bytes,
            metrics,
            directory,
            cluster,
            quota: RwLock::new(UploadQuota::new(&config.upload)),
            livestreams: Mutex::default(),
            next_lease: AtomicU64::new(1),
            next_place: AtomicU64::new(1),
            stopping: AtomicBool::new(false),
        }))
    }

    fn livestreams(&self) -> MutexGuard<'_, HashMap<LivestreamId, Arc<Mutex<Show>>>> {
        self.0
            .livestreams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &LivestreamId) -> Option<Arc<Mutex<Show>>> {
        self.livestreams().get(id).cloned()
    }

    fn all(&self) -> Vec<(LivestreamId, Arc<Mutex<Show>>)> {
        self.livestreams()
            .iter()
            .map(|(id, show)| (id.clone(), show.clone()))
            .collect()
    }

    /// The show, from now on known; none if there are as many as may be.
    fn find_or_begin(&self, id: &LivestreamId, now: Instant) -> Option<Arc<Mutex<Show>>> {
        let mut livestreams = self.livestreams();
        if let Some(show) = livestreams.get(id) {
            return Some(show.clone());
        }
        if livestreams.len() >= self.0.max_live {
            return None;
        }
        let livestream = Livestream::new(self.0.bounds.clone(), now);
        let show = Arc::new(Mutex::new(Show::new(livestream, now)));
        livestreams.insert(id.clone(), show.clone());
        Some(show)
    }

    /// The show, tied to the other nodes where there are any. Never called with a lock held: the link asks the relay.
    fn find_or_link(&self, id: &LivestreamId, now: Instant) -> Option<Arc<Mutex<Show>>> {
        let found = self.find_or_begin(id, now)?;
        if let Some(cluster) = &self.0.cluster
            && lock(&found).link.is_none()
        {
            let link = cluster.link(id);
            lock(&found).link = Some(link);
        }
        Some(found)
    }

    fn event(&self, event: &str) {
        self.0
            .metrics
            .livestream_events
            .with_label_values(&[event])
            .inc();
    }

    /// Whether the livestream has started, as far as this node knows by itself.
    pub fn is_started(&self, id: &LivestreamId) -> bool {
        self.find(id)
            .is_some_and(|show| lock(&show).livestream.is_started())
    }

    /// Makes this node the livestream's holder, in a cluster; false if that cannot be now.
    pub async fn acquire(&self, id: &LivestreamId, now: Instant) -> bool {
        if self.0.cluster.is_none() {
            return true;
        }
        // What ties it to the others may end just now, for nobody was here for a while: the next one does not.
        for _ in 0..2 {
            let link = self
                .find_or_link(id, now)
                .and_then(|found| lock(&found).link.clone());
            let Some(link) = link else { return false };
            if link.acquire().await.is_some() {
                return true;
            }
        }
        false
    }

    /// Makes the socket the livestream's streamer; in a cluster after [`Self::acquire`]. None if there are as many livestreams as may be.
    pub fn start(
        &self,
        id: &LivestreamId,
        user: &UserId,
        socket: SocketId,
        now: Instant,
    ) -> Option<Start> {
        loop {
            let found = self.find_or_link(id, now)?;
            let mut show = lock(&found);
            // Taken under the lock, so that the newest start has the newest lease.
            let lease = Lease(self.0.next_lease.fetch_add(1, Ordering::SeqCst));
            let Ok(started) = show.livestream.start(user.clone(), lease) else {
                // It ended just now: forget it and begin anew.
                drop(show);
                self.forget(id, &found);
                continue;
            };
            let replaced = show
                .streamer
                .replace(socket)
                .filter(|_| started.replaced.is_some());
            drop(show);
            let event = match (&replaced, started.resumed) {
                (Some(_), _) => "taken_over",
                (None, true) => "resumed",
                (None, false) => "started",
            };
            self.event(event);
            tracing::info!(livestream.id = %id, user.id = %user, lease = lease.0, "livestream {event}");
            return Some(Start { lease, replaced });
        }
    }

    /// The streamer has been let in and told so: the livestream is on air. False if another took over meanwhile.
    pub fn air(&self, id: &LivestreamId, lease: Lease) -> bool {
        let Some(show) = self.find(id) else {
            return false;
        };
        let mut show = lock(&show);
        let good = show.livestream.air(lease);
        if good && !self.0.stopping.load(Ordering::SeqCst) {
            // Under the lock, so that intentions come in the order of what they say.
            self.0.directory.set_streamer_connected(id, true);
            show.nudge();
        }
        good
    }

    /// The streamer's transport is gone. Its livestream waits for it, or is over if it never went on air.
    pub fn lost(&self, id: &LivestreamId, lease: Lease, now: Instant) -> Option<Ended> {
        let found = self.find(id)?;
        let mut show = lock(&found);
        match show.livestream.lost(lease, now) {
            Loss::Stale => None,
            Loss::Grace(_) => {
                show.streamer = None;
                show.nudge();
                drop(show);
                self.event("lost");
                tracing::info!(livestream.id = %id, "livestream lost its streamer, waiting for it");
                None
            }
            Loss::Ended => Some(self.close(id, &found, show, "abandoned")),
        }
    }

    /// The streamer ends the show; none if it is the streamer no more.
    pub fn end(&self, id: &LivestreamId, lease: Lease) -> Option<Ended> {
        let found = self.find(id)?;
        let mut show = lock(&found);
        show.livestream
            .end(lease)
            .then(|| self.close(id, &found, show, "ended"))
    }

    /// Ends what has waited too long for its streamer.
    pub fn expire(&self, now: Instant) -> Vec<Ended> {
        let mut ended = Vec::new();
        for (id, found) in self.all() {
            let mut show = lock(&found);
            // In a cluster its streamer may be back on another node: the others are asked, and tell.
            if show.link.is_some() && show.livestream.state() == State::Reconnecting {
                continue;
            }
            if show.livestream.expire(now) {
                ended.push(self.close(&id, &found, show, "expired"));
            }
        }
        ended
    }

    fn close(
        &self,
        id: &LivestreamId,
        found: &Arc<Mutex<Show>>,
        mut show: MutexGuard<'_, Show>,
        event: &str,
    ) -> Ended {
        let listeners = show.livestream.take_listeners();
        let aired = show.livestream.has_aired();
        show.streamer = None;
        match &show.link {
            // Only the holder's end counts, and who that is the others know.
            Some(link) => link.end(),
            None if aired => self.0.directory.set_streamer_connected(id, false),
            None => {}
        }
        drop(show);
        self.forget(id, found);
        if aired {
            self.event(event);
            tracing::info!(livestream.id = %id, listeners = listeners.len(), "livestream {event}");
        }
        Ended {
            livestream: id.clone(),
            listeners,
        }
    }

    /// Forgets a livestream that is over, unless another has begun in its place.
    fn forget(&self, id: &LivestreamId, over: &Arc<Mutex<Show>>) {
        let mut livestreams = self.livestreams();
        if livestreams
            .get(id)
            .is_some_and(|known| Arc::ptr_eq(known, over))
        {
            livestreams.remove(id);
        }
    }

    /// Lets a listener in: the clips of the backlog are in its outbox, and every later one will be.
    pub fn join(
        &self,
        id: &LivestreamId,
        seat: &Arc<Seat>,
        glance: Option<Glance>,
        now: Instant,
    ) -> Result<Place, Refused> {
        loop {
            let found = self.find_or_link(id, now).ok_or(Refused::Full)?;
            let mut show = lock(&found);
            let place = Place(self.0.next_place.fetch_add(1, Ordering::SeqCst));
            match show.livestream.join(place, seat.clone()) {
                Ok(()) => {
                    show.begin_to_follow(glance, now);
                    for clip in show.livestream.backlog() {
                        seat.outbox.push(&Arc::new(ClipFrame::new(clip, now)));
                    }
                    return Ok(place);
                }
                Err(Refused::Ended) => {
                    drop(show);
                    self.forget(id, &found);
                }
                Err(refused) => return Err(refused),
            }
        }
    }

    /// A listener has left.
    pub fn leave(&self, id: &LivestreamId, place: Place) {
        if let Some(seat) = self
            .find(id)
            .and_then(|show| lock(&show).livestream.leave(place))
        {
            seat.outbox.shut();
        }
    }

    /// Whether a listener still has its place.
    pub fn is_seated(&self, id: &LivestreamId, place: Place) -> bool {
        self.find(id)
            .is_some_and(|show| lock(&show).livestream.seats(place))
    }

    /// How a livestream is going, and how many listen to it, on all nodes.
    pub fn state(&self, id: &LivestreamId) -> (State, usize) {
        self.find(id).map_or((State::Ended, 0), |show| {
            let show = lock(&show);
            (show.livestream.state(), show.count())
        })
    }

    /// Takes other quotas. Credit that was used is forgotten.
    pub fn set_quota(&self, upload: &crate::config::Upload) {
        *self.0.quota.write().unwrap_or_else(PoisonError::into_inner) = UploadQuota::new(upload);
    }

    /// Forgets streamers whose credit is whole again.
    pub fn reclaim(&self) {
        self.0
            .quota
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .reclaim();
    }
}

impl Show {
    fn new(livestream: Livestream<Arc<Seat>>, now: Instant) -> Self {
        Self {
            livestream,
            streamer: None,
            link: None,
            elsewhere: 0,
            announced: None,
            announced_at: now,
        }
    }

    /// How many listen, on all nodes.
    fn count(&self) -> usize {
        self.livestream.listeners().len() + self.elsewhere
    }

    /// Its standing here has changed.
    fn nudge(&self) {
        if let Some(link) = &self.link {
            link.nudge();
        }
    }

    /// A listener is let in, perhaps on what was just learnt of a livestream that nobody followed here; the first one
    /// need not wait for the next pulse.
    fn begin_to_follow(&mut self, glance: Option<Glance>, now: Instant) {
        let Some(link) = &self.link else { return };
        if let Some(glance) = glance {
            link.joined_at(glance.sequence);
            if self.livestream.state() == State::Waiting {
                let word = clustered::word(glance.phase, now);
                self.livestream.follow(word, now);
            }
        }
        if self.livestream.listeners().len() == 1 {
            link.look();
        }
    }
}

fn lock(show: &Mutex<Show>) -> MutexGuard<'_, Show> {
    show.lock().unwrap_or_else(PoisonError::into_inner)
}
