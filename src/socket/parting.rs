//! How a client is parted from, in one place.
//!
//! | why | what its client gets | what its library does |
//! |---|---|---|
//! | for good: refused, taken over, the livestream has ended | `error` where there is one to be told, DISCONNECT | nothing more |
//! | for now: the service is unavailable, or full | `error`, the end of the transport | connects again by itself |
//! | for now, and its transport carries another socket that is let in or being checked | `error`; later `success` | nothing: it is connected |
//!
//! The libraries put both namespaces of a page on one transport, and know no DISCONNECT after which they come back. So
//! in the last case the socket stays connected, and is checked again every few seconds, until it is let in, refused for
//! good, or alone: then its transport is closed. A transport that takes its listener's clips too slowly loses these
//! rather than its streamer ([`crate::transport::Connections::sweep`]).
//!
//! **Invariant**: a transport is closed only if it carries nothing else, or if this node cannot serve it any longer.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use socketioxide::extract::SocketRef;
use tokio::time::Instant;

use super::handshake::{self, Credentials, LivestreamError, Verified};
use super::wire::{self, Refusal};
use super::{SocketInstance, Sockets};
use crate::broadcast::Role;
use crate::relay::SocketId;

/// How long a refused client has to read why, before it is disconnected: an immediate DISCONNECT overtakes the `error` in
/// some clients.
pub(super) const DISCONNECT_DELAY: Duration = Duration::from_millis(500);

/// How long a socket that is to be let in later waits for its next check; twice as long each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(15);

/// Marks a socket that this side has sent away: its loss is no loss of a transport.
#[derive(Clone)]
pub(super) struct ClosedByServer;

impl Sockets {
    /// Disconnects the socket's namespace: to its client, the stream is over.
    pub(super) fn disconnect(&self, role: Role, socket: SocketId) {
        if let Some(found) = self.find(role, socket) {
            found.extensions.insert(ClosedByServer);
            if found.disconnect().is_err() {
                // No room even for this: the transport must do.
                self.close(socket);
            }
        }
    }

    /// Closes the transport under the socket: its client comes back by itself.
    pub(super) fn close(&self, socket: SocketId) {
        if let Some(session) = self.0.sessions.find(socket.as_str()) {
            session.close();
        }
    }

    pub(super) fn count_refusal(&self, role: Role, refusal: &Refusal) {
        let labels = [role.as_str(), refusal.reason()];
        self.0.metrics.refusals.with_label_values(&labels).inc();
    }

    /// Tells a socket why it is not let in, and parts from it.
    pub(super) fn refuse(&self, role: Role, socket: &SocketRef, refused: LivestreamError) {
        let LivestreamError {
            refusal,
            credentials,
        } = refused;
        if refusal == Refusal::Gone {
            return;
        }
        let session = self.session(socket);
        self.log_refusal(role, socket, &refusal, credentials.as_ref());
        self.emit(socket, wire::ERROR, &refusal.text());
        let refusals = session.refused();
        match credentials {
            Some(credentials) if refusal.is_temporary() => {
                self.let_in_later(role, socket, credentials);
            }
            _ if refusals >= self.0.max_refusals && !session.is_occupied() => {
                // Whether it is still there or not: a client that leaves early to ask again is told no for good.
                tokio::spawn(async move {
                    tokio::time::sleep(DISCONNECT_DELAY).await;
                    session.close();
                });
            }
            _ => self.disconnect_after_delay(role, socket.id),
        }
    }

    /// Closes the transport, or, while it carries another socket, checks this one again.
    fn let_in_later(&self, role: Role, socket: &SocketRef, credentials: Credentials) {
        let (sockets, id, session) = (self.clone(), socket.id, self.session(socket));
        let Some(SocketInstance(instance)) = socket.extensions.get::<SocketInstance>() else {
            return;
        };
        tokio::spawn(async move {
            tokio::time::sleep(DISCONNECT_DELAY).await;
            let mut wait = FIRST_RETRY;
            while session.is_occupied() && !session.is_closed() {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LAST_RETRY);
                let Some(socket) = sockets.find_on(role, id, &instance) else {
                    return;
                };
                match handshake::admit(&sockets, role, &socket, &credentials).await {
                    Ok(()) if socket.connected() => {
                        return handshake::greet(&sockets, role, &socket);
                    }
                    // It left meanwhile, and nobody was told: what it was given it gives back.
                    Ok(()) => return socket.extensions.clear(),
                    Err(refusal) if refusal.is_temporary() => {}
                    Err(refusal) => {
                        sockets.count_refusal(role, &refusal);
                        let credentials = Some(credentials);
                        return sockets.refuse(
                            role,
                            &socket,
                            LivestreamError {
                                refusal,
                                credentials,
                            },
                        );
                    }
                }
            }
            session.close();
        });
    }

    /// Tells the socket that another has taken its place, and disconnects it a moment later.
    pub(super) fn dismiss(&self, role: Role, socket: SocketId, text: &str) {
        let Some(found) = self.find(role, socket) else {
            return;
        };
        if !found.connected() {
            // It cannot be told anything yet; its greeting finds out.
            return;
        }
        // Once only: it may be replaced while it is greeted, and both notice.
        if found.extensions.insert(ClosedByServer).is_none() {
            self.emit(&found, wire::ERROR, text);
            self.disconnect_after_delay(role, socket);
        }
    }

    fn disconnect_after_delay(&self, role: Role, id: SocketId) {
        let instance = self.find(role, id).and_then(|it| it.extensions.get());
        let Some(SocketInstance(instance)) = instance else {
            return;
        };
        let sockets = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(DISCONNECT_DELAY).await;
            if sockets.find_on(role, id, &instance).is_some() {
                sockets.disconnect(role, id);
            }
        });
    }

    /// The socket, if it is still on this instance: a client that leaves and comes back on its session has the same id.
    fn find_on(&self, role: Role, id: SocketId, instance: &Arc<()>) -> Option<SocketRef> {
        let found = self.find(role, id)?;
        let SocketInstance(now) = found.extensions.get::<SocketInstance>()?;
        Arc::ptr_eq(&now, instance).then_some(found)
    }

    fn log_refusal(
        &self,
        role: Role,
        socket: &SocketRef,
        refusal: &Refusal,
        credentials: Option<&Credentials>,
    ) {
        /// Of an id that need not be one.
        const MOST: usize = 128;
        let Some(unlogged) = self.0.refusal_log.take(role) else {
            return;
        };
        let named =
            credentials.map(|credentials| credentials.named.chars().take(MOST).collect::<String>());
        let user = socket.extensions.get::<Verified>();
        let user = user.map(|Verified(user)| tracing::field::display(user));
        tracing::info!(
            role = role.as_str(),
            reason = refusal.reason(),
            livestream.id = named,
            user.id = user,
            client.address = self.address(socket),
            unlogged,
            "refused"
        );
    }
}

/// Bounds the log of refusals: so many lines a minute for each role, so that listeners do not hide streamers.
pub(super) struct RefusalLog {
    per_minute: u32,
    budgets: [Mutex<Budget>; 2],
}

struct Budget {
    since: Instant,
    left: u32,
    unlogged: u64,
}

impl RefusalLog {
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

    /// Whether a line may be written, and then how many were not since the last.
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
    async fn refusal_log_is_bounded_for_each_role() {
        let log = RefusalLog::new(2);
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
