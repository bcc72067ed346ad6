//! What all nodes keep together besides the records: which nodes there are, and which livestreams somebody should look
//! at, and when.
//!
//! **Invariant**: times are the engine's, by scripts: no node's clock matters to another.

use std::sync::Arc;
use std::time::Duration;

use super::engine::{Engine, EngineError, Script};
use crate::broadcast::LivestreamId;
use crate::config;

/// See the module.
pub(super) struct Register {
    engine: Arc<Engine>,
    /// The key of the nodes, by when they gave a sign last.
    nodes: String,
    /// The key of the livestreams, by when they are to be looked at.
    due: String,
    /// After how long a silence a node counts no more.
    silence: String,
    roster: Script,
    later: Script,
    due_now: Script,
}

impl Register {
    pub(super) fn new(engine: Arc<Engine>, config: &config::Cluster) -> Self {
        let silence = config.pulse * 3 + config.timeout;
        Self {
            engine,
            nodes: format!("{}:nodes", config.prefix),
            due: format!("{}:due", config.prefix),
            silence: silence.as_millis().to_string(),
            roster: script!("clock", "roster"),
            later: script!("clock", "later"),
            due_now: script!("clock", "due"),
        }
    }

    /// Says that `node` is there, or that it goes; how many are there then.
    pub(super) async fn sign(&self, node: &str, is_there: bool) -> Result<usize, EngineError> {
        let is_there: &[u8] = if is_there { b"1" } else { b"0" };
        self.engine
            .run_script(
                &self.roster,
                &[self.nodes.as_bytes()],
                &[node.as_bytes(), self.silence.as_bytes(), is_there],
            )
            .await
    }

    /// Has somebody look at a livestream after a time.
    pub(super) async fn look_later(
        &self,
        id: &LivestreamId,
        after: Duration,
    ) -> Result<(), EngineError> {
        let after = after.as_millis().to_string();
        self.engine
            .run_script::<redis::Value>(
                &self.later,
                &[self.due.as_bytes()],
                &[id.as_str().as_bytes(), after.as_bytes()],
            )
            .await
            .map(drop)
    }

    /// Nobody need look at a livestream by itself any more.
    pub(super) async fn look_no_more(&self, id: &LivestreamId) -> Result<(), EngineError> {
        let mut command = redis::cmd("ZREM");
        command.arg(&self.due).arg(id.as_str());
        self.engine.call::<redis::Value>(&command).await.map(drop)
    }

    /// Livestreams that should be looked at by now, at most so many.
    pub(super) async fn due(&self, most: usize) -> Result<Vec<LivestreamId>, EngineError> {
        let most = most.to_string();
        let ids: Vec<String> = self
            .engine
            .run_script(&self.due_now, &[self.due.as_bytes()], &[most.as_bytes()])
            .await?;
        Ok(ids.iter().filter_map(|id| LivestreamId::new(id)).collect())
    }
}
