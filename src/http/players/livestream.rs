//! What is kept of one livestream for players: its window and its HLS sessions.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OnceCell, watch};

use super::count::Counted;
use crate::config;
use crate::media::{Segment, Unplayable, Window};
use crate::relay::Player;

/// See the module documentation.
pub(super) struct Livestream {
    // Locked for one clip or one answer; never across an await.
    state: Mutex<State>,
    // Locked for one look-up. Each session has a counted place, so the map is bounded.
    sessions: Mutex<HashMap<SessionKey, Session>>,
    /// Rises with every change.
    changes: watch::Sender<u64>,
    /// Set once the window has the clips of before this node, or a player, took part.
    filled: OnceCell<()>,
}

pub(super) struct State {
    pub(super) window: Window,
    /// The playlist of segments as it is now, if somebody asked for it: written once for all.
    playlist: Option<Playlist>,
    /// Why the latest clip could not be remuxed.
    pub(super) unplayable: Option<Unplayable>,
    /// Set when the livestream is over.
    ended_at: Option<Instant>,
    /// No clip follows here: it is over, or this node stops or no longer follows it.
    pub(super) is_closed: bool,
}

/// A playlist as it is sent.
#[derive(Clone)]
pub(super) struct Playlist {
    pub(super) text: Bytes,
    /// The same on every node: it comes from the text.
    pub(super) tag: u64,
}

impl Playlist {
    pub(super) fn new(text: String) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self {
            tag: hasher.finish(),
            text: text.into(),
        }
    }
}

/// What tells HLS sessions of a livestream apart: the client's address, and a hash of the player's name. Playlists carry
/// no id of a session, so that caches share them.
pub(super) type SessionKey = (IpAddr, u64);

/// One player's listening by HLS.
struct Session {
    asked_at: Instant,
    _player: Player,
    _counted: Counted,
}

impl State {
    /// The playlist of segments; none before the first one.
    pub(super) fn playlist(&mut self) -> Option<Playlist> {
        if self.playlist.is_none() {
            self.playlist = self.window.playlist().map(Playlist::new);
        }
        self.playlist.clone()
    }
}

impl Livestream {
    pub(super) fn new(config: &config::Players) -> Self {
        Self {
            state: Mutex::new(State {
                window: Window::new(config.history_clips, config.history_bytes),
                playlist: None,
                unplayable: None,
                ended_at: None,
                is_closed: false,
            }),
            sessions: Mutex::default(),
            changes: watch::Sender::new(0),
            filled: OnceCell::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Told of every change after this call.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Adds a clip that has just come.
    pub(super) fn add(&self, segment: Result<Segment, Unplayable>) {
        let mut state = self.state();
        match segment {
            Ok(segment) => {
                state.window.push(&segment);
                state.unplayable = None;
            }
            Err(reason) => state.unplayable = Some(reason),
        }
        self.changed(state);
    }

    /// Whether [`Self::fill`] would return at once.
    pub(super) fn is_filled(&self) -> bool {
        self.filled.initialized()
    }

    /// Adds earlier clips, once: the first caller gets them, the others wait for it.
    pub(super) async fn fill(&self, earlier: impl Future<Output = Vec<Segment>>) {
        let fill = async {
            let earlier = earlier.await;
            let mut state = self.state();
            state.window.fill(&earlier);
            self.changed(state);
        };
        self.filled.get_or_init(|| fill).await;
    }

    /// The livestream is over.
    pub(super) fn end(&self, now: Instant) {
        let mut state = self.state();
        state.window.end();
        state.ended_at.get_or_insert(now);
        state.is_closed = true;
        self.changed(state);
        self.sessions.lock().clear();
    }

    /// No clip follows here, and the livestream continues.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        self.changed(state);
        self.sessions.lock().clear();
    }

    /// Rises under the lock, so that a version has one content.
    fn changed(&self, mut state: MutexGuard<'_, State>) {
        state.playlist = None;
        self.changes.send_modify(|change| *change += 1);
        drop(state);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state().window.has_ended()
    }

    pub(super) fn ended_before(&self, time: Instant) -> bool {
        self.state().ended_at.is_some_and(|ended| ended < time)
    }

    pub(super) fn has_session(&self, key: SessionKey) -> bool {
        self.sessions.lock().contains_key(&key)
    }

    /// Notes that the player of a session asks; false if there is no such session.
    pub(super) fn touch(&self, key: SessionKey, now: Instant) -> bool {
        match self.sessions.lock().get_mut(&key) {
            Some(session) => {
                session.asked_at = now;
                true
            }
            None => false,
        }
    }

    pub(super) fn begin_session(
        &self,
        key: SessionKey,
        player: Player,
        counted: Counted,
        now: Instant,
    ) {
        let session = Session {
            asked_at: now,
            _player: player,
            _counted: counted,
        };
        self.sessions.lock().insert(key, session);
    }

    pub(super) fn end_silent_sessions(&self, timeout: Duration, now: Instant) {
        let is_alive = |_: &SessionKey, session: &mut Session| {
            now.saturating_duration_since(session.asked_at) < timeout
        };
        self.sessions.lock().retain(is_alive);
    }
}
