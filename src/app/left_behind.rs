//! Flags that an earlier run of a cluster node left set.

use std::sync::Arc;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::directory::Directory;

/// Clears the flags that an earlier run of this node left set, except of livestreams that continue elsewhere. Waits for
/// Redis.
pub(super) async fn clear(cluster: Arc<Cluster>, directory: Directory) {
    for id in directory.left_behind() {
        loop {
            cluster.up().await;
            match cluster.look(&id).await {
                Ok(record) if record.is_started() => break,
                Ok(_) => {
                    directory.clear(&id);
                    break;
                }
                Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        }
    }
}
