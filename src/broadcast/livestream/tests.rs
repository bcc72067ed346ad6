//! The state machine against a model: any interleaving of start, air, upload, loss, end, time, join and leave.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

type Heard = Rc<RefCell<Vec<u64>>>;

const GRACE: Duration = Duration::from_secs(30);

fn bounds() -> LivestreamLimits {
    LivestreamLimits {
        grace: GRACE,
        history_clips: 1,
        history_bytes: 1000,
        max_listeners: 4,
    }
}

fn record(state: Option<State>) -> Record {
    Record {
        epoch: 1,
        state,
        grace_left: GRACE / 2,
        sequence: 0,
        came: 0,
        recording: None,
        is_here: false,
        is_restored: false,
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Start,
    Air { epoch: usize },
    Upload { epoch: usize },
    Lost { epoch: usize },
    End { epoch: usize },
    Pass { seconds: u64 },
    Join,
    Leave { listener: usize },
    Follow(u8),
    RemoteClip,
    Yield,
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    // Epochs are picked from the newest backwards, so that most steps concern the current one and some a stale one.
    let epoch = prop_oneof![4 => Just(0_usize), 1 => 1..4_usize];
    prop_oneof![
        2 => Just(Step::Start),
        2 => epoch.clone().prop_map(|epoch| Step::Air { epoch }),
        6 => epoch.clone().prop_map(|epoch| Step::Upload { epoch }),
        2 => epoch.clone().prop_map(|epoch| Step::Lost { epoch }),
        1 => epoch.prop_map(|epoch| Step::End { epoch }),
        2 => (1..40_u64).prop_map(|seconds| Step::Pass { seconds }),
        3 => Just(Step::Join),
        2 => (0..4_usize).prop_map(|listener| Step::Leave { listener }),
        3 => (0..5_u8).prop_map(Step::Follow),
        3 => Just(Step::RemoteClip),
        1 => Just(Step::Yield),
        1 => Just(Step::Release),
    ]
}

/// The expected state, in its simplest form.
#[derive(Default)]
struct Model {
    /// The current epoch, while its streamer is here.
    current: Option<u64>,
    /// The streamer is on another node.
    elsewhere: bool,
    aired: bool,
    over: bool,
    deadline: Option<Instant>,
    uploaded: u64,
}

struct Member {
    id: ListenerId,
    heard: Heard,
    expected: Vec<u64>,
}

/// Passes a clip to every listener, as the relay does, and to the model's members.
fn all_hear(livestream: &Livestream<Heard>, members: &mut [Member], sequence: u64) {
    for heard in livestream.listeners() {
        heard.borrow_mut().push(sequence);
    }
    for member in members {
        member.expected.push(sequence);
    }
}

proptest! {
    #[test]
    fn livestream_follows_its_model_in_any_interleaving(steps in prop::collection::vec(step(), 1..120)) {
        follows_its_model(steps)?;
    }
}

#[test]
fn streamer_starts_again_after_it_was_elsewhere() {
    use Step::{Follow, Start, Yield};
    for steps in [
        vec![Start, Follow(0), Start],
        vec![Start, Yield, Follow(3), Start, Start],
    ] {
        follows_its_model(steps).expect("the model's answers");
    }
}

fn follows_its_model(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut pair = Pair::new();
    for step in steps {
        pair.take(step)?;
        pair.agrees()?;
    }
    Ok(())
}

/// The state machine and its model, which take the same steps.
struct Pair {
    now: Instant,
    livestream: Livestream<Heard>,
    model: Model,
    newest: u64,
    next_listener_id: u64,
    members: Vec<Member>,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            livestream: Livestream::new(bounds(), now),
            model: Model {
                deadline: Some(now + GRACE),
                ..Model::default()
            },
            newest: 0,
            next_listener_id: 0,
            members: Vec::new(),
        }
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        let pick = |back: usize| Epoch(self.newest.saturating_sub(back as u64));
        match step {
            Step::Start => self.start(),
            Step::Air { epoch } => self.air(pick(epoch)),
            Step::Upload { epoch } => self.upload(pick(epoch)),
            Step::Lost { epoch } => self.lose(pick(epoch)),
            Step::End { epoch } => self.end(pick(epoch)),
            Step::Pass { seconds } => self.pass(seconds),
            Step::Join => self.join(),
            Step::Leave { listener } => self.leave(listener),
            Step::Follow(kind) => self.follow(kind),
            Step::RemoteClip => self.accept_remote_clip(),
            Step::Yield => self.yield_to_other(),
            Step::Release => self.release(),
        }
    }

    fn start(&mut self) -> Result<(), TestCaseError> {
        self.newest += 1;
        let started = self
            .livestream
            .start(UserId::new("streamer"), Epoch(self.newest));
        if self.model.over {
            prop_assert_eq!(started, Err(LivestreamError::Ended));
        } else {
            let replaced = self.model.current.map(Epoch);
            prop_assert_eq!(
                started,
                Ok(Started {
                    replaced,
                    resumed: self.model.aired
                })
            );
            self.model.current = Some(self.newest);
            self.model.elsewhere = false;
            self.model.deadline = None;
        }
        Ok(())
    }

    fn air(&mut self, epoch: Epoch) -> Result<(), TestCaseError> {
        let good = self.model.current == Some(epoch.0);
        prop_assert_eq!(self.livestream.air(epoch), good);
        self.model.aired |= good;
        Ok(())
    }

    fn upload(&mut self, epoch: Epoch) -> Result<(), TestCaseError> {
        let clip = self
            .livestream
            .upload(epoch, Bytes::from_static(b"clip"), self.now);
        if self.model.current == Some(epoch.0) {
            self.model.aired = true;
            self.model.uploaded += 1;
            prop_assert_eq!(clip.unwrap().sequence, self.model.uploaded);
            all_hear(&self.livestream, &mut self.members, self.model.uploaded);
        } else {
            prop_assert_eq!(clip, Err(LivestreamError::StaleEpoch));
        }
        Ok(())
    }

    fn lose(&mut self, epoch: Epoch) -> Result<(), TestCaseError> {
        let loss = self.livestream.lost(epoch, self.now);
        if self.model.current != Some(epoch.0) {
            prop_assert_eq!(loss, Loss::Stale);
        } else if self.model.aired {
            prop_assert_eq!(loss, Loss::Grace(self.now + GRACE));
            self.model.current = None;
            self.model.deadline = Some(self.now + GRACE);
        } else {
            prop_assert_eq!(loss, Loss::Ended);
            self.model.current = None;
            self.model.over = true;
        }
        Ok(())
    }

    fn end(&mut self, epoch: Epoch) -> Result<(), TestCaseError> {
        let good = self.model.current == Some(epoch.0);
        prop_assert_eq!(self.livestream.end(epoch), good);
        if good {
            self.model.current = None;
            self.model.over = true;
        }
        Ok(())
    }

    fn pass(&mut self, seconds: u64) -> Result<(), TestCaseError> {
        self.now += Duration::from_secs(seconds);
        if self.model.deadline.is_some_and(|until| until <= self.now) {
            self.model.over = true;
            self.model.deadline = None;
        }
        prop_assert_eq!(self.livestream.expire(self.now), self.model.over);
        Ok(())
    }

    fn join(&mut self) -> Result<(), TestCaseError> {
        let heard = Heard::default();
        let id = ListenerId(self.next_listener_id);
        self.next_listener_id += 1;
        match self.livestream.join(id, heard.clone()) {
            Ok(()) => {
                prop_assert!(!self.model.over && self.members.len() < 4);
                let history = self.livestream.history().clips().map(|clip| clip.sequence);
                heard.borrow_mut().extend(history);
                let expected = (self.model.uploaded > 0).then_some(self.model.uploaded);
                self.members.push(Member {
                    id,
                    heard,
                    expected: expected.into_iter().collect(),
                });
            }
            Err(LivestreamError::Full) => prop_assert_eq!(self.members.len(), 4),
            Err(refused) => prop_assert!(self.model.over && refused == LivestreamError::Ended),
        }
        Ok(())
    }

    fn leave(&mut self, listener: usize) -> Result<(), TestCaseError> {
        if listener < self.members.len() {
            let member = self.members.swap_remove(listener);
            prop_assert!(self.livestream.leave(member.id).is_some());
            prop_assert!(self.livestream.leave(member.id).is_none());
        }
        Ok(())
    }

    fn follow(&mut self, kind: u8) -> Result<(), TestCaseError> {
        let remote = match kind {
            0 => Some(State::Live),
            1 => Some(State::Reconnecting),
            2 => Some(State::Ended),
            3 => None,
            _ => Some(State::Waiting),
        };
        let waiting = self.livestream.state() == State::Waiting;
        if self.model.current.is_none() && !self.model.over {
            match remote {
                Some(State::Live) => {
                    (self.model.elsewhere, self.model.aired, self.model.deadline) =
                        (true, true, None);
                }
                Some(State::Reconnecting) => {
                    (self.model.elsewhere, self.model.aired, self.model.deadline) =
                        (false, true, Some(self.now + GRACE / 2));
                }
                Some(State::Ended) if !waiting => self.model.over = true,
                None if self.model.elsewhere => {
                    (self.model.elsewhere, self.model.deadline) = (false, Some(self.now + GRACE));
                }
                None if !waiting => {
                    self.model.over = self.model.deadline.is_some_and(|until| until <= self.now);
                }
                Some(State::Ended | State::Waiting) | None => {}
            }
            // A livestream that is live, or in its grace period, has aired.
            let live = remote.is_some_and(State::is_started);
            self.model.aired |= !self.model.over && (!waiting || live);
        }
        prop_assert_eq!(
            self.livestream.follow(&record(remote), self.now),
            self.model.over
        );
        Ok(())
    }

    fn accept_remote_clip(&mut self) -> Result<(), TestCaseError> {
        let clip = self
            .livestream
            .accept_remote_clip(Bytes::from_static(b"clip"), self.now);
        if self.model.over {
            prop_assert_eq!(clip, None);
        } else {
            self.model.aired = true;
            self.model.uploaded += 1;
            prop_assert_eq!(clip.unwrap().sequence, self.model.uploaded);
            all_hear(&self.livestream, &mut self.members, self.model.uploaded);
        }
        Ok(())
    }

    fn yield_to_other(&mut self) -> Result<(), TestCaseError> {
        prop_assert_eq!(
            self.livestream.yield_to_other(),
            self.model.current.is_some()
        );
        self.model.elsewhere |= self.model.current.take().is_some();
        Ok(())
    }

    fn release(&mut self) -> Result<(), TestCaseError> {
        let awaits = self.livestream.state() == State::Reconnecting
            && self.livestream.streamer_and_next_sequence().is_some();
        let idle = self.members.is_empty() && self.model.current.is_none() && !awaits;
        prop_assert_eq!(self.livestream.release(), idle);
        self.model.over |= idle;
        Ok(())
    }

    fn agrees(&mut self) -> Result<(), TestCaseError> {
        if self.model.over {
            self.model.elsewhere = false;
        }
        for member in &self.members {
            prop_assert_eq!(&*member.heard.borrow(), &member.expected);
        }
        prop_assert_eq!(self.livestream.listeners().len(), self.members.len());
        prop_assert_eq!(self.livestream.state() == State::Ended, self.model.over);
        prop_assert_eq!(
            self.livestream.state() == State::Live,
            self.model.current.is_some() || self.model.elsewhere
        );
        prop_assert_eq!(self.livestream.is_live_here(), self.model.current.is_some());
        for epoch in 0..=self.newest {
            prop_assert_eq!(
                self.livestream.is_current(Epoch(epoch)),
                self.model.current == Some(epoch)
            );
        }
        Ok(())
    }
}

#[test]
fn restored_livestream_continues_with_the_next_sequence() {
    let now = Instant::now();
    let clips = [b"six" as &[u8], b"seven"].map(|clip| Bytes::from_static(clip).into());
    let mut bounds = bounds();
    bounds.history_clips = 2;
    let mut livestream: Livestream<()> =
        Livestream::restored(bounds, UserId::new("streamer"), 8, clips, now);
    assert_eq!(livestream.state(), State::Reconnecting);
    assert_eq!(
        livestream
            .history()
            .clips()
            .map(|clip| clip.sequence)
            .collect::<Vec<_>>(),
        [6, 7]
    );
    let started = livestream.start(UserId::new("streamer"), Epoch(9)).unwrap();
    assert!(started.resumed);
    let clip = livestream
        .upload(Epoch(9), Bytes::from_static(b"eight"), now)
        .unwrap();
    assert_eq!(clip.sequence, 8);
}

#[test]
fn epoch_older_than_the_current_one_cannot_start() {
    let now = Instant::now();
    let mut livestream: Livestream<()> = Livestream::new(bounds(), now);
    livestream.start(UserId::new("streamer"), Epoch(2)).unwrap();
    assert_eq!(
        livestream.start(UserId::new("streamer"), Epoch(1)),
        Err(LivestreamError::StaleEpoch)
    );
}

#[test]
fn livestream_that_continues_elsewhere_has_no_streamer_here() {
    let now = Instant::now();
    let mut livestream: Livestream<()> = Livestream::new(bounds(), now);
    livestream
        .start(UserId::new("ada"), Epoch(1))
        .expect("start");
    assert!(livestream.air(Epoch(1)));
    assert!(livestream.streamer_and_next_sequence().is_some());
    assert!(livestream.yield_to_other());
    assert!(livestream.streamer_and_next_sequence().is_none());
    livestream
        .start(UserId::new("ada"), Epoch(2))
        .expect("start");
    livestream.lost(Epoch(2), now);
    assert!(livestream.streamer_and_next_sequence().is_some());
    livestream.follow(&record(Some(State::Live)), now);
    assert!(livestream.streamer_and_next_sequence().is_none());
}

#[test]
fn loss_after_a_resumption_from_elsewhere_starts_grace() {
    let now = Instant::now();
    let mut livestream: Livestream<()> = Livestream::new(bounds(), now);
    livestream.follow(&record(Some(State::Live)), now);
    let started = livestream
        .start(UserId::new("ada"), Epoch(1))
        .expect("start");
    assert!(started.resumed);
    assert_eq!(livestream.lost(Epoch(1), now), Loss::Grace(now + GRACE));
}
