//! Fan-out of a clip to many connections. The clip is pushed to the outboxes under the livestream's lock; the outboxes
//! are written outside of it, in batches, on all cores, so that no other task waits for long.

use std::cell::OnceCell;
use std::sync::{Arc, Weak};
use std::time::Instant;

use prometheus::Histogram;

use super::{ActiveLivestream, Listener, Relay};
use crate::broadcast::Clip;
use crate::transport::{ClipEvent, ClipFrame};

/// The listeners of a livestream on this node, in the order in which they joined.
pub(super) type Audience = Arc<[Arc<Listener>]>;

/// Connections that a task writes to without a yield: one or two milliseconds.
const BATCH: usize = 64;

impl Relay {
    /// Clips of this listener wait for room in the Socket.IO library.
    pub fn waits_for_room(&self, listener: Weak<Listener>) {
        self.0.waiting.lock().push(listener);
    }

    /// Sends queued clips for which the Socket.IO library had no room, and closes connections that accept none for too
    /// long. Called when there is room again, and at intervals. Looks at no other listeners.
    pub fn flush_waiting(&self, now: Instant) {
        let waiting = std::mem::take(&mut *self.0.waiting.lock());
        for listener in waiting.iter().filter_map(Weak::upgrade) {
            listener.outbox.retry(now);
        }
    }
}

impl ActiveLivestream {
    /// Pushes a clip to every listener on this node, and returns them.
    pub(super) fn push(&mut self, clip: &Clip, now: Instant) -> Audience {
        let encode = |event| Arc::new(ClipFrame::of(event, clip, now));
        // Each at the first listener that needs it.
        let (audio, with_position) = (OnceCell::new(), OnceCell::new());
        let listeners = self.livestream.listeners();
        let audience = self
            .audience
            .get_or_insert_with(|| listeners.cloned().collect());
        for listener in &**audience {
            let event = listener.outbox.event();
            let frame = match event {
                ClipEvent::Audio => &audio,
                ClipEvent::Clip => &with_position,
            };
            listener.outbox.push(frame.get_or_init(|| encode(event)));
        }
        audience.clone()
    }
}

/// Writes the queued clips of these outboxes: of a small audience here, of a large one in tasks.
///
/// Each outbox keeps its order: it does not matter which task writes, or when.
pub(super) fn flush(audience: &Audience, seconds: &Histogram) {
    // Observed when the last batch drops it.
    let timer = Arc::new(seconds.start_timer());
    if audience.len() <= BATCH / 4 {
        for listener in &**audience {
            listener.outbox.flush();
        }
        return;
    }
    for start in (0..audience.len()).step_by(BATCH) {
        let (audience, timer) = (audience.clone(), timer.clone());
        tokio::spawn(async move {
            let end = audience.len().min(start + BATCH);
            let Some((first, others)) = audience[start..end].split_first() else {
                return;
            };
            let mut sent = first.outbox.write();
            for listener in others {
                sent += listener.outbox.write();
            }
            first.outbox.connections().count_sent(sent);
            drop(timer);
        });
    }
}
