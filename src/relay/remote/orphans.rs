//! The duties of a node for the whole cluster: it registers itself, learns of livestreams that another node has taken
//! over, and ends livestreams whose owner is gone.
//!
//! **Invariant**: a livestream is scheduled for a check from before its first claim until it is over and its flag is
//! false in Firestore. Checks that are due run at once. A node that has just reached Redis ends nothing for one lease, in which owners that were away renew theirs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Link, Links};
use crate::broadcast::LivestreamId;
use crate::cluster::{Cluster, CommandError, Ended, Expired};
use crate::directory::Unavailable;
use crate::relay::{Event, Relay};

/// Livestreams in one script.
const BATCH: usize = 1000;
/// Concurrent commands.
const AT_ONCE: usize = 64;
/// The check comes this much later than the end of the livestream's time.
const MARGIN: Duration = Duration::from_millis(100);

/// Runs for as long as the process lives.
pub(super) async fn run(relay: Relay, links: Arc<Links>) {
    // Beside the heartbeat: thousands of checks take longer than a node may be silent.
    tokio::spawn(check_always(relay.clone(), links.clone()));
    let cluster = links.cluster.clone();
    let redis = cluster.records.redis.clone();
    let channel = cluster.records.channel_of(&cluster.records.node);
    let mut inbox = redis.inbox(&channel);
    let mut generation = redis.generation();
    let mut heartbeat = interval(links.heartbeat);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(id) = inbox.recv() => poke(&links, &id),
            Ok(()) = generation.changed() => {
                // Failures are counted. Heartbeats find later what this subscription misses.
                drop(redis.subscribe(&channel, true).await);
                sign(&links).await;
                enrol_owned(&relay, &links).await;
            }
            _ = heartbeat.tick() => {
                count_links(&links);
                sign(&links).await;
                enrol_owned(&relay, &links).await;
            }
        }
    }
}

impl Links {
    /// Registers this node, and returns the live ones; the latest known ones while Redis is away, or this node stops.
    pub(in crate::relay) async fn nodes(&self) -> Vec<String> {
        if !self.leaving.load(Ordering::SeqCst) {
            sign(self).await;
        }
        self.known_nodes.lock().clone()
    }
}

/// Registers this node, and notes the live ones.
async fn sign(links: &Links) {
    let cluster = &links.cluster;
    if links.leaving.load(Ordering::SeqCst) {
        return;
    }
    let node = &cluster.records.node;
    if let Ok(nodes) = cluster.registry.sign(node, true).await {
        let count = i64::try_from(nodes.len()).unwrap_or(i64::MAX);
        cluster.metrics.nodes.set(count);
        *links.known_nodes.lock() = nodes;
    }
}

/// Enrols every livestream with a streamer here: Redis may have lost the schedule. What is enrolled may set its flag,
/// and so may a livestream that Redis has not enrolled for a whole lease: otherwise an outage would hide it.
async fn enrol_owned(relay: &Relay, links: &Links) {
    let cluster = &links.cluster;
    let owned = |(id, link): (&LivestreamId, &Arc<Link>)| {
        let is_owner = link.is_owner() || link.flag_waits().is_some();
        is_owner.then(|| (id.clone(), link.clone()))
    };
    let owned: Vec<(LivestreamId, Arc<Link>)> = links.lock().iter().filter_map(owned).collect();
    for part in owned.chunks(BATCH) {
        let ids: Vec<&LivestreamId> = part.iter().map(|(id, _)| id).collect();
        let silence = cluster.records.longest_silence();
        let is_enrolled = cluster.registry.enrol_all(&ids, silence).await.is_ok();
        let is_over = |waits: Duration| waits >= links.lease || cluster.is_cut_off();
        for (id, link) in part {
            if is_enrolled || link.flag_waits().is_some_and(is_over) {
                relay.allow_flag(id, link);
            }
        }
    }
}

/// Sets the gauges.
fn count_links(links: &Links) {
    let metrics = &links.cluster.metrics;
    let (mut owned, mut followed, mut remote) = (0, 0, 0);
    for link in links.lock().values() {
        *(if link.is_owner() {
            &mut owned
        } else {
            &mut followed
        }) += 1;
        remote += link.remote_listeners();
    }
    for (role, count) in [("owner", owned), ("follower", followed)] {
        metrics.livestreams.with_label_values(&[role]).set(count);
    }
    let remote = i64::try_from(remote).unwrap_or(i64::MAX);
    metrics.remote_listeners.set(remote);
}

/// Another node has taken over a livestream: its task compares it at once.
fn poke(links: &Links, id: &[u8]) {
    let Some(id) = std::str::from_utf8(id).ok().and_then(LivestreamId::new) else {
        return;
    };
    if let Some(link) = links.lock().get(&id) {
        link.look();
    }
}

/// Checks what is due at every heartbeat, from one lease after each connection on.
async fn check_always(relay: Relay, links: Arc<Links>) {
    let cluster = links.cluster.clone();
    let mut generation = cluster.records.redis.generation();
    let mut connected = Instant::now();
    let mut heartbeat = interval(links.heartbeat);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Ok(()) = generation.changed() => connected = Instant::now(),
            _ = heartbeat.tick() => {
                if connected.elapsed() >= links.lease {
                    check_due(&relay, &cluster).await;
                }
            }
        }
    }
}

/// Checks every livestream that is due, and ends those whose time is over.
async fn check_due(relay: &Relay, cluster: &Cluster) {
    loop {
        let Ok((later, due)) = cluster.registry.due(BATCH).await else {
            return;
        };
        let is_last = due.len() < BATCH;
        end_those_that_are_over(relay, cluster, due, Some(later)).await;
        if is_last {
            return;
        }
    }
}

/// Ends every livestream, as the last node.
pub(super) async fn end_all(relay: &Relay, cluster: &Cluster) -> Result<(), CommandError> {
    let left = cluster.registry.enrolled().await?;
    end_those_that_are_over(relay, cluster, left, None).await;
    Ok(())
}

/// `due`: the time when other nodes check them; none: they are ended even if their time is not over.
async fn end_those_that_are_over(
    relay: &Relay,
    cluster: &Cluster,
    ids: Vec<LivestreamId>,
    due: Option<u64>,
) {
    stream::iter(ids)
        .for_each_concurrent(AT_ONCE, |id| async move {
            // If Redis does not answer, the check is due again after a lease.
            drop(check(relay, cluster, &id, due).await);
        })
        .await;
}

impl Relay {
    /// Tells of the end of a livestream whose owner is gone. An owner that lives reads of the end in the record and tells of
    /// it by itself, unless it stops.
    fn tell_of_orphan(&self, id: &LivestreamId, ended: &Ended) {
        let Some(links) = &self.0.links else { return };
        let is_here = ended.node == links.cluster.records.node;
        let is_alive = if is_here {
            self.is_known(id) && !links.leaving.load(Ordering::SeqCst)
        } else {
            links.known_nodes.lock().contains(&ended.node)
        };
        if !is_alive {
            self.record_orphans_end(id, ended);
            self.emit(Event::OrphanEnded {
                livestream: id.clone(),
                epoch: ended.latest.epoch,
            });
        }
    }
}

async fn check(
    relay: &Relay,
    cluster: &Cluster,
    id: &LivestreamId,
    due: Option<u64>,
) -> Result<(), CommandError> {
    match (cluster.records.expire(id, due.is_none()).await?, due) {
        (Expired::NotYet(left), _) => cluster.registry.enrol(id, left + MARGIN).await,
        (expired @ Expired::Now(_), _) | (expired @ Expired::Before, None) => {
            tracing::info!(livestream.id = %id, "a livestream without an owner is over");
            // It stays enrolled until its flag is read as false: this node may die before the write.
            relay.write_ended(id);
            if let Expired::Now(ended) = expired {
                relay.tell_of_orphan(id, &ended);
            }
            Ok(())
        }
        (Expired::Before, Some(due)) => match relay.is_flag_set(id).await {
            Ok(false) => cluster.registry.unenrol(id, due).await,
            Ok(true) => {
                // Unless another livestream has begun meanwhile.
                if let Expired::Before = cluster.records.expire(id, false).await? {
                    relay.write_ended(id);
                }
                Ok(())
            }
            // Firestore does not answer: it is due again after a lease.
            Err(Unavailable) => Ok(()),
        },
    }
}
