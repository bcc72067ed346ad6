//! The one place where the parts meet: start, upload, join, leave, end.
//!
//! The relay sends nothing to a client but clips. It emits [`Event`]s, and `socket` notifies the clients.
//!
//! **Invariant**: every change of a livestream happens under its lock, and a clip is pushed to every listener's outbox
//! before the lock is released: so the order of sequences is the order in every outbox. The intended
//! `streamerConnected` becomes true when a livestream goes on air and false when it ends, in that order.

mod active;
mod announcements;
mod bans;
mod clock;
mod drain;
mod events;
mod fan_out;
mod feed;
mod flag;
mod operator;
mod passes;
mod players;
mod recheck;
mod recording;
mod remote;
mod resume;
mod returns;
mod silence;
mod snapshots;
mod standing;
mod story;
mod streaming;
mod uploads;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::{Notify, Semaphore};

use crate::bans::Bans;
use crate::broadcast::{
    ClipIds, FlagOwner, ListenerId, Livestream, LivestreamError, LivestreamId, LivestreamLimits,
    Position, Record, State, UserId,
};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::directory::Directory;
use crate::limits::UploadQuota;
use crate::media::Timeline;
use crate::metrics::Metrics;
use crate::recording::Recorder;
use crate::transport::Outbox;
use clock::{new_epoch, now, unix_millis};
use events::{Delivery, Subscribers};
use fan_out::Audience;
use feed::Feed;
use recording::LivestreamRecording;
use remote::{Link, Links};
use silence::Silence;
use story::Story;

pub use bans::BanChanged;
pub use drain::Remaining;
pub use events::{Arrival, Ending, Event, Replacement, SocketId, StreamerId};
pub use feed::Fed;
pub use operator::{BANNED, NoEffect, Overview, SocketOverview};
pub use players::Player;
pub use recheck::Owned;
pub use recording::{NotRecorded, RecordingChange};
pub use remote::{FindError, Ticket, Unpublished};
pub use resume::Resumed;
pub use snapshots::Snapshot;
pub use standing::Standing;
pub use story::Totals;
pub use streaming::NotStarted;
pub use uploads::{Upload, UploadError, Uploaded};

/// A listener in its livestream.
///
/// What a delivery touches comes first.
#[repr(C)]
pub struct Listener {
    /// The queue of its clips.
    pub outbox: Outbox,
    /// Its socket.
    pub socket: SocketId,
    /// Its user.
    pub user: UserId,
    /// The time of its admission.
    pub since: Instant,
    /// The `error` for its client, once an operator or a ban has dismissed it.
    pub dismissal: OnceLock<Arc<str>>,
    /// Whether its client knows the event `warning`.
    pub wants_warnings: bool,
    /// Where it resumes from.
    pub resume: Option<Position>,
    /// The outcome of that, once it has joined.
    pub resumed: OnceLock<Resumed>,
}

/// The relay; cheap to clone.
#[derive(Clone)]
pub struct Relay(Arc<Inner>);

struct Inner {
    bounds: LivestreamLimits,
    /// The most of the latest clips for a listener that joins.
    join_clips: usize,
    silence_after: Duration,
    max_live: usize,
    max_clip_bytes: usize,
    metrics: Metrics,
    directory: Directory,
    bans: Bans,
    /// None without a cluster.
    links: Option<Arc<Links>>,
    // Replaced as a whole by a reload; a read lock is held for one check.
    quota: RwLock<UploadQuota>,
    // Locked to find, add or remove a livestream, never while a livestream's own lock is held.
    livestreams: Mutex<HashMap<LivestreamId, Arc<Mutex<ActiveLivestream>>>>,
    next_epoch: AtomicU64,
    next_listener_id: AtomicU64,
    // Set once, by the task that sends them to Redis.
    returns: returns::ReturnNotices,
    unpublished_ends: Arc<Semaphore>,
    subscribers: Subscribers,
    // Locked to add a listener, or to take all. Each is here once at most, while its outbox waits.
    waiting: Mutex<Vec<Weak<Listener>>>,
    // Written by an operator, read at each join.
    drain: RwLock<Option<drain::Drain>>,
    // Set before the first client, if there are players; a read lock is held to queue one clip.
    feed: RwLock<Option<Feed>>,
    // Set before the first client, if livestreams are recorded.
    recorder: OnceLock<Recorder>,
    /// Notified of a wish that the next process must know.
    note_due: Notify,
    /// Set once, before a stop: from then on no clip is accepted and no flag becomes true.
    stopping: AtomicBool,
}

struct ActiveLivestream {
    livestream: Livestream<Arc<Listener>>,
    /// Its listeners for one clip after the other, as long as they stay the same.
    audience: Option<Audience>,
    streamer: Option<StreamerId>,
    /// When the streamer was admitted.
    streamer_since: Instant,
    /// The `error` for the streamer's client, once an operator or a ban has dismissed it.
    dismissal: Option<Arc<str>>,
    story: Story,
    silence: Silence,
    clip_ids: ClipIds<uploads::Outcome>,
    /// Whether the history reaches back as far as Redis's did.
    is_backfilled: bool,
    /// Where players hear the clips; unused where there are none.
    timeline: Timeline,
    recording: LivestreamRecording,
    // In a cluster: the link to the other nodes, and the number of listeners there.
    link: Option<Arc<Link>>,
    elsewhere: usize,
    /// The latest epoch in which this node was the owner.
    owned_epoch: Option<u64>,
    announced: Option<Standing>,
    announced_at: Instant,
    announcement: Delivery,
}

impl Relay {
    /// A relay without livestreams.
    pub fn new(
        config: &Config,
        directory: Directory,
        cluster: Option<Arc<Cluster>>,
        bans: Bans,
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
            join_clips: config.livestream.join_clips,
            silence_after: config.livestream.silence_after,
            max_live: config.livestream.max_live,
            max_clip_bytes: config.upload.max_clip_bytes,
            metrics,
            directory,
            bans,
            links: cluster.map(|cluster| Arc::new(Links::new(cluster, config))),
            quota: RwLock::new(UploadQuota::new(&config.upload)),
            livestreams: Mutex::default(),
            next_epoch: AtomicU64::new(1),
            next_listener_id: AtomicU64::new(1),
            returns: OnceLock::new(),
            unpublished_ends: Arc::new(Semaphore::new(passes::MOST)),
            subscribers: Subscribers::default(),
            waiting: Mutex::default(),
            drain: RwLock::default(),
            feed: RwLock::default(),
            recorder: OnceLock::new(),
            note_due: Notify::new(),
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

    /// The livestream, created if it is unknown; none if the number of livestreams is at its limit.
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
        let livestream = Livestream::new(self.0.bounds.clone(), now).in_epoch(new_epoch());
        let active = Arc::new(Mutex::new(ActiveLivestream::new(livestream, now)));
        livestreams.insert(id.clone(), active.clone());
        Some(active)
    }

    /// The livestream, in a cluster with its link. Never called with a lock held: the link's task locks the livestream.
    fn find_or_link(
        &self,
        id: &LivestreamId,
        now: Instant,
    ) -> Option<Arc<Mutex<ActiveLivestream>>> {
        let found = self.find_or_create(id, now)?;
        if let Some(links) = &self.0.links
            && lock(&found).link.is_none()
        {
            let link = self.link(links, id);
            lock(&found).link = Some(link);
        }
        Some(found)
    }

    /// Whether this node knows the livestream, in any state but over.
    pub fn is_known(&self, id: &LivestreamId) -> bool {
        self.find(id).is_some()
    }

    /// Whether the livestream has started, to this node's own knowledge.
    pub fn is_started(&self, id: &LivestreamId) -> bool {
        self.find(id)
            .is_some_and(|active| lock(&active).livestream.is_started())
    }

    /// Ends livestreams whose wait for a streamer has timed out.
    pub fn expire(&self, now: Instant) {
        for (id, found) in self.all() {
            let mut active = lock(&found);
            // In a cluster the streamer may be back on another node: the cluster decides, see `follow`.
            if active.link.is_some() && active.livestream.state() == State::Reconnecting {
                continue;
            }
            if active.livestream.expire(now) {
                self.close(&id, &found, active, Ending::Expired, now);
            }
        }
    }

    fn close(
        &self,
        id: &LivestreamId,
        found: &Arc<Mutex<ActiveLivestream>>,
        mut active: MutexGuard<'_, ActiveLivestream>,
        ending: Ending,
        now: Instant,
    ) {
        let before = if active.livestream.has_aired() {
            State::Live
        } else {
            State::Waiting
        };
        let owner = match &active.link {
            Some(link) => {
                link.end();
                FlagOwner::Cluster
            }
            None => self.flag_owner(),
        };
        self.write_flag(id, before, State::Ended, owner);
        let user = active.streamer_user();
        self.emit_ended(id, &mut active, ending, user, None, now);
        drop(active);
        self.forget(id, found);
    }

    fn emit_ended(
        &self,
        id: &LivestreamId,
        active: &mut ActiveLivestream,
        ending: Ending,
        user: Option<UserId>,
        epoch: Option<u64>,
        now: Instant,
    ) {
        self.feed_end(Fed::Ended(id.clone()));
        self.record_end(id, active, ending, user.is_some());
        let audience = active.take_listeners();
        let totals = active.story.totals(now);
        self.emit(Event::LivestreamEnded {
            livestream: id.clone(),
            user,
            epoch,
            ending,
            streamer: active.streamer.take(),
            audience,
            totals: active.livestream.has_aired().then_some(totals),
        });
    }

    /// Removes an ended livestream, unless another has begun under its id.
    fn forget(&self, id: &LivestreamId, over: &Arc<Mutex<ActiveLivestream>>) {
        let mut livestreams = self.livestreams();
        if livestreams
            .get(id)
            .is_some_and(|known| Arc::ptr_eq(known, over))
        {
            livestreams.remove(id);
        }
    }

    /// The livestream for a listener: one that has started here, or one that continues `elsewhere`.
    fn find_to_join(
        &self,
        id: &LivestreamId,
        elsewhere: Option<&Record>,
        now: Instant,
    ) -> Result<Arc<Mutex<ActiveLivestream>>, LivestreamError> {
        if elsewhere.is_none() && !self.is_started(id) {
            return Err(LivestreamError::NotStarted);
        }
        self.find_or_link(id, now).ok_or(LivestreamError::Full)
    }

    /// Adds a listener. Its outbox gets clips of the history, then every later clip. Without a record of another node
    /// the livestream must have started here.
    pub fn join(
        &self,
        id: &LivestreamId,
        listener: &Arc<Listener>,
        elsewhere: Option<&Record>,
        now: Instant,
    ) -> Result<ListenerId, LivestreamError> {
        loop {
            let found = self.find_to_join(id, elsewhere, now)?;
            let mut active = lock(&found);
            let listener_id = ListenerId(self.0.next_listener_id.fetch_add(1, Ordering::SeqCst));
            match active.livestream.join(listener_id, listener.clone()) {
                Ok(()) => {
                    active.audience = None;
                    active.story.joined();
                    active.tally(now);
                    active.start_following(elsewhere, now);
                    active.push_history(listener, self.0.join_clips, now);
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

    /// Removes a listener, and shuts its outbox.
    pub fn leave(&self, id: &LivestreamId, listener_id: ListenerId) {
        let Some(found) = self.find(id) else { return };
        let mut active = lock(&found);
        if let Some(listener) = active.livestream.leave(listener_id) {
            listener.outbox.shut();
            active.audience = None;
            active.story.dropped(listener.outbox.missed());
            active.tally(now());
        }
    }

    /// Whether the livestream still has this listener.
    pub fn has_listener(&self, id: &LivestreamId, listener_id: ListenerId) -> bool {
        self.find(id)
            .is_some_and(|active| lock(&active).livestream.has_listener(listener_id))
    }

    /// Replaces the quotas. Used credit is forgotten.
    pub fn set_quota(&self, upload: &crate::config::Upload) {
        *self.0.quota.write() = UploadQuota::new(upload);
    }

    /// Forgets streamers whose credit is full again, and counts the bans that hold.
    pub fn reclaim(&self) {
        self.0.bans.count(SystemTime::now());
        self.0.quota.read().reclaim();
    }
}

fn lock(active: &Mutex<ActiveLivestream>) -> MutexGuard<'_, ActiveLivestream> {
    active.lock()
}

#[cfg(test)]
mod tests;
