//! Which accepted clips are not in a recording.
//!
//! An owner numbers its clips in its epoch without a hole, and begins after the latest clip that the owners before it
//! published: so a hole is a missing clip. The numbers that a node gives alone, in a cluster without Redis, follow no others
//! and skip those of its other epochs: a hole there says nothing. Without a cluster there are only such, and they follow each
//! other.

use std::collections::{BTreeMap, BTreeSet};

use super::Contents;
use crate::broadcast::{LeftOutSpan, is_local};
use crate::recording::names::{ClipName, Mark, SENT_AGAIN};

/// The reason of a clip that no node has brought.
pub(super) const NOT_RECEIVED: &str = "not_received";
/// The most clips without a trace that are named one by one.
const MOST: usize = 10_000;

/// A clip that was accepted, and is not in the recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::recording) struct Missing {
    /// Of its owner, or of the owner before if that is not known.
    pub(in crate::recording) epoch: u64,
    pub(in crate::recording) sequence: u64,
    pub(in crate::recording) reason: String,
}

/// Of an epoch, the ranges of sequences of which something is known: the first, and the one after the last.
type Known = BTreeSet<(u64, u64)>;

impl Contents {
    /// The clips that nodes accepted and that are not here: those that a node gave up, and those whose number is in no object
    /// though a later one is.
    pub(in crate::recording) fn missing(&self) -> Vec<Missing> {
        let mut missing: BTreeMap<(u64, u64), String> = BTreeMap::new();
        let here: BTreeSet<_> = self.clips.iter().map(ClipName::position).collect();
        for (_, mark) in &self.marks {
            if let Mark::ClipLost {
                epoch,
                sequence,
                reason,
            } = mark
                && *epoch != SENT_AGAIN
                && !here.contains(&(*epoch, *sequence))
            {
                missing.insert((*epoch, *sequence), reason.clone());
            }
        }
        let again = self.taken_again();
        for (epoch, sequence) in self.holes() {
            if missing.len() == MOST {
                break;
            }
            if !again.contains(&sequence) {
                missing
                    .entry((epoch, sequence))
                    .or_insert_with(|| NOT_RECEIVED.into());
            }
        }
        let of = |((epoch, sequence), reason)| Missing {
            epoch,
            sequence,
            reason,
        };
        missing.into_iter().map(of).collect()
    }

    /// The sequences of clips that were not recorded on purpose: spans from the first to before the second, in order and
    /// apart.
    pub(super) fn left_out(&self) -> Vec<LeftOutSpan> {
        let spans = self.marks.iter().filter_map(|(_, mark)| match mark {
            Mark::LeftOut { from, until } if from < until => Some((*from, *until)),
            _ => None,
        });
        let mut merged: Vec<LeftOutSpan> = Vec::new();
        for (from, until) in spans.collect::<BTreeSet<_>>() {
            match merged.last_mut() {
                Some((_, end)) if from <= *end => *end = until.max(*end),
                _ => merged.push((from, until)),
            }
        }
        merged
    }

    /// The sequences of clips that are taken because they came again.
    fn taken_again(&self) -> BTreeSet<u64> {
        let clips = self.in_order().into_iter();
        let again = clips.filter(|clip| clip.epoch == SENT_AGAIN);
        again.map(|clip| clip.sequence).collect()
    }

    fn known(&self) -> BTreeMap<u64, Known> {
        let mut known: BTreeMap<u64, Known> = BTreeMap::new();
        let mut note = |epoch, from: u64, end: u64| {
            known.entry(epoch).or_default().insert((from, end));
        };
        for clip in &self.clips {
            note(clip.epoch, clip.sequence, clip.sequence.saturating_add(1));
        }
        for (_, mark) in &self.marks {
            match mark {
                Mark::ClipLost {
                    epoch, sequence, ..
                } => note(*epoch, *sequence, sequence.saturating_add(1)),
                Mark::Repeated { epoch, from, until } => {
                    note(*epoch, *from, until.saturating_add(1));
                }
                Mark::Ended {
                    latest: Some((epoch, sequence)),
                    ..
                } => {
                    let end = sequence.saturating_add(1);
                    note(*epoch, end, end);
                }
                Mark::Ended { latest: None, .. }
                | Mark::LinkLost
                | Mark::Paused
                | Mark::LeftOut { .. } => {}
            }
        }
        known.remove(&SENT_AGAIN);
        known
    }

    /// The numbers of clips without a trace, at most [`MOST`] of each hole, but for those that were left out on purpose.
    fn holes(&self) -> Vec<(u64, u64)> {
        let mut known = self.known();
        if known.keys().any(|epoch| !is_local(*epoch)) {
            known.retain(|epoch, _| !is_local(*epoch));
        }
        let left_out = self.left_out();
        let mut holes = Vec::new();
        // The epoch before, and the sequence after its latest.
        let mut before = None;
        for (epoch, known) in known {
            let first = known.first().map_or(1, |(from, _)| *from);
            let (owner, next) = before.unwrap_or((epoch, self.first.unwrap_or(1)));
            let hole = outside(&left_out, next, first).take(MOST);
            holes.extend(hole.map(|it| (owner, it)));
            let mut next = first;
            for (from, end) in known {
                let hole = outside(&left_out, next, from).take(MOST);
                holes.extend(hole.map(|it| (epoch, it)));
                next = next.max(end);
            }
            before = Some((epoch, next));
        }
        holes
    }
}

/// Whether a number is in one of these spans, which are in order and apart.
pub(super) fn has(spans: &[LeftOutSpan], number: u64) -> bool {
    outside(spans, number, number.saturating_add(1))
        .next()
        .is_none()
}

/// The numbers from one to before another that are in none of these spans, which are in order and apart.
fn outside(spans: &[LeftOutSpan], from: u64, until: u64) -> impl Iterator<Item = u64> {
    let first = spans.partition_point(|(_, end)| *end <= from);
    let spans = spans[first..]
        .iter()
        .take_while(|(start, _)| *start < until);
    let mut parts = Vec::new();
    let mut next = from;
    for (start, end) in spans {
        parts.push(next..*start);
        next = *end;
    }
    parts.push(next..until);
    parts.into_iter().flatten()
}
