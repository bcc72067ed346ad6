//! Brings what waits in the spool to the bucket.
//!
//! A livestream's recordings are numbered. The opening of each is written only where there is none, so of two nodes that
//! begin one, one does, and the other brings its clips there too.
//!
//! **Invariant**: an entry leaves the spool after its object is in the bucket. Each is brought to the recording of its
//! time, whichever node opened that.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::assembly::Opening;
use super::bucket::{Bucket, BucketError};
use super::contents::{Candidate, Contents, place};
use super::metrics::RecordingMetrics;
use super::names::{self, RecordingId};
use super::objects::read_opening;
use super::spool::{Entry, Spool, Waiting, What};
use crate::broadcast::LivestreamId;
use crate::config;

/// The latest recordings of a livestream to which a clip may belong.
const CANDIDATES: usize = 4;
/// How often another node may be faster to open a recording.
const OPENINGS: usize = 8;
/// The wait before the second try; the later ones are longer.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// How long a livestream's document may take to say its title.
const TITLE_WITHIN: Duration = Duration::from_secs(5);
/// The most livestreams whose recording is remembered.
const MAX_REMEMBERED: usize = 10_000;
/// A remembered recording is looked at again after this time, and by an entry that is so much later than the one before, in
/// milliseconds: others may have ended, finished or closed it.
const LOOK_AGAIN: Duration = Duration::from_mins(10);
const LOOK_AGAIN_AFTER: u64 = 60_000;
/// A livestream that comes back within this time at least continues its recording.
const JOIN_WITHIN: Duration = Duration::from_hours(1);

/// Says the title of a livestream; none if it is unknown now.
pub type Titles =
    Box<dyn Fn(LivestreamId) -> Pin<Box<dyn Future<Output = Option<String>> + Send>> + Send + Sync>;

/// See the module documentation.
pub(super) struct Uploader {
    pub(super) spool: Arc<Spool>,
    pub(super) bucket: Bucket,
    pub(super) metrics: RecordingMetrics,
    pub(super) titles: Titles,
    /// Told of each end that is in the bucket.
    pub(super) ended: Arc<Notify>,
    // Locked for one look-up. Bounded by `MAX_REMEMBERED`.
    pub(super) open: Mutex<HashMap<String, Remembered>>,
    /// See [`place`].
    pub(super) join_within: u64,
    pub(super) is_away: AtomicBool,
    /// `recording.max_retry_wait`.
    pub(super) longest_wait: Duration,
    /// The entries that the bucket took.
    pub(super) taken: AtomicU64,
    // Locked for one look-up. By livestream, of those whose first entry the bucket did not take; as many as lanes at most.
    pub(super) refusals: Mutex<HashMap<String, Refusal>>,
}

/// How often the bucket refused an entry, and how many it had taken before the first time.
#[derive(Clone, Copy)]
pub(super) struct Refusal {
    taken: u64,
    tries: u32,
}

/// The recording of a livestream, and when it was looked at.
pub(super) struct Remembered {
    id: RecordingId,
    looked: Instant,
    /// The time of the latest entry.
    at: u64,
}

/// How long a livestream may be away and still continues its recording, in milliseconds: at least as long as it may wait
/// for its streamer, which is less than `recording.finish_after`.
pub(super) fn join_within(config: &config::Recording) -> u64 {
    let within = JOIN_WITHIN.max(config.finish_after);
    u64::try_from(within.as_millis()).unwrap_or(u64::MAX)
}

impl Uploader {
    /// Brings entries, one after the other, for ever.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            let waiting = self.spool.next().await;
            if let Err(error) = self.bring(&waiting).await {
                let rest = self.refused(&waiting.entry, &error);
                self.spool.later(&waiting, rest);
                continue;
            }
            self.took(&waiting.entry);
            let spool = self.spool.clone();
            let done = spawn_blocking(move || spool.done(&waiting)).await;
            if let Err(error) = done {
                tracing::error!("a clip in the state directory is not removed: {error}");
            }
        }
    }

    /// The bucket took an entry.
    fn took(&self, entry: &Entry) {
        self.taken.fetch_add(1, Ordering::SeqCst);
        let mut refusals = self.refusals.lock();
        if refusals.remove(&entry.livestream).is_some() {
            self.metrics.count_refused(refusals.len());
        }
        drop(refusals);
        if self.is_away.swap(false, Ordering::SeqCst) {
            self.metrics.away.set(0);
            tracing::info!("the bucket of recordings takes clips again");
        }
    }

    /// The bucket did not take an entry; returns how long its livestream rests.
    fn refused(&self, entry: &Entry, error: &BucketError) -> Duration {
        self.metrics.errors.with_label_values(&["bucket"]).inc();
        // What is remembered may be wrong, and much may happen until the bucket is back.
        self.open.lock().remove(&entry.livestream);
        let taken = self.taken.load(Ordering::SeqCst);
        let mut refusals = self.refusals.lock();
        let refusal = refusals
            .entry(entry.livestream.clone())
            .or_insert(Refusal { taken, tries: 0 });
        refusal.tries = refusal.tries.saturating_add(1);
        let Refusal { taken: then, tries } = *refusal;
        self.metrics.count_refused(refusals.len());
        drop(refusals);
        if taken == then {
            self.complain(entry, error);
        } else {
            // It takes those of others.
            tracing::warn!(
                livestream.id = entry.livestream,
                tries,
                "the bucket of recordings does not take a clip or an event, it is tried again: {error}"
            );
        }
        self.longest_wait
            .min(FIRST_WAIT * 2_u32.saturating_pow(tries.saturating_sub(1)))
    }

    fn complain(&self, entry: &Entry, error: &BucketError) {
        if self.is_away.swap(true, Ordering::SeqCst) {
            tracing::debug!(livestream.id = entry.livestream, %error, "the bucket takes no clip");
            return;
        }
        self.metrics.away.set(1);
        tracing::error!(
            livestream.id = entry.livestream,
            "the bucket of recordings takes no clips, they wait in the state directory: {error}; see recording.url, and the \
             rights of the service account"
        );
    }

    async fn bring(&self, waiting: &Waiting) -> Result<(), BucketError> {
        let entry = &waiting.entry;
        let Some(path) = entry.path() else {
            self.open.lock().remove(&entry.livestream);
            return Ok(());
        };
        let Some(recording) = self.recording(entry).await? else {
            return Ok(());
        };
        let path = format!("{}/{path}", recording.directory());
        if let What::Clip { .. } = entry.what {
            let (spool, waiting) = (self.spool.clone(), waiting.clone());
            let read = spawn_blocking(move || spool.clip(&waiting)).await;
            match read.map_err(std::io::Error::other).flatten() {
                Ok(clip) => self.bucket.put(&path, clip).await?,
                Err(error) if !is_gone(&error) => return Err(BucketError::Spool(error)),
                Err(error) => {
                    // Nothing brings it back.
                    self.metrics.lost.with_label_values(&["disk"]).inc();
                    tracing::error!(
                        livestream.id = entry.livestream,
                        "a clip in the state directory cannot be read: {error}"
                    );
                    let lost = Entry::clone(entry).given_up("disk");
                    let path = lost.path().unwrap_or_default();
                    let path = format!("{}/{path}", recording.directory());
                    return self.bucket.put(&path, Bytes::new()).await;
                }
            }
            self.metrics.recorded.inc();
        } else {
            self.bucket.put(&path, Bytes::new()).await?;
        }
        if let What::Ended { .. } = entry.what {
            self.open.lock().remove(&entry.livestream);
            self.ended.notify_one();
        }
        Ok(())
    }

    /// The recording to which the entry belongs; a new one for a clip without one.
    async fn recording(&self, entry: &Entry) -> Result<Option<RecordingId>, BucketError> {
        let known = self.remembered(entry);
        if known.is_some() {
            return Ok(known);
        }
        let found = self.find_or_open(entry).await?;
        if let Some(found) = &found {
            // Before the first clip: what is not pending is never finished. Also if another process has crashed here.
            for directory in [names::RECORDINGS, names::PENDING] {
                // One that is there stays: a bucket may forbid to replace objects.
                self.bucket
                    .create(&format!("{directory}/{found}"), Bytes::new())
                    .await?;
            }
            let mut open = self.open.lock();
            if open.len() >= MAX_REMEMBERED {
                open.clear();
            }
            let remembered = Remembered {
                id: found.clone(),
                looked: Instant::now(),
                at: entry.at,
            };
            open.insert(entry.livestream.clone(), remembered);
        }
        Ok(found)
    }

    fn remembered(&self, entry: &Entry) -> Option<RecordingId> {
        let mut open = self.open.lock();
        let known = open.get_mut(&entry.livestream)?;
        let is_late = entry.at > known.at.saturating_add(LOOK_AGAIN_AFTER);
        if is_late || known.looked.elapsed() >= LOOK_AGAIN {
            open.remove(&entry.livestream);
            return None;
        }
        known.at = known.at.max(entry.at);
        Some(known.id.clone())
    }

    async fn find_or_open(&self, entry: &Entry) -> Result<Option<RecordingId>, BucketError> {
        let key = names::key(&entry.livestream);
        for _ in 0..OPENINGS {
            let names = self.bucket.names(&key).await?;
            let mut numbers: Vec<u64> = names
                .iter()
                .filter_map(|name| names::number_of(name))
                .collect();
            numbers.sort_unstable();
            let latest = &numbers[numbers.len().saturating_sub(CANDIDATES)..];
            let mut candidates = Vec::new();
            for number in latest {
                candidates.push(self.candidate(&key, *number, entry).await?);
            }
            if let Some(number) = place(&candidates, entry.at, self.join_within) {
                let started = candidates
                    .iter()
                    .find(|it| it.number == number)
                    .map(|it| it.started);
                return Ok(
                    started.map(|started| RecordingId::new(started, &entry.livestream, number))
                );
            }
            if !entry.is_clip() {
                return Ok(None);
            }
            let number = numbers.last().map_or(1, |last| last + 1);
            if let Some(opened) = self.open(&key, number, entry).await? {
                return Ok(Some(opened));
            }
        }
        Err(BucketError::Changed(key))
    }

    async fn candidate(
        &self,
        key: &str,
        number: u64,
        entry: &Entry,
    ) -> Result<Candidate, BucketError> {
        let opening = read_opening(&self.bucket, &names::opening(key, number)).await?;
        let id = RecordingId::new(opening.started, &entry.livestream, number);
        let objects = self.bucket.list(&id.directory()).await?;
        let contents = Contents::of(objects.iter().map(|it| it.name.as_str()));
        let pending = format!("{}/{id}", names::PENDING);
        // One without an object was opened just now.
        let is_swept =
            contents.clips.is_empty() && objects.iter().any(|it| it.name == "manifest.json");
        let is_closed =
            is_swept || !objects.is_empty() && self.bucket.get(&pending).await?.is_none();
        Ok(Candidate {
            number,
            started: opening.started,
            ended: contents.ended().map(|(at, _)| at),
            latest: contents.latest(),
            is_closed,
        })
    }

    /// None if another node has opened it.
    async fn open(
        &self,
        key: &str,
        number: u64,
        entry: &Entry,
    ) -> Result<Option<RecordingId>, BucketError> {
        let title = match LivestreamId::new(&entry.livestream) {
            Some(id) => timeout(TITLE_WITHIN, (self.titles)(id))
                .await
                .ok()
                .flatten(),
            None => None,
        };
        let opening = Opening {
            livestream: entry.livestream.clone(),
            started: entry.at,
            streamer: entry.streamer.clone(),
            title: title.filter(|title| !title.is_empty()),
            first: entry.sequence().filter(|_| number > 1),
        };
        // Texts and numbers: this cannot fail.
        let text = serde_json::to_vec(&opening).unwrap_or_default();
        let is_ours = self
            .bucket
            .create(&names::opening(key, number), text.into())
            .await?;
        if is_ours {
            tracing::info!(livestream.id = entry.livestream, number, "recording begun");
        }
        Ok(is_ours.then(|| RecordingId::new(entry.at, &entry.livestream, number)))
    }
}

/// Whether a file will not be readable later either.
fn is_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), NotFound | InvalidData | UnexpectedEof)
}
