//! The life of one livestream, as a state machine.
//!
//! ```text
//!            start                 lost                    expire
//! Waiting ───────────▶ Live(lease) ─────▶ Grace ─────────────────────▶ Ended
//!    │                  ▲   │ ▲ └──┘ start: a newer lease    │           ▲
//!    │                  │   │ └──────── start ───────────────┘           │
//!    └── expire ────────┼───┴──────────── end ───────────────────────────┘
//! ```
//!
//! In a cluster the streamer may be on another node: `Elsewhere`, entered and left as the cluster says ([`Livestream::follow`]).
//!
//! **Invariant**: at most one lease is good at any time, and it is the newest: an older one can neither upload nor
//! end anything. A listener that has joined is handed every later clip once and in order, after the backlog it got.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Backlog, Clip, UserId};

/// The right of one socket to be the livestream's streamer: its epoch. A takeover raises it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease(pub u64);

/// A listener's place: unlike any other on this node, so that who leaves late takes nobody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place(pub u64);

/// What a livestream may hold.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// How long it stays live without its streamer.
    pub grace: Duration,
    /// Clips that a joining listener gets.
    pub backlog_clips: usize,
    /// Bytes that those may weigh.
    pub backlog_bytes: usize,
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
        lease: Lease,
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
pub enum Word {
    /// On air.
    Live,
    /// Its streamer is awaited until then.
    Grace(Instant),
    /// Over.
    Ended,
    /// Nobody knows anything of it.
    Nothing,
}

/// What a start did to what was before.
#[derive(Debug, PartialEq, Eq)]
pub struct Started {
    /// The lease that is good no more.
    pub replaced: Option<Lease>,
    /// Whether a show that was under way goes on.
    pub resumed: bool,
}

/// What the loss of a streamer's transport means.
#[derive(Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: a newer lease is good.
    Stale,
    /// The livestream waits for its streamer until then.
    Grace(Instant),
    /// It had never been on air: it is over.
    Ended,
}

/// Why something cannot be.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another socket is the streamer now, or the livestream is over.
    #[error("the lease is good no more")]
    StaleLease,
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
    bounds: Bounds,
    streamer: Option<UserId>,
    /// Whether a streamer has ever been told of its success: until then there is nothing to come back to.
    aired: bool,
    next_sequence: u64,
    backlog: Backlog,
    listeners: HashMap<Place, L>,
}

impl<L> Livestream<L> {
    /// A livestream that waits for its streamer, for as long as a grace.
    pub fn new(bounds: Bounds, now: Instant) -> Self {
        Self {
            phase: Phase::Waiting {
                until: now + bounds.grace,
            },
            backlog: Backlog::new(bounds.backlog_clips, bounds.backlog_bytes),
            bounds,
            streamer: None,
            aired: false,
            next_sequence: 1,
            listeners: HashMap::new(),
        }
    }

    /// A livestream as another process left it: in its grace from `now` on, with its latest clips.
    pub fn restored(
        bounds: Bounds,
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

    /// Makes the socket with this lease the streamer, unless one with a newer lease is.
    pub fn start(&mut self, user: UserId, lease: Lease) -> Result<Started, Refused> {
        let replaced = match self.phase {
            Phase::Ended => return Err(Refused::Ended),
            Phase::Live { lease: old } if lease <= old => return Err(Refused::StaleLease),
            Phase::Live { lease } => Some(lease),
            Phase::Waiting { .. } | Phase::Grace { .. } | Phase::Elsewhere => None,
        };
        self.phase = Phase::Live { lease };
        self.streamer = Some(user);
        Ok(Started {
            replaced,
            resumed: self.aired,
        })
    }

    /// Whether a streamer with a newer lease is on air.
    pub fn is_superseded(&self, lease: Lease) -> bool {
        matches!(self.phase, Phase::Live { lease: newer } if newer > lease)
    }

    /// The streamer has been told: from here on a loss is followed by a grace. False if the lease is stale.
    pub fn air(&mut self, lease: Lease) -> bool {
        let good = self.holds(lease);
        self.aired |= good;
        good
    }

    /// Takes a clip in. The caller hands it to [`Self::listeners`] before anything else happens here.
    pub fn upload(
        &mut self,
        lease: Lease,
        bytes: Bytes,
        now: Instant,
    ) -> Result<Arc<Clip>, Refused> {
        if !self.holds(lease) {
            return Err(Refused::StaleLease);
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
        self.backlog.push(clip.clone());
        clip
    }

    /// The streamer's transport is gone.
    pub fn lost(&mut self, lease: Lease, now: Instant) -> Loss {
        if !self.holds(lease) {
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

    /// The streamer ends the show. False if the lease is stale: nothing happens.
    pub fn end(&mut self, lease: Lease) -> bool {
        let good = self.holds(lease);
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
    pub fn follow(&mut self, word: Word, now: Instant) -> bool {
        if self.is_live_here() {
            return false;
        }
        self.phase = match (word, self.phase) {
            // What waits has not begun.
            (_, phase @ (Phase::Live { .. } | Phase::Ended))
            | (Word::Ended | Word::Nothing, phase @ Phase::Waiting { .. }) => phase,
            (Word::Live, _) => Phase::Elsewhere,
            (Word::Grace(until), _) => Phase::Grace { until },
            (Word::Ended, _) => Phase::Ended,
            // Forgotten by others, it is awaited as if it had just been lost.
            (Word::Nothing, Phase::Grace { until }) if until <= now => Phase::Ended,
            (Word::Nothing, phase @ Phase::Grace { .. }) => phase,
            (Word::Nothing, Phase::Elsewhere) => Phase::Grace {
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
    pub fn hand_on(&mut self, bytes: Bytes, now: Instant) -> Option<Arc<Clip>> {
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

    /// Lets a listener in. It gets [`Self::backlog`] first, then every clip that is uploaded from now on.
    pub fn join(&mut self, place: Place, listener: L) -> Result<(), Refused> {
        if matches!(self.phase, Phase::Ended) {
            return Err(Refused::Ended);
        }
        if self.listeners.len() >= self.bounds.max_listeners {
            return Err(Refused::Full);
        }
        self.listeners.insert(place, listener);
        Ok(())
    }

    /// Lets a listener go.
    pub fn leave(&mut self, place: Place) -> Option<L> {
        self.listeners.remove(&place)
    }

    /// Whether a streamer has ever been told that it is on.
    pub fn has_aired(&self) -> bool {
        self.aired
    }

    /// Whether this listener is still here.
    pub fn seats(&self, place: Place) -> bool {
        self.listeners.contains_key(&place)
    }

    /// The clips for who joins now, oldest first.
    pub fn backlog(&self) -> impl Iterator<Item = &Arc<Clip>> {
        self.backlog.clips()
    }

    /// Who is listening.
    pub fn listeners(&self) -> impl ExactSizeIterator<Item = &L> {
        self.listeners.values()
    }

    /// Lets everybody go, when it is over.
    pub fn take_listeners(&mut self) -> Vec<L> {
        std::mem::take(&mut self.listeners).into_values().collect()
    }

    /// Whether this lease is the good one.
    pub fn holds(&self, lease: Lease) -> bool {
        matches!(self.phase, Phase::Live { lease: good } if good == lease)
    }

    /// The good lease, while its streamer is here.
    pub fn lease(&self) -> Option<Lease> {
        match self.phase {
            Phase::Live { lease } => Some(lease),
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
    pub fn show(&self) -> Option<(&UserId, u64)> {
        self.streamer
            .as_ref()
            .map(|user| (user, self.next_sequence))
    }
}

#[cfg(test)]
mod tests;
