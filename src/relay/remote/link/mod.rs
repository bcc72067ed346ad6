//! The state shared by a livestream and its [`super::task::LivestreamTask`]: the clips queued for publication.
//!
//! **Invariant**: the queue is bounded in clips, in bytes and in time. The oldest clip is dropped first, and counted.
//! Every ticket is answered, in the order of the clips.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::broadcast::{NewClip, Position};
use crate::cluster::RedisClock;
use crate::cluster::metrics::Metrics;

/// The reason why a clip was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unpublished {
    /// Redis did not confirm it in time. It may have been published.
    #[error("Redis did not take the clip in time")]
    Away,
    /// Another node is the livestream's owner.
    #[error("another node owns the livestream")]
    Superseded,
}

/// How far the publication of a clip is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Queued,
    /// Still tried, for longer than its streamer waits.
    Overdue,
    Over(Result<u64, Unpublished>),
}

/// Receives the clip's sequence when every node has it or can fetch it. Each clone receives it.
#[derive(Debug, Clone)]
pub struct Ticket(watch::Receiver<Progress>);

impl Ticket {
    /// The ticket of a clip that is published.
    pub(crate) fn published(sequence: u64) -> Self {
        Self(watch::channel(Progress::Over(Ok(sequence))).1)
    }

    /// Waits for the answer to the streamer. It comes within the lease.
    pub async fn answer(mut self) -> Result<u64, Unpublished> {
        let answered = self.0.wait_for(|progress| *progress != Progress::Queued);
        match answered.await.as_deref() {
            Ok(Progress::Over(result)) => *result,
            // Without a task nobody publishes it.
            Ok(Progress::Queued | Progress::Overdue) | Err(_) => Err(Unpublished::Away),
        }
    }

    /// The result of the publication; none while it is tried.
    pub fn result(&self) -> Option<Result<u64, Unpublished>> {
        match *self.0.borrow() {
            Progress::Over(result) => Some(result),
            Progress::Queued | Progress::Overdue => None,
        }
    }
}

/// A request for a livestream; answered when its streamer may be admitted.
pub(super) type Request = oneshot::Sender<()>;

/// The most streamers that wait for one livestream.
const REQUESTS: usize = 16;

/// The limits of the queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkBounds {
    pub(super) clips: usize,
    pub(super) bytes: usize,
}

/// A queued clip.
pub(super) struct Waiting {
    pub(super) clip: NewClip,
    /// When its streamer came.
    pub(super) came: u64,
    since: Instant,
    ticket: watch::Sender<Progress>,
}

impl Waiting {
    /// The publication is over.
    pub(super) fn answer(&self, result: Result<u64, Unpublished>) {
        self.ticket.send_replace(Progress::Over(result));
    }

    /// The streamer gets an answer, and the publication goes on.
    pub(super) fn mark_late(&self) {
        self.ticket.send_replace(Progress::Overdue);
    }

    /// Whether it has waited for longer than `limit` and is still unanswered.
    pub(super) fn is_overdue(&self, limit: Duration) -> bool {
        *self.ticket.borrow() == Progress::Queued && self.since.elapsed() >= limit
    }
}

/// See the module.
pub(crate) struct Link {
    bounds: LinkBounds,
    metrics: Metrics,
    /// The clock of this livestream's Redis.
    clock: Arc<RedisClock>,
    /// A lock: the relay pushes while the task takes.
    state: Mutex<State>,
    /// Notified when there is work.
    work: Notify,
    /// Notified when the record has changed.
    changed: Notify,
    /// For the metrics: whether this node is the owner, and the number of listeners on other nodes.
    owner: AtomicBool,
    remote_listeners: AtomicUsize,
    /// The time since which `streamerConnected` waits to become true: no other node would clear it if this one died.
    flag_waits: Mutex<Option<Instant>>,
    requests: mpsc::Sender<Request>,
}

#[derive(Default)]
struct State {
    clips: VecDeque<Waiting>,
    bytes: usize,
    /// The streamer has ended the livestream, or it never went on air.
    ended: bool,
    /// The lowest position at which a listener joined: every later clip must be delivered to it.
    joined_at: Option<Position>,
    /// The position of the next clip, while this node has an epoch.
    next: Option<Position>,
    /// When the streamer here came, in microseconds of Redis's clock; 0 if it is unknown.
    came: u64,
    /// The same of the streamer that listeners here heard last, until the task has noted it.
    heard: Option<u64>,
}

impl State {
    fn take_position(&mut self) -> Option<Position> {
        let position = self.next?;
        self.next = Some(position.next());
        Some(position)
    }
}

impl Link {
    /// A link, and the receiver of its requests.
    pub(super) fn new(
        bounds: LinkBounds,
        metrics: Metrics,
        clock: Arc<RedisClock>,
    ) -> (Arc<Self>, mpsc::Receiver<Request>) {
        let (requests, asked) = mpsc::channel(REQUESTS);
        let link = Self {
            bounds,
            metrics,
            clock,
            state: Mutex::default(),
            work: Notify::new(),
            changed: Notify::new(),
            owner: AtomicBool::new(false),
            remote_listeners: AtomicUsize::new(0),
            flag_waits: Mutex::default(),
            requests,
        };
        (Arc::new(link), asked)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Makes this node the livestream's owner, or admits a streamer unconfirmed while Redis is away. None if too many
    /// streamers request it at once.
    pub(crate) async fn acquire(&self) -> Option<()> {
        let (reply, granted) = oneshot::channel();
        self.requests.try_send(reply).ok()?;
        granted.await.ok()
    }

    /// The position of the next clip, if this node has an epoch.
    pub(crate) fn next_position(&self) -> Option<Position> {
        self.lock().next
    }

    /// The position of the latest clip of the livestream, if this node has an epoch.
    pub(crate) fn latest_position(&self) -> Option<Position> {
        let Position { epoch, sequence } = self.next_position()?;
        Some(Position::new(epoch, sequence.checked_sub(1)?))
    }

    /// Queues a clip for the other nodes. Returns its position too, if this node has an epoch: it is published with that
    /// one, unless the epoch is lost before.
    pub(crate) fn publish(&self, mut clip: NewClip) -> (Ticket, Option<Position>) {
        let (ticket, answer) = watch::channel(Progress::Queued);
        let mut state = self.lock();
        let position = state.take_position();
        let came = state.came;
        state.heard = Some(came);
        clip.position = position;
        state.bytes += clip.bytes.len();
        state.clips.push_back(Waiting {
            clip,
            came,
            since: Instant::now(),
            ticket,
        });
        while state.clips.len() > 1
            && (state.clips.len() > self.bounds.clips || state.bytes > self.bounds.bytes)
        {
            self.drop_oldest(&mut state, "queue_full");
        }
        drop(state);
        self.work.notify_one();
        (Ticket(answer), position)
    }

    /// Numbers clips in the epoch of `after` from now on, behind it, the queued ones first: returns them with their
    /// positions.
    pub(super) fn begin_epoch(&self, after: Position) -> Vec<NewClip> {
        let state = &mut *self.lock();
        state.next = Some(after.next());
        let mut clips = std::mem::take(&mut state.clips);
        for waiting in &mut clips {
            waiting.clip.position = state.take_position();
        }
        state.clips = clips;
        state.clips.iter().map(|it| it.clip.clone()).collect()
    }

    /// This node has no epoch: it alone numbers the clips of its unconfirmed streamer from now on.
    pub(super) fn lose_epoch(&self) {
        self.lock().next = None;
    }

    /// A streamer is admitted that came at this time.
    pub(super) fn set_came(&self, came: u64) {
        self.lock().came = came;
    }

    /// Milliseconds since the Unix epoch, by the clock that all nodes share; none before Redis has answered.
    pub(crate) fn unix_millis(&self) -> Option<u64> {
        self.clock.millis()
    }

    /// Whether listeners heard a streamer here since the latest call: when it came.
    pub(super) fn take_heard(&self) -> Option<u64> {
        self.lock().heard.take()
    }

    fn drop_oldest(&self, state: &mut State, reason: &str) {
        if let Some(oldest) = state.clips.pop_front() {
            state.bytes -= oldest.clip.bytes.len();
            oldest.answer(Err(Unpublished::Away));
            self.metrics.drop_clips(reason, 1);
        }
    }

    /// Drops clips queued for longer than `limit`.
    pub(super) fn drop_overdue(&self, limit: Duration) {
        let mut state = self.lock();
        while state.clips.front().is_some_and(|it| it.is_overdue(limit)) {
            self.drop_oldest(&mut state, "redis_away");
        }
    }

    /// Wakes the task: the streamer is gone, or the livestream went on air.
    pub(crate) fn wake(&self) {
        self.work.notify_one();
    }

    /// Ends the livestream; queued clips are still published.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.work.notify_one();
    }

    /// Records that a listener joined at this position. Every later clip must be delivered to it.
    pub(crate) fn joined_at(&self, position: Position) {
        let joined_at = &mut self.lock().joined_at;
        *joined_at = Some(joined_at.map_or(position, |before| before.min(position)));
    }

    pub(super) fn take_joined_at(&self) -> Option<Position> {
        self.lock().joined_at.take()
    }

    /// Requests a read of the record.
    pub(crate) fn look(&self) {
        self.changed.notify_one();
    }

    pub(super) async fn until_changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn set_owner(&self, owner: bool) {
        self.owner.store(owner, Ordering::Relaxed);
    }

    /// Whether this node is the owner, or has not yet reported that it no longer is.
    pub(super) fn is_owner(&self) -> bool {
        self.owner.load(Ordering::Relaxed)
    }

    pub(super) fn set_remote_listeners(&self, listeners: usize) {
        self.remote_listeners.store(listeners, Ordering::Relaxed);
    }

    pub(super) fn remote_listeners(&self) -> usize {
        self.remote_listeners.load(Ordering::Relaxed)
    }

    /// A streamer comes whose livestream may not be enrolled: its flag is not set yet.
    pub(super) fn delay_flag(&self) {
        *self.flag_waits.lock() = Some(Instant::now());
    }

    /// Allows the flag; returns whether it waited.
    pub(crate) fn allow_flag(&self) -> bool {
        self.flag_waits.lock().take().is_some()
    }

    /// How long the flag has waited; none if it may be set.
    pub(crate) fn flag_waits(&self) -> Option<Duration> {
        self.flag_waits.lock().map(|since| since.elapsed())
    }

    pub(super) async fn until_work(&self) {
        self.work.notified().await;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().clips.is_empty()
    }

    /// Takes the oldest clip, if it has at most so many bytes and this position; none: any.
    pub(super) fn take(&self, most: usize, position: Option<Position>) -> Option<Waiting> {
        let mut state = self.lock();
        let clip = state.clips.pop_front_if(|it| {
            it.clip.bytes.len() <= most && (position.is_none() || it.clip.position == position)
        })?;
        state.bytes -= clip.clip.bytes.len();
        Some(clip)
    }

    /// Refuses every queued clip.
    pub(super) fn refuse_all(&self, why: Unpublished) {
        let mut state = self.lock();
        let refused = std::mem::take(&mut state.clips);
        state.bytes = 0;
        drop(state);
        self.metrics.drop_clips("not_owner", refused.len() as u64);
        for waiting in refused {
            waiting.answer(Err(why));
        }
    }

    /// Whether the livestream was ended since the latest call.
    pub(super) fn take_ended(&self) -> bool {
        std::mem::take(&mut self.lock().ended)
    }
}

#[cfg(test)]
mod tests;
