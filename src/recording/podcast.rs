//! Registers a finished recording as the app's backend registers an uploaded file: a copy in the app's bucket of podcasts,
//! and a document that lets the streamer publish it.
//!
//! The names of both come from the recording's id and from the file's checksum. So any node may do it, twice at the same
//! time as well; and a recording that is joined again with more clips is another upload, which leaves alone what may be
//! published by now.
//!
//! **Invariant**: a file is registered until its mark is in the recording's directory, and not afterwards: the backend
//! deletes the document of a published upload. A failure changes nothing of the recording.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;

use super::assembly::{Manifest, RecordedFile};
use super::bucket::{Bucket, BucketError, PART};
use super::metrics::RecordingMetrics;
use super::names::{RecordingId, hexadecimal, sha256};

/// The directory of marks, in that of a recording.
pub(super) const REGISTERED: &str = "registered";

/// As long as the ids that Firestore gives, and as the names that the app's backend gives.
const ID: usize = 20;
const NAME: usize = 32;

/// A file of a recording as an upload of its streamer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The id of its document.
    pub id: String,
    /// The streamer.
    pub user: String,
    /// Its name in the recording.
    pub file: String,
    /// The name of its object in the app's bucket.
    pub path: String,
    /// The length of its sound, rounded.
    pub seconds: u64,
}

/// Creates the document of an upload, unless there is one; the error is for people.
pub type Register =
    Box<dyn Fn(Upload) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;
/// Told of each upload that is registered, at least once.
pub type Registered = Box<dyn Fn(&RecordingId, &Manifest, &Upload) + Send + Sync>;

/// The app's bucket of podcasts, and its list of uploads.
pub(super) struct Podcasts {
    pub(super) bucket: Bucket,
    /// What is before each object's name in that bucket.
    pub(super) prefix: String,
    pub(super) register: Register,
    pub(super) registered: Registered,
}

/// Reasons why a recording is not registered now.
#[derive(Debug, thiserror::Error)]
pub(super) enum PodcastError {
    #[error("the bucket of recordings: {0}")]
    Recordings(#[from] BucketError),
    #[error(
        "the bucket of podcasts: {0}; see recording.podcast, and whether the service account has the role \
         roles/storage.objectUser on it"
    )]
    Podcasts(BucketError),
    #[error(
        "its document in Firestore's collection uploads cannot be created: {0}; the service account needs the role \
         roles/datastore.user"
    )]
    Document(String),
}

/// The uploads that a recording is, in the order of its files.
pub(super) fn uploads(id: &RecordingId, manifest: &Manifest) -> Vec<Upload> {
    let files = manifest.files.iter();
    files
        .filter_map(|file| upload(id, manifest, file))
        .collect()
}

/// Whether a file has no mark.
pub(super) fn is_unregistered(
    id: &RecordingId,
    manifest: &Manifest,
    marked: &BTreeSet<String>,
) -> bool {
    let mut uploads = uploads(id, manifest).into_iter();
    uploads.any(|upload| !marked.contains(&upload.id))
}

fn upload(id: &RecordingId, manifest: &Manifest, file: &RecordedFile) -> Option<Upload> {
    media_type(&file.name)?;
    let (_, extension) = file.name.rsplit_once('.')?;
    let digest = sha256(format!("{id}\n{}\n{}", file.name, file.sha256).as_bytes());
    let length = Duration::try_from_secs_f64(file.seconds).unwrap_or_default();
    Some(Upload {
        id: digest[..ID].to_owned(),
        user: manifest.streamer.clone(),
        file: file.name.clone(),
        path: format!("{}.{extension}", &digest[..NAME]),
        seconds: (length + Duration::from_millis(500)).as_secs(),
    })
}

/// As the app's backend names the kind of an object; none of a kind that it does not play.
fn media_type(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "m4a" => Some("audio/mp4"),
        "mp3" => Some("audio/mpeg"),
        _ => None,
    }
}

impl Podcasts {
    /// Registers the files of a recording without a mark; returns whether that went well.
    pub(super) async fn try_to_register(
        &self,
        recordings: &Bucket,
        id: &RecordingId,
        manifest: &Manifest,
        marked: &BTreeSet<String>,
        metrics: &RecordingMetrics,
    ) -> bool {
        match self.register(recordings, id, manifest, marked).await {
            Ok(count) => {
                metrics.registered.inc_by(count);
                tracing::info!(recording = %id, files = count, "recording registered as a podcast");
                true
            }
            Err(error) => {
                metrics.errors.with_label_values(&["podcast"]).inc();
                tracing::warn!(
                    recording = %id,
                    "a recording is not registered as a podcast; it is whole, and this is tried again every ten minutes for \
                     a week: {error}"
                );
                false
            }
        }
    }

    /// Returns how many files are registered now.
    async fn register(
        &self,
        recordings: &Bucket,
        id: &RecordingId,
        manifest: &Manifest,
        marked: &BTreeSet<String>,
    ) -> Result<u64, PodcastError> {
        let mut count = 0;
        for upload in uploads(id, manifest) {
            if marked.contains(&upload.id) {
                continue;
            }
            let file = manifest.files.iter().find(|it| it.name == upload.file);
            if let Some(file) = file {
                self.copy(recordings, id, file, &upload.path).await?;
            }
            let path = join(&self.prefix, &upload.path);
            let mark = format!("{}/{REGISTERED}/{}", id.directory(), upload.id);
            let upload = Upload { path, ..upload };
            (self.register)(upload.clone())
                .await
                .map_err(PodcastError::Document)?;
            (self.registered)(id, manifest, &upload);
            recordings.create(&mark, Bytes::new()).await?;
            count += 1;
        }
        Ok(count)
    }

    /// Copies a file, unless its copy is there.
    async fn copy(
        &self,
        recordings: &Bucket,
        id: &RecordingId,
        file: &RecordedFile,
        path: &str,
    ) -> Result<(), PodcastError> {
        let there = self.bucket.size(path).await;
        if there.map_err(PodcastError::Podcasts)? == Some(file.bytes) {
            return Ok(());
        }
        let from = format!("{}/{}", id.directory(), file.name);
        let kind = media_type(path).unwrap_or_default();
        let mut writer = self
            .bucket
            .write(path, Some(kind))
            .await
            .map_err(PodcastError::Podcasts)?;
        let mut checksum = Context::new(&SHA256);
        let copy = async {
            let mut start = 0;
            while start < file.bytes {
                let end = file.bytes.min(start + PART as u64);
                let part = recordings.range(&from, start..end).await?;
                checksum.update(&part);
                writer.add(part).await.map_err(PodcastError::Podcasts)?;
                start = end;
            }
            if hexadecimal(checksum.finish().as_ref()) != file.sha256 {
                return Err(BucketError::Changed(from).into());
            }
            writer.finish().await.map_err(PodcastError::Podcasts)
        };
        if let Err(error) = copy.await {
            if let Err(error) = writer.abort().await {
                tracing::debug!(%error, "the parts of a file stay in the bucket until its own lifecycle removes them");
            }
            return Err(error);
        }
        Ok(())
    }
}

fn join(prefix: &str, name: &str) -> String {
    match prefix {
        "" => name.to_owned(),
        prefix => format!("{prefix}/{name}"),
    }
}
