//! What must be done every now and then: sessions are pinged, livestreams expire, changes are told, connections are looked
//! through, credit that is whole again is forgotten, and a note is kept of what is on.
//!
//! **Invariant**: it runs from the first client to the stop; its end before that is a failure of the daemon.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::handover;
use crate::relay::Relay;
use crate::socket::Sockets;
use crate::transport::Connections;

/// How often livestreams are looked after.
const TICK: Duration = Duration::from_millis(250);
/// How long clips that wait for room are left to wait together, so that all are looked through once for many.
const TOGETHER: Duration = Duration::from_millis(10);
/// How often, in ticks, connections are looked through and what is on is noted.
const SECOND: u64 = 4;
/// How often, in ticks, idle quotas are forgotten.
const MINUTE: u64 = 240;

/// See the module.
pub(crate) struct Housekeeping {
    pub(crate) relay: Relay,
    pub(crate) sockets: Sockets,
    /// Clients', and those of health checks.
    pub(crate) connections: [Arc<Connections>; 2],
    /// Where what is on is noted.
    pub(crate) handover: Option<PathBuf>,
    pub(crate) stopping: CancellationToken,
}

impl Housekeeping {
    /// Until the daemon stops.
    pub(crate) async fn run(self) -> std::io::Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let sessions = self.sockets.sessions();
        let mut heartbeats = tokio::time::interval(sessions.heartbeat().tick());
        heartbeats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut count = 0_u64;
        loop {
            tokio::select! {
                _ = heartbeats.tick() => {
                    sessions.sweep(Instant::now().into_std());
                    continue;
                }
                _ = ticks.tick() => {}
                () = self.connections[0].has_room() => {
                    tokio::time::sleep(TOGETHER).await;
                    self.flush_waiting();
                    continue;
                }
                () = self.stopping.cancelled() => break,
            }
            self.look_after_livestreams().await;
            if count.is_multiple_of(SECOND) {
                let now = Instant::now().into_std();
                for connections in &self.connections {
                    connections.sweep(now);
                }
                self.note();
            }
            if count.is_multiple_of(MINUTE) {
                self.relay.reclaim();
            }
            count += 1;
        }
        Ok(())
    }

    async fn look_after_livestreams(&self) {
        let now = Instant::now().into_std();
        self.flush_waiting();
        for ended in self.relay.expire(now) {
            self.sockets.conclude(ended).await;
        }
        for announcement in self.relay.announcements(now) {
            self.sockets.announce(announcement).await;
        }
    }

    fn flush_waiting(&self) {
        if self.connections[0].take_waiting() {
            self.relay.flush_waiting(Instant::now().into_std());
        }
    }

    /// A small file in memory: no reason to leave the runtime for it.
    fn note(&self) {
        if let Some(path) = &self.handover
            && let Err(error) = handover::note(path, self.relay.snapshot(), SystemTime::now())
        {
            tracing::warn!("what is on cannot be noted for the next process: {error}");
        }
    }
}
