//! The lifecycle of one livestream, as a state machine.
//!
//! ```text
//!            start                 lost                    expire
//! Waiting ───────────▶ Live(epoch) ─────▶ Grace ─────────────────────▶ Ended
//!    │                  ▲   │ ▲ └──┘ start: a newer epoch    │           ▲
//!    │                  │   │ └──────── start ───────────────┘           │
//!    └── expire ────────┼───┴──────────── end ───────────────────────────┘
//! ```
//!
//! In a cluster the streamer may be on another node: the phase is `Elsewhere` ([`Livestream::follow`],
//! [`Livestream::yield_to_other`]).
//!
//! **Invariant**: at most one epoch is current at any time, and it is the newest: an older one can neither upload nor
//! end the livestream. A listener that has joined gets every later clip once and in order, after the history.

mod listeners;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Clip, History, UserId};

/// A fencing token: the right of one socket to be the livestream's streamer. A takeover raises it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A listener's id. It is unique on this node, so that a late departure removes no other listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u64);

/// Limits of a livestream.
#[derive(Debug, Clone)]
pub struct LivestreamLimits {
    /// The grace period: the time that it stays live without its streamer.
    pub grace: Duration,
    /// Clips of the history.
    pub history_clips: usize,
    /// Bytes of the history.
    pub history_bytes: usize,
    /// Listeners on this node.
    pub max_listeners: usize,
}

/// The state of a livestream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No streamer has come yet.
    Waiting,
    /// On air.
    Live,
    /// In its grace period.
    Reconnecting,
    /// Over.
    Ended,
}

impl State {
    /// The name on the wire and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Live => "live",
            Self::Reconnecting => "reconnecting",
            Self::Ended => "ended",
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Waiting {
        until: Instant,
    },
    Live {
        epoch: Epoch,
    },
    /// On air, with the streamer on another node.
    Elsewhere,
    Grace {
        until: Instant,
    },
    Ended,
}

/// The state of a livestream in its record, over all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RemoteState {
    /// There is no record.
    Missing,
    /// There is no record, but Redis may have just lost its memory, and the owner may write the record again.
    Unsettled,
    /// Its owner has a live streamer.
    Live,
    /// No streamer is connected: this is left of its grace period; zero until its end is recorded.
    Grace(Duration),
    /// It is over.
    Ended,
}

impl RemoteState {
    /// Whether it is on air or in its grace period.
    pub fn is_started(self) -> bool {
        matches!(self, Self::Live | Self::Grace(_))
    }
}

/// The effect of a start.
#[derive(Debug, PartialEq, Eq)]
pub struct Started {
    /// The epoch that is no longer current.
    pub replaced: Option<Epoch>,
    /// Whether a livestream that had aired continues.
    pub resumed: bool,
}

/// The effect of the loss of a streamer's transport.
#[derive(Debug, PartialEq, Eq)]
pub enum Loss {
    /// None: the epoch is no longer current.
    Stale,
    /// The grace period lasts until then.
    Grace(Instant),
    /// The livestream had never been on air: it is over.
    Ended,
}

/// Reasons why a livestream refuses an operation.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LivestreamError {
    /// Another socket is the streamer now, or the livestream is over.
    #[error("the epoch is no longer current")]
    StaleEpoch,
    /// The livestream is over.
    #[error("the livestream has ended")]
    Ended,
    /// The number of listeners is at its limit.
    #[error("the number of listeners is at its limit")]
    Full,
}

/// One livestream; `L` is a listener.
#[derive(Debug)]
pub struct Livestream<L> {
    phase: Phase,
    bounds: LivestreamLimits,
    streamer: Option<UserId>,
    /// Whether it was ever on air: until then a streamer has nothing to return to.
    aired: bool,
    next_sequence: u64,
    history: History,
    listeners: HashMap<ListenerId, L>,
    /// Listeners with a player on this node, which take their clips elsewhere.
    players: usize,
}

impl<L> Livestream<L> {
    /// A livestream that waits for its streamer, for the length of a grace period.
    pub fn new(bounds: LivestreamLimits, now: Instant) -> Self {
        Self {
            phase: Phase::Waiting {
                until: now + bounds.grace,
            },
            history: History::new(bounds.history_clips, bounds.history_bytes),
            bounds,
            streamer: None,
            aired: false,
            next_sequence: 1,
            listeners: HashMap::new(),
            players: 0,
        }
    }

    /// A livestream of the previous process: in its grace period from `now` on, with its latest clips.
    pub fn restored(
        bounds: LivestreamLimits,
        streamer: UserId,
        next_sequence: u64,
        clips: impl IntoIterator<Item = Bytes>,
        now: Instant,
    ) -> Self {
        let mut livestream = Self::new(bounds, now);
        livestream.phase = Phase::Grace {
            until: now + livestream.bounds.grace,
        };
        livestream.streamer = Some(streamer);
        livestream.aired = true;
        let clips: Vec<Bytes> = clips.into_iter().collect();
        livestream.next_sequence = next_sequence.saturating_sub(clips.len() as u64).max(1);
        for bytes in clips {
            livestream.stamp(bytes, now);
        }
        livestream
    }

    /// Makes the socket with this epoch the streamer, unless the current epoch is as new or newer.
    pub fn start(&mut self, user: UserId, epoch: Epoch) -> Result<Started, LivestreamError> {
        let replaced = match self.phase {
            Phase::Ended => return Err(LivestreamError::Ended),
            Phase::Live { epoch: old } if epoch <= old => return Err(LivestreamError::StaleEpoch),
            Phase::Live { epoch } => Some(epoch),
            Phase::Waiting { .. } | Phase::Grace { .. } | Phase::Elsewhere => None,
        };
        self.phase = Phase::Live { epoch };
        self.streamer = Some(user);
        Ok(Started {
            replaced,
            resumed: self.aired,
        })
    }

    /// Whether a newer epoch is current.
    pub fn is_superseded(&self, epoch: Epoch) -> bool {
        matches!(self.phase, Phase::Live { epoch: newer } if newer > epoch)
    }

    /// Puts the livestream on air: from here on a loss starts the grace period. False if the epoch is stale.
    pub fn air(&mut self, epoch: Epoch) -> bool {
        let current = self.is_current(epoch);
        self.aired |= current;
        current
    }

    /// Accepts a clip. The caller passes it to [`Self::listeners`] before any other change of the livestream.
    pub fn upload(
        &mut self,
        epoch: Epoch,
        bytes: Bytes,
        now: Instant,
    ) -> Result<Arc<Clip>, LivestreamError> {
        if !self.is_current(epoch) {
            return Err(LivestreamError::StaleEpoch);
        }
        self.aired = true;
        Ok(self.stamp(bytes, now))
    }

    fn stamp(&mut self, bytes: Bytes, now: Instant) -> Arc<Clip> {
        let clip = Arc::new(Clip {
            sequence: self.next_sequence,
            bytes,
            accepted_at: now,
        });
        self.next_sequence += 1;
        self.history.push(clip.clone());
        clip
    }

    /// Records the loss of the streamer's transport.
    pub fn lost(&mut self, epoch: Epoch, now: Instant) -> Loss {
        if !self.is_current(epoch) {
            return Loss::Stale;
        }
        if !self.aired {
            self.phase = Phase::Ended;
            return Loss::Ended;
        }
        let until = now + self.bounds.grace;
        self.phase = Phase::Grace { until };
        Loss::Grace(until)
    }

    /// Ends the livestream for its streamer. False, without an effect, if the epoch is stale.
    pub fn end(&mut self, epoch: Epoch) -> bool {
        let current = self.is_current(epoch);
        if current {
            self.phase = Phase::Ended;
        }
        current
    }

    /// Ends the livestream if its deadline has passed; true if it is over now.
    pub fn expire(&mut self, now: Instant) -> bool {
        if self.deadline().is_some_and(|until| until <= now) {
            self.phase = Phase::Ended;
        }
        matches!(self.phase, Phase::Ended)
    }

    /// The time at which the livestream ends by itself, if no streamer comes.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until } | Phase::Grace { until } => Some(until),
            Phase::Live { .. } | Phase::Elsewhere | Phase::Ended => None,
        }
    }

    /// Applies the cluster's state, unless the streamer is here. True if the livestream is over now.
    pub fn follow(&mut self, remote: RemoteState, now: Instant) -> bool {
        if self.is_live_here() {
            return false;
        }
        self.phase = match (remote, self.phase) {
            (RemoteState::Unsettled, phase)
            | (_, phase @ (Phase::Live { .. } | Phase::Ended))
            // A waiting livestream has not begun.
            | (RemoteState::Ended | RemoteState::Missing, phase @ Phase::Waiting { .. }) => phase,
            (RemoteState::Live, _) => Phase::Elsewhere,
            (RemoteState::Grace(left), _) => Phase::Grace { until: now + left },
            (RemoteState::Ended, _) => Phase::Ended,
            (RemoteState::Missing, Phase::Grace { until }) if until <= now => Phase::Ended,
            (RemoteState::Missing, phase @ Phase::Grace { .. }) => phase,
            // Without a record in the cluster the grace period starts now, as if the streamer had just been lost.
            (RemoteState::Missing, Phase::Elsewhere) => Phase::Grace {
                until: now + self.bounds.grace,
            },
        };
        self.aired |= self.is_started();
        if matches!(self.phase, Phase::Elsewhere) {
            self.streamer = None;
        }
        matches!(self.phase, Phase::Ended)
    }

    /// Accepts a clip from another node; none if the streamer is here, or the livestream is over.
    pub fn accept_remote_clip(&mut self, bytes: Bytes, now: Instant) -> Option<Arc<Clip>> {
        let here = matches!(self.phase, Phase::Live { .. } | Phase::Ended);
        (!here).then(|| {
            self.aired = true;
            self.stamp(bytes, now)
        })
    }

    /// Another node owns the livestream: a streamer here is no longer current. False if there was none.
    pub fn yield_to_other(&mut self) -> bool {
        let was_here = matches!(self.phase, Phase::Live { .. });
        if was_here {
            self.phase = Phase::Elsewhere;
            self.streamer = None;
        }
        was_here
    }

    /// Ends, on this node only, a livestream without a listener or a streamer here. False if it has one.
    pub fn release(&mut self) -> bool {
        let idle = self.listener_count() == 0 && !matches!(self.phase, Phase::Live { .. });
        if idle {
            self.phase = Phase::Ended;
        }
        idle
    }

    /// Whether it was ever on air.
    pub fn has_aired(&self) -> bool {
        self.aired
    }

    /// The clips for a joining listener, oldest first.
    pub fn history(&self) -> impl Iterator<Item = &Arc<Clip>> {
        self.history.clips()
    }

    /// Whether this epoch is the current one.
    pub fn is_current(&self, epoch: Epoch) -> bool {
        matches!(self.phase, Phase::Live { epoch: current } if current == epoch)
    }

    /// The current epoch, while its streamer is here.
    pub fn epoch(&self) -> Option<Epoch> {
        match self.phase {
            Phase::Live { epoch } => Some(epoch),
            _ => None,
        }
    }

    /// Its state.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Waiting { .. } => State::Waiting,
            Phase::Live { .. } | Phase::Elsewhere => State::Live,
            Phase::Grace { .. } => State::Reconnecting,
            Phase::Ended => State::Ended,
        }
    }

    /// Whether it counts as started for a listener: on air, or in its grace period.
    pub fn is_started(&self) -> bool {
        matches!(
            self.phase,
            Phase::Live { .. } | Phase::Elsewhere | Phase::Grace { .. }
        )
    }

    /// Whether its streamer is here.
    pub fn is_live_here(&self) -> bool {
        matches!(self.phase, Phase::Live { .. })
    }

    /// The sequence of the latest clip, to this node's knowledge; 0 before the first.
    pub fn latest_sequence(&self) -> u64 {
        self.next_sequence - 1
    }

    /// The streamer, if it was last on this node, and the sequence of the next clip.
    pub fn streamer_and_next_sequence(&self) -> Option<(&UserId, u64)> {
        self.streamer
            .as_ref()
            .map(|user| (user, self.next_sequence))
    }
}

#[cfg(test)]
mod tests;
