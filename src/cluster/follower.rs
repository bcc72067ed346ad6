//! Which clips of another node are passed on: each once, in order. Pure.
//!
//! Clips are ordered by epoch, then sequence. Within an epoch sequences go on without a gap; so what is missing is seen,
//! and fetched from the history. With a new epoch that is due in any case: another livestream may have begun.
//!
//! **Invariant**: what is taken is later than all that was taken before, whatever came, how often and in which order.

/// What to do with a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next one: take it.
    Next,
    /// Some before it have not come: the history comes first.
    Gap,
    /// It came before, or one after it did.
    Duplicate,
    /// Its owner has been replaced.
    Stale,
}

/// How far a livestream has been followed.
#[derive(Debug, Default)]
pub struct Follower {
    last: Option<Position>,
    /// What the record said when the whole history had been fetched.
    caught_up: Option<Position>,
}

/// A clip's place: its epoch and its sequence.
pub type Position = (u64, u64);

impl Follower {
    /// Goes on after this place; none: from the next clip that comes.
    pub fn restart(&mut self, last: Option<Position>) {
        *self = Self {
            last,
            caught_up: None,
        };
    }

    /// The place of the latest clip that was taken.
    pub fn last(&self) -> Option<Position> {
        self.last
    }

    /// What to do with the clip at this place.
    pub fn judge(&self, (epoch, sequence): Position) -> Verdict {
        match self.last {
            None => Verdict::Next,
            Some((last, _)) if epoch < last => Verdict::Stale,
            Some(last) if (epoch, sequence) <= last => Verdict::Duplicate,
            Some((last, taken)) if (epoch, sequence) == (last, taken + 1) => Verdict::Next,
            Some(_) => Verdict::Gap,
        }
    }

    /// Takes the clip at this place, if it is later than all before; how many before it are missed for good.
    pub fn take(&mut self, place: Position) -> Option<u64> {
        let missed = match self.last {
            Some(last) if place <= last => return None,
            Some((_, last)) => place.1.saturating_sub(last + 1),
            None => 0,
        };
        self.last = Some(place);
        Some(missed)
    }

    /// Whether Redis may have clips that have not come; `record` is the record's epoch and latest sequence.
    pub fn is_behind(&self, record: Position) -> bool {
        // Without a clip there is none to miss.
        record.1 > 0 && Some(record) > self.last && Some(record) != self.caught_up
    }

    /// The whole history was fetched after the record said so.
    pub fn caught_up(&mut self, record: Position) {
        self.caught_up = Some(record);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What owners publish: epochs rise, sequences go on, or begin again with another livestream.
    fn history() -> impl Strategy<Value = Vec<Position>> {
        prop::collection::vec((1..6_u64, any::<bool>()), 1..6).prop_map(|spans| {
            let (mut places, mut sequence) = (Vec::new(), 0);
            for (epoch, (clips, anew)) in (1..).zip(spans) {
                if anew {
                    sequence = 0;
                }
                for _ in 0..clips {
                    sequence += 1;
                    places.push((epoch, sequence));
                }
            }
            places
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
                let place = *pick.get(&history);
                if matches!(follower.judge(place), Verdict::Next | Verdict::Gap) {
                    prop_assert!(follower.take(place).is_some());
                    taken.push(place);
                } else {
                    prop_assert_eq!(follower.take(place), None);
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
            for (at, place) in history.iter().enumerate() {
                // The first comes: before it there is nothing to go by.
                if at > 0 && lost[at % lost.len()] {
                    continue;
                }
                if follower.judge(*place) == Verdict::Gap {
                    for kept in &history[..at] {
                        taken.extend(follower.take(*kept).map(|_| *kept));
                    }
                }
                taken.extend(follower.take(*place).map(|_| *place));
            }
            // A loss after the last that came is seen by the next heartbeat.
            let latest = *history.last().expect("not empty");
            if follower.is_behind(latest) {
                for kept in &history {
                    taken.extend(follower.take(*kept).map(|_| *kept));
                }
            }
            prop_assert_eq!(taken, history);
        }
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
