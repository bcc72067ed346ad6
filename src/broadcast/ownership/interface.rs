//! What goes into the state machine of ownership, and what comes out.

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
pub struct RemoteStatus {
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

impl RemoteStatus {
    /// Another node streams it.
    pub(super) fn is_elsewhere(&self) -> bool {
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
    Observed(RemoteStatus),
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
    Refused(RemoteStatus),
    /// Answer to [`Action::Publish`].
    Published,
    /// Answer to [`Action::Publish`], and to [`Action::Republish`] on success or not: this is the record.
    NotPublished(RemoteStatus),
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
    Follow(RemoteStatus),
    /// Writes `streamerConnected`.
    WriteFlag(bool),
    /// Has all nodes look at the livestream, should this one die.
    Enrol,
}
