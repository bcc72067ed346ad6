//! A directory in memory, for the demo and for tests of other modules.
//!
//! **Invariant**: it contains the initial livestreams and those created since, at most [`MOST`].

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::{About, Entry};
use crate::broadcast::{LivestreamId, UserId};

/// The most livestreams.
const MOST: usize = 10_000;

/// The livestreams; cheap to clone.
#[derive(Clone)]
pub struct Memory {
    /// A lock, never held across an await.
    entries: Arc<Mutex<HashMap<LivestreamId, Document>>>,
}

struct Document {
    entry: Entry,
    about: About,
}

impl Document {
    fn new(artist: UserId, about: About) -> Self {
        let entry = Entry {
            artist,
            streamer_connected: false,
            record: false,
        };
        Self { entry, about }
    }
}

impl Memory {
    pub(super) fn new(entries: impl IntoIterator<Item = (LivestreamId, UserId)>) -> Self {
        let entries = entries
            .into_iter()
            .map(|(id, artist)| (id, Document::new(artist, About::default())));
        Self {
            entries: Arc::new(Mutex::new(entries.collect())),
        }
    }

    pub(super) fn create(&self, id: &LivestreamId, artist: &UserId, about: About) -> bool {
        let mut entries = self.lock();
        let room = entries.len() < MOST || entries.contains_key(id);
        if room {
            let document = || Document::new(artist.clone(), about);
            entries.entry(id.clone()).or_insert_with(document);
        }
        room
    }

    pub(super) fn find(&self, id: &LivestreamId) -> Option<Entry> {
        self.lock().get(id).map(|it| it.entry.clone())
    }

    pub(super) fn about(&self, id: &LivestreamId) -> Option<About> {
        self.lock().get(id).map(|it| it.about.clone())
    }

    pub(super) fn set(&self, id: &LivestreamId, connected: bool) {
        if let Some(document) = self.lock().get_mut(id) {
            document.entry.streamer_connected = connected;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LivestreamId, Document>> {
        self.entries.lock()
    }
}
