//! Nodes, their streamers and Redis, and what can happen to them.

use super::super::*;
use super::redis::{Clip, Fences, Memory, Phase};

/// What goes wrong, each so often at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    /// A node cannot reach Redis, until it can again.
    Cut,
    /// A node is gone, with its memory and its clients.
    Crash,
    /// Redis restarts empty.
    Restart,
    /// Redis restarts from an old copy.
    Copy,
    /// A command or its answer is lost.
    Lost,
    /// A command arrives after its node has given it up.
    Late,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Streaming {
    Nobody,
    Arriving,
    Live,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Pending {
    Sent(Action),
    Answered(Input),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) ownership: Ownership,
    pub(super) streaming: Streaming,
    pub(super) pending: Option<Pending>,
    /// Clips that wait, by number; the first may have been tried.
    queue: Vec<u8>,
    is_tried: bool,
    published: Vec<Clip>,
    is_cut: bool,
    is_alive: bool,
}

/// What can happen next.
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
    Cut(usize),
    Mend(usize),
    Crash(usize),
    Restart,
    Save,
    RestartFromCopy,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    memory: Memory,
    copy: Option<Memory>,
    clock: u64,
    flag: bool,
    /// Every clip that went over the channel, in order.
    log: Vec<Clip>,
    acknowledged: Vec<(usize, Clip)>,
    late: Vec<(usize, Action)>,
    streamers: u8,
    clips: u8,
    number: u8,
    budget: Vec<(Fault, u8)>,
    /// Memory is gone that no owner has: the promise of an ack ends with it.
    is_forgotten: bool,
    /// A command that was given up has dismissed a streamer.
    pub(super) is_robbed: bool,
}

impl World {
    pub(super) fn new(nodes: usize, streamers: u8, clips: u8, faults: &[(Fault, u8)]) -> Self {
        let node = Node {
            ownership: Ownership::default(),
            streaming: Streaming::Nobody,
            pending: None,
            queue: Vec::new(),
            is_tried: false,
            published: Vec::new(),
            is_cut: false,
            is_alive: true,
        };
        Self {
            nodes: vec![node; nodes],
            memory: Memory::default(),
            copy: None,
            clock: 0,
            flag: false,
            log: Vec::new(),
            acknowledged: Vec::new(),
            late: Vec::new(),
            streamers,
            clips,
            number: 0,
            budget: faults.to_vec(),
            is_forgotten: false,
            is_robbed: false,
        }
    }

    fn may(&self, fault: Fault) -> bool {
        self.budget
            .iter()
            .any(|(kind, left)| *kind == fault && *left > 0)
    }

    fn spend(&mut self, fault: Fault) {
        for (kind, left) in &mut self.budget {
            if *kind == fault {
                *left -= 1;
            }
        }
    }

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
        if self.may(Fault::Late) {
            events.extend((0..self.late.len()).map(Event::ArriveLate));
        }
        if self.may_lapse() {
            events.push(Event::Lapse);
        }
        let record = self.memory.record.as_ref();
        if record.is_some_and(|it| matches!(it.phase, Phase::Lapsed | Phase::Grace)) {
            events.push(Event::Expire);
        }
        // A restart in the middle of a takeover, before the old owner has heard of it, is two faults at once.
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

    /// A lease runs out only of an owner that does not renew it.
    fn may_lapse(&self) -> bool {
        let Some(record) = &self.memory.record else {
            return false;
        };
        let owner = &self.nodes[record.node];
        let renews =
            owner.is_alive && !owner.is_cut && owner.ownership.held() == Some(record.epoch);
        record.phase == Phase::Live && !renews && owner.pending.is_none()
    }

    pub(super) fn happen(&mut self, event: Event, fences: Fences) {
        match event {
            Event::Come(at) => {
                self.streamers -= 1;
                self.nodes[at].streaming = Streaming::Arriving;
                self.feed(at, Input::StreamerCame);
            }
            Event::Go(at, is_ended) => {
                self.nodes[at].streaming = Streaming::Nobody;
                self.nodes[at].queue.clear();
                self.nodes[at].is_tried = false;
                self.feed(
                    at,
                    if is_ended {
                        Input::StreamerEnded
                    } else {
                        Input::StreamerLost
                    },
                );
            }
            Event::Upload(at) => {
                self.clips -= 1;
                self.number += 1;
                self.nodes[at].queue.push(self.number);
            }
            Event::Work(at) => self.feed(at, Input::ClipQueued),
            Event::Beat(at) => self.feed(at, Input::HeartbeatDue),
            Event::LeaseOver(at) => self.feed(at, Input::LeaseOver),
            Event::Execute(at) => {
                if let Some(Pending::Sent(action)) = self.nodes[at].pending {
                    let answer = self.execute(at, action, fences);
                    self.nodes[at].pending = Some(Pending::Answered(answer));
                }
            }
            Event::Answer(at) => {
                if let Some(Pending::Answered(input)) = self.nodes[at].pending.take() {
                    self.answered(at, input);
                }
            }
            Event::LoseCommand(at) => {
                if let Some(Pending::Sent(action)) = self.nodes[at].pending.take() {
                    if self.may(Fault::Late) {
                        self.late.push((at, action));
                    } else {
                        self.spend(Fault::Lost);
                    }
                    self.feed(at, Input::Unanswered);
                }
            }
            Event::LoseAnswer(at) => {
                if !self.nodes[at].is_cut {
                    self.spend(Fault::Lost);
                }
                self.nodes[at].pending = None;
                self.feed(at, Input::Unanswered);
            }
            Event::GiveUp(at) => {
                self.nodes[at].pending = None;
                self.feed(at, Input::Unanswered);
            }
            Event::ArriveLate(place) => self.arrive_late(place, fences),
            Event::Lapse => {
                if let Some(record) = &mut self.memory.record {
                    record.phase = Phase::Lapsed;
                }
            }
            Event::Expire => {
                if self.memory.expire() {
                    self.flag = false;
                }
            }
            Event::Cut(at) => {
                self.spend(Fault::Cut);
                self.nodes[at].is_cut = true;
            }
            Event::Mend(at) => self.nodes[at].is_cut = false,
            Event::Crash(at) => {
                self.spend(Fault::Crash);
                let node = &mut self.nodes[at];
                node.is_alive = false;
                (node.streaming, node.pending) = (Streaming::Nobody, None);
                node.published.clear();
                node.queue.clear();
            }
            Event::Restart => {
                self.spend(Fault::Restart);
                self.forget(Memory::default());
            }
            Event::Save => self.copy = Some(self.memory.clone()),
            Event::RestartFromCopy => {
                self.spend(Fault::Copy);
                let copy = self.copy.take().unwrap_or_default();
                self.forget(copy);
            }
        }
    }

    /// Redis has this memory from now on.
    fn forget(&mut self, memory: Memory) {
        self.is_forgotten |= self
            .acknowledged
            .iter()
            .any(|(at, clip)| !memory.history.contains(clip) && !self.has(*at, clip));
        self.memory = memory;
    }

    /// Whether the node that published a clip will publish it again.
    fn has(&self, at: usize, clip: &Clip) -> bool {
        let node = &self.nodes[at];
        node.is_alive && node.streaming == Streaming::Live && node.published.contains(clip)
    }

    fn arrive_late(&mut self, place: usize, fences: Fences) {
        let (at, action) = self.late.remove(place);
        self.spend(Fault::Late);
        let victim = self.memory.record.clone();
        if matches!(action, Action::Claim { .. }) && fences.has_deadline {
            return;
        }
        if let Action::Publish { .. } = action {
            // What is in the queue now is another clip; a publication that is late is one that was tried.
            return;
        }
        self.execute(at, action, fences);
        let is_live = |record: &super::redis::Record| {
            record.phase == Phase::Live
                && record.node != at
                && self.nodes[record.node].streaming == Streaming::Live
        };
        let now = self
            .memory
            .record
            .as_ref()
            .map(|record| (record.epoch, record.phase));
        self.is_robbed |= victim
            .as_ref()
            .is_some_and(|before| is_live(before) && now != Some((before.epoch, before.phase)));
    }

    fn execute(&mut self, at: usize, action: Action, fences: Fences) -> Input {
        match action {
            Action::Heartbeat(renewal) => self.memory.heartbeat(at, renewal),
            Action::Claim {
                expected,
                sequence,
                is_fresh,
            } => {
                let claim = (expected, sequence, is_fresh);
                self.memory.claim(at, claim, &mut self.clock, fences)
            }
            Action::Publish { epoch, sequence } => self.publish(at, (epoch, sequence), fences),
            Action::Republish { epoch, after } => {
                for clip in self.nodes[at].published.clone() {
                    if clip.1 > after && !self.memory.publish(epoch, clip, 0, fences) {
                        return Input::NotPublished(self.memory.seen(at));
                    }
                }
                Input::Republished
            }
            Action::Release { epoch, is_ended } => self.memory.release(epoch, is_ended, fences),
            _ => Input::Unanswered,
        }
    }

    fn publish(&mut self, at: usize, (epoch, sequence): (u64, u64), fences: Fences) -> Input {
        let Some(number) = self.nodes[at].queue.first() else {
            return Input::Unanswered;
        };
        let clip = (epoch, sequence, *number);
        let after = self.nodes[at].published.last().map_or(0, |clip| clip.1);
        let before = self.memory.history.len();
        if !self.memory.publish(epoch, clip, after, fences) {
            return Input::NotPublished(self.memory.seen(at));
        }
        if self.memory.history.len() > before {
            self.log.push(clip);
        }
        Input::Published
    }

    fn answered(&mut self, at: usize, input: Input) {
        if input == Input::Published
            && let Some(epoch) = self.nodes[at].ownership.epoch()
            && !self.nodes[at].queue.is_empty()
        {
            let sequence = self.nodes[at].ownership.sequence() + 1;
            let node = &mut self.nodes[at];
            let clip = (epoch, sequence, node.queue.remove(0));
            node.is_tried = false;
            node.published.push(clip);
            self.acknowledged.push((at, clip));
        }
        self.feed(at, input);
    }

    fn feed(&mut self, at: usize, input: Input) {
        let actions = self.nodes[at].ownership.apply(input);
        for action in actions {
            self.perform(at, action);
        }
    }

    fn perform(&mut self, at: usize, action: Action) {
        let node = &mut self.nodes[at];
        match action {
            Action::Publish { .. } => {
                node.is_tried = true;
                node.pending = Some(Pending::Sent(action));
            }
            Action::Heartbeat(_)
            | Action::Claim { .. }
            | Action::Republish { .. }
            | Action::Release { .. } => {
                node.pending = Some(Pending::Sent(action));
            }
            Action::Admit { .. } => {
                node.streaming = Streaming::Live;
                self.flag = true;
            }
            Action::Dismiss(_) => node.streaming = Streaming::Nobody,
            Action::DropTried if node.is_tried => {
                node.is_tried = false;
                node.queue.remove(0);
            }
            Action::RefuseClips => {
                node.queue.clear();
                node.is_tried = false;
            }
            Action::WriteFlag(value) => self.flag = value,
            Action::Enrol => self.memory.is_enrolled |= !node.is_cut,
            Action::Unenrol => self.memory.is_enrolled = false,
            Action::Follow(seen) => {
                let is_started = matches!(seen.condition, Condition::Live | Condition::Awaited);
                if !seen.is_here && is_started || seen.condition == Condition::Ended {
                    node.published.clear();
                }
            }
            Action::DropTried | Action::CatchUp | Action::FollowFrom(_) => {}
        }
    }

    /// Epochs rise, sequences rise within one, and no clip is heard twice.
    pub(super) fn is_in_order(&self) -> bool {
        let in_order = self
            .log
            .windows(2)
            .all(|pair| (pair[0].0, pair[0].1) < (pair[1].0, pair[1].1));
        let mut numbers: Vec<u8> = self.log.iter().map(|clip| clip.2).collect();
        numbers.sort_unstable();
        numbers.dedup();
        in_order && numbers.len() == self.log.len()
    }

    /// Until the livestream ends, or memory is gone that no owner has.
    pub(super) fn acknowledged_are_kept(&self) -> bool {
        self.acknowledged.iter().all(|(at, clip)| {
            let record = self.memory.record.as_ref();
            let is_over = self.is_forgotten
                || record.is_some_and(|record| record.sequence < clip.1 && record.epoch > clip.0);
            self.log.contains(clip)
                && (is_over
                    || record.is_some_and(|it| it.phase == Phase::Ended)
                    || self.memory.history.contains(clip)
                    || self.has(*at, clip))
        })
    }

    /// From here on without faults: there is one owner if there is a streamer, all that it was acknowledged is in the
    /// history, and the flag is right.
    pub(super) fn comes_to_rest(&self, fences: Fences) -> bool {
        let mut world = self.clone();
        world.budget.clear();
        world.late.clear();
        for at in 0..world.nodes.len() {
            world.nodes[at].is_cut = false;
        }
        // Affirmations of the flag take the most.
        for _ in 0..16 {
            for at in 0..world.nodes.len() {
                world.run(at, fences);
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
        let is_kept = world.acknowledged_are_kept()
            && world
                .nodes
                .iter()
                .filter(|node| node.ownership.epoch().is_some())
                .all(|node| {
                    node.published
                        .iter()
                        .all(|clip| world.memory.history.contains(clip))
                });
        streaming == owners
            && owners <= 1
            && world.flag == is_live
            && (is_kept || world.is_forgotten)
    }

    /// One node goes on until it has nothing to do.
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
