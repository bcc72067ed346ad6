//! The operator's view of livestreams, and the acts on them.
//!
//! **Invariant**: an act takes effect on this node. In a cluster, only the node with the streamer ends a livestream.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::events::{Ending, Event};
use super::{ActiveLivestream, Relay, SocketId, lock};
use crate::bans::Bans;
use crate::broadcast::{LivestreamId, RecordingState, Role, State, UserId};

/// The `error` for a banned client.
pub const BANNED: &str = "Banned by the operator of this service.";

/// A livestream on this node.
#[derive(Debug, Clone)]
pub struct Overview {
    /// Its id.
    pub livestream: LivestreamId,
    /// Its state.
    pub state: State,
    /// Its streamer, if that was last on this node.
    pub streamer: Option<UserId>,
    /// Whether the streamer is on this node now.
    pub has_streamer: bool,
    /// The time since its first streamer or clip; none before.
    pub lasted: Option<Duration>,
    /// The sequence of its latest clip, to this node's knowledge.
    pub sequence: u64,
    /// Listeners on all nodes.
    pub listeners: usize,
    /// Clips relayed.
    pub clips: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Bytes of clips for listeners on this node, dropped ones included.
    pub bytes_out: u64,
    /// Clips that slow listeners lost.
    pub clips_dropped: u64,
    /// Bytes of clips a second, over the latest half a minute.
    pub bytes_per_second: u64,
    /// Whether it is on air without a clip for `livestream.silence_after`.
    pub is_silent: bool,
    /// Whether its clips are recorded.
    pub recording: RecordingState,
}

/// A socket of a livestream on this node.
#[derive(Debug, Clone)]
pub struct SocketOverview {
    /// Its id. A client in both roles has the same one twice.
    pub socket: SocketId,
    /// Its role.
    pub role: Role,
    /// Its user.
    pub user: UserId,
    /// The time since its admission.
    pub lasted: Duration,
    /// A listener's transport: WebSocket, or else polling.
    pub is_on_web_socket: Option<bool>,
    /// A listener's clips that were dropped.
    pub clips_dropped: u64,
    /// How long a listener's oldest clip has waited; zero if none waits.
    pub lag: Duration,
}

/// Reasons why an act has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoEffect {
    /// No node that answers has the livestream.
    #[error("no such livestream")]
    Unknown,
    /// No node that answers has its streamer.
    #[error("the livestream has no streamer now: it ends by itself after the grace period")]
    NoStreamer,
    /// No node that answers has the socket.
    #[error("no such socket")]
    NoSocket,
}

impl Relay {
    /// The bans.
    pub fn bans(&self) -> &Bans {
        &self.0.bans
    }

    /// Whether the user or the livestream is banned.
    pub fn is_banned(&self, user: Option<&UserId>, id: &LivestreamId) -> bool {
        self.0.bans.find(user, id, SystemTime::now()).is_some()
    }

    /// This node's name in the cluster; none without one.
    pub fn node(&self) -> Option<&str> {
        let links = self.0.links.as_ref()?;
        Some(&links.cluster.records.node)
    }

    /// The names of the cluster's live nodes, or of the latest known ones while Redis is away; none without a cluster.
    pub async fn nodes(&self) -> Vec<String> {
        match &self.0.links {
            Some(links) => links.nodes().await,
            None => Vec::new(),
        }
    }

    /// All livestreams on this node.
    pub fn overviews(&self, now: Instant) -> Vec<Overview> {
        let all = self.all().into_iter();
        all.map(|(id, found)| lock(&found).overview(id, now))
            .collect()
    }

    /// A livestream, and its sockets on this node.
    pub fn overview(
        &self,
        id: &LivestreamId,
        now: Instant,
    ) -> Option<(Overview, Vec<SocketOverview>)> {
        let found = self.find(id)?;
        let active = lock(&found);
        Some((active.overview(id.clone(), now), active.sockets(now)))
    }

    /// Ends a livestream for everybody.
    pub fn end_for_operator(&self, id: &LivestreamId, now: Instant) -> Result<(), NoEffect> {
        let found = self.find(id).ok_or(NoEffect::Unknown)?;
        if self.finish(id, &found, Ending::Operator, now) {
            Ok(())
        } else {
            Err(NoEffect::NoStreamer)
        }
    }

    /// Ends a started livestream whose streamer was last here; one that only waits for a streamer too. False otherwise.
    fn finish(
        &self,
        id: &LivestreamId,
        found: &Arc<Mutex<ActiveLivestream>>,
        ending: Ending,
        now: Instant,
    ) -> bool {
        let mut active = lock(found);
        let livestream = &mut active.livestream;
        let is_here = livestream.streamer_and_next_sequence().is_some();
        if !is_here && livestream.state() != State::Waiting {
            return false;
        }
        let over = match (livestream.epoch(), livestream.deadline()) {
            (Some(epoch), _) => livestream.end(epoch),
            (None, Some(deadline)) => livestream.expire(deadline),
            (None, None) => false,
        };
        if over {
            self.close(id, found, active, ending, now);
        }
        over
    }

    /// Disconnects the streamer for good, with this text. The livestream waits for it, as after a loss.
    pub fn dismiss_streamer(&self, id: &LivestreamId, text: &str) -> Result<UserId, NoEffect> {
        let found = self.find(id).ok_or(NoEffect::Unknown)?;
        let mut active = lock(&found);
        let user = active.livestream.streamer_and_next_sequence();
        let user = user.map(|(user, _)| user.clone());
        let (Some(streamer), Some(user)) = (active.streamer, user) else {
            return Err(NoEffect::NoStreamer);
        };
        self.dismiss(id, &mut active, Role::Streamer, streamer.socket, text);
        Ok(user)
    }

    /// Disconnects the sockets of this id for good, with this text: one in each role at most. Returns their users.
    pub fn dismiss_socket(&self, id: SocketId, text: &str, now: Instant) -> Vec<UserId> {
        self.dismiss_all(now, |_, socket| {
            (socket.socket == id).then(|| text.to_owned())
        })
    }

    /// Ends the livestreams that are banned or whose streamers are, and disconnects banned users for good.
    pub fn enforce_bans(&self, now: Instant) {
        let (bans, clock) = (&self.0.bans, SystemTime::now());
        self.dismiss_all(now, |livestream, socket| {
            let found = bans.find(Some(&socket.user), livestream, clock);
            found.map(|_| BANNED.to_owned())
        });
        for (id, found) in self.all() {
            let active = lock(&found);
            let streamer = active.livestream.streamer_and_next_sequence();
            let user = streamer.map(|(user, _)| user);
            let banned = bans.find(user, &id, clock).is_some();
            drop(active);
            if banned {
                self.finish(&id, &found, Ending::Banned, now);
            }
        }
    }

    fn dismiss_all(
        &self,
        now: Instant,
        text: impl Fn(&LivestreamId, &SocketOverview) -> Option<String>,
    ) -> Vec<UserId> {
        let mut users = Vec::new();
        for (id, found) in self.all() {
            let mut active = lock(&found);
            for socket in active.sockets(now) {
                if let Some(text) = text(&id, &socket) {
                    self.dismiss(&id, &mut active, socket.role, socket.socket, &text);
                    users.push(socket.user);
                }
            }
        }
        users
    }

    fn dismiss(
        &self,
        livestream: &LivestreamId,
        active: &mut ActiveLivestream,
        role: Role,
        socket: SocketId,
        text: &str,
    ) {
        let text: Arc<str> = text.into();
        // Before the event: a socket that is not greeted yet misses that, and finds this.
        match role {
            Role::Streamer => active.dismissal = Some(text.clone()),
            Role::Listener => {
                let mut listeners = active.livestream.listeners();
                if let Some(listener) = listeners.find(|listener| listener.socket == socket) {
                    listener.dismissal.get_or_init(|| text.clone());
                }
            }
        }
        self.emit(Event::Dismissed {
            livestream: livestream.clone(),
            role,
            socket,
            text,
        });
    }
}

impl ActiveLivestream {
    fn overview(&self, livestream: LivestreamId, now: Instant) -> Overview {
        let streamer = self.livestream.streamer_and_next_sequence();
        let listeners = self.livestream.listeners();
        let missed: u64 = listeners.map(|listener| listener.outbox.missed()).sum();
        let totals = self.story.totals(now);
        Overview {
            livestream,
            state: self.livestream.state(),
            streamer: streamer.map(|(user, _)| user.clone()),
            has_streamer: self.streamer.is_some(),
            lasted: self.story.lasted(now),
            sequence: self.livestream.latest_sequence(),
            listeners: self.count(),
            clips: totals.clips,
            bytes_in: totals.bytes,
            bytes_out: self.story.bytes_out(),
            clips_dropped: totals.dropped + missed,
            bytes_per_second: self.story.bytes_per_second(now),
            is_silent: self.silence.is_told(),
            recording: self.recording.state,
        }
    }

    pub(super) fn sockets(&self, now: Instant) -> Vec<SocketOverview> {
        let user = self.livestream.streamer_and_next_sequence();
        let streamer = self.streamer.zip(user).map(|(streamer, (user, _))| {
            let lasted = now.saturating_duration_since(self.streamer_since);
            SocketOverview {
                socket: streamer.socket,
                role: Role::Streamer,
                user: user.clone(),
                lasted,
                is_on_web_socket: None,
                clips_dropped: 0,
                lag: Duration::ZERO,
            }
        });
        let listeners = self.livestream.listeners().map(|listener| SocketOverview {
            socket: listener.socket,
            role: Role::Listener,
            user: listener.user.clone(),
            lasted: now.saturating_duration_since(listener.since),
            is_on_web_socket: Some(listener.outbox.session().is_on_web_socket()),
            clips_dropped: listener.outbox.missed(),
            lag: listener.outbox.lag(now),
        });
        streamer.into_iter().chain(listeners).collect()
    }
}
