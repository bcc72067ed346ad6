//! Redis: what several nodes of a cluster share.
//!
//! Nodes share a Redis or Valkey. Each livestream has a *record* there ([`records`]): its owner, its *epoch*, and its
//! state. A clip goes from the owner to one channel per livestream; a node subscribes to the channel with its first
//! listener. Redis stores the latest clips, the *history*, and a node fetches missed clips from it.
//!
//! This module sends commands and returns answers. [`crate::broadcast::ownership`] decides what follows from a record,
//! and a task of the relay does it (`relay::remote`).
//!
//! **Invariant**: of two nodes that both consider themselves owner of a livestream, only the one with the newer epoch
//! can publish, and the other one learns this with its next command. Without `cluster.url` nothing of this runs.

/// A script of these files in `scripts/`, concatenated.
macro_rules! script {
    ($($piece:literal),+) => {
        Script::new(concat!($(include_str!(concat!("scripts/", $piece, ".lua"))),+))
    };
}

pub(crate) mod bans;
mod client;
mod clock;
mod expired;
mod frame;
pub(crate) mod metrics;
mod node_registry;
mod peers;
pub(crate) mod records;
mod returns;

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use secrecy::ExposeSecret as _;

use crate::broadcast::{LivestreamId, Record, UserId};
use crate::config::{Config, ConfigError};
use bans::SharedBans;
use client::Redis;
use metrics::Metrics;
use node_registry::NodeRegistry;
use records::Records;
use returns::Returns;

pub(crate) use client::{CommandError, Inbox};
pub(crate) use clock::RedisClock;
pub(crate) use expired::{Ended, Expired};
pub(crate) use frame::encode;
pub use frame::{Message, RemoteClip, decode};
pub use peers::{PeerError, PeerReply, PeerRequest, Peers};
pub use returns::ReturnKey;

/// Redis is not available now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Redis cannot be asked now")]
pub struct Away;

/// See the module.
pub struct Cluster {
    pub(crate) records: Records,
    pub(crate) registry: NodeRegistry,
    pub(crate) bans: SharedBans,
    /// Requests to other nodes.
    pub peers: Arc<Peers>,
    pub(crate) metrics: Metrics,
    returns: Returns,
    /// Prefix of the keys with the ends of livestreams.
    ends: String,
    lease: Duration,
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
        Ok(Some(Self {
            registry: NodeRegistry::new(redis.clone(), &config.cluster),
            bans: SharedBans::new(redis.clone(), &config.cluster.prefix),
            peers: Arc::new(Peers::new(redis.clone(), &node, config, metrics.clone())),
            returns: Returns::new(redis.clone(), config),
            ends: format!("{}:passes-ended:", config.cluster.prefix),
            records: Records::new(redis, node, config),
            metrics,
            lease: config.cluster.lease,
        }))
    }

    /// Connects to Redis, and stays connected for as long as the process lives.
    pub fn connect(&self) {
        tracing::info!(node = self.records.node, "this node is one of a cluster");
        tokio::spawn(self.records.redis.clone().run());
    }

    /// The record of a livestream.
    pub async fn look(&self, id: &LivestreamId) -> Result<Record, Away> {
        let keys = self.records.keys(id);
        self.records.read(&keys).await.map_err(|_| Away)
    }

    /// Whether Redis has the right of a client to come back with an expired token.
    pub async fn may_return(&self, user: &UserId, key: &ReturnKey) -> Result<bool, Away> {
        self.returns.may_return(user, key).await.map_err(|_| Away)
    }

    /// Stores these rights to come back in Redis; a failure is counted.
    pub async fn remember_returns(&self, user: &UserId, keys: &[ReturnKey]) {
        if let Err(error) = self.returns.remember(user, keys).await {
            tracing::debug!(%error, "rights to come back cannot be stored in Redis now");
        }
    }

    /// Removes a right to come back from Redis; a failure is counted.
    pub async fn forget_return(&self, user: &UserId, key: &ReturnKey) {
        if let Err(error) = self.returns.forget(user, key).await {
            tracing::debug!(%error, "a right to come back cannot be removed from Redis now");
        }
    }

    /// When listening passes of a livestream were revoked last, in milliseconds since the Unix epoch; none if Redis has no
    /// such time, or is away.
    pub async fn passes_ended_at(&self, id: &LivestreamId) -> Option<u64> {
        let mut command = redis::cmd("GET");
        command.arg(self.ends_key(id));
        let found = self.records.redis.call::<Option<u64>>(&command).await;
        found.ok().flatten()
    }

    /// Stores that time for as long as a pass lasts. Returns whether Redis has it.
    pub async fn end_passes(&self, id: &LivestreamId, ended: u64, lifetime: Duration) -> bool {
        let mut command = redis::cmd("SET");
        let lifetime = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        command.arg(self.ends_key(id)).arg(ended);
        command.arg("PX").arg(lifetime.max(1));
        self.records.redis.call::<String>(&command).await.is_ok()
    }

    fn ends_key(&self, id: &LivestreamId) -> String {
        format!("{}{id}", self.ends)
    }

    /// Whether Redis answers.
    pub fn is_up(&self) -> bool {
        self.records.redis.is_up()
    }

    /// Whether Redis has not answered for a whole lease, so that no clip from here reaches other nodes.
    pub fn is_cut_off(&self) -> bool {
        self.records.redis.silence() >= self.lease
    }

    /// Waits for Redis.
    pub async fn up(&self) {
        let mut generation = self.records.redis.generation();
        while !self.is_up() && generation.changed().await.is_ok() {}
    }

    /// Removes this node from the registry. Returns the number of other live nodes: recently registered, and still
    /// connected to Redis; none if it is unknown.
    pub async fn sign_off(&self) -> Option<usize> {
        let nodes = self.registry.sign(&self.records.node, false).await.ok()?;
        let mut left = 0;
        for node in &nodes {
            left += self.records.notify(node, "").await.ok()?.min(1);
        }
        Some(left)
    }
}
