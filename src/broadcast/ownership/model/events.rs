//! The possible events of a world.

use super::redis::Phase;
use super::world::{Fault, Node, Pending, Streaming, World};

/// An event, mostly at one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Event {
    Come(usize),
    Go(usize, bool),
    Upload(usize),
    Work(usize),
    Beat(usize),
    Execute(usize),
    Answer(usize),
    LoseCommand(usize),
    LoseAnswer(usize),
    GiveUp(usize),
    ArriveLate(usize),
    LeaseOver(usize),
    Lapse,
    Expire,
    Settle,
    Cut(usize),
    Mend(usize),
    Crash(usize),
    Restart,
    Save,
    RestartFromCopy,
}

impl World {
    pub(super) fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (at, node) in self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.is_alive)
        {
            self.events_of(at, node, &mut events);
        }
        events.extend((0..self.late.len()).map(Event::ArriveLate));
        if self.may_lapse() {
            events.push(Event::Lapse);
        }
        let record = self.memory.record.as_ref();
        if record.is_some_and(|it| matches!(it.phase, Phase::Lapsed | Phase::Grace)) {
            events.push(Event::Expire);
        }
        if self.may_settle() {
            events.push(Event::Settle);
        }
        // A restart during a takeover, before the old owner learns of it, is two faults at once.
        let newest = record.map_or(0, |it| it.epoch);
        let is_between = self
            .nodes
            .iter()
            .any(|node| node.ownership.epoch().is_some_and(|it| it < newest));
        if self.may(Fault::Restart) && record.is_some() && !is_between {
            events.push(Event::Restart);
        }
        if self.may(Fault::Copy) && !is_between {
            events.push(if self.copy.is_some() {
                Event::RestartFromCopy
            } else {
                Event::Save
            });
        }
        events
    }

    fn events_of(&self, at: usize, node: &Node, events: &mut Vec<Event>) {
        match node.pending {
            Some(Pending::Sent(_)) if node.is_cut => events.push(Event::GiveUp(at)),
            Some(Pending::Sent(_)) => {
                events.push(Event::Execute(at));
                if self.may(Fault::Lost) || self.may(Fault::Late) {
                    events.push(Event::LoseCommand(at));
                }
            }
            Some(Pending::Answered(_)) => {
                events.push(Event::Answer(at));
                if node.is_cut || self.may(Fault::Lost) {
                    events.push(Event::LoseAnswer(at));
                }
            }
            None => {
                events.push(Event::Beat(at));
                if self.streamers > 0 {
                    events.push(Event::Come(at));
                }
                if node.streaming == Streaming::Live {
                    events.extend([Event::Go(at, false), Event::Go(at, true)]);
                }
                if !node.queue.is_empty() {
                    events.push(Event::Work(at));
                }
                if node.is_cut && node.ownership.epoch().is_some() {
                    events.push(Event::LeaseOver(at));
                }
            }
        }
        if node.streaming == Streaming::Live && self.clips > 0 {
            events.push(Event::Upload(at));
        }
        if node.is_cut {
            events.push(Event::Mend(at));
        } else if self.may(Fault::Cut) {
            events.push(Event::Cut(at));
        }
        if self.may(Fault::Crash) {
            events.push(Event::Crash(at));
        }
    }

    /// A lease expires only if its owner does not renew it.
    pub(super) fn may_lapse(&self) -> bool {
        let Some(record) = &self.memory.record else {
            return false;
        };
        let owner = &self.nodes[record.node];
        let renews =
            owner.is_alive && !owner.is_cut && owner.ownership.last_epoch() == Some(record.epoch);
        record.phase == Phase::Live && !renews && owner.pending.is_none()
    }

    /// One lease after Redis lost its memory, every connected owner has written its record again.
    pub(super) fn may_settle(&self) -> bool {
        let waits = |node: &Node| node.is_alive && !node.is_cut && node.ownership.epoch().is_some();
        self.memory.is_unsettled && (self.memory.record.is_some() || !self.nodes.iter().any(waits))
    }
}
