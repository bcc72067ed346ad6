//! Properties that hold for any sequence of inputs.

use proptest::prelude::*;

use std::time::Duration;

use super::*;
use crate::broadcast::{Record, State};

fn states() -> impl Strategy<Value = Option<State>> {
    prop::sample::select(vec![
        None,
        Some(State::Waiting),
        Some(State::Live),
        Some(State::Reconnecting),
        Some(State::Ended),
    ])
}

fn seen() -> impl Strategy<Value = Record> {
    (
        1..9_u64,
        states(),
        0..5_u64,
        0..9_u64,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(epoch, state, sequence, came, is_here, is_restored)| {
            let is_known = !matches!(state, None | Some(State::Waiting));
            Record {
                epoch: if is_known { epoch } else { 0 },
                state,
                grace_left: Duration::ZERO,
                sequence,
                came: if is_known { came } else { 0 },
                recording: None,
                is_here: is_here && is_known,
                is_restored: is_restored && is_known,
            }
        })
}

fn inputs() -> impl Strategy<Value = Input> {
    prop_oneof![
        (0..9_u64).prop_map(|at| Input::StreamerCame { at }),
        Just(Input::StreamerLost),
        Just(Input::StreamerEnded),
        Just(Input::ClipQueued),
        Just(Input::HeartbeatDue),
        Just(Input::LeaseOver),
        (0..9_u64).prop_map(|sequence| Input::Published { sequence }),
        Just(Input::Republished),
        Just(Input::Unanswered),
        seen().prop_map(Input::Observed),
        seen().prop_map(Input::Refused),
        seen().prop_map(Input::NotPublished),
        (1..9_u64, 0..5_u64, any::<bool>()).prop_map(|(epoch, sequence, is_resumed)| {
            Input::Granted {
                epoch,
                sequence,
                is_resumed,
            }
        }),
        prop::sample::select(vec![Release::Done, Release::Missing, Release::Stale])
            .prop_map(Input::Released),
    ]
}

fn is_command(action: &Action) -> bool {
    matches!(
        action,
        Action::Heartbeat(_)
            | Action::Claim(_)
            | Action::Publish { .. }
            | Action::Republish { .. }
            | Action::Release { .. }
    )
}

proptest! {
    #[test]
    fn any_sequence_of_inputs_keeps_the_rules(inputs in prop::collection::vec(inputs(), 0..60)) {
        let mut ownership = Ownership::default();
        let mut waits = false;
        for input in inputs {
            let before = ownership;
            let actions = ownership.apply(input);
            waits |= matches!(input, Input::StreamerCame { .. });
            let commands = actions.iter().filter(|action| is_command(action)).count();
            prop_assert!(commands <= 1, "{:?}", actions);
            prop_assert!(commands == 0 || actions.last().is_some_and(is_command), "{:?}", actions);
            for action in &actions {
                match action {
                    Action::Publish { epoch, sequence } => {
                        prop_assert_eq!(before.epoch(), Some(*epoch));
                        prop_assert_eq!(before.sequence() + 1, *sequence);
                    }
                    Action::Republish { epoch, .. } => prop_assert_eq!(ownership.epoch(), Some(*epoch)),
                    Action::Admit { is_confirmed } => {
                        prop_assert!(std::mem::take(&mut waits), "admitted twice");
                        prop_assert_eq!(*is_confirmed, ownership.epoch().is_some());
                    }
                    Action::Dismiss(_) => {
                        let is_replaced = match input {
                            Input::Observed(seen) | Input::Refused(seen) | Input::NotPublished(seen) => {
                                !seen.is_here && (seen.came >= before.came() || before.came() == 0)
                            }
                            // Another node replaced it, and then the admitted streamer.
                            Input::Granted { .. } => actions.contains(&Action::Admit { is_confirmed: true }),
                            _ => false,
                        };
                        prop_assert!(is_replaced, "dismissed for {:?}", input);
                    }
                    Action::WriteFlag(value) => {
                        let is_streaming = matches!(ownership, Ownership::Owner { .. });
                        prop_assert_eq!(*value, is_streaming);
                    }
                    _ => {}
                }
            }
            if waits && !matches!(ownership, Ownership::Claiming { .. }) {
                prop_assert!(false, "a waiting streamer gets no answer: {:?}", ownership);
            }
        }
    }
}
