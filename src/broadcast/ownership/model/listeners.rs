//! A listener on every node, from the beginning on: it is owed every acknowledged clip.
//!
//! Only if it heard an unconfirmed streamer, it may miss clips of the owners before that one: order comes first.

use super::super::*;
use super::redis::{Clip, Fence, Fences, Memory};
use super::world::World;
use crate::broadcast::{Follower, Position, Record, State};

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Listener {
    follower: Follower,
    /// The heard clips, by number, in the order of their numbers.
    heard: Vec<u8>,
    /// The clock when the unconfirmed streamer was admitted.
    unconfirmed_since: Option<u64>,
    /// It is owed clips of later epochs than this one.
    owed_after: u64,
    /// The record's position before the latest claim.
    before: Position,
}

impl Listener {
    /// Hears its own node's streamer.
    pub(super) fn hear(&mut self, number: u8) {
        self.add(number);
        if let Some(since) = self.unconfirmed_since {
            self.follower.hear_apart(since);
            self.owed_after = since;
        }
    }

    fn add(&mut self, number: u8) {
        if let Err(place) = self.heard.binary_search(&number) {
            self.heard.insert(place, number);
        }
    }

    pub(super) fn streamer_is_admitted(&mut self, is_confirmed: bool, clock: u64) {
        self.unconfirmed_since = (!is_confirmed).then_some(clock);
    }

    pub(super) fn claimed(&mut self, before: &Record) {
        self.before = (before.epoch, before.sequence);
    }

    pub(super) fn granted(&mut self) {
        self.unconfirmed_since = None;
    }

    pub(super) fn follow_from(&mut self, progress: Progress) {
        self.follower
            .restart(Some((progress.epoch, progress.sequence)));
    }

    /// The new owner's node, if it can, fetches what others published; it is cut off otherwise, and does not know.
    pub(super) fn catch_up(&mut self, memory: &Memory, is_cut: bool, clock: u64, fences: Fences) {
        if !fences.have(Fence::CatchUp) {
            return;
        }
        if is_cut {
            self.owed_after = clock;
        } else {
            self.reach(memory, self.before);
        }
    }

    pub(super) fn follow(&mut self, memory: &Memory, seen: &Record, is_cut: bool) {
        if seen.state == Some(State::Ended) {
            self.follower = Follower::default();
        }
        if seen.is_started() && !is_cut {
            self.reach(memory, (seen.epoch, seen.sequence));
        }
    }

    fn reach(&mut self, memory: &Memory, until: Position) {
        self.follower.settle(until);
        for clip in &memory.history {
            let position = (clip.0, clip.1);
            if position <= until && self.follower.take(position).is_some() {
                self.add(clip.2);
            }
        }
    }

    fn is_owed(&self, clip: &Clip) -> bool {
        clip.0 > self.owed_after && !self.heard.contains(&clip.2)
    }
}

impl World {
    /// Every listener has heard each acknowledged clip that Redis has.
    pub(super) fn acknowledged_are_heard(&self) -> bool {
        let mut acknowledged = self.acknowledged.iter();
        acknowledged.all(|(_, clip)| {
            let mut alive = self.nodes.iter().filter(|node| node.is_alive);
            !self.memory.history.contains(clip) || alive.all(|node| !node.listener.is_owed(clip))
        })
    }
}
