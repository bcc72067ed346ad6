//! What a node does for the cluster as a whole: it says that it is there, hears when a livestream is taken from it, and
//! looks after livestreams whose node has died.
//!
//! **Invariant**: a livestream that aired is due for a look until somebody has found it over; so no flag of a dead node
//! stays for much longer than two leases, the grace and one more look.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Inner;
use super::engine::EngineError;
use super::records::Phase;
use crate::broadcast::LivestreamId;

/// How often, in pulses, what is due is looked at.
const LOOK: u64 = 3;
/// How many at a time.
const MOST: usize = 64;

/// For as long as the process lives.
pub(super) async fn run(cluster: Arc<Inner>) {
    let engine = cluster.records.engine.clone();
    let channel = cluster.records.channel_of(&cluster.records.node);
    let mut inbox = engine.inbox(&channel);
    let mut generation = engine.generation();
    let mut pulse = interval(cluster.pulse);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0_u64;
    loop {
        tokio::select! {
            Some(id) = inbox.recv() => poke(&cluster, &id),
            Ok(()) = generation.changed() => {
                engine.subscribe(&channel, true).await.ok();
                beat(&cluster).await;
            }
            _ = pulse.tick() => {
                count += 1;
                count_links(&cluster);
                beat(&cluster).await;
                if count.is_multiple_of(LOOK) {
                    look(&cluster).await.ok();
                }
            }
        }
    }
}

/// Says that this node is there, and counts the others.
async fn beat(cluster: &Inner) {
    if cluster.leaving.load(Ordering::SeqCst) {
        return;
    }
    let node = &cluster.records.node;
    if let Ok(nodes) = cluster.register.sign(node, true).await {
        let nodes = i64::try_from(nodes).unwrap_or(i64::MAX);
        cluster.figures.nodes.set(nodes);
    }
}

/// Sets the gauges.
fn count_links(cluster: &Inner) {
    let (mut holders, mut followers, mut elsewhere) = (0, 0, 0);
    for link in cluster.links().values() {
        *(if link.holds() {
            &mut holders
        } else {
            &mut followers
        }) += 1;
        elsewhere += link.elsewhere();
    }
    for (role, count) in [("holder", holders), ("follower", followers)] {
        cluster
            .figures
            .livestreams
            .with_label_values(&[role])
            .set(count);
    }
    cluster
        .figures
        .elsewhere
        .set(i64::try_from(elsewhere).unwrap_or(i64::MAX));
}

/// A livestream was taken from this node: its keeper looks at once.
fn poke(cluster: &Inner, id: &[u8]) {
    let Some(id) = std::str::from_utf8(id).ok().and_then(LivestreamId::new) else {
        return;
    };
    if let Some(link) = cluster.links().get(&id) {
        link.look();
    }
}

/// Looks at what is due: what is over is written down by whoever finds it first.
async fn look(cluster: &Inner) -> Result<(), EngineError> {
    let (records, register) = (&cluster.records, &cluster.register);
    for id in register.due(MOST).await? {
        let Ok(record) = records.look(&records.keys(&id)).await else {
            // Its shard may be away: the others are looked at all the same.
            register.look_later(&id, cluster.lease).await?;
            continue;
        };
        if record.phase == Phase::Ended {
            // Whoever ended it strikes it off, unless its node died over that or the answer was lost: said twice is better.
            tracing::info!(livestream.id = %id, "a livestream whose node is gone is over");
            cluster.node().over(&id);
        }
        let again = match record.phase {
            Phase::Live => Some(records.longest_silence()),
            Phase::Grace(left) => Some(left + Duration::from_millis(100)),
            Phase::Ended | Phase::Unknown => None,
        };
        match again {
            Some(after) => register.look_later(&id, after).await?,
            None => register.look_no_more(&id).await?,
        }
    }
    Ok(())
}
