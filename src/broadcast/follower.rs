//! The order in which clips of other nodes are passed on: each once, in order. Pure.
//!
//! Clips are ordered by epoch, then sequence. Within an epoch the sequences have no gap, so a missing clip is detected
//! and fetched from the history. A new epoch always requires the history: another livestream may have begun.
//!
//! Listeners may hear a streamer *apart*: one that was admitted here while Redis was away. Order comes first, so they
//! get no clip of an owner before that streamer. They get every clip of the owners after it.
//!
//! **Invariant**: each taken clip is later than every clip taken before, for any order and repetition of messages.

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
    /// Listeners heard a streamer apart; the owners after it have later epochs than this one.
    apart: Option<u64>,
}

/// The epoch and sequence of a clip.
pub type Position = (u64, u64);

impl Follower {
    /// Continues after `last`; none: with the next clip that arrives.
    pub fn restart(&mut self, last: Option<Position>) {
        (self.last, self.caught_up) = (last, None);
    }

    /// Records that listeners heard a streamer apart; the owners after it have later epochs than `since`.
    pub fn hear_apart(&mut self, since: u64) {
        self.apart = Some(since);
    }

    /// After listeners heard a streamer apart: skips the clips of the owners before it. `latest` is the position of a
    /// record, or before a clip. Returns whether there was such a streamer.
    pub fn settle(&mut self, latest: Position) -> bool {
        let Some(since) = self.apart.take() else {
            return false;
        };
        // Sequences rise over all epochs of a livestream: of this position none is missed.
        let skipped = if latest.0 > since {
            (since, latest.1)
        } else {
            latest
        };
        self.restart(self.last.max(Some(skipped)));
        true
    }

    /// The position of the latest clip taken.
    pub fn last(&self) -> Option<Position> {
        self.last
    }

    /// The verdict on the clip at this position.
    pub fn judge(&self, (epoch, sequence): Position) -> Verdict {
        match self.last {
            None => Verdict::Next,
            Some((last, _)) if epoch < last => Verdict::Stale,
            Some(last) if (epoch, sequence) <= last => Verdict::Duplicate,
            Some((last, taken)) if (epoch, sequence) == (last, taken + 1) => Verdict::Next,
            Some(_) => Verdict::Gap,
        }
    }

    /// Takes the clip if it is later than all before; returns how many clips before it are lost.
    pub fn take(&mut self, position: Position) -> Option<u64> {
        let missed = match self.last {
            Some(last) if position <= last => return None,
            Some((_, last)) => position.1.saturating_sub(last + 1),
            None => 0,
        };
        self.last = Some(position);
        Some(missed)
    }

    /// Whether Redis may have clips that did not arrive; `record` is the record's epoch and latest sequence.
    pub fn is_behind(&self, record: Position) -> bool {
        // Without a clip none can be missing.
        record.1 > 0 && Some(record) > self.last && Some(record) != self.caught_up
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
                    positions.push((epoch, sequence));
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

    /// A follower that took clip 5 of epoch 3, before listeners heard a streamer apart at the time of epoch 6.
    fn heard_apart() -> Follower {
        let mut follower = Follower::default();
        follower.take((3, 5));
        follower.hear_apart(6);
        follower
    }

    #[test]
    fn owner_before_a_streamer_heard_apart_is_skipped() {
        let mut follower = heard_apart();
        assert!(follower.settle((4, 9)));
        assert_eq!(follower.judge((4, 9)), Verdict::Duplicate);
        assert_eq!(follower.judge((4, 10)), Verdict::Next);
        assert!(!follower.settle((4, 10)), "once");
    }

    #[test]
    fn owner_after_a_streamer_heard_apart_is_followed() {
        let mut follower = heard_apart();
        assert!(follower.settle((8, 90)));
        assert!(follower.is_behind((8, 90)));
        assert_eq!(follower.judge((4, 9)), Verdict::Stale, "the owner before");
        assert_eq!(follower.take((7, 10)), Some(0), "its first clip");
        assert_eq!(follower.take((8, 90)), Some(79));
    }

    #[test]
    fn clips_lost_for_good_are_counted() {
        let mut follower = Follower::default();
        assert_eq!(follower.take((1, 5)), Some(0));
        assert_eq!(follower.judge((1, 9)), Verdict::Gap);
        assert_eq!(follower.take((1, 9)), Some(3));
        assert_eq!(follower.judge((1, 9)), Verdict::Duplicate);
        assert_eq!(follower.judge((0, 10)), Verdict::Stale);
    }
}
