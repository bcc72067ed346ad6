//! All ways in which the server disconnects a client.
//!
//! | reason | the client gets | the client's library |
//! |---|---|---|
//! | for good: refused, taken over, livestream ended | `error` if there is a text, DISCONNECT | does nothing more |
//! | for now: the service is unavailable, full, or drains | `error`, the end of the transport | connects again by itself |
//! | for now, with another socket on the transport, admitted or in check | `error`, later `success` | is connected |
//!
//! The libraries put both namespaces of a page on one transport, and never connect again after a DISCONNECT. So in the
//! last case the socket stays connected, and is checked again ([`super::handshake`]) every few seconds, until it is
//! admitted, refused for good, or alone: then its transport is closed. A transport that takes its listener's clips too
//! slowly loses these rather than its streamer ([`crate::transport::Connections::sweep`]).
//!
//! **Invariant**: a transport is closed only if it carries no other socket, or if this node can no longer serve it.

use std::time::Duration;

use parking_lot::Mutex;
use socketioxide::extract::SocketRef;
use tokio::time::Instant;

use super::Sockets;
use super::attempt::Attempt;
use super::ids::sid;
use super::instance::SocketInstance;
use super::wire::{self, Refusal};
use crate::broadcast::Role;
use crate::relay::{Event, SocketId};

/// The delay between the `error` and the DISCONNECT of a refused client: an immediate DISCONNECT overtakes the `error`
/// in some clients.
pub(super) const DISCONNECT_DELAY: Duration = Duration::from_millis(500);

impl Sockets {
    /// Disconnects the socket's namespace: for its client, the stream is over.
    pub(super) fn disconnect(&self, role: Role, socket: SocketId) {
        if let Some(found) = self.find(role, socket) {
            SocketInstance::of(&found).close();
            if found.disconnect().is_err() {
                // No room for this packet: the end of the transport replaces it.
                self.close(socket);
            }
        }
    }

    /// Closes the transport under the socket: its client connects again by itself.
    pub(super) fn close(&self, socket: SocketId) {
        let session = sid(socket).and_then(|id| self.0.sessions.find(id.as_str()));
        if let Some(session) = session {
            session.close();
        }
    }

    /// Closes the transport under the socket as a stop does, once its queued messages are written: its client connects
    /// again by itself.
    pub(super) fn send_away(&self, socket: SocketId, at_once: bool) {
        let session = sid(socket).and_then(|id| self.0.sessions.find(id.as_str()));
        match session {
            Some(session) if at_once => session.abort(),
            Some(session) => session.finish(),
            None => {}
        }
    }

    pub(super) fn count_refusal(&self, role: Role, refusal: &Refusal) {
        let labels = [role.as_str(), refusal.reason()];
        self.0.metrics.refusals.with_label_values(&labels).inc();
    }

    /// Sends the socket a last `error`, and disconnects it a moment later.
    pub(super) fn dismiss(&self, role: Role, socket: SocketId, text: &str) {
        let Some(found) = self.find(role, socket) else {
            return;
        };
        if !found.connected() {
            // It can receive nothing yet; its `greet` finds out.
            return;
        }
        // Once only: it may be replaced during its `greet`, and both call this.
        if SocketInstance::of(&found).close() {
            self.emit(&found, wire::ERROR, text);
            self.disconnect_after_delay(role, socket);
        }
    }

    pub(super) fn disconnect_after_delay(&self, role: Role, id: SocketId) {
        let Some(found) = self.find(role, id) else {
            return;
        };
        let instance = SocketInstance::of(&found);
        let sockets = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(DISCONNECT_DELAY).await;
            if sockets.find_on(role, id, &instance).is_some() {
                sockets.disconnect(role, id);
            }
        });
    }

    /// The socket, if it is still this instance: a client that leaves and returns on its session has the same id.
    pub(super) fn find_on(
        &self,
        role: Role,
        id: SocketId,
        instance: &SocketInstance,
    ) -> Option<SocketRef> {
        let found = self.find(role, id)?;
        SocketInstance::of(&found).is(instance).then_some(found)
    }

    pub(super) fn log_refusal(
        &self,
        role: Role,
        socket: &SocketRef,
        refusal: &Refusal,
        named: Option<&str>,
    ) {
        /// Characters of the livestream's name, which is the client's choice.
        const MOST: usize = 128;
        let Some(unlogged) = self.0.refusal_log.take(role) else {
            return;
        };
        let named = named.map(|named| named.chars().take(MOST).collect::<String>());
        let instance = SocketInstance::of(socket);
        tracing::info!(
            role = role.as_str(),
            reason = refusal.reason(),
            livestream.id = named,
            user.id = instance.user().map(tracing::field::display),
            client.address = self.address(socket),
            unlogged,
            "refused"
        );
    }

    /// Tells the relay's subscribers of a refused streamer, if that named a livestream.
    pub(super) fn tell_refusal(&self, role: Role, refusal: &Refusal, attempt: &Attempt) {
        let Some(livestream) = attempt
            .livestream
            .clone()
            .filter(|_| role == Role::Streamer)
        else {
            return;
        };
        if self.0.told_refusals.take(role).is_some() {
            self.0.relay.tell(Event::StreamerRefused {
                livestream,
                user: attempt.instance.user().cloned(),
                reason: refusal.reason(),
                text: refusal.text(),
                is_temporary: refusal.is_temporary(),
            });
        }
    }
}

/// Bounds what is told of refusals, in a minute for each role, so that listeners do not hide streamers.
pub(super) struct RefusalLimit {
    per_minute: u32,
    budgets: [Mutex<Budget>; 2],
}

struct Budget {
    since: Instant,
    left: u32,
    unlogged: u64,
}

impl RefusalLimit {
    pub(super) fn new(per_minute: u32) -> Self {
        let budget = || {
            Mutex::new(Budget {
                since: Instant::now(),
                left: per_minute,
                unlogged: 0,
            })
        };
        let budgets = [budget(), budget()];
        Self {
            per_minute,
            budgets,
        }
    }

    /// Some if this one may be told: the number of those since the last one that were not.
    fn take(&self, role: Role) -> Option<u64> {
        let [streamers, listeners] = &self.budgets;
        let budget = match role {
            Role::Streamer => streamers,
            Role::Listener => listeners,
        };
        let mut budget = budget.lock();
        if budget.since.elapsed() >= Duration::from_mins(1) {
            budget.since = Instant::now();
            budget.left = self.per_minute;
        }
        let Some(left) = budget.left.checked_sub(1) else {
            budget.unlogged += 1;
            return None;
        };
        budget.left = left;
        Some(std::mem::take(&mut budget.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn refusals_are_limited_for_each_role() {
        let log = RefusalLimit::new(2);
        assert_eq!(
            [log.take(Role::Listener), log.take(Role::Listener)],
            [Some(0); 2]
        );
        assert_eq!(
            [log.take(Role::Listener), log.take(Role::Listener)],
            [None; 2]
        );
        assert_eq!(log.take(Role::Streamer), Some(0));
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(
            [log.take(Role::Listener), log.take(Role::Listener)],
            [Some(2), Some(0)]
        );
    }
}
