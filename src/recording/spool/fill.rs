//! Whether the spool is about to be full. Once it is nearly full, it counts so until there is room again, so that a level
//! that moves about a bound is told once.
//!
//! **Invariant**: a subscriber learns of the latest state; of what changes and changes back meanwhile it learns nothing.

use std::sync::Arc;

use tokio::sync::watch;

use super::Spool;

/// From this share of the bound on it is nearly full, and below the other one it is not any longer, in percent.
const NEARLY_FULL: u64 = 80;
const ROOM_AGAIN: u64 = 60;

/// How full the spool is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fill {
    /// Whether it is nearly full, or was, and has no room yet.
    pub is_nearly_full: bool,
    /// The bytes in it.
    pub bytes: u64,
    /// Its bound (`recording.spool_bytes`).
    pub limit: u64,
    /// The clips and events in it.
    pub waiting: usize,
}

/// Told when it is nearly full, and when there is room again.
pub type Filled = Box<dyn Fn(Fill) + Send + Sync>;

/// Watches it.
#[derive(Debug, Default)]
pub(in crate::recording) struct Watch(watch::Sender<Fill>);

impl Watch {
    pub(super) fn update(&self, bytes: u64, limit: u64, waiting: usize) {
        self.0.send_if_modified(|fill| {
            let percent = u128::from(bytes) * 100 / u128::from(limit.max(1));
            let is_nearly_full = if fill.is_nearly_full {
                percent >= u128::from(ROOM_AGAIN)
            } else {
                percent >= u128::from(NEARLY_FULL)
            };
            let is_other = is_nearly_full != fill.is_nearly_full;
            *fill = Fill {
                is_nearly_full,
                bytes,
                limit,
                waiting,
            };
            is_other
        });
    }
}

/// Tells of each change, and at the start if a process before has left it nearly full. Never returns.
pub(in crate::recording) async fn tell(spool: Arc<Spool>, filled: Filled) {
    let mut changes = spool.fill.0.subscribe();
    let mut was_nearly_full = false;
    loop {
        let fill = *changes.borrow_and_update();
        if fill.is_nearly_full != was_nearly_full {
            was_nearly_full = fill.is_nearly_full;
            let Fill { bytes, limit, .. } = fill;
            if was_nearly_full {
                tracing::error!(
                    bytes,
                    limit,
                    "clips that wait for the bucket nearly fill recording.spool_bytes, beyond it they are not recorded: see to \
                     the bucket"
                );
            } else {
                tracing::info!(
                    bytes,
                    limit,
                    "clips that wait for the bucket have room again"
                );
            }
            filled(fill);
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_is_told_once_until_there_is_room() {
        let watch = Watch::default();
        let mut told = watch.0.subscribe();
        for (bytes, is_nearly_full, is_told) in [
            (799, false, false),
            (800, true, true),
            (950, true, false),
            (799, true, false),
            (600, true, false),
            (599, false, true),
            (799, false, false),
            (800, true, true),
        ] {
            watch.update(bytes, 1000, 3);
            assert_eq!(told.has_changed().ok(), Some(is_told), "at {bytes}");
            let fill = *told.borrow_and_update();
            assert_eq!((fill.is_nearly_full, fill.bytes), (is_nearly_full, bytes));
        }
    }
}
