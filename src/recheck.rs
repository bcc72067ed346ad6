//! Repeats two checks of a livestream's beginning: that its document still exists, and that its streamer's account
//! does.
//!
//! The app's normal end deletes the document and may never disconnect, and an administrator who disables a streamer
//! wants them off the air. Without these checks both would continue for as long as the socket stays open.
//!
//! **Invariant**: only an explicit answer of Google ends a livestream (a document that is `missing`, an account that is
//! disabled or deleted); an outage, or any other answer, ends none.

use std::time::Duration;

use futures_util::FutureExt as _;
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use crate::broadcast::LivestreamId;
use crate::directory::Directory;
use crate::identity::{Identity, Standing};
use crate::metrics::Metrics;
use crate::relay::{Ending, Owned, Relay};
use crate::socket::Sockets;

/// Accounts that are checked at the same time.
const ACCOUNTS_AT_ONCE: usize = 8;

pub(crate) struct Recheck {
    pub(crate) relay: Relay,
    pub(crate) sockets: Sockets,
    pub(crate) directory: Directory,
    pub(crate) identity: Identity,
    pub(crate) metrics: Metrics,
    pub(crate) interval: Duration,
    pub(crate) stopping: CancellationToken,
}

impl Recheck {
    /// Runs until the daemon stops.
    pub(crate) async fn run(self) -> std::io::Result<()> {
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                () = self.stopping.cancelled() => return Ok(()),
            }
            tokio::select! {
                () = self.check() => {}
                () = self.stopping.cancelled() => return Ok(()),
            }
        }
    }

    async fn check(&self) {
        let owned = self.relay.owned();
        for some in owned.chunks(Directory::MOST_AT_ONCE) {
            self.check_documents(some).await;
        }
        for some in owned.chunks(ACCOUNTS_AT_ONCE) {
            let checks = some.iter().map(|owned| self.check_account(owned).boxed());
            futures_util::future::join_all(checks).await;
        }
    }

    async fn check_documents(&self, owned: &[Owned]) {
        let ids: Vec<LivestreamId> = owned.iter().map(|it| it.livestream.clone()).collect();
        let Ok(missing) = self.directory.missing(&ids).await else {
            self.count("document", "unknown", owned.len());
            return;
        };
        self.count("document", "good", owned.len() - missing.len());
        self.count("document", "gone", missing.len());
        for owned in owned.iter().filter(|it| missing.contains(&it.livestream)) {
            self.relay.end_owned(owned, Ending::Deleted, now());
        }
    }

    async fn check_account(&self, owned: &Owned) {
        let Some(streamer) = owned.streamer else {
            return;
        };
        let Some(token) = self.sockets.token_of(streamer) else {
            return;
        };
        let standing = self.identity.recheck(token.expose_secret(), &owned.user);
        let Some(standing) = standing.await else {
            return;
        };
        let outcome = match standing {
            Standing::Good => "good",
            Standing::Gone => "gone",
            Standing::Unknown => "unknown",
        };
        self.count("account", outcome, 1);
        if standing == Standing::Gone {
            self.relay.end_owned(owned, Ending::Disowned, now());
        }
    }

    fn count(&self, subject: &str, outcome: &str, count: usize) {
        let counter = self.metrics.rechecks.with_label_values(&[subject, outcome]);
        counter.inc_by(count as u64);
    }
}

fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}
