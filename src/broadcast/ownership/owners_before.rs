//! A node that becomes the owner again has the clips of the owners between: its listeners are owed them.

use super::tests::{CAME, after, owner, record, unconfirmed};
use super::*;
use crate::broadcast::{Record, State};

/// The latest clip that [`owner`] published.
const FROM: Action = Action::FollowFrom(Position {
    epoch: 7,
    sequence: 3,
});

/// Granted after another node's clips 4 and 5.
const RESUMED: Input = Input::Granted {
    epoch: 10,
    sequence: 5,
    is_resumed: true,
};

/// Of a streamer that came first.
fn earlier(epoch: u64) -> Record {
    Record {
        came: 1,
        ..record(epoch, Some(State::Reconnecting), 5)
    }
}

#[test]
fn return_after_other_owners_catches_up_first() {
    let mut ownership = owner();
    ownership.apply(CAME);
    ownership.apply(Input::Observed(record(9, Some(State::Live), 5)));
    let actions = ownership.apply(Input::Granted {
        epoch: 10,
        sequence: 5,
        is_resumed: true,
    });
    let replaced = Action::Dismiss(Goodbye::TakenOver);
    assert_eq!(actions[..2], [Action::DropTried, replaced]);
    assert_eq!(actions[3], Action::CatchUp);
}

#[test]
fn return_during_a_release_catches_up_first() {
    let mut ownership = owner();
    ownership.apply(Input::StreamerLost);
    ownership.apply(Input::Unanswered);
    let actions = ownership.apply(CAME);
    assert_eq!(actions, [FROM, Action::Heartbeat(None)]);
    ownership.apply(Input::Observed(record(9, Some(State::Reconnecting), 5)));
    assert!(ownership.apply(RESUMED).contains(&Action::CatchUp));
}

#[test]
fn owner_that_reclaims_catches_up_first() {
    let mut ownership = owner();
    ownership.apply(Input::LeaseOver);
    ownership.apply(Input::Observed(earlier(9)));
    let expected = [Action::DropTried, FROM, Action::CatchUp];
    assert_eq!(ownership.apply(RESUMED), expected);
}

#[test]
fn unconfirmed_streamer_that_is_confirmed_catches_up() {
    let mut ownership = unconfirmed();
    ownership.apply(Input::Observed(earlier(9)));
    let expected = [Action::DropTried, Action::CatchUp];
    assert_eq!(ownership.apply(RESUMED), expected);
}

#[test]
fn owner_whose_next_streamer_gives_way_follows_on() {
    let mut ownership = owner();
    ownership.apply(CAME);
    for _ in 0..MOST_UNANSWERED {
        ownership.apply(Input::Unanswered);
    }
    let actions = ownership.apply(Input::Observed(record(9, Some(State::Live), 5)));
    assert!(actions.contains(&Action::Dismiss(Goodbye::ComeAgain)));
    assert!(actions.contains(&FROM));
}

#[test]
fn refused_claim_begins_no_other_livestream() {
    let ended = record(3, Some(State::Ended), 0);
    let mut ownership = after(&[CAME, Input::Observed(ended)]);
    let actions = ownership.apply(Input::Refused(record(5, Some(State::Live), 2)));
    let claim = Claim {
        expected: 5,
        sequence: 0,
        is_fresh: false,
        came: 0,
    };
    assert_eq!(actions, [Action::Claim(claim)], "its clips stay");
}

#[test]
fn end_that_redis_missed_ends_no_later_livestream() {
    for (epoch, is_fresh) in [(7, true), (9, false)] {
        let mut ownership = owner();
        for input in [Input::StreamerEnded, Input::Unanswered, CAME] {
            ownership.apply(input);
        }
        let actions = ownership.apply(Input::Observed(record(epoch, Some(State::Live), 3)));
        let is_expected = |claim: &Claim| claim.is_fresh == is_fresh;
        assert!(
            matches!(&actions[..], [Action::Claim(claim)] if is_expected(claim)),
            "{epoch}"
        );
    }
}

#[test]
fn abandoned_claim_skips_no_clip_before_it() {
    let mut ownership = Ownership::default();
    ownership.apply(Input::Observed(Record {
        is_here: true,
        ..record(9, Some(State::Live), 5)
    }));
    let actions = ownership.apply(Input::Released(Release::Done));
    assert_eq!(actions, [Action::RefuseClips, Action::Enrol]);
}

#[test]
fn owner_without_others_between_fetches_nothing() {
    let mut ownership = owner();
    ownership.apply(CAME);
    ownership.apply(Input::Observed(record(7, Some(State::Live), 3)));
    assert!(!ownership.apply(RESUMED).contains(&Action::CatchUp));
}

#[test]
fn one_late_answer_admits_nobody_unconfirmed() {
    let mut ownership = after(&[CAME, Input::Unanswered]);
    ownership.apply(Input::Observed(record(9, Some(State::Live), 5)));
    ownership.apply(Input::Unanswered);
    ownership.apply(Input::Observed(record(10, Some(State::Live), 5)));
    let actions = ownership.apply(RESUMED);
    assert!(actions.contains(&Action::Admit { is_confirmed: true }));
}
