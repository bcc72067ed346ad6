//! The check of a socket, and its admission or refusal.
//!
//! **Invariant**: every socket is greeted, refused, or gone, once. A refused one is checked again only while its
//! transport carries another socket ([`super::parting`]).

use std::sync::Arc;
use std::time::Duration;

use socketioxide::SocketIo;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler;

use super::attempt::{Attempt, Credentials};
use super::instance::SocketInstance;
use super::parting::DISCONNECT_DELAY;
use super::wire::{self, Refusal};
use super::{Sockets, listener, streamer};
use crate::broadcast::Role;
use crate::transport::{Greeting, Unread};

/// The delay until the next check of a socket that is refused for now; it doubles each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(15);

/// The time after the answer to CONNECT during which a client is not read. The library's own task for the CONNECT takes
/// microseconds; until it ends, the library ignores a CONNECT right behind a DISCONNECT.
const SETTLING: Duration = Duration::from_millis(2);

/// Registers both namespaces. The check is a middleware, so that it ends before the answer to CONNECT.
pub(super) fn register(sockets: &Sockets, io: &SocketIo, greeting: &Greeting) {
    let connect = |role: Role| {
        let (checker, greeter) = (sockets.clone(), sockets.clone());
        let middleware = move |socket: SocketRef, TryData(payload): TryData<Credentials>| {
            let sockets = checker.clone();
            async move {
                socket.extensions.insert(SocketInstance::default());
                match role {
                    Role::Streamer => streamer::register(&sockets, &socket),
                    Role::Listener => listener::register(&sockets, &socket),
                }
                if let Err(refusal) = check(&sockets, role, &socket, payload.ok()).await {
                    // Counted here, since a socket that is gone does not reach the handler.
                    sockets.count_refusal(role, &refusal);
                    socket.extensions.insert(refusal);
                }
                let unread = Arc::new(sockets.session(&socket).stop_reading());
                socket.extensions.insert(unread);
                // Never an error: that would be CONNECT_ERROR, which the shipped app does not handle.
                Ok::<(), std::convert::Infallible>(())
            }
        };
        let handler = move |socket: SocketRef| {
            // This part runs before the library takes the next packet.
            let unread = socket.extensions.remove::<Arc<Unread>>();
            let attempt = socket.extensions.remove::<Arc<Attempt>>();
            match socket.extensions.remove::<Refusal>() {
                Some(refusal) => greeter.refuse(role, &socket, &refusal, attempt),
                None => greet(&greeter, role, &socket),
            }
            async move {
                tokio::time::sleep(SETTLING).await;
                drop(unread);
            }
        };
        handler.with(middleware)
    };
    let greeted = |socket: SocketRef| {
        // An ended session needs no disconnect, and a queue has room: these are the session's first packets.
        socket.disconnect().ok();
        std::future::ready(())
    };
    io.ns(greeting.namespace().to_owned(), greeted);
    io.ns(wire::STREAMER, connect(Role::Streamer));
    io.ns(wire::LISTENER, connect(Role::Listener));
}

/// Checks a new socket. A refused one keeps its attempt for the handler.
async fn check(
    sockets: &Sockets,
    role: Role,
    socket: &SocketRef,
    payload: Option<Credentials>,
) -> Result<(), Refusal> {
    let attempt = Arc::new(Attempt::new(sockets, role, socket, payload)?);
    let admitted = admit(&attempt, socket).await;
    if admitted.is_err() {
        socket.extensions.insert(attempt);
    }
    admitted
}

/// Checks a socket, and admits it.
async fn admit(attempt: &Attempt, socket: &SocketRef) -> Result<(), Refusal> {
    if attempt.sockets.0.relay.is_draining() {
        return Err(Refusal::Draining);
    }
    let timer = attempt.sockets.0.metrics.check.start_timer();
    let occupancy = attempt.session.occupy(attempt.role);
    let admitted = match attempt.role {
        Role::Streamer => streamer::admit(attempt, socket, occupancy).await,
        Role::Listener => listener::admit(attempt, socket, occupancy).await,
    };
    timer.observe_duration();
    if admitted.is_ok() {
        // Counted as joined for the life of the socket.
        socket.extensions.insert(Arc::new(attempt.session.join()));
    }
    admitted
}

/// Notifies a connected socket of its admission.
fn greet(sockets: &Sockets, role: Role, socket: &SocketRef) {
    let admission = match role {
        Role::Streamer => streamer::admission(socket),
        Role::Listener => listener::admission(socket),
    };
    // A ban between the check and now did not find the socket.
    if let Some(admission) = admission
        && sockets
            .0
            .relay
            .is_banned(Some(&admission.caller.user), &admission.livestream)
    {
        sockets.count_refusal(role, &Refusal::Banned);
        return sockets.dismiss(role, socket.id.into(), wire::BANNED);
    }
    let accepted = &sockets.0.metrics.accepted;
    accepted.with_label_values(&[role.as_str()]).inc();
    match role {
        Role::Streamer => streamer::greet(sockets, socket),
        Role::Listener => listener::greet(sockets, socket),
    }
}

impl Sockets {
    /// Sends a socket the reason of its refusal, and disconnects it. One that names no token or no livestream has no
    /// attempt.
    fn refuse(
        &self,
        role: Role,
        socket: &SocketRef,
        refusal: &Refusal,
        attempt: Option<Arc<Attempt>>,
    ) {
        if *refusal == Refusal::Gone {
            return;
        }
        let session = self.session(socket);
        let named = attempt.as_ref().map(|attempt| &*attempt.named);
        self.log_refusal(role, socket, refusal, named);
        if let Some(attempt) = &attempt {
            self.tell_refusal(role, refusal, attempt);
        }
        self.emit(socket, wire::ERROR, &refusal.text());
        let refusals = session.refused();
        match attempt {
            Some(attempt) if refusal.is_temporary() => {
                tokio::spawn(admit_later(attempt));
            }
            _ if refusals >= self.0.max_refusals && !session.is_occupied() => {
                // Also if the socket is gone: a client must not evade this by an early departure.
                tokio::spawn(async move {
                    tokio::time::sleep(DISCONNECT_DELAY).await;
                    session.close();
                });
            }
            _ => self.disconnect_after_delay(role, socket.id.into()),
        }
    }
}

/// Closes the transport, or, while it carries another socket, checks this one again.
async fn admit_later(attempt: Arc<Attempt>) {
    let Attempt {
        sockets,
        role,
        session,
        ..
    } = &*attempt;
    tokio::time::sleep(DISCONNECT_DELAY).await;
    let mut wait = FIRST_RETRY;
    while session.is_occupied() && !session.is_closed() {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LAST_RETRY);
        let Some(socket) = sockets.find_on(*role, attempt.socket.into(), &attempt.instance) else {
            return;
        };
        match admit(&attempt, &socket).await {
            Ok(()) if socket.connected() => return greet(sockets, *role, &socket),
            // It left meanwhile, perhaps before its disconnect handler was registered: releases its state.
            Ok(()) => return socket.extensions.clear(),
            Err(refusal) if refusal.is_temporary() => {}
            Err(refusal) => {
                sockets.count_refusal(*role, &refusal);
                return sockets.refuse(*role, &socket, &refusal, Some(attempt.clone()));
            }
        }
    }
    session.close();
}
