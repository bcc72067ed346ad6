//! The ends of livestreams that revoke listening passes, told to the other nodes.
//!
//! **Invariant**: no livestream waits for this. While Redis is away the ends are published later, up to [`MOST`] of
//! them at the same time; beyond, passes last until their own end.

use std::time::Duration;

use super::Relay;
use crate::broadcast::LivestreamId;
use crate::identity::{CheckedPass, PassError, Passes};

/// Ends that wait for Redis.
pub(super) const MOST: usize = 4096;

impl Relay {
    /// Checks a pass, with the ends that the other nodes know as well. While Redis is away this node's ends count.
    pub async fn check_pass(
        &self,
        passes: &Passes,
        pass: &str,
        livestream: &LivestreamId,
    ) -> Result<CheckedPass, PassError> {
        let checked = passes.check(pass, livestream)?;
        match self.passes_ended_at(livestream).await {
            Some(ended) if checked.issued_at_ms <= ended => Err(PassError::Ended),
            _ => Ok(checked),
        }
    }

    /// When the livestream ended last, in milliseconds since the Unix epoch, as Redis knows it; none without a cluster, or
    /// while Redis is away.
    async fn passes_ended_at(&self, id: &LivestreamId) -> Option<u64> {
        let links = self.0.links.as_ref()?;
        links.cluster.passes_ended_at(id).await
    }

    /// Tells all nodes that the livestream ended at `ended`, in milliseconds since the Unix epoch.
    pub fn publish_end_of_passes(&self, id: &LivestreamId, ended: u64, lifetime: Duration) {
        let Some(links) = self.0.links.clone() else {
            return;
        };
        let Ok(permit) = self.0.unpublished_ends.clone().try_acquire_owned() else {
            tracing::warn!(livestream.id = %id, "too many ends wait for Redis: listening passes last until their own end");
            return;
        };
        let id = id.clone();
        tokio::spawn(async move {
            // A second try after Redis came back; the Redis client counts failures.
            while !links.cluster.end_passes(&id, ended, lifetime).await {
                tokio::time::sleep(Duration::from_secs(1)).await;
                links.cluster.up().await;
            }
            drop(permit);
        });
    }
}
