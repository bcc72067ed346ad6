//! The writers: one task per livestream that has something left to write.
//!
//! **Invariant**: two attempts for one livestream are never under way at once; an intention is given up only when its
//! document is gone or Firestore will never take it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rand::Rng as _;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use super::firestore::{Documents, Written};
use super::intentions::{Intentions, Step};
use super::remembered::Remembered;
use crate::broadcast::LivestreamId;
use crate::google::Lane;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// All writers; cheap to clone.
#[derive(Clone)]
pub(super) struct Writer {
    inner: Arc<Inner>,
}

struct Inner {
    documents: Documents,
    remembered: Remembered,
    /// How long a straggler may take to land.
    landing: Duration,
    /// A lock, never held across an await.
    intentions: Mutex<Intentions<LivestreamId>>,
    /// Told when a writer has got on.
    progress: Notify,
    /// Told when something is intended for a livestream that has a writer.
    news: Notify,
    /// Told when a pause is to end: somebody waits for all to be written.
    hurry: Notify,
    /// Whether somebody waits for that now; a flag by itself, so an atomic.
    hurried: AtomicBool,
}

impl Writer {
    pub(super) fn new(
        documents: Documents,
        remembered: Remembered,
        request_timeout: Duration,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                documents,
                remembered,
                landing: request_timeout * 2,
                intentions: Mutex::default(),
                progress: Notify::new(),
                news: Notify::new(),
                hurry: Notify::new(),
                hurried: AtomicBool::new(false),
            }),
        }
    }

    pub(super) fn intend(&self, id: &LivestreamId, connected: bool) {
        if self.lock().intend(id, connected) {
            self.start(id.clone());
        } else {
            self.inner.news.notify_waiters();
        }
    }

    /// What an earlier run may have left connected.
    pub(super) fn left_behind(&self) -> Vec<LivestreamId> {
        self.inner.remembered.all()
    }

    pub(super) fn clear(&self, id: &LivestreamId) {
        if self.lock().recover(id) {
            tracing::info!(livestream.id = %id, "left connected by an earlier run; clearing it");
            self.start(id.clone());
        }
    }

    pub(super) fn pending(&self) -> usize {
        self.lock().unwritten()
    }

    pub(super) async fn settle(&self, limit: Duration) -> usize {
        let deadline = Instant::now() + limit;
        self.inner.hurried.store(true, Ordering::Relaxed);
        self.inner.hurry.notify_waiters();
        let left = self.settled_by(deadline).await;
        self.inner.hurried.store(false, Ordering::Relaxed);
        left
    }

    async fn settled_by(&self, deadline: Instant) -> usize {
        loop {
            let progress = self.inner.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            let left = self.pending();
            if left == 0 || timeout_at(deadline, progress).await.is_err() {
                return left;
            }
        }
    }

    fn start(&self, id: LivestreamId) {
        let this = self.clone();
        tokio::spawn(async move { this.run(&id).await });
    }

    /// Works until nothing is left to do for `id`.
    async fn run(&self, id: &LivestreamId) {
        let mut failures = 0_u32;
        loop {
            let step = self.lock().next(id);
            match step {
                Step::Close => return self.inner.progress.notify_waiters(),
                Step::Write(connected) => {
                    if self.write(id, connected, &mut failures).await.is_err() {
                        self.pause(failures).await;
                    }
                }
                Step::Look => self.look(id, &mut failures).await,
            }
            self.inner.progress.notify_waiters();
        }
    }

    async fn write(
        &self,
        id: &LivestreamId,
        connected: bool,
        failures: &mut u32,
    ) -> Result<(), ()> {
        // The livestream goes on: a flag that a crash would leave behind is better than no listeners.
        self.inner.remembered.add(id).await;
        match self.inner.documents.write(id, connected).await {
            Written::Done => {
                *failures = 0;
                self.lock().succeeded(id, connected);
                tracing::debug!(livestream.id = %id, connected, "streamerConnected is written");
                self.forget_if_cleared(id).await;
                Ok(())
            }
            Written::Gone => {
                tracing::info!(livestream.id = %id, "its document is gone; nothing to write");
                self.give_up(id).await;
                Ok(())
            }
            Written::Refused(failure) => {
                tracing::error!(livestream.id = %id, %failure, "Firestore will not take streamerConnected");
                self.give_up(id).await;
                Ok(())
            }
            Written::Failed(failure) => {
                *failures = failures.saturating_add(1);
                if failures.is_power_of_two() {
                    tracing::warn!(livestream.id = %id, %failure, attempts = *failures, "streamerConnected cannot be written; trying on");
                }
                let may_land = failure.may_have_taken_effect();
                self.lock().failed(id, may_land);
                Err(())
            }
        }
    }

    /// Looks whether a straggler has undone what was written; not if something else is intended meanwhile.
    async fn look(&self, id: &LivestreamId, failures: &mut u32) {
        let landed = Instant::now() + self.inner.landing;
        loop {
            let news = self.inner.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if self.lock().has_news(id) {
                return;
            }
            if timeout_at(landed, news).await.is_err() {
                break;
            }
        }
        if let Ok(entry) = self.inner.documents.read(id, Lane::Background).await {
            let says = entry.map(|it| it.streamer_connected);
            self.lock().looked(id, says);
            self.forget_if_cleared(id).await;
        } else {
            *failures = failures.saturating_add(1);
            self.pause(*failures).await;
        }
    }

    /// Strikes `id` from the state file once nothing can set it any more.
    async fn forget_if_cleared(&self, id: &LivestreamId) {
        let cleared = self.lock().is_cleared(id);
        if cleared {
            self.inner.remembered.remove(id).await;
        }
    }

    async fn give_up(&self, id: &LivestreamId) {
        self.inner.remembered.remove(id).await;
        self.lock().gone(id);
    }

    /// Waits before the next attempt: longer each time, never two nodes in step; cut short by `settle`.
    async fn pause(&self, failures: u32) {
        let hurried = self.inner.hurried.load(Ordering::Relaxed);
        let longest = if hurried { FIRST_PAUSE } else { LONGEST_PAUSE };
        let doublings = failures.saturating_sub(1).min(10);
        let most = FIRST_PAUSE.saturating_mul(1 << doublings).min(longest);
        let pause = most.mul_f64(rand::rng().random_range(0.5..1.0));
        let _cut_short = timeout(pause, self.inner.hurry.notified()).await;
    }

    fn lock(&self) -> MutexGuard<'_, Intentions<LivestreamId>> {
        self.inner.intentions.lock()
    }
}
