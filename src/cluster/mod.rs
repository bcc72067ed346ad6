//! Many nodes, one livestream: its listeners on every node, its streamer on one.
//!
//! Nodes share a Redis or Valkey. Each livestream has a *record* there ([`records`]): which node is its owner, in which
//! *epoch*, and how it is going. A clip goes from the owner to one channel per livestream, which a node subscribes to with
//! its first listener; Redis keeps the latest clips, the *history*, from which a node fetches what it missed. At every
//! *heartbeat* (a second) each node compares each of its livestreams with the record; everything else is a short cut.
//! What follows from that is decided by [`crate::broadcast::ownership`].
//!
//! ```text
//! relay ─▶ Link ─▶ LivestreamTask ─▶ Records ─▶ Redis
//!   ▲                │  ▲                        │
//!   └──── Node ◀─────┘  └────── channel ◀────────┘
//! ```
//!
//! **Invariant**: of two nodes that think they own a livestream, only the one with the newer epoch can publish, and the
//! other learns of it with its next command. Local listeners never wait for Redis. Without `cluster.url` nothing of this
//! runs.

/// A script of these pieces in `scripts/`, one after the other.
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

/// How a livestream stands on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its streamer is not here.
    Elsewhere,
    /// Its streamer is here, and has been told so or not.
    Live {
        /// Whether it has been told.
        aired: bool,
    },
    /// Its streamer was here and is awaited.
    Grace,
}

/// What a heartbeat told of a livestream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteStatus {
    /// How it is going, unless a streamer here decides that.
    pub phase: Option<Phase>,
    /// How many listen on other nodes.
    pub elsewhere: usize,
}

/// How a livestream was going when its record was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordSummary {
    /// How it was going.
    pub phase: Phase,
    /// The sequence of its latest clip.
    pub sequence: u64,
}

/// What the cluster asks of its node, and tells it. Nothing here may wait.
pub trait Node: Send + Sync + 'static {
    /// How a livestream stands here.
    fn standing(&self, id: &LivestreamId) -> Standing;
    /// How many listen here.
    fn listeners(&self, id: &LivestreamId) -> usize;
    /// The next clip of a livestream whose streamer is elsewhere.
    fn clip(&self, id: &LivestreamId, clip: Bytes);
    /// How a livestream is going.
    fn seen(&self, id: &LivestreamId, seen: RemoteStatus);
    /// Another node owns the livestream: the streamer here has been replaced.
    fn superseded(&self, id: &LivestreamId);
    /// Another node has a streamer, too, and nobody knows which is newer: the one here is to connect again.
    fn come_again(&self, id: &LivestreamId);
    /// The livestream is over, and this node clears its flag.
    fn over(&self, id: &LivestreamId);
    /// The livestream is live here: another node may have cleared its flag since it was set.
    fn still_live(&self, id: &LivestreamId);
    /// Forgets a livestream that nobody here has to do with. False if somebody has come.
    fn release(&self, id: &LivestreamId) -> bool;
}

/// Redis cannot be asked now.
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
    /// Clips of the history that a joining listener gets.
    joiners_clips: usize,
    history_clips: usize,
    history_bytes: usize,
    /// Clips that may be on their way from or to the history, over all livestreams.
    bulk: Semaphore,
    bulk_clips: usize,
    // A lock: taken when a livestream comes or goes.
    links: Mutex<HashMap<LivestreamId, Arc<Link>>>,
    /// Set once: this node stops, and no longer says that it is there.
    leaving: AtomicBool,
    // Set once, when it starts.
    node: OnceLock<Arc<dyn Node>>,
}

impl Cluster {
    /// The cluster that is configured, if one is.
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
        // Unlike any other process's, also of this node's next.
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

    /// Connects, and works for `node` from now on.
    pub fn start(&self, node: Arc<dyn Node>) {
        if self.0.node.set(node).is_err() {
            return;
        }
        tracing::info!(node = self.0.records.node, "this node is one of a cluster");
        tokio::spawn(self.0.records.redis.clone().run());
        tokio::spawn(orphans::run(self.0.clone()));
    }

    /// What ties a livestream of this node to the others; must be called on the runtime, after [`Self::start`].
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

    /// How a livestream is going over all nodes.
    pub async fn look(&self, id: &LivestreamId) -> Result<RecordSummary, Away> {
        let keys = self.0.records.keys(id);
        let record = self.0.records.read(&keys).await.map_err(|_| Away)?;
        Ok(RecordSummary {
            phase: record.phase,
            sequence: record.sequence,
        })
    }

    /// Whether a client may come back on an expired token, for all that Redis knows.
    pub async fn may_return(&self, user: &UserId, key: &ReturnKey) -> Result<bool, Away> {
        let returns = &self.0.returns;
        returns.may_return(user, key).await.map_err(|_| Away)
    }

    /// Has Redis remember that these clients may come back; a failure is counted.
    pub async fn remember_returns(&self, user: &UserId, keys: &[ReturnKey]) {
        if let Err(error) = self.0.returns.remember(user, keys).await {
            tracing::debug!(%error, "who may come back cannot be remembered now");
        }
    }

    /// Has Redis forget that a client may come back; a failure is counted.
    pub async fn forget_return(&self, user: &UserId, key: &ReturnKey) {
        if let Err(error) = self.0.returns.forget(user, key).await {
            tracing::debug!(%error, "who may come back cannot be forgotten now");
        }
    }

    /// Whether Redis answers.
    pub fn is_up(&self) -> bool {
        self.0.records.redis.is_up()
    }

    /// Whether Redis has not answered for as long as the lease: nothing that a streamer sends here reaches other nodes.
    pub fn is_cut_off(&self) -> bool {
        self.0.records.redis.silence() >= self.0.lease
    }

    /// Waits for Redis.
    pub async fn up(&self) {
        let mut generation = self.0.records.redis.generation();
        while !self.is_up() && generation.changed().await.is_ok() {}
    }

    /// This node stops: once every clip is published, its livestreams are in their grace period. How many nodes are left to
    /// await their streamers; none if nobody knows. The last node ends what nobody else will.
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
            tracing::error!(%error, "flags of other nodes may be left set; a node that starts clears its own");
        }
        left
    }

    /// How many other nodes are there: they said so lately, and Redis still has their connection.
    async fn left_after_this(&self) -> Option<usize> {
        let records = &self.0.records;
        let nodes = self.0.registry.sign(&records.node, false).await.ok()?;
        let mut left = 0;
        for node in &nodes {
            left += records.tell(node, "").await.ok()?.min(1);
        }
        Some(left)
    }
}

impl Inner {
    /// Waits until so many clips may be on their way; none never happens, for the semaphore is never closed.
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

    /// Forgets a livestream, unless somebody here has to do with it.
    fn forget(&self, id: &LivestreamId, channel: &Bytes) -> bool {
        let mut links = self.links();
        // Under the lock: who comes now finds the livestream here, or makes a new link.
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
