//! The directory of livestreams: their artists, and whether their streamers are connected. It is Firestore, or memory
//! for the demo.
//!
//! Reads ([`Directory::find`]) use a short-lived cache where that suffices. Writes
//! ([`Directory::set_streamer_connected`]) are intentions: no caller waits for them, the last one of a livestream wins,
//! and each is tried until it is written or replaced.
//!
//! **Invariant**: the document of a livestream is never created, and no field of it but `streamerConnected` is written.
//! Another document is only ever created, and only by [`Directory::create_upload`].

mod about;
mod documents;
mod firestore;
mod gather;
mod intentions;
mod memory;
mod remembered;
mod uploads;
mod writer;

use std::path::Path;
use std::time::Duration;

use crate::broadcast::{LivestreamId, UserId};
use crate::config;
use crate::google::{Access, Failure};
use crate::metrics::Metrics;
use firestore::Firestore;
use memory::Memory;

pub use about::{About, Cover};
pub use remembered::StateError;
pub use uploads::Upload;

/// The content of a livestream's document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The user who may stream it; the empty id, which no user has, if the document names none.
    pub artist: UserId,
    /// Whether its streamer is connected, to any node.
    pub streamer_connected: bool,
    /// Whether it asks to be recorded: `record`.
    pub record: bool,
}

/// The required freshness of an [`Entry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Seconds old at most (`google.cache_ttl`).
    Cached,
    /// Read after the request.
    Fresh,
}

/// The directory is not available now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the directory of livestreams cannot be asked now")]
pub struct Unavailable;

/// The livestreams; cheap to clone.
#[derive(Clone)]
pub enum Directory {
    /// A list in memory.
    Memory(Memory),
    /// Firestore's collection `livestreams`.
    Firestore(Firestore),
}

impl Directory {
    /// A directory in memory: `entries` are livestreams and their artists.
    pub fn memory(entries: impl IntoIterator<Item = (LivestreamId, UserId)>) -> Self {
        Self::Memory(Memory::new(entries))
    }

    /// Firestore. The state file in `state_directory`, if any, lists the set flags across a crash.
    pub fn firestore(
        access: Access,
        config: &config::Google,
        state_directory: Option<&Path>,
        metrics: &Metrics,
    ) -> Result<Self, StateError> {
        Firestore::new(access, config, state_directory, metrics).map(Self::Firestore)
    }

    /// Whether [`Self::find`] answers at once for [`Freshness::Cached`].
    pub fn is_cached(&self, id: &LivestreamId) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Firestore(firestore) => firestore.is_cached(id),
        }
    }

    /// The subset of `ids` whose document certainly does not exist; at most [`Self::MOST_AT_ONCE`] ids.
    pub async fn missing(&self, ids: &[LivestreamId]) -> Result<Vec<LivestreamId>, Unavailable> {
        match self {
            Self::Memory(memory) => {
                let gone = ids.iter().filter(|id| memory.find(id).is_none());
                Ok(gone.cloned().collect())
            }
            Self::Firestore(firestore) => firestore.missing(ids).await,
        }
    }

    /// The most documents in one call to Firestore.
    pub const MOST_AT_ONCE: usize = 100;

    /// The livestream `id`; none if its document does not exist.
    pub async fn find(
        &self,
        id: &LivestreamId,
        freshness: Freshness,
    ) -> Result<Option<Entry>, Unavailable> {
        match self {
            Self::Memory(memory) => Ok(memory.find(id)),
            Self::Firestore(firestore) => firestore.find(id, freshness).await,
        }
    }

    /// What the document of `id` says of it to people, read now; none if it does not exist.
    pub async fn about(&self, id: &LivestreamId) -> Result<Option<About>, Unavailable> {
        match self {
            Self::Memory(memory) => Ok(memory.about(id)),
            Self::Firestore(firestore) => firestore.about(id).await,
        }
    }

    /// Whether the flag of `id` is set, read now; false without a document. No client may wait for this.
    pub async fn is_connected(&self, id: &LivestreamId) -> Result<bool, Unavailable> {
        let entry = match self {
            Self::Memory(memory) => memory.find(id),
            Self::Firestore(firestore) => firestore.read(id).await?,
        };
        Ok(entry.is_some_and(|it| it.streamer_connected))
    }

    /// Intends to set the flag of `id` to `connected`. Returns at once; must be called on the runtime.
    pub fn set_streamer_connected(&self, id: &LivestreamId, connected: bool) {
        match self {
            Self::Memory(memory) => memory.set(id, connected),
            Self::Firestore(firestore) => firestore.writer().intend(id, connected),
        }
    }

    /// Creates a livestream of `artist` in a directory in memory, unless it exists. False if the directory is full, or
    /// if it is Firestore.
    pub fn create(&self, id: &LivestreamId, artist: &UserId, about: About) -> bool {
        match self {
            Self::Memory(memory) => memory.create(id, artist, about),
            Self::Firestore(_) => false,
        }
    }

    /// Registers an uploaded file of a user in Firestore; one that is registered stays as it is. In memory nothing happens.
    pub async fn create_upload(&self, upload: &Upload) -> Result<(), Failure> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Firestore(firestore) => firestore.create_upload(upload).await,
        }
    }

    /// The livestreams that a crashed run of this node may have left with `streamerConnected` set.
    pub fn left_behind(&self) -> Vec<LivestreamId> {
        match self {
            Self::Memory(_) => Vec::new(),
            Self::Firestore(firestore) => firestore.writer().left_behind(),
        }
    }

    /// Clears the flags that an earlier run had set, unless a new value is intended meanwhile.
    pub fn clear(&self, id: &LivestreamId) {
        if let Self::Firestore(firestore) = self {
            firestore.writer().clear(id);
        }
    }

    /// Waits for all intentions, at most for `timeout`; returns the number of unwritten ones.
    pub async fn settle(&self, timeout: Duration) -> usize {
        match self {
            Self::Memory(_) => 0,
            Self::Firestore(firestore) => firestore.writer().settle(timeout).await,
        }
    }

    /// The number of livestreams with an unwritten intention.
    pub fn pending(&self) -> usize {
        match self {
            Self::Memory(_) => 0,
            Self::Firestore(firestore) => firestore.writer().pending(),
        }
    }
}
