//! Many nodes, one show: its clips on every node that has listeners, its streamer on one.
//!
//! Nodes share an engine, Redis or Valkey. Each livestream has a *record* there ([`records`]): which node holds it, in
//! which *epoch*, and how it is going. A clip goes from the holder to one channel per livestream, which a node subscribes
//! to with its first listener; the engine keeps the latest few, so that a node that missed some can fetch them. Every
//! pulse (a second) each node compares each livestream that it has with its record; everything else is a short cut.
//!
//! ```text
//! relay ─▶ Link ─▶ Keeper ─▶ Records ─▶ Engine ─▶ Redis, Valkey
//!   ▲                │  ▲                  │
//!   └──── Node ◀─────┘  └──── channel ◀────┘
//! ```
//!
//! **Invariant**: of two nodes that think they hold a livestream, only the one with the newer epoch can publish, and the
//! other learns of it with its next word. Local listeners never wait for the engine. Without `cluster.url` nothing of
//! this runs.

/// A script of these pieces in `scripts/`, one after the other.
macro_rules! script {
    ($($piece:literal),+) => {
        Script::new(concat!($(include_str!(concat!("scripts/", $piece, ".lua"))),+))
    };
}

mod engine;
mod figures;
mod follower;
mod frame;
mod keeper;
mod link;
mod records;
mod register;
mod returns;
mod roster;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prometheus::Registry;
use secrecy::ExposeSecret as _;
use tokio::sync::Semaphore;

use crate::broadcast::{LivestreamId, UserId};
use crate::config::{Config, ConfigError};
use engine::Engine;
use figures::Figures;
use keeper::Keeper;
use link::LinkBounds;
use records::Records;
use register::Register;
use returns::Returns;

pub use follower::{Follower, Position, Verdict};
pub use frame::{Message, RemoteClip, decode};
pub use link::{Grant, Link, Ticket, Unpublished};
pub use records::Phase;
pub use returns::ReturnKey;

/// Livestreams that fetch what they missed at the same time.
const CATCHING_UP: usize = 8;

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

/// What was seen of a livestream at a pulse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// How it is going, where this node has no say in it.
    pub phase: Option<Phase>,
    /// How many listen on other nodes.
    pub elsewhere: usize,
}

/// How a livestream was going when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
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
    fn seen(&self, id: &LivestreamId, seen: Seen);
    /// Another node holds the livestream: the streamer here is one no more.
    fn superseded(&self, id: &LivestreamId);
    /// The engine has not been heard for too long: the streamer here should look elsewhere.
    fn lease_lost(&self, id: &LivestreamId);
    /// The show is over, and it falls to this node to write that down.
    fn over(&self, id: &LivestreamId);
    /// The show is live here: it may have been written down otherwise since.
    fn still_live(&self, id: &LivestreamId);
    /// Nobody here has to do with the livestream: forgets it. False if somebody has come.
    fn release(&self, id: &LivestreamId) -> bool;
}

/// The engine cannot be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cluster's engine cannot be asked now")]
pub struct Away;

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    records: Records,
    register: Register,
    returns: Returns,
    figures: Figures,
    bounds: LinkBounds,
    lease: Duration,
    pulse: Duration,
    linger: Duration,
    backlog_clips: usize,
    catching_up: Semaphore,
    // A lock: taken when a livestream comes or goes.
    links: Mutex<HashMap<LivestreamId, Arc<Link>>>,
    /// Set once: this node stops, and says no more that it is there.
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
        let figures = Figures::new(registry).map_err(|error| wrong(error.to_string()))?;
        let engine =
            Engine::new(url.expose_secret(), &config.cluster, figures.clone()).map_err(wrong)?;
        let host = || {
            rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned()
        };
        let name = config.cluster.node.clone().unwrap_or_else(host);
        // Unlike any other process's, also of this node's next.
        let node = format!("{name}-{:08x}", rand::random::<u32>());
        let engine = Arc::new(engine);
        Ok(Some(Self(Arc::new(Inner {
            register: Register::new(engine.clone(), &config.cluster),
            returns: Returns::new(engine.clone(), config),
            records: Records::new(engine, node, config),
            figures,
            bounds: LinkBounds {
                clips: config.cluster.queue_clips,
                bytes: config.cluster.queue_bytes,
            },
            lease: config.cluster.lease,
            pulse: config.cluster.pulse,
            linger: config.cluster.linger,
            backlog_clips: config.livestream.backlog_clips,
            catching_up: Semaphore::new(CATCHING_UP),
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
        tokio::spawn(self.0.records.engine.clone().run());
        tokio::spawn(roster::run(self.0.clone()));
    }

    /// What ties a livestream of this node to the others; must be called on the runtime, after [`Self::start`].
    pub fn link(&self, id: &LivestreamId) -> Arc<Link> {
        let mut links = self.0.links();
        if let Some(link) = links.get(id) {
            return link.clone();
        }
        let (link, requests) = Link::new(self.0.bounds, self.0.figures.clone());
        links.insert(id.clone(), link.clone());
        let keeper = Keeper::new(id.clone(), self.0.clone(), link.clone(), requests);
        tokio::spawn(keeper.run());
        link
    }

    /// How a livestream is going over all nodes.
    pub async fn look(&self, id: &LivestreamId) -> Result<Glance, Away> {
        let keys = self.0.records.keys(id);
        let record = self.0.records.look(&keys).await.map_err(|_| Away)?;
        if record.expired {
            self.0.node().over(id);
        }
        Ok(Glance {
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

    /// Whether the engine answers.
    pub fn is_up(&self) -> bool {
        self.0.records.engine.is_up()
    }

    /// Waits for the engine.
    pub async fn up(&self) {
        let mut generation = self.0.records.engine.generation();
        while !self.is_up() && generation.changed().await.is_ok() {}
    }

    /// This node stops: once what waits is handed on, its livestreams are in their grace. How many nodes are left to
    /// await their streamers; none if nobody knows.
    pub async fn leave(&self, limit: Duration) -> Option<usize> {
        let links: Vec<Arc<Link>> = self.0.links().values().cloned().collect();
        let handed_on = async {
            for link in &links {
                link.nudge();
                while link.holds() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        tokio::time::timeout(limit, handed_on).await.ok();
        self.0.leaving.store(true, Ordering::SeqCst);
        let node = &self.0.records.node;
        self.0.register.sign(node, false).await.ok()
    }
}

impl Inner {
    fn links(&self) -> MutexGuard<'_, HashMap<LivestreamId, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node(&self) -> &dyn Node {
        // Keepers run after `start` only.
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
        self.records.engine.close_inbox(channel);
        true
    }
}

/// What a cluster works for before it has started.
struct Nobody;

impl Node for Nobody {
    fn standing(&self, _: &LivestreamId) -> Standing {
        Standing::Elsewhere
    }
    fn listeners(&self, _: &LivestreamId) -> usize {
        0
    }
    fn clip(&self, _: &LivestreamId, _: Bytes) {}
    fn seen(&self, _: &LivestreamId, _: Seen) {}
    fn superseded(&self, _: &LivestreamId) {}
    fn lease_lost(&self, _: &LivestreamId) {}
    fn over(&self, _: &LivestreamId) {}
    fn still_live(&self, _: &LivestreamId) {}
    fn release(&self, _: &LivestreamId) -> bool {
        true
    }
}
