//! What Firestore's `streamerConnected` should say.
//!
//! **Invariant**: the flag is true from the first time on air to the end, the grace period included.

use super::State;

/// The part of this node in the flag of a livestream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagOwner {
    /// This node writes it: it has the streamer, or the cluster chose it to write the end.
    Here,
    /// As [`Self::Here`], but this node stops: it sets no flag any longer.
    Stopping,
    /// The cluster decides later which node writes it.
    Cluster,
}

/// The value to write after a change of state; none if the flag stays as it is.
///
/// A livestream that has not been on air is [`State::Waiting`]. `Live` to `Live` is a new streamer, or a repetition in
/// case another node has cleared the flag late.
pub fn streamer_connected(before: State, after: State, owner: FlagOwner) -> Option<bool> {
    let value = match (before, after) {
        (_, State::Live) | (State::Waiting | State::Ended, State::Reconnecting) => true,
        (State::Live | State::Reconnecting, State::Ended) => false,
        _ => return None,
    };
    match owner {
        FlagOwner::Here => Some(value),
        FlagOwner::Stopping => (!value).then_some(false),
        FlagOwner::Cluster => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 4] = [
        State::Waiting,
        State::Live,
        State::Reconnecting,
        State::Ended,
    ];

    #[test]
    fn flag_follows_every_pair_of_states() {
        // By row the state before, by column the state after, in the order above.
        let expected = [
            [None, Some(true), Some(true), None],
            [None, Some(true), None, Some(false)],
            [None, Some(true), None, Some(false)],
            [None, Some(true), Some(true), None],
        ];
        for (before, row) in STATES.into_iter().zip(expected) {
            for (after, value) in STATES.into_iter().zip(row) {
                let written = streamer_connected(before, after, FlagOwner::Here);
                assert_eq!(written, value, "{before:?} to {after:?}");
                let written = streamer_connected(before, after, FlagOwner::Stopping);
                let cleared = value.filter(|connected| !connected);
                assert_eq!(written, cleared, "{before:?} to {after:?}, stopping");
                let written = streamer_connected(before, after, FlagOwner::Cluster);
                assert_eq!(written, None, "{before:?} to {after:?}, undecided");
            }
        }
    }
}
