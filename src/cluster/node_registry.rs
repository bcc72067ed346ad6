//! The state of the cluster as a whole, besides the records: the live nodes, and the livestreams to check, each with
//! the time of its check.
//!
//! **Invariant**: all times are those of Redis's clock, by scripts: a node's own clock affects no other node.

use std::sync::Arc;
use std::time::Duration;

use super::client::{CommandError, Redis, Script};
use crate::broadcast::LivestreamId;
use crate::config;

/// See the module.
pub(crate) struct NodeRegistry {
    redis: Arc<Redis>,
    /// The key of the nodes, by the time of their latest registration.
    nodes: String,
    /// The key of the livestreams, by the time of their next check.
    due: String,
    /// A silent node is no longer live after this time.
    silence: String,
    /// Another node checks a livestream after this time if the first node does not.
    retry: String,
    sign: Script,
    enrol: Script,
    unenrol: Script,
    due_now: Script,
}

impl NodeRegistry {
    pub(crate) fn new(redis: Arc<Redis>, config: &config::Cluster) -> Self {
        let silence = config.heartbeat * 3 + config.timeout;
        Self {
            redis,
            nodes: format!("{}:nodes", config.prefix),
            due: format!("{}:due", config.prefix),
            silence: silence.as_millis().to_string(),
            retry: config.lease.as_millis().to_string(),
            sign: script!("clock", "nodes"),
            enrol: script!("clock", "enrol"),
            unenrol: script!("clock", "unenrol"),
            due_now: script!("clock", "due"),
        }
    }

    /// Registers or removes `node`; returns the live nodes.
    pub(crate) async fn sign(
        &self,
        node: &str,
        is_there: bool,
    ) -> Result<Vec<String>, CommandError> {
        let is_there: &[u8] = if is_there { b"1" } else { b"0" };
        self.redis
            .run_script(
                &self.sign,
                &[self.nodes.as_bytes()],
                &[node.as_bytes(), self.silence.as_bytes(), is_there],
            )
            .await
    }

    /// Schedules a check of a livestream after a time.
    pub(crate) async fn enrol(
        &self,
        id: &LivestreamId,
        after: Duration,
    ) -> Result<(), CommandError> {
        let after = after.as_millis().to_string();
        let arguments = [after.as_bytes(), b"0", id.as_str().as_bytes()];
        self.redis
            .run_script::<redis::Value>(&self.enrol, &[self.due.as_bytes()], &arguments)
            .await
            .map(drop)
    }

    /// Schedules a check of every one of these livestreams, after this time at the latest. On the bulk connection, where
    /// no heartbeats of thousands of livestreams wait before it.
    pub(crate) async fn enrol_all(
        &self,
        ids: &[&LivestreamId],
        after: Duration,
    ) -> Result<(), CommandError> {
        let after = after.as_millis().to_string();
        let mut arguments: Vec<&[u8]> = vec![after.as_bytes(), b"1"];
        arguments.extend(ids.iter().map(|id| id.as_str().as_bytes()));
        self.redis
            .run_bulk_script::<redis::Value>(&self.enrol, &[self.due.as_bytes()], &arguments)
            .await
            .map(drop)
    }

    /// Removes a livestream from the schedule, unless it was enrolled since it was due.
    pub(crate) async fn unenrol(&self, id: &LivestreamId, due: u64) -> Result<(), CommandError> {
        let due = due.to_string();
        self.redis
            .run_script::<redis::Value>(
                &self.unenrol,
                &[self.due.as_bytes()],
                &[due.as_bytes(), id.as_str().as_bytes()],
            )
            .await
            .map(drop)
    }

    /// At most `most` livestreams that are due now. Only this node gets them; other nodes get them later.
    pub(crate) async fn due(&self, most: usize) -> Result<(u64, Vec<LivestreamId>), CommandError> {
        let most = most.to_string();
        let arguments = [most.as_bytes(), self.retry.as_bytes()];
        let (later, ids): (u64, Vec<String>) = self
            .redis
            .run_script(&self.due_now, &[self.due.as_bytes()], &arguments)
            .await?;
        let ids = ids.iter().filter_map(|id| LivestreamId::new(id)).collect();
        Ok((later, ids))
    }

    /// Every scheduled livestream.
    pub(crate) async fn enrolled(&self) -> Result<Vec<LivestreamId>, CommandError> {
        let mut command = redis::cmd("ZRANGE");
        let ids: Vec<String> = self
            .redis
            .call(command.arg(&self.due).arg(0).arg(-1))
            .await?;
        Ok(ids.iter().filter_map(|id| LivestreamId::new(id)).collect())
    }
}
