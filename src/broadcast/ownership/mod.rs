//! The owner of a livestream, from the point of view of one node of a cluster.
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
//! [`Ownership::apply`] takes one input and returns actions. At most one of them is a command to Redis, and it is last.
//! Its answer, or [`Input::Unanswered`], is the next input that may lead to a command.
//!
//! **Invariant**: a clip is published only under the newest epoch granted to this node, with the sequence after the
//! last one known to be published; a sequence is used again only for the same clip. Of two streamers the one that came
//! later wins, by Redis's clock: an earlier one never replaces it, however late its node learns of it. A streamer is
//! dismissed only because of a later one, never because Redis is away.

mod answers;
mod interface;

use super::Position;
pub use interface::{Action, Claim, Flag, Goodbye, Input, Release, Renewal, Streamer};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ownership {
    /// No streamer is connected here.
    Following {
        /// The latest sequence known here.
        sequence: u64,
        /// The flag in Firestore that this node may have to clear.
        flag: Flag,
    },
    /// A claim is in progress.
    Claiming {
        /// The streamer that the claim is for.
        streamer: Streamer,
        /// When it came, in microseconds of Redis's clock; 0 if it is unknown.
        came: u64,
        /// The epoch before the claim.
        last_epoch: Option<u64>,
        /// The latest sequence known here.
        sequence: u64,
        /// The epoch of a livestream that has ended here, which Redis may not know yet.
        ended: Option<u64>,
        /// The newest epoch in a record so far.
        expected: u64,
        /// Refused claims so far.
        refusals: u8,
        /// Commands without an answer so far.
        unanswered: u8,
    },
    /// This node may publish.
    Owner {
        /// Its epoch.
        epoch: u64,
        /// When its streamer came.
        came: u64,
        /// The latest published clip.
        sequence: u64,
        /// Whether the livestream was on air, and so has a grace period.
        is_aired: bool,
        /// Heartbeats until the flag is written again for the last time.
        affirmations: u8,
    },
    /// A streamer is connected here, and Redis does not confirm the owner.
    Unconfirmed {
        /// The streamer.
        streamer: Streamer,
        /// When it came; 0 if it is unknown.
        came: u64,
        /// The epoch before.
        last_epoch: Option<u64>,
        /// The latest sequence known here.
        sequence: u64,
    },
    /// The streamer is gone, and Redis does not know it yet.
    Releasing {
        /// The epoch that ends.
        epoch: u64,
        /// The latest published clip.
        sequence: u64,
        /// Whether the livestream is over.
        is_ended: bool,
        /// Whether this node never knew the epoch as its own: clips before it may be unknown here.
        is_unused: bool,
    },
}

/// A streamer is admitted unconfirmed after so many refused claims; each one means that another claim was granted.
const MOST_REFUSALS: u8 = 8;
/// Or after so many commands without an answer: one answer may come too late because this node itself is slow.
const MOST_UNANSWERED: u8 = 3;
/// The flag is written again after so many heartbeats of an epoch, since another node may write the end of an earlier
/// livestream late: twice, for a slow Firestore.
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
    /// Applies an input; returns the actions to perform.
    pub fn apply(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::StreamerCame { at } => self.streamer_came(at),
            Input::StreamerLost => self.streamer_gone(false),
            Input::StreamerEnded => self.streamer_gone(true),
            Input::ClipQueued => self.clip_queued(),
            Input::HeartbeatDue => self.heartbeat(),
            Input::LeaseOver => self.lease_over(),
            Input::Observed(seen) => self.observed(seen),
            Input::Refused(seen) => self.refused(seen),
            Input::NotPublished(seen) => self.not_published(seen),
            Input::Published { sequence } => self.published(sequence),
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

    /// The latest sequence known here.
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Following { sequence, .. }
            | Self::Claiming { sequence, .. }
            | Self::Owner { sequence, .. }
            | Self::Unconfirmed { sequence, .. }
            | Self::Releasing { sequence, .. } => *sequence,
        }
    }

    /// When the streamer here came, in microseconds of Redis's clock; 0 if there is none, or it is unknown.
    pub fn came(&self) -> u64 {
        match self {
            Self::Claiming { came, .. }
            | Self::Owner { came, .. }
            | Self::Unconfirmed { came, .. } => *came,
            Self::Following { .. } | Self::Releasing { .. } => 0,
        }
    }

    /// Whether it is known to have been on air: a grace period precedes its end.
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

    /// Whether Redis, Firestore or a streamer still waits for this node.
    pub fn is_busy(&self) -> bool {
        !matches!(
            self,
            Self::Following {
                flag: Flag::Clear | Flag::IfForgotten,
                ..
            }
        )
    }

    /// The epoch of this node, unless another node has replaced it without this node's knowledge.
    pub fn last_epoch(&self) -> Option<u64> {
        match self {
            Self::Owner { epoch, .. } => Some(*epoch),
            Self::Claiming { last_epoch, .. } | Self::Unconfirmed { last_epoch, .. } => *last_epoch,
            Self::Following { .. } | Self::Releasing { .. } => None,
        }
    }

    /// The same, with the latest clip that it published.
    fn position(&self) -> Option<Position> {
        let sequence = self.sequence();
        self.last_epoch().map(|epoch| Position { epoch, sequence })
    }

    fn streamer_came(&mut self, at: u64) -> Vec<Action> {
        let ended = match *self {
            Self::Releasing {
                epoch,
                is_ended: true,
                ..
            } => Some(epoch),
            _ => None,
        };
        let mut actions = Vec::new();
        if let Self::Releasing {
            epoch,
            sequence,
            is_unused: false,
            ..
        } = *self
        {
            // Others may have owned it since.
            actions.push(Action::FollowFrom(Position { epoch, sequence }));
        }
        *self = Self::Claiming {
            streamer: Streamer::Arriving,
            came: at,
            last_epoch: self.last_epoch(),
            sequence: if ended.is_some() { 0 } else { self.sequence() },
            ended,
            expected: 0,
            refusals: 0,
            unanswered: 0,
        };
        actions.push(Action::Heartbeat(None));
        actions
    }

    fn streamer_gone(&mut self, is_ended: bool) -> Vec<Action> {
        let sequence = self.sequence();
        match *self {
            Self::Owner { epoch, .. }
            | Self::Unconfirmed {
                last_epoch: Some(epoch),
                ..
            } => {
                *self = Self::Releasing {
                    epoch,
                    sequence,
                    is_ended,
                    is_unused: false,
                };
                vec![Action::Release { epoch, is_ended }]
            }
            Self::Unconfirmed {
                last_epoch: None, ..
            } => {
                *self = Self::Following {
                    sequence,
                    flag: Flag::Owed,
                };
                vec![Action::RefuseClips]
            }
            Self::Releasing {
                epoch, is_unused, ..
            } if is_ended => {
                *self = Self::Releasing {
                    epoch,
                    sequence,
                    is_ended,
                    is_unused,
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
        Action::Heartbeat(self.position().map(|position| Renewal {
            position,
            came: self.came(),
            may_restore: self.epoch().is_some(),
        }))
    }

    fn lease_over(&mut self) -> Vec<Action> {
        if let Self::Owner {
            epoch,
            came,
            sequence,
            ..
        } = *self
        {
            *self = Self::Unconfirmed {
                streamer: Streamer::Known,
                came,
                last_epoch: Some(epoch),
                sequence,
            };
        }
        Vec::new()
    }
}

#[cfg(test)]
mod any_input;
#[cfg(test)]
mod later_streamers;
#[cfg(test)]
mod model;
#[cfg(test)]
mod owners_before;
#[cfg(test)]
mod tests;
