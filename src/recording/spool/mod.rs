//! What waits for the bucket: a file of the state directory for each clip and each mark, one lane for each livestream.
//!
//! A file is a line of JSON, then the clip's bytes. Files are numbered in the order of their writing.
//!
//! **Invariant**: what was written is there until [`Spool::done`], also after a crash. A lane gives its entries one after
//! the other, and rests after one that the bucket did not take. Clips take at most `recording.spool_bytes`; one that does not
//! fit becomes a mark that says so. There is a most of entries of all kinds.

mod entry;
pub(super) mod fill;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::future::pending;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::metrics::RecordingMetrics;
use crate::files;

pub(super) use self::entry::{Entry, What};

/// What an entry without a clip counts for, in bytes.
const ENTRY: u64 = 512;
/// The longest line of JSON: ids are bounded.
const MAX_HEAD: u64 = 64 << 10;
/// The most entries: two weeks of clips of one livestream, and about a hundred megabytes of memory.
const MAX_ENTRIES: usize = 262_144;

/// See the module documentation.
pub(super) struct Spool {
    directory: PathBuf,
    limit: u64,
    most: usize,
    // Locked for one look or change; never while a file is written or read.
    state: Mutex<State>,
    /// A lane has an entry that nobody works on.
    work: Notify,
    pub(super) fill: fill::Watch,
    metrics: RecordingMetrics,
}

#[derive(Default)]
struct State {
    next: u64,
    entries: usize,
    bytes: u64,
    /// By livestream; a lane that is there has entries.
    lanes: BTreeMap<String, Lane>,
    /// The lanes to be worked on, in their order.
    ready: VecDeque<String>,
    /// The lanes that rest, and until when.
    resting: BTreeSet<(Instant, String)>,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
}

#[derive(Clone)]
pub(super) struct Waiting {
    number: u64,
    bytes: u64,
    pub(super) entry: Arc<Entry>,
}

impl State {
    fn push(&mut self, waiting: Waiting) {
        self.entries += 1;
        self.bytes += waiting.bytes;
        let livestream = &waiting.entry.livestream;
        if !self.lanes.contains_key(livestream) {
            self.ready.push_back(livestream.clone());
        }
        self.lanes
            .entry(livestream.clone())
            .or_default()
            .waiting
            .push_back(waiting);
    }
}

impl Spool {
    /// With the entries that a process before left in this directory. A file that cannot be read is left alone.
    pub(super) fn open(
        directory: PathBuf,
        limit: u64,
        metrics: RecordingMetrics,
    ) -> io::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        let mut state = State::default();
        let mut unreadable = 0;
        for (number, path) in numbered(&directory)? {
            state.next = number + 1;
            match read_head(&path) {
                Ok((entry, bytes)) => state.push(Waiting {
                    number,
                    bytes: bytes + ENTRY,
                    entry: Arc::new(entry),
                }),
                Err(_) => unreadable += 1,
            }
        }
        if unreadable > 0 {
            tracing::warn!(
                unreadable,
                "files of clips in {} cannot be read; they are not recorded",
                directory.display()
            );
        }
        let spool = Self {
            directory,
            limit,
            most: MAX_ENTRIES,
            state: Mutex::new(state),
            work: Notify::new(),
            fill: fill::Watch::default(),
            metrics,
        };
        spool.count();
        spool.work.notify_one();
        Ok(spool)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:016}.clip"))
    }

    /// Writes an entry; when it returns, it is on the disk. Blocks.
    pub(super) fn write(&self, entry: Entry, clip: Option<&Bytes>) {
        let (number, has_room) = {
            let mut state = self.state.lock();
            if state.entries >= self.most {
                drop(state);
                return self.forget(entry);
            }
            state.next += 1;
            let clip_bytes = clip.map_or(0, |clip| clip.len() as u64);
            (
                state.next - 1,
                clip_bytes == 0 || state.bytes + clip_bytes <= self.limit,
            )
        };
        let mut entry = entry;
        let mut clip = clip;
        if !has_room {
            (entry, clip) = (self.give_up(entry, "spool_full"), None);
        }
        let body: &[u8] = clip.map_or(&[], |clip| clip);
        entry = entry.with_digest(body);
        // Texts and numbers: this cannot fail.
        let mut head = serde_json::to_vec(&entry).unwrap_or_default();
        head.push(b'\n');
        if let Err(error) = files::replace_by_parts(&self.path(number), [&head[..], body]) {
            self.metrics.errors.with_label_values(&["disk"]).inc();
            tracing::error!(
                livestream.id = entry.livestream,
                "a clip cannot be written for its recording: {error}; see to the state directory"
            );
            // What is left of it is kept in memory.
            (entry, clip) = (self.give_up(entry, "disk"), None);
        }
        self.push(number, entry, clip.map_or(0, |clip| clip.len() as u64));
    }

    fn give_up(&self, entry: Entry, reason: &str) -> Entry {
        if matches!(entry.what, What::Clip { .. }) {
            self.metrics.lost.with_label_values(&[reason]).inc();
        }
        entry.given_up(reason)
    }

    /// There is no room for any entry. The recording finds that a clip's number is missing.
    fn forget(&self, entry: Entry) {
        let livestream = entry.livestream.clone();
        self.give_up(entry, "spool_full");
        tracing::error!(
            livestream.id = livestream,
            "a recording is told of nothing more: {} clips and events wait for the bucket",
            self.most
        );
    }

    fn push(&self, number: u64, entry: Entry, bytes: u64) {
        self.state.lock().push(Waiting {
            number,
            bytes: bytes + ENTRY,
            entry: Arc::new(entry),
        });
        self.count();
        self.work.notify_one();
    }

    /// The first entry of a lane that nobody works on and that does not rest. It must be given back by [`Self::done`] or
    /// [`Self::later`].
    pub(super) async fn next(&self) -> Waiting {
        loop {
            if let Some(waiting) = self.take() {
                return waiting;
            }
            let rest = self.state.lock().resting.first().map(|(until, _)| *until);
            let rested = async {
                match rest {
                    Some(until) => sleep_until(until).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.work.notified() => {}
                () = rested => {}
            }
        }
    }

    /// Gives back an entry that the bucket did not take: its lane rests for this time.
    pub(super) fn later(&self, waiting: &Waiting, rest: Duration) {
        let livestream = waiting.entry.livestream.clone();
        let until = Instant::now() + rest;
        self.state.lock().resting.insert((until, livestream));
        self.work.notify_one();
    }

    fn take(&self) -> Option<Waiting> {
        let mut state = self.state.lock();
        let now = Instant::now();
        while state
            .resting
            .first()
            .is_some_and(|(until, _)| *until <= now)
        {
            let rested = state.resting.pop_first().map(|(_, lane)| lane);
            state.ready.extend(rested);
        }
        let livestream = state.ready.pop_front()?;
        if !state.ready.is_empty() {
            // For the next worker.
            self.work.notify_one();
        }
        state.lanes.get(&livestream)?.waiting.front().cloned()
    }

    /// The bytes of an entry's clip. Blocks.
    pub(super) fn clip(&self, waiting: &Waiting) -> io::Result<Bytes> {
        read(&self.path(waiting.number)).map(|(_, clip)| clip)
    }

    /// Forgets an entry that is in the bucket, or never will be. Blocks.
    pub(super) fn done(&self, waiting: &Waiting) {
        match std::fs::remove_file(self.path(waiting.number)) {
            Ok(()) => {}
            // It was never written.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(
                    "a clip in the state directory cannot be removed, and is brought to the bucket again: {error}"
                );
            }
        }
        let mut state = self.state.lock();
        let livestream = &waiting.entry.livestream;
        let Some(lane) = state.lanes.get_mut(livestream) else {
            return;
        };
        lane.waiting.pop_front();
        if lane.waiting.is_empty() {
            state.lanes.remove(livestream);
        } else {
            state.ready.push_back(livestream.clone());
        }
        state.entries -= 1;
        state.bytes -= waiting.bytes;
        drop(state);
        self.count();
        self.work.notify_one();
    }

    /// Whether nothing waits.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().lanes.is_empty()
    }

    fn count(&self) {
        let state = self.state.lock();
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.waiting.set(number(state.entries as u64));
        self.metrics.waiting_bytes.set(number(state.bytes));
        self.fill.update(state.bytes, self.limit, state.entries);
    }
}

/// The files of entries, by their numbers.
fn numbered(directory: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut found = BTreeMap::new();
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_suffix(".clip")?.parse().ok());
        if let Some(number) = number {
            found.insert(number, path);
        }
    }
    Ok(found)
}

/// The entry, and the bytes of its clip.
fn read_head(path: &Path) -> io::Result<(Entry, u64)> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut head = Vec::new();
    BufReader::new(file.take(MAX_HEAD)).read_until(b'\n', &mut head)?;
    let entry = serde_json::from_slice(&head)?;
    Ok((entry, length.saturating_sub(head.len() as u64)))
}

fn read(path: &Path) -> io::Result<(Entry, Bytes)> {
    let bytes = Bytes::from(std::fs::read(path)?);
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or(io::ErrorKind::InvalidData)?;
    let entry = serde_json::from_slice(&bytes[..end])
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((entry, bytes.slice(end + 1..)))
}

#[cfg(test)]
mod tests;
