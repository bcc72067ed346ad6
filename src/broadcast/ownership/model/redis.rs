//! A model of the record and of `cluster/scripts`, without a clock: an expired lease is a separate fault.

use std::time::Duration;

use super::super::*;
use crate::broadcast::{Record, State};

/// The checks in the scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fence {
    /// A claim names the newest epoch.
    CompareAndSet,
    /// A claim is not late.
    Deadline,
    /// A clip is of the newest epoch.
    PublishedEpoch,
    /// A release is of the newest epoch.
    ReleasedEpoch,
    /// A clip comes after all clips before it.
    WholeHistory,
    /// A new owner has the clips of the owners before.
    CatchUp,
    /// A livestream is enrolled before it is claimed, and before its flag is set.
    Enrolment,
    /// A record tells when its streamer came.
    Came,
    /// A listener hears no earlier streamer after a later one.
    HeardOrder,
}

/// Every check, or every check but one: the model checker must find the fault that the missing one prevents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fences(pub(super) Option<Fence>);

impl Fences {
    pub(super) fn have(self, fence: Fence) -> bool {
        self.0 != Some(fence)
    }
}

/// A clip's epoch, sequence and number, and the time at which its streamer came.
pub(super) type Clip = (u64, u64, u8, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    Live,
    /// Live, but its lease has expired.
    Lapsed,
    Grace,
    Ended,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Stored {
    pub(super) epoch: u64,
    pub(super) node: usize,
    pub(super) phase: Phase,
    pub(super) sequence: u64,
    pub(super) known: u64,
    pub(super) came: u64,
}

/// The memory of Redis; the clock behind the epochs survives a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Memory {
    pub(super) record: Option<Stored>,
    pub(super) history: Vec<Clip>,
    /// Whether a node will check the livestream when its time is over.
    pub(super) is_enrolled: bool,
    /// Whether it was lost less than a lease ago.
    pub(super) is_unsettled: bool,
}

impl Memory {
    pub(super) fn is_ended(&self) -> bool {
        self.record
            .as_ref()
            .is_some_and(|it| it.phase == Phase::Ended)
    }

    /// The record, as a node reads it.
    pub(super) fn seen(&self, node: usize, fences: Fences) -> Record {
        let Some(record) = &self.record else {
            return Record {
                epoch: 0,
                state: self.is_unsettled.then_some(State::Waiting),
                grace_left: Duration::ZERO,
                sequence: 0,
                came: 0,
                recording: None,
                is_here: false,
                is_restored: false,
            };
        };
        Record {
            epoch: record.epoch,
            state: Some(match record.phase {
                Phase::Live => State::Live,
                Phase::Lapsed | Phase::Grace => State::Reconnecting,
                Phase::Ended => State::Ended,
            }),
            grace_left: Duration::ZERO,
            sequence: record.sequence,
            came: if fences.have(Fence::Came) {
                record.came
            } else {
                0
            },
            recording: None,
            is_here: record.node == node,
            is_restored: false,
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        node: usize,
        renewal: Option<Renewal>,
        fences: Fences,
    ) -> Input {
        let mut is_restored = false;
        if let Some(Renewal {
            position,
            came,
            may_restore,
        }) = renewal
        {
            let epoch = self.record.as_ref().map_or(0, |record| record.epoch);
            if epoch < position.epoch && may_restore {
                self.record = Some(Stored {
                    epoch: position.epoch,
                    node,
                    phase: Phase::Live,
                    sequence: self.record.as_ref().map_or(0, |record| record.sequence),
                    known: position.sequence,
                    came,
                });
                is_restored = true;
            } else if let Some(record) = &mut self.record
                && record.epoch == position.epoch
                && matches!(record.phase, Phase::Live | Phase::Lapsed)
            {
                (record.phase, record.came) = (Phase::Live, came);
            }
        }
        let seen = self.seen(node, fences);
        Input::Observed(Record {
            is_restored,
            ..seen
        })
    }

    pub(super) fn claim(
        &mut self,
        node: usize,
        claim: Claim,
        clock: &mut u64,
        fences: Fences,
    ) -> Input {
        let before = self.seen(node, fences);
        if before.epoch != claim.expected && fences.have(Fence::CompareAndSet) {
            return Input::Refused(before);
        }
        let is_resumed = !claim.is_fresh && before.is_started();
        let sequence = match &self.record {
            Some(record) if is_resumed => claim.sequence.max(record.sequence).max(record.known),
            _ => {
                self.history.clear();
                claim.sequence
            }
        };
        *clock += 1;
        self.record = Some(Stored {
            epoch: *clock,
            node,
            phase: Phase::Live,
            sequence,
            known: sequence,
            came: if claim.came == 0 { *clock } else { claim.came },
        });
        Input::Granted {
            epoch: *clock,
            sequence,
            is_resumed,
        }
    }

    /// Adds clips if the history has reached `after`; returns whether they are in the history now.
    pub(super) fn publish(
        &mut self,
        owner: u64,
        clips: &[Clip],
        after: u64,
        fences: Fences,
    ) -> bool {
        let Some(record) = &mut self.record else {
            return false;
        };
        let is_good = record.epoch == owner && matches!(record.phase, Phase::Live | Phase::Lapsed)
            || !fences.have(Fence::PublishedEpoch);
        if !is_good || record.sequence < after && fences.have(Fence::WholeHistory) {
            return false;
        }
        for clip in clips {
            if record.sequence < clip.1 {
                record.sequence = clip.1;
                record.phase = Phase::Live;
                self.history.push(*clip);
            }
        }
        true
    }

    pub(super) fn release(&mut self, epoch: u64, is_ended: bool, fences: Fences) -> Input {
        let Some(record) = &mut self.record else {
            return Input::Released(Release::Missing);
        };
        let is_newer = record.epoch > epoch && fences.have(Fence::ReleasedEpoch);
        if is_newer || record.phase == Phase::Ended && !is_ended {
            return Input::Released(Release::Stale);
        }
        record.epoch = epoch;
        record.phase = Phase::Grace;
        if is_ended {
            record.phase = Phase::Ended;
            (record.sequence, record.known) = (0, 0);
            self.history.clear();
        }
        Input::Released(Release::Done)
    }

    /// Ends a livestream without an owner; returns whether it did.
    pub(super) fn expire(&mut self) -> bool {
        let is_over = self.is_enrolled
            && self
                .record
                .as_ref()
                .is_none_or(|it| it.phase != Phase::Live);
        if is_over {
            if let Some(record) = &mut self.record {
                record.phase = Phase::Ended;
                (record.sequence, record.known) = (0, 0);
            }
            self.history.clear();
            self.is_enrolled = false;
        }
        is_over
    }
}
