//! The admission of a socket: its user, and the user's token.
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
use super::attempt::Attempt;
use super::outgoing::Callback;
use super::wire::{self, Ack, Refusal};
use crate::broadcast::{LivestreamId, Role};
use crate::identity::{Caller, IdentityError, Passes, Return, TokenHash};
use crate::transport::Occupancy;

/// The admission of a streamer or a listener. After [`Self::enter`] a drop without [`Self::left`] counts as the loss of
/// its transport.
pub(super) struct Admission {
    sockets: Sockets,
    pub(super) role: Role,
    pub(super) livestream: LivestreamId,
    pub(super) caller: Caller,
    /// Its client's right to return, from its entry until it is gone. A lock: a client may send a fresh token at any time.
    back: Mutex<Option<Return>>,
    /// A streamer's latest token, for repeated checks of its account. A lock, as above.
    token: Mutex<Option<SecretString>>,
    /// One fresh token is checked at a time, so that a client cannot cause calls to Google without end.
    checking: AtomicBool,
    /// Keeps its transport open.
    _occupancy: Occupancy,
}

impl Admission {
    /// Counts the socket among those of its user. It is to enter, or to be dropped without an effect.
    pub(super) fn new(
        attempt: &Attempt,
        occupancy: Occupancy,
        livestream: LivestreamId,
        caller: Caller,
        replaces: bool,
    ) -> Result<Self, Refusal> {
        let Attempt {
            sockets,
            role,
            token,
            ..
        } = attempt;
        let users = &sockets.0.users;
        if !users.count(&caller.user, *role, &livestream, replaces) {
            return Err(Refusal::TooMany);
        }
        Ok(Self {
            sockets: sockets.clone(),
            role: *role,
            livestream,
            caller,
            back: Mutex::new(None),
            token: Mutex::new(stored_token(*role, token)),
            checking: AtomicBool::new(false),
            _occupancy: occupancy,
        })
    }

    /// The socket has joined its livestream: from now on its client may return with this token.
    pub(super) fn enter(&self, token: &str) {
        let back = Return {
            user: self.caller.user.clone(),
            role: self.role,
            livestream: self.livestream.clone(),
            token: TokenHash::of(token),
        };
        self.sockets.0.identity.enter(&back);
        self.sockets.0.relay.remember_return(&back);
        *self.back() = Some(back);
    }

    /// The streamer's latest token.
    pub(super) fn token(&self) -> Option<SecretString> {
        self.token.lock().clone()
    }

    fn back(&self) -> MutexGuard<'_, Option<Return>> {
        self.back.lock()
    }

    /// The transport is lost: its client may return with the same token for a while, even if that expires.
    pub(super) fn lost(&self) {
        if let Some(back) = self.back().take() {
            self.sockets.0.identity.lost(&back);
            self.sockets.0.relay.remember_return(&back);
        }
    }

    /// The client left for good, or the server disconnected it.
    pub(super) fn left(&self) {
        if let Some(back) = self.back().take() {
            self.sockets.0.identity.left(&back);
            self.sockets.0.relay.forget_return(&back);
        }
    }

    /// From now on its client returns with this token.
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
        if self
            .sockets
            .0
            .relay
            .is_banned(Some(&self.caller.user), &self.livestream)
        {
            return Ack::error(wire::BANNED);
        }
        if self.checking.swap(true, Ordering::SeqCst) {
            return Ack::error(wire::TOKEN_BUSY);
        }
        if self.role == Role::Listener && Passes::is_pass(&token) {
            let checked = self.sockets.check_pass(&token, &self.livestream).await;
            self.checking.store(false, Ordering::SeqCst);
            return match checked {
                Ok(_) => {
                    self.renew(&token);
                    Ack {
                        ok: true,
                        ..Ack::default()
                    }
                }
                Err(refusal) => Ack::error(refusal.text()),
            };
        }
        let checked = self.sockets.0.identity.check(&token, self.role).await;
        self.checking.store(false, Ordering::SeqCst);
        match checked {
            Ok(caller) if caller.user == self.caller.user => {
                self.renew(&token);
                *self.token.lock() = stored_token(self.role, &token);
                Ack {
                    ok: true,
                    ..Ack::default()
                }
            }
            Ok(_) | Err(IdentityError::Invalid(_)) => Ack::error(wire::TOKEN_INVALID),
            Err(IdentityError::Expired) => Ack::error(wire::TOKEN_EXPIRED),
            Err(IdentityError::Unavailable | IdentityError::KeyUnknown) => {
                Ack::error(&Refusal::Unavailable.text())
            }
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.lost();
        let users = &self.sockets.0.users;
        users.uncount(&self.caller.user, self.role, &self.livestream);
    }
}

/// A token is stored for streamers only: their accounts are checked again.
fn stored_token(role: Role, token: &str) -> Option<SecretString> {
    (role == Role::Streamer).then(|| token.into())
}

/// Registers the events of both roles: `token`, and unknown events. `admission` finds the admission of a socket, if it
/// has one.
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
            let ack = match admission(&socket) {
                // The socket may close meanwhile: the check needs only its admission.
                Some(admission) => admission.refresh(token).await,
                None => Ack::error(wire::TOKEN_INVALID),
            };
            room.answer(callback, &ack);
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
        /// Characters of the event's name, which is the client's choice.
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
            "unknown event"
        );
        self.answer(callback, &Ack::error(&wire::unknown_event(&event)));
    }
}

/// Calls `gone` at the end of an admitted socket.
pub(super) fn watch(
    sockets: &Sockets,
    socket: &SocketRef,
    gone: fn(&Sockets, &SocketRef, DisconnectReason),
) {
    let sockets = sockets.clone();
    socket.on_disconnect(Watch { sockets, gone });
}

/// Runs where the library notices the end, and not in a task of its own as the library's handlers do: until the library
/// has forgotten a socket, it ignores a CONNECT of the same client, which may come right behind the DISCONNECT.
struct Watch {
    sockets: Sockets,
    gone: fn(&Sockets, &SocketRef, DisconnectReason),
}

/// Distinguishes [`Watch`] from the library's own handlers.
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
