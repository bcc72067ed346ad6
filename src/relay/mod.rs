//! The one place where the parts meet: start, upload, join, leave, end.
//!
//! Nothing here speaks to a client: what is to be said (to a streamer that was replaced, to listeners of a livestream
//! that ended) is returned, and the socket room says it.
//!
//! **Invariant**: whatever happens to a livestream happens under its lock, and a clip is pushed to every listener's
//! outbox before the lock is let go: so the order of sequences is the order in every outbox. `streamerConnected` is
//! intended true when a livestream goes on air and false when it ends, in that order.

mod announcements;
mod fan_out;
mod recheck;
mod remote;
mod returns;
mod snapshots;
mod story;
mod streaming;
mod uploads;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::broadcast::{
    ListenerId, Livestream, LivestreamError, LivestreamId, LivestreamLimits, State,
};
use crate::cluster::{Cluster, Link, RecordSummary};
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
pub struct Listener {
    /// Its socket.
    pub socket: SocketId,
    /// Where its clips go.
    pub outbox: Outbox,
}

/// The relay; cheap to clone.
#[derive(Clone)]
pub struct Relay(Arc<Inner>);

struct Inner {
    bounds: LivestreamLimits,
    max_live: usize,
    max_clip_bytes: usize,
    metrics: Metrics,
    directory: Directory,
    cluster: Option<Cluster>,
    // Replaced as a whole by a reload; a read lock is held for one check.
    quota: RwLock<UploadQuota>,
    // A lock: taken to find a livestream, never while one is being changed.
    livestreams: Mutex<HashMap<LivestreamId, Arc<Mutex<ActiveLivestream>>>>,
    next_epoch: AtomicU64,
    next_listener_id: AtomicU64,
    returns: returns::Words,
    /// Set once, before a stop: from then on no clip is taken and no flag becomes true.
    stopping: AtomicBool,
}

struct ActiveLivestream {
    livestream: Livestream<Arc<Listener>>,
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
    pub listeners: Vec<Arc<Listener>>,
}

impl Relay {
    /// A relay with nothing on.
    pub fn new(
        config: &Config,
        directory: Directory,
        cluster: Option<Cluster>,
        metrics: Metrics,
    ) -> Self {
        let bounds = LivestreamLimits {
            grace: config.livestream.grace,
            history_clips: config.livestream.history_clips,
            history_bytes: config.livestream.history_bytes,
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
            next_epoch: AtomicU64::new(1),
            next_listener_id: AtomicU64::new(1),
            returns: returns::Words::new(),
            stopping: AtomicBool::new(false),
        }))
    }

    fn livestreams(&self) -> MutexGuard<'_, HashMap<LivestreamId, Arc<Mutex<ActiveLivestream>>>> {
        self.0.livestreams.lock()
    }

    fn find(&self, id: &LivestreamId) -> Option<Arc<Mutex<ActiveLivestream>>> {
        self.livestreams().get(id).cloned()
    }

    fn all(&self) -> Vec<(LivestreamId, Arc<Mutex<ActiveLivestream>>)> {
        self.livestreams()
            .iter()
            .map(|(id, active)| (id.clone(), active.clone()))
            .collect()
    }

    /// The livestream, from now on known; none if there are as many as may be.
    fn find_or_create(
        &self,
        id: &LivestreamId,
        now: Instant,
    ) -> Option<Arc<Mutex<ActiveLivestream>>> {
        let mut livestreams = self.livestreams();
        if let Some(active) = livestreams.get(id) {
            return Some(active.clone());
        }
        if livestreams.len() >= self.0.max_live {
            return None;
        }
        let livestream = Livestream::new(self.0.bounds.clone(), now);
        let active = Arc::new(Mutex::new(ActiveLivestream::new(livestream, now)));
        livestreams.insert(id.clone(), active.clone());
        Some(active)
    }

    /// The livestream, tied to the other nodes where there are any. Never called with a lock held: the link asks the relay.
    fn find_or_link(
        &self,
        id: &LivestreamId,
        now: Instant,
    ) -> Option<Arc<Mutex<ActiveLivestream>>> {
        let found = self.find_or_create(id, now)?;
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
            .is_some_and(|active| lock(&active).livestream.is_started())
    }

    /// Ends what has waited too long for its streamer.
    pub fn expire(&self, now: Instant) -> Vec<Ended> {
        let mut ended = Vec::new();
        for (id, found) in self.all() {
            let mut active = lock(&found);
            // In a cluster its streamer may be back on another node: the others are asked, and tell.
            if active.link.is_some() && active.livestream.state() == State::Reconnecting {
                continue;
            }
            if active.livestream.expire(now) {
                ended.push(self.close(&id, &found, active, "expired", now));
            }
        }
        ended
    }

    fn close(
        &self,
        id: &LivestreamId,
        found: &Arc<Mutex<ActiveLivestream>>,
        mut active: MutexGuard<'_, ActiveLivestream>,
        event: &str,
        now: Instant,
    ) -> Ended {
        let listeners = active.take_listeners();
        let aired = active.livestream.has_aired();
        active.streamer = None;
        match &active.link {
            // Only the holder's end counts, and who that is the others know.
            Some(link) => link.end(),
            None if aired => self.0.directory.set_streamer_connected(id, false),
            None => {}
        }
        if aired {
            self.event(event);
            active.story.tell(id, event, now);
        }
        drop(active);
        self.forget(id, found);
        Ended {
            livestream: id.clone(),
            listeners,
        }
    }

    /// Forgets a livestream that is over, unless another has begun in its place.
    fn forget(&self, id: &LivestreamId, over: &Arc<Mutex<ActiveLivestream>>) {
        let mut livestreams = self.livestreams();
        if livestreams
            .get(id)
            .is_some_and(|known| Arc::ptr_eq(known, over))
        {
            livestreams.remove(id);
        }
    }

    /// Lets a listener in: the clips of the history are in its outbox, and every later one will be.
    pub fn join(
        &self,
        id: &LivestreamId,
        listener: &Arc<Listener>,
        summary: Option<RecordSummary>,
        now: Instant,
    ) -> Result<ListenerId, LivestreamError> {
        loop {
            let found = self.find_or_link(id, now).ok_or(LivestreamError::Full)?;
            let mut active = lock(&found);
            let listener_id = ListenerId(self.0.next_listener_id.fetch_add(1, Ordering::SeqCst));
            match active.livestream.join(listener_id, listener.clone()) {
                Ok(()) => {
                    let listeners = active.count();
                    active.story.listeners(listeners);
                    active.start_following(summary, now);
                    for clip in active.livestream.history() {
                        listener.outbox.push(&Arc::new(ClipFrame::new(clip, now)));
                    }
                    return Ok(listener_id);
                }
                Err(LivestreamError::Ended) => {
                    drop(active);
                    self.forget(id, &found);
                }
                Err(refused) => return Err(refused),
            }
        }
    }

    /// A listener has left.
    pub fn leave(&self, id: &LivestreamId, listener_id: ListenerId) {
        let Some(found) = self.find(id) else { return };
        let mut active = lock(&found);
        if let Some(listener) = active.livestream.leave(listener_id) {
            listener.outbox.shut();
            active.story.dropped(listener.outbox.missed());
        }
    }

    /// Whether a listener still has its place.
    pub fn has_listener(&self, id: &LivestreamId, listener_id: ListenerId) -> bool {
        self.find(id)
            .is_some_and(|active| lock(&active).livestream.has_listener(listener_id))
    }

    /// How a livestream is going, and how many listen to it, on all nodes.
    pub fn state(&self, id: &LivestreamId) -> (State, usize) {
        self.find(id).map_or((State::Ended, 0), |active| {
            let active = lock(&active);
            (active.livestream.state(), active.count())
        })
    }

    /// Takes other quotas. Credit that was used is forgotten.
    pub fn set_quota(&self, upload: &crate::config::Upload) {
        *self.0.quota.write() = UploadQuota::new(upload);
    }

    /// Forgets streamers whose credit is whole again.
    pub fn reclaim(&self) {
        self.0.quota.read().reclaim();
    }
}

impl ActiveLivestream {
    fn new(livestream: Livestream<Arc<Listener>>, now: Instant) -> Self {
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
    fn take_listeners(&mut self) -> Vec<Arc<Listener>> {
        let listeners = self.livestream.take_listeners();
        let dropped = listeners
            .iter()
            .map(|listener| listener.outbox.missed())
            .sum();
        self.story.dropped(dropped);
        listeners
    }

    /// Its standing here has changed.
    fn wake(&self) {
        if let Some(link) = &self.link {
            link.wake();
        }
    }

    /// A listener is let in, perhaps on what was just learnt of a livestream that nobody followed here; the first one
    /// need not wait for the next heartbeat.
    fn start_following(&mut self, summary: Option<RecordSummary>, now: Instant) {
        let Some(link) = &self.link else { return };
        if let Some(summary) = summary {
            link.joined_at(summary.sequence);
            if self.livestream.state() == State::Waiting {
                let word = remote::word(summary.phase, now);
                self.livestream.follow(word, now);
            }
        }
        if self.livestream.listeners().len() == 1 {
            link.look();
        }
    }
}

fn lock(active: &Mutex<ActiveLivestream>) -> MutexGuard<'_, ActiveLivestream> {
    active.lock()
}
