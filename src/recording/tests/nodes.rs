//! Nodes whose bucket is in memory, and faults of that.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use object_store::memory::InMemory;

use super::super::bucket::BucketError;
use super::super::*;
use crate::broadcast::NewClip;

/// Makes one call to the bucket fail, or all from one on.
#[derive(Default)]
pub(in crate::recording) struct Faults {
    pub(super) calls: AtomicUsize,
    /// The number of the call, from 1; 0: none.
    fails: AtomicUsize,
    /// How many fail from there.
    lasting: AtomicUsize,
    /// What is in the paths to which nothing can be written.
    forbidden: Mutex<Option<String>>,
    /// Whether the first of these is done all the same, and only its answer is lost.
    is_done: AtomicBool,
    /// Of the order in which calls come to the bucket; 0: as they are made.
    dice: AtomicU64,
}

impl Faults {
    /// The number of a call that comes to the bucket.
    pub(in crate::recording) async fn ask(&self) -> Result<usize, BucketError> {
        self.wait().await;
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let first = self.fails.load(Ordering::SeqCst);
        let until = first.saturating_add(self.lasting.load(Ordering::SeqCst));
        let is_done = call == first && self.is_done.load(Ordering::SeqCst);
        if first > 0 && (first..until).contains(&call) && !is_done {
            return Err(BucketError::Fault);
        }
        Ok(call)
    }

    /// The bucket has done this call.
    pub(in crate::recording) fn answer(&self, call: usize) -> Result<(), BucketError> {
        let is_lost =
            call == self.fails.load(Ordering::SeqCst) && self.is_done.load(Ordering::SeqCst);
        (!is_lost).then_some(()).ok_or(BucketError::Fault)
    }

    pub(in crate::recording) fn refuse(&self, path: &str) -> Result<(), BucketError> {
        let forbidden = self.forbidden.lock();
        let is_forbidden = forbidden.as_ref().is_some_and(|part| path.contains(part));
        if is_forbidden {
            return Err(BucketError::Fault);
        }
        Ok(())
    }

    pub(super) fn forbid(&self, part: Option<&str>) {
        *self.forbidden.lock() = part.map(str::to_owned);
    }

    pub(super) fn fail(&self, call: usize, lasting: usize) {
        self.calls.store(0, Ordering::SeqCst);
        self.fails.store(call, Ordering::SeqCst);
        self.lasting.store(lasting, Ordering::SeqCst);
        self.is_done.store(false, Ordering::SeqCst);
    }

    /// As [`Self::fail`], for ever; the first of these calls is done.
    pub(super) fn lose_answer(&self, call: usize) {
        self.fail(call, usize::MAX);
        self.is_done.store(true, Ordering::SeqCst);
    }

    /// Whether no call has failed yet.
    pub(super) fn is_well(&self) -> bool {
        self.calls.load(Ordering::SeqCst) < self.fails.load(Ordering::SeqCst)
    }

    /// Lets calls overtake each other, as this seed says.
    pub(super) fn shuffle(&self, seed: u64) {
        self.dice.store(seed, Ordering::SeqCst);
    }

    async fn wait(&self) {
        let dice = self.dice.load(Ordering::SeqCst);
        if dice == 0 {
            return;
        }
        // Knuth's, whose upper bits are good.
        let next = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.dice.store(next.max(1), Ordering::SeqCst);
        // Most are about as fast; one in 32 stands still while others do all that they have to do.
        let turns = match next >> 59 {
            0 => 400,
            fast => fast >> 2,
        };
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }
}

/// One MP3 frame of 417 bytes, which says its number.
pub(super) fn frame(number: u8) -> Vec<u8> {
    let mut frame = vec![0xFF, 0xFB, 0x90, 0x44];
    frame.resize(417, number);
    frame
}

/// A bucket in memory.
pub(super) fn memory() -> Bucket {
    Bucket::new(Arc::new(InMemory::new()), Duration::from_secs(5), metrics())
}

pub(super) fn metrics() -> RecordingMetrics {
    RecordingMetrics::register(Metrics::new().registry()).expect("metrics")
}

/// Nodes with one bucket.
pub(super) struct Nodes {
    pub(super) bucket: Bucket,
    pub(super) config: config::Recording,
    pub(super) told: Arc<Mutex<Vec<(String, Manifest)>>>,
}

pub(super) struct Node {
    pub(super) recorder: Recorder,
    pub(super) uploader: Arc<Uploader>,
    task: tokio::task::JoinHandle<()>,
    pub(super) spool: Arc<Spool>,
    pub(super) directory: Arc<tempfile::TempDir>,
}

impl Nodes {
    pub(super) fn new() -> Self {
        Self {
            bucket: memory(),
            config: config::Recording {
                max_requests: 2,
                ..config::Recording::default()
            },
            told: Arc::default(),
        }
    }

    /// A recorder whose tasks do not run.
    pub(super) fn recorder(&self) -> (Recorder, Recording) {
        let directory = tempfile::tempdir().expect("a directory");
        let bucket = self.bucket.clone();
        let opened = Recorder::new(&self.config, bucket, directory.path(), metrics());
        opened.expect("a recorder")
    }

    pub(super) fn start(&self) -> Node {
        self.start_in(Arc::new(tempfile::tempdir().expect("a directory")))
    }

    /// A process with the state directory of one before.
    pub(super) fn start_in(&self, directory: Arc<tempfile::TempDir>) -> Node {
        let opened = Recorder::new(
            &self.config,
            self.bucket.clone(),
            directory.path(),
            metrics(),
        );
        let (recorder, recording) = opened.expect("a recorder");
        let spool = recording.spool.clone();
        let uploader = Arc::new(Uploader {
            spool: spool.clone(),
            bucket: self.bucket.clone(),
            metrics: metrics(),
            titles: Box::new(|id| Box::pin(async move { Some(format!("About {id}")) })),
            ended: Arc::default(),
            open: Mutex::default(),
            join_within: upload::join_within(&self.config),
            is_away: AtomicBool::new(false),
            longest_wait: self.config.max_retry_wait,
            taken: AtomicU64::new(0),
            refusals: Mutex::default(),
        });
        let (one, other) = (uploader.clone(), uploader.clone());
        let writing = write(recording.items, spool.clone());
        let task = tokio::spawn(async move {
            tokio::join!(writing, one.run(), other.run());
        });
        Node {
            recorder,
            uploader,
            task,
            spool,
            directory,
        }
    }

    pub(super) fn finisher(&self) -> Finisher {
        let told = self.told.clone();
        Finisher {
            bucket: self.bucket.clone(),
            config: self.config.clone(),
            metrics: metrics(),
            ended: Arc::default(),
            is_on_air: Box::new(|_| false),
            ready: Box::new(move |id, manifest| {
                told.lock().push((id.to_string(), manifest.clone()));
            }),
            podcasts: None,
            later: Mutex::default(),
        }
    }

    pub(super) async fn round(&self, now: u64) {
        self.finisher().round(now).await.expect("a listing");
    }

    /// Every object with its bytes.
    pub(super) async fn objects(&self) -> Vec<(String, Bytes)> {
        let mut objects = Vec::new();
        for object in self.bucket.list("").await.expect("a listing") {
            let bytes = self.bucket.get(&object.name).await.expect("an answer");
            objects.push((object.name, bytes.expect("an object")));
        }
        objects
    }

    pub(super) async fn manifests(&self) -> Vec<Manifest> {
        let objects = self.objects().await;
        let manifests = objects
            .iter()
            .filter(|(name, _)| name.ends_with("manifest.json"));
        manifests
            .map(|(_, text)| serde_json::from_slice(text).expect("a manifest"))
            .collect()
    }

    /// The only recording.
    pub(super) async fn id(&self) -> RecordingId {
        let names = self
            .bucket
            .names(names::RECORDINGS)
            .await
            .expect("a listing");
        RecordingId::parse(&names[0]).expect("an id")
    }

    /// The sound of the only file.
    pub(super) async fn sound(&self) -> Vec<u8> {
        let objects = self.objects().await;
        let mut files = objects
            .iter()
            .filter(|(name, _)| name.ends_with("/recording.mp3"));
        let (_, file) = files.next().expect("a file");
        assert!(files.next().is_none(), "one file");
        media::read(file).expect("a good file").frames.concat()
    }
}

pub(super) fn show() -> LivestreamId {
    LivestreamId::new("show").expect("a good id")
}

impl Recorder {
    /// The livestream is over, and its latest clip is not known.
    pub(super) fn ended(&self, livestream: &LivestreamId, reason: &str, at: u64) {
        self.ended_after(livestream, None, reason, at);
    }
}

impl Node {
    pub(super) fn upload(&self, position: (u64, u64), sent_at: u64, id: Option<&str>) -> Recorded {
        self.upload_bytes(
            position,
            sent_at,
            id,
            frame(u8::try_from(position.1).expect("a small number")),
        )
    }

    pub(super) fn upload_bytes(
        &self,
        (epoch, sequence): (u64, u64),
        sent_at: u64,
        id: Option<&str>,
        bytes: Vec<u8>,
    ) -> Recorded {
        self.upload_to(&show(), (epoch, sequence), (sent_at, id), bytes)
    }

    pub(super) fn upload_to(
        &self,
        livestream: &LivestreamId,
        (epoch, sequence): (u64, u64),
        (sent_at, id): (u64, Option<&str>),
        bytes: Vec<u8>,
    ) -> Recorded {
        let position = Position::new(epoch, sequence);
        let clip = NewClip {
            bytes: bytes.into(),
            id: id.and_then(ClipId::new),
            sent_at,
            position: Some(position),
            place: None,
        };
        let clip = Clip::new(sequence, position, clip, std::time::Instant::now());
        self.recorder.clip(livestream, &UserId::new("ada"), &clip)
    }

    /// Until everything is in the bucket.
    pub(super) async fn is_brought(&self) {
        self.recorder.flush().wait().await;
        while !self.spool.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// As a crash does; what is acknowledged is on the disk.
    pub(super) async fn kill(self) -> Arc<tempfile::TempDir> {
        self.task.abort();
        self.task.await.expect_err("it is killed");
        self.directory
    }
}
