//! The answers of Redis, and the actions that follow.

use super::{
    AFFIRM, Action, Claim, Flag, Goodbye, MOST_REFUSALS, MOST_UNANSWERED, Ownership, Release,
    Streamer,
};
use crate::broadcast::{Position, Record, State};

/// Whether another node has had a streamer that came no earlier. Where it is unknown when this one came: whether another
/// node has a live one.
fn is_later(seen: &Record, came: u64) -> bool {
    let is_known = !matches!(seen.state, None | Some(State::Waiting));
    match came {
        0 => seen.is_elsewhere(),
        came => is_known && !seen.is_here && seen.came >= came,
    }
}

impl Ownership {
    pub(super) fn observed(&mut self, seen: Record) -> Vec<Action> {
        match *self {
            Self::Following { flag, .. } => self.follow(seen, flag),
            Self::Claiming { .. } => self.claim(seen),
            Self::Owner { .. } | Self::Unconfirmed { .. } => self.compare(seen),
            Self::Releasing { .. } => Vec::new(),
        }
    }

    pub(super) fn follow(&mut self, seen: Record, flag: Flag) -> Vec<Action> {
        let is_ours = seen.state == Some(State::Live)
            || seen.state == Some(State::Reconnecting) && flag == Flag::Owed;
        if seen.is_here && is_ours {
            // A claim with a lost answer, for a streamer that is gone.
            let epoch = seen.epoch;
            *self = Self::Releasing {
                epoch,
                sequence: self.sequence(),
                is_ended: false,
                is_unused: true,
            };
            return vec![Action::Release {
                epoch,
                is_ended: false,
            }];
        }
        let mut actions = vec![Action::Follow(seen)];
        let (sequence, flag) = match (seen.state, flag) {
            // The owner may write the record again.
            (Some(State::Waiting), flag) => (self.sequence(), flag),
            (None, Flag::Clear) | (Some(State::Ended), Flag::Clear | Flag::IfForgotten) => {
                (0, Flag::Clear)
            }
            (None | Some(State::Ended), _) => {
                actions.push(Action::WriteFlag(false));
                (0, Flag::Clear)
            }
            (Some(State::Live | State::Reconnecting), _) => (seen.sequence, Flag::IfForgotten),
        };
        *self = Self::Following { sequence, flag };
        actions
    }

    /// Claims, unless another node has had a later streamer.
    pub(super) fn claim(&mut self, seen: Record) -> Vec<Action> {
        let Self::Claiming {
            streamer,
            came,
            sequence,
            ended,
            expected,
            ..
        } = self
        else {
            return Vec::new();
        };
        *expected = seen.epoch;
        let is_arrival = *streamer == Streamer::Arriving;
        if !is_arrival && is_later(&seen, *came) {
            return self.give_way(seen);
        }
        let is_over = seen.state == Some(State::Ended) && *streamer != Streamer::Known;
        let is_fresh = is_over || *ended == Some(seen.epoch);
        vec![Action::Claim(Claim {
            expected: seen.epoch,
            sequence: if is_fresh { 0 } else { *sequence },
            is_fresh,
            came: if is_arrival { 0 } else { *came },
        })]
    }

    /// Claims for a streamer that is connected here.
    pub(super) fn claim_again(&mut self, seen: Record) -> Vec<Action> {
        *self = Self::Claiming {
            streamer: self.streamer(),
            came: self.came(),
            last_epoch: self.last_epoch(),
            sequence: self.sequence(),
            ended: None,
            expected: 0,
            refusals: 0,
            unanswered: 0,
        };
        self.claim(seen)
    }

    pub(super) fn streamer(&self) -> Streamer {
        match self {
            Self::Claiming { streamer, .. } | Self::Unconfirmed { streamer, .. } => *streamer,
            _ => Streamer::Known,
        }
    }

    /// Applies a record while a streamer is connected here.
    pub(super) fn compare(&mut self, seen: Record) -> Vec<Action> {
        let last_epoch = self.last_epoch();
        if last_epoch != Some(seen.epoch) || seen.state != Some(State::Live) {
            let is_lost = last_epoch.is_some_and(|epoch| seen.epoch < epoch);
            return match (is_lost, self.epoch(), self.streamer()) {
                // Older than the epoch: a heartbeat writes it again.
                (true, Some(_), _) => vec![self.renew()],
                // An owner that has replaced this one writes it again first.
                (true, None, Streamer::Known) if seen.state == Some(State::Waiting) => Vec::new(),
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
        let (sequence, came) = (self.sequence(), self.came());
        let mut actions = Vec::new();
        if seen.is_restored {
            affirmations = AFFIRM.0;
        } else if affirmations > 0 {
            affirmations -= 1;
            if affirmations == 0 || affirmations == AFFIRM.1 {
                actions.push(Action::WriteFlag(true));
            }
        }
        *self = Self::Owner {
            epoch,
            came,
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

    /// Another node has had a later streamer.
    pub(super) fn give_way(&mut self, seen: Record) -> Vec<Action> {
        let from = self.position();
        let goodbye = match (self.streamer(), from) {
            (Streamer::Known, Some(_)) => Goodbye::TakenOver,
            _ => Goodbye::ComeAgain,
        };
        // It was cleared before the streamer here set it.
        let is_over = seen.state == Some(State::Ended);
        let flag = if is_over {
            Flag::Owed
        } else {
            Flag::IfForgotten
        };
        *self = Self::Following {
            sequence: seen.sequence,
            flag,
        };
        let mut actions = vec![Action::RefuseClips, Action::Dismiss(goodbye)];
        actions.extend(from.map(Action::FollowFrom));
        actions.push(Action::Follow(seen));
        actions
    }

    pub(super) fn granted(&mut self, epoch: u64, sequence: u64, is_resumed: bool) -> Vec<Action> {
        let from = self.position();
        let Self::Claiming {
            streamer,
            came,
            expected,
            ..
        } = *self
        else {
            return Vec::new();
        };
        let is_arrival = streamer == Streamer::Arriving;
        *self = Self::Owner {
            epoch,
            came: if is_arrival || came == 0 { epoch } else { came },
            sequence,
            is_aired: is_resumed || !is_arrival,
            affirmations: AFFIRM.0,
        };
        let mut actions = vec![Action::DropTried];
        // Other nodes have owned it since this node did, or own it until now: their clips come first.
        if is_resumed && from.map(|it| it.epoch) != Some(expected) {
            if is_arrival && from.is_some() {
                actions.push(Action::Dismiss(Goodbye::TakenOver));
            }
            actions.extend(from.map(Action::FollowFrom));
            actions.push(Action::CatchUp);
        }
        if is_arrival {
            actions.push(Action::Admit { is_confirmed: true });
        }
        actions
    }

    pub(super) fn refused(&mut self, seen: Record) -> Vec<Action> {
        let Self::Claiming { refusals, .. } = self else {
            return Vec::new();
        };
        *refusals += 1;
        if *refusals >= MOST_REFUSALS {
            return self.go_unconfirmed();
        }
        self.claim(seen)
    }

    pub(super) fn published(&mut self, last: u64) -> Vec<Action> {
        if let Self::Owner {
            sequence, is_aired, ..
        } = self
        {
            *sequence = last.max(*sequence);
            *is_aired = true;
        }
        Vec::new()
    }

    pub(super) fn not_published(&mut self, seen: Record) -> Vec<Action> {
        match self {
            Self::Owner { .. } => self.compare(seen),
            _ => Vec::new(),
        }
    }

    pub(super) fn released(&mut self, release: Release) -> Vec<Action> {
        let Self::Releasing {
            epoch,
            sequence,
            is_ended,
            is_unused,
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
        let mut actions = vec![Action::RefuseClips];
        if !is_unused {
            actions.push(Action::FollowFrom(Position { epoch, sequence }));
        }
        match (release, is_ended) {
            (Release::Done | Release::Missing, true) => {
                actions.push(Action::WriteFlag(false));
            }
            (Release::Done, false) => actions.push(Action::Enrol),
            _ => {}
        }
        actions
    }

    pub(super) fn unanswered(&mut self) -> Vec<Action> {
        let Self::Claiming {
            streamer,
            unanswered,
            ..
        } = self
        else {
            return Vec::new();
        };
        *unanswered += 1;
        if *streamer == Streamer::Arriving && *unanswered < MOST_UNANSWERED {
            return vec![Action::Heartbeat(None)];
        }
        self.go_unconfirmed()
    }

    /// Gives the claim up.
    fn go_unconfirmed(&mut self) -> Vec<Action> {
        let Self::Claiming {
            streamer,
            came,
            last_epoch,
            sequence,
            ..
        } = *self
        else {
            return Vec::new();
        };
        let is_arrival = streamer == Streamer::Arriving;
        *self = Self::Unconfirmed {
            streamer: if is_arrival { Streamer::New } else { streamer },
            came,
            last_epoch,
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
