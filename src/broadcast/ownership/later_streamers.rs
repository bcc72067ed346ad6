//! Of two streamers the one that came later wins, on any node and in any order of messages.

use super::tests::{GRACE, NOBODY, after, granted, owner, record, unconfirmed};
use super::*;
use crate::broadcast::{Record, State};

#[test]
fn unconfirmed_streamer_gives_way_to_a_later_one() {
    for state in [State::Live, State::Reconnecting, State::Ended] {
        let mut ownership = unconfirmed();
        let actions = ownership.apply(Input::Observed(record(5, Some(state), 5)));
        assert!(actions.contains(&Action::Dismiss(Goodbye::ComeAgain)));
        assert!(actions.contains(&Action::RefuseClips));
        assert!(matches!(ownership, Ownership::Following { .. }));
    }
}

#[test]
fn unconfirmed_streamer_replaces_an_earlier_one() {
    let mut ownership = unconfirmed();
    let actions = ownership.apply(Input::Observed(record(3, Some(State::Live), 5)));
    let claim = Claim {
        expected: 3,
        sequence: 0,
        is_fresh: false,
        came: 4,
    };
    assert_eq!(actions, [Action::Claim(claim)]);
    ownership.apply(granted(9, 5));
    assert_eq!(ownership.came(), 4, "not the time of its claim");
}

#[test]
fn unknown_arrival_replaces_no_live_streamer() {
    let unknown = Input::StreamerCame { at: 0 };
    for (state, is_replaced) in [(Some(State::Live), false), (GRACE, true)] {
        let mut ownership = after(&[unknown, Input::Unanswered, Input::Unanswered]);
        ownership.apply(Input::Unanswered);
        let actions = ownership.apply(Input::Observed(record(3, state, 5)));
        let is_claim = matches!(actions[..], [Action::Claim(_)]);
        assert_eq!(is_claim, is_replaced, "{state:?}");
    }
}

#[test]
fn giving_way_to_an_end_owes_the_flag() {
    let mut ownership = unconfirmed();
    let ended = record(5, Some(State::Ended), 0);
    ownership.apply(Input::Observed(ended));
    let actions = ownership.apply(Input::Observed(ended));
    assert!(actions.contains(&Action::WriteFlag(false)));
}

#[test]
fn owner_is_dismissed_by_a_later_streamer() {
    for state in [State::Live, State::Reconnecting, State::Ended] {
        let mut ownership = owner();
        let actions = ownership.apply(Input::Observed(record(9, Some(state), 5)));
        let replaced = Action::Dismiss(Goodbye::TakenOver);
        assert!(actions.contains(&replaced), "{state:?}");
    }
    let mut ownership = owner();
    let actions = ownership.apply(Input::Observed(record(9, Some(State::Live), 5)));
    let from = Position {
        epoch: 7,
        sequence: 3,
    };
    assert!(actions.contains(&Action::FollowFrom(from)));
    assert_eq!(ownership.epoch(), None);
}

#[test]
fn owner_reclaims_from_earlier_streamers() {
    let left = [GRACE, Some(State::Ended)];
    let by_others = [GRACE, Some(State::Ended), Some(State::Live)];
    let seen = left.map(|state| (7, state)).into_iter();
    for (epoch, state) in seen.chain(by_others.map(|state| (9, state))) {
        let mut ownership = owner();
        let earlier = Record {
            came: 6,
            ..record(epoch, state, 0)
        };
        let actions = ownership.apply(Input::Observed(earlier));
        assert!(
            matches!(actions[..], [Action::Claim(Claim { expected, .. })] if expected == epoch),
            "{state:?} {epoch}"
        );
        let actions = ownership.apply(granted(10, 3));
        let is_admission = |action: &Action| matches!(action, Action::Admit { .. });
        assert!(!actions.iter().any(is_admission), "it is already admitted");
    }
}

#[test]
fn unconfirmed_streamer_that_lost_a_race_gives_way() {
    let mut ownership = unconfirmed();
    ownership.apply(Input::Observed(NOBODY));
    let actions = ownership.apply(Input::Refused(record(5, Some(State::Live), 0)));
    assert!(actions.contains(&Action::Dismiss(Goodbye::ComeAgain)));
}
