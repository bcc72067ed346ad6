//! The clocks: one that tests pause, and the wall's, whose times are only compared on this node or shown.

use std::time::{Instant, SystemTime};

use crate::broadcast::local_epoch;
use crate::unix_time;

pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// An epoch that no livestream of this node had before.
pub(super) fn new_epoch() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let micros = since.unwrap_or_default().as_micros();
    local_epoch(u64::try_from(micros).unwrap_or_default())
}

/// Milliseconds since the Unix epoch.
pub(super) fn unix_millis() -> u64 {
    unix_time::millis(SystemTime::now())
}
