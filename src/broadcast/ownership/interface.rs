//! Inputs and actions of the ownership state machine.

use crate::broadcast::{Position, Record};

/// The renewal of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Renewal {
    /// The owner's epoch, and its latest published clip.
    pub position: Position,
    /// When its streamer came.
    pub came: u64,
    /// Whether a lost record is written again. An owner that may have been replaced meanwhile must not do so.
    pub may_restore: bool,
}

/// A claim: it takes effect if `expected` is still the newest epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The newest epoch that was seen.
    pub expected: u64,
    /// The latest sequence known here.
    pub sequence: u64,
    /// Whether another livestream begins: its predecessor's history is dropped.
    pub is_fresh: bool,
    /// When its streamer came, in microseconds of Redis's clock; 0: with this claim.
    pub came: u64,
}

/// Whether this node may have left `streamerConnected` true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flag {
    /// It has not.
    Clear,
    /// Other nodes clear it, unless Redis forgets the livestream.
    IfForgotten,
    /// This node clears it, unless the livestream continues elsewhere.
    Owed,
}

/// An event or an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    /// A streamer requests the livestream.
    StreamerCame {
        /// The time, in microseconds of Redis's clock; 0 if it is unknown.
        at: u64,
    },
    /// The streamer's transport is gone, or its node stops: the grace period begins.
    StreamerLost,
    /// The streamer ended the livestream, or never began.
    StreamerEnded,
    /// A clip is queued for publication.
    ClipQueued,
    /// A comparison with the record is due: the interval is over, Redis is back, or the record has changed.
    HeartbeatDue,
    /// Redis has confirmed nothing for a whole lease.
    LeaseOver,
    /// Answer to [`Action::Heartbeat`].
    Observed(Record),
    /// Answer to [`Action::Claim`]: this node is the owner.
    Granted {
        /// The new epoch.
        epoch: u64,
        /// The latest sequence in use.
        sequence: u64,
        /// Whether the livestream had already begun.
        is_resumed: bool,
    },
    /// Answer to [`Action::Claim`]: the record has changed, or the claim came too late.
    Refused(Record),
    /// Answer to [`Action::Publish`].
    Published {
        /// The sequence of the last clip.
        sequence: u64,
    },
    /// Answer to [`Action::Publish`], and to [`Action::Republish`] in any case: the record.
    NotPublished(Record),
    /// Answer to [`Action::Republish`].
    Republished,
    /// Answer to [`Action::Release`].
    Released(Release),
    /// A command was not answered in time. It may have taken effect.
    Unanswered,
}

/// The result of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Release {
    /// Released, by this call or an earlier one.
    Done,
    /// There was no record.
    Missing,
    /// Another epoch is newer.
    Stale,
}

/// The streamer that a claim is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Streamer {
    /// It has just connected: it takes over from any other.
    Arriving,
    /// It connected while Redis was away, and was never the owner.
    New,
    /// It was the owner under this node's latest epoch.
    Known,
}

/// The reason for dismissing a streamer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Goodbye {
    /// A newer streamer owns the livestream.
    TakenOver,
    /// It was never confirmed, and another streamer seems to be newer: the one that connects again wins.
    ComeAgain,
}

/// The actions, to be performed in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Command: read the record, and renew a lease.
    Heartbeat(Option<Renewal>),
    /// Command: become the owner. Before that, schedules a check by other nodes, in case this node dies.
    Claim(Claim),
    /// Command: publish the next clips, all or none. If they were tried before, the same ones.
    Publish {
        /// The epoch of their publication.
        epoch: u64,
        /// The sequence of the first one.
        sequence: u64,
    },
    /// Command: publish the history after this sequence again.
    Republish {
        /// The epoch of its first publication.
        epoch: u64,
        /// The latest sequence that Redis has.
        after: u64,
    },
    /// Command: report that the livestream has no streamer here any longer.
    Release {
        /// The epoch that ends.
        epoch: u64,
        /// Whether it is over; otherwise its grace period begins.
        is_ended: bool,
    },
    /// Admits the streamer that connected.
    Admit {
        /// Whether this node is the owner.
        is_confirmed: bool,
    },
    /// Dismisses the streamer.
    Dismiss(Goodbye),
    /// Fetches the missing clips of the owners before.
    CatchUp,
    /// Refuses the clips whose publication was tried under an older epoch.
    DropTried,
    /// Refuses every queued clip.
    RefuseClips,
    /// Follows other owners from here.
    FollowFrom(Position),
    /// Applies the record.
    Follow(Record),
    /// Writes `streamerConnected`.
    WriteFlag(bool),
    /// Schedules a check by other nodes for the end of the grace period.
    Enrol,
}
