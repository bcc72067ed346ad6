//! The ids that a streamer gave to its latest clips, with what became of each: so a clip that is sent again is known.
//!
//! **Invariant**: at most [`ClipIds::MOST`] ids are kept, and these are the latest ones.

use std::collections::{HashMap, VecDeque};

use super::ClipId;

/// See the module; `A` is what became of a clip.
#[derive(Debug)]
pub struct ClipIds<A> {
    outcomes: HashMap<ClipId, A>,
    /// Oldest first.
    order: VecDeque<ClipId>,
}

impl<A> ClipIds<A> {
    /// The most ids.
    pub const MOST: usize = 512;

    /// What became of the clip with this id; none if the id is unknown, or forgotten.
    pub fn get(&self, id: &ClipId) -> Option<&A> {
        self.outcomes.get(id)
    }

    /// Makes this id the latest one, in place of an older entry with the same id. The oldest id beyond the bound is
    /// forgotten.
    pub fn insert(&mut self, id: ClipId, outcome: A) {
        if self.outcomes.insert(id.clone(), outcome).is_some() {
            self.order.retain(|known| *known != id);
        }
        self.order.push_back(id);
        if self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.outcomes.remove(&oldest);
        }
    }

    /// The ids, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&ClipId, &A)> {
        let outcome = |id| self.outcomes.get(id).map(|outcome| (id, outcome));
        self.order.iter().filter_map(outcome)
    }
}

impl<A> Default for ClipIds<A> {
    fn default() -> Self {
        Self {
            outcomes: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn latest_ids_are_known_and_no_others(numbers in prop::collection::vec(0..900_u32, 0..2000)) {
            let id = |number: &u32| ClipId::new(&number.to_string()).expect("an id");
            let mut ids = ClipIds::default();
            let mut model: Vec<(u32, usize)> = Vec::new();
            for (outcome, number) in numbers.iter().enumerate() {
                ids.insert(id(number), outcome);
                model.retain(|(known, _)| known != number);
                model.push((*number, outcome));
                if model.len() > 512 {
                    model.remove(0);
                }
            }
            let kept: Vec<_> = ids.iter().map(|(id, outcome)| (id.clone(), *outcome)).collect();
            let expected: Vec<_> = model.iter().map(|(number, outcome)| (id(number), *outcome)).collect();
            prop_assert_eq!(kept, expected);
            for number in 0..900 {
                let outcome = model.iter().find(|(known, _)| *known == number).map(|(_, outcome)| outcome);
                prop_assert_eq!(ids.get(&id(&number)), outcome);
            }
        }
    }
}
