//! What must be done every now and then: sessions are pinged, livestreams expire, changes are told, connections are looked
//! through, credit that is whole again is forgotten, and a note is kept of what is on.
//!
//! **Invariant**: it runs from the first client to the stop; its end before that is a failure of the daemon.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus::IntCounter;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::google::Complaint;
use crate::handover::{self, Handover};
use crate::identity::Identity;
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
    /// Where it is noted what is on, and who may come back.
    pub(crate) handover: Handover,
    /// Notes that could not be written.
    pub(crate) handover_errors: IntCounter,
    pub(crate) complaint: Arc<Complaint>,
    pub(crate) identity: Identity,
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
        let mut noting = None;
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
                self.sockets.count_returns();
                self.note_returns(&mut noting);
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

    /// Perhaps a large file, on a disk: one at a time, and not on the runtime's threads.
    fn note_returns(&self, noting: &mut Option<JoinHandle<()>>) {
        let Some(path) = self.handover.returns.clone() else {
            return;
        };
        if noting.as_ref().is_some_and(|noting| !noting.is_finished()) {
            return;
        }
        let returns = self.identity.hand_over();
        // Nobody is here, and nobody was: nothing to write.
        if returns.is_empty() && noting.is_none() {
            return;
        }
        let is_last = returns.is_empty();
        let (errors, complaint) = (self.handover_errors.clone(), self.complaint.clone());
        let task = tokio::task::spawn_blocking(move || {
            if let Err(error) = handover::leave_returns(&path, &returns, SystemTime::now()) {
                errors.inc();
                if complaint.is_due() {
                    tracing::warn!(
                        "who may come back cannot be noted for the next process, after a crash clients with an expired \
                         token are refused: {error}; make room in the state directory"
                    );
                }
            }
        });
        *noting = (!is_last).then_some(task);
    }

    /// A small file in memory: no reason to leave the runtime for it.
    fn note(&self) {
        if let Some(path) = &self.handover.livestreams
            && let Err(error) = handover::note(path, self.relay.snapshot(), SystemTime::now())
        {
            self.handover_errors.inc();
            if self.complaint.is_due() {
                tracing::warn!(
                    "what is live cannot be noted for the next process, after a crash it is lost: {error}; make room in \
                     the runtime directory"
                );
            }
        }
    }
}
