//! Who may come back on an expired token, told to all nodes.
//!
//! **Invariant**: nobody waits for Redis to be told: what it was not told when a socket came or went, it is told with the
//! next round, three of which fit into the return window.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Relay;
use crate::broadcast::UserId;
use crate::cluster::{Away, Cluster, ReturnKey};
use crate::identity::{Identity, Return};

/// What Redis may be told later.
const QUEUE: usize = 4096;
/// Users that Redis is told of at the same time.
const AT_ONCE: usize = 32;

pub(super) enum ReturnNotice {
    Remember(Return),
    Forget(Return),
}

/// What is to be told, until a task does.
pub(super) struct Words {
    queue: mpsc::Sender<ReturnNotice>,
    // Taken by the task that tells.
    queued: Mutex<Option<mpsc::Receiver<ReturnNotice>>>,
}

impl Words {
    pub(super) fn new() -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        let queued = Mutex::new(Some(queued));
        Self { queue, queued }
    }
}

impl Relay {
    /// Whether other nodes can be asked.
    pub fn is_clustered(&self) -> bool {
        self.0.cluster.is_some()
    }

    /// Whether a client was or is let in on another node, so that it may come back.
    pub async fn may_return(&self, to: &Return) -> Result<bool, Away> {
        match &self.0.cluster {
            Some(cluster) => cluster.may_return(&to.user, &to.key()).await,
            None => Ok(false),
        }
    }

    /// A client may come back: it is let in, or was lost.
    pub fn remember_return(&self, to: &Return) {
        self.tell(ReturnNotice::Remember(to.clone()));
    }

    /// A client has left for good.
    pub fn forget_return(&self, to: &Return) {
        self.tell(ReturnNotice::Forget(to.clone()));
    }

    fn tell(&self, notice: ReturnNotice) {
        // Full while Redis is slow: who is present is told with the next round, and who has left is forgotten in time.
        if self.is_clustered() && self.0.returns.queue.try_send(notice).is_err() {
            tracing::debug!("Redis is told later who may come back");
        }
    }

    /// Tells Redis, for as long as the process lives; nothing without a cluster.
    pub async fn tell_returns(self, identity: Identity, window: Duration) {
        let queued = self.0.returns.queued.lock().take();
        let (Some(mut queued), Some(cluster)) = (queued, self.0.cluster.clone()) else {
            return;
        };
        let mut round = tokio::time::interval((window / 3).max(Duration::from_millis(100)));
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut words = Vec::new();
        loop {
            tokio::select! {
                count = queued.recv_many(&mut words, QUEUE) => {
                    if count == 0 {
                        return;
                    }
                    tell(&cluster, std::mem::take(&mut words)).await;
                }
                _ = round.tick() => {
                    let present = identity.present().into_iter().map(ReturnNotice::Remember);
                    tell(&cluster, present.collect()).await;
                }
            }
        }
    }
}

async fn tell(cluster: &Cluster, words: Vec<ReturnNotice>) {
    let mut returns: HashMap<UserId, Vec<ReturnKey>> = HashMap::new();
    let mut forgotten = Vec::new();
    for word in words {
        match word {
            ReturnNotice::Remember(to) => {
                returns.entry(to.user.clone()).or_default().push(to.key());
            }
            ReturnNotice::Forget(to) => forgotten.push(to),
        }
    }
    // What fails is counted where commands are, and made up for by the next round.
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
