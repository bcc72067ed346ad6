//! What is in a recording, by a listing of its objects, and what is left to be done for it. Pure.
//!
//! **Invariant**: the same listing gives the same order, the same missing clips and the same next step, on every node.

mod missing;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::names::{ClipName, Mark, SENT_AGAIN};
use missing::{NOT_RECEIVED, has};

pub(super) use missing::Missing;

/// A clip that is so much later than an end, in milliseconds, shows that it was none: a node that was cut off from the
/// others has declared it.
const OVERRULES_AFTER: u64 = 60_000;

/// How long a podcast that cannot be registered is tried, after its manifest was written.
const REGISTER_WITHIN: Duration = Duration::from_hours(7 * 24);

/// The clips and the marks of a recording.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) clips: BTreeSet<ClipName>,
    pub(super) marks: BTreeSet<(u64, Mark)>,
    /// The sequence before which no clip is missing; none: the first.
    pub(super) first: Option<u64>,
}

impl Contents {
    /// The names of its clips.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.clips.iter().map(ToString::to_string).collect()
    }

    /// Whether all clips with these names are here.
    pub(super) fn has_all<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> bool {
        let here = self.names();
        names.into_iter().all(|name| here.contains(name))
    }

    /// Of the names of objects, relative to the recording's directory. Others are left out.
    pub(super) fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut contents = Self::default();
        for name in names {
            match name.split_once('/') {
                Some(("clips", name)) => contents.clips.extend(ClipName::parse(name)),
                Some(("marks", name)) => contents.marks.extend(Mark::parse(name)),
                _ => {}
            }
        }
        contents
    }

    /// The time and the reason of the end, if a node has seen it and no clip, nor a pause in which clips come, overrules it.
    pub(super) fn ended(&self) -> Option<(u64, &str)> {
        let clips = self.clips.iter().map(|clip| clip.received);
        let pauses = self.marks.iter().filter(|(_, mark)| *mark == Mark::Paused);
        let latest = clips.chain(pauses.map(|(at, _)| *at)).max().unwrap_or(0);
        let ends = self.marks.iter().filter_map(|(at, mark)| match mark {
            Mark::Ended { reason, .. } => Some((*at, reason.as_str())),
            _ => None,
        });
        ends.filter(|(at, _)| latest <= at.saturating_add(OVERRULES_AFTER))
            .min()
    }

    /// The time of the latest clip or mark; 0 without one.
    pub(super) fn latest(&self) -> u64 {
        let clips = self.clips.iter().map(|clip| clip.received);
        clips
            .chain(self.marks.iter().map(|(at, _)| *at))
            .max()
            .unwrap_or(0)
    }

    /// The clips as they were accepted: each epoch in the order of its sequences, epochs by time. Of those with the same id
    /// and bytes, which were sent again, the first; but within an epoch its owner has decided, and all are taken.
    pub(super) fn in_order(&self) -> Vec<&ClipName> {
        let mut latest: BTreeMap<u64, u64> = BTreeMap::new();
        // By epoch and sequence. A clock that is set back changes no order within an epoch.
        let timed = self.clips.iter().map(|clip| {
            let time = latest.entry(clip.epoch).or_default();
            *time = clip.received.max(*time);
            // Several processes number those.
            let is_again = clip.epoch == SENT_AGAIN;
            (if is_again { clip.received } else { *time }, clip)
        });
        let mut timed: Vec<_> = timed.collect();
        timed.sort_by_key(|(time, clip)| (*time, clip.epoch, clip.sequence));
        let left_out = self.left_out();
        // The epoch that has each first.
        let mut first = BTreeMap::new();
        let clips = timed.into_iter().map(|(_, clip)| clip);
        let is_taken = |clip: &&ClipName| {
            let Some(id) = clip.id.clone() else {
                return true;
            };
            if clip.epoch == SENT_AGAIN && has(&left_out, clip.sequence) {
                return false;
            }
            match first.entry(id) {
                Entry::Vacant(place) => {
                    place.insert(clip.epoch);
                    true
                }
                Entry::Occupied(place) => *place.get() == clip.epoch && clip.epoch != SENT_AGAIN,
            }
        };
        clips.filter(is_taken).collect()
    }

    /// Whether a node may still bring clips.
    fn may_grow(&self) -> bool {
        self.missing()
            .iter()
            .any(|clip| clip.reason == NOT_RECEIVED)
    }

    /// Why nothing was recorded between these times, in milliseconds since the Unix epoch, and between these clips; with the
    /// missing ones.
    pub(super) fn reason(
        &self,
        (from, until): (u64, u64),
        (one, other): (&ClipName, &ClipName),
        missing: &[Missing],
    ) -> String {
        let between = || {
            self.marks
                .iter()
                .filter(|(at, _)| (from..=until).contains(at))
        };
        let given_up = between().find_map(|(_, mark)| match mark {
            Mark::ClipLost { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        if let Some(reason) = given_up {
            return reason;
        }
        let numbers = one.position()..other.position();
        let is_between = |it: &Missing| numbers.contains(&(it.epoch, it.sequence));
        if let Some(missing) = missing.iter().find(|it| is_between(it)) {
            return missing.reason.clone();
        }
        let left_out = self.left_out();
        let is_left_out = left_out
            .iter()
            .any(|(from, until)| *from < other.sequence && one.sequence < *until);
        let reason = if is_left_out || between().any(|(_, mark)| *mark == Mark::Paused) {
            "pause"
        } else if between().any(|(_, mark)| *mark == Mark::LinkLost) {
            "link_lost"
        } else if one.epoch != other.epoch {
            "restart_or_takeover"
        } else {
            "nothing_sent"
        };
        reason.into()
    }
}

/// One recording of a livestream.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) number: u64,
    /// These times are in milliseconds since the Unix epoch.
    pub(super) started: u64,
    pub(super) ended: Option<u64>,
    pub(super) latest: u64,
    /// Whether nothing is left to be done for it: its clips are deleted, and those that come now are not joined.
    pub(super) is_closed: bool,
}

/// The recording to which a clip of this time belongs; none if it begins another one. A livestream that comes back within
/// `join_within`, in milliseconds, without having ended continues its recording.
pub(super) fn place(candidates: &[Candidate], at: u64, join_within: u64) -> Option<u64> {
    let covers = |it: &&Candidate| {
        let latest = it.latest.max(it.started);
        let until = match it.ended {
            Some(ended) => ended,
            None if it.is_closed => latest,
            None => latest.saturating_add(join_within),
        };
        it.started.saturating_sub(join_within) <= at && at <= until
    };
    let covering = candidates.iter().filter(covers);
    // One that had started by then, the latest of those; otherwise the first.
    covering
        .max_by_key(|it| {
            (
                it.started <= at,
                if it.started <= at {
                    it.number
                } else {
                    u64::MAX - it.number
                },
            )
        })
        .map(|it| it.number)
}

/// What a manifest says of its recording.
#[derive(Debug, Default)]
pub(super) struct Finished {
    /// The names of all clips that it lists.
    pub(super) clips: BTreeSet<String>,
    pub(super) age: Duration,
    pub(super) is_announced: bool,
    /// A file of it has to be registered as a podcast.
    pub(super) is_unregistered: bool,
}

/// What is to be done for a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing yet.
    Wait,
    /// To join its clips.
    Finish,
    /// To tell that it is ready.
    Announce,
    /// To register it as a podcast.
    Register,
    /// To delete its clips, and its pending object after them.
    Sweep,
    /// To leave it: clips came after the others were deleted.
    Leave,
}

/// The times that decide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// Milliseconds since the Unix epoch.
    pub(super) now: u64,
    /// Whether its livestream is on air here.
    pub(super) is_on_air: bool,
    pub(super) finish_after: Duration,
    pub(super) wait_for_clips: Duration,
    pub(super) keep_clips: Duration,
}

/// The next step for a recording.
pub(super) fn next_step(contents: &Contents, finished: Option<&Finished>, timing: Timing) -> Step {
    let is_older = |age: Duration| {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        contents.latest().saturating_add(age) < timing.now
    };
    let is_over = match contents.ended() {
        Some(_) => true,
        // One that was opened just now has nothing yet.
        None => contents.latest() > 0 && !timing.is_on_air && is_older(timing.finish_after),
    };
    let Some(finished) = finished else {
        let is_whole = || !contents.may_grow() || is_older(timing.wait_for_clips);
        return if is_over && is_whole() {
            Step::Finish
        } else {
            Step::Wait
        };
    };
    let here = contents.names();
    let is_new = here.iter().any(|clip| !finished.clips.contains(clip));
    let is_swept = finished.clips.iter().any(|clip| !here.contains(clip));
    let may_register = finished.is_announced && finished.age < REGISTER_WITHIN;
    match (is_new, is_swept) {
        (true, false) if is_over => Step::Finish,
        (true, false) => Step::Wait,
        _ if finished.is_unregistered && may_register => Step::Register,
        (true, true) => Step::Leave,
        _ if !finished.is_announced => Step::Announce,
        (false, true) => Step::Sweep,
        (false, false) if is_over && finished.age >= timing.keep_clips => Step::Sweep,
        (false, false) => Step::Wait,
    }
}

#[cfg(test)]
mod tests;
