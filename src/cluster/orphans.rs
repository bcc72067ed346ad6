//! What a node does for the cluster as a whole: it says that it is there, hears when a livestream is taken from it, and
//! ends livestreams whose owner is gone.
//!
//! **Invariant**: a livestream with an owner is due for a look until it was found over; all that is due is looked at at
//! once. A node that has just found Redis ends nothing for as long as a lease, in which owners that were away renew
//! theirs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Inner;
use super::client::CommandError;
use super::records::Expired;
use crate::broadcast::LivestreamId;

/// Livestreams that one script names.
const BATCH: usize = 1000;
/// Commands on their way at the same time.
const AT_ONCE: usize = 64;
/// How much later than the end of its time a livestream is looked at.
const MARGIN: Duration = Duration::from_millis(100);

/// For as long as the process lives.
pub(super) async fn run(cluster: Arc<Inner>) {
    let redis = cluster.records.redis.clone();
    let channel = cluster.records.channel_of(&cluster.records.node);
    let mut inbox = redis.inbox(&channel);
    let mut generation = redis.generation();
    let mut connected = Instant::now();
    let mut heartbeat = interval(cluster.heartbeat);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(id) = inbox.recv() => poke(&cluster, &id),
            Ok(()) = generation.changed() => {
                connected = Instant::now();
                // A failure is counted; then others tell this node nothing, and its heartbeats find the same later.
                drop(redis.subscribe(&channel, true).await);
                sign(&cluster).await;
            }
            _ = heartbeat.tick() => {
                count_links(&cluster);
                sign(&cluster).await;
                if connected.elapsed() >= cluster.lease {
                    look_at_due(&cluster).await;
                }
            }
        }
    }
}

/// Says that this node is there, and counts all.
async fn sign(cluster: &Inner) {
    if cluster.leaving.load(Ordering::SeqCst) {
        return;
    }
    let node = &cluster.records.node;
    if let Ok(nodes) = cluster.registry.sign(node, true).await {
        let nodes = i64::try_from(nodes.len()).unwrap_or(i64::MAX);
        cluster.metrics.nodes.set(nodes);
    }
}

/// Sets the gauges.
fn count_links(cluster: &Inner) {
    let (mut owned, mut followed, mut remote) = (0, 0, 0);
    for link in cluster.links().values() {
        *(if link.is_owner() {
            &mut owned
        } else {
            &mut followed
        }) += 1;
        remote += link.remote_listeners();
    }
    for (role, count) in [("owner", owned), ("follower", followed)] {
        cluster
            .metrics
            .livestreams
            .with_label_values(&[role])
            .set(count);
    }
    let remote = i64::try_from(remote).unwrap_or(i64::MAX);
    cluster.metrics.remote_listeners.set(remote);
}

/// A livestream was taken from this node: its task compares it at once.
fn poke(cluster: &Inner, id: &[u8]) {
    let Some(id) = std::str::from_utf8(id).ok().and_then(LivestreamId::new) else {
        return;
    };
    if let Some(link) = cluster.links().get(&id) {
        link.look();
    }
}

/// Looks at all that is due, and writes down what is over.
async fn look_at_due(cluster: &Inner) {
    loop {
        let Ok((later, due)) = cluster.registry.due(BATCH).await else {
            return;
        };
        let is_last = due.len() < BATCH;
        end_those_that_are_over(cluster, due, Some(later)).await;
        if is_last {
            return;
        }
    }
}

/// Ends everything that any node left, as the last node.
pub(super) async fn end_all(cluster: &Inner) -> Result<(), CommandError> {
    let left = cluster.registry.enrolled().await?;
    end_those_that_are_over(cluster, left, None).await;
    Ok(())
}

/// `due`: by when others look at them; none: they are ended whether their time is over or not.
async fn end_those_that_are_over(cluster: &Inner, ids: Vec<LivestreamId>, due: Option<u64>) {
    stream::iter(ids)
        .for_each_concurrent(AT_ONCE, |id| async move {
            // Where Redis does not answer, it is due again after a lease.
            drop(look(cluster, &id, due).await);
        })
        .await;
}

async fn look(cluster: &Inner, id: &LivestreamId, due: Option<u64>) -> Result<(), CommandError> {
    match cluster.records.expire(id, due.is_none()).await? {
        Expired::NotYet(left) => cluster.registry.enrol(id, left + MARGIN).await,
        Expired::Ended | Expired::Missing => {
            tracing::info!(livestream.id = %id, "a livestream without an owner is over");
            cluster.node().over(id);
            match due {
                Some(due) => cluster.registry.unenrol(id, due).await,
                None => Ok(()),
            }
        }
    }
}
