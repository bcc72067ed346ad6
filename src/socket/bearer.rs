//! Who sits behind a socket, and the token that says so.
//!
//! **Invariant**: the user never changes; a fresh token of another user is refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::SecretString;
use socketioxide::extract::{AckSender, SocketRef, TryData};
use socketioxide::socket::DisconnectReason;

use super::Sockets;
use super::wire::{self, Ack};
use crate::broadcast::{LivestreamId, Role};
use crate::identity::{Caller, IdentityError, TokenHash};

/// What both kinds of seat know of who sits there.
pub(super) struct Bearer {
    pub(super) role: Role,
    pub(super) livestream: LivestreamId,
    pub(super) caller: Caller,
    // A lock: a client may send a fresh token at any time.
    token: Mutex<TokenHash>,
    /// A streamer's token itself, with which its account is looked up again. A lock, as above.
    text: Mutex<Option<SecretString>>,
    /// One fresh token is checked at a time, so that a client cannot have Google asked without end.
    checking: AtomicBool,
}

impl Bearer {
    pub(super) fn new(role: Role, livestream: LivestreamId, caller: Caller, token: &str) -> Self {
        let checking = AtomicBool::new(false);
        Self {
            role,
            livestream,
            caller,
            token: Mutex::new(TokenHash::of(token)),
            text: Mutex::new(kept_text(role, token)),
            checking,
        }
    }

    /// The streamer's latest token.
    pub(super) fn text(&self) -> Option<SecretString> {
        let text = self.text.lock();
        text.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn token(&self) -> TokenHash {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The transport is gone: it may come back with the same token for a while, though that may expire.
    pub(super) fn lost(&self, sockets: &Sockets) {
        sockets
            .0
            .identity
            .lost(self.token(), &self.caller, self.role, &self.livestream);
    }

    /// It left for good.
    pub(super) fn left(&self, sockets: &Sockets) {
        sockets.0.identity.forget(self.token());
    }

    async fn refresh(&self, sockets: &Sockets, token: Option<String>) -> Ack {
        let Some(token) = token else {
            return Ack::error(wire::TOKEN_INVALID);
        };
        if self.checking.swap(true, Ordering::SeqCst) {
            return Ack::error("Another token is being checked.");
        }
        let checked = sockets
            .0
            .identity
            .check(&token, self.role, &self.livestream)
            .await;
        self.checking.store(false, Ordering::SeqCst);
        match checked {
            Ok(caller) if caller.user == self.caller.user => {
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = TokenHash::of(&token);
                *self.text.lock().unwrap_or_else(PoisonError::into_inner) =
                    kept_text(self.role, &token);
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

fn kept_text(role: Role, token: &str) -> Option<SecretString> {
    (role == Role::Streamer).then(|| token.into())
}

/// Registers what both kinds of socket may send: the event `token`, and events that nobody knows. `bearer` finds who
/// sits behind a socket, once it was let in.
pub(super) fn register(
    sockets: &Sockets,
    socket: &SocketRef,
    bearer: fn(&SocketRef) -> Option<Arc<Bearer>>,
) {
    let room = sockets.clone();
    socket.on(
        wire::TOKEN,
        async move |socket: SocketRef, TryData(token): TryData<(String,)>, ack: AckSender| {
            let token = token.ok().map(|(token,)| token);
            let said = match bearer(&socket) {
                // The seat may be given up meanwhile: only the bearer is held.
                Some(bearer) => bearer.refresh(&room, token).await,
                None => Ack::error(wire::TOKEN_INVALID),
            };
            ack.send(&said).ok();
        },
    );
    let bad_input = sockets.0.metrics.bad_input.clone();
    socket.on_fallback(move || {
        bad_input.with_label_values(&["unknown_event"]).inc();
        std::future::ready(())
    });
}

/// Has `gone` told of the end of a socket that is let in. A refused one has nothing to give back, and must have no such
/// handler: the library forgets a socket only after it, and until then ignores a client that asks again.
pub(super) fn watch(
    sockets: &Sockets,
    socket: &SocketRef,
    gone: fn(&Sockets, &SocketRef, DisconnectReason),
) {
    let room = sockets.clone();
    socket.on_disconnect(move |socket: SocketRef, reason: DisconnectReason| {
        room.left(reason);
        gone(&room, &socket, reason);
        std::future::ready(())
    });
}
