//! What the listening page and players' titles take from a livestream's document.
//!
//! Anybody may ask for the page of any id, and crawlers ask again and again. **Invariant**: a document is read once in
//! `http.document_ttl`, within the quotas of its address and of all requests, and an answer waits for it for
//! `http.document_timeout`. The memory of documents is bounded.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use prometheus::{IntCounterVec, Registry};

use crate::broadcast::LivestreamId;
use crate::config;
use crate::directory::{About, Directory};
use crate::limits::PageQuota;
use crate::metrics::{counters, preset};
use crate::transport::counted_address;

/// See the module documentation; cheap to clone.
#[derive(Clone)]
pub struct Documents(Arc<Inner>);

struct Inner {
    directory: Directory,
    /// Missing documents are remembered too; failures are not.
    cache: Cache<LivestreamId, Option<About>>,
    quota: PageQuota,
    timeout: Duration,
    reads: IntCounterVec,
}

/// The document was not read.
#[derive(Debug)]
struct Unread;

impl Documents {
    /// Nothing is read yet.
    pub fn new(
        config: &config::Http,
        directory: Directory,
        registry: &Registry,
    ) -> prometheus::Result<Self> {
        let help = "Livestreams' documents read for the listening page and players' titles, or not, by outcome.";
        let reads = counters(registry, "page_documents_total", help, &["outcome"])?;
        let outcomes = ["found", "missing", "unavailable", "rate_limit", "timeout"];
        preset(&reads, &[&outcomes]);
        let inner = Inner {
            directory,
            cache: Cache::builder()
                .max_capacity(config.max_documents)
                .time_to_live(config.document_ttl)
                .build(),
            quota: PageQuota::new(config),
            timeout: config.document_timeout,
            reads,
        };
        Ok(Self(Arc::new(inner)))
    }

    /// What the document says, for a request of `address`; none if there is no document, or it is not read.
    pub(super) async fn about(&self, id: &LivestreamId, address: IpAddr) -> Option<About> {
        let read = self.0.cache.try_get_with_by_ref(id, self.read(id, address));
        let Ok(about) = tokio::time::timeout(self.0.timeout, read).await else {
            self.count("timeout");
            return None;
        };
        about.ok()?
    }

    async fn read(&self, id: &LivestreamId, address: IpAddr) -> Result<Option<About>, Unread> {
        if !self.0.quota.take(counted_address(address)) {
            self.count("rate_limit");
            return Err(Unread);
        }
        let about = self.0.directory.about(id).await;
        self.count(match &about {
            Ok(Some(_)) => "found",
            Ok(None) => "missing",
            Err(_) => "unavailable",
        });
        about.map_err(|_| Unread)
    }

    fn count(&self, outcome: &str) {
        self.0.reads.with_label_values(&[outcome]).inc();
    }
}
