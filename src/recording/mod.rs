//! One recording of every livestream, in a bucket.
//!
//! The relay gives each accepted clip to the [`Recorder`], which waits for nothing: a bounded queue leads to the state
//! directory ([`spool`]), and from there to the bucket ([`upload`]). Once the livestream is over, any node joins the
//! clips by remuxing and writes the manifest ([`finish`]). What is in a recording and what is left to be done for it is
//! decided from the names of its objects alone ([`contents`]), so nodes need no other agreement.
//!
//! **Invariant**: an acknowledged clip is in the state directory or in the bucket until a file has it, or the manifest
//! names it as missing with the reason.

mod assembly;
mod bucket;
mod catalog;
mod contents;
mod finish;
mod metrics;
mod names;
mod objects;
mod podcast;
mod recorded;
mod rounds;
mod spool;
mod upload;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::Instant;

use self::bucket::Bucket;
use self::finish::Finisher;
use self::metrics::RecordingMetrics;
use self::podcast::Podcasts;
use self::spool::{Entry, Spool, What};
use self::upload::Uploader;
use crate::broadcast::{Clip, ClipId, LeftOutSpan, LivestreamId, Position, UserId};
use crate::config::{self, RecordingPlace, RecordingPolicy};
use crate::media;
use crate::metrics::Metrics;

pub use self::assembly::{Gap, LeftOut, Manifest, MissingClip, RecordedClip, RecordedFile};
pub use self::catalog::{Found, Recordings, RecordingsError};
pub use self::finish::{OnAir, Ready};
pub use self::names::RecordingId;
pub use self::podcast::{Register, Registered, Upload};
pub use self::recorded::Recorded;
pub use self::spool::fill::{Fill, Filled};
pub use self::upload::Titles;

/// What a unit of room in the queue stands for, in bytes.
const UNIT: usize = 1024;
/// The most events without a clip in the queue, which a disk that hangs holds up. Beyond, they are not recorded.
const MAX_EVENTS: usize = 16_384;
/// Recordings that may wait to be finished for operators.
const MAX_REQUESTS: usize = 16;

/// Takes what is to be recorded; cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::UnboundedSender<Item>,
    // Room for clips in units of bytes, and for events.
    room: Arc<Semaphore>,
    units: usize,
    policy: RecordingPolicy,
    events: Arc<Semaphore>,
    metrics: RecordingMetrics,
}

/// A clip that another process has accepted.
#[derive(Debug, Clone, Copy)]
pub struct KnownClip<'a> {
    /// The streamer's own id of it.
    pub id: &'a ClipId,
    /// As that process has numbered it.
    pub sequence: u64,
    /// As they came again.
    pub bytes: &'a Bytes,
}

/// Something on its way to the state directory.
struct Item {
    /// None: asks for an answer once everything before it is written.
    entry: Option<(Entry, Option<Bytes>)>,
    written: oneshot::Sender<()>,
    /// Its room in the queue.
    _permit: OwnedSemaphorePermit,
}

/// The tasks of recording, for [`Recording::run`].
pub struct Recording {
    items: mpsc::UnboundedReceiver<Item>,
    spool: Arc<Spool>,
    bucket: Bucket,
    /// The app's bucket of podcasts.
    podcasts: Option<Bucket>,
    config: config::Recording,
    metrics: RecordingMetrics,
    /// Recordings that an operator wants finished.
    requests: (mpsc::Sender<RecordingId>, mpsc::Receiver<RecordingId>),
}

/// What recording asks of the daemon, and tells it.
pub struct Daemon {
    /// For the title.
    pub titles: Titles,
    /// For the decision whether a recording is over.
    pub is_on_air: OnAir,
    /// For the news.
    pub ready: Ready,
    /// For the app's list of uploads.
    pub register: Register,
    /// For the news.
    pub registered: Registered,
    /// Told when the clips that wait for the bucket nearly fill their room, and when there is room again.
    pub filled: Filled,
}

/// Reasons why nothing can be recorded; detected at start.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The metrics are already registered.
    #[error("the metrics of recordings cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// The bucket's client cannot be made.
    #[error("recording.url cannot be used: {0}")]
    Bucket(String),
    /// The client of the app's bucket cannot be made.
    #[error("recording.podcast cannot be used: {0}")]
    Podcasts(String),
    /// Clips have nowhere to wait.
    #[error(
        "recording.url is set, and there is no state directory in which clips could wait for the bucket: set \
         STATE_DIRECTORY, as systemd's StateDirectory= does"
    )]
    NoStateDirectory,
    /// Clips cannot wait there.
    #[error("the state directory cannot be used for recordings: {0}")]
    StateDirectory(#[from] std::io::Error),
}

impl Recorder {
    /// The recorder to the configured bucket, with the clips that wait in this directory; none if nothing is recorded.
    pub fn open(
        config: &config::Config,
        directory: Option<&Path>,
        metrics: &Metrics,
    ) -> Result<Option<(Self, Recording)>, RecordingError> {
        let own = RecordingMetrics::register(metrics.registry())?;
        let Some(place) = config.recording.place() else {
            return Ok(None);
        };
        let bucket = Bucket::open(config, place, &own).map_err(RecordingError::Bucket)?;
        let directory = directory.ok_or(RecordingError::NoStateDirectory)?;
        let (recorder, mut recording) =
            Self::new(&config.recording, bucket, directory, own.clone())?;
        if let Some(place) = config.recording.podcast_place() {
            let bucket = Bucket::open(config, place, &own).map_err(RecordingError::Podcasts)?;
            recording.podcasts = Some(bucket);
        }
        Ok(Some((recorder, recording)))
    }

    fn new(
        config: &config::Recording,
        bucket: Bucket,
        directory: &Path,
        metrics: RecordingMetrics,
    ) -> std::io::Result<(Self, Recording)> {
        let spool = Spool::open(
            directory.join("recording"),
            config.spool_bytes,
            metrics.clone(),
        )?;
        metrics
            .spool_bytes
            .set(i64::try_from(config.spool_bytes).unwrap_or(i64::MAX));
        let (queue, items) = mpsc::unbounded_channel();
        let units = (config.queue_bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        let recorder = Self {
            queue,
            room: Arc::new(Semaphore::new(units)),
            units,
            policy: config.policy,
            events: Arc::new(Semaphore::new(MAX_EVENTS)),
            metrics: metrics.clone(),
        };
        let recording = Recording {
            items,
            spool: Arc::new(spool),
            bucket,
            podcasts: None,
            config: config.clone(),
            metrics,
            requests: mpsc::channel(MAX_REQUESTS),
        };
        Ok((recorder, recording))
    }

    /// Records an accepted clip. Called under the livestream's lock, so in the order of its clips.
    pub fn clip(&self, livestream: &LivestreamId, streamer: &UserId, clip: &Clip) -> Recorded {
        let what = clip_at(clip.position, clip.id.as_ref(), &clip.bytes);
        let entry = entry(livestream, Some(streamer), clip.sent_at, what);
        self.take(entry, &clip.bytes)
    }

    /// Records a clip that comes again at this time in milliseconds since the Unix epoch: the recording takes it if the first
    /// one is gone.
    pub fn known_clip(
        &self,
        livestream: &LivestreamId,
        streamer: &UserId,
        at: u64,
        known: KnownClip<'_>,
    ) -> Recorded {
        let position = Position::new(names::SENT_AGAIN, known.sequence);
        let what = clip_at(position, Some(known.id), known.bytes);
        self.take(entry(livestream, Some(streamer), at, what), known.bytes)
    }

    fn take(&self, entry: Entry, bytes: &Bytes) -> Recorded {
        // A clip larger than the whole queue takes all of it.
        let units = (bytes.len() / UNIT + 1).min(self.units);
        let permit = u32::try_from(units)
            .ok()
            .and_then(|units| self.room.clone().try_acquire_many_owned(units).ok());
        if let Some(permit) = permit {
            return self.queue(Some((entry, Some(bytes.clone()))), permit);
        }
        self.metrics.lost.with_label_values(&["queue_full"]).inc();
        self.event(entry.given_up("queue_full"))
    }

    /// Whether a livestream is recorded whose document has this `record`.
    pub fn allows(&self, record: bool) -> bool {
        self.policy == RecordingPolicy::Always || record
    }

    /// Whether the document of a livestream decides.
    pub fn asks_document(&self) -> bool {
        self.policy == RecordingPolicy::Document
    }

    /// Clips with these sequences were not recorded on purpose; told with the next clip that is, behind it.
    pub fn left_out(
        &self,
        livestream: &LivestreamId,
        (from, until): LeftOutSpan,
        at: u64,
    ) -> Recorded {
        self.event(entry(livestream, None, at, What::LeftOut { from, until }))
    }

    /// Nothing is recorded now, on purpose; told again from time to time, so that the recording is not taken for over.
    pub fn paused(&self, livestream: &LivestreamId, at: u64) -> Recorded {
        self.event(entry(livestream, None, at, What::Paused))
    }

    /// The streamer's connection is lost, at this time in milliseconds since the Unix epoch.
    pub fn link_lost(&self, livestream: &LivestreamId, at: u64) {
        self.event(entry(livestream, None, at, What::LinkLost));
    }

    /// So many clips that are recorded already are published again, from this position on.
    pub fn repeated(&self, livestream: &LivestreamId, first: Position, clips: u64, at: u64) {
        let Position { epoch, sequence } = first;
        let what = What::Repeated {
            epoch,
            from: sequence,
            until: sequence.saturating_add(clips.saturating_sub(1)),
        };
        self.event(entry(livestream, None, at, what));
    }

    /// The livestream is over, for this reason, after its clip at this position if that is known.
    pub fn ended_after(
        &self,
        livestream: &LivestreamId,
        latest: Option<Position>,
        reason: &str,
        at: u64,
    ) {
        let what = What::Ended {
            reason: reason.to_owned(),
            latest: latest.map(|Position { epoch, sequence }| (epoch, sequence)),
        };
        self.event(entry(livestream, None, at, what));
    }

    /// This node no longer follows the livestream.
    pub fn left(&self, livestream: &LivestreamId, at: u64) {
        self.event(entry(livestream, None, at, What::Left));
    }

    /// Resolves once everything until now is on the disk.
    pub fn flush(&self) -> Recorded {
        self.without_a_clip(None)
    }

    fn event(&self, entry: Entry) -> Recorded {
        self.without_a_clip(Some((entry, None)))
    }

    fn without_a_clip(&self, entry: Option<(Entry, Option<Bytes>)>) -> Recorded {
        if let Ok(permit) = self.events.clone().try_acquire_owned() {
            return self.queue(entry, permit);
        }
        if let Some((entry, _)) = entry {
            self.metrics.errors.with_label_values(&["disk"]).inc();
            tracing::warn!(
                livestream.id = entry.livestream,
                "a recording misses an event: the disk is too slow; see to the state directory"
            );
        }
        // Nobody writes it: there is nothing to wait for.
        Recorded {
            written: oneshot::channel().1,
            queued_at: Instant::now(),
        }
    }

    fn queue(
        &self,
        entry: Option<(Entry, Option<Bytes>)>,
        permit: OwnedSemaphorePermit,
    ) -> Recorded {
        let (written, recorded) = oneshot::channel();
        let item = Item {
            entry,
            written,
            _permit: permit,
        };
        if self.queue.send(item).is_err() {
            tracing::debug!("the recorder's task is gone");
        }
        Recorded {
            written: recorded,
            queued_at: Instant::now(),
        }
    }
}

fn clip_at(position: Position, id: Option<&ClipId>, bytes: &Bytes) -> What {
    What::Clip {
        epoch: position.epoch,
        sequence: position.sequence,
        id: id.map(ToString::to_string),
        extension: media::extension(bytes).to_owned(),
    }
}

fn entry(livestream: &LivestreamId, streamer: Option<&UserId>, at: u64, what: What) -> Entry {
    Entry {
        livestream: livestream.to_string(),
        streamer: streamer.map(ToString::to_string).unwrap_or_default(),
        at,
        what,
    }
}

impl Recording {
    /// The recordings for operators.
    pub fn recordings(&self) -> Recordings {
        Recordings {
            bucket: self.bucket.clone(),
            requests: self.requests.0.clone(),
        }
    }

    /// Records and finishes, as long as the [`Recorder`] is there.
    pub async fn run(self, daemon: Daemon) -> std::io::Result<()> {
        let ended = Arc::new(Notify::new());
        let uploader = Arc::new(Uploader {
            spool: self.spool.clone(),
            bucket: self.bucket.clone(),
            metrics: self.metrics.clone(),
            titles: daemon.titles,
            ended: ended.clone(),
            open: Mutex::default(),
            join_within: upload::join_within(&self.config),
            is_away: AtomicBool::new(false),
            longest_wait: self.config.max_retry_wait,
            taken: AtomicU64::new(0),
            refusals: Mutex::default(),
        });
        let prefix = self.config.podcast_place();
        let podcasts = self.podcasts.map(|bucket| Podcasts {
            bucket,
            prefix: prefix.map(RecordingPlace::into_prefix).unwrap_or_default(),
            register: daemon.register,
            registered: daemon.registered,
        });
        let finisher = Finisher {
            bucket: self.bucket.clone(),
            config: self.config.clone(),
            metrics: self.metrics.clone(),
            ended,
            is_on_air: daemon.is_on_air,
            ready: daemon.ready,
            podcasts,
            later: Mutex::default(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(spool::fill::tell(self.spool.clone(), daemon.filled));
        for _ in 0..self.config.max_requests {
            tasks.spawn(uploader.clone().run());
        }
        // Held here, so that the other end never closes.
        let (_open, requests) = self.requests;
        tasks.spawn(finisher.run(requests));
        tokio::select! {
            () = write(self.items, self.spool) => Ok(()),
            Some(ended) = tasks.join_next() => ended.map_err(std::io::Error::other),
        }
    }
}

async fn write(mut items: mpsc::UnboundedReceiver<Item>, spool: Arc<Spool>) {
    while let Some(Item {
        entry,
        written,
        _permit: permit,
    }) = items.recv().await
    {
        if let Some((entry, clip)) = entry {
            let spool = spool.clone();
            let outcome = spawn_blocking(move || spool.write(entry, clip.as_ref()));
            if let Err(error) = outcome.await {
                tracing::error!("a clip is not written for its recording: {error}");
            }
        }
        drop(permit);
        // Nobody may wait for it.
        written.send(()).ok();
    }
}

#[cfg(test)]
mod tests;
