//! The life of one livestream, as a state machine.
//!
//! ```text
//!            start                 lost                    expire
//! Waiting ───────────▶ Live(epoch) ─────▶ Grace ─────────────────────▶ Ended
//!    │                  ▲   │ ▲ └──┘ start: a newer epoch    │           ▲
//!    │                  │   │ └──────── start ───────────────┘           │
//!    └── expire ────────┼───┴──────────── end ───────────────────────────┘
//! ```
//!
//! In a cluster the streamer may be on another node: `Elsewhere`, entered and left as the cluster says ([`Livestream::follow`]).
//!
//! **Invariant**: at most one epoch is good at any time, and it is the newest: an older one can neither upload nor
//! end anything. A listener that has joined is handed every later clip once and in order, after the history it got.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Clip, History, UserId};

/// The right of one socket to be the livestream's streamer: its epoch. A takeover raises it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A listener's place: unlike any other on this node, so that who leaves late takes nobody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u64);

/// What a livestream may hold.
#[derive(Debug, Clone)]
pub struct LivestreamLimits {
    /// How long it stays live without its streamer.
    pub grace: Duration,
    /// Clips that a joining listener gets.
    pub history_clips: usize,
    /// Bytes that those may weigh.
    pub history_bytes: usize,
    /// Listeners.
    pub max_listeners: usize,
}

/// How a livestream is going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Listeners are here, no streamer has come yet.
    Waiting,
    /// On air.
    Live,
    /// Its streamer is gone for a moment.
    Reconnecting,
    /// Over.
    Ended,
}

impl State {
    /// The word on the wire and in logs.
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
    /// On air, its streamer on another node.
    Elsewhere,
    Grace {
        until: Instant,
    },
    Ended,
}

/// How a livestream whose streamer is not here is going, as other nodes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteState {
    /// On air.
    Live,
    /// Its streamer is awaited until then.
    Grace(Instant),
    /// Over.
    Ended,
    /// Nobody knows anything of it.
    Unknown,
}

/// What a start did to what was before.
#[derive(Debug, PartialEq, Eq)]
pub struct Started {
    /// The epoch that is good no more.
    pub replaced: Option<Epoch>,
    /// Whether a show that was under way goes on.
    pub resumed: bool,
}

/// What the loss of a streamer's transport means.
#[derive(Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: a newer epoch is good.
    Stale,
    /// The livestream waits for its streamer until then.
    Grace(Instant),
    /// It had never been on air: it is over.
    Ended,
}

/// Why something cannot be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LivestreamError {
    /// Another socket is the streamer now, or the livestream is over.
    #[error("the epoch is good no more")]
    StaleEpoch,
    /// The livestream is over.
    #[error("the livestream has ended")]
    Ended,
    /// As many listeners as may be.
    #[error("the livestream has as many listeners as it may have")]
    Full,
}

/// One livestream; `L` is whatever a clip is handed to.
#[derive(Debug)]
pub struct Livestream<L> {
    phase: Phase,
    bounds: LivestreamLimits,
    streamer: Option<UserId>,
    /// Whether a streamer has ever been told of its success: until then there is nothing to come back to.
    aired: bool,
    next_sequence: u64,
    history: History,
    listeners: HashMap<ListenerId, L>,
}

impl<L> Livestream<L> {
    /// A livestream that waits for its streamer, for as long as a grace.
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
        }
    }

    /// A livestream as another process left it: in its grace from `now` on, with its latest clips.
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

    /// Makes the socket with this epoch the streamer, unless one with a newer epoch is.
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

    /// Whether a streamer with a newer epoch is on air.
    pub fn is_superseded(&self, epoch: Epoch) -> bool {
        matches!(self.phase, Phase::Live { epoch: newer } if newer > epoch)
    }

    /// The streamer has been told: from here on a loss is followed by a grace. False if the epoch is stale.
    pub fn air(&mut self, epoch: Epoch) -> bool {
        let good = self.is_current(epoch);
        self.aired |= good;
        good
    }

    /// Takes a clip in. The caller hands it to [`Self::listeners`] before anything else happens here.
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

    /// The streamer's transport is gone.
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

    /// The streamer ends the show. False if the epoch is stale: nothing happens.
    pub fn end(&mut self, epoch: Epoch) -> bool {
        let good = self.is_current(epoch);
        if good {
            self.phase = Phase::Ended;
        }
        good
    }

    /// Ends what has waited too long; true if it is over now.
    pub fn expire(&mut self, now: Instant) -> bool {
        if self.deadline().is_some_and(|until| until <= now) {
            self.phase = Phase::Ended;
        }
        matches!(self.phase, Phase::Ended)
    }

    /// When the livestream ends by itself, if no streamer comes.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until } | Phase::Grace { until } => Some(until),
            Phase::Live { .. } | Phase::Elsewhere | Phase::Ended => None,
        }
    }

    /// Goes by what other nodes say, while its streamer is not here. True if it is over now.
    pub fn follow(&mut self, word: RemoteState, now: Instant) -> bool {
        if self.is_live_here() {
            return false;
        }
        self.phase = match (word, self.phase) {
            // What waits has not begun.
            (_, phase @ (Phase::Live { .. } | Phase::Ended))
            | (RemoteState::Ended | RemoteState::Unknown, phase @ Phase::Waiting { .. }) => phase,
            (RemoteState::Live, _) => Phase::Elsewhere,
            (RemoteState::Grace(until), _) => Phase::Grace { until },
            (RemoteState::Ended, _) => Phase::Ended,
            // Forgotten by others, it is awaited as if it had just been lost.
            (RemoteState::Unknown, Phase::Grace { until }) if until <= now => Phase::Ended,
            (RemoteState::Unknown, phase @ Phase::Grace { .. }) => phase,
            (RemoteState::Unknown, Phase::Elsewhere) => Phase::Grace {
                until: now + self.bounds.grace,
            },
        };
        self.aired |= self.is_started();
        if matches!(self.phase, Phase::Elsewhere) {
            self.streamer = None;
        }
        matches!(self.phase, Phase::Ended)
    }

    /// Takes in a clip that came from another node; none if its streamer is here, or it is over.
    pub fn accept_remote_clip(&mut self, bytes: Bytes, now: Instant) -> Option<Arc<Clip>> {
        let here = matches!(self.phase, Phase::Live { .. } | Phase::Ended);
        (!here).then(|| {
            self.aired = true;
            self.stamp(bytes, now)
        })
    }

    /// Another node has it: whoever is the streamer here is one no more. False if nobody was.
    pub fn yield_to_other(&mut self) -> bool {
        let was_here = matches!(self.phase, Phase::Live { .. });
        if was_here {
            self.phase = Phase::Elsewhere;
            self.streamer = None;
        }
        was_here
    }

    /// Ends here alone what nobody listens to and whose streamer is not here. False if it is of use.
    pub fn release(&mut self) -> bool {
        let idle = self.listeners.is_empty() && !matches!(self.phase, Phase::Live { .. });
        if idle {
            self.phase = Phase::Ended;
        }
        idle
    }

    /// Lets a listener in. It gets [`Self::history`] first, then every clip that is uploaded from now on.
    pub fn join(&mut self, id: ListenerId, listener: L) -> Result<(), LivestreamError> {
        if matches!(self.phase, Phase::Ended) {
            return Err(LivestreamError::Ended);
        }
        if self.listeners.len() >= self.bounds.max_listeners {
            return Err(LivestreamError::Full);
        }
        self.listeners.insert(id, listener);
        Ok(())
    }

    /// Lets a listener go.
    pub fn leave(&mut self, id: ListenerId) -> Option<L> {
        self.listeners.remove(&id)
    }

    /// Whether a streamer has ever been told that it is on.
    pub fn has_aired(&self) -> bool {
        self.aired
    }

    /// Whether this listener is still here.
    pub fn has_listener(&self, id: ListenerId) -> bool {
        self.listeners.contains_key(&id)
    }

    /// The clips for who joins now, oldest first.
    pub fn history(&self) -> impl Iterator<Item = &Arc<Clip>> {
        self.history.clips()
    }

    /// Who is listening.
    pub fn listeners(&self) -> impl ExactSizeIterator<Item = &L> {
        self.listeners.values()
    }

    /// Lets everybody go, when it is over.
    pub fn take_listeners(&mut self) -> Vec<L> {
        std::mem::take(&mut self.listeners).into_values().collect()
    }

    /// Whether this epoch is the good one.
    pub fn is_current(&self, epoch: Epoch) -> bool {
        matches!(self.phase, Phase::Live { epoch: good } if good == epoch)
    }

    /// The good epoch, while its streamer is here.
    pub fn epoch(&self) -> Option<Epoch> {
        match self.phase {
            Phase::Live { epoch } => Some(epoch),
            _ => None,
        }
    }

    /// How it is going.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Waiting { .. } => State::Waiting,
            Phase::Live { .. } | Phase::Elsewhere => State::Live,
            Phase::Grace { .. } => State::Reconnecting,
            Phase::Ended => State::Ended,
        }
    }

    /// Whether it counts as started for a listener: on air, or in its grace.
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

    /// Whose show it is, if its streamer was here last, and the sequence of its next clip.
    pub fn streamer_and_next_sequence(&self) -> Option<(&UserId, u64)> {
        self.streamer
            .as_ref()
            .map(|user| (user, self.next_sequence))
    }
}

#[cfg(test)]
mod tests;
