//! What this node has set, in a small file, so that the start after a crash can clear it.
//!
//! The file holds the ids of the livestreams whose `streamerConnected` this node may have set, or of whose writes one
//! may land yet, as JSON. It is replaced as a whole (write, sync, rename), before the write that it is about.
//!
//! **Invariant**: when a write is sent to Firestore, its livestream is in the file on disk.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::broadcast::LivestreamId;

const FILE: &str = "streamer-connected.json";

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the state file {path} cannot be used: {source}; make the state directory writable for this user"
)]
pub struct StateError {
    path: PathBuf,
    source: std::io::Error,
}

/// What was set; cheap to clone.
#[derive(Clone)]
pub(super) struct Remembered {
    inner: Arc<Inner>,
}

struct Inner {
    /// None: nothing is kept across a crash.
    path: Option<PathBuf>,
    project: String,
    /// A lock, never held across an await or a write.
    set: Mutex<Set>,
    /// The generation that is on disk; held while the file is written, so that writers queue and share a write.
    on_disk: tokio::sync::Mutex<u64>,
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
    /// Reads what is remembered in `directory`; without one nothing is.
    pub(super) fn open(directory: Option<&Path>, project: &str) -> Result<Self, StateError> {
        let path = directory.map(|directory| directory.join(FILE));
        let mut ids = BTreeSet::new();
        if let Some(path) = &path {
            ids = read(path, project)?;
            // Written at once, so that a directory that cannot be written is found at start.
            write(path, project, &ids).map_err(|source| StateError {
                path: path.clone(),
                source,
            })?;
        } else {
            tracing::info!("no state directory: after a crash `streamerConnected` stays as it was");
        }
        Ok(Self {
            inner: Arc::new(Inner {
                path,
                project: project.to_owned(),
                set: Mutex::new(Set { ids, generation: 0 }),
                on_disk: tokio::sync::Mutex::new(0),
            }),
        })
    }

    /// All that is remembered.
    pub(super) fn all(&self) -> Vec<LivestreamId> {
        self.lock().ids.iter().cloned().collect()
    }

    /// Remembers `id`; when this returns well, it is on disk.
    pub(super) async fn add(&self, id: &LivestreamId) -> std::io::Result<()> {
        let generation = {
            let mut set = self.lock();
            if set.ids.insert(id.clone()) {
                set.generation += 1;
            }
            set.generation
        };
        self.save(generation).await
    }

    /// Forgets `id`.
    pub(super) async fn remove(&self, id: &LivestreamId) -> std::io::Result<()> {
        let generation = {
            let mut set = self.lock();
            if !set.ids.remove(id) {
                return Ok(());
            }
            set.generation += 1;
            set.generation
        };
        self.save(generation).await
    }

    /// Waits until `generation` is on disk. One write serves all who wait for it.
    async fn save(&self, generation: u64) -> std::io::Result<()> {
        let Some(path) = &self.inner.path else {
            return Ok(());
        };
        let mut on_disk = self.inner.on_disk.lock().await;
        if *on_disk >= generation {
            return Ok(());
        }
        let (ids, current) = {
            let set = self.lock();
            (set.ids.clone(), set.generation)
        };
        let (path, project) = (path.clone(), self.inner.project.clone());
        tokio::task::spawn_blocking(move || write(&path, &project, &ids))
            .await
            .map_err(std::io::Error::other)??;
        *on_disk = current;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Set> {
        self.inner
            .set
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path, project: &str) -> Result<BTreeSet<LivestreamId>, StateError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(source) => {
            return Err(StateError {
                path: path.to_owned(),
                source,
            });
        }
    };
    let Ok(content) = serde_json::from_slice::<Content>(&bytes) else {
        // Not a reason to stay down; what it said is lost.
        tracing::error!(path = %path.display(), "the state file cannot be read and is begun anew: `streamerConnected` may be stale");
        return Ok(BTreeSet::new());
    };
    if content.project != project {
        tracing::warn!(path = %path.display(), "the state file is another project's and is begun anew");
        return Ok(BTreeSet::new());
    }
    let ids = content.livestreams.iter();
    Ok(ids.filter_map(|id| LivestreamId::new(id)).collect())
}

fn write(path: &Path, project: &str, ids: &BTreeSet<LivestreamId>) -> std::io::Result<()> {
    let content = Content {
        project: project.to_owned(),
        livestreams: ids.iter().map(|id| id.as_str().to_owned()).collect(),
    };
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    serde_json::to_writer(&mut file, &content)?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The rename itself must survive a power cut too.
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> LivestreamId {
        LivestreamId::new(text).expect("an id")
    }

    #[tokio::test]
    async fn what_was_set_is_known_after_a_crash() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || Remembered::open(Some(directory.path()), "project").expect("a state file");
        let first = open();
        first.add(&id("a")).await.expect("saved");
        first
            .add(&id("b/ü\"".replace('/', "-").as_str()))
            .await
            .expect("saved");
        first.add(&id("c")).await.expect("saved");
        first.remove(&id("a")).await.expect("saved");
        drop(first);
        assert_eq!(open().all(), [id("b-ü\""), id("c")]);
    }

    #[tokio::test]
    async fn many_at_once_are_all_saved() {
        let directory = tempfile::tempdir().expect("a directory");
        let set = Remembered::open(Some(directory.path()), "project").expect("a state file");
        let ids: Vec<LivestreamId> = (0..200).map(|n| id(&format!("{n:03}"))).collect();
        let saved = futures_util::future::join_all(ids.iter().map(|it| set.add(it))).await;
        assert!(saved.into_iter().all(|it| it.is_ok()));
        let again = Remembered::open(Some(directory.path()), "project").expect("a state file");
        assert_eq!(again.all(), ids);
    }

    #[test]
    fn a_damaged_file_and_another_projects_are_begun_anew() {
        let directory = tempfile::tempdir().expect("a directory");
        for content in ["", "{", r#"{"project":"other","livestreams":["a"]}"#] {
            std::fs::write(directory.path().join(FILE), content).expect("written");
            let set = Remembered::open(Some(directory.path()), "project").expect("a state file");
            assert!(set.all().is_empty(), "{content:?}");
        }
    }

    #[test]
    fn a_directory_that_is_none_is_named_at_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let missing = directory.path().join("missing");
        let Err(error) = Remembered::open(Some(&missing), "project") else {
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
