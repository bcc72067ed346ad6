//! Rights to return on an expired token, published to all nodes.
//!
//! **Invariant**: no socket waits for Redis. A right that was not published when its socket came or went is published
//! with the next round; three rounds fit into the return window.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;

use super::Relay;
use crate::broadcast::UserId;
use crate::cluster::{Away, Cluster, ReturnKey};
use crate::identity::{Identity, Return};

/// Notices queued for Redis.
const QUEUE: usize = 4096;
/// Users whose notices are sent at the same time.
const AT_ONCE: usize = 32;

pub(super) enum ReturnNotice {
    Remember(Return),
    Forget(Return),
}

/// The queue to the task that sends the notices, once that runs.
pub(super) type ReturnNotices = OnceLock<mpsc::Sender<ReturnNotice>>;

impl Relay {
    /// Whether this node is part of a cluster.
    pub fn is_clustered(&self) -> bool {
        self.0.links.is_some()
    }

    /// Whether a client was or is admitted on another node, so that it may return.
    pub async fn may_return(&self, to: &Return) -> Result<bool, Away> {
        match &self.0.links {
            Some(links) => links.cluster.may_return(&to.user, &to.key()).await,
            None => Ok(false),
        }
    }

    /// Publishes that a client may return: it is admitted, or its transport was lost.
    pub fn remember_return(&self, to: &Return) {
        self.notify(ReturnNotice::Remember(to.clone()));
    }

    /// Publishes that a client has left for good.
    pub fn forget_return(&self, to: &Return) {
        self.notify(ReturnNotice::Forget(to.clone()));
    }

    fn notify(&self, notice: ReturnNotice) {
        let Some(queue) = self.0.returns.get() else {
            return;
        };
        // Full while Redis is slow: the next round publishes present clients, and rights of the others expire.
        if queue.try_send(notice).is_err() {
            tracing::debug!("queue to Redis is full: a right to return is not published now");
        }
    }

    /// Sends the notices to Redis until the process ends; returns at once without a cluster.
    pub async fn tell_returns(self, identity: Identity, window: Duration) {
        let Some(links) = &self.0.links else {
            return;
        };
        let (queue, mut queued) = mpsc::channel(QUEUE);
        if self.0.returns.set(queue).is_err() {
            tracing::error!("rights to return are sent by another task already");
            return;
        }
        let cluster = &links.cluster;
        let mut round = tokio::time::interval((window / 3).max(Duration::from_millis(100)));
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut notices = Vec::new();
        loop {
            tokio::select! {
                count = queued.recv_many(&mut notices, QUEUE) => {
                    if count == 0 {
                        return;
                    }
                    send(cluster, std::mem::take(&mut notices)).await;
                }
                _ = round.tick() => {
                    let present = identity.present().into_iter().map(ReturnNotice::Remember);
                    send(cluster, present.collect()).await;
                }
            }
        }
    }
}

async fn send(cluster: &Cluster, notices: Vec<ReturnNotice>) {
    let mut returns: HashMap<UserId, Vec<ReturnKey>> = HashMap::new();
    let mut forgotten = Vec::new();
    for notice in notices {
        match notice {
            ReturnNotice::Remember(to) => {
                returns.entry(to.user.clone()).or_default().push(to.key());
            }
            ReturnNotice::Forget(to) => forgotten.push(to),
        }
    }
    // The Redis client counts failures, and the next round publishes the rights again.
    stream::iter(returns)
        .for_each_concurrent(AT_ONCE, async |(user, keys)| {
            cluster.remember_returns(&user, &keys).await;
        })
        .await;
    stream::iter(forgotten)
        .for_each_concurrent(AT_ONCE, async |to| {
            cluster.forget_return(&to.user, &to.key()).await;
        })
        .await;
}
