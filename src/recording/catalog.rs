//! The recordings for operators: list, show, finish again.

use std::future::ready;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::mpsc;

use super::assembly::{Manifest, Opening};
use super::bucket::{Bucket, BucketError};
use super::contents::Contents;
use super::names::{self, RecordingId};
use super::objects::{find_manifest, find_opening, read_opening};
use super::podcast::{self, REGISTERED, Upload};

/// Manifests that are read at a time.
const READS: usize = 8;

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct Recordings {
    pub(super) bucket: Bucket,
    /// To the task that finishes.
    pub(super) requests: mpsc::Sender<RecordingId>,
}

/// A recording.
#[derive(Debug)]
pub struct Found {
    /// Its id.
    pub id: RecordingId,
    /// Its livestream.
    pub livestream: String,
    /// Its streamer.
    pub streamer: String,
    /// When it began, in milliseconds since the Unix epoch.
    pub started: u64,
    /// None until it is finished.
    pub manifest: Option<Manifest>,
    /// The uploads as which its files are registered; known only of one that is shown.
    pub uploads: Vec<Upload>,
}

/// Reasons why the recordings cannot be had, or one not be finished.
#[derive(Debug, thiserror::Error)]
pub enum RecordingsError {
    /// The bucket fails.
    #[error("the bucket of recordings fails: {0}")]
    Bucket(String),
    /// There is no such recording.
    #[error("there is no such recording")]
    Unknown,
    /// The clips are deleted.
    #[error("its clips are deleted (recording.keep_clips): it stays as it is")]
    Swept,
    /// Others are being finished.
    #[error("too many recordings wait to be finished: try again later")]
    Busy,
}

impl From<BucketError> for RecordingsError {
    fn from(error: BucketError) -> Self {
        Self::Bucket(error.to_string())
    }
}

impl Recordings {
    /// The latest recordings, the newest first: of one livestream, or of all.
    pub async fn list(
        &self,
        livestream: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Found>, RecordingsError> {
        let names = self.bucket.names(names::RECORDINGS).await?;
        let ids = names.iter().filter_map(|name| RecordingId::parse(name));
        let key = livestream.map(names::key);
        let mut ids: Vec<RecordingId> = ids
            .filter(|id| key.as_ref().is_none_or(|key| id.is_of(key)))
            .collect();
        ids.sort();
        let latest: Vec<RecordingId> = ids.into_iter().rev().take(limit).collect();
        let reads = stream::iter(latest).map(|id| {
            let recordings = self.clone();
            async move { recordings.glance(id).await }
        });
        // One that the bucket's own lifecycle has half deleted hides no other.
        let found = reads.buffered(READS).filter_map(|read| {
            let is_half = matches!(read, Err(BucketError::Malformed(_)));
            ready((!is_half).then_some(read))
        });
        Ok(found.try_collect().await?)
    }

    /// One recording.
    pub async fn show(&self, id: RecordingId) -> Result<Found, RecordingsError> {
        self.opening(&id).await?;
        let directory = format!("{}/{REGISTERED}", id.directory());
        let mut found = self.read(id).await?;
        if let Some(manifest) = &found.manifest {
            let marks = self.bucket.names(&directory).await?;
            found.uploads = podcast::uploads(&found.id, manifest);
            found.uploads.retain(|upload| marks.contains(&upload.id));
        }
        Ok(found)
    }

    /// Has the clips of a recording joined now, those that came late included. Returns before it is done.
    pub async fn finish(&self, id: RecordingId) -> Result<(), RecordingsError> {
        self.opening(&id).await?;
        let manifest = find_manifest(&self.bucket, &id.directory()).await?;
        let objects = self.bucket.list(&id.directory()).await?;
        let here = Contents::of(objects.iter().map(|it| it.name.as_str()));
        if manifest.is_some_and(|(manifest, _)| !here.has_all(manifest.names())) {
            return Err(RecordingsError::Swept);
        }
        self.requests
            .try_send(id)
            .map_err(|_| RecordingsError::Busy)
    }

    async fn opening(&self, id: &RecordingId) -> Result<Opening, RecordingsError> {
        let opening = find_opening(&self.bucket, &id.opening()).await?;
        let opening = opening.ok_or(RecordingsError::Unknown)?;
        let is_it = *id == RecordingId::new(opening.started, &opening.livestream, id.number());
        is_it.then_some(opening).ok_or(RecordingsError::Unknown)
    }

    async fn read(&self, id: RecordingId) -> Result<Found, BucketError> {
        let manifest = find_manifest(&self.bucket, &id.directory()).await?;
        self.found(id, manifest.map(|(manifest, _)| manifest)).await
    }

    /// As [`Self::read`]; a manifest that cannot be read counts as none.
    async fn glance(&self, id: RecordingId) -> Result<Found, BucketError> {
        match self.read(id.clone()).await {
            Err(error @ BucketError::Foreign(_)) => {
                tracing::warn!(recording = %id, "a recording is listed without its manifest: {error}");
                self.found(id, None).await
            }
            read => read,
        }
    }

    async fn found(
        &self,
        id: RecordingId,
        manifest: Option<Manifest>,
    ) -> Result<Found, BucketError> {
        let opening = read_opening(&self.bucket, &id.opening()).await?;
        Ok(Found {
            livestream: opening.livestream,
            streamer: opening.streamer,
            started: opening.started,
            manifest,
            uploads: Vec::new(),
            id,
        })
    }
}
