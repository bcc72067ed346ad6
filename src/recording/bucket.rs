//! The bucket: objects by their paths below the configured prefix.
//!
//! **Invariant**: every call ends within `recording.timeout`; a writer's within that for each part.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::client::{HttpClient, HttpConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    Attribute, ClientOptions, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    PutMode, PutMultipartOptions, RetryConfig,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, timeout};

use super::metrics::RecordingMetrics;
use crate::config::{self, RecordingPlace};
use crate::http_client;

/// Bytes of one part of a file: the fewest that the services accept, so that a slow uplink takes one in time. One at a time is
/// under way.
pub(super) const PART: usize = 5 << 20;

/// A service account for emulators: without one the library asks the metadata server for a token.
const NOBODY: &str =
    r#"{"client_email":"","private_key":"","private_key_id":"","disable_oauth":true}"#;

/// See the module; cheap to clone.
#[derive(Clone)]
pub(super) struct Bucket {
    store: Arc<dyn ObjectStore>,
    timeout: Duration,
    /// Whether it keeps what kind of file an object is.
    keeps_kinds: bool,
    metrics: RecordingMetrics,
    #[cfg(test)]
    pub(super) faults: Arc<super::tests::Faults>,
}

/// Reasons why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum BucketError {
    #[error("{}", described(.0))]
    Store(#[from] object_store::Error),
    #[error("it has not answered in time (recording.timeout)")]
    Timeout,
    #[error("{0} is not as this server writes it")]
    Malformed(String),
    #[error(
        "{0} is not as this server writes it, and stays: delete it to have it written again from the clips"
    )]
    Foreign(String),
    #[error("{0} has changed while it was joined")]
    Changed(String),
    #[error("the state directory: {0}")]
    Spool(std::io::Error),
    #[cfg(test)]
    #[error("a fault of the test")]
    Fault,
}

impl BucketError {
    /// One of [`OUTCOMES`](super::metrics::OUTCOMES).
    fn outcome(&self) -> &'static str {
        use object_store::Error;
        match self {
            Self::Timeout => "timeout",
            Self::Store(Error::NotFound { .. }) => "not_found",
            Self::Store(Error::AlreadyExists { .. } | Error::Precondition { .. }) => "exists",
            Self::Store(Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) => "denied",
            _ => "failed",
        }
    }
}

/// An object in a listing.
pub(super) struct Listed {
    /// Relative to what was listed.
    pub(super) name: String,
    /// When it was written, in milliseconds since the Unix epoch.
    pub(super) written: u64,
    pub(super) bytes: u64,
}

type Result<T> = std::result::Result<T, BucketError>;

/// Makes the project's own client, for every store.
#[derive(Debug)]
struct Connector(Duration);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let built = http_client::build(self.0, |builder| builder);
        built
            .map(|built| HttpClient::new(built.client))
            .map_err(|error| object_store::Error::Generic {
                store: "HTTP",
                source: Box::new(error),
            })
    }
}

/// The service account's JSON, if one is configured; otherwise the metadata server is asked.
fn service_account(google: &config::Google) -> std::io::Result<Option<SecretString>> {
    if let Some(text) = &google.service_account {
        return Ok(Some(text.clone()));
    }
    if let Some(path) = &google.service_account_file {
        return std::fs::read_to_string(path).map(|text| Some(text.into()));
    }
    let pair = google
        .client_email
        .as_ref()
        .zip(google.private_key.as_ref());
    Ok(pair.map(|(email, key)| {
        let json = serde_json::json!({
            "client_email": email.trim(),
            "private_key": key.expose_secret().replace("\\n", "\n"),
            "private_key_id": "",
        });
        json.to_string().into()
    }))
}

impl Bucket {
    /// The bucket at this place. Opens no connection.
    pub(super) fn open(
        config: &config::Config,
        place: RecordingPlace,
        metrics: &RecordingMetrics,
    ) -> std::result::Result<Self, String> {
        let recording = &config.recording;
        let keeps_kinds = !matches!(place, RecordingPlace::Directory(_));
        let connector = Connector(recording.timeout);
        let retry = RetryConfig {
            max_retries: recording.retries,
            retry_timeout: recording.timeout,
            ..RetryConfig::default()
        };
        let text = |error: object_store::Error| error.to_string();
        let (store, prefix): (Arc<dyn ObjectStore>, Path) = match place {
            RecordingPlace::Google { bucket, prefix } => {
                let mut builder = GoogleCloudStorageBuilder::new()
                    .with_bucket_name(bucket)
                    .with_http_connector(connector)
                    .with_retry(retry);
                if let Some(endpoint) = &recording.endpoint {
                    builder = builder
                        .with_base_url(endpoint)
                        .with_skip_signature(true)
                        .with_service_account_key(NOBODY);
                } else if let Some(account) =
                    service_account(&config.google).map_err(|it| it.to_string())?
                {
                    builder = builder.with_service_account_key(account.expose_secret());
                }
                (Arc::new(builder.build().map_err(text)?), prefix.into())
            }
            RecordingPlace::Amazon { bucket, prefix } => {
                let mut builder = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_http_connector(connector)
                    .with_retry(retry);
                if let Some(endpoint) = &recording.endpoint {
                    builder = builder.with_endpoint(endpoint).with_allow_http(true);
                }
                (Arc::new(builder.build().map_err(text)?), prefix.into())
            }
            RecordingPlace::Directory(path) => {
                // Made with the first object: while it is away, clips wait as they do for any other bucket.
                let prefix = Path::from_absolute_path(path).map_err(|error| error.to_string())?;
                (Arc::new(LocalFileSystem::new().with_fsync(true)), prefix)
            }
        };
        let store = Arc::new(PrefixStore::new(store, prefix));
        Ok(Self {
            keeps_kinds,
            ..Self::new(store, recording.timeout, metrics.clone())
        })
    }

    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        timeout: Duration,
        metrics: RecordingMetrics,
    ) -> Self {
        Self {
            store,
            timeout,
            keeps_kinds: true,
            metrics,
            #[cfg(test)]
            faults: Arc::default(),
        }
    }

    async fn limited<T>(&self, call: impl Future<Output = object_store::Result<T>>) -> Result<T> {
        #[cfg(test)]
        let number = self.faults.ask().await?;
        let started = Instant::now();
        let outcome = timeout(self.timeout, call).await;
        #[cfg(test)]
        self.faults.answer(number)?;
        let outcome = outcome
            .map_err(|_| BucketError::Timeout)
            .and_then(|answer| Ok(answer?));
        self.count(started, &outcome);
        outcome
    }

    fn count<T>(&self, started: Instant, outcome: &Result<T>) {
        let seconds = started.elapsed().as_secs_f64();
        self.metrics.request_seconds.observe(seconds);
        let label = outcome.as_ref().err().map_or("ok", BucketError::outcome);
        self.metrics.requests.with_label_values(&[label]).inc();
    }

    /// All objects below a directory.
    pub(super) async fn list(&self, directory: &str) -> Result<Vec<Listed>> {
        #[cfg(test)]
        self.faults.ask().await?;
        let started = Instant::now();
        let found = self.list_all(directory).await;
        self.count(started, &found);
        found
    }

    async fn list_all(&self, directory: &str) -> Result<Vec<Listed>> {
        let directory = Path::from(directory);
        let mut stream = self.store.list(Some(&directory));
        let mut found = Vec::new();
        while let Some(next) = timeout(self.timeout, stream.next())
            .await
            .map_err(|_| BucketError::Timeout)?
        {
            found.extend(listed(&directory, &next?));
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// The names of the objects in a directory, without those in directories below it.
    pub(super) async fn names(&self, directory: &str) -> Result<Vec<String>> {
        let directory = Path::from(directory);
        let found = self
            .limited(self.store.list_with_delimiter(Some(&directory)))
            .await?;
        let names = found
            .objects
            .iter()
            .filter_map(|object| listed(&directory, object));
        Ok(names.map(|object| object.name).collect())
    }

    /// The bytes of an object; none if there is none.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        let path = Path::from(path);
        let get = async { self.store.get(&path).await?.bytes().await };
        match self.limited(get).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(BucketError::Store(object_store::Error::NotFound { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// These bytes of an object.
    pub(super) async fn range(&self, path: &str, range: Range<u64>) -> Result<Bytes> {
        let path = Path::from(path);
        self.limited(self.store.get_range(&path, range)).await
    }

    /// The size of an object; none if there is none.
    pub(super) async fn size(&self, path: &str) -> Result<Option<u64>> {
        let path = Path::from(path);
        match self.limited(self.store.head(&path)).await {
            Ok(object) => Ok(Some(object.size)),
            Err(BucketError::Store(object_store::Error::NotFound { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes an object, in place of one that is there.
    pub(super) async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        #[cfg(test)]
        self.faults.refuse(path)?;
        let path = Path::from(path);
        self.limited(self.store.put(&path, bytes.into())).await?;
        Ok(())
    }

    /// Writes an object, unless there is one; returns whether it did.
    pub(super) async fn create(&self, path: &str, bytes: Bytes) -> Result<bool> {
        let path = Path::from(path);
        let put = self
            .store
            .put_opts(&path, bytes.into(), PutMode::Create.into());
        match self.limited(put).await {
            Ok(_) => Ok(true),
            Err(BucketError::Store(object_store::Error::AlreadyExists { .. })) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes an object, if there is one.
    pub(super) async fn delete(&self, path: &str) -> Result<()> {
        let path = Path::from(path);
        match self.limited(self.store.delete(&path)).await {
            Err(BucketError::Store(object_store::Error::NotFound { .. })) => Ok(()),
            outcome => outcome,
        }
    }

    /// Begins an object of this kind that is written by parts, and is there once it is finished.
    pub(super) async fn write(&self, path: &str, kind: Option<&'static str>) -> Result<Writer> {
        let path = Path::from(path);
        let mut options = PutMultipartOptions::default();
        if let Some(kind) = kind.filter(|_| self.keeps_kinds) {
            options
                .attributes
                .insert(Attribute::ContentType, kind.into());
        }
        let upload = self.store.put_multipart_opts(&path, options);
        let upload = self.limited(upload).await?;
        Ok(Writer {
            bucket: self.clone(),
            upload,
            part: Vec::new(),
            bytes: 0,
        })
    }
}

/// See [`Bucket::write`]. After an error it has to be aborted.
pub(super) struct Writer {
    bucket: Bucket,
    upload: Box<dyn MultipartUpload>,
    /// What comes into the next part, and its size.
    part: Vec<Bytes>,
    bytes: usize,
}

impl Writer {
    pub(super) async fn add(&mut self, mut bytes: Bytes) -> Result<()> {
        // All parts but the last have the same size: some services ask for that.
        while self.bytes + bytes.len() >= PART {
            self.part.push(bytes.split_to(PART - self.bytes));
            self.send().await?;
        }
        self.bytes += bytes.len();
        self.part.push(bytes);
        Ok(())
    }

    async fn send(&mut self) -> Result<()> {
        self.bytes = 0;
        let part = self.upload.put_part(self.part.drain(..).collect());
        self.bucket.limited(part).await
    }

    /// The object is there after this.
    pub(super) async fn finish(&mut self) -> Result<()> {
        if self.bytes > 0 {
            self.send().await?;
        }
        self.bucket.limited(self.upload.complete()).await?;
        Ok(())
    }

    /// Frees what the bucket has of it.
    pub(super) async fn abort(mut self) -> Result<()> {
        self.bucket.limited(self.upload.abort()).await
    }
}

/// What went wrong, without what the bucket has answered: no body of an answer reaches a log line.
fn described(error: &object_store::Error) -> String {
    use object_store::Error;
    match error {
        Error::NotFound { .. } => "there is no such bucket or object (404)",
        Error::Unauthenticated { .. } => "the credentials are not accepted (401)",
        Error::PermissionDenied { .. } => "the permission is missing (403)",
        Error::AlreadyExists { .. } | Error::Precondition { .. } => "another node was faster",
        error => {
            let mut cause: &dyn std::error::Error = error;
            while let Some(next) = cause.source() {
                cause = next;
            }
            if let Some(error) = cause.downcast_ref::<std::io::Error>() {
                return error.to_string();
            }
            "the bucket does not answer, or refuses the request"
        }
    }
    .to_owned()
}

fn listed(directory: &Path, object: &ObjectMeta) -> Option<Listed> {
    let parts = object.location.prefix_match(directory)?;
    let parts: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
    Some(Listed {
        name: parts.join("/"),
        written: u64::try_from(object.last_modified.timestamp_millis()).unwrap_or(0),
        bytes: object.size,
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn text(source: impl std::error::Error + Send + Sync + 'static) -> String {
        let source = Box::new(source);
        BucketError::from(object_store::Error::Generic {
            store: "GCS",
            source,
        })
        .to_string()
    }

    #[test]
    fn error_quotes_no_answer_of_the_bucket() {
        let answer = BucketError::Malformed("<Error><Details>a@b.example</Details>".into());
        assert!(!text(answer).contains("a@b.example"));
        assert_eq!(text(io::Error::other("no space left")), "no space left");
    }
}
