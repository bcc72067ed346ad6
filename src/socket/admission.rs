//! Who sits behind a socket, and the token that says so.
//!
//! **Invariant**: the user never changes; a fresh token of another user is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use secrecy::SecretString;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::{Event, SocketRef, TryData};
use socketioxide::handler::DisconnectHandler;
use socketioxide::socket::{DisconnectReason, Socket};

use super::Sockets;
use super::handshake::Attempt;
use super::outgoing::Callback;
use super::users::Counted;
use super::wire::{self, Ack};
use crate::broadcast::{LivestreamId, Role};
use crate::identity::{Caller, IdentityError, Return, TokenHash};
use crate::transport::Occupancy;

/// What both kinds of listener know of who sits there. Dropping it without a word counts as the loss of its transport.
pub(super) struct Admission {
    sockets: Sockets,
    pub(super) role: Role,
    pub(super) livestream: LivestreamId,
    pub(super) caller: Caller,
    /// With what its client may come back; none once it is gone. A lock: a client may send a fresh token at any time.
    back: Mutex<Option<Return>>,
    /// A streamer's latest token, with which its account is looked up again. A lock, as above.
    text: Mutex<Option<SecretString>>,
    /// One fresh token is checked at a time, so that a client cannot have Google asked without end.
    checking: AtomicBool,
    _counted: Counted,
    /// Keeps its transport open.
    _occupancy: Occupancy,
}

impl Admission {
    pub(super) fn new(
        attempt: Attempt<'_>,
        livestream: LivestreamId,
        caller: Caller,
        counted: Counted,
    ) -> Self {
        let sockets = attempt.sockets.clone();
        let back = Return {
            user: caller.user.clone(),
            role: attempt.role,
            livestream: livestream.clone(),
            token: TokenHash::of(&attempt.credentials.token),
        };
        sockets.0.identity.enter(&back);
        sockets.0.relay.remember_return(&back);
        Self {
            sockets,
            role: attempt.role,
            livestream,
            caller,
            back: Mutex::new(Some(back)),
            text: Mutex::new(text_to_keep(attempt.role, &attempt.credentials.token)),
            checking: AtomicBool::new(false),
            _counted: counted,
            _occupancy: attempt.occupancy,
        }
    }

    /// The streamer's latest token.
    pub(super) fn text(&self) -> Option<SecretString> {
        self.text.lock().clone()
    }

    fn back(&self) -> MutexGuard<'_, Option<Return>> {
        self.back.lock()
    }

    /// The transport is gone: its client may come back with the same token for a while, though that may expire.
    pub(super) fn lost(&self) {
        if let Some(back) = self.back().take() {
            self.sockets.0.identity.lost(&back);
            self.sockets.0.relay.remember_return(&back);
        }
    }

    /// It left for good, or was sent away.
    pub(super) fn left(&self) {
        if let Some(back) = self.back().take() {
            self.sockets.0.identity.left(&back);
            self.sockets.0.relay.forget_return(&back);
        }
    }

    /// From now on its client comes back with this token.
    fn renew(&self, token: &str) {
        let mut back = self.back();
        let Some(back) = &mut *back else { return };
        let fresh = Return {
            token: TokenHash::of(token),
            ..back.clone()
        };
        let identity = &self.sockets.0.identity;
        identity.enter(&fresh);
        identity.left(back);
        self.sockets.0.relay.remember_return(&fresh);
        *back = fresh;
    }

    async fn refresh(&self, token: Option<String>) -> Ack {
        let Some(token) = token else {
            return Ack::error(wire::TOKEN_INVALID);
        };
        if self.checking.swap(true, Ordering::SeqCst) {
            return Ack::error("Another token is being checked.");
        }
        let checked = self.sockets.0.identity.check(&token, self.role).await;
        self.checking.store(false, Ordering::SeqCst);
        match checked {
            Ok(caller) if caller.user == self.caller.user => {
                self.renew(&token);
                *self.text.lock() = text_to_keep(self.role, &token);
                Ack {
                    ok: true,
                    ..Ack::default()
                }
            }
            Ok(_) | Err(IdentityError::Invalid(_)) => Ack::error(wire::TOKEN_INVALID),
            Err(IdentityError::Expired) => Ack::error(wire::TOKEN_EXPIRED),
            Err(IdentityError::Unavailable | IdentityError::KeyUnknown) => {
                Ack::error(&wire::Refusal::Unavailable.text())
            }
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.lost();
    }
}

/// A token is kept for streamers alone, whose accounts are looked up again.
fn text_to_keep(role: Role, token: &str) -> Option<SecretString> {
    (role == Role::Streamer).then(|| token.into())
}

/// Registers what both kinds of socket may send: the event `token`, and events that nobody knows. `admission` finds who
/// sits behind a socket, once it was let in.
pub(super) fn register(
    sockets: &Sockets,
    socket: &SocketRef,
    admission: fn(&SocketRef) -> Option<Arc<Admission>>,
) {
    let room = sockets.clone();
    socket.on(
        wire::TOKEN,
        async move |socket: SocketRef, TryData(token): TryData<(String,)>, callback: Callback| {
            let token = token.ok().map(|(token,)| token);
            let said = match admission(&socket) {
                // The listener may be given up meanwhile: only the admission is held.
                Some(admission) => admission.refresh(token).await,
                None => Ack::error(wire::TOKEN_INVALID),
            };
            room.answer(callback, &said);
        },
    );
    let room = sockets.clone();
    socket.on_fallback(
        move |socket: SocketRef, Event(event): Event, callback: Callback| {
            room.unknown_event(&socket, &event, admission(&socket).as_deref(), callback);
            std::future::ready(())
        },
    );
}

impl Sockets {
    fn unknown_event(
        &self,
        socket: &SocketRef,
        event: &str,
        admission: Option<&Admission>,
        callback: Callback,
    ) {
        /// Of a name that need not be one.
        const MOST: usize = 64;
        let event: String = event.chars().take(MOST).collect();
        let bad_input = &self.0.metrics.bad_input;
        bad_input.with_label_values(&["unknown_event"]).inc();
        tracing::debug!(
            socket.id = socket.id.as_str(),
            role = admission.map(|it| it.role.as_str()),
            livestream.id = admission.map(|it| it.livestream.as_str()),
            user.id = admission.map(|it| it.caller.user.as_str()),
            event,
            "an event that is not known"
        );
        self.answer(callback, &Ack::error(&wire::unknown_event(&event)));
    }
}

/// Has `gone` told of the end of a socket that is let in.
pub(super) fn watch(
    sockets: &Sockets,
    socket: &SocketRef,
    gone: fn(&Sockets, &SocketRef, DisconnectReason),
) {
    let sockets = sockets.clone();
    socket.on_disconnect(Watch { sockets, gone });
}

/// Runs where the library finds the end, and not in a task of its own as the library's handlers do: until the library
/// has forgotten a socket it ignores a CONNECT of the same client, which may come right behind the DISCONNECT.
struct Watch {
    sockets: Sockets,
    gone: fn(&Sockets, &SocketRef, DisconnectReason),
}

/// Tells [`Watch`] from the library's own handlers.
struct AtOnce;

impl DisconnectHandler<LocalAdapter, AtOnce> for Watch {
    fn call_with_defer(
        &self,
        socket: Arc<Socket>,
        reason: DisconnectReason,
        forget: fn(Arc<Socket>),
    ) {
        self.sockets.left(reason);
        (self.gone)(&self.sockets, &socket.clone().into(), reason);
        forget(socket);
    }
}
