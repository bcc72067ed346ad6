//! Handing a clip to many connections without keeping anybody waiting: pushed under the livestream's lock, written outside
//! of it, in pieces, on all cores.

use std::sync::Arc;
use std::time::Instant;

use prometheus::Histogram;

use super::{ActiveLivestream, Listener, Relay, lock};
use crate::broadcast::Clip;
use crate::transport::ClipFrame;

/// Connections that are written to without letting others run: a millisecond or two.
const PIECE: usize = 64;

impl Relay {
    /// Lets out the clips that found no room in the Socket.IO library, and closes who takes none for too long. Called when
    /// there is room, and every now and then.
    pub fn flush_waiting(&self, now: Instant) {
        for (_, active) in self.all() {
            let waiting: Vec<Arc<Listener>> = lock(&active)
                .livestream
                .listeners()
                .filter(|listener| listener.outbox.waits_for_room())
                .cloned()
                .collect();
            for listener in waiting {
                listener.outbox.flush();
                listener.outbox.close_if_overdue(now);
            }
        }
    }
}

impl ActiveLivestream {
    /// Pushes a clip to everybody who listens here; who that is.
    pub(super) fn push(&self, clip: &Clip, now: Instant) -> Vec<Arc<Listener>> {
        let frame = Arc::new(ClipFrame::new(clip, now));
        let audience: Vec<Arc<Listener>> = self.livestream.listeners().cloned().collect();
        for listener in &audience {
            listener.outbox.push(&frame);
        }
        audience
    }
}

/// Writes what is in these outboxes. A small audience is served at once, a large one by tasks.
///
/// The order is the outboxes' own: it does not matter which task writes, or when.
pub(super) fn flush(audience: Vec<Arc<Listener>>, seconds: &Histogram) {
    // Observed when the last piece lets go of it.
    let timer = Arc::new(seconds.start_timer());
    if audience.len() <= PIECE / 4 {
        for listener in audience {
            listener.outbox.flush();
        }
        return;
    }
    let audience: Arc<[Arc<Listener>]> = audience.into();
    for start in (0..audience.len()).step_by(PIECE) {
        let (audience, timer) = (audience.clone(), timer.clone());
        tokio::spawn(async move {
            let end = audience.len().min(start + PIECE);
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
