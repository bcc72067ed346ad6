//! A directory in memory, for the demo and for tests of other modules.
//!
//! **Invariant**: it contains the initial livestreams and those created since, at most [`MOST`].

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::Entry;
use crate::broadcast::{LivestreamId, UserId};

/// The most livestreams.
const MOST: usize = 10_000;

/// The livestreams; cheap to clone.
#[derive(Clone)]
pub struct Memory {
    /// A lock, never held across an await.
    entries: Arc<Mutex<HashMap<LivestreamId, Entry>>>,
}

impl Memory {
    pub(super) fn new(entries: impl IntoIterator<Item = (LivestreamId, UserId)>) -> Self {
        let entry = |artist| Entry {
            artist,
            streamer_connected: false,
        };
        let entries = entries.into_iter().map(|(id, artist)| (id, entry(artist)));
        Self {
            entries: Arc::new(Mutex::new(entries.collect())),
        }
    }

    pub(super) fn create(&self, id: &LivestreamId, artist: &UserId) -> bool {
        let mut entries = self.lock();
        let room = entries.len() < MOST || entries.contains_key(id);
        if room {
            let entry = || Entry {
                artist: artist.clone(),
                streamer_connected: false,
            };
            entries.entry(id.clone()).or_insert_with(entry);
        }
        room
    }

    pub(super) fn find(&self, id: &LivestreamId) -> Option<Entry> {
        self.lock().get(id).cloned()
    }

    pub(super) fn set(&self, id: &LivestreamId, connected: bool) {
        if let Some(entry) = self.lock().get_mut(id) {
            entry.streamer_connected = connected;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LivestreamId, Entry>> {
        self.entries.lock()
    }
}
