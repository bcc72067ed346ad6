//! The properties of every world.

use super::events::Event;
use super::redis::{Clip, Fences};
use super::world::{Pending, Streaming, World};

impl World {
    /// A follower passes on every clip once; each clip that it drops was passed on before.
    pub(super) fn is_in_order(&self) -> bool {
        let mut heard: Vec<Clip> = Vec::new();
        self.log.iter().all(|clip| {
            if heard.contains(clip) {
                return true;
            }
            let is_next = heard
                .last()
                .is_none_or(|last| (last.0, last.1) < (clip.0, clip.1));
            let is_new = heard.iter().all(|before| before.2 != clip.2);
            heard.push(*clip);
            is_next && is_new
        })
    }

    /// Every acknowledged clip was sent to the channel, and is in the history or will be.
    pub(super) fn acknowledged_are_available(&self) -> bool {
        self.acknowledged.iter().all(|(at, clip)| {
            self.log.contains(clip) && (self.memory.history.contains(clip) || self.has(*at, clip))
        })
    }

    /// Without further faults: a streamer has exactly one owner, all its acknowledged clips are in the history and heard
    /// on all nodes, and the flag is right.
    pub(super) fn comes_to_rest(&self, fences: Fences) -> bool {
        let mut world = self.clone();
        world.budget.clear();
        world.late.clear();
        for at in 0..world.nodes.len() {
            world.nodes[at].is_cut = false;
        }
        // The repeated writes of the flag take the most rounds.
        for _ in 0..16 {
            for at in 0..world.nodes.len() {
                world.run(at, fences);
            }
            if world.may_settle() {
                world.happen(Event::Settle, fences);
            }
            if world.may_lapse() {
                world.happen(Event::Lapse, fences);
            }
        }
        let is_live = world
            .nodes
            .iter()
            .any(|node| node.streaming == Streaming::Live);
        if !is_live {
            world.happen(Event::Expire, fences);
            for at in 0..world.nodes.len() {
                world.run(at, fences);
            }
        }
        let streaming = world
            .nodes
            .iter()
            .filter(|node| node.streaming == Streaming::Live)
            .count();
        let owners = world
            .nodes
            .iter()
            .filter(|node| node.is_alive && node.ownership.epoch().is_some())
            .count();
        let is_owner = |at: usize| world.nodes[at].ownership.epoch().is_some();
        let is_available = world
            .acknowledged
            .iter()
            .all(|(at, clip)| !is_owner(*at) || world.memory.history.contains(clip));
        streaming == owners
            && owners <= 1
            && (world.flag == is_live || world.is_left_behind)
            && is_available
            && world.acknowledged_are_heard()
    }

    /// Runs one node until it has nothing to do.
    fn run(&mut self, at: usize, fences: Fences) {
        if !self.nodes[at].is_alive {
            return;
        }
        for turn in 0..12 {
            match self.nodes[at].pending {
                Some(Pending::Sent(_)) => self.happen(Event::Execute(at), fences),
                Some(Pending::Answered(_)) => self.happen(Event::Answer(at), fences),
                None if turn == 0 => self.happen(Event::Beat(at), fences),
                None if !self.nodes[at].queue.is_empty() => self.happen(Event::Work(at), fences),
                None => return,
            }
        }
    }
}
