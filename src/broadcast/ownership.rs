//! Which node owns a livestream, as one node of a cluster knows it.
//!
//! ```text
//!               streamer came               granted                      streamer lost or ended
//!  Following ────────────────▶ Claiming ───────────────▶ Owner(epoch) ─────────────────────────▶ Releasing
//!      ▲ ▲                       │  ▲                       │   ▲  another node has claimed            │
//!      │ │   no answer           ▼  │ no other live owner   │   │  since: dismissed, Following         │ released
//!      │ └───────────────── Unconfirmed ◀───────────────────┘   │                                      │
//!      │  another live owner      │        lease over           │                                      │
//!      │                          └─────────────────────────────┘                                      │
//!      │                             heartbeat: still the owner                                        │
//!      └───────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! [`Ownership::apply`] takes one input and returns actions. At most one of them is a command to Redis, and it is the last:
//! its answer, or [`Input::Unanswered`], is the next input that may lead to a command.
//!
//! **Invariant**: a clip is published only under the newest epoch that was granted to this node, with the sequence after
//! the last one that is known to be published; a sequence is used again only for the same clip. A streamer is dismissed
//! only because of another live owner, never because Redis is away.

/// What a record says about a livestream, as ownership needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    /// There is no record.
    Missing,
    /// There is no record, but Redis may have lost its memory a moment ago and not been told again yet.
    Unsettled,
    /// Its owner has a live streamer.
    Live,
    /// Nobody streams; the streamer is awaited, or nobody has noticed yet that it stays away.
    Awaited,
    /// It is over.
    Ended,
}

/// A record, as a node saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seen {
    /// The newest epoch; 0 without a record.
    pub epoch: u64,
    /// How the livestream is going.
    pub condition: Condition,
    /// The latest clip of the history in Redis.
    pub sequence: u64,
    /// Whether this node's process is the owner.
    pub is_here: bool,
    /// The record was missing, or older than the owner's epoch, and this heartbeat wrote it again.
    pub is_restored: bool,
}

impl Seen {
    /// Another node streams it.
    fn is_elsewhere(&self) -> bool {
        self.condition == Condition::Live && !self.is_here
    }
}

/// A place that a node has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Held {
    /// Its epoch.
    pub epoch: u64,
    /// Its latest published clip.
    pub sequence: u64,
}

/// A lease that is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Renewal {
    /// What is held.
    pub held: Held,
    /// Whether a record that was lost is written again: an owner that may have been replaced meanwhile must not.
    pub may_restore: bool,
}

/// Whether `streamerConnected` may be left true by this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flag {
    /// It is not.
    Clear,
    /// Others clear it, unless Redis forgets the livestream.
    IfForgotten,
    /// This node clears it, unless the livestream goes on elsewhere.
    Owed,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    /// A streamer wants the livestream.
    StreamerCame,
    /// The streamer's transport is gone, or its node stops: the grace period begins.
    StreamerLost,
    /// The streamer ended the livestream, or never began.
    StreamerEnded,
    /// A clip waits to be published.
    ClipQueued,
    /// The record is to be compared: the interval is over, Redis is back, or the record has changed.
    HeartbeatDue,
    /// Redis has confirmed nothing for as long as the lease lasts.
    LeaseOver,
    /// Answer to [`Action::Heartbeat`].
    Observed(Seen),
    /// Answer to [`Action::Claim`]: this node is the owner.
    Granted {
        /// The new epoch.
        epoch: u64,
        /// The latest sequence that was given.
        sequence: u64,
        /// The livestream was under way.
        is_resumed: bool,
    },
    /// Answer to [`Action::Claim`]: the record has changed, or the claim came too late.
    Refused(Seen),
    /// Answer to [`Action::Publish`].
    Published,
    /// Answer to [`Action::Publish`], and to [`Action::Republish`] on success or not: this is the record.
    NotPublished(Seen),
    /// Answer to [`Action::Republish`].
    Republished,
    /// Answer to [`Action::Release`].
    Released(Release),
    /// A command was not answered in time. It may have been done.
    Unanswered,
}

/// What a release found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Release {
    /// It is so, by this call or an earlier one.
    Done,
    /// There was no record.
    Missing,
    /// Another epoch is newer.
    Stale,
}

/// Which streamer a claim is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Streamer {
    /// It has just come: it takes over from any other.
    Arriving,
    /// It came while Redis was away, and never was the owner.
    New,
    /// It was the owner under the epoch that is held.
    Known,
}

/// Why a streamer must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Goodbye {
    /// A newer streamer has the livestream.
    TakenOver,
    /// Another streamer has it, and nobody knows which of them is newer: the one that connects again is.
    ComeAgain,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Command: read the record, and renew a lease.
    Heartbeat(Option<Renewal>),
    /// Command: become the owner if `expected` is still the newest epoch.
    Claim {
        /// The newest epoch that was seen.
        expected: u64,
        /// The latest sequence as known here.
        sequence: u64,
        /// Another livestream begins: nothing of the one before is kept.
        is_fresh: bool,
    },
    /// Command: publish the clip that is next.
    Publish {
        /// The epoch under which it is published.
        epoch: u64,
        /// Its sequence.
        sequence: u64,
    },
    /// Command: publish again the history after this sequence.
    Republish {
        /// The epoch under which it was published.
        epoch: u64,
        /// What Redis has.
        after: u64,
    },
    /// Command: the livestream has no streamer here any longer.
    Release {
        /// The epoch that ends.
        epoch: u64,
        /// Whether it is over, or its grace period begins.
        is_ended: bool,
    },
    /// Lets the streamer in that came.
    Admit {
        /// Whether this node is the owner.
        is_confirmed: bool,
    },
    /// Sends the streamer away.
    Dismiss(Goodbye),
    /// Fetches what the owner before published and has not come.
    CatchUp,
    /// Refuses the clip whose publication was tried under an older epoch.
    DropTried,
    /// Refuses every clip that waits.
    RefuseClips,
    /// Follows other owners from here; none: from the record's latest clip, for listeners here heard another streamer.
    FollowFrom(Option<Held>),
    /// Goes by what the record says.
    Follow(Seen),
    /// Writes `streamerConnected`.
    WriteFlag(bool),
    /// Has all nodes look at the livestream, should this one die.
    Enrol,
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ownership {
    /// No streamer is here.
    Following {
        /// The latest sequence as known here.
        sequence: u64,
        /// What is owed to Firestore.
        flag: Flag,
    },
    /// Redis is asked for the livestream.
    Claiming {
        /// For this one.
        streamer: Streamer,
        /// The epoch until now.
        held: Option<u64>,
        /// The latest sequence as known here.
        sequence: u64,
        /// Nothing of the livestream before is kept.
        is_fresh: bool,
        /// Claims that were refused.
        refusals: u8,
    },
    /// This node may publish.
    Owner {
        /// Under this epoch.
        epoch: u64,
        /// Its latest published clip.
        sequence: u64,
        /// The livestream was on air: it has a grace period.
        is_aired: bool,
        /// Heartbeats until the flag has been written again for the last time.
        affirmations: u8,
    },
    /// A streamer is here, and Redis does not say whose the livestream is.
    Unconfirmed {
        /// Which one.
        streamer: Streamer,
        /// The epoch until now.
        held: Option<u64>,
        /// The latest sequence as known here.
        sequence: u64,
    },
    /// No streamer is here, and Redis is to be told.
    Releasing {
        /// The epoch that ends.
        epoch: u64,
        /// Its latest published clip.
        sequence: u64,
        /// Whether the livestream is over.
        is_ended: bool,
    },
}

/// Refused claims after which a streamer is let in unconfirmed: each one means that another node was granted its own.
const MOST_REFUSALS: u8 = 8;
/// The flag of a livestream that begins is written again after so many heartbeats, for another node may write the end of
/// the one before only now: twice, for a slow Firestore.
const AFFIRM: (u8, u8) = (12, 9);

impl Default for Ownership {
    fn default() -> Self {
        Self::Following {
            sequence: 0,
            flag: Flag::Clear,
        }
    }
}

impl Ownership {
    /// Takes what happened; returns what is to be done.
    pub fn apply(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::StreamerCame => self.streamer_came(),
            Input::StreamerLost => self.streamer_gone(false),
            Input::StreamerEnded => self.streamer_gone(true),
            Input::ClipQueued => self.clip_queued(),
            Input::HeartbeatDue => self.heartbeat(),
            Input::LeaseOver => self.lease_over(),
            Input::Observed(seen) => self.observed(seen),
            Input::Refused(seen) => self.refused(seen),
            Input::NotPublished(seen) => self.not_published(seen),
            Input::Published => self.published(),
            Input::Republished => Vec::new(),
            Input::Released(release) => self.released(release),
            Input::Unanswered => self.unanswered(),
            Input::Granted {
                epoch,
                sequence,
                is_resumed,
            } => self.granted(epoch, sequence, is_resumed),
        }
    }

    /// The epoch under which this node may publish.
    pub fn epoch(&self) -> Option<u64> {
        match self {
            Self::Owner { epoch, .. } => Some(*epoch),
            _ => None,
        }
    }

    /// The latest sequence as known here.
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Following { sequence, .. }
            | Self::Claiming { sequence, .. }
            | Self::Owner { sequence, .. }
            | Self::Unconfirmed { sequence, .. }
            | Self::Releasing { sequence, .. } => *sequence,
        }
    }

    /// Whether it is known to have been on air: its end is preceded by a grace period.
    pub fn is_aired(&self) -> bool {
        !matches!(
            self,
            Self::Owner {
                is_aired: false,
                ..
            } | Self::Unconfirmed {
                streamer: Streamer::New,
                ..
            }
        )
    }

    /// Whether Redis, Firestore or a streamer still waits for something from here.
    pub fn is_busy(&self) -> bool {
        !matches!(
            self,
            Self::Following {
                flag: Flag::Clear | Flag::IfForgotten,
                ..
            }
        )
    }

    /// The epoch that this node had last, and for all that it knows still has.
    pub fn held(&self) -> Option<u64> {
        match self {
            Self::Owner { epoch, .. } => Some(*epoch),
            Self::Claiming { held, .. } | Self::Unconfirmed { held, .. } => *held,
            Self::Following { .. } | Self::Releasing { .. } => None,
        }
    }

    fn streamer_came(&mut self) -> Vec<Action> {
        let is_fresh = matches!(self, Self::Releasing { is_ended: true, .. });
        *self = Self::Claiming {
            streamer: Streamer::Arriving,
            held: self.held(),
            sequence: if is_fresh { 0 } else { self.sequence() },
            is_fresh,
            refusals: 0,
        };
        vec![Action::Heartbeat(None)]
    }

    fn streamer_gone(&mut self, is_ended: bool) -> Vec<Action> {
        let sequence = self.sequence();
        match *self {
            Self::Owner { epoch, .. }
            | Self::Unconfirmed {
                held: Some(epoch), ..
            } => {
                *self = Self::Releasing {
                    epoch,
                    sequence,
                    is_ended,
                };
                vec![Action::Release { epoch, is_ended }]
            }
            Self::Unconfirmed { held: None, .. } => {
                *self = Self::Following {
                    sequence,
                    flag: Flag::Owed,
                };
                vec![Action::RefuseClips, Action::FollowFrom(None)]
            }
            Self::Releasing { epoch, .. } if is_ended => {
                *self = Self::Releasing {
                    epoch,
                    sequence,
                    is_ended,
                };
                vec![Action::Release { epoch, is_ended }]
            }
            Self::Following { .. } | Self::Claiming { .. } | Self::Releasing { .. } => Vec::new(),
        }
    }

    fn clip_queued(&mut self) -> Vec<Action> {
        match *self {
            Self::Owner {
                epoch, sequence, ..
            } => vec![Action::Publish {
                epoch,
                sequence: sequence + 1,
            }],
            Self::Following { .. } | Self::Releasing { .. } => vec![Action::RefuseClips],
            Self::Claiming { .. } | Self::Unconfirmed { .. } => Vec::new(),
        }
    }

    fn heartbeat(&mut self) -> Vec<Action> {
        match *self {
            Self::Releasing {
                epoch, is_ended, ..
            } => vec![Action::Release { epoch, is_ended }],
            _ => vec![self.renew()],
        }
    }

    fn renew(&self) -> Action {
        let sequence = self.sequence();
        Action::Heartbeat(self.held().map(|epoch| Renewal {
            held: Held { epoch, sequence },
            may_restore: self.epoch().is_some(),
        }))
    }

    fn lease_over(&mut self) -> Vec<Action> {
        if let Self::Owner {
            epoch, sequence, ..
        } = *self
        {
            *self = Self::Unconfirmed {
                streamer: Streamer::Known,
                held: Some(epoch),
                sequence,
            };
        }
        Vec::new()
    }

    fn observed(&mut self, seen: Seen) -> Vec<Action> {
        match *self {
            Self::Following { flag, .. } => self.follow(seen, flag),
            Self::Claiming { .. } => self.claim(seen),
            Self::Owner { .. } | Self::Unconfirmed { .. } => self.compare(seen),
            Self::Releasing { .. } => Vec::new(),
        }
    }

    fn follow(&mut self, seen: Seen, flag: Flag) -> Vec<Action> {
        let is_ours = seen.condition == Condition::Live
            || seen.condition == Condition::Awaited && flag == Flag::Owed;
        if seen.is_here && is_ours {
            // A claim whose answer was lost, for a streamer that is gone.
            *self = Self::Releasing {
                epoch: seen.epoch,
                sequence: seen.sequence,
                is_ended: false,
            };
            return vec![Action::Release {
                epoch: seen.epoch,
                is_ended: false,
            }];
        }
        let mut actions = vec![Action::Follow(seen)];
        let (sequence, flag) = match (seen.condition, flag) {
            (Condition::Unsettled, flag) => (self.sequence(), flag),
            (Condition::Missing, Flag::Clear)
            | (Condition::Ended, Flag::Clear | Flag::IfForgotten) => (0, Flag::Clear),
            (Condition::Missing | Condition::Ended, _) => {
                actions.push(Action::WriteFlag(false));
                (0, Flag::Clear)
            }
            (Condition::Live | Condition::Awaited, _) => (seen.sequence, Flag::IfForgotten),
        };
        *self = Self::Following { sequence, flag };
        actions
    }

    /// Claims, unless another node has a live streamer that this one does not take over from.
    fn claim(&mut self, seen: Seen) -> Vec<Action> {
        let Self::Claiming {
            streamer,
            sequence,
            is_fresh,
            ..
        } = self
        else {
            return Vec::new();
        };
        if *streamer != Streamer::Arriving && seen.is_elsewhere() {
            return self.give_way(seen);
        }
        if *streamer != Streamer::Known && seen.condition == Condition::Ended {
            (*sequence, *is_fresh) = (0, true);
        }
        vec![Action::Claim {
            expected: seen.epoch,
            sequence: *sequence,
            is_fresh: *is_fresh,
        }]
    }

    /// Claims for a streamer that is here.
    fn claim_again(&mut self, seen: Seen) -> Vec<Action> {
        *self = Self::Claiming {
            streamer: self.streamer(),
            held: self.held(),
            sequence: self.sequence(),
            is_fresh: false,
            refusals: 0,
        };
        self.claim(seen)
    }

    fn streamer(&self) -> Streamer {
        match self {
            Self::Claiming { streamer, .. } | Self::Unconfirmed { streamer, .. } => *streamer,
            _ => Streamer::Known,
        }
    }

    /// A streamer is here, and this is the record.
    fn compare(&mut self, seen: Seen) -> Vec<Action> {
        let held = self.held();
        if held != Some(seen.epoch) || seen.condition != Condition::Live {
            let is_lost = held.is_some_and(|epoch| seen.epoch < epoch);
            return match (is_lost, self.epoch(), self.streamer()) {
                // From before the epoch: a heartbeat writes it again.
                (true, Some(_), _) => vec![self.renew()],
                // An owner that has replaced this one writes it again first.
                (true, None, Streamer::Known) if seen.condition == Condition::Unsettled => {
                    Vec::new()
                }
                _ => self.claim_again(seen),
            };
        }
        let (epoch, is_aired, mut affirmations) = match *self {
            Self::Owner {
                epoch,
                is_aired,
                affirmations,
                ..
            } => (epoch, is_aired, affirmations),
            _ => (seen.epoch, true, AFFIRM.0),
        };
        let sequence = self.sequence();
        let mut actions = Vec::new();
        if seen.is_restored {
            actions.push(Action::Enrol);
            affirmations = AFFIRM.0;
        } else if affirmations > 0 {
            affirmations -= 1;
            if affirmations == 0 || affirmations == AFFIRM.1 {
                actions.push(Action::WriteFlag(true));
            }
        }
        *self = Self::Owner {
            epoch,
            sequence,
            is_aired,
            affirmations,
        };
        if seen.sequence < sequence {
            actions.push(Action::Republish {
                epoch,
                after: seen.sequence,
            });
        }
        actions
    }

    /// Another node has a live streamer: its claim is later than an epoch that was held here.
    fn give_way(&mut self, seen: Seen) -> Vec<Action> {
        let (from, goodbye) = match (self.streamer(), self.held()) {
            (Streamer::Known, Some(epoch)) => {
                let sequence = self.sequence();
                (Some(Held { epoch, sequence }), Goodbye::TakenOver)
            }
            _ => (None, Goodbye::ComeAgain),
        };
        *self = Self::Following {
            sequence: seen.sequence,
            flag: Flag::IfForgotten,
        };
        vec![
            Action::RefuseClips,
            Action::Dismiss(goodbye),
            Action::FollowFrom(from),
            Action::Follow(seen),
        ]
    }

    fn granted(&mut self, epoch: u64, sequence: u64, is_resumed: bool) -> Vec<Action> {
        let Self::Claiming { streamer, held, .. } = *self else {
            return Vec::new();
        };
        let is_arrival = streamer == Streamer::Arriving;
        *self = Self::Owner {
            epoch,
            sequence,
            is_aired: is_resumed || !is_arrival,
            affirmations: if !is_resumed || !is_arrival {
                AFFIRM.0
            } else {
                0
            },
        };
        let mut actions = vec![Action::DropTried];
        if is_arrival && held.is_none() && is_resumed {
            actions.push(Action::CatchUp);
        }
        actions.push(Action::Enrol);
        if is_arrival {
            actions.push(Action::Admit { is_confirmed: true });
        }
        actions
    }

    fn refused(&mut self, seen: Seen) -> Vec<Action> {
        let Self::Claiming { refusals, .. } = self else {
            return Vec::new();
        };
        *refusals += 1;
        if *refusals >= MOST_REFUSALS {
            return self.unanswered();
        }
        self.claim(seen)
    }

    fn published(&mut self) -> Vec<Action> {
        if let Self::Owner {
            sequence, is_aired, ..
        } = self
        {
            *sequence += 1;
            *is_aired = true;
        }
        Vec::new()
    }

    fn not_published(&mut self, seen: Seen) -> Vec<Action> {
        match self {
            Self::Owner { .. } => self.compare(seen),
            _ => Vec::new(),
        }
    }

    fn released(&mut self, release: Release) -> Vec<Action> {
        let Self::Releasing {
            epoch,
            sequence,
            is_ended,
        } = *self
        else {
            return Vec::new();
        };
        let flag = match (release, is_ended) {
            (Release::Missing, false) | (Release::Stale, _) => Flag::Owed,
            (Release::Done, false) => Flag::IfForgotten,
            (Release::Done | Release::Missing, true) => Flag::Clear,
        };
        *self = Self::Following {
            sequence: if is_ended { 0 } else { sequence },
            flag,
        };
        let mut actions = vec![
            Action::RefuseClips,
            Action::FollowFrom(Some(Held { epoch, sequence })),
        ];
        match (release, is_ended) {
            (Release::Done | Release::Missing, true) => {
                actions.push(Action::WriteFlag(false));
            }
            (Release::Done, false) => actions.push(Action::Enrol),
            _ => {}
        }
        actions
    }

    fn unanswered(&mut self) -> Vec<Action> {
        let Self::Claiming {
            streamer,
            held,
            sequence,
            ..
        } = *self
        else {
            return Vec::new();
        };
        let is_arrival = streamer == Streamer::Arriving;
        *self = Self::Unconfirmed {
            streamer: if is_arrival { Streamer::New } else { streamer },
            held,
            sequence,
        };
        if is_arrival {
            vec![Action::Admit {
                is_confirmed: false,
            }]
        } else {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
