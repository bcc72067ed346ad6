//! When recordings are finished: every minute, at each end, and when an operator asks.
//!
//! **Invariant**: what cannot be finished, and podcasts, keep no other recording waiting.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::bucket::BucketError;
use super::contents::Step;
use super::finish::{Finisher, now};
use super::names::{self, RecordingId};

/// How often unfinished recordings are looked for.
const INTERVAL: Duration = Duration::from_mins(1);
/// Whether a podcast may be due behind this step, or with it.
fn may_register(step: Step) -> bool {
    matches!(step, Step::Finish | Step::Announce | Step::Register)
}

impl Finisher {
    /// Does what is to be done, again and again.
    pub(super) async fn run(self, mut requests: mpsc::Receiver<RecordingId>) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.ended.notified() => {}
                Some(id) = requests.recv() => {
                    if let Err(error) = self.finish_again(&id, now()).await {
                        self.failed(&id.to_string(), &error);
                    }
                    continue;
                }
            }
            if let Err(error) = self.round(now()).await {
                self.failed("the recordings", &error);
            }
        }
    }

    fn failed(&self, what: &str, error: &BucketError) {
        self.metrics.errors.with_label_values(&["finish"]).inc();
        tracing::warn!("{what} cannot be finished now, it is tried again: {error}");
    }

    /// Does the next steps of every recording with something left to be done, at this time in milliseconds since 1970.
    pub(super) async fn round(&self, now: u64) -> Result<(), BucketError> {
        let names = self.bucket.names(names::PENDING).await?;
        let pending: BTreeSet<&String> = names.iter().collect();
        self.later.lock().retain(|name, _| pending.contains(name));
        let mut unregistered = Vec::new();
        for name in &names {
            let Some(id) = RecordingId::parse(name) else {
                continue;
            };
            if self.later.lock().get(name).is_some_and(|at| now < *at) {
                continue;
            }
            if self.safely(&id, now, false).await.is_some_and(may_register) {
                unregistered.push(id);
            }
        }
        // No recording waits until the podcasts of others are copied, or their bucket is back.
        for id in unregistered.iter().filter(|_| self.podcasts.is_some()) {
            let step = self.safely(id, now, true).await;
            let is_later = |at: &u64| now < *at;
            let failed = self.later.lock().get(&id.to_string()).is_some_and(is_later);
            if step.is_none() || step == Some(Step::Register) && failed {
                break;
            }
        }
        Ok(())
    }

    /// The step that was due. What cannot be joined ends neither the daemon nor the other recordings.
    async fn safely(&self, id: &RecordingId, now: u64, registers: bool) -> Option<Step> {
        let step = AssertUnwindSafe(self.take_step(id, now, registers));
        match step.catch_unwind().await {
            Ok(Ok(step)) => return Some(step),
            Ok(Err(error)) => self.failed(&id.to_string(), &error),
            Err(_) => tracing::error!("{id} cannot be finished: a fault of this server"),
        }
        None
    }

    /// For an operator.
    async fn finish_again(&self, id: &RecordingId, now: u64) -> Result<(), BucketError> {
        self.finish_and_announce(id, now).await?;
        if self.podcasts.is_some() {
            let step = self.take_step(id, now, true).await?;
            if step != Step::Register && may_register(step) {
                self.take_step(id, now, true).await?;
            }
        }
        Ok(())
    }
}
