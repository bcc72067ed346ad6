//! Which livestreams exist, whose they are, and whether their streamer is connected: Firestore, or memory for the
//! demo.
//!
//! Reads ([`Directory::find`]) are cached for seconds where that is good enough. Writes
//! ([`Directory::set_streamer_connected`]) are intentions: nobody waits for them, the last one of a livestream wins,
//! and they are tried for as long as they stand.
//!
//! **Invariant**: a document that does not exist is never created, and no field but `streamerConnected` is written.

mod firestore;
mod intentions;
mod memory;
mod remembered;
mod writer;

use std::path::Path;
use std::time::Duration;

use crate::broadcast::{LivestreamId, UserId};
use crate::config;
use crate::google::Access;
use crate::metrics::Metrics;
use firestore::Firestore;
use memory::Memory;

pub use remembered::StateError;

/// What is known of a livestream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who may be its streamer; the empty id, which is nobody's, where the document names none.
    pub artist: UserId,
    /// Whether its streamer is connected, to this node or another.
    pub streamer_connected: bool,
}

/// How fresh an [`Entry`] must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Seconds old at most (`google.cache_ttl`).
    Cached,
    /// Read after the question was put.
    Fresh,
}

/// The directory cannot be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the directory of livestreams cannot be asked now")]
pub struct Unavailable;

/// The livestreams; cheap to clone.
#[derive(Clone)]
pub enum Directory {
    /// A list that was given.
    Memory(Memory),
    /// Firestore's collection `livestreams`.
    Firestore(Firestore),
}

impl Directory {
    /// A directory of `entries`, each a livestream and its artist.
    pub fn memory(entries: impl IntoIterator<Item = (LivestreamId, UserId)>) -> Self {
        Self::Memory(Memory::new(entries))
    }

    /// Firestore; what is set there is remembered in `state_directory` across a crash, if there is one.
    pub fn firestore(
        access: Access,
        config: &config::Google,
        state_directory: Option<&Path>,
        metrics: &Metrics,
    ) -> Result<Self, StateError> {
        Firestore::new(access, config, state_directory, metrics).map(Self::Firestore)
    }

    /// Whether [`Self::find`] would answer at once for [`Freshness::Cached`].
    pub fn is_cached(&self, id: &LivestreamId) -> bool {
        match self {
            Self::Memory(_) => true,
            Self::Firestore(firestore) => firestore.is_cached(id),
        }
    }

    /// Those of `ids`, few enough for one call, whose document is certainly not there.
    pub async fn missing(&self, ids: &[LivestreamId]) -> Result<Vec<LivestreamId>, Unavailable> {
        match self {
            Self::Memory(memory) => {
                let gone = ids.iter().filter(|id| memory.find(id).is_none());
                Ok(gone.cloned().collect())
            }
            Self::Firestore(firestore) => firestore.missing(ids).await,
        }
    }

    /// Ids for one call of [`Self::missing`].
    pub const MOST_AT_ONCE: usize = 100;

    /// The livestream `id`, or none if there is no such document.
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

    /// Intends that the document of `id` says `connected`. Returns at once; must be called on the runtime.
    pub fn set_streamer_connected(&self, id: &LivestreamId, connected: bool) {
        match self {
            Self::Memory(memory) => memory.set(id, connected),
            Self::Firestore(firestore) => firestore.writer().intend(id, connected),
        }
    }

    /// Makes a livestream of `artist` in a directory in memory, unless it is there. False if there is no more room,
    /// or if it is not for us to make one.
    pub fn create(&self, id: &LivestreamId, artist: &UserId) -> bool {
        match self {
            Self::Memory(memory) => memory.create(id, artist),
            Self::Firestore(_) => false,
        }
    }

    /// Livestreams that a run of this node that crashed may have left with `streamerConnected` set.
    pub fn left_behind(&self) -> Vec<LivestreamId> {
        match self {
            Self::Memory(_) => Vec::new(),
            Self::Firestore(firestore) => firestore.writer().left_behind(),
        }
    }

    /// Clears what an earlier run had set, unless it is intended anew meanwhile.
    pub fn clear(&self, id: &LivestreamId) {
        if let Self::Firestore(firestore) = self {
            firestore.writer().clear(id);
        }
    }

    /// Waits until every intention is written, at most for `timeout`; says how many are not.
    pub async fn settle(&self, timeout: Duration) -> usize {
        match self {
            Self::Memory(_) => 0,
            Self::Firestore(firestore) => firestore.writer().settle(timeout).await,
        }
    }

    /// How many livestreams have an intention that is not written yet.
    pub fn pending(&self) -> usize {
        match self {
            Self::Memory(_) => 0,
            Self::Firestore(firestore) => firestore.writer().pending(),
        }
    }
}
