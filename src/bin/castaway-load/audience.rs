//! Listeners of one manner, and what they counted.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::listener::Manner;
use crate::report::{Impaired, Passing};
use crate::tally::Ear;

/// The listeners of one manner, and their counters.
pub(crate) struct Audience {
    pub(crate) manner: Manner,
    pub(crate) ears: Vec<Arc<Ear>>,
}

impl Audience {
    pub(crate) fn new(count: u32, manner: Manner) -> Self {
        let ears = (0..count).map(|_| Arc::default()).collect();
        Self { manner, ears }
    }

    pub(crate) fn sum(&self, what: impl Fn(&Ear) -> u64) -> u64 {
        self.ears.iter().map(|ear| what(ear)).sum()
    }

    pub(crate) fn closed(&self) -> u64 {
        self.sum(|ear| u64::from(ear.closed.load(Relaxed)))
    }

    /// The result of listeners that do not keep up, the last of which was closed after `gone`; none without any.
    pub(crate) fn impaired(&self, gone: Option<Duration>) -> Option<Impaired> {
        (!self.ears.is_empty()).then(|| Impaired {
            listeners: self.ears.len() as u64,
            closed: self.closed(),
            closed_after_seconds: gone.map(|gone| gone.as_secs_f64()),
            received: self.sum(|ear| ear.received.load(Relaxed)),
            damaged: self.damaged(),
        })
    }

    /// The result of listeners that come and go.
    pub(crate) fn passing(&self) -> Passing {
        Passing {
            listeners: self.ears.len() as u64,
            stays: self.sum(|ear| ear.stays.begun.load(Relaxed)),
            refused: self.sum(|ear| ear.stays.refused.load(Relaxed)),
            ended: self.sum(|ear| ear.stays.ended.load(Relaxed)),
            received: self.sum(|ear| ear.received.load(Relaxed)),
            missed: self.sum(|ear| ear.stays.missed.load(Relaxed)),
            damaged: self.damaged(),
        }
    }

    fn damaged(&self) -> u64 {
        self.sum(|ear| ear.corrupt.load(Relaxed) + ear.disordered.load(Relaxed))
    }
}
