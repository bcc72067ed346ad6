//! The section `[recording]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{Config, Problems};

/// How a place is written.
const PLACE: &str = "must be gs://BUCKET or s3://BUCKET with an optional /PREFIX, or file:///DIRECTORY, without a user, a \
                     query and a fragment";

/// Which livestreams are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordingPolicy {
    /// all.
    #[default]
    Always,
    /// those with `record: true` in their document, as it is when the streamer comes or asks.
    Document,
}

/// `[recording]`: one file of each livestream, in a bucket.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recording {
    /// The bucket, and a prefix in it: `gs://`, `s3://` or `file:///`. Unset: nothing is recorded. Needs a state directory.
    /// Example: `"gs://my-recordings/castaway"`.
    pub url: Option<String>,
    /// Which livestreams are recorded, once there is a URL. Of each the streamer may pause the recording.
    pub policy: RecordingPolicy,
    /// Another endpoint than Google's or Amazon's, for `gs://` and `s3://`: of Ceph, R2, an emulator. To that of
    /// `gs://` no credentials are sent.
    /// Example: `"https://s3.example:9000"`.
    pub endpoint: Option<String>,
    /// The app's bucket of podcasts: each finished recording is copied into it, and registered in Firestore's collection
    /// `uploads`, as the app's backend does with an uploaded file. Unset: none is. At the same endpoint.
    /// Example: `"gs://my-app-podcasts"`.
    pub podcast: Option<String>,
    /// How long one request to the bucket may take, its retries included. The longest ones carry five megabytes: a part
    /// of a file.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// How often a request to the bucket that fails is tried again at once, within its time: after 0.1 s, then after up to
    /// twice as long each time. 0: never.
    pub retries: usize,
    /// The longest wait until a clip is brought again to a bucket that is away. The first is a second, each twice the one
    /// before.
    #[serde(with = "humantime_serde")]
    pub max_retry_wait: Duration,
    /// The most concurrent requests that bring clips to the bucket; the clips of one livestream go one after the other.
    pub max_requests: usize,
    /// The most bytes of clips in memory, on their way to the state directory; beyond, a clip is not recorded.
    pub queue_bytes: usize,
    /// The most bytes of clips in the state directory that wait for the bucket; beyond, a clip is not recorded.
    pub spool_bytes: u64,
    /// How long a recording stays unfinished without a clip, if nobody has seen its livestream's end: its nodes are gone.
    #[serde(with = "humantime_serde")]
    pub finish_after: Duration,
    /// How long the end of a livestream waits for clips that a node has accepted and not brought to the bucket yet.
    #[serde(with = "humantime_serde")]
    pub wait_for_clips: Duration,
    /// How long a finished recording's clips stay in the bucket.
    #[serde(with = "humantime_serde")]
    pub keep_clips: Duration,
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            url: None,
            policy: RecordingPolicy::default(),
            endpoint: None,
            podcast: None,
            timeout: Duration::from_secs(30),
            retries: 3,
            max_retry_wait: Duration::from_secs(30),
            max_requests: 8,
            queue_bytes: 64 << 20,
            spool_bytes: 2 << 30,
            finish_after: Duration::from_mins(10),
            wait_for_clips: Duration::from_mins(10),
            keep_clips: Duration::from_hours(24),
        }
    }
}

/// Where recordings go, or their copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordingPlace {
    /// A bucket of Google Cloud Storage.
    Google {
        /// Its name.
        bucket: String,
        /// What is before each object's name.
        prefix: String,
    },
    /// A bucket of S3.
    Amazon {
        /// Its name.
        bucket: String,
        /// What is before each object's name.
        prefix: String,
    },
    /// A directory.
    Directory(PathBuf),
}

impl RecordingPlace {
    /// What is before each object's name in the bucket; nothing in a directory.
    pub fn into_prefix(self) -> String {
        match self {
            Self::Google { prefix, .. } | Self::Amazon { prefix, .. } => prefix,
            Self::Directory(_) => String::new(),
        }
    }
}

impl Recording {
    /// Where recordings go; none if the URL is unset or wrong.
    pub fn place(&self) -> Option<RecordingPlace> {
        place(self.url.as_deref()?)
    }

    /// The app's bucket of podcasts; none if the URL is unset or wrong.
    pub fn podcast_place(&self) -> Option<RecordingPlace> {
        place(self.podcast.as_deref()?)
    }
}

impl Config {
    pub(super) fn check_recording(&self, problems: &mut Problems) {
        let recording = &self.recording;
        problems.push_if(
            recording.url.is_some() && recording.place().is_none(),
            "recording.url",
            PLACE,
        );
        problems.push_if(
            recording.podcast.is_some() && recording.podcast_place().is_none(),
            "recording.podcast",
            PLACE,
        );
        problems.push_if(
            recording.podcast.is_some() && recording.url.is_none(),
            "recording.podcast",
            "needs recording.url: only recordings become podcasts",
        );
        problems.push_if(
            recording
                .endpoint
                .as_deref()
                .is_some_and(|url| !is_endpoint(url)),
            "recording.endpoint",
            "must be a URL such as \"https://s3.example:9000\"",
        );
        problems.push_if(
            recording.queue_bytes < self.upload.max_clip_bytes,
            "recording.queue_bytes",
            "must be at least upload.max_clip_bytes, or the largest clip could never be recorded",
        );
        problems.push_if(
            recording.finish_after < self.livestream.grace.saturating_add(self.cluster.lease),
            "recording.finish_after",
            "must be at least livestream.grace and cluster.lease, or a livestream that waits for its streamer would be \
             finished",
        );
    }
}

fn place(text: &str) -> Option<RecordingPlace> {
    let url = Url::parse(text).ok()?;
    let is_bare = url.username().is_empty()
        && url.password().is_none()
        && url.port().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let bucket = url.host_str().unwrap_or_default().to_owned();
    let prefix = url.path().trim_matches('/').to_owned();
    match url.scheme() {
        _ if !is_bare => None,
        "file" if bucket.is_empty() && !prefix.is_empty() => {
            Some(RecordingPlace::Directory(url.to_file_path().ok()?))
        }
        "gs" if !bucket.is_empty() => Some(RecordingPlace::Google { bucket, prefix }),
        "s3" if !bucket.is_empty() => Some(RecordingPlace::Amazon { bucket, prefix }),
        _ => None,
    }
}

fn is_endpoint(text: &str) -> bool {
    let url = Url::parse(text);
    url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_is_named_by_its_url() {
        for good in [
            "gs://bucket",
            "gs://bucket/a/prefix",
            "s3://bucket/",
            "file:///srv/recordings",
        ] {
            assert!(place(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "bucket",
            "gs://",
            "gs://bucket:443/a",
            "https://storage.googleapis.com/bucket",
            "file://machine/srv",
            "file:///",
            "s3://key:secret@bucket",
            "gs://bucket?a=b",
            "gs://bucket#part",
        ] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }

    #[test]
    fn podcast_needs_a_place_and_a_recording() {
        for (url, podcast, is_good) in [
            (Some("gs://recordings"), None, true),
            (Some("gs://recordings"), Some("gs://podcasts"), true),
            (Some("file:///srv/recordings"), Some("podcasts"), false),
            (None, Some("gs://podcasts"), false),
        ] {
            let mut config = Config::default();
            config.recording.url = url.map(str::to_owned);
            config.recording.podcast = podcast.map(str::to_owned);
            let problems = config.check();
            assert_eq!(problems.is_empty(), is_good, "{podcast:?}: {problems}");
        }
    }
}
