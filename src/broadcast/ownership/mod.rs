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

mod answers;
mod words;

pub use words::{
    Action, Condition, Flag, Goodbye, Held, Input, Release, RemoteStatus, Renewal, Streamer,
};

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
        /// The newest epoch that was seen.
        expected: u64,
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
            expected: 0,
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
}

#[cfg(test)]
mod any_input;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
