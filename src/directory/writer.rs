//! The writers: one task per livestream with an unfinished intention.
//!
//! **Invariant**: at most one attempt per livestream is in flight. An intention is dropped only if its document is gone
//! or Firestore refuses it for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rand::Rng as _;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use super::documents::{Documents, Written};
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
    /// The longest time until a straggler takes effect.
    landing: Duration,
    /// A lock, never held across an await.
    intentions: Mutex<Intentions<LivestreamId>>,
    /// Notified after each step of a writer.
    progress: Notify,
    /// Notified when a value is intended for a livestream that has a writer.
    news: Notify,
    /// Notified to end a pause: [`Writer::settle`] waits for all writes.
    hurry: Notify,
    /// Whether `settle` is waiting; independent of other state, so an atomic.
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

    /// The livestreams that an earlier run may have left connected.
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

    /// Runs until nothing is left to do for `id`.
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
                Step::Check => self.check(id, &mut failures).await,
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
        // A failure of the disk does not stop the livestream: a stale flag after a crash is better than no listeners.
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
                tracing::info!(livestream.id = %id, "the livestream's document is gone; nothing to write");
                self.give_up(id).await;
                Ok(())
            }
            Written::Refused(failure) => {
                tracing::error!(livestream.id = %id, %failure, "Firestore refuses to write streamerConnected");
                self.give_up(id).await;
                Ok(())
            }
            Written::Failed(failure) => {
                *failures = failures.saturating_add(1);
                if failures.is_power_of_two() {
                    tracing::warn!(
                        livestream.id = %id, %failure, attempts = *failures,
                        "streamerConnected cannot be written; the server tries again"
                    );
                }
                let may_land = failure.may_have_taken_effect();
                self.lock().failed(id, may_land);
                Err(())
            }
        }
    }

    /// Checks whether a straggler has undone the write. Returns early if a value is intended meanwhile.
    async fn check(&self, id: &LivestreamId, failures: &mut u32) {
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
            let value = entry.map(|it| it.streamer_connected);
            self.lock().was_read(id, value);
            self.forget_if_cleared(id).await;
        } else {
            *failures = failures.saturating_add(1);
            self.pause(*failures).await;
        }
    }

    /// Removes `id` from the state file once no write can set its flag.
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

    /// Waits before the next attempt: exponential, with jitter; `settle` ends the wait.
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
