//! One test for each transition.

use std::time::Duration;

use super::*;
use crate::broadcast::{Record, State};

pub(super) const GRACE: Option<State> = Some(State::Reconnecting);
pub(super) const NOBODY: Record = Record {
    epoch: 0,
    state: None,
    grace_left: Duration::ZERO,
    sequence: 0,
    came: 0,
    recording: None,
    is_here: false,
    is_restored: false,
};

/// A streamer that came before all epochs of [`record`] but the first three.
pub(super) const CAME: Input = Input::StreamerCame { at: 4 };

/// Of a streamer that came with this epoch.
pub(super) fn record(epoch: u64, state: Option<State>, sequence: u64) -> Record {
    Record {
        epoch,
        state,
        came: epoch,
        sequence,
        ..NOBODY
    }
}

fn here(epoch: u64, sequence: u64) -> Record {
    Record {
        is_here: true,
        ..record(epoch, Some(State::Live), sequence)
    }
}

pub(super) fn granted(epoch: u64, sequence: u64) -> Input {
    Input::Granted {
        epoch,
        sequence,
        is_resumed: false,
    }
}

pub(super) fn after(inputs: &[Input]) -> Ownership {
    let mut ownership = Ownership::default();
    for input in inputs {
        ownership.apply(*input);
    }
    ownership
}

/// The owner under epoch 7, three clips published.
pub(super) fn owner() -> Ownership {
    after(&[
        CAME,
        Input::Observed(NOBODY),
        granted(7, 0),
        Input::Published { sequence: 1 },
        Input::Published { sequence: 3 },
    ])
}

pub(super) fn unconfirmed() -> Ownership {
    let mut ownership = after(&[CAME]);
    for _ in 0..MOST_UNANSWERED {
        ownership.apply(Input::Unanswered);
    }
    ownership
}

#[test]
fn arrival_claims_with_the_epoch_it_saw() {
    let mut ownership = Ownership::default();
    assert_eq!(ownership.apply(CAME), [Action::Heartbeat(None)]);
    let claim = Action::Claim(Claim {
        expected: 5,
        sequence: 0,
        is_fresh: false,
        came: 0,
    });
    let seen = record(5, Some(State::Live), 9);
    assert_eq!(ownership.apply(Input::Observed(seen)), [claim]);
    let actions = ownership.apply(granted(6, 9));
    assert!(actions.contains(&Action::Admit { is_confirmed: true }));
    assert_eq!(ownership.epoch(), Some(6));
}

#[test]
fn arrival_that_lost_a_race_claims_again() {
    let mut ownership = after(&[CAME, Input::Observed(NOBODY)]);
    let actions = ownership.apply(Input::Refused(record(4, Some(State::Live), 0)));
    assert!(matches!(
        actions[..],
        [Action::Claim(Claim { expected: 4, .. })]
    ));
}

#[test]
fn arrival_that_loses_every_race_is_unconfirmed() {
    let mut ownership = after(&[CAME, Input::Observed(NOBODY)]);
    let actions: Vec<Action> = (1..=u64::from(MOST_REFUSALS))
        .flat_map(|epoch| ownership.apply(Input::Refused(record(epoch, Some(State::Live), 0))))
        .collect();
    assert_eq!(
        actions.last(),
        Some(&Action::Admit {
            is_confirmed: false
        })
    );
    assert!(matches!(ownership, Ownership::Unconfirmed { .. }));
}

#[test]
fn arrival_without_redis_is_admitted_unconfirmed() {
    let mut ownership = after(&[CAME]);
    for _ in 1..MOST_UNANSWERED {
        let again = Action::Heartbeat(None);
        assert_eq!(ownership.apply(Input::Unanswered), [again]);
    }
    let admit = Action::Admit {
        is_confirmed: false,
    };
    assert_eq!(ownership.apply(Input::Unanswered), [admit]);
    assert_eq!(
        ownership.apply(Input::ClipQueued),
        [],
        "its clips stay queued for Redis"
    );
}

#[test]
fn unconfirmed_streamer_claims_a_livestream_without_owner() {
    for state in [None, Some(State::Waiting), GRACE, Some(State::Ended)] {
        let mut ownership = unconfirmed();
        let actions = ownership.apply(Input::Observed(record(3, state, 0)));
        assert!(
            matches!(actions[..], [Action::Claim(Claim { expected: 3, .. })]),
            "{state:?}"
        );
    }
}

#[test]
fn claim_whose_answer_was_lost_is_made_again() {
    let mut ownership = unconfirmed();
    let actions = ownership.apply(Input::Observed(here(3, 0)));
    assert!(matches!(
        actions[..],
        [Action::Claim(Claim { expected: 3, .. })]
    ));
}

#[test]
fn departed_unconfirmed_streamer_owes_the_flag() {
    let mut ownership = unconfirmed();
    ownership.apply(Input::StreamerLost);
    assert!(ownership.is_busy());
    let ended = record(3, Some(State::Ended), 0);
    let actions = ownership.apply(Input::Observed(ended));
    assert!(actions.contains(&Action::WriteFlag(false)));
    assert!(!ownership.is_busy());
}

#[test]
fn owed_flag_stays_while_others_stream() {
    let mut ownership = unconfirmed();
    ownership.apply(Input::StreamerLost);
    let actions = ownership.apply(Input::Observed(record(3, Some(State::Live), 0)));
    assert!(!actions.contains(&Action::WriteFlag(false)));
    assert!(!ownership.is_busy());
}

#[test]
fn owner_publishes_the_next_sequence() {
    let mut ownership = owner();
    let publish = Action::Publish {
        epoch: 7,
        sequence: 4,
    };
    assert_eq!(ownership.apply(Input::ClipQueued), [publish]);
    ownership.apply(Input::Unanswered);
    assert_eq!(
        ownership.apply(Input::ClipQueued),
        [publish],
        "the same clip again"
    );
    ownership.apply(Input::Published { sequence: 6 });
    assert_eq!(ownership.sequence(), 6, "two more with it");
}

#[test]
fn owner_renews_its_lease() {
    let mut ownership = owner();
    let renewal = Some(Renewal {
        position: Position {
            epoch: 7,
            sequence: 3,
        },
        came: 7,
        may_restore: true,
    });
    assert_eq!(
        ownership.apply(Input::HeartbeatDue),
        [Action::Heartbeat(renewal)]
    );
    assert_eq!(ownership.apply(Input::Observed(here(7, 3))), []);
    assert_eq!((ownership.epoch(), ownership.sequence()), (Some(7), 3));
}

#[test]
fn owner_republishes_clips_that_redis_lost() {
    let mut ownership = owner();
    let restored = Record {
        is_restored: true,
        ..here(7, 1)
    };
    let again = Action::Republish { epoch: 7, after: 1 };
    assert_eq!(ownership.apply(Input::Observed(restored)), [again]);
    assert_eq!(ownership.apply(Input::Observed(here(7, 1))), [again]);
    assert_eq!(ownership.apply(Input::Observed(here(7, 3))), []);
}

#[test]
fn owner_finds_no_record_and_writes_it_again() {
    let mut ownership = owner();
    let renewal = Some(Renewal {
        position: Position {
            epoch: 7,
            sequence: 3,
        },
        came: 7,
        may_restore: true,
    });
    assert_eq!(
        ownership.apply(Input::NotPublished(NOBODY)),
        [Action::Heartbeat(renewal)]
    );
}

#[test]
fn owner_without_redis_keeps_its_streamer() {
    let mut ownership = owner();
    assert_eq!(ownership.apply(Input::LeaseOver), []);
    assert_eq!(ownership.epoch(), None);
    ownership.apply(Input::Observed(here(7, 3)));
    assert_eq!(ownership.epoch(), Some(7), "nobody has claimed since");
}

#[test]
fn absent_owner_restores_no_record_at_once() {
    let mut ownership = owner();
    ownership.apply(Input::LeaseOver);
    let actions = ownership.apply(Input::HeartbeatDue);
    assert!(matches!(actions[..], [Action::Heartbeat(Some(renewal))] if !renewal.may_restore));
    let unsettled = record(0, Some(State::Waiting), 0);
    assert_eq!(ownership.apply(Input::Observed(unsettled)), []);
    let actions = ownership.apply(Input::Observed(NOBODY));
    assert!(matches!(
        actions[..],
        [Action::Claim(Claim { expected: 0, .. })]
    ));
}

#[test]
fn streamer_that_was_replaced_while_away_is_dismissed() {
    let mut ownership = owner();
    ownership.apply(Input::LeaseOver);
    let actions = ownership.apply(Input::Observed(record(9, Some(State::Live), 5)));
    assert!(actions.contains(&Action::Dismiss(Goodbye::TakenOver)));
}

#[test]
fn lost_streamer_is_awaited_and_its_end_enrolled() {
    let mut ownership = owner();
    let release = Action::Release {
        epoch: 7,
        is_ended: false,
    };
    assert_eq!(ownership.apply(Input::StreamerLost), [release]);
    ownership.apply(Input::Unanswered);
    assert_eq!(
        ownership.apply(Input::HeartbeatDue),
        [release],
        "until it is known"
    );
    let actions = ownership.apply(Input::Released(Release::Done));
    assert!(actions.contains(&Action::Enrol));
    assert!(!actions.contains(&Action::WriteFlag(false)));
}

#[test]
fn end_clears_the_flag_unless_another_owns_it() {
    for (release, clears) in [
        (Release::Done, true),
        (Release::Missing, true),
        (Release::Stale, false),
    ] {
        let mut ownership = owner();
        ownership.apply(Input::StreamerEnded);
        let actions = ownership.apply(Input::Released(release));
        assert_eq!(
            actions.contains(&Action::WriteFlag(false)),
            clears,
            "{release:?}"
        );
    }
}

#[test]
fn livestream_after_an_unconfirmed_end_starts_over() {
    let mut ownership = owner();
    ownership.apply(Input::StreamerEnded);
    ownership.apply(Input::Unanswered);
    ownership.apply(CAME);
    let actions = ownership.apply(Input::Observed(here(7, 3)));
    let claim = Action::Claim(Claim {
        expected: 7,
        sequence: 0,
        is_fresh: true,
        came: 0,
    });
    assert_eq!(actions, [claim]);
}

#[test]
fn return_to_the_node_has_a_new_epoch() {
    let mut ownership = owner();
    ownership.apply(CAME);
    let actions = ownership.apply(Input::Observed(here(7, 3)));
    assert!(matches!(
        actions[..],
        [Action::Claim(Claim { expected: 7, .. })]
    ));
    let actions = ownership.apply(granted(8, 3));
    assert!(actions.contains(&Action::DropTried), "{actions:?}");
}

#[test]
fn forgotten_livestream_leaves_no_flag() {
    let mut ownership = Ownership::default();
    ownership.apply(Input::Observed(record(3, GRACE, 2)));
    let unsettled = record(0, Some(State::Waiting), 0);
    let actions = ownership.apply(Input::Observed(unsettled));
    assert!(
        !actions.contains(&Action::WriteFlag(false)),
        "an owner may write it again"
    );
    let actions = ownership.apply(Input::Observed(NOBODY));
    assert!(actions.contains(&Action::WriteFlag(false)));
}

#[test]
fn record_of_an_abandoned_claim_is_released() {
    let mut ownership = Ownership::default();
    let actions = ownership.apply(Input::Observed(here(4, 0)));
    let release = Action::Release {
        epoch: 4,
        is_ended: false,
    };
    assert_eq!(actions, [release]);
}

#[test]
fn lapsed_record_of_an_abandoned_claim_is_released() {
    let mut ownership = unconfirmed();
    ownership.apply(Input::StreamerLost);
    let lapsed = Record {
        state: GRACE,
        ..here(4, 0)
    };
    let actions = ownership.apply(Input::Observed(lapsed));
    assert!(matches!(actions[..], [Action::Release { epoch: 4, .. }]));
}

#[test]
fn clips_without_an_owner_are_refused() {
    assert_eq!(
        Ownership::default().apply(Input::ClipQueued),
        [Action::RefuseClips]
    );
}

#[test]
fn flag_is_affirmed_in_every_epoch() {
    for is_resumed in [false, true] {
        let mut ownership = after(&[CAME, Input::Observed(NOBODY)]);
        ownership.apply(Input::Granted {
            epoch: 7,
            sequence: 0,
            is_resumed,
        });
        let written: Vec<usize> = (1..20)
            .filter(|_| {
                let actions = ownership.apply(Input::Observed(here(7, 0)));
                actions.contains(&Action::WriteFlag(true))
            })
            .collect();
        assert_eq!(written, [3, 12]);
    }
}
