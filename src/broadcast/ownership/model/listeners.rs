//! A listener on every node, from the beginning on: it is owed every acknowledged clip.
//!
//! Only if it heard a later streamer on its own node, it misses what an earlier one said until then: order comes first.

use super::redis::{Clip, Fence, Fences, Memory};
use super::world::World;
use crate::broadcast::{Follower, Position, Record, State};

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Listener {
    follower: Follower,
    /// The heard clips, by number, in the order of their numbers.
    heard: Vec<u8>,
    /// The latest streamer that it heard, by the time at which that came, and its latest clip.
    latest: (u64, u8),
    /// It heard a clip after a later one.
    is_confused: bool,
    /// It is owed clips of later epochs than this one.
    owed_after: u64,
    /// The record's position before the latest claim.
    before: Position,
}

impl Listener {
    /// Hears its own node's streamer.
    pub(super) fn hear(&mut self, number: u8, came: u64) {
        self.add(number, came);
        self.follower.hear_own(came);
    }

    fn add(&mut self, number: u8, came: u64) {
        if let Err(place) = self.heard.binary_search(&number) {
            self.heard.insert(place, number);
            self.is_confused |= came <= self.latest.0 && number < self.latest.1;
            if came >= self.latest.0 {
                self.latest = (came, number);
            }
        }
    }

    /// Its own node has no streamer any longer; the latest clip that anybody said has this number.
    pub(super) fn streamer_is_gone(&mut self, number: u8) {
        self.follower.lose_own(number.into());
    }

    pub(super) fn claimed(&mut self, before: &Record) {
        self.before = before.position();
    }

    pub(super) fn follow_from(&mut self, position: Position) {
        self.follower.restart(Some(position));
    }

    /// The new owner's node, if it can, fetches what others published; it is cut off otherwise, and does not know.
    pub(super) fn catch_up(&mut self, memory: &Memory, is_cut: bool, clock: u64, fences: Fences) {
        if !fences.have(Fence::CatchUp) {
            return;
        }
        if is_cut {
            self.owed_after = clock;
        } else {
            self.reach(memory, self.before, fences);
        }
    }

    pub(super) fn follow(&mut self, memory: &Memory, seen: &Record, is_cut: bool, fences: Fences) {
        if seen.state == Some(State::Ended) {
            self.follower = Follower::default();
        }
        if seen.is_started() && !is_cut {
            self.reach(memory, seen.position(), fences);
        }
    }

    fn reach(&mut self, memory: &Memory, until: Position, fences: Fences) {
        for clip in &memory.history {
            let position = Position::new(clip.0, clip.1);
            let is_next = position <= until && self.follower.take(position).is_some();
            if is_next && !(self.must_miss(clip) && fences.have(Fence::HeardOrder)) {
                self.add(clip.2, clip.3);
            }
        }
    }

    fn must_miss(&self, clip: &Clip) -> bool {
        self.follower.is_too_early(clip.3, clip.2.into())
    }

    fn is_owed(&self, clip: &Clip) -> bool {
        clip.0 > self.owed_after && !self.must_miss(clip) && !self.heard.contains(&clip.2)
    }
}

impl World {
    /// No listener heard an earlier streamer after a later one.
    pub(super) fn streamers_are_heard_in_order(&self) -> bool {
        self.nodes.iter().all(|node| !node.listener.is_confused)
    }

    /// Every listener has heard each acknowledged clip that Redis has.
    pub(super) fn acknowledged_are_heard(&self) -> bool {
        let mut acknowledged = self.acknowledged.iter();
        acknowledged.all(|(_, clip)| {
            let mut alive = self.nodes.iter().filter(|node| node.is_alive);
            !self.memory.history.contains(clip) || alive.all(|node| !node.listener.is_owed(clip))
        })
    }
}
