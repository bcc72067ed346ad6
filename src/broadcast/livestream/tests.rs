//! The state machine against a model: any interleaving of start, air, upload, loss, end, time, join and leave.

use std::cell::RefCell;
use std::rc::Rc;

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

#[derive(Debug, Clone)]
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
        3 => (0..4_u8).prop_map(Step::Follow),
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
    let mut now = Instant::now();
    let mut livestream: Livestream<Heard> = Livestream::new(bounds(), now);
    let mut model = Model {
        deadline: Some(now + GRACE),
        ..Model::default()
    };
    let mut newest = 0_u64;
    let mut next_listener_id = 0;
    let mut members: Vec<Member> = Vec::new();
    for step in steps {
        let pick = |back: usize| Epoch(newest.saturating_sub(back as u64));
        match step {
            Step::Start => {
                newest += 1;
                let started = livestream.start(UserId::new("streamer"), Epoch(newest));
                if model.over {
                    prop_assert_eq!(started, Err(LivestreamError::Ended));
                } else {
                    let replaced = model.current.map(Epoch);
                    prop_assert_eq!(
                        started,
                        Ok(Started {
                            replaced,
                            resumed: model.aired
                        })
                    );
                    model.current = Some(newest);
                    model.elsewhere = false;
                    model.deadline = None;
                }
            }
            Step::Air { epoch } => {
                let good = model.current == Some(pick(epoch).0);
                prop_assert_eq!(livestream.air(pick(epoch)), good);
                model.aired |= good;
            }
            Step::Upload { epoch } => {
                let clip = livestream.upload(pick(epoch), Bytes::from_static(b"clip"), now);
                if model.current == Some(pick(epoch).0) {
                    model.aired = true;
                    model.uploaded += 1;
                    prop_assert_eq!(clip.unwrap().sequence, model.uploaded);
                    all_hear(&livestream, &mut members, model.uploaded);
                } else {
                    prop_assert_eq!(clip, Err(LivestreamError::StaleEpoch));
                }
            }
            Step::Lost { epoch } => {
                let loss = livestream.lost(pick(epoch), now);
                if model.current != Some(pick(epoch).0) {
                    prop_assert_eq!(loss, Loss::Stale);
                } else if model.aired {
                    prop_assert_eq!(loss, Loss::Grace(now + GRACE));
                    model.current = None;
                    model.deadline = Some(now + GRACE);
                } else {
                    prop_assert_eq!(loss, Loss::Ended);
                    model.current = None;
                    model.over = true;
                }
            }
            Step::End { epoch } => {
                let good = model.current == Some(pick(epoch).0);
                prop_assert_eq!(livestream.end(pick(epoch)), good);
                if good {
                    model.current = None;
                    model.over = true;
                }
            }
            Step::Pass { seconds } => {
                now += Duration::from_secs(seconds);
                if model.deadline.is_some_and(|until| until <= now) {
                    model.over = true;
                    model.deadline = None;
                }
                prop_assert_eq!(livestream.expire(now), model.over);
            }
            Step::Join => {
                let heard = Heard::default();
                let id = ListenerId(next_listener_id);
                next_listener_id += 1;
                match livestream.join(id, heard.clone()) {
                    Ok(()) => {
                        prop_assert!(!model.over && members.len() < 4);
                        let history = livestream.history().map(|clip| clip.sequence);
                        heard.borrow_mut().extend(history);
                        let expected = (model.uploaded > 0).then_some(model.uploaded);
                        members.push(Member {
                            id,
                            heard,
                            expected: expected.into_iter().collect(),
                        });
                    }
                    Err(LivestreamError::Full) => prop_assert_eq!(members.len(), 4),
                    Err(refused) => prop_assert!(model.over && refused == LivestreamError::Ended),
                }
            }
            Step::Follow(kind) => {
                let remote = match kind {
                    0 => RemoteState::Live,
                    1 => RemoteState::Grace(GRACE / 2),
                    2 => RemoteState::Ended,
                    _ => RemoteState::Unknown,
                };
                let waiting = livestream.state() == State::Waiting;
                if model.current.is_none() && !model.over {
                    match remote {
                        RemoteState::Live => {
                            (model.elsewhere, model.aired, model.deadline) = (true, true, None);
                        }
                        RemoteState::Grace(left) => {
                            (model.elsewhere, model.aired, model.deadline) =
                                (false, true, Some(now + left));
                        }
                        RemoteState::Ended if !waiting => model.over = true,
                        RemoteState::Unknown if model.elsewhere => {
                            (model.elsewhere, model.deadline) = (false, Some(now + GRACE));
                        }
                        RemoteState::Unknown if !waiting => {
                            model.over = model.deadline.is_some_and(|until| until <= now);
                        }
                        RemoteState::Ended | RemoteState::Unknown => {}
                    }
                    // A livestream that is live, or in its grace period, has aired.
                    let live = remote.is_started();
                    model.aired |= !model.over && (!waiting || live);
                }
                prop_assert_eq!(livestream.follow(remote, now), model.over);
            }
            Step::RemoteClip => {
                let clip = livestream.accept_remote_clip(Bytes::from_static(b"clip"), now);
                if model.current.is_some() || model.over {
                    prop_assert_eq!(clip, None);
                } else {
                    model.aired = true;
                    model.uploaded += 1;
                    prop_assert_eq!(clip.unwrap().sequence, model.uploaded);
                    all_hear(&livestream, &mut members, model.uploaded);
                }
            }
            Step::Yield => {
                prop_assert_eq!(livestream.yield_to_other(), model.current.is_some());
                model.elsewhere |= model.current.take().is_some();
            }
            Step::Release => {
                let idle = members.is_empty() && model.current.is_none();
                prop_assert_eq!(livestream.release(), idle);
                model.over |= idle;
            }
            Step::Leave { listener } => {
                if listener < members.len() {
                    let member = members.swap_remove(listener);
                    prop_assert!(livestream.leave(member.id).is_some());
                    prop_assert!(livestream.leave(member.id).is_none());
                }
            }
        }
        if model.over {
            model.elsewhere = false;
        }
        for member in &members {
            prop_assert_eq!(&*member.heard.borrow(), &member.expected);
        }
        prop_assert_eq!(livestream.listeners().len(), members.len());
        prop_assert_eq!(livestream.state() == State::Ended, model.over);
        prop_assert_eq!(
            livestream.state() == State::Live,
            model.current.is_some() || model.elsewhere
        );
        prop_assert_eq!(livestream.is_live_here(), model.current.is_some());
        for epoch in 0..=newest {
            prop_assert_eq!(
                livestream.is_current(Epoch(epoch)),
                model.current == Some(epoch)
            );
        }
    }
    Ok(())
}

#[test]
fn restored_livestream_continues_with_the_next_sequence() {
    let now = Instant::now();
    let clips = [Bytes::from_static(b"six"), Bytes::from_static(b"seven")];
    let mut bounds = bounds();
    bounds.history_clips = 2;
    let mut livestream: Livestream<()> =
        Livestream::restored(bounds, UserId::new("streamer"), 8, clips, now);
    assert_eq!(livestream.state(), State::Reconnecting);
    assert_eq!(
        livestream
            .history()
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
    livestream.follow(RemoteState::Live, now);
    assert!(livestream.streamer_and_next_sequence().is_none());
}

#[test]
fn loss_after_a_resumption_from_elsewhere_starts_grace() {
    let now = Instant::now();
    let mut livestream: Livestream<()> = Livestream::new(bounds(), now);
    livestream.follow(RemoteState::Live, now);
    let started = livestream
        .start(UserId::new("ada"), Epoch(1))
        .expect("start");
    assert!(started.resumed);
    assert_eq!(livestream.lost(Epoch(1), now), Loss::Grace(now + GRACE));
}
