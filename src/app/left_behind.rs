//! Flags that an earlier run of a node of a cluster left set.

use std::time::Duration;

use crate::cluster::{Cluster, Phase};
use crate::directory::Directory;

/// Clears what an earlier run of this node left set, except for livestreams that went on elsewhere; waits for Redis.
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
