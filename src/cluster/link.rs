//! What the relay and a livestream's [`super::keeper::Keeper`] share: the clips that wait for the engine.
//!
//! **Invariant**: what waits is bounded in clips and in bytes; when it is full the oldest goes, counted, and who waits for
//! its ticket is told. Every ticket is answered.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};

use super::figures::Figures;

/// Why a clip did not reach the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unpublished {
    /// The engine is away, or slow, for too long.
    #[error("the cluster's engine did not take it in time")]
    Away,
    /// Another node holds the livestream.
    #[error("another node holds the livestream")]
    Superseded,
}

/// Tells the clip's sequence once every node has it or can have it.
pub type Ticket = oneshot::Receiver<Result<u64, Unpublished>>;

/// How a start went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// This node holds the livestream.
    Held,
    /// The engine is away: it is settled when it is back.
    Provisional,
}

/// What may wait for the engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkBounds {
    pub(super) clips: usize,
    pub(super) bytes: usize,
}

/// A clip that waits.
pub(super) struct Waiting {
    pub(super) clip: Bytes,
    ticket: oneshot::Sender<Result<u64, Unpublished>>,
}

impl Waiting {
    pub(super) fn answer(self, answer: Result<u64, Unpublished>) {
        self.ticket.send(answer).ok();
    }
}

/// See the module.
pub struct Link {
    bounds: LinkBounds,
    figures: Figures,
    /// A lock: the relay pushes while the keeper takes.
    state: Mutex<State>,
    /// Something is to be done.
    work: Notify,
    /// The record has changed.
    changed: Notify,
    /// For the figures: whether this node holds the livestream, and how many listen elsewhere.
    holds: AtomicBool,
    elsewhere: AtomicUsize,
    requests: mpsc::Sender<oneshot::Sender<Grant>>,
}

#[derive(Default)]
struct State {
    clips: VecDeque<Waiting>,
    bytes: usize,
    /// The show is over: its streamer said so, or it never went on air.
    ended: bool,
    provisional: bool,
    /// The sequence at which the first listener of many was let in: all that comes after is owed to it.
    let_in_at: Option<u64>,
}

impl Link {
    /// A link, and where its keeper hears that a streamer wants the livestream.
    pub(super) fn new(
        bounds: LinkBounds,
        figures: Figures,
    ) -> (Arc<Self>, mpsc::Receiver<oneshot::Sender<Grant>>) {
        let (requests, asked) = mpsc::channel(16);
        let link = Self {
            bounds,
            figures,
            state: Mutex::default(),
            work: Notify::new(),
            changed: Notify::new(),
            holds: AtomicBool::new(false),
            elsewhere: AtomicUsize::new(0),
            requests,
        };
        (Arc::new(link), asked)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes this node the livestream's holder, or provisionally so. None if too many want it at once.
    pub async fn acquire(&self) -> Option<Grant> {
        let (reply, granted) = oneshot::channel();
        self.requests.try_send(reply).ok()?;
        granted.await.ok()
    }

    /// Queues a clip for the other nodes. No ticket: nobody knows when that will be, and there is nothing to wait for.
    pub fn publish(&self, clip: Bytes) -> Option<Ticket> {
        let (ticket, answer) = oneshot::channel();
        let mut state = self.lock();
        state.bytes += clip.len();
        state.clips.push_back(Waiting { clip, ticket });
        while state.clips.len() > 1
            && (state.clips.len() > self.bounds.clips || state.bytes > self.bounds.bytes)
        {
            if let Some(oldest) = state.clips.pop_front() {
                state.bytes -= oldest.clip.len();
                oldest.answer(Err(Unpublished::Away));
                self.figures.drop_clips("queue_full", 1);
            }
        }
        let provisional = state.provisional;
        drop(state);
        self.work.notify_one();
        (!provisional).then_some(answer)
    }

    /// The livestream's standing here has changed: its streamer is gone, or it went on air.
    pub fn nudge(&self) {
        self.work.notify_one();
    }

    /// The show is over; what waits is still handed on.
    pub fn end(&self) {
        self.lock().ended = true;
        self.work.notify_one();
    }

    /// A listener is let in who was the first to ask: clips after this sequence are owed to it.
    pub fn let_in(&self, sequence: u64) {
        let let_in_at = &mut self.lock().let_in_at;
        *let_in_at = Some(let_in_at.map_or(sequence, |before| before.min(sequence)));
    }

    pub(super) fn take_let_in(&self) -> Option<u64> {
        self.lock().let_in_at.take()
    }

    /// The record should be looked at at once.
    pub fn look(&self) {
        self.changed.notify_one();
    }

    pub(super) async fn has_changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn set_holds(&self, holds: bool) {
        self.holds.store(holds, Ordering::Relaxed);
    }

    /// Whether this node holds the livestream.
    pub(super) fn holds(&self) -> bool {
        self.holds.load(Ordering::Relaxed)
    }

    pub(super) fn set_elsewhere(&self, listeners: usize) {
        self.elsewhere.store(listeners, Ordering::Relaxed);
    }

    /// How many listen on other nodes.
    pub(super) fn elsewhere(&self) -> usize {
        self.elsewhere.load(Ordering::Relaxed)
    }

    pub(super) async fn has_work(&self) {
        self.work.notified().await;
    }

    pub(super) fn take(&self) -> Option<Waiting> {
        let mut state = self.lock();
        let clip = state.clips.pop_front()?;
        state.bytes -= clip.clip.len();
        Some(clip)
    }

    /// Lets go of all that waits.
    pub(super) fn refuse_all(&self, why: Unpublished) {
        let mut state = self.lock();
        let refused = std::mem::take(&mut state.clips);
        state.bytes = 0;
        drop(state);
        self.figures.drop_clips("not_holder", refused.len() as u64);
        for waiting in refused {
            waiting.answer(Err(why));
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.lock().ended
    }

    /// Whether the show before was ended; a new one begins.
    pub(super) fn begin(&self, provisional: bool) {
        let mut state = self.lock();
        state.ended = false;
        state.provisional = provisional;
    }

    pub(super) fn settled(&self) {
        self.lock().provisional = false;
    }

    pub(super) fn end_is_done(&self) {
        self.lock().ended = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn link(clips: usize, bytes: usize) -> Arc<Link> {
        let figures = Figures::new(&prometheus::Registry::new()).expect("figures");
        Link::new(LinkBounds { clips, bytes }, figures).0
    }

    proptest! {
        #[test]
        fn what_waits_is_bounded_the_latest_stays_and_every_ticket_is_answered(
            sizes in prop::collection::vec(0..40_usize, 1..30), clips in 1..6_usize, bytes in 1..60_usize,
        ) {
            let link = link(clips, bytes);
            let tickets: Vec<Ticket> = sizes
                .iter()
                .map(|size| link.publish(vec![0; *size].into()).expect("a ticket"))
                .collect();
            let mut kept = Vec::new();
            while let Some(waiting) = link.take() {
                kept.push(waiting.clip.len());
                waiting.answer(Ok(kept.len() as u64));
            }
            prop_assert!(kept.len() <= clips);
            prop_assert!(kept.len() == 1 || kept.iter().sum::<usize>() <= bytes);
            prop_assert_eq!(&kept[..], &sizes[sizes.len() - kept.len()..]);
            let dropped = sizes.len() - kept.len();
            for (at, mut ticket) in tickets.into_iter().enumerate() {
                let expected = match at.checked_sub(dropped) {
                    None => Err(Unpublished::Away),
                    Some(place) => Ok(place as u64 + 1),
                };
                prop_assert_eq!(ticket.try_recv(), Ok(expected));
            }
        }
    }

    #[test]
    fn who_waits_is_told_when_the_hold_is_lost() {
        let link = link(8, 100);
        let mut ticket = link.publish(Bytes::from_static(b"clip")).expect("a ticket");
        link.refuse_all(Unpublished::Superseded);
        assert_eq!(ticket.try_recv(), Ok(Err(Unpublished::Superseded)));
        assert!(link.take().is_none());
    }

    #[test]
    fn while_the_engine_is_away_from_the_start_nobody_is_kept_waiting() {
        let link = link(8, 100);
        link.begin(true);
        assert!(link.publish(Bytes::from_static(b"clip")).is_none());
        link.settled();
        assert!(link.publish(Bytes::from_static(b"clip")).is_some());
    }
}
