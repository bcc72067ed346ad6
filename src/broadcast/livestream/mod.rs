//! The lifecycle of one livestream, as a state machine.
//!
//! ```text
//!            start                 lost                    expire
//! Waiting ───────────▶ Live(epoch) ─────▶ Reconnecting ──────────────▶ Ended
//!    │                  ▲   │ ▲ └──┘ start: a newer epoch    │           ▲
//!    │                  │   │ └──────── start ───────────────┘           │
//!    └── expire ────────┼───┴──────────── end ───────────────────────────┘
//! ```
//!
//! In a cluster the streamer may be on another node: the livestream is live without an epoch ([`Livestream::follow`],
//! [`Livestream::yield_to_other`]).
//!
//! **Invariant**: at most one epoch is current at any time, and it is the newest: an older one can neither upload nor
//! end the livestream. A listener that has joined gets every later clip once and in order, after the history.

mod listeners;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Clip, History, NewClip, Position, Record, State, UserId};

/// A fencing token: the right of one socket to be the livestream's streamer. A takeover raises it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A listener's id. It is unique on this node, so that a late departure removes no other listener, and larger than the
/// ids of those who joined before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// No streamer has put it on air, as far as is known.
    #[error("the livestream has not started")]
    NotStarted,
    /// The number of listeners is at its limit.
    #[error("the number of listeners is at its limit")]
    Full,
}

/// One livestream; `L` is a listener.
#[derive(Debug)]
pub struct Livestream<L> {
    state: State,
    /// The current epoch, while its streamer is here: it is live then.
    epoch: Option<Epoch>,
    /// The end by itself, while it is waiting or reconnecting.
    deadline: Option<Instant>,
    bounds: LivestreamLimits,
    streamer: Option<UserId>,
    /// Whether it was ever on air: until then a streamer has nothing to return to.
    aired: bool,
    /// The epoch of clips that this node alone numbers.
    local_epoch: u64,
    next_sequence: u64,
    history: History,
    // In the order in which they joined: about the order of their memory and of their descriptors, which a fan-out walks
    // faster than a random one.
    listeners: BTreeMap<ListenerId, L>,
    /// Listeners with a player on this node, which take their clips elsewhere.
    players: usize,
}

impl<L> Livestream<L> {
    /// A livestream that waits for its streamer, for the length of a grace period.
    pub fn new(bounds: LivestreamLimits, now: Instant) -> Self {
        Self {
            state: State::Waiting,
            epoch: None,
            deadline: Some(now + bounds.grace),
            history: History::new(bounds.history_clips, bounds.history_bytes),
            bounds,
            streamer: None,
            aired: false,
            local_epoch: super::local_epoch(0),
            next_sequence: 1,
            listeners: BTreeMap::new(),
            players: 0,
        }
    }

    /// The same, with another epoch for the clips that this node alone numbers: see [`super::local_epoch`].
    #[must_use]
    pub fn in_epoch(self, local_epoch: u64) -> Self {
        Self {
            local_epoch,
            ..self
        }
    }

    /// A livestream of the previous process: in its grace period from `now` on, with its latest clips.
    pub fn restored(
        bounds: LivestreamLimits,
        streamer: UserId,
        next_sequence: u64,
        clips: impl IntoIterator<Item = NewClip>,
        now: Instant,
    ) -> Self {
        let mut livestream = Self::new(bounds, now);
        livestream.await_streamer(now + livestream.bounds.grace);
        livestream.streamer = Some(streamer);
        livestream.aired = true;
        let clips: Vec<NewClip> = clips.into_iter().collect();
        livestream.next_sequence = next_sequence.saturating_sub(clips.len() as u64).max(1);
        for clip in clips {
            livestream.stamp(clip, now);
        }
        livestream
    }

    /// Enters a state without a streamer here and without a deadline.
    fn enter(&mut self, state: State) {
        (self.state, self.epoch, self.deadline) = (state, None, None);
    }

    fn await_streamer(&mut self, until: Instant) {
        self.enter(State::Reconnecting);
        self.deadline = Some(until);
    }

    /// Makes the socket with this epoch the streamer, unless the current epoch is as new or newer.
    pub fn start(&mut self, user: UserId, epoch: Epoch) -> Result<Started, LivestreamError> {
        if self.state == State::Ended {
            return Err(LivestreamError::Ended);
        }
        let replaced = self.epoch;
        if replaced.is_some_and(|old| epoch <= old) {
            return Err(LivestreamError::StaleEpoch);
        }
        self.enter(State::Live);
        self.epoch = Some(epoch);
        self.streamer = Some(user);
        Ok(Started {
            replaced,
            resumed: self.aired,
        })
    }

    /// Whether a newer epoch is current.
    pub fn is_superseded(&self, epoch: Epoch) -> bool {
        self.epoch.is_some_and(|newer| newer > epoch)
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
        clip: impl Into<NewClip>,
        now: Instant,
    ) -> Result<Arc<Clip>, LivestreamError> {
        if !self.is_current(epoch) {
            return Err(LivestreamError::StaleEpoch);
        }
        self.aired = true;
        Ok(self.stamp(clip.into(), now))
    }

    /// The position of the next clip that this node alone numbers.
    pub fn next_position(&self) -> Position {
        Position::new(self.local_epoch, self.next_sequence)
    }

    fn stamp(&mut self, clip: NewClip, now: Instant) -> Arc<Clip> {
        let here = self.next_position();
        let clip = Arc::new(Clip::new(self.next_sequence, here, clip, now));
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
            self.enter(State::Ended);
            return Loss::Ended;
        }
        let until = now + self.bounds.grace;
        self.await_streamer(until);
        Loss::Grace(until)
    }

    /// Ends the livestream for its streamer. False, without an effect, if the epoch is stale.
    pub fn end(&mut self, epoch: Epoch) -> bool {
        let current = self.is_current(epoch);
        if current {
            self.enter(State::Ended);
        }
        current
    }

    /// Ends the livestream if its deadline has passed; true if it is over now.
    pub fn expire(&mut self, now: Instant) -> bool {
        if self.deadline.is_some_and(|until| until <= now) {
            self.enter(State::Ended);
        }
        self.state == State::Ended
    }

    /// The time at which the livestream ends by itself, if no streamer comes.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Applies the cluster's state, unless the streamer is here. True if the livestream is over now.
    pub fn follow(&mut self, record: &Record, now: Instant) -> bool {
        if self.is_live_here() {
            return false;
        }
        match (record.state, self.state) {
            (Some(State::Waiting), _)
            | (_, State::Ended)
            // A waiting livestream has not begun.
            | (Some(State::Ended) | None, State::Waiting) => {}
            (Some(State::Live), _) => self.enter(State::Live),
            (Some(State::Reconnecting), _) => self.await_streamer(now + record.grace_left),
            (Some(State::Ended), _) => self.enter(State::Ended),
            (None, State::Reconnecting) => {
                self.expire(now);
            }
            // Without a record in the cluster the grace period starts now, as if the streamer had just been lost.
            (None, State::Live) => self.await_streamer(now + self.bounds.grace),
        }
        self.aired |= self.is_started();
        if self.state == State::Live {
            self.streamer = None;
        }
        self.state == State::Ended
    }

    /// Accepts a clip from another node; none if the livestream is over.
    pub fn accept_remote_clip(
        &mut self,
        clip: impl Into<NewClip>,
        now: Instant,
    ) -> Option<Arc<Clip>> {
        (self.state != State::Ended).then(|| {
            self.aired = true;
            self.stamp(clip.into(), now)
        })
    }

    /// Another node owns the livestream: a streamer here is no longer current. False if there was none.
    pub fn yield_to_other(&mut self) -> bool {
        let was_here = self.is_live_here();
        if was_here {
            self.enter(State::Live);
            self.streamer = None;
        }
        was_here
    }

    /// Ends, on this node only, a livestream without a listener or a streamer here. False if it has one, or awaits the
    /// streamer that was here last: this node tells of its end.
    pub fn release(&mut self) -> bool {
        let awaits = self.state == State::Reconnecting && self.streamer.is_some();
        let idle = self.listener_count() == 0 && !self.is_live_here() && !awaits;
        if idle {
            self.enter(State::Ended);
        }
        idle
    }

    /// Whether it was ever on air.
    pub fn has_aired(&self) -> bool {
        self.aired
    }

    /// The latest clips.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The latest clips, to be changed by what other nodes have.
    pub fn history_mut(&mut self) -> &mut History {
        &mut self.history
    }

    /// Records that listeners here heard this clip before, under another position.
    pub fn repeat(&mut self, clip: NewClip, now: Instant) {
        let sequence = self.latest_sequence();
        let here = Position::new(self.local_epoch, sequence);
        self.history
            .push(Arc::new(Clip::repeated(sequence, here, clip, now)));
    }

    /// The epoch of clips that this node alone numbers.
    pub fn local_epoch(&self) -> u64 {
        self.local_epoch
    }

    /// Whether this epoch is the current one.
    pub fn is_current(&self, epoch: Epoch) -> bool {
        self.epoch == Some(epoch)
    }

    /// The current epoch, while its streamer is here.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it counts as started for a listener: on air, or in its grace period.
    pub fn is_started(&self) -> bool {
        self.state.is_started()
    }

    /// Whether its streamer is here.
    pub fn is_live_here(&self) -> bool {
        self.epoch.is_some()
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
