//! The order in which clips of other nodes are passed on: each once, in order. Pure.
//!
//! Clips are ordered by epoch, then sequence. Within an epoch the sequences have no gap, so a missing clip is detected
//! and fetched from the history. A new epoch always requires the history: another livestream may have begun.
//!
//! Listeners hear this node's own streamer too, also while Redis is away. Order comes first, so of an earlier streamer they
//! get no clip that it said before that one was gone. They get every clip of a later streamer.
//!
//! **Invariant**: each taken clip is later than every clip taken before, for any order and repetition of messages.

use super::Position;

/// The verdict on a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next clip: take it.
    Next,
    /// Earlier clips are missing: read the history first.
    Gap,
    /// It, or a later clip, was already taken.
    Duplicate,
    /// Its owner has been replaced.
    Stale,
}

/// The progress in one livestream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Follower {
    last: Option<Position>,
    /// The record's position when the whole history had been fetched.
    caught_up: Option<Position>,
    /// The latest streamer of this node that listeners heard.
    own: Option<OwnStreamer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct OwnStreamer {
    /// When it came, in microseconds of Redis's clock.
    came: u64,
    /// When it was gone, in milliseconds.
    until: Option<u64>,
}

impl Follower {
    /// Continues after `last`; none: with the next clip that arrives.
    pub fn restart(&mut self, last: Option<Position>) {
        (self.last, self.caught_up) = (last, None);
    }

    /// Records that listeners hear a streamer of this node that `came` at this time, in microseconds of Redis's clock; 0 if
    /// that is unknown: all others then count as earlier.
    pub fn hear_own(&mut self, came: u64) {
        let came = if came == 0 { u64::MAX } else { came };
        self.own = Some(OwnStreamer { came, until: None });
    }

    /// Records that this node has no streamer at this time, in milliseconds of Redis's clock.
    pub fn lose_own(&mut self, now: u64) {
        if let Some(own) = &mut self.own {
            own.until.get_or_insert(now);
        }
    }

    /// Whether listeners must not hear a clip, because they heard a later streamer of this node. `came` is the time of the
    /// clip's streamer, in microseconds; `said` the clip's own, in milliseconds.
    pub fn is_too_early(&self, came: u64, said: u64) -> bool {
        self.own
            .is_some_and(|own| came < own.came && own.until.is_none_or(|until| said <= until))
    }

    /// The position of the latest clip taken.
    pub fn last(&self) -> Option<Position> {
        self.last
    }

    /// The verdict on the clip at this position.
    pub fn judge(&self, position: Position) -> Verdict {
        let Some(last) = self.last else {
            return Verdict::Next;
        };
        if position.epoch < last.epoch {
            Verdict::Stale
        } else if position <= last {
            Verdict::Duplicate
        } else if position == last.next() {
            Verdict::Next
        } else {
            Verdict::Gap
        }
    }

    /// Takes the clip if it is later than all before; returns how many clips before it are lost.
    pub fn take(&mut self, position: Position) -> Option<u64> {
        let missed = match self.last {
            Some(last) if position <= last => return None,
            Some(last) => position.sequence.saturating_sub(last.sequence + 1),
            None => 0,
        };
        self.last = Some(position);
        Some(missed)
    }

    /// Whether Redis may have clips that did not arrive; `record` is the record's epoch and latest sequence.
    pub fn is_behind(&self, record: Position) -> bool {
        // Without a clip none can be missing.
        record.sequence > 0 && Some(record) > self.last && Some(record) != self.caught_up
    }

    /// Records that the whole history was fetched after the record said so.
    pub fn caught_up(&mut self, record: Position) {
        self.caught_up = Some(record);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The clips of random owners: epochs rise; sequences continue, or restart with another livestream.
    fn history() -> impl Strategy<Value = Vec<Position>> {
        prop::collection::vec((1..6_u64, any::<bool>()), 1..6).prop_map(|spans| {
            let (mut positions, mut sequence) = (Vec::new(), 0);
            for (epoch, (clips, restarts)) in (1..).zip(spans) {
                if restarts {
                    sequence = 0;
                }
                for _ in 0..clips {
                    sequence += 1;
                    positions.push(Position::new(epoch, sequence));
                }
            }
            positions
        })
    }

    proptest! {
        #[test]
        fn clips_are_taken_once_and_in_order(
            history in history(), picks in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        ) {
            let mut follower = Follower::default();
            let mut taken = Vec::new();
            for pick in picks {
                let position = *pick.get(&history);
                if matches!(follower.judge(position), Verdict::Next | Verdict::Gap) {
                    prop_assert!(follower.take(position).is_some());
                    taken.push(position);
                } else {
                    prop_assert_eq!(follower.take(position), None);
                }
            }
            prop_assert!(taken.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", taken);
        }

        #[test]
        fn history_fills_every_gap(
            history in history(), lost in prop::collection::vec(any::<bool>(), 40),
        ) {
            let mut follower = Follower::default();
            let mut taken = Vec::new();
            for (at, position) in history.iter().enumerate() {
                // The first clip arrives: no clip before it is known.
                if at > 0 && lost[at % lost.len()] {
                    continue;
                }
                if follower.judge(*position) == Verdict::Gap {
                    for clip in &history[..at] {
                        taken.extend(follower.take(*clip).map(|_| *clip));
                    }
                }
                taken.extend(follower.take(*position).map(|_| *position));
            }
            // The next heartbeat detects a loss after the last arrival.
            let latest = *history.last().expect("not empty");
            if follower.is_behind(latest) {
                for clip in &history {
                    taken.extend(follower.take(*clip).map(|_| *clip));
                }
            }
            prop_assert_eq!(taken, history);
        }
    }

    /// A follower whose listeners heard a streamer here, which came at 6,000 µs and was gone at 20 ms.
    fn heard_here() -> Follower {
        let mut follower = Follower::default();
        follower.hear_own(6_000);
        follower.lose_own(20);
        follower.lose_own(40);
        follower
    }

    #[test]
    fn earlier_streamer_is_unheard_after_a_later_one() {
        let follower = heard_here();
        assert!(follower.is_too_early(5_999, 20));
        assert!(follower.is_too_early(0, 0), "it is unknown when it came");
    }

    #[test]
    fn later_streamer_is_heard_from_its_first_clip() {
        let follower = heard_here();
        assert!(!follower.is_too_early(6_001, 7));
        assert!(!follower.is_too_early(6_000, 7), "the same one");
        assert!(!Follower::default().is_too_early(0, 0), "nobody was heard");
    }

    #[test]
    fn earlier_streamer_that_stays_is_heard_again() {
        let mut follower = Follower::default();
        follower.hear_own(6_000);
        assert!(follower.is_too_early(5_000, 21), "the later one is here");
        follower.lose_own(20);
        assert!(!follower.is_too_early(5_000, 21));
    }

    #[test]
    fn streamer_with_an_unknown_arrival_is_last() {
        let mut follower = Follower::default();
        follower.hear_own(0);
        follower.lose_own(20);
        assert!(follower.is_too_early(7_000, 20));
        assert!(!follower.is_too_early(7_000, 21));
    }

    #[test]
    fn clips_lost_for_good_are_counted() {
        let mut follower = Follower::default();
        assert_eq!(follower.take(Position::new(1, 5)), Some(0));
        assert_eq!(follower.judge(Position::new(1, 9)), Verdict::Gap);
        assert_eq!(follower.take(Position::new(1, 9)), Some(3));
        assert_eq!(follower.judge(Position::new(1, 9)), Verdict::Duplicate);
        assert_eq!(follower.judge(Position::new(0, 10)), Verdict::Stale);
    }
}
