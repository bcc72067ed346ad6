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
mod recheck;
mod returns;
mod snapshots;
mod story;
mod streaming;
mod uploads;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use crate::broadcast::{Bounds, Livestream, LivestreamId, Place, Refused, State};
use crate::cluster::{Cluster, Glance, Link};
use crate::config::Config;
use crate::directory::Directory;
use crate::limits::UploadQuota;
use crate::metrics::Metrics;
use crate::transport::{ClipFrame, Outbox};
use story::Story;

pub use announcements::Announcement;
pub use recheck::Owned;
pub use snapshots::Snapshot;
pub use socketioxide::socket::Sid as SocketId;
pub use streaming::{NotStarted, Start};
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
    returns: returns::Words,
    /// Set once, before a stop: from then on no clip is taken and no flag becomes true.
    stopping: AtomicBool,
}

struct Show {
    livestream: Livestream<Arc<Seat>>,
    streamer: Option<SocketId>,
    story: Story,
    // In a cluster: what ties it to the other nodes, and how many listen there.
    link: Option<Arc<Link>>,
    elsewhere: usize,
    announced: Option<(State, usize)>,
    announced_at: Instant,
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
            returns: returns::Words::new(),
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
                ended.push(self.close(&id, &found, show, "expired", now));
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
        now: Instant,
    ) -> Ended {
        let listeners = show.take_listeners();
        let aired = show.livestream.has_aired();
        show.streamer = None;
        match &show.link {
            // Only the holder's end counts, and who that is the others know.
            Some(link) => link.end(),
            None if aired => self.0.directory.set_streamer_connected(id, false),
            None => {}
        }
        if aired {
            self.event(event);
            show.story.tell(id, event, now);
        }
        drop(show);
        self.forget(id, found);
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
                    let listeners = show.count();
                    show.story.listeners(listeners);
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
        let Some(found) = self.find(id) else { return };
        let mut show = lock(&found);
        if let Some(seat) = show.livestream.leave(place) {
            seat.outbox.shut();
            show.story.dropped(seat.outbox.missed());
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
            story: Story::default(),
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

    /// Lets everybody go.
    fn take_listeners(&mut self) -> Vec<Arc<Seat>> {
        let listeners = self.livestream.take_listeners();
        let dropped = listeners.iter().map(|seat| seat.outbox.missed()).sum();
        self.story.dropped(dropped);
        listeners
    }

    /// Its standing here has changed.
    fn nudge(&self) {
        if let Some(link) = &self.link {
            link.nudge();
        }
    }

    /// A listener is let in, perhaps on what was just learnt of a livestream that nobody followed here; the first one
    /// need not wait for the next heartbeat.
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
