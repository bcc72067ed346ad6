//! Flags that an earlier run of a cluster node left set.

use std::time::Duration;

use crate::cluster::{Cluster, Phase};
use crate::directory::Directory;

/// Clears the flags that an earlier run of this node left set, except of livestreams that continue elsewhere. Waits for
/// Redis.
pub(super) async fn clear(cluster: Cluster, directory: Directory) {
    for id in directory.left_behind() {
        loop {
            cluster.up().await;
            match cluster.look(&id).await.map(|glance| glance.phase) {
                Ok(Phase::Live | Phase::Grace(_)) => break,
                Ok(Phase::Ended | Phase::Unknown) => {
                    directory.clear(&id);
                    break;
                }
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }
}
