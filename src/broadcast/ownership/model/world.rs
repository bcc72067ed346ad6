//! Nodes, their streamers and Redis, and their possible events.

use super::super::*;
use super::events::Event;
use super::listeners::Listener;
use super::redis::{Clip, Fence, Fences, Memory, Phase};
use crate::broadcast::State;

/// The faults, each with a limited number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fault {
    /// A node loses its connection to Redis for a while.
    Cut,
    /// A node crashes, with its memory and its clients.
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

/// How a node's streamer has got its flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Flagged {
    /// Other nodes will clear it.
    Together,
    /// It is set when other nodes are bound to clear it.
    Waits,
    /// It was set while Redis was away, and no other node will clear it.
    Alone,
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
    /// The queued clips with the times of their streamers, of which the first ones were tried.
    pub(super) queue: Vec<(u8, u64)>,
    pub(super) tried: usize,
    pub(super) published: Vec<Clip>,
    pub(super) is_cut: bool,
    pub(super) is_alive: bool,
    pub(super) flagged: Flagged,
    pub(super) listener: Listener,
    /// When its streamer came: by Redis's clock as far as the node knows, and in the world's own order.
    since: u64,
    came: u8,
    /// The streamer of its latest claim.
    claimed_for: Streamer,
    /// Whether its latest claim begins another livestream.
    pub(super) claims_fresh: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) memory: Memory,
    pub(super) copy: Option<Memory>,
    pub(super) clock: u64,
    pub(super) flag: bool,
    /// Every clip sent to the channel, in order.
    pub(super) log: Vec<Clip>,
    pub(super) acknowledged: Vec<(usize, Clip)>,
    pub(super) late: Vec<(usize, Action)>,
    pub(super) streamers: u8,
    pub(super) clips: u8,
    number: u8,
    pub(super) budget: Vec<(Fault, u8)>,
    pub(super) fences: Fences,
    /// A node crashed that had to clear the flag: its next process does so.
    pub(super) is_left_behind: bool,
    /// An abandoned command, or an earlier streamer, has replaced a live one.
    pub(super) is_robbed: bool,
}

impl Node {
    /// Its streamer is gone, with the queued clips.
    fn lose_streamer(&mut self) {
        self.streaming = Streaming::Nobody;
        if self.flagged == Flagged::Waits {
            self.flagged = Flagged::Together;
        }
        self.queue.clear();
        self.tried = 0;
    }
}

impl World {
    pub(super) fn new(nodes: usize, streamers: u8, clips: u8, faults: &[(Fault, u8)]) -> Self {
        let node = Node {
            ownership: Ownership::default(),
            streaming: Streaming::Nobody,
            pending: None,
            queue: Vec::new(),
            tried: 0,
            published: Vec::new(),
            is_cut: false,
            is_alive: true,
            flagged: Flagged::Together,
            listener: Listener::default(),
            since: 0,
            came: 0,
            claimed_for: Streamer::Arriving,
            claims_fresh: false,
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
            fences: Fences(None),
            is_left_behind: false,
            is_robbed: false,
        }
    }

    pub(super) fn may(&self, fault: Fault) -> bool {
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

    pub(super) fn happen(&mut self, event: Event, fences: Fences) {
        self.happens(event, fences);
        if matches!(event, Event::Go(..) | Event::Crash(_)) {
            self.forgive();
        }
        if self.memory.is_ended() {
            self.acknowledged.clear();
        }
    }

    fn happens(&mut self, event: Event, fences: Fences) {
        match event {
            Event::Come(at) => {
                self.streamers -= 1;
                self.nodes[at].came = u8::MAX - self.streamers;
                self.nodes[at].streaming = Streaming::Arriving;
                self.clock += 1;
                self.feed(at, Input::StreamerCame { at: self.clock });
            }
            Event::Go(at, is_ended) => {
                self.nodes[at].lose_streamer();
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
                let clip = (self.number, self.nodes[at].since);
                self.nodes[at].queue.push(clip);
                self.nodes[at].listener.hear(clip.0, clip.1);
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
                        self.spend(Fault::Late);
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
            Event::ArriveLate(index) => self.arrive_late(index, fences),
            Event::Lapse => {
                if let Some(record) = &mut self.memory.record {
                    record.phase = Phase::Lapsed;
                }
            }
            Event::Settle => self.memory.is_unsettled = false,
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
                self.is_left_behind |= self.nodes[at].flagged == Flagged::Alone;
                let node = &mut self.nodes[at];
                node.is_alive = false;
                node.pending = None;
                node.published.clear();
                node.lose_streamer();
            }
            Event::Restart => {
                self.spend(Fault::Restart);
                self.forget(Memory::default());
                self.memory.is_unsettled = true;
            }
            Event::Save => self.copy = Some(self.memory.clone()),
            Event::RestartFromCopy => {
                self.spend(Fault::Copy);
                let copy = self.copy.take().unwrap_or_default();
                self.forget(copy);
            }
        }
    }

    /// Replaces the memory of Redis.
    fn forget(&mut self, memory: Memory) {
        self.memory = memory;
        self.forgive();
    }

    /// An acknowledgement ends with its livestream, or when neither Redis nor an owner has the clip.
    fn forgive(&mut self) {
        let mut acknowledged = std::mem::take(&mut self.acknowledged);
        acknowledged.retain(|(at, clip)| self.memory.history.contains(clip) || self.has(*at, clip));
        self.acknowledged = acknowledged;
    }

    /// Whether a node will publish a clip again.
    pub(super) fn has(&self, at: usize, clip: &Clip) -> bool {
        let node = &self.nodes[at];
        node.is_alive && node.streaming == Streaming::Live && node.published.contains(clip)
    }

    fn arrive_late(&mut self, index: usize, fences: Fences) {
        let (at, action) = self.late.remove(index);
        let victim = self.memory.record.clone();
        if matches!(action, Action::Claim(_)) && fences.have(Fence::Deadline) {
            return;
        }
        if let Action::Publish { .. } = action {
            // The queue has another clip now; a late publication is one that was tried.
            return;
        }
        self.execute(at, action, fences);
        let is_live = |record: &super::redis::Stored| {
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

    /// Whether the owner's streamer connected before this one, without knowledge of it.
    fn is_older_than(&self, at: usize) -> bool {
        let owner = self.memory.record.as_ref().map(|it| &self.nodes[it.node]);
        owner.is_some_and(|owner| {
            owner.claimed_for != Streamer::Arriving && owner.came < self.nodes[at].came
        })
    }

    fn answered(&mut self, at: usize, input: Input) {
        if let (Input::Granted { .. }, Ownership::Claiming { streamer, .. }) =
            (input, self.nodes[at].ownership)
        {
            self.nodes[at].claimed_for = streamer;
        }
        if self.nodes[at].claims_fresh && matches!(input, Input::Granted { .. }) {
            self.nodes[at].published.clear();
        }
        if let Input::Published { .. } = input
            && let Some(epoch) = self.nodes[at].ownership.epoch()
        {
            let first = self.nodes[at].ownership.sequence() + 1;
            let node = &mut self.nodes[at];
            let tried = node.queue.drain(..std::mem::take(&mut node.tried));
            let clips: Vec<Clip> = (first..)
                .zip(tried)
                .map(|(sequence, (number, came))| (epoch, sequence, number, came))
                .collect();
            node.published.extend(&clips);
            self.acknowledged
                .extend(clips.into_iter().map(|clip| (at, clip)));
        }
        self.feed(at, input);
        if self.nodes[at].ownership.epoch().is_some() {
            self.nodes[at].since = self.nodes[at].ownership.came();
        }
    }

    fn feed(&mut self, at: usize, input: Input) {
        let actions = self.nodes[at].ownership.apply(input);
        for action in actions {
            self.perform(at, action);
        }
        let node = &mut self.nodes[at];
        if matches!(
            node.ownership,
            Ownership::Following { .. } | Ownership::Releasing { .. }
        ) {
            node.listener.streamer_is_gone(self.number);
        }
    }

    fn perform(&mut self, at: usize, action: Action) {
        let node = &mut self.nodes[at];
        match action {
            Action::Publish { .. } => {
                if node.tried == 0 {
                    node.tried = node.queue.len();
                }
                node.pending = Some(Pending::Sent(action));
            }
            Action::Heartbeat(_)
            | Action::Claim(_)
            | Action::Republish { .. }
            | Action::Release { .. } => {
                node.pending = Some(Pending::Sent(action));
            }
            Action::Admit { .. } => {
                node.streaming = Streaming::Live;
                node.since = node.ownership.came();
                node.flagged = if self.memory.is_enrolled || !self.fences.have(Fence::Enrolment) {
                    Flagged::Together
                } else if node.is_cut {
                    Flagged::Alone
                } else {
                    Flagged::Waits
                };
                self.flag |= node.flagged != Flagged::Waits;
            }
            Action::Dismiss(goodbye) => {
                node.lose_streamer();
                self.is_robbed |= goodbye == Goodbye::TakenOver && self.is_older_than(at);
            }
            Action::DropTried => {
                node.queue.drain(..std::mem::take(&mut node.tried));
            }
            Action::RefuseClips => {
                node.queue.clear();
                node.tried = 0;
            }
            Action::WriteFlag(value) => {
                if !value {
                    node.flagged = Flagged::Together;
                }
                self.flag = value;
            }
            Action::Enrol => self.memory.is_enrolled |= !node.is_cut,
            Action::Follow(seen) => {
                // A follower schedules a check of a record whose time is over.
                self.memory.is_enrolled |= seen.state == Some(State::Reconnecting);
                let is_started = seen.is_started();
                if !seen.is_here && is_started || seen.state == Some(State::Ended) {
                    node.published.clear();
                }
                node.listener
                    .follow(&self.memory, &seen, node.is_cut, self.fences);
            }
            Action::FollowFrom(position) => node.listener.follow_from(position),
            Action::CatchUp => {
                let (memory, clock) = (&self.memory, self.clock);
                node.listener
                    .catch_up(memory, node.is_cut, clock, self.fences);
            }
        }
    }
}
