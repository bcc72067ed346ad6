//! Firestore over REST: one document read and one field written.
//!
//! <https://firebase.google.com/docs/firestore/reference/rest/v1/projects.databases.documents>. Reads go through
//! `documents:batchGet`, writes through `documents:commit` with `currentDocument.exists`: a plain PATCH creates a
//! document that is missing. Both name the document in the body, where nothing needs encoding.
//!
//! **Invariant**: at most one cached read per livestream is in flight; a fresh read begins after its request.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use moka::future::Cache;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::gather::Gather;
use super::{About, Directory, Entry, Freshness, Unavailable};
use crate::broadcast::{LivestreamId, UserId};
use crate::config;
use crate::google::{Access, Complaint, Dependency, Failure, Lane};

/// The documents, read through a cache.
#[derive(Clone)]
pub(super) struct Documents {
    inner: Arc<Inner>,
    /// Missing documents are cached too; failures are not.
    cache: Cache<LivestreamId, Option<Entry>>,
}

struct Inner {
    access: Access,
    /// `…/projects/{project}/databases/(default)/documents`, as a URL and as a resource name.
    url: String,
    name: String,
    complaint: Complaint,
    writes: Gather<(LivestreamId, bool), Written>,
}

/// The result of an attempt to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// The write took effect.
    Done,
    /// The document does not exist, or no longer exists.
    Gone,
    /// Firestore refuses the write for good.
    Refused(Failure),
    /// The write failed, or its result is unknown.
    Failed(Failure),
}

#[derive(Deserialize)]
struct Found {
    found: Option<Document>,
    missing: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    fields: Value,
}

impl Documents {
    pub(super) fn new(access: Access, config: &config::Google) -> Self {
        let base = access.emulators.firestore.as_deref().map_or_else(
            || config.firestore_url.trim_end_matches('/').to_owned(),
            |host| format!("http://{host}/v1"),
        );
        let name = format!("projects/{}/databases/(default)/documents", access.project);
        Self {
            inner: Arc::new(Inner {
                url: format!("{base}/{name}"),
                name,
                access,
                complaint: Complaint::default(),
                writes: Gather::new(Directory::MOST_AT_ONCE),
            }),
            cache: Cache::builder()
                .max_capacity(config.cache_entries)
                .time_to_live(config.cache_ttl)
                .build(),
        }
    }

    pub(super) async fn find(
        &self,
        id: &LivestreamId,
        freshness: Freshness,
    ) -> Result<Option<Entry>, Unavailable> {
        let found = match freshness {
            Freshness::Cached => {
                let read = self.read(id, Lane::Listeners);
                self.cache.try_get_with_by_ref(id, read).await
            }
            Freshness::Fresh => {
                let found = self.read(id, Lane::Streamers).await.map_err(Arc::new);
                if let Ok(entry) = &found {
                    self.cache.insert(id.clone(), entry.clone()).await;
                }
                found
            }
        };
        found.map_err(|failure| {
            // An outage is complained about by the client; this may be a project without a database.
            if failure.is_verdict() && self.inner.complaint.is_due() {
                tracing::warn!(livestream.id = %id, %failure, "a livestream's document cannot be read");
            }
            Unavailable
        })
    }

    pub(super) fn is_cached(&self, id: &LivestreamId) -> bool {
        self.cache.contains_key(id)
    }

    /// Reads the document without the cache.
    pub(super) async fn read(
        &self,
        id: &LivestreamId,
        lane: Lane,
    ) -> Result<Option<Entry>, Failure> {
        let fields = self
            .fields(id, &["artistId", "streamerConnected", "record"], lane)
            .await?;
        Ok(fields.as_ref().map(entry))
    }

    /// Reads what the document says of the livestream to people, without the cache. A text that is too large to be read
    /// says nothing; no client's check reads it.
    pub(super) async fn about(&self, id: &LivestreamId) -> Result<Option<About>, Failure> {
        match self.fields(id, &About::FIELDS, Lane::Pages).await {
            Ok(fields) => Ok(fields.as_ref().map(About::of_document)),
            Err(Failure::TooLarge) => Ok(Some(About::default())),
            Err(failure) => Err(failure),
        }
    }

    /// These fields of the document; none without a document.
    async fn fields(
        &self,
        id: &LivestreamId,
        names: &[&str],
        lane: Lane,
    ) -> Result<Option<Value>, Failure> {
        let body = json!({
            "documents": [self.document(id)],
            "mask": { "fieldPaths": names },
        });
        match self.call::<Vec<Found>>("batchGet", lane, &body).await {
            Ok(answer) => {
                let found = answer
                    .into_iter()
                    .find(|it| it.found.is_some() || it.missing.is_some());
                let document = found.ok_or(Failure::Garbage)?.found;
                Ok(document.map(|it| it.fields))
            }
            // An id that Firestore refuses names no document.
            Err(failure) if failure.code() == Some("INVALID_ARGUMENT") => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The subset of `ids` without a document in Firestore.
    pub(super) async fn missing(&self, ids: &[LivestreamId]) -> Result<Vec<LivestreamId>, Failure> {
        let documents: Vec<String> = ids.iter().map(|id| self.document(id)).collect();
        let body = json!({ "documents": documents, "mask": { "fieldPaths": ["artistId"] } });
        let answer: Vec<Found> = self.call("batchGet", Lane::Background, &body).await?;
        let names: HashSet<String> = answer.into_iter().filter_map(|it| it.missing).collect();
        let gone = ids.iter().filter(|id| names.contains(&self.document(id)));
        let gone: Vec<LivestreamId> = gone.cloned().collect();
        for id in &gone {
            self.cache.insert(id.clone(), None).await;
        }
        Ok(gone)
    }

    /// Tries once to write `streamerConnected`; with what others write at the same time, in one call.
    pub(super) async fn write(&self, id: &LivestreamId, connected: bool) -> Written {
        let commit = |writes: Vec<(LivestreamId, bool)>| {
            let this = self.clone();
            async move { this.commit_all(&writes).await }
        };
        let written = self.inner.writes.ask((id.clone(), connected), commit);
        let written = written.await.unwrap_or(Written::Failed(Failure::Timeout));
        // An earlier read is no longer true, or may no longer be true.
        self.cache.invalidate(id).await;
        written
    }

    /// A commit is made as a whole or not at all: where one of its documents cannot be written, each half is tried.
    fn commit_all<'a>(&'a self, writes: &'a [(LivestreamId, bool)]) -> BoxFuture<'a, Vec<Written>> {
        Box::pin(async move {
            let written = self.commit(writes).await;
            if writes.len() > 1 && matches!(written, Written::Gone | Written::Refused(_)) {
                let (first, second) = writes.split_at(writes.len() / 2);
                let mut all = self.commit_all(first).await;
                all.extend(self.commit_all(second).await);
                return all;
            }
            vec![written; writes.len()]
        })
    }

    async fn commit(&self, writes: &[(LivestreamId, bool)]) -> Written {
        let write = |(id, connected): &(LivestreamId, bool)| {
            json!({
                "update": {
                    "name": self.document(id),
                    "fields": { "streamerConnected": { "booleanValue": connected } },
                },
                "updateMask": { "fieldPaths": ["streamerConnected"] },
                "currentDocument": { "exists": true },
            })
        };
        let body = json!({ "writes": writes.iter().map(write).collect::<Vec<_>>() });
        match self.call::<Value>("commit", Lane::Background, &body).await {
            Ok(answer) if answer["writeResults"].is_array() => Written::Done,
            Ok(_) => Written::Failed(Failure::Garbage),
            Err(failure) => match failure.code() {
                Some("NOT_FOUND" | "FAILED_PRECONDITION") => Written::Gone,
                Some("INVALID_ARGUMENT") => Written::Refused(failure),
                _ => Written::Failed(failure),
            },
        }
    }

    fn document(&self, id: &LivestreamId) -> String {
        format!("{}/livestreams/{id}", self.root())
    }

    /// The resource name below which all documents are.
    pub(super) fn root(&self) -> &str {
        &self.inner.name
    }

    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        lane: Lane,
        body: &Value,
    ) -> Result<T, Failure> {
        let access = &self.inner.access;
        let url = format!("{}:{method}", self.inner.url);
        let mut second = false;
        loop {
            let authorization = access.authorization().await?;
            let request = access
                .client
                .post(&url)
                .header(Access::HEADER, authorization.as_ref().clone())
                .json(body);
            match access
                .client
                .call::<T>(Dependency::Firestore, lane, request)
                .await
            {
                // A token may die before its time: a key was revoked, a VM slept. Once more with another.
                Err(Failure::Refused { http: 401, .. }) if !second => {
                    access.forget(&authorization);
                    second = true;
                }
                other => return other.map(|reply| reply.value),
            }
        }
    }
}

fn entry(fields: &Value) -> Entry {
    let flag = |name: &str| fields[name]["booleanValue"].as_bool().unwrap_or_default();
    Entry {
        artist: UserId::new(
            fields["artistId"]["stringValue"]
                .as_str()
                .unwrap_or_default(),
        ),
        streamer_connected: flag("streamerConnected"),
        record: flag("record"),
    }
}
