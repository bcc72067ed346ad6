//! Periodic work: pings sessions, expires livestreams, announces changes, drains, checks connections, forgets full upload
//! credit, and notes the live livestreams for the next process.
//!
//! **Invariant**: it runs from the first client to the stop. If it ends earlier, the daemon fails.

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

/// How often livestreams are checked.
const TICK: Duration = Duration::from_millis(250);
/// How long clips that wait for room are collected, so that one pass serves many of them.
const TOGETHER: Duration = Duration::from_millis(10);
/// How often, in ticks, connections are checked and live livestreams are noted.
const SECOND: u64 = 4;
/// How often, in ticks, idle quotas are forgotten.
const MINUTE: u64 = 240;

/// See the module documentation.
pub(crate) struct Housekeeping {
    pub(crate) relay: Relay,
    pub(crate) sockets: Sockets,
    /// Those of clients, and those of health checks.
    pub(crate) connections: [Arc<Connections>; 2],
    /// Where live livestreams and rights to return are noted.
    pub(crate) handover: Handover,
    /// Notes that could not be written.
    pub(crate) handover_errors: IntCounter,
    pub(crate) complaint: Arc<Complaint>,
    pub(crate) identity: Identity,
    pub(crate) stopping: CancellationToken,
}

impl Housekeeping {
    /// Runs until the daemon stops.
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
                () = self.connections[0].shared.until_room() => {
                    tokio::time::sleep(TOGETHER).await;
                    self.flush_waiting();
                    continue;
                }
                () = self.relay.until_note_is_due() => {
                    self.note();
                    continue;
                }
                () = self.stopping.cancelled() => break,
            }
            self.check_livestreams();
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

    fn check_livestreams(&self) {
        let now = Instant::now().into_std();
        self.flush_waiting();
        self.relay.expire(now);
        self.relay.announce(now);
        self.relay.watch_silence(now);
        self.relay.send_away(now);
    }

    fn flush_waiting(&self) {
        if self.connections[0].shared.take_waiting() {
            self.relay.flush_waiting(Instant::now().into_std());
        }
    }

    /// May be a large file on a disk: writes one at a time, outside the runtime's threads.
    fn note_returns(&self, noting: &mut Option<JoinHandle<()>>) {
        let Some(path) = self.handover.returns.clone() else {
            return;
        };
        if noting.as_ref().is_some_and(|noting| !noting.is_finished()) {
            return;
        }
        let returns = self.identity.hand_over();
        // There is no right to return, and there was none: nothing to write.
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
                        "cannot note the rights to return for the next process; after a crash it refuses clients \
                         with an expired token: {error}; make room in the state directory"
                    );
                }
            }
        });
        *noting = (!is_last).then_some(task);
    }

    /// A small file in memory, so it is written on the runtime's thread.
    fn note(&self) {
        let unnoted = self.relay.unnoted();
        if let Some(path) = &self.handover.livestreams
            && let Err(error) = handover::note(path, self.relay.snapshot(), SystemTime::now())
        {
            self.handover_errors.inc();
            if self.complaint.is_due() {
                tracing::warn!(
                    "cannot note the livestreams for the next process; after a crash they are lost: {error}; \
                     make room in the runtime directory"
                );
            }
            return;
        }
        self.relay.noted(&unnoted);
    }
}
