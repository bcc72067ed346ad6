//! Events: the changes that clients, the log and the metrics are notified of.
//!
//! **Invariant**: an event is emitted under its livestream's lock, so that every subscriber gets the events of a
//! livestream in the order of its changes. No event is lost, and a queue is bounded by its livestreams: it has at most
//! one [`Event::StateChanged`] of each; one more event needs a streamer that is admitted or lost, a silence, an end, an
//! operator's act, or one of the refusals of a minute, which are limited.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::story::Totals;
use super::{Listener, Relay, Standing};
use crate::bans::Ban;
use crate::broadcast::{Epoch, LivestreamId, Role, UserId};
use crate::recording::{Fill, Manifest, RecordingId, Upload};

/// A socket, by a number that `socket` gives it: the 16 bytes of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketId(pub u128);

impl SocketId {
    /// The socket with this text; none if no socket can have it.
    pub fn from_text(text: &str) -> Option<Self> {
        let bytes = text.as_bytes().try_into().ok()?;
        Some(Self(u128::from_be_bytes(bytes)))
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0.to_be_bytes()))
    }
}

/// The socket of a streamer, under the epoch that it has or had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamerId {
    /// The socket. A client that comes again on its session has the same one.
    pub socket: SocketId,
    /// The epoch.
    pub epoch: Epoch,
}

/// How a streamer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// As the first.
    Started,
    /// To a livestream that had been on air.
    Resumed,
    /// In place of a socket on this node.
    TookOver,
}

/// Why a socket is no longer the streamer of a livestream that continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replacement {
    /// A later socket on this node is.
    Here,
    /// A later socket on another node is.
    Elsewhere,
    /// Another node has a streamer too, and it is unknown which is later: the one that connects again stays.
    Undecided,
}

/// Why a livestream is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Its streamer ended it.
    Ended,
    /// No streamer came in time.
    Expired,
    /// Its streamer left before it went on air.
    Abandoned,
    /// It ended on another node.
    Elsewhere,
    /// Its document was deleted.
    Deleted,
    /// Its streamer's account was disabled or deleted.
    Disowned,
    /// An operator ended it.
    Operator,
    /// An operator banned it or its streamer.
    Banned,
}

impl Ending {
    /// The name in metrics and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::Abandoned => "abandoned",
            Self::Elsewhere => "ended_elsewhere",
            Self::Deleted => "deleted",
            Self::Disowned => "disowned",
            Self::Operator => "ended_by_operator",
            Self::Banned => "banned",
        }
    }
}

/// A change of a livestream, or an act that concerns one.
pub enum Event {
    /// A socket became the streamer.
    StreamerCame {
        /// The livestream.
        livestream: LivestreamId,
        /// Its streamer.
        user: UserId,
        /// The epoch of the socket.
        epoch: Epoch,
        /// How it came.
        arrival: Arrival,
    },
    /// A socket is no longer the streamer.
    StreamerReplaced {
        /// The livestream.
        livestream: LivestreamId,
        /// The socket; none if it is gone already.
        streamer: Option<StreamerId>,
        /// Why.
        replacement: Replacement,
    },
    /// An operator, or a ban, disconnects a socket for good.
    Dismissed {
        /// The livestream.
        livestream: LivestreamId,
        /// The socket's role.
        role: Role,
        /// The socket.
        socket: SocketId,
        /// The `error` for its client.
        text: Arc<str>,
    },
    /// The node drains: these clients shall connect again, to another node. Of no livestream alone.
    SentAway {
        /// The sockets.
        sockets: Vec<SocketId>,
        /// Without waiting for what is queued for them.
        at_once: bool,
    },
    /// The streamer's transport is lost: the grace period runs.
    StreamerLost {
        /// The livestream.
        livestream: LivestreamId,
        /// Its streamer.
        user: UserId,
        /// Its totals until now.
        totals: Totals,
    },
    /// No clip has come for `livestream.silence_after`, on this node. Once until the next clip or streamer.
    Silent {
        /// The livestream.
        livestream: LivestreamId,
        /// The streamer with its user, if it is on this node.
        streamer: Option<(StreamerId, UserId)>,
        /// The time without a clip.
        lasted: Duration,
        /// The listeners on this node that asked for warnings.
        audience: Vec<Arc<Listener>>,
    },
    /// A streamer was refused. Of no livestream that this node must know; at most so many a minute as are configured.
    StreamerRefused {
        /// The livestream that it named.
        livestream: LivestreamId,
        /// Its user, if its token was good.
        user: Option<UserId>,
        /// The metric's label of the reason.
        reason: &'static str,
        /// The `error` for its client.
        text: String,
        /// Whether its client tries again by itself.
        is_temporary: bool,
    },
    /// An operator has banned a user, by a request to this node. Of no livestream alone.
    UserBanned {
        /// The user.
        user: UserId,
        /// The ban.
        ban: Ban,
    },
    /// An operator has removed a user's ban, by a request to this node. Of no livestream alone.
    UserUnbanned {
        /// The user.
        user: UserId,
    },
    /// A recording is in the bucket. At least once, by any node; of no livestream that this node must know.
    RecordingReady {
        /// Its id.
        id: RecordingId,
        /// What it is.
        manifest: Box<Manifest>,
        /// Its directory in the bucket, as a URL.
        url: String,
    },
    /// The clips that wait for the bucket nearly fill their room on this node, or there is room again.
    RecordingSpool {
        /// How full it is.
        fill: Fill,
    },
    /// A file of a recording is registered as a podcast that its streamer may publish. At least once, by any node.
    RecordingRegistered {
        /// The recording's id.
        id: RecordingId,
        /// What the recording is.
        manifest: Box<Manifest>,
        /// The file.
        upload: Upload,
    },
    /// What clients are told of a livestream has changed.
    StateChanged {
        /// The livestream.
        livestream: LivestreamId,
        /// What they are told now.
        standing: Standing,
        /// The streamer, if it is on this node.
        streamer: Option<StreamerId>,
        /// The listeners on this node.
        audience: Vec<Arc<Listener>>,
    },
    /// The livestream is over on all nodes, and its owner is gone: this node has found that out, and no other one.
    OrphanEnded {
        /// The livestream.
        livestream: LivestreamId,
        /// The epoch of the owner in Redis.
        epoch: u64,
    },
    /// The livestream is over on this node.
    LivestreamEnded {
        /// The livestream.
        livestream: LivestreamId,
        /// The user of its streamer, if that was last on this node: then no other node that lives tells of its end.
        user: Option<UserId>,
        /// The epoch of the owner in Redis, if this node knows of the end from there.
        epoch: Option<u64>,
        /// Why.
        ending: Ending,
        /// The streamer, if it was on this node.
        streamer: Option<StreamerId>,
        /// The listeners on this node until now.
        audience: Vec<Arc<Listener>>,
        /// Its totals; none if it was never on air.
        totals: Option<Totals>,
    },
}

/// The queues of the subscribers.
#[derive(Default)]
pub(super) struct Subscribers(Mutex<Vec<mpsc::UnboundedSender<Arc<Event>>>>);

/// Whether an event is still in a queue, or in work.
#[derive(Default)]
pub(super) struct Delivery(Weak<Event>);

impl Delivery {
    pub(super) fn is_pending(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl Relay {
    /// The events from now on. The subscriber takes each one at once: it never waits for the network.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Arc<Event>> {
        let (queue, events) = mpsc::unbounded_channel();
        self.0.subscribers.0.lock().push(queue);
        events
    }

    /// Tells the subscribers of what happened outside of the relay.
    pub fn tell(&self, event: Event) {
        self.emit(event);
    }

    /// Counts an event, logs it, and queues it for every subscriber. Called under the livestream's lock, if it is of one.
    pub(super) fn emit(&self, event: Event) -> Delivery {
        if let Some(label) = event.label() {
            let events = &self.0.metrics.livestream_events;
            events.with_label_values(&[label]).inc();
        }
        event.log();
        let event = Arc::new(event);
        let is_subscribed =
            |queue: &mut mpsc::UnboundedSender<Arc<Event>>| queue.send(event.clone()).is_ok();
        self.0.subscribers.0.lock().retain_mut(is_subscribed);
        Delivery(Arc::downgrade(&event))
    }
}

impl Event {
    /// The metric's label; none if the event is not counted.
    fn label(&self) -> Option<&'static str> {
        match self {
            Self::StreamerCame { arrival, .. } => Some(match arrival {
                Arrival::Started => "started",
                Arrival::Resumed => "resumed",
                Arrival::TookOver => "taken_over",
            }),
            Self::StreamerReplaced { replacement, .. } => match replacement {
                // Counted with the socket that came.
                Replacement::Here => None,
                Replacement::Elsewhere | Replacement::Undecided => Some("taken_over"),
            },
            Self::StreamerLost { .. } => Some("streamer_lost"),
            Self::Silent { .. } => Some("silent"),
            // Counted where they are decided, or elsewhere.
            Self::StateChanged { .. }
            | Self::Dismissed { .. }
            | Self::SentAway { .. }
            | Self::StreamerRefused { .. }
            | Self::UserBanned { .. }
            | Self::UserUnbanned { .. }
            | Self::RecordingReady { .. }
            | Self::RecordingRegistered { .. }
            | Self::RecordingSpool { .. }
            | Self::OrphanEnded { .. } => None,
            Self::LivestreamEnded { ending, totals, .. } => match ending {
                // Its streamer came, and it was never on air.
                Ending::Abandoned => Some(ending.as_str()),
                _ if totals.is_none() => None,
                ending => Some(ending.as_str()),
            },
        }
    }

    fn log(&self) {
        let label = self.label().unwrap_or_default();
        match self {
            Self::StreamerCame {
                livestream,
                user,
                epoch,
                ..
            } => {
                tracing::info!(livestream.id = %livestream, user.id = %user, epoch = epoch.0, "livestream {label}");
            }
            Self::StreamerReplaced {
                livestream,
                replacement: Replacement::Elsewhere | Replacement::Undecided,
                ..
            } => {
                tracing::info!(livestream.id = %livestream, "livestream taken over by another node");
            }
            Self::Silent {
                livestream, lasted, ..
            } => {
                tracing::info!(livestream.id = %livestream, seconds = lasted.as_secs(), "livestream on air without a clip");
            }
            Self::StreamerLost { livestream, .. } => {
                tracing::info!(livestream.id = %livestream, "livestream lost its streamer, waiting for it");
            }
            Self::LivestreamEnded {
                livestream,
                totals: Some(totals),
                ..
            } => {
                tracing::info!(
                    livestream.id = %livestream,
                    seconds = totals.seconds,
                    clips = totals.clips,
                    bytes = totals.bytes,
                    listeners.peak = totals.peak_listeners,
                    clips.dropped = totals.dropped,
                    "livestream {}", label.replace('_', " ")
                );
            }
            Self::LivestreamEnded {
                livestream,
                ending: Ending::Abandoned,
                ..
            } => tracing::info!(livestream.id = %livestream, "livestream {label}"),
            Self::StreamerReplaced { .. }
            | Self::Dismissed { .. }
            | Self::SentAway { .. }
            | Self::StateChanged { .. }
            | Self::StreamerRefused { .. }
            | Self::UserBanned { .. }
            | Self::UserUnbanned { .. }
            | Self::RecordingReady { .. }
            | Self::RecordingRegistered { .. }
            | Self::RecordingSpool { .. }
            | Self::OrphanEnded { .. }
            | Self::LivestreamEnded { totals: None, .. } => {}
        }
    }
}
