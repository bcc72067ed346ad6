//! What a recording costs in memory: of a livestream of ten hours as much as of one of an hour, but for a few words about each
//! clip.
//! The allocator counts for the whole process, so this is a program of its own with one test.

use std::alloc::System;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use castaway_media_server::broadcast::{Clip, LivestreamId, NewClip, Position, UserId};
use castaway_media_server::config::Config;
use castaway_media_server::metrics::Metrics;
use castaway_media_server::recording::{Daemon, Recorder};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Clips of an hour and of ten, one every five seconds.
const HOUR: u64 = 720;
const TEN_HOURS: u64 = 7200;
/// MP3 frames of a clip, of 417 bytes each: a fifth of a real clip, so that the test takes seconds.
const FRAMES: u64 = 30;
/// Bytes of heap after a livestream in all, and of a clip at the highest point while that is finished: much less than the clip.
const LEFT: f64 = 300_000.0;
const CLIP: f64 = 2000.0;

/// Bytes that are allocated now.
fn heap() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn bytes(count: usize) -> f64 {
    count as f64
}

/// The highest point of the heap, as a thread of its own sees it.
struct Peak {
    highest: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Peak {
    fn watch() -> Self {
        let (highest, stop) = (Arc::new(AtomicUsize::new(0)), Arc::<AtomicBool>::default());
        let (seen, stopped) = (highest.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                seen.fetch_max(heap(), Ordering::SeqCst);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        Self { highest, stop }
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.highest.load(Ordering::SeqCst)
    }
}

/// A directory in memory, if there is one: each clip is synced to its disk several times.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a directory")
}

fn count(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

struct Node {
    recorder: Recorder,
    state: TempDir,
    bucket: TempDir,
    ready: mpsc::UnboundedReceiver<PathBuf>,
    now: u64,
}

impl Node {
    fn start() -> Self {
        let (state, bucket) = (directory(), directory());
        let mut config = Config::default();
        config.recording.url = Some(format!("file://{}", bucket.path().display()));
        let opened = Recorder::open(&config, Some(state.path()), &Metrics::new());
        let (recorder, recording) = opened.expect("a bucket").expect("a url");
        let (tell, ready) = mpsc::unbounded_channel();
        let daemon = Daemon {
            titles: Box::new(|_| Box::pin(async { None })),
            is_on_air: Box::new(|_| false),
            ready: Box::new(move |id, manifest| {
                assert!(manifest.missing.is_empty() && manifest.left_out.is_empty());
                tell.send(PathBuf::from(id.directory())).expect("a test");
            }),
            register: Box::new(|_| Box::pin(async { Ok(()) })),
            registered: Box::new(|_, _, _| {}),
            filled: Box::new(|_| {}),
        };
        tokio::spawn(recording.run(daemon));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.expect("a time after 1970").as_millis();
        Self {
            recorder,
            state,
            bucket,
            ready,
            now: u64::try_from(now).expect("a time"),
        }
    }

    async fn is_brought(&self) {
        let spool = self.state.path().join("recording");
        while count(&spool) > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Records a livestream; returns the bytes that are left of it before its end, and those at the highest point while it is
    /// finished.
    async fn record(&mut self, name: &str, clips: u64) -> (f64, f64) {
        let id = LivestreamId::new(name).expect("an id");
        let before = heap();
        for sequence in 1..=clips {
            let frame = |_| [[0xFF, 0xFB, 0x90, 0x44].as_slice(), &[7; 413]].concat();
            let bytes: Vec<u8> = (0..FRAMES).flat_map(frame).collect();
            let position = Position::new(1, sequence);
            let clip = NewClip {
                sent_at: self.now - (clips - sequence) * 5000,
                position: Some(position),
                ..NewClip::from(bytes::Bytes::from(bytes))
            };
            let clip = Clip::new(sequence, position, clip, Instant::now());
            self.recorder
                .clip(&id, &UserId::new("ada"), &clip)
                .wait()
                .await;
        }
        self.is_brought().await;
        let brought = heap();
        let left = bytes(brought) - bytes(before);
        let peak = Peak::watch();
        let latest = Some(Position::new(1, clips));
        self.recorder.ended_after(&id, latest, "ended", self.now);
        let ready = timeout(Duration::from_mins(5), self.ready.recv()).await;
        let highest = peak.end();
        let directory = self
            .bucket
            .path()
            .join(ready.expect("a recording").expect("one"));
        let file = std::fs::metadata(directory.join("recording.mp3")).expect("a file");
        assert!(file.len() > clips * FRAMES * 417, "it has all sound");
        (left, bytes(highest) - bytes(brought))
    }
}

#[tokio::test]
async fn long_livestream_is_recorded_in_flat_memory() {
    let mut node = Node::start();
    // What is made once.
    node.record("first", 20).await;
    let (short_left, short) = node.record("short", HOUR).await;
    let (long_left, long) = node.record("long", TEN_HOURS).await;
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let clip = (long - short) / (TEN_HOURS - HOUR) as f64;
    println!(
        "bytes of heap of a livestream of an hour, and of ten: {short_left:.0} and {long_left:.0} once its clips are in the \
         bucket, {short:.0} and {long:.0} at most while it is finished: {clip:.0} a clip"
    );
    assert!(short_left <= LEFT, "{short_left} bytes after an hour");
    assert!(long_left <= LEFT, "{long_left} bytes after ten hours");
    assert!(clip <= CLIP, "{clip} bytes of a clip while it is finished");
}
