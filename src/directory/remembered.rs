//! The state file: the livestreams whose flag this node has set, for the start after a crash.
//!
//! The file lists, as JSON, the ids of the livestreams whose `streamerConnected` this node may have set, or whose write
//! may still take effect. It is replaced as a whole (write, sync, rename), before the write to Firestore.
//!
//! A full disk, even at start, costs only this memory: the fault is counted, and logged at most once a minute.
//!
//! **Invariant**: when a write is sent to Firestore, its livestream is in the file on disk, unless the disk failed.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use prometheus::IntCounter;
use serde::{Deserialize, Serialize};

use crate::broadcast::LivestreamId;
use crate::files;
use crate::google::Complaint;

const FILE: &str = "streamer-connected.json";

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the state file {path} cannot be used: {source}; make the state directory writable for this user"
)]
pub struct StateError {
    path: PathBuf,
    source: io::Error,
}

/// The livestreams in the state file; cheap to clone.
#[derive(Clone)]
pub(super) struct Remembered {
    inner: Arc<Inner>,
}

struct Inner {
    /// None: no state survives a crash.
    path: Option<PathBuf>,
    project: String,
    /// A lock, never held across an await or a write.
    set: Mutex<Set>,
    /// The generation on disk; locked while the file is written, so that writers queue and share a write.
    on_disk: tokio::sync::Mutex<u64>,
    failures: IntCounter,
    complaint: Complaint,
}

#[derive(Default)]
struct Set {
    ids: BTreeSet<LivestreamId>,
    generation: u64,
}

#[derive(Serialize, Deserialize)]
struct Content {
    project: String,
    livestreams: Vec<String>,
}

impl Remembered {
    /// Reads the state file in `directory`, if there is one.
    pub(super) fn open(
        directory: Option<&Path>,
        project: &str,
        failures: IntCounter,
    ) -> Result<Self, StateError> {
        let path = directory.map(|directory| directory.join(FILE));
        let this = Self {
            inner: Arc::new(Inner {
                path,
                project: project.to_owned(),
                set: Mutex::default(),
                on_disk: tokio::sync::Mutex::new(0),
                failures,
                complaint: Complaint::default(),
            }),
        };
        let Some(path) = &this.inner.path else {
            tracing::info!("no state directory: after a crash `streamerConnected` stays as it was");
            return Ok(this);
        };
        let known = this.excuse(read(path, project), path)?.unwrap_or_default();
        // Written at once, so that an unwritable directory is detected at start.
        this.excuse(write(path, project, &known), path)?;
        this.lock().ids = known;
        Ok(this)
    }

    /// Ignores a fault of the disk. The operator must mend a fault of the directory before the start.
    fn excuse<T>(&self, result: io::Result<T>, path: &Path) -> Result<Option<T>, StateError> {
        use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
        match result {
            Ok(value) => Ok(Some(value)),
            Err(source)
                if matches!(
                    source.kind(),
                    NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem
                ) =>
            {
                Err(StateError {
                    path: path.to_owned(),
                    source,
                })
            }
            Err(error) => {
                self.complain(path, &error);
                Ok(None)
            }
        }
    }

    fn complain(&self, path: &Path, error: &io::Error) {
        self.inner.failures.inc();
        if self.inner.complaint.is_due() {
            tracing::error!(
                path = %path.display(),
                %error,
                "the state file cannot be used, the daemon goes on: a crash would leave `streamerConnected` set; make \
                 room in the state directory"
            );
        }
    }

    /// Every livestream in the state file.
    pub(super) fn all(&self) -> Vec<LivestreamId> {
        self.lock().ids.iter().cloned().collect()
    }

    /// Adds `id`; returns when it is on disk, unless the disk failed.
    pub(super) async fn add(&self, id: &LivestreamId) {
        let generation = {
            let mut set = self.lock();
            if set.ids.insert(id.clone()) {
                set.generation += 1;
            }
            set.generation
        };
        self.save(generation).await;
    }

    /// Removes `id`.
    pub(super) async fn remove(&self, id: &LivestreamId) {
        let generation = {
            let mut set = self.lock();
            if !set.ids.remove(id) {
                return;
            }
            set.generation += 1;
            set.generation
        };
        self.save(generation).await;
    }

    /// Waits until `generation` is on disk. One write serves all waiting calls.
    async fn save(&self, generation: u64) {
        let Some(path) = &self.inner.path else {
            return;
        };
        let mut on_disk = self.inner.on_disk.lock().await;
        if *on_disk >= generation {
            return;
        }
        let (ids, current) = {
            let set = self.lock();
            (set.ids.clone(), set.generation)
        };
        let (file, project) = (path.clone(), self.inner.project.clone());
        let written = tokio::task::spawn_blocking(move || write(&file, &project, &ids)).await;
        match written.map_err(io::Error::other).flatten() {
            Ok(()) => *on_disk = current,
            Err(error) => self.complain(path, &error),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Set> {
        self.inner.set.lock()
    }
}

fn read(path: &Path, project: &str) -> io::Result<BTreeSet<LivestreamId>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    let Ok(content) = serde_json::from_slice::<Content>(&bytes) else {
        // The server starts anyway; the content is lost.
        tracing::error!(
            path = %path.display(),
            "the state file cannot be read and is replaced: `streamerConnected` may be stale"
        );
        return Ok(BTreeSet::new());
    };
    if content.project != project {
        tracing::warn!(path = %path.display(), "the state file belongs to another project and is replaced");
        return Ok(BTreeSet::new());
    }
    let ids = content.livestreams.iter();
    Ok(ids.filter_map(|id| LivestreamId::new(id)).collect())
}

fn write(path: &Path, project: &str, ids: &BTreeSet<LivestreamId>) -> io::Result<()> {
    let content = Content {
        project: project.to_owned(),
        livestreams: ids.iter().map(|id| id.as_str().to_owned()).collect(),
    };
    let mut text = serde_json::to_vec(&content)?;
    text.push(b'\n');
    files::replace(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> LivestreamId {
        LivestreamId::new(text).expect("an id")
    }

    fn open(directory: &Path) -> Result<Remembered, StateError> {
        let failures = IntCounter::new("failures", "of the disk").expect("a counter");
        Remembered::open(Some(directory), "project", failures)
    }

    #[tokio::test]
    async fn full_disk_does_not_prevent_the_start() {
        let set = open(tempfile::tempdir().expect("a directory").path()).expect("a state file");
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let path = Path::new("state");
        assert!(matches!(set.excuse::<()>(Err(full()), path), Ok(None)));
        let quota = io::Error::from(io::ErrorKind::QuotaExceeded);
        assert!(matches!(set.excuse::<()>(Err(quota), path), Ok(None)));
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(set.excuse::<()>(Err(denied), path).is_err());
        assert_eq!(set.inner.failures.get(), 2);
    }

    #[tokio::test]
    async fn set_livestreams_are_known_after_a_crash() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || open(directory.path()).expect("a state file");
        let first = open();
        first.add(&id("a")).await;
        first.add(&id("b-ü\"")).await;
        first.add(&id("c")).await;
        first.remove(&id("a")).await;
        drop(first);
        assert_eq!(open().all(), [id("b-ü\""), id("c")]);
    }

    #[tokio::test]
    async fn concurrent_additions_are_all_saved() {
        let directory = tempfile::tempdir().expect("a directory");
        let set = open(directory.path()).expect("a state file");
        let ids: Vec<LivestreamId> = (0..200).map(|n| id(&format!("{n:03}"))).collect();
        futures_util::future::join_all(ids.iter().map(|it| set.add(it))).await;
        assert_eq!(set.inner.failures.get(), 0);
        let again = open(directory.path()).expect("a state file");
        assert_eq!(again.all(), ids);
    }

    #[test]
    fn damaged_or_foreign_file_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        for content in ["", "{", r#"{"project":"other","livestreams":["a"]}"#] {
            std::fs::write(directory.path().join(FILE), content).expect("written");
            let set = open(directory.path()).expect("a state file");
            assert!(set.all().is_empty(), "{content:?}");
        }
    }

    #[test]
    fn missing_directory_is_reported_at_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let missing = directory.path().join("missing");
        let Err(error) = open(&missing) else {
            panic!("a missing directory was taken");
        };
        assert!(
            error
                .to_string()
                .contains("missing/streamer-connected.json"),
            "{error}"
        );
    }
}
