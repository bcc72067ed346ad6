//! Several nodes share a livestream: its listeners are on every node, its streamer on one.
//!
//! Nodes share a Redis or Valkey. Each livestream has a *record* there ([`records`]): its owner, its *epoch*, and its
//! phase. A clip goes from the owner to one channel per livestream; a node subscribes to the channel with its first
//! listener. Redis stores the latest clips, the *history*, and a node fetches missed clips from it. At every
//! *heartbeat* (a second) each node compares each of its livestreams with the record; every other message is only a
//! short cut. [`crate::broadcast::ownership`] decides what follows from a record.
//!
//! ```text
//! relay ─▶ Link ─▶ LivestreamTask ─▶ Records ─▶ Redis
//!   ▲                │  ▲                        │
//!   └──── Node ◀─────┘  └────── channel ◀────────┘
//! ```
//!
//! **Invariant**: of two nodes that both consider themselves owner of a livestream, only the one with the newer epoch
//! can publish, and the other one learns this with its next command. Local listeners never wait for Redis. Without
//! `cluster.url` nothing of this runs.

/// A script of these files in `scripts/`, concatenated.
macro_rules! script {
    ($($piece:literal),+) => {
        Script::new(concat!($(include_str!(concat!("scripts/", $piece, ".lua"))),+))
    };
}

mod client;
mod follower;
mod frame;
mod link;
mod livestream_task;
mod metrics;
mod node_registry;
mod orphans;
mod records;
mod returns;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use prometheus::Registry;
use secrecy::ExposeSecret as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::broadcast::{LivestreamId, UserId};
use crate::config::{Config, ConfigError};
use client::Redis;
use link::LinkBounds;
use livestream_task::{LivestreamTask, PIECE};
use metrics::Metrics;
use node_registry::NodeRegistry;
use records::Records;
use returns::Returns;

pub use follower::{Follower, Position, Verdict};
pub use frame::{Message, RemoteClip, decode};
pub use link::{Link, Ticket, Unpublished};
pub use records::Phase;
pub use returns::ReturnKey;

/// The state of a livestream on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its streamer is not connected here.
    Elsewhere,
    /// Its streamer is connected here.
    Live {
        /// Whether its streamer has been admitted.
        aired: bool,
    },
    /// Its streamer was connected here, and its grace period runs.
    Grace,
}

/// The result of a heartbeat for the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteStatus {
    /// The phase in the record, unless a streamer here decides it.
    pub phase: Option<Phase>,
    /// The number of listeners on other nodes.
    pub elsewhere: usize,
}

/// The state of a livestream in its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordSummary {
    /// Its phase.
    pub phase: Phase,
    /// The sequence of its latest clip.
    pub sequence: u64,
}

/// The cluster's requests and notifications to its node. No method may wait.
pub trait Node: Send + Sync + 'static {
    /// The state of a livestream on this node.
    fn standing(&self, id: &LivestreamId) -> Standing;
    /// The number of its listeners on this node.
    fn listeners(&self, id: &LivestreamId) -> usize;
    /// Passes on the next clip of a livestream with a streamer on another node.
    fn clip(&self, id: &LivestreamId, clip: Bytes);
    /// Passes on the result of a heartbeat.
    fn seen(&self, id: &LivestreamId, seen: RemoteStatus);
    /// Another node owns the livestream: disconnects the streamer here.
    fn superseded(&self, id: &LivestreamId);
    /// Another node has a streamer too, and it is unknown which is newer: makes the one here connect again.
    fn come_again(&self, id: &LivestreamId);
    /// The livestream is over: clears its flag.
    fn over(&self, id: &LivestreamId);
    /// The livestream is live here: sets its flag again, since another node may have cleared it.
    fn still_live(&self, id: &LivestreamId);
    /// Forgets a livestream that no client on this node uses. False if a client uses it.
    fn release(&self, id: &LivestreamId) -> bool;
}

/// Redis is not available now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Redis cannot be asked now")]
pub struct Away;

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    records: Records,
    registry: NodeRegistry,
    returns: Returns,
    metrics: Metrics,
    bounds: LinkBounds,
    lease: Duration,
    heartbeat: Duration,
    linger: Duration,
    /// Clips of the history for a listener that joins.
    joiners_clips: usize,
    history_clips: usize,
    history_bytes: usize,
    /// Clips in transfer from or to the history, over all livestreams.
    bulk: Semaphore,
    bulk_clips: usize,
    // A lock: taken when a livestream comes or goes.
    links: Mutex<HashMap<LivestreamId, Arc<Link>>>,
    /// Set once: this node stops, and is no longer in the registry.
    leaving: AtomicBool,
    // Set once, when it starts.
    node: OnceLock<Arc<dyn Node>>,
}

impl Cluster {
    /// The configured cluster, if any.
    pub fn new(config: &Config, registry: &Registry) -> Result<Option<Self>, ConfigError> {
        let Some(url) = &config.cluster.url else {
            return Ok(None);
        };
        let wrong = |problem: String| ConfigError::value("cluster.url", problem);
        let metrics = Metrics::new(registry).map_err(|error| wrong(error.to_string()))?;
        let redis =
            Redis::new(url.expose_secret(), &config.cluster, metrics.clone()).map_err(wrong)?;
        let host = || {
            rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned()
        };
        let name = config.cluster.node.clone().unwrap_or_else(host);
        // Unique among all processes, including later ones of this node.
        let node = format!("{name}-{:08x}", rand::random::<u32>());
        let redis = Arc::new(redis);
        let bulk_clips = (config.cluster.fetch_bytes / config.upload.max_clip_bytes).max(PIECE);
        Ok(Some(Self(Arc::new(Inner {
            registry: NodeRegistry::new(redis.clone(), &config.cluster),
            returns: Returns::new(redis.clone(), config),
            records: Records::new(redis, node, config),
            metrics,
            bounds: LinkBounds {
                clips: config.cluster.queue_clips,
                bytes: config.cluster.queue_bytes,
            },
            lease: config.cluster.lease,
            heartbeat: config.cluster.heartbeat,
            linger: config.cluster.linger,
            joiners_clips: config.livestream.history_clips,
            history_clips: config.cluster.history_clips.max(1),
            history_bytes: config.cluster.history_bytes,
            bulk: Semaphore::new(bulk_clips),
            bulk_clips,
            links: Mutex::default(),
            leaving: AtomicBool::new(false),
            node: OnceLock::new(),
        }))))
    }

    /// Connects to Redis, and works for `node` from now on.
    pub fn start(&self, node: Arc<dyn Node>) {
        if self.0.node.set(node).is_err() {
            return;
        }
        tracing::info!(node = self.0.records.node, "this node is one of a cluster");
        tokio::spawn(self.0.records.redis.clone().run());
        tokio::spawn(orphans::run(self.0.clone()));
    }

    /// The link of a livestream of this node to the cluster; must be called on the runtime, after [`Self::start`].
    pub fn link(&self, id: &LivestreamId) -> Arc<Link> {
        let mut links = self.0.links();
        if let Some(link) = links.get(id) {
            return link.clone();
        }
        let (link, requests) = Link::new(self.0.bounds, self.0.metrics.clone());
        links.insert(id.clone(), link.clone());
        let task = LivestreamTask::new(id.clone(), self.0.clone(), link.clone(), requests);
        tokio::spawn(task.run());
        link
    }

    /// The state of a livestream over all nodes.
    pub async fn look(&self, id: &LivestreamId) -> Result<RecordSummary, Away> {
        let keys = self.0.records.keys(id);
        let record = self.0.records.read(&keys).await.map_err(|_| Away)?;
        Ok(RecordSummary {
            phase: record.phase,
            sequence: record.sequence,
        })
    }

    /// Whether Redis has the right of a client to come back with an expired token.
    pub async fn may_return(&self, user: &UserId, key: &ReturnKey) -> Result<bool, Away> {
        let returns = &self.0.returns;
        returns.may_return(user, key).await.map_err(|_| Away)
    }

    /// Stores these rights to come back in Redis; a failure is counted.
    pub async fn remember_returns(&self, user: &UserId, keys: &[ReturnKey]) {
        if let Err(error) = self.0.returns.remember(user, keys).await {
            tracing::debug!(%error, "rights to come back cannot be stored in Redis now");
        }
    }

    /// Removes a right to come back from Redis; a failure is counted.
    pub async fn forget_return(&self, user: &UserId, key: &ReturnKey) {
        if let Err(error) = self.0.returns.forget(user, key).await {
            tracing::debug!(%error, "a right to come back cannot be removed from Redis now");
        }
    }

    /// Whether Redis answers.
    pub fn is_up(&self) -> bool {
        self.0.records.redis.is_up()
    }

    /// Whether Redis has not answered for a whole lease, so that no clip from here reaches other nodes.
    pub fn is_cut_off(&self) -> bool {
        self.0.records.redis.silence() >= self.0.lease
    }

    /// Waits for Redis.
    pub async fn up(&self) {
        let mut generation = self.0.records.redis.generation();
        while !self.is_up() && generation.changed().await.is_ok() {}
    }

    /// Leaves the cluster: waits at most `limit` until every clip is published and the grace periods run. Returns the
    /// number of remaining nodes, which await the streamers; none if it is unknown. The last node ends all livestreams.
    pub async fn leave(&self, limit: Duration) -> Option<usize> {
        let links: Vec<Arc<Link>> = self.0.links().values().cloned().collect();
        let handed_on = async {
            for link in &links {
                link.wake();
                while link.is_owner() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        tokio::time::timeout(limit, handed_on).await.ok();
        self.0.leaving.store(true, Ordering::SeqCst);
        let left = self.left_after_this().await;
        if left == Some(0)
            && let Err(error) = orphans::end_all(&self.0).await
        {
            tracing::error!(%error, "flags of other nodes may stay set; each node clears its own at its next start");
        }
        left
    }

    /// The number of other live nodes: recently registered, and still connected to Redis.
    async fn left_after_this(&self) -> Option<usize> {
        let records = &self.0.records;
        let nodes = self.0.registry.sign(&records.node, false).await.ok()?;
        let mut left = 0;
        for node in &nodes {
            left += records.notify(node, "").await.ok()?.min(1);
        }
        Some(left)
    }
}

impl Inner {
    /// Waits for a permit to transfer so many clips; never none, for the semaphore is never closed.
    async fn bulk_permit(&self, clips: usize) -> Option<SemaphorePermit<'_>> {
        let clips = u32::try_from(clips.min(self.bulk_clips)).unwrap_or(u32::MAX);
        self.bulk.acquire_many(clips).await.ok()
    }

    fn links(&self) -> MutexGuard<'_, HashMap<LivestreamId, Arc<Link>>> {
        self.links.lock()
    }

    fn node(&self) -> &dyn Node {
        // Tasks run after `start` only.
        self.node.get().map_or(&Nobody, |node| &**node)
    }

    /// Forgets a livestream, unless a client on this node uses it.
    fn forget(&self, id: &LivestreamId, channel: &Bytes) -> bool {
        let mut links = self.links();
        // Under the lock: a new client finds the livestream here, or makes a new link.
        if !self.node().release(id) {
            return false;
        }
        links.remove(id);
        self.records.redis.close_inbox(channel);
        true
    }
}

/// The node before the start.
struct Nobody;

impl Node for Nobody {
    fn standing(&self, _: &LivestreamId) -> Standing {
        Standing::Elsewhere
    }
    fn listeners(&self, _: &LivestreamId) -> usize {
        0
    }
    fn clip(&self, _: &LivestreamId, _: Bytes) {}
    fn seen(&self, _: &LivestreamId, _: RemoteStatus) {}
    fn superseded(&self, _: &LivestreamId) {}
    fn come_again(&self, _: &LivestreamId) {}
    fn over(&self, _: &LivestreamId) {}
    fn still_live(&self, _: &LivestreamId) {}
    fn release(&self, _: &LivestreamId) -> bool {
        true
    }
}
